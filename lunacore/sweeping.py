"""The sweep: erases what is due without anybody asking, and removes expired entries.

A token's record is due when its value has expired, when nothing was uploaded or nobody confirmed the upload in time, when its
erasure was begun and could not be finished yet, or when re-keying left an object that nobody can be reading any more. Each batch
is written to the audit log before it is erased.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final

from attrs import frozen

from lunacore.audit import Action, AuditEvent
from lunacore.bulk_erasure import record_erased
from lunacore.erasure import DueFor, Swept
from lunacore.errors import Conflict, LunaCoreError
from lunacore.outcomes import attempt
from lunacore.records import RecordState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lunacore.erasure import Eraser
    from lunacore.identity import Call
    from lunacore.records import Record
    from lunacore.stores import AuditSink, ExpiringStore

BATCH: Final = 500

_LEFT_ALONE: Final = (DueFor.NOTHING_YET, DueFor.UNKNOWN)
_NOT_ERASED_NOW: Final = (DueFor.ERASING, DueFor.REKEYED)


@frozen
class Sweeper:
    """Sweeps one deployment; any number of processes may do it at once."""

    eraser: Eraser
    grants: ExpiringStore
    audit: AuditSink
    now: Callable[[], float]

    def due(self) -> Mapping[DueFor, int]:
        """How many records are due, and what for. Nothing is changed.

        Raises:
            StoreUnavailable: the record store or the object store cannot be reached.
        """
        return Counter(self.eraser.due_for(record) for record in self.eraser.due(int(self.now())))

    def sweep_records(self, call: Call) -> Iterator[Swept]:
        """Erase what is due, and say of each record what became of it.

        Raises:
            StoreUnavailable: the record store or the audit log cannot be reached.
        """
        due = self.eraser.due(int(self.now()))
        while batch := list(islice(due, BATCH)):
            yield from self._sweep_batch(call, batch)

    def _sweep_batch(self, call: Call, batch: list[Record]) -> Iterator[Swept]:
        reasons = [attempt(self.eraser.due_for, record) for record in batch]
        erased = [
            (record, reason)
            for record, reason in zip(batch, reasons, strict=True)
            if isinstance(reason, DueFor) and reason not in _LEFT_ALONE
        ]
        if erased:
            self.audit.write([*self._record_events(call, erased), self._event(call, erased)])
        announced = {record.name for record, reason in erased if reason not in _NOT_ERASED_NOW}
        for record, reason in zip(batch, reasons, strict=True):
            if isinstance(reason, LunaCoreError):
                yield Swept(record.name, record.header.state, done=False, problem=reason.message)
                continue
            swept = self.eraser.sweep(record)
            if record.name in announced and (swept.kept or swept.problem):
                self._tell_that_it_stays(call, record)
            yield swept

    def _tell_that_it_stays(self, call: Call, record: Record) -> None:
        """Take back what the log says of a record that was not erased after all, unless another process erases it."""
        present = self.eraser.lookup.store.get([record.name])[0]
        if present is not None and present.header.state is not RecordState.ERASING:
            keyring = self.eraser.lookup.keyring
            self.audit.write([record_erased(call, record.name, keyring, self.now(), outcome=Conflict.name)])

    def sweep_grants(self) -> int:
        """Remove expired grants, marks and counters; say how many, 0 where the store does so by itself.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        total = 0
        while removed := self.grants.sweep(int(self.now())):
            total += removed
        return total

    def _record_events(self, call: Call, erased: Sequence[tuple[Record, DueFor]]) -> Iterator[AuditEvent]:
        """One for each record that is erased now, and not one that was before or only loses what re-keying left."""
        for record, reason in erased:
            if reason not in _NOT_ERASED_NOW:
                yield record_erased(call, record.name, self.eraser.lookup.keyring, self.now())

    def _event(self, call: Call, erased: Sequence[tuple[Record, DueFor]]) -> AuditEvent:
        counts = Counter(
            "rekeyed" if reason is DueFor.REKEYED else record.header.state.name.lower() for record, reason in erased
        )
        counts["neverUploaded"] = sum(reason is DueFor.NEVER_UPLOADED for _, reason in erased)
        return AuditEvent.of(call, Action.SWEEP, self.now(), detail=dict(+counts))
