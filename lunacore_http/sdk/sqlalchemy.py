"""``TokenType``: a column of tokens, into which no value can get.

It is a ``TypeDecorator`` (SQLAlchemy, "Augmenting Existing Types"). Whatever is bound to such a column, in an ``INSERT``, an
``UPDATE`` or a comparison, is a token or is refused, and no error repeats it. A ``CHECK`` stops what goes around SQLAlchemy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import CheckConstraint, Column, String, Table, event, type_coerce
from sqlalchemy.exc import DontWrapMixin
from sqlalchemy.sql import operators
from sqlalchemy.types import TypeDecorator

from lunacore import tokens
from lunacore.errors import InvalidRequest, InvalidToken
from lunacore.tokens import MAX_TOKEN_BYTES, Token

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

_ALLOWED: Final = frozenset(
    {
        operators.eq,
        operators.ne,
        operators.in_op,
        operators.not_in_op,
        operators.is_,
        operators.is_not,
        operators.is_distinct_from,
        operators.is_not_distinct_from,
    }
)
_BEGINNING: Final = "lunasec-%"
_LONGEST_NAME: Final = 60


class NoToken(InvalidToken, DontWrapMixin):
    """What was to be bound is no token.

    SQLAlchemy would wrap another error in one that shows the statement's parameters, and with them the value.
    """

    def __init__(self) -> None:
        super().__init__("this column takes tokens only; tokenize the value and save its token")


class TokenType(TypeDecorator[Token]):
    """A ``String`` that holds tokens; in Python they are ``lunacore.tokens.Token``, whose ``repr`` is redacted.

    It can be compared for equality, with ``in_`` and with null; a token is random, and nothing else can be asked of it.

    Args:
        length: of the column, in characters; 256 takes every kind of token.
        database_check: whether the table gets a ``CHECK`` that the column holds what begins as a token does.

    Raises:
        NoToken: the string is no token; it is an ``InvalidToken``. The message does not repeat it.
    """

    impl = String
    cache_ok = True

    def __init__(self, length: int = MAX_TOKEN_BYTES, *, database_check: bool = True) -> None:
        super().__init__(length)
        self.length = length
        self.database_check = database_check

    class Comparator(TypeDecorator.Comparator[Token]):
        """Refuses whatever takes a token apart."""

        def operate(self, op: Any, *other: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - SQLAlchemy's
            if op not in _ALLOWED:
                raise InvalidRequest(f"a column of tokens knows no {op.__name__}; compare it with ==, != or in_")
            # At once, and not when it is bound: a statement compiled with its values in the text is no place for them either.
            for operand in other:
                for one in operand if isinstance(operand, list | tuple | set | frozenset) else [operand]:
                    if isinstance(one, str | bytes):
                        _require_token(one)
            return super().operate(op, *other, **kwargs)

        reverse_operate = operate

    comparator_factory = Comparator

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        if value is None:
            return None
        _require_token(value)
        # The driver of a database may know str alone, none of its subclasses.
        return str(value)

    def process_literal_param(self, value: Any, dialect: Dialect) -> str:  # noqa: ANN401 - SQLAlchemy's
        bound = self.process_bind_param(value, dialect)
        assert bound is not None
        return bound

    def process_result_value(self, value: str | None, dialect: Dialect) -> Token | None:  # noqa: ARG002 - SQLAlchemy's
        return None if value is None else Token(value)


@event.listens_for(Column, "after_parent_attach")
def _add_check(column: Column[Any], table: Any) -> None:  # noqa: ANN401 - a table, or what stands for one
    """Add the ``CHECK`` as soon as a column of tokens has a table."""
    if not isinstance(table, Table) or not isinstance(column.type, TokenType) or not column.type.database_check:
        return
    # Bound to the type, as Boolean's is: a copy of the table gets its own and not a copy of this one besides.
    table.append_constraint(
        CheckConstraint(
            type_coerce(column, String).like(_BEGINNING),
            name=f"{table.name}_{column.name}_token"[:_LONGEST_NAME],
            _type_bound=True,
        )
    )


def _require_token(value: object) -> None:
    try:
        tokens.parse(value if isinstance(value, str) else "")
    except InvalidToken:
        refused = True
    else:
        refused = False
    if refused:  # outside of the handler, so that the error has no context which SQLAlchemy would show
        raise NoToken
