"""The embedded default: records and grants in SQLite files, shared by the threads and processes of one machine.

``docs/reference/sqlite.md`` says what is kept where, and what survives what.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lunacore.errors import Conflict
from lunacore.records import Record
from lunacore_backends import counters
from lunacore_backends.sqlite_database import (
    BUSY_TIMEOUT,
    MAX_INTEGER,
    Database,
    Layout,
    path_of,
    violates_uniqueness,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunacore.plugins import BackendURL, Surroundings
    from lunacore.records import Header
    from lunacore.stores import Entry

RECORDS_LAYOUT: Final = Layout(
    holds="records",
    application_id=int.from_bytes(b"LCRC"),
    version=1,
    synchronous="FULL",
    schema=(
        """CREATE TABLE records (
            name BLOB PRIMARY KEY NOT NULL, root_version INTEGER NOT NULL, due INTEGER NOT NULL, body BLOB NOT NULL
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX records_by_root ON records (root_version, name)",
        "CREATE INDEX records_by_due ON records (due, name) WHERE due > 0",
        "CREATE TABLE labels (label BLOB NOT NULL, name BLOB NOT NULL, PRIMARY KEY (label, name)) STRICT, WITHOUT ROWID",
        "CREATE INDEX labels_by_name ON labels (name)",
    ),
)
GRANTS_LAYOUT: Final = Layout(
    holds="grants",
    application_id=int.from_bytes(b"LCGR"),
    version=1,
    synchronous="NORMAL",
    schema=(
        """CREATE TABLE entries (
            key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL, expires INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX entries_by_expiry ON entries (expires)",
    ),
)

# Other writers get their turn between batches.
_SWEEP_BATCH: Final = 500

_CREATE: Final = "INSERT INTO records (name, root_version, due, body) VALUES (?, ?, ?, ?)"
_LOOK_UP: Final = "SELECT body FROM records WHERE name = {key}"
_REPLACE: Final = "UPDATE records SET name = ?, root_version = ?, due = ?, body = ? WHERE name = ? AND body = ?"
_ADD_LABEL: Final = "INSERT OR IGNORE INTO labels (label, name) VALUES (?, ?)"
_SCAN: Final = "SELECT name, body FROM records WHERE name > ? ORDER BY name LIMIT ?"
_SCAN_VERSION: Final = """
    SELECT name, body FROM records INDEXED BY records_by_root WHERE root_version = ? AND name > ? ORDER BY name LIMIT ?
"""
# Steps from each version to the next, so that it reads as many index entries as there are versions.
_VERSIONS_BELOW: Final = """
    WITH RECURSIVE versions (version) AS (
        SELECT min(root_version) FROM records WHERE root_version < :below
        UNION ALL
        SELECT (SELECT min(root_version) FROM records WHERE root_version > version AND root_version < :below)
        FROM versions WHERE version IS NOT NULL
    )
    SELECT version FROM versions WHERE version IS NOT NULL
"""
# The conditions that are not set are NULL. Names are sorted without their bodies.
_SCAN_DUE: Final = """
    SELECT name, body FROM records WHERE name IN (
        SELECT name FROM records INDEXED BY records_by_due
        WHERE due > 0 AND due < :due_before AND name > :after AND (:root_below IS NULL OR root_version < :root_below)
        ORDER BY name LIMIT :limit
    ) ORDER BY name
"""
_SCAN_LABEL: Final = """
    SELECT labels.name, body FROM labels CROSS JOIN records ON records.name = labels.name
    WHERE label = :label AND labels.name > :after
        AND (:root_below IS NULL OR root_version < :root_below)
        AND (:due_before IS NULL OR (due > 0 AND due < :due_before))
    ORDER BY labels.name LIMIT :limit
"""

_PUT: Final = (
    "INSERT INTO entries (key, value, expires) VALUES (?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires"
)
_PUT_IF_ABSENT: Final = f"{_PUT} WHERE entries.expires <= ?"
_LOOK_UP_LIVE: Final = "SELECT value FROM entries WHERE key = {key} AND expires > ?1"
_FIND_COUNTER: Final = "SELECT value, expires FROM entries WHERE key = ? AND expires > ?"
_TAKE: Final = "DELETE FROM entries WHERE key = ? AND expires > ? RETURNING value"
_SWEEP: Final = (
    "DELETE FROM entries WHERE key IN (SELECT key FROM entries WHERE expires <= ? ORDER BY expires, key LIMIT ?)"
)


def open_records(url: BackendURL, surroundings: Surroundings) -> SQLiteRecords:
    """Open ``sqlite:///absolute/path`` as a record store, creating it where it is missing.

    Raises:
        ConfigError: the URL or what it names cannot be used.
        StoreUnavailable: the file is locked, or the disk full.
    """
    return SQLiteRecords(Path(path_of(url, surroundings.setting)), setting=surroundings.setting)


def open_grants(url: BackendURL, surroundings: Surroundings) -> SQLiteGrants:
    """Open ``sqlite:///absolute/path`` as an expiring store, creating it where it is missing.

    Raises:
        ConfigError: the URL or what it names cannot be used.
        StoreUnavailable: the file is locked, or the disk full.
    """
    return SQLiteGrants(Path(path_of(url, surroundings.setting)), setting=surroundings.setting)


class SQLiteRecords:
    """A ``RecordStore`` in one file; what a call has returned for survives ``kill -9`` and power loss.

    A ``due`` of 2**63 - 1 and later counts as never.

    Args:
        path: absolute path of the file.
        setting: where the path comes from, for error messages.
        busy_timeout: seconds to wait for another writer, in this process and again in others.

    Raises:
        ConfigError: the path cannot be used, or holds something else.
        StoreUnavailable: the file is locked, or the disk full.
    """

    def __init__(self, path: Path, *, setting: str = "records", busy_timeout: float = BUSY_TIMEOUT) -> None:
        self._database = Database(path, setting, RECORDS_LAYOUT, busy_timeout)

    @property
    def renames(self) -> bool:
        return True

    def create(self, records: Sequence[Record]) -> None:
        headers = [record.header for record in records]
        rows = [_row(record, header) for record, header in zip(records, headers, strict=True)]
        labels = [(label, row[0]) for row, header in zip(rows, headers, strict=True) for label in header.labels]
        if not rows:
            return
        with self._database.transaction() as connection:
            try:
                connection.executemany(_CREATE, rows)
            except sqlite3.IntegrityError as error:
                raise _conflict_or(error) from error
            connection.executemany(_ADD_LABEL, labels)

    def get(self, names: Sequence[bytes]) -> list[Record | None]:
        bodies = self._database.look_up(_LOOK_UP, names)
        return [None if body is None else Record(name, body) for name, body in zip(names, bodies, strict=True)]

    def replace(self, old: Record, new: Record) -> bool:
        header = new.header
        row, labels = _row(new, header), [(label, new.name) for label in header.labels]
        with self._database.transaction() as connection:
            try:
                written = connection.execute(_REPLACE, (*row, old.name, old.body)).rowcount
            except sqlite3.IntegrityError as error:
                raise _conflict_or(error) from error
            if not written:
                return False
            connection.execute("DELETE FROM labels WHERE name = ?", (old.name,))
            connection.executemany(_ADD_LABEL, labels)
        return True

    def delete(self, names: Sequence[bytes]) -> None:
        rows = [(name,) for name in names]
        if not rows:
            return
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM labels WHERE name = ?", rows)
            connection.executemany("DELETE FROM records WHERE name = ?", rows)

    def scan(
        self,
        *,
        after: bytes = b"",
        limit: int = 1000,
        root_below: int | None = None,
        due_before: int | None = None,
        label: bytes | None = None,
    ) -> list[Record]:
        # SQLite takes a negative limit for none.
        limit = max(limit, 0)
        if due_before is not None:
            due_before = min(due_before, MAX_INTEGER)
        if label is None and due_before is None and root_below is not None:
            return self._scan_older_versions(after, limit, root_below)
        if label is None and due_before is None:
            return [Record(*row) for row in self._database.query(_SCAN, (after, limit))]
        conditions = {
            "after": after,
            "limit": limit,
            "root_below": root_below,
            "due_before": due_before,
            "label": label,
        }
        with self._database.snapshot() as connection:
            rows = connection.execute(_SCAN_DUE if label is None else _SCAN_LABEL, conditions).fetchall()
        return [Record(*row) for row in rows]

    def probe(self) -> None:
        self._database.probe()

    def close(self) -> None:
        """Empty the log and close the file; calls after that raise ``StoreUnavailable``."""
        self._database.close()

    def _scan_older_versions(self, after: bytes, limit: int, root_below: int) -> list[Record]:
        """Page through each version's names by themselves: however many records are left, a page costs the same."""
        rows: list[tuple[bytes, bytes]] = []
        with self._database.snapshot() as connection:
            versions = connection.execute(_VERSIONS_BELOW, {"below": root_below}).fetchall()
            for (version,) in versions:
                rows += connection.execute(_SCAN_VERSION, (version, after, limit))
        rows.sort()
        return [Record(*row) for row in rows[:limit]]


class SQLiteGrants:
    """An ``ExpiringStore`` in one file; it survives a crash of the process, and power loss but for the last moments.

    Counters are kept as ``lunacore_backends.counters`` says.

    Args:
        path: absolute path of the file.
        setting: where the path comes from, for error messages.
        busy_timeout: seconds to wait for another writer, in this process and again in others.

    Raises:
        ConfigError: the path cannot be used, or holds something else.
        StoreUnavailable: the file is locked, or the disk full.
    """

    def __init__(self, path: Path, *, setting: str = "grants", busy_timeout: float = BUSY_TIMEOUT) -> None:
        self._database = Database(path, setting, GRANTS_LAYOUT, busy_timeout)

    def put(self, entries: Sequence[Entry], now: int) -> None:  # noqa: ARG002 - what is dead on arrival is swept
        rows = [_entry_row(entry) for entry in entries]
        if not rows:
            return
        with self._database.transaction() as connection:
            connection.executemany(_PUT, rows)

    def put_if_absent(self, entry: Entry, now: int) -> bool:
        with self._database.transaction() as connection:
            return connection.execute(_PUT_IF_ABSENT, (*_entry_row(entry), now)).rowcount == 1

    def get(self, keys: Sequence[bytes], now: int) -> list[bytes | None]:
        return self._database.look_up(_LOOK_UP_LIVE, keys, now)

    def take(self, key: bytes, now: int) -> bytes | None:
        with self._database.transaction() as connection:
            rows = connection.execute(_TAKE, (key, now)).fetchall()
        return rows[0][0] if rows else None

    def increment(self, key: bytes, by: int, expires: int, now: int) -> int:
        with self._database.transaction() as connection:
            live = connection.execute(_FIND_COUNTER, (key, now)).fetchall()
            value, kept_expiry = live[0] if live else (None, min(expires, MAX_INTEGER))
            count = counters.add(value, by)
            connection.execute(_PUT, (key, counters.encode(count), kept_expiry))
        return count

    def delete(self, keys: Sequence[bytes]) -> None:
        rows = [(key,) for key in keys]
        if not rows:
            return
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM entries WHERE key = ?", rows)

    def sweep(self, now: int, limit: int = 10_000) -> int:
        removed = 0
        while removed < limit:
            batch = min(_SWEEP_BATCH, limit - removed)
            with self._database.transaction() as connection:
                count = connection.execute(_SWEEP, (now, batch)).rowcount
            removed += count
            if count < batch:
                break
        return removed

    def probe(self) -> None:
        self._database.probe()

    def close(self) -> None:
        """Empty the log and close the file; calls after that raise ``StoreUnavailable``."""
        self._database.close()


def _row(record: Record, header: Header) -> tuple[bytes, int, int, bytes]:
    return record.name, header.root_version, min(header.due, MAX_INTEGER), record.body


def _conflict_or(error: sqlite3.IntegrityError) -> Exception:
    return Conflict("a record of this name exists already") if violates_uniqueness(error) else error


def _entry_row(entry: Entry) -> tuple[bytes, bytes, int]:
    return entry.key, entry.value, min(entry.expires, MAX_INTEGER)
