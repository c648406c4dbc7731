"""Records that were put back: what the log says was erased or replaced, against what the record store holds now.

The log names records by keyed fingerprints. What it says of each is gathered in a temporary database, so that logs and stores of
any size can be compared.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from lunacore.audit import ALLOWED, Action
from lunacore.audit_verification import Finding, Place, Problem
from lunacore.errors import IntegrityError
from lunacore.records import RecordState, RecordType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lunacore.audit_verification import LogLine
    from lunacore.keyring_source import KeyringSource
    from lunacore.records import Record
    from lunacore.stores import RecordStore

_MEMBER: Final = b',"record":"'
_PAGE: Final = 500
_CREATE: Final = """
    CREATE TABLE said (record TEXT PRIMARY KEY, revision INTEGER, time TEXT, file TEXT, line INTEGER) WITHOUT ROWID
"""
# An erasure, which has no revision, is never outdone; of revisions the highest counts.
_SAY: Final = """
    INSERT INTO said VALUES (?, ?, ?, ?, ?) ON CONFLICT (record) DO UPDATE
    SET revision = excluded.revision, time = excluded.time, file = excluded.file, line = excluded.line
    WHERE said.revision IS NOT NULL AND (excluded.revision IS NULL OR excluded.revision > said.revision)
"""
_TAKE_BACK: Final = "DELETE FROM said WHERE record = ? AND revision IS NULL"
_ASK: Final = "SELECT revision, time, file, line FROM said WHERE record = ?"


@frozen
class ErasedRecords:
    """What a log says of records: ``take`` its lines, then ``put_back`` compares."""

    _database: sqlite3.Connection

    def take(self, line: LogLine) -> None:
        """Take the next line of the log."""
        if _MEMBER not in line.content:
            return
        try:
            event = json.loads(line.content)
        except ValueError:
            return
        if not isinstance(event, dict) or not isinstance(event.get("record"), str):
            return
        if event.get("outcome") == ALLOWED:
            self._say(event, line.place)
        elif event.get("action") == Action.RECORD_ERASE:
            # It stays after all; the same process has said before that it would erase it.
            self._database.execute(_TAKE_BACK, (event["record"],))

    def put_back(self, store: RecordStore, keyring: KeyringSource, count: Callable[[int], object]) -> Iterator[Finding]:
        """Each record that is there although the log says that it was erased or replaced; ``count`` is told of progress.

        Raises:
            StoreUnavailable: the record store cannot be reached.
        """
        after = b""
        while page := store.scan(after=after, limit=_PAGE):
            for record in page:
                if self._contradiction(record, keyring) is None:
                    continue
                # What was being erased while the log was read may be gone by now.
                present = store.get([record.name])[0]
                finding = None if present is None else self._contradiction(present, keyring)
                if finding is not None:
                    yield finding
            count(len(page))
            after = page[-1].name

    def _say(self, event: dict[str, Any], place: Place) -> None:
        revision = event.get("revision")
        said = revision if isinstance(revision, int) else None
        self._database.execute(_SAY, (event["record"], said, str(event.get("time", "")), place.file, place.line))

    def _contradiction(self, record: Record, keyring: KeyringSource) -> Finding | None:
        try:
            header = record.header
        except IntegrityError:
            return None  # of a later release, or damaged: not this check's business
        if header.record_type is not RecordType.TOKEN or header.state is RecordState.ERASING:
            return None
        for fingerprint in keyring.record_fingerprints(record.name):
            row = self._database.execute(_ASK, (fingerprint,)).fetchone()
            if row is None:
                continue
            revision, time, file, line = row
            if revision is None:
                message = (
                    f"record {fingerprint} is there, and was erased at {time}: it was put back, or that call failed; "
                    "erase it again"
                )
                return Finding(Problem.PUT_BACK, message, Place(file, line))
            if header.revision < revision:
                message = f"record {fingerprint} has revision {header.revision}, and was given {revision} at {time}"
                return Finding(Problem.PUT_BACK, message, Place(file, line))
        return None


@contextmanager
def erased_records() -> Iterator[ErasedRecords]:
    """One comparison; its database is removed at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="lunacore-audit-") as folder,
        closing(sqlite3.connect(Path(folder) / "records.sqlite", isolation_level=None)) as database,
    ):
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute(_CREATE)
        yield ErasedRecords(database)
