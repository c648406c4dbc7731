"""Records and grants in the memory of one process: ``memory://``, for tests, demonstrations and throw-away vaults.

Every ``open`` makes a store of its own, which is gone with the process.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from heapq import nsmallest
from typing import TYPE_CHECKING

from attrs import field, frozen

from lunacore.errors import ConfigError, Conflict
from lunacore.records import Record
from lunacore_backends import counters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunacore.plugins import BackendURL, Surroundings
    from lunacore.stores import Entry


def open_records(url: BackendURL, surroundings: Surroundings) -> MemoryRecords:
    """A fresh, empty record store.

    Raises:
        ConfigError: the URL is more than ``memory://``.
    """
    _refuse_more_than_scheme(url, surroundings.setting)
    return MemoryRecords()


def open_grants(url: BackendURL, surroundings: Surroundings) -> MemoryGrants:
    """A fresh, empty expiring store.

    Raises:
        ConfigError: the URL is more than ``memory://``.
    """
    _refuse_more_than_scheme(url, surroundings.setting)
    return MemoryGrants()


def _refuse_more_than_scheme(url: BackendURL, setting: str) -> None:
    if url.host or url.path:
        raise ConfigError(f"{setting}: memory:// takes neither host nor path; every store in memory is its own")
    url.refuse_unknown_options(setting)


@frozen
class _Row:
    """A record's body and what the conditions of ``scan`` look at."""

    body: bytes
    root_version: int
    due: int
    labels: frozenset[bytes]

    @classmethod
    def of(cls, record: Record) -> _Row:
        header = record.header
        return cls(record.body, header.root_version, header.due, frozenset(header.labels))

    def meets(self, root_below: int | None, due_before: int | None, label: bytes | None) -> bool:
        if root_below is not None and self.root_version >= root_below:
            return False
        if due_before is not None and not 0 < self.due < due_before:
            return False
        return label is None or label in self.labels


class MemoryRecords:
    """A ``RecordStore`` in a dict, under one lock. It outlives nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[bytes, _Row] = {}
        self._order: list[bytes] | None = None

    @property
    def renames(self) -> bool:
        return True

    def create(self, records: Sequence[Record]) -> None:
        added = {record.name: _Row.of(record) for record in records}
        with self._lock:
            if len(added) < len(records) or not self._rows.keys().isdisjoint(added):
                raise Conflict("a record of this name exists already")
            self._rows.update(added)
            self._order = None

    def get(self, names: Sequence[bytes]) -> list[Record | None]:
        with self._lock:
            rows = [self._rows.get(name) for name in names]
        return [None if row is None else Record(name, row.body) for name, row in zip(names, rows, strict=True)]

    def replace(self, old: Record, new: Record) -> bool:
        row = _Row.of(new)
        with self._lock:
            present = self._rows.get(old.name)
            if present is None or present.body != old.body:
                return False
            if new.name != old.name:
                self._rename(old.name, new.name)
            self._rows[new.name] = row
            return True

    def delete(self, names: Sequence[bytes]) -> None:
        with self._lock:
            for name in names:
                self._rows.pop(name, None)
            self._order = None

    def scan(
        self,
        *,
        after: bytes = b"",
        limit: int = 1000,
        root_below: int | None = None,
        due_before: int | None = None,
        label: bytes | None = None,
    ) -> list[Record]:
        found: list[Record] = []
        with self._lock:
            names = self._names_in_order()
            for at in range(bisect_right(names, after), len(names)):
                if len(found) >= limit:
                    break
                row = self._rows[names[at]]
                if row.meets(root_below, due_before, label):
                    found.append(Record(names[at], row.body))
        return found

    def probe(self) -> None:
        """Memory is always there."""

    def _rename(self, old: bytes, new: bytes) -> None:
        if new in self._rows:
            raise Conflict("a record of the new name exists already")
        del self._rows[old]
        self._order = None

    def _names_in_order(self) -> list[bytes]:
        if self._order is None:
            self._order = sorted(self._rows)
        return self._order


@frozen
class _Slot:
    value: bytes = field(repr=False)
    expires: int


class MemoryGrants:
    """An ``ExpiringStore`` in a dict, under one lock. What expired takes memory until it is swept or written over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[bytes, _Slot] = {}

    def put(self, entries: Sequence[Entry], now: int) -> None:  # noqa: ARG002 - what is dead on arrival is swept
        with self._lock:
            for entry in entries:
                self._slots[entry.key] = _Slot(entry.value, entry.expires)

    def put_if_absent(self, entry: Entry, now: int) -> bool:
        with self._lock:
            if self._live(entry.key, now) is not None:
                return False
            self._slots[entry.key] = _Slot(entry.value, entry.expires)
            return True

    def get(self, keys: Sequence[bytes], now: int) -> list[bytes | None]:
        with self._lock:
            slots = [self._live(key, now) for key in keys]
        return [None if slot is None else slot.value for slot in slots]

    def take(self, key: bytes, now: int) -> bytes | None:
        with self._lock:
            slot = self._live(key, now)
            if slot is None:
                return None
            del self._slots[key]
            return slot.value

    def increment(self, key: bytes, by: int, expires: int, now: int) -> int:
        with self._lock:
            slot = self._live(key, now)
            count = counters.add(None if slot is None else slot.value, by)
            self._slots[key] = _Slot(counters.encode(count), expires if slot is None else slot.expires)
            return count

    def delete(self, keys: Sequence[bytes]) -> None:
        with self._lock:
            for key in keys:
                self._slots.pop(key, None)

    def sweep(self, now: int, limit: int = 10_000) -> int:
        with self._lock:
            expired = ((slot.expires, key) for key, slot in self._slots.items() if slot.expires <= now)
            oldest = nsmallest(limit, expired)
            for _, key in oldest:
                del self._slots[key]
            return len(oldest)

    def probe(self) -> None:
        """Memory is always there."""

    def _live(self, key: bytes, now: int) -> _Slot | None:
        slot = self._slots.get(key)
        return None if slot is None or slot.expires <= now else slot
