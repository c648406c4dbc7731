"""The sweep: erases what is due without anybody asking, and removes expired entries.

A token's record is due when its value has expired, when nobody confirmed its upload in time, or when its erasure was begun and
could not be finished yet. Each batch is written to the audit log before it is erased.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final

from attrs import frozen

from lunacore.audit import ALLOWED, Action, AuditEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lunacore.erasure import Eraser, Swept
    from lunacore.identity import Call
    from lunacore.records import Record, RecordState
    from lunacore.stores import AuditSink, ExpiringStore

BATCH: Final = 500


@frozen
class Sweeper:
    """Sweeps one deployment; any number of processes may do it at once."""

    eraser: Eraser
    grants: ExpiringStore
    audit: AuditSink
    now: Callable[[], float]

    def due(self) -> Mapping[RecordState, int]:
        """How many records are due, by their state. Nothing is changed.

        Raises:
            StoreUnavailable: the record store cannot be reached.
        """
        return Counter(record.header.state for record in self.eraser.due(int(self.now())))

    def sweep_records(self, call: Call) -> Iterator[Swept]:
        """Erase what is due, and say of each record what became of it.

        Raises:
            StoreUnavailable: the record store or the audit log cannot be reached.
        """
        due = self.eraser.due(int(self.now()))
        while batch := list(islice(due, BATCH)):
            self.audit.write([self._event(call, batch)])
            yield from (self.eraser.sweep(record) for record in batch)

    def sweep_grants(self) -> int:
        """Remove expired grants, marks and counters; say how many, 0 where the store does so by itself.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        total = 0
        while removed := self.grants.sweep(int(self.now())):
            total += removed
        return total

    def _event(self, call: Call, batch: list[Record]) -> AuditEvent:
        states = Counter(record.header.state.name.lower() for record in batch)
        return AuditEvent(
            time=self.now(),
            action=Action.SWEEP,
            outcome=ALLOWED,
            tenant=call.identity.tenant,
            role=call.identity.role,
            issuer=call.identity.issuer,
            request=call.request,
            reason=call.reason,
            detail=dict(states),
        )
