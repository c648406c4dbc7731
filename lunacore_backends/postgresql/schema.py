"""Tables in PostgreSQL and the steps that lead from each version of them to the next.

A step is applied once for a schema, under an advisory lock, in one transaction. Steps that were released are never changed.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import psycopg
from attrs import frozen

from lunacore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lunacore_backends.postgresql.connections import Connection, Connections

OLDEST_SERVER: Final = 140000
"""The oldest version of the server that is supported, as ``server_version`` of libpq counts."""

# A step may rewrite a table, and another process may be at it.
_LOCK_SECONDS: Final = 120


@frozen
class Layout:
    """The tables of one store.

    Attributes:
        part: ``records`` or ``grants``; both may share a schema.
        steps: for each version from 1 on the statements that lead to it, given the schema and the number of partitions.
    """

    part: str
    steps: Sequence[Callable[[str, int], Sequence[str]]]

    @property
    def version(self) -> int:
        return len(self.steps)


def prepare(connections: Connections, layout: Layout) -> None:
    """Bring the schema to the version that this release knows; nothing is written where it is there already.

    Raises:
        ConfigError: the schema is newer than this release, holds something else, or may not be made by this user.
        StoreUnavailable: the server cannot be reached.
    """
    if _present_version(connections, layout) == layout.version:
        return
    try:
        with connections.transaction(limit=None) as connection:
            _migrate(connection, connections, layout)
    except (psycopg.errors.DuplicateTable, psycopg.errors.DuplicateObject, psycopg.errors.UndefinedColumn):
        raise _refusal(connections, "has tables of something else; name another with schema=") from None


def _present_version(connections: Connections, layout: Layout) -> int:
    schema = connections.settings.schema
    try:
        ((server, table),) = connections.rows(
            "SELECT current_setting('server_version_num')::bigint, to_regclass($1)::text",
            [f"{schema}.migrations"],
            repeatable=True,
        )
    except psycopg.errors.InsufficientPrivilege:
        raise _refusal(connections, "may not be used by this user; grant it USAGE") from None
    if server < OLDEST_SERVER:
        raise ConfigError(f"{connections.settings.setting}: PostgreSQL 14 or newer is needed, and the server is older")
    if table is None:
        return 0
    ((version,),) = connections.rows(_VERSION, [layout.part], repeatable=True)
    return _checked(int(version), connections, layout)


_VERSION: Final = "SELECT coalesce(max(version), 0)::bigint FROM {schema}.migrations WHERE part = $1"


def _checked(version: int, connections: Connections, layout: Layout) -> int:
    if version > layout.version:
        raise _refusal(
            connections,
            f"has version {version} of the {layout.part}, and this release knows {layout.version}: upgrade LunaCore",
        )
    return version


def _migrate(connection: Connection, connections: Connections, layout: Layout) -> None:
    settings = connections.settings
    connection.execute("SELECT set_config('lock_timeout', $1, true)", [str(_LOCK_SECONDS * 1000)], prepare=False)
    connection.execute("SELECT pg_advisory_xact_lock($1)", [_lock_number(settings.schema)], prepare=False)
    for statement in _foundation(connection, settings.schema):
        connection.execute(statement, prepare=False)
    row = connection.execute(_VERSION.replace("{schema}", settings.schema), [layout.part], prepare=False).fetchone()
    assert row is not None
    present = _checked(int(row[0]), connections, layout)
    for version, step in enumerate(layout.steps[present:], present + 1):
        for statement in step(settings.schema, settings.partitions):
            connection.execute(statement, prepare=False)
        connection.execute(
            f"INSERT INTO {settings.schema}.migrations (part, version) VALUES ($1, $2)",  # noqa: S608 - a checked name
            [layout.part, version],
            prepare=False,
        )


def _foundation(connection: Connection, schema: str) -> Iterator[str]:
    """Schema and table of versions, where they are missing: making what is there takes rights that it need not have."""
    if not connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = $1", [schema], prepare=False).fetchone():
        yield f"CREATE SCHEMA {schema}"
    (table,) = connection.execute(
        "SELECT to_regclass($1)::text", [f"{schema}.migrations"], prepare=False
    ).fetchone() or (None,)
    if table is None:
        yield f"""CREATE TABLE {schema}.migrations (
            part text, version integer, applied timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (part, version)
        )"""


def _lock_number(schema: str) -> int:
    """The advisory lock of a schema; locks are those of one database."""
    return int.from_bytes(hashlib.sha256(b"lunacore/v1/migrations" + schema.encode()).digest()[:8], "big", signed=True)


def _refusal(connections: Connections, message: str) -> ConfigError:
    settings = connections.settings
    return ConfigError(f"{settings.setting}: {settings.shown}: the schema {settings.schema} {message}")


def partitioned(table: str, key: str, partitions: int) -> tuple[str, list[str]]:
    """What follows a table's columns, and the statements after it, to divide it by a hash of ``key``; nothing for 0."""
    if not partitions:
        return "", []
    made = [
        f"CREATE TABLE {table}_{number} PARTITION OF {table} FOR VALUES WITH (MODULUS {partitions}, REMAINDER {number})"
        for number in range(partitions)
    ]
    return f" PARTITION BY HASH ({key})", made


def tuned(table: str, partitions: int, *statements: str) -> list[str]:
    """``ALTER TABLE`` of storage parameters, which partitioned tables do not take but their partitions do."""
    tables = [f"{table}_{number}" for number in range(partitions)] or [table]
    return [f"ALTER TABLE {one} {statement}" for one in tables for statement in statements]
