"""Audit events in memory (``memory://``): for tests and throwaway vaults."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from attrs import define, field

from lunacore.audit_chain import ChainedEvent
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
    """A ``LineSink`` that keeps its ``events``, oldest first, and their ``lines``."""

    events: list[AuditEvent] = field(factory=list)
    lines: list[bytes] = field(factory=list, repr=False)
    _lock: Lock = field(factory=Lock, repr=False, eq=False)

    def write(self, events: Sequence[AuditEvent | ChainedEvent]) -> None:
        with self._lock:
            self.events.extend(one.event if isinstance(one, ChainedEvent) else one for one in events)
            self.lines.extend(one.to_line() for one in events)

    def probe(self) -> None:
        """Memory can always be reached."""
