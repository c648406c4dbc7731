"""Records in PostgreSQL: one row each, and one for each label hash.

Every call is one statement, and so one transaction and one round trip. What the indexes are for stands beside the queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg

from lunacore.errors import Conflict, LunaCoreError
from lunacore.records import Record
from lunacore_backends.postgresql import schema
from lunacore_backends.postgresql.connections import MAX_BIGINT, bigints
from lunacore_backends.postgresql.settings import PostgreSQLSettings
from lunacore_backends.postgresql.store import PostgreSQLStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.types.numeric import Int8

    from lunacore.plugins import BackendURL, Surroundings
    from lunacore.records import Header


def _first_version(name: str, partitions: int) -> list[str]:
    # The name is the primary key and in every unique key, as partitions by a hash of it need.
    by_hash, parts = schema.partitioned(f"{name}.records", "name", partitions)
    labels_by_hash, label_parts = schema.partitioned(f"{name}.labels", "name", partitions)
    return [
        f"""CREATE TABLE {name}.records (
            name bytea NOT NULL, root_version bigint NOT NULL, due bigint NOT NULL, body bytea NOT NULL, PRIMARY KEY (name)
        ){by_hash}""",
        *parts,
        # Bodies are sealed, so compressing them gains nothing.
        *schema.tuned(f"{name}.records", partitions, "ALTER COLUMN body SET STORAGE EXTERNAL"),
        f"CREATE INDEX records_by_root ON {name}.records (root_version, name)",
        f"CREATE INDEX records_by_due ON {name}.records (due, name) WHERE due > 0",
        f"""CREATE TABLE {name}.labels (
            label bytea NOT NULL,
            name bytea NOT NULL REFERENCES {name}.records (name) ON UPDATE CASCADE ON DELETE CASCADE,
            PRIMARY KEY (label, name)
        ){labels_by_hash}""",
        *label_parts,
        f"CREATE INDEX labels_by_name ON {name}.labels (name)",
    ]


LAYOUT: Final = schema.Layout(part="records", steps=(_first_version,))

# ``{schema}`` stands for the schema. One round trip each, and prepared on each connection.
_CREATE: Final = """
    INSERT INTO {schema}.records (name, root_version, due, body)
    SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[])
"""
# The foreign key is checked when the whole statement is done.
_CREATE_LABELLED: Final = f"""
    WITH created AS ({_CREATE})
    INSERT INTO {{schema}}.labels (label, name) SELECT * FROM unnest($5::bytea[], $6::bytea[]) ON CONFLICT DO NOTHING
"""  # noqa: S608 - of constants
_GET_ONE: Final = "SELECT body FROM {schema}.records WHERE name = $1"
_GET: Final = "SELECT name, body FROM {schema}.records WHERE name = ANY($1)"
_REPLACE: Final = """
    UPDATE {schema}.records SET name = $1, root_version = $2, due = $3, body = $4 WHERE name = $5 AND body = $6
"""
_REPLACE_WITH_LABELS: Final = f"""
    WITH changed AS ({_REPLACE} RETURNING name),
    cleared AS (
        DELETE FROM {{schema}}.labels USING changed
        WHERE labels.name = $5 AND ($1 <> $5 OR labels.label <> ALL ($7::bytea[]))
    ),
    labelled AS (
        INSERT INTO {{schema}}.labels (label, name) SELECT label, changed.name FROM changed, unnest($7::bytea[]) AS label
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) FROM changed
"""  # noqa: S608 - of constants
# Rows are locked in one order, so that two deletions never wait for each other; labels follow by the foreign key.
_DELETE: Final = """
    DELETE FROM {schema}.records
    WHERE name IN (SELECT name FROM {schema}.records WHERE name = ANY($1) ORDER BY name FOR UPDATE)
"""
# Steps from each version to the next and takes a page of each by the index: however many records are left, it costs the same.
_SCAN_VERSIONS: Final = """
    WITH RECURSIVE versions (version) AS (
        (SELECT root_version FROM {schema}.records WHERE root_version < $3 ORDER BY root_version LIMIT 1)
        UNION ALL
        SELECT (
            SELECT root_version FROM {schema}.records
            WHERE root_version > version AND root_version < $3 ORDER BY root_version LIMIT 1
        ) FROM versions WHERE version IS NOT NULL
    )
    SELECT page.name, page.body FROM versions, LATERAL (
        SELECT name, body FROM {schema}.records WHERE root_version = version AND name > $1 ORDER BY name LIMIT $2
    ) AS page ORDER BY page.name LIMIT $2
"""
_SCAN: Final = "SELECT name, body FROM {schema}.records WHERE name > $1 ORDER BY name LIMIT $2"
# All that is due is looked at, in its own index; names are sorted without their bodies.
_SCAN_DUE: Final = """
    SELECT name, body FROM {schema}.records WHERE name IN (
        SELECT name FROM {schema}.records WHERE name > $1 AND due > 0 AND due < $3@ ORDER BY name LIMIT $2
    ) ORDER BY name
"""
# The order is that of the labels' key.
_SCAN_LABEL: Final = """
    SELECT records.name, body FROM {schema}.labels JOIN {schema}.records ON records.name = labels.name
    WHERE label = $3 AND labels.name > $1@ ORDER BY labels.name LIMIT $2
"""
_BELOW: Final = " AND root_version < "
_DUE: Final = " AND due > 0 AND due < "
# By the conditions that are given: root_below, due_before, label.
_SCANS: Final = {
    (False, False, False): _SCAN,
    (True, False, False): _SCAN_VERSIONS,
    (False, True, False): _SCAN_DUE.replace("@", ""),
    (True, True, False): _SCAN_DUE.replace("@", f"{_BELOW}$4"),
    (False, False, True): _SCAN_LABEL.replace("@", ""),
    (True, False, True): _SCAN_LABEL.replace("@", f"{_BELOW}$4"),
    (False, True, True): _SCAN_LABEL.replace("@", f"{_DUE}$4"),
    (True, True, True): _SCAN_LABEL.replace("@", f"{_DUE}$4{_BELOW}$5"),
}


def open_records(url: BackendURL, surroundings: Surroundings) -> PostgreSQLRecords:
    """Open ``postgresql://user@host/database`` as a record store; its tables are made where they are missing.

    Raises:
        ConfigError: the URL is wrong, or the schema cannot be used.
        StoreUnavailable: the server cannot be reached.
    """
    return PostgreSQLRecords.open(PostgreSQLSettings.from_url(url, surroundings))


class PostgreSQLRecords(PostgreSQLStore):
    """A ``RecordStore`` in a PostgreSQL schema; what a call has returned for is on the server's disk.

    A ``due`` of 2**63 - 1 and later counts as never.
    """

    layout = LAYOUT
    durable = True

    @property
    def renames(self) -> bool:
        return True

    def create(self, records: Sequence[Record]) -> None:
        # Sorted, so that two calls which create the same names wait for one another in one order.
        rows = sorted(((record, record.header) for record in records), key=lambda row: row[0].name)
        labels = [(label, record.name) for record, header in rows for label in header.labels]
        if not rows:
            return
        columns = _columns(rows)
        try:
            if labels:
                self._connections.count(_CREATE_LABELLED, [*columns, *map(list, zip(*labels, strict=True))])
            else:
                self._connections.count(_CREATE, columns)
        except psycopg.errors.UniqueViolation as error:
            raise Conflict("a record of this name exists already") from error

    def get(self, names: Sequence[bytes]) -> list[Record | None]:
        if not names:
            return []
        if len(names) == 1:
            (name,) = names
            rows = self._connections.rows(_GET_ONE, [name], repeatable=True)
            return [Record(name, rows[0][0]) if rows else None]
        found = dict(self._connections.rows(_GET, [list(set(names))], repeatable=True))
        return [Record(name, found[name]) if name in found else None for name in names]

    def replace(self, old: Record, new: Record) -> bool:
        header = new.header
        row = [new.name, header.root_version, min(header.due, MAX_BIGINT), new.body, old.name, old.body]
        try:
            if new.name == old.name and _labels_of(old) == header.labels:
                return self._connections.count(_REPLACE, row) == 1
            ((count,),) = self._connections.rows(_REPLACE_WITH_LABELS, [*row, list(header.labels)])
        except psycopg.errors.UniqueViolation as error:
            raise Conflict("a record of the new name exists already") from error
        return bool(count)

    def delete(self, names: Sequence[bytes]) -> None:
        if names:
            self._connections.count(_DELETE, [list(set(names))], repeatable=True)

    def scan(
        self,
        *,
        after: bytes = b"",
        limit: int = 1000,
        root_below: int | None = None,
        due_before: int | None = None,
        label: bytes | None = None,
    ) -> list[Record]:
        if due_before is not None:
            due_before = min(due_before, MAX_BIGINT)
        sql = _SCANS[root_below is not None, due_before is not None, label is not None]
        # In the order in which the statements count them.
        given = [one for one in (label, due_before, root_below) if one is not None]
        rows = self._connections.rows(sql, [after, max(limit, 0), *given], repeatable=True)
        return [Record(*row) for row in rows]


def _columns(rows: Sequence[tuple[Record, Header]]) -> list[list[bytes] | list[Int8]]:
    return [
        [record.name for record, _ in rows],
        bigints(header.root_version for _, header in rows),
        bigints(min(header.due, MAX_BIGINT) for _, header in rows),
        [record.body for record, _ in rows],
    ]


def _labels_of(record: Record) -> tuple[bytes, ...] | None:
    """None where this release cannot tell."""
    try:
        return record.header.labels
    except LunaCoreError:
        return None
