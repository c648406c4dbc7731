"""The stores that a tokenizer is measured on: the embedded default, and PostgreSQL with Redis where both are installed."""

from __future__ import annotations

import os
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final, Protocol

import psycopg

from benchmarks.processes import BenchmarkError, kept_to
from lunacore.plugins import BackendURL, Surroundings
from lunacore.testing.database_servers import PostgreSQLServer, RedisServer
from lunacore_backends import sqlite
from lunacore_backends.postgresql.records import open_records as open_postgresql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager, ExitStack
    from pathlib import Path

    from lunacore.stores import RecordStore


class Stores(Protocol):
    """Where records and grants of a tokenizer lie.

    ``label`` (letters, digits and ``_``) keeps tokenizers apart that share servers.
    """

    name: str
    key: str

    def settings(self, data: Path, label: str) -> Mapping[str, str]:
        """What ``[tokenizer]`` is told; ``data`` is its data directory."""
        ...

    def records(self, data: Path, label: str) -> AbstractContextManager[RecordStore]:
        """The record store, beside the tokenizer that uses it."""
        ...

    def record_bytes(self, data: Path, label: str) -> int:
        """Bytes that all records take up, their indexes included."""
        ...


class Embedded:
    """SQLite, as it comes."""

    name = "SQLite"
    key = "sqlite"

    def settings(self, data: Path, label: str) -> Mapping[str, str]:  # noqa: ARG002 - a store's
        return {"data_dir": str(data)}

    @contextmanager
    def records(self, data: Path, label: str) -> Iterator[RecordStore]:  # noqa: ARG002 - a store's
        url = BackendURL.parse((data / "records.sqlite").as_uri().replace("file:", "sqlite:", 1), "tokenizer.records")
        surroundings = Surroundings(setting="tokenizer.records", now=time.time, random=os.urandom)
        with closing(sqlite.open_records(url, surroundings)) as records:
            yield records

    def record_bytes(self, data: Path, label: str) -> int:  # noqa: ARG002 - a store's
        return sum(path.stat().st_size for path in data.glob("records.sqlite*") if not path.name.endswith("-shm"))


class Databases:
    """Records in PostgreSQL and grants in Redis, each a server of its own beside the tokenizer."""

    name = "PostgreSQL + Redis"
    key = "databases"

    def __init__(self, postgresql: PostgreSQLServer, redis: RedisServer) -> None:
        self._postgresql = postgresql
        self._redis = redis

    def settings(self, data: Path, label: str) -> Mapping[str, str]:
        return {
            "data_dir": str(data),
            "records": self._postgresql.url(schema=label),
            "grants": self._redis.url(prefix=f"{label}:"),
        }

    @contextmanager
    def records(self, data: Path, label: str) -> Iterator[RecordStore]:  # noqa: ARG002 - a store's
        url = BackendURL.parse(self._postgresql.url(schema=label), "tokenizer.records")
        surroundings = Surroundings(setting="tokenizer.records", now=time.time, random=os.urandom)
        with closing(open_postgresql(url, surroundings)) as records:
            yield records

    def record_bytes(self, data: Path, label: str) -> int:  # noqa: ARG002 - a store's
        with psycopg.connect(self._postgresql.url()) as connection:
            row = connection.execute(_TABLES_SIZE, (label,)).fetchone()
        if row is None:
            raise BenchmarkError(f"PostgreSQL has no schema {label}")
        return int(row[0])


_TABLES_SIZE: Final = """
    SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relkind = 'r'
"""


def available(stack: ExitStack, *, core: int | tuple[int, ...], say: Callable[[str], None]) -> list[Stores]:
    """What can be measured here; servers run on ``core`` until ``stack`` ends."""
    missing = PostgreSQLServer.missing() or RedisServer.missing()
    if missing:
        say(f"the embedded default alone: {missing}")
        return [Embedded()]
    with kept_to(core):
        postgresql = stack.enter_context(PostgreSQLServer())
        redis = stack.enter_context(RedisServer())
    return [Embedded(), Databases(postgresql, redis)]
