"""Audit events in memory (``memory://``): for tests and throwaway vaults."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from attrs import define, field

from lunacore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunacore.audit import AuditEvent
    from lunacore.plugins import BackendURL, Surroundings


def open_audit(url: BackendURL, surroundings: Surroundings) -> MemoryAudit:
    """A sink that is gone with the process."""
    setting = surroundings.setting
    url.refuse_unknown_options(setting)
    if url.host or url.path:
        raise ConfigError(f"{setting}: memory:// takes neither host nor path; every log in memory is its own")
    return MemoryAudit()


@define
class MemoryAudit:
    """An ``AuditSink`` that keeps its ``events``, oldest first."""

    events: list[AuditEvent] = field(factory=list)
    _lock: Lock = field(factory=Lock, repr=False, eq=False)

    def write(self, events: Sequence[AuditEvent]) -> None:
        with self._lock:
            self.events.extend(events)

    def probe(self) -> None:
        """Memory can always be reached."""
