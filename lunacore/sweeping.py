"""The sweep: erases what is due without anybody asking, and removes expired entries.

A token's record is due when its value has expired, when nothing was uploaded or nobody confirmed the upload in time, or when its
erasure was begun and could not be finished yet. Each batch is written to the audit log before it is erased.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final

from attrs import frozen

from lunacore.audit import ALLOWED, Action, AuditEvent
from lunacore.erasure import DueFor, Swept
from lunacore.errors import LunaCoreError
from lunacore.outcomes import attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lunacore.erasure import Eraser
    from lunacore.identity import Call
    from lunacore.records import Record
    from lunacore.stores import AuditSink, ExpiringStore

BATCH: Final = 500

_LEFT_ALONE: Final = (DueFor.NOTHING_YET, DueFor.UNKNOWN)


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
            self.audit.write([self._event(call, erased)])
        yield from (
            Swept(record.name, record.header.state, done=False, problem=reason.message)
            if isinstance(reason, LunaCoreError)
            else self.eraser.sweep(record)
            for record, reason in zip(batch, reasons, strict=True)
        )

    def sweep_grants(self) -> int:
        """Remove expired grants, marks and counters; say how many, 0 where the store does so by itself.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        total = 0
        while removed := self.grants.sweep(int(self.now())):
            total += removed
        return total

    def _event(self, call: Call, erased: Sequence[tuple[Record, DueFor]]) -> AuditEvent:
        counts = Counter(record.header.state.name.lower() for record, _ in erased)
        counts["neverUploaded"] = sum(reason is DueFor.NEVER_UPLOADED for _, reason in erased)
        return AuditEvent(
            time=self.now(),
            action=Action.SWEEP,
            outcome=ALLOWED,
            tenant=call.identity.tenant,
            role=call.identity.role,
            issuer=call.identity.issuer,
            request=call.request,
            reason=call.reason,
            detail=dict(+counts),
        )
