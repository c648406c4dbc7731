"""``TokenType``: only tokens get into the column, and no error tells what was kept out."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from lunacore import tokens
from lunacore.errors import InvalidRequest, InvalidToken
from lunacore.tokens import Token
from lunacore_http.sdk.sqlalchemy import NoToken, TokenType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Engine

VALUE = "4111111111111111"
TOKEN = tokens.mint(bytes)  # of zeros: a name of a test must be the same in every process


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    card: Mapped[Token | None] = mapped_column(TokenType())


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://")
    Base.metadata.create_all(made)
    yield made
    made.dispose()


def test_a_token_comes_back_as_a_token_whose_repr_is_redacted(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Customer(card=TOKEN))
        session.add(Customer(card=Token(str(tokens.mint(os.urandom)))))
        session.add(Customer(card=None))
        session.commit()
        session.expire_all()
        first, _, third = session.scalars(select(Customer).order_by(Customer.id))
        assert first.card == TOKEN
        assert repr(first.card) == "Token(<redacted>)"
        assert third.card is None


@pytest.mark.parametrize("value", [VALUE, "", "lunasec-", TOKEN.upper(), TOKEN + " ", 4111, b"lunasec-"])
def test_nothing_but_a_token_is_saved(engine: Engine, value: object) -> None:
    with Session(engine) as session, pytest.raises(NoToken) as refusal:
        session.execute(insert(Customer).values(card=value))
    assert isinstance(refusal.value, InvalidToken)


def test_the_refusal_does_not_repeat_the_value(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Customer(card=VALUE))
        with pytest.raises(NoToken) as refusal:
            session.flush()
        assert VALUE not in str(refusal.value)
        assert VALUE not in repr(refusal.value)
        assert refusal.value.__context__ is None
        session.rollback()


def test_a_value_is_not_looked_for(engine: Engine) -> None:
    with Session(engine) as session, pytest.raises(NoToken):
        session.scalars(select(Customer).where(Customer.card == VALUE)).all()
    with Session(engine) as session, pytest.raises(NoToken):
        session.scalars(select(Customer).where(Customer.card.in_([TOKEN, VALUE]))).all()
    with pytest.raises(NoToken):
        str(select(Customer).where(Customer.card == VALUE).compile(compile_kwargs={"literal_binds": True}))


def test_tokens_are_found_by_equality(engine: Engine) -> None:
    with Session(engine) as session:
        session.add_all([Customer(card=TOKEN), Customer(card=None)])
        session.commit()

        def found(where: ColumnElement[bool]) -> int:
            return len(session.scalars(select(Customer).where(where)).all())

        assert found(Customer.card == TOKEN) == 1
        assert found(Customer.card != TOKEN) == 0
        assert found(Customer.card.in_([TOKEN])) == 1
        assert found(Customer.card.not_in([TOKEN])) == 0
        assert found(Customer.card.is_(None)) == 1
        assert found(Customer.card.is_not(None)) == 1


@pytest.mark.parametrize(
    "take_apart",
    [
        lambda column: column.like("lunasec-%"),
        lambda column: column.ilike("lunasec-%"),
        lambda column: column.startswith("lunasec"),
        lambda column: column.contains("a"),
        lambda column: column > TOKEN,
        lambda column: column + "x",
        lambda column: "x" + column,
        lambda column: column.between(TOKEN, TOKEN),
        lambda column: column.regexp_match("a"),
    ],
)
def test_a_token_is_not_taken_apart(take_apart: object) -> None:
    assert callable(take_apart)
    with pytest.raises(InvalidRequest, match="compare it with =="):
        take_apart(Customer.card)


def test_the_database_refuses_what_goes_around_the_type(engine: Engine) -> None:
    with engine.begin() as connection, pytest.raises(IntegrityError):
        connection.execute(text("INSERT INTO customer (card) VALUES ('not a token')"))
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO customer (card) VALUES (:token)"), {"token": str(TOKEN)})
        connection.execute(text("INSERT INTO customer (card) VALUES (NULL)"))


def test_a_column_of_values_cannot_be_copied_over(engine: Engine) -> None:
    table = Table("pair", MetaData(), Column("plain", String), Column("card", TokenType()))
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table).values(plain=VALUE))
    with engine.begin() as connection, pytest.raises(IntegrityError):
        connection.execute(update(table).values(card=table.c.plain))


def test_the_check_is_made_once_also_in_a_copy_of_the_table() -> None:
    def checks(table: Table) -> list[object]:
        return [one.name for one in table.constraints if one.name and str(one.name).endswith("_token")]

    table = Table("customer", MetaData(), Column("id", Integer, primary_key=True), Column("card", TokenType()))
    assert checks(table) == ["customer_card_token"]
    assert checks(table.to_metadata(MetaData())) == ["customer_card_token"]
    without = Table("customer", MetaData(), Column("card", TokenType(database_check=False)))
    assert checks(without) == []


def test_statements_are_cached_and_types_pickled() -> None:
    assert TokenType()._static_cache_key == TokenType()._static_cache_key
    copied = pickle.loads(pickle.dumps(Table("customer", MetaData(), Column("card", TokenType(64)))))
    assert copied.c.card.type.length == 64
