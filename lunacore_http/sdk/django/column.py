"""The rows of a model, for the backfill: the old column, and the ``TokenField`` beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist
from django.db import connections, models, transaction
from django.db.models import Q

from lunacore.errors import ConfigError
from lunacore_http.sdk.backfill import Row
from lunacore_http.sdk.django.fields import TokenField

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from lunacore.tokens import Token


class ColumnRows:
    """``lunacore_http.sdk.backfill.Rows`` over Django's ORM.

    Rows are read and written by the model's base manager, so one that a default manager hides, say as deleted, is done too.
    ``save`` is not called and no signal is sent.

    Args:
        model: the model.
        plain: the name of the old field: text or binary.
        token: the name of the ``TokenField``.
        database: the alias of the database.

    Raises:
        ConfigError: the fields are not of that kind.
    """

    def __init__(self, model: type[models.Model], plain: str, token: str, *, database: str) -> None:
        self._plain = _plain_field(model, plain)
        _require_token_field(model, token)
        self._plain_name, self._token_name = plain, token
        self._database = database
        self._all = model._base_manager.using(database)
        self._locks = connections[database].features.has_select_for_update

    def waiting(self, after: Hashable | None, limit: int) -> Sequence[Row]:
        return self._read(self._has_value() & ~self._has_token(), after, limit)

    def tokenized(self, after: Hashable | None, limit: int) -> Sequence[Row]:
        return self._read(self._has_value() & self._has_token(), after, limit)

    def count_waiting(self) -> int:
        return int(self._all.filter(self._has_value() & ~self._has_token()).count())

    def count_tokenized(self) -> int:
        return int(self._all.filter(self._has_value() & self._has_token()).count())

    def store(self, pairs: Sequence[tuple[Row, Token]]) -> Sequence[bool]:
        with transaction.atomic(using=self._database):
            unchanged = self._locked([row for row, _ in pairs])
            return [
                row.key in unchanged and self._same(row).update(**{self._token_name: token}) == 1
                for row, token in pairs
            ]

    def clear(self, rows: Sequence[Row]) -> Sequence[bool]:
        """Empty the old column: null where it may be, or else empty."""
        empty = None if self._plain.null else (b"" if isinstance(self._plain, models.BinaryField) else "")
        with transaction.atomic(using=self._database):
            unchanged = self._locked(rows)
            return [row.key in unchanged and self._same(row).update(**{self._plain_name: empty}) == 1 for row in rows]

    def refuse_to_clear(self) -> str | None:
        """Why the old column cannot be emptied, None if it can."""
        if self._plain.unique and not self._plain.null:
            return f"{self._plain_name} is unique and may not be null, so it can be empty in one row only; make it null=True"
        return None

    def _same(self, row: Row) -> models.QuerySet[models.Model]:
        """The row, if it still is what was read: the condition of the ``UPDATE`` itself."""
        untouched = Q(**{self._plain_name: row.value}) & self._token_is(row.token)
        return self._all.filter(untouched, pk=row.key)

    def _locked(self, rows: Sequence[Row]) -> set[Hashable]:
        """Lock rows, and tell which are exactly as they were read.

        A database may count texts as equal that are not, by their case or by spaces at the end; Python does not.
        """
        if not self._locks:
            return {row.key for row in rows}
        found = self._all.select_for_update().filter(pk__in=[row.key for row in rows]).order_by("pk")
        now = {row.key: row for row in self._rows(found)}
        return {row.key for row in rows if row == now.get(row.key)}

    def _read(self, wanted: Q, after: Hashable | None, limit: int) -> Sequence[Row]:
        found = self._all.filter(wanted).order_by("pk")
        return self._rows((found if after is None else found.filter(pk__gt=after))[:limit])

    def _rows(self, found: models.QuerySet[models.Model]) -> Sequence[Row]:
        return [
            Row(key, bytes(value) if isinstance(value, memoryview) else value, token or None)
            for key, value, token in found.values_list("pk", self._plain_name, self._token_name)
        ]

    def _has_value(self) -> Q:
        empty = b"" if isinstance(self._plain, models.BinaryField) else ""
        return Q(**{f"{self._plain_name}__isnull": False}) & ~Q(**{self._plain_name: empty})

    def _has_token(self) -> Q:
        return ~self._token_is(None)

    def _token_is(self, token: str | None) -> Q:
        if token is not None:
            return Q(**{self._token_name: token})
        return Q(**{f"{self._token_name}__isnull": True})


def _field(model: type[models.Model], name: str) -> Any:  # noqa: ANN401 - any field
    try:
        return model._meta.get_field(name)
    except FieldDoesNotExist:
        raise ConfigError(f"{model._meta.label} has no field {name}") from None


def _plain_field(model: type[models.Model], name: str) -> Any:  # noqa: ANN401 - any field of text or bytes
    field = _field(model, name)
    if isinstance(field, TokenField):
        raise ConfigError(f"{model._meta.label}.{name} holds tokens already; name the field that holds the values")
    if not isinstance(field, models.CharField | models.TextField | models.BinaryField):
        raise ConfigError(f"{model._meta.label}.{name} holds neither text nor bytes; copy it into a TextField first")
    return field


def _require_token_field(model: type[models.Model], name: str) -> None:
    have = [field.name for field in model._meta.get_fields() if isinstance(field, TokenField)]
    if name not in have:
        told = f"it has {', '.join(have)}; name one with --to" if have else "add one, with null=True, and migrate"
        raise ConfigError(f"{model._meta.label} has no TokenField {name}: {told}")
    if not _field(model, name).null:
        raise ConfigError(f"{model._meta.label}.{name} must be null=True while rows are waiting for their tokens")
