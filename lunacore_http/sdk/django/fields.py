"""``TokenField``: a column of tokens, into which no value can get.

Nothing but a token is ever written: not by ``save``, ``bulk_create`` or ``update``, and not by a query's parameters, where a
value would land in the database's log. What goes around Django, such as raw SQL, is stopped by a ``CHECK`` of the column.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from django.core import checks
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.query_utils import DeferredAttribute
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from lunacore import tokens
from lunacore.errors import InvalidToken
from lunacore.tokens import MAX_TOKEN_BYTES, Token
from lunacore_http.sdk.django.forms import TokenFormField

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOKUPS: Final = ("exact", "in", "isnull")
"""A token is random, so all that can be asked of it is whether it is this one."""

_SHORTEST: Final = 44
_PREFIX: Final = "lunasec-"
_ADMIN_WIDGET: Final = "AdminTextInputWidget"


class _TokenAttribute(DeferredAttribute):
    """Makes a ``Token`` of a token that is assigned, so that no ``repr`` tells it. ``save`` refuses whatever else is assigned."""

    def __set__(self, instance: models.Model, value: object) -> None:
        if isinstance(value, str) and not isinstance(value, Token):
            with suppress(InvalidToken):
                value = as_token(value)
        instance.__dict__[self.field.attname] = value


class TokenField(models.CharField):
    """A ``CharField`` that holds tokens; in Python they are ``lunacore.tokens.Token``, whose ``repr`` is redacted.

    Args:
        database_check: whether the column gets a ``CHECK`` that it holds what begins as a token does.
        options: those of ``CharField``; ``max_length`` is 256 unless given, so that every kind of token fits.

    Raises:
        InvalidToken: on save or in a query: the string is no token. The message does not repeat it.
    """

    description = _("A token of LunaCore")
    descriptor_class = _TokenAttribute
    default_error_messages = {"invalid": _("This is not a token.")}  # noqa: RUF012 - Django's

    def __init__(self, *args: Any, database_check: bool = True, **options: Any) -> None:  # noqa: ANN401 - CharField's own
        options.setdefault("max_length", MAX_TOKEN_BYTES)
        self.database_check = database_check
        super().__init__(*args, **options)

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, path, args, options = super().deconstruct()
        if options.get("max_length") == MAX_TOKEN_BYTES:
            del options["max_length"]
        if not self.database_check:
            options["database_check"] = False
        return name, path, args, options

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ANN401 - Django's
        return [*super().check(**kwargs), *self._check_length()]

    def db_check(self, connection: Any) -> str | None:  # noqa: ANN401 - a database wrapper
        """The ``CHECK`` of the column. Empty is let through, since ``blank`` may change without a migration of the table."""
        if not self.database_check:
            return None
        column = connection.ops.quote_name(self.column)
        return f"{column} = '' OR SUBSTR({column}, 1, {len(_PREFIX)}) = '{_PREFIX}'"

    def get_lookup(self, lookup_name: str) -> Any:  # noqa: ANN401 - a lookup class
        return super().get_lookup(lookup_name) if lookup_name in LOOKUPS else None

    def get_transform(self, lookup_name: str) -> None:
        """A token is not taken apart."""

    def from_db_value(self, value: str | None, *_: object) -> str | None:
        return Token(value) if value else value

    def to_python(self, value: object) -> str | None:
        """For forms, fixtures and ``full_clean``.

        Raises:
            ValidationError: it is no token; the message does not repeat it.
        """
        if value is None or value == "":
            return None if self.null else ""
        try:
            return as_token(value)
        except InvalidToken:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None

    def get_prep_value(self, value: object) -> str | None:
        if isinstance(value, Promise):
            value = value._proxy____cast()
        if value is None or (value == "" and self.null):
            return None
        if value == "" and self.blank:
            return ""
        try:
            # The driver of a database may know str alone, none of its subclasses.
            return str(as_token(value))
        except InvalidToken:
            raise InvalidToken(f"{self} takes tokens only; tokenize the value and save its token") from None

    def formfield(self, **kwargs: Any) -> Any:  # noqa: ANN401 - Django's
        # The admin has a widget of its own for every CharField.
        if getattr(kwargs.get("widget"), "__name__", None) == _ADMIN_WIDGET:
            del kwargs["widget"]
        return super().formfield(**{"form_class": TokenFormField, **kwargs})

    def _check_length(self) -> list[checks.CheckMessage]:
        if not isinstance(self.max_length, int) or self.max_length >= _SHORTEST:
            return []
        hint = f"Leave max_length out, or make it at least {_SHORTEST}."
        return [checks.Error("max_length is too short for a token.", hint=hint, obj=self, id="lunacore.E020")]


def as_token(value: object) -> Token:
    """The token that a string is.

    Raises:
        InvalidToken: it is none.
    """
    if not isinstance(value, str):
        raise InvalidToken
    tokens.parse(value)
    return Token(value)
