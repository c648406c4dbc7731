"""``TokenField``: only tokens get into the column, and into a query."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from django.core import checks, serializers
from django.core.exceptions import FieldError, ValidationError
from django.db import IntegrityError, connection, connections, models, transaction
from django.db.migrations.writer import MigrationWriter
from django.db.models import F, Value
from django.test.utils import isolate_apps

from lunacore import tokens
from lunacore.errors import InvalidToken
from lunacore.tokens import Token
from lunacore_http.sdk.django import TokenField
from tests.sdk.django_shop.shop.models import Customer, Member

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("database")

VALUE = "4111111111111111"


def token() -> Token:
    return tokens.mint(os.urandom)


def test_a_token_comes_back_as_a_token_whose_repr_is_redacted() -> None:
    minted = token()
    Customer.objects.create(name="Ada", card_token=str(minted))
    found = Customer.objects.get()
    assert found.card_token == minted
    assert repr(found.card_token) == "Token(<redacted>)"
    assert repr(Customer(card_token=str(minted)).card_token) == "Token(<redacted>)"
    assert repr(list(Customer.objects.values_list("card_token", flat=True))) == "[Token(<redacted>)]"


@pytest.mark.parametrize("value", [VALUE, "lunasec-", " ", 4111, b"x"])
def test_nothing_but_a_token_is_saved(value: object) -> None:
    kept = Customer.objects.create(name="Ada")
    ways: list[Callable[[], object]] = [
        lambda: Customer.objects.create(name="Bob", card_token=value),
        lambda: Customer.objects.bulk_create([Customer(name="Bob", card_token=value)]),
        lambda: Customer.objects.update(card_token=value),
        lambda: Customer.objects.filter(pk=kept.pk).update(card_token=Value(value, output_field=TokenField())),
        lambda: Customer.objects.bulk_update([Customer(pk=kept.pk, card_token=value)], ["card_token"]),
        lambda: Customer.objects.get_or_create(name="Bob", defaults={"card_token": value}),
    ]
    for way in ways:
        with pytest.raises(InvalidToken) as refusal, transaction.atomic():
            way()
        assert str(value) == " " or str(value) not in str(refusal.value)
    assert list(Customer.objects.values_list("name", "card_token")) == [("Ada", None)]


def test_the_database_refuses_what_goes_around_the_field() -> None:
    Customer.objects.create(name="Ada", card=VALUE)
    with pytest.raises(IntegrityError), transaction.atomic():
        Customer.objects.update(card_token=F("card"))
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO shop_member (name, ssn, passport) VALUES ('Ada', %s, '')", [VALUE])
    minted = token()
    Customer.objects.update(card=minted)
    Customer.objects.update(card_token=F("card"))
    assert Customer.objects.get().card_token == minted


def test_empty_is_null_where_it_may_be_and_else_only_where_blank_is_allowed() -> None:
    assert Customer.objects.create(card_token="").card_token == ""
    assert Customer.objects.get().card_token is None
    Member.objects.create(ssn=token())
    assert Member.objects.get().passport == ""
    with pytest.raises(InvalidToken):
        Member.objects.create()


def test_tokens_are_found_by_equality_alone() -> None:
    minted = token()
    Customer.objects.create(card_token=minted)
    assert Customer.objects.filter(card_token=minted).count() == 1
    assert Customer.objects.filter(card_token__in=[minted, token()]).count() == 1
    assert Customer.objects.filter(card_token__isnull=True).count() == 0
    assert Customer.objects.exclude(card_token=token()).count() == 1
    for lookup in ("contains", "startswith", "iexact", "gt", "regex", "length", "range", "icontains"):
        with pytest.raises(FieldError, match="Unsupported lookup"):
            Customer.objects.filter(**{f"card_token__{lookup}": minted})


def test_a_value_is_not_looked_for() -> None:
    for wanted in ({"card_token": VALUE}, {"card_token__in": [token(), VALUE]}):
        with pytest.raises(InvalidToken):
            list(Customer.objects.filter(**wanted))


def test_full_clean_names_the_field_and_not_the_value() -> None:
    with pytest.raises(ValidationError) as refusal:
        Customer(name="Ada", card_token=VALUE).full_clean()
    assert refusal.value.message_dict == {"card_token": ["This is not a token."]}
    Customer(name="Ada", card_token=token()).full_clean()


def test_a_fixture_is_loaded_with_tokens_alone() -> None:
    Customer.objects.create(name="Ada", card_token=token())
    dumped = serializers.serialize("json", Customer.objects.all())
    (loaded,) = serializers.deserialize("json", dumped)
    assert isinstance(loaded.object.card_token, Token)
    with pytest.raises(serializers.base.DeserializationError):
        list(serializers.deserialize("json", dumped.replace("lunasec-", "4111-")))


def test_a_migration_writes_the_field_as_it_is() -> None:
    for field in (TokenField(), TokenField(null=True, max_length=64), TokenField(database_check=False)):
        _, path, args, options = field.deconstruct()
        again = TokenField(*args, **options)
        assert path == "lunacore_http.sdk.django.fields.TokenField"
        assert again.deconstruct()[2:] == field.deconstruct()[2:]
        assert (again.max_length, again.database_check) == (field.max_length, field.database_check)
    written, imports = MigrationWriter.serialize(TokenField(null=True))
    assert written == "lunacore_http.sdk.django.fields.TokenField(null=True)"
    assert "import lunacore_http.sdk.django.fields" in imports


@isolate_apps("tests.sdk.django_shop.shop.apps.ShopConfig")
def test_a_migration_adds_the_check_to_a_new_and_to_an_altered_column() -> None:
    class Loose(models.Model):
        plain = models.CharField(max_length=256, null=True)

        class Meta:
            app_label = "shop"
            managed = False

    added, altered = TokenField(null=True), TokenField(null=True)
    added.set_attributes_from_name("card")
    altered.set_attributes_from_name("plain")
    scratch = connections.create_connection("default")
    with scratch.schema_editor() as editor:
        editor.create_model(Loose)
        editor.alter_field(Loose, Loose._meta.get_field("plain"), altered)
        editor.add_field(Loose, added)
    for column in ("card", "plain"):
        with scratch.cursor() as cursor:
            cursor.execute(f"INSERT INTO shop_loose ({column}) VALUES (%s)", [token()])
            with pytest.raises(IntegrityError):
                cursor.execute(f"INSERT INTO shop_loose ({column}) VALUES (%s)", [VALUE])
    scratch.close()


@isolate_apps("tests.sdk.django_shop.shop.apps.ShopConfig")
def test_a_column_too_short_for_tokens_is_found_by_the_system_check() -> None:
    class Short(models.Model):
        card = TokenField(max_length=16)

        class Meta:
            app_label = "shop"

    found = Short.check()
    assert [(one.id, one.level) for one in found] == [("lunacore.E020", checks.ERROR)]
    assert "44" in (found[0].hint or "")
