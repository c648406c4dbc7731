"""Wrappers around real stores that do something at a chosen call: fail before or after it, or let another one slip in.

A fault *before* a call leaves the store as it was. A fault *after* it leaves the call done and the caller none the wiser,
as when an answer is lost on the network. An action that does not raise stands for another process that acts at that very
moment.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Literal, NoReturn

from attrs import field, frozen

from lunacore.errors import AuditUnavailable, StoreUnavailable
from lunacore.stores import DirectTransfer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lunacore.audit import AuditEvent
    from lunacore.records import Record
    from lunacore.stores import Entry, ExpiringStore, ObjectEntry, ObjectStore, RecordStore, SignedRequest, Stat


def unavailable() -> None:
    """The default fault.

    Raises:
        StoreUnavailable: always.
    """
    raise StoreUnavailable("injected fault")


class FullAudit:
    """An audit log that has no room left."""

    def write(self, events: Sequence[AuditEvent]) -> NoReturn:  # noqa: ARG002 - it takes none
        """Refuse them.

        Raises:
            AuditUnavailable: always.
        """
        raise AuditUnavailable("the disk is full")


class Crash(BaseException):
    """The process dies here: nothing that handles errors runs."""


def crash() -> None:
    """A fault that ends the process in the middle of what it does.

    Raises:
        Crash: always.
    """
    raise Crash


@frozen
class Fault:
    """What happens around one call.

    Attributes:
        call: the method's name, ``any`` for all of them.
        nth: which of these calls, counted from 1.
        when: ``before`` or ``after`` the store did its work.
        action: what to do; usually it raises.
    """

    call: str = "any"
    nth: int = 1
    when: Literal["before", "after"] = "before"
    action: Callable[[], None] = field(default=unavailable, repr=False)


class FaultPlan:
    """Counts the calls of one or several wrapped stores, and lets the faults happen; safe with threads.

    Attributes:
        calls: the names of the methods called so far, in order.
    """

    def __init__(self, *faults: Fault) -> None:
        self.calls: list[str] = []
        self._faults = faults
        self._lock = threading.Lock()

    @contextmanager
    def around(self, call: str) -> Iterator[None]:
        """Count a call and let its faults happen around the block."""
        due = self._count(call)
        _run(due, "before")
        yield
        _run(due, "after")

    def _count(self, call: str) -> list[Fault]:
        with self._lock:
            self.calls.append(call)
            counts = {call: self.calls.count(call), "any": len(self.calls)}
        return [fault for fault in self._faults if counts.get(fault.call) == fault.nth]


def _run(faults: Sequence[Fault], when: str) -> None:
    for fault in faults:
        if fault.when == when:
            fault.action()


class FailingRecords:
    """A ``RecordStore`` around another, with faults."""

    def __init__(self, store: RecordStore, plan: FaultPlan) -> None:
        self._store = store
        self._plan = plan

    @property
    def renames(self) -> bool:
        return self._store.renames

    def create(self, records: Sequence[Record]) -> None:
        with self._plan.around("create"):
            self._store.create(records)

    def get(self, names: Sequence[bytes]) -> list[Record | None]:
        with self._plan.around("get"):
            return self._store.get(names)

    def replace(self, old: Record, new: Record) -> bool:
        with self._plan.around("replace"):
            return self._store.replace(old, new)

    def delete(self, names: Sequence[bytes]) -> None:
        with self._plan.around("delete"):
            self._store.delete(names)

    def scan(
        self,
        *,
        after: bytes = b"",
        limit: int = 1000,
        root_below: int | None = None,
        due_before: int | None = None,
        label: bytes | None = None,
    ) -> list[Record]:
        with self._plan.around("scan"):
            return self._store.scan(after=after, limit=limit, root_below=root_below, due_before=due_before, label=label)


class FailingGrants:
    """An ``ExpiringStore`` around another, with faults."""

    def __init__(self, store: ExpiringStore, plan: FaultPlan) -> None:
        self._store = store
        self._plan = plan

    def put(self, entries: Sequence[Entry], now: int) -> None:
        with self._plan.around("put"):
            self._store.put(entries, now)

    def put_if_absent(self, entry: Entry, now: int) -> bool:
        with self._plan.around("put_if_absent"):
            return self._store.put_if_absent(entry, now)

    def get(self, keys: Sequence[bytes], now: int) -> list[bytes | None]:
        with self._plan.around("get"):
            return self._store.get(keys, now)

    def take(self, key: bytes, now: int) -> bytes | None:
        with self._plan.around("take"):
            return self._store.take(key, now)

    def increment(self, key: bytes, by: int, expires: int, now: int) -> int:
        with self._plan.around("increment"):
            return self._store.increment(key, by, expires, now)

    def delete(self, keys: Sequence[bytes]) -> None:
        with self._plan.around("delete"):
            self._store.delete(keys)

    def sweep(self, now: int, limit: int = 10_000) -> int:
        with self._plan.around("sweep"):
            return self._store.sweep(now, limit)


class FailingObjects:
    """An ``ObjectStore`` around another, with faults. Signing needs no network and is passed through uncounted."""

    def __init__(self, store: ObjectStore, plan: FaultPlan) -> None:
        self._store = store
        self._plan = plan

    @property
    def origin(self) -> str:
        return self._store.origin

    @property
    def takes_raw(self) -> bool:
        return self._store.takes_raw

    def upload(self, name: bytes, key: bytes, *, now: int, ttl: int, size: int | None = None) -> SignedRequest:
        return self._store.upload(name, key, now=now, ttl=ttl, size=size)

    def download(self, name: bytes, key: bytes, *, now: int, ttl: int, etag: str = "") -> SignedRequest:
        return self._store.download(name, key, now=now, ttl=ttl, etag=etag)

    def stat(self, name: bytes, key: bytes) -> Stat | None:
        with self._plan.around("stat"):
            return self._store.stat(name, key)

    def copy(self, name: bytes, key: bytes, new_name: bytes, new_key: bytes) -> Stat:
        with self._plan.around("copy"):
            return self._store.copy(name, key, new_name, new_key)

    def delete(self, names: Sequence[bytes]) -> None:
        with self._plan.around("delete"):
            self._store.delete(names)

    def scan(self, after: bytes = b"", limit: int = 1000) -> list[ObjectEntry]:
        with self._plan.around("scan"):
            return self._store.scan(after, limit)


class FailingTransfer(FailingObjects):
    """The same around an object store that also offers ``DirectTransfer``."""

    def write(self, name: bytes, key: bytes, source: BinaryIO) -> Stat:
        with self._plan.around("write"):
            return self._transfer().write(name, key, source)

    def open(self, name: bytes, key: bytes) -> BinaryIO:
        with self._plan.around("open"):
            return self._transfer().open(name, key)

    def _transfer(self) -> DirectTransfer:
        assert isinstance(self._store, DirectTransfer)
        return self._store
