"""Grants, states, marks and counters in PostgreSQL: one row each, expired ones until they are swept.

Every call is one statement, and so one transaction and one round trip. Commits do not wait for the disk: a crash of the server
may take the last moments, as the contract allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunacore.errors import StoreUnavailable
from lunacore_backends import counters
from lunacore_backends.postgresql import schema
from lunacore_backends.postgresql.connections import MAX_BIGINT, bigints
from lunacore_backends.postgresql.settings import PostgreSQLSettings
from lunacore_backends.postgresql.store import PostgreSQLStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunacore.plugins import BackendURL, Surroundings
    from lunacore.stores import Entry

# Other writers get their turn between batches.
_SWEEP_BATCH: Final = 500
_COUNT_TURNS: Final = 5


def _first_version(name: str, partitions: int) -> list[str]:
    by_hash, parts = schema.partitioned(f"{name}.entries", "key", partitions)
    return [
        f"""CREATE TABLE {name}.entries (
            key bytea NOT NULL, value bytea NOT NULL, expires bigint NOT NULL, PRIMARY KEY (key)
        ){by_hash}""",
        *parts,
        # Rows come and go all the time.
        *schema.tuned(f"{name}.entries", partitions, "SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02)"),
        f"CREATE INDEX entries_by_expiry ON {name}.entries (expires)",
    ]


LAYOUT: Final = schema.Layout(part="grants", steps=(_first_version,))

# ``{schema}`` stands for the schema. One round trip each, and prepared on each connection.
_PUT: Final = """
    INSERT INTO {schema}.entries (key, value, expires) SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[])
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires
"""
_PUT_IF_ABSENT: Final = """
    INSERT INTO {schema}.entries (key, value, expires) VALUES ($1, $2, $3)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires WHERE entries.expires <= $4
"""
_GET: Final = "SELECT key, value FROM {schema}.entries WHERE key = ANY($1) AND expires > $2"
_TAKE: Final = "DELETE FROM {schema}.entries WHERE key = $1 AND expires > $2 RETURNING value"
# CASE, since it alone says what is evaluated before what.
_INCREMENT: Final = """
    INSERT INTO {schema}.entries (key, value, expires) VALUES ($1, $2, $3)
    ON CONFLICT (key) DO UPDATE SET
        value = CASE WHEN entries.expires <= $4 THEN excluded.value
            ELSE convert_to((encode(entries.value, 'escape')::numeric + $5)::text, 'SQL_ASCII') END,
        expires = CASE WHEN entries.expires <= $4 THEN excluded.expires ELSE entries.expires END
    WHERE CASE WHEN entries.expires <= $4 THEN true
        WHEN encode(entries.value, 'escape') ~ '^(0|-?[1-9][0-9]{0,18})$'
        THEN encode(entries.value, 'escape')::numeric + $5 BETWEEN -9223372036854775808 AND 9223372036854775807
        ELSE false END
    RETURNING value
"""
_DELETE: Final = """
    DELETE FROM {schema}.entries
    WHERE key IN (SELECT key FROM {schema}.entries WHERE key = ANY($1) ORDER BY key FOR UPDATE)
"""
# What another process is sweeping is left to it.
_SWEEP: Final = """
    DELETE FROM {schema}.entries WHERE key IN (
        SELECT key FROM {schema}.entries WHERE expires <= $1 ORDER BY expires, key LIMIT $2 FOR UPDATE SKIP LOCKED
    )
"""


def open_grants(url: BackendURL, surroundings: Surroundings) -> PostgreSQLGrants:
    """Open ``postgresql://user@host/database`` as an expiring store; its table is made where it is missing.

    Raises:
        ConfigError: the URL is wrong, or the schema cannot be used.
        StoreUnavailable: the server cannot be reached.
    """
    return PostgreSQLGrants.open(PostgreSQLSettings.from_url(url, surroundings))


class PostgreSQLGrants(PostgreSQLStore):
    """An ``ExpiringStore`` in a PostgreSQL schema. Counters are kept as ``lunacore_backends.counters`` says."""

    layout = LAYOUT
    durable = False

    def put(self, entries: Sequence[Entry], now: int) -> None:  # noqa: ARG002 - what is dead on arrival is swept
        last = {entry.key: entry for entry in entries}
        if not last:
            return
        # In one order, so that two calls for the same keys never wait for each other.
        keys, values, expires = zip(*[_row(last[key]) for key in sorted(last)], strict=True)
        self._connections.count(_PUT, [list(keys), list(values), bigints(expires)], repeatable=True)

    def put_if_absent(self, entry: Entry, now: int) -> bool:
        return self._connections.count(_PUT_IF_ABSENT, [*_row(entry), now]) == 1

    def get(self, keys: Sequence[bytes], now: int) -> list[bytes | None]:
        if not keys:
            return []
        found = dict(self._connections.rows(_GET, [list(set(keys)), now], repeatable=True))
        return [found.get(key) for key in keys]

    def take(self, key: bytes, now: int) -> bytes | None:
        rows = self._connections.rows(_TAKE, [key, now])
        return rows[0][0] if rows else None

    def increment(self, key: bytes, by: int, expires: int, now: int) -> int:
        first = counters.encode(counters.add(None, by))
        for _ in range(_COUNT_TURNS):
            rows = self._connections.rows(_INCREMENT, [key, first, min(expires, MAX_BIGINT), now, by])
            if rows:
                return int(rows[0][0])
            # What stands there was left as it is; this says why, unless another call has changed it since.
            (value,) = self.get([key], now)
            counters.add(value, by)
        raise StoreUnavailable(
            f"{self._connections.settings.setting}: a counter keeps changing its kind", retry_after=1
        )

    def delete(self, keys: Sequence[bytes]) -> None:
        if keys:
            self._connections.count(_DELETE, [list(set(keys))], repeatable=True)

    def sweep(self, now: int, limit: int = 10_000) -> int:
        removed = 0
        while removed < limit:
            batch = min(_SWEEP_BATCH, limit - removed)
            count = self._connections.count(_SWEEP, [now, batch])
            removed += count
            if count < batch:
                break
        return removed


def _row(entry: Entry) -> tuple[bytes, bytes, int]:
    return entry.key, entry.value, min(entry.expires, MAX_BIGINT)
