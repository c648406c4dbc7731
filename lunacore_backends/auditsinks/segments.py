"""The audit log as segment objects: where nothing can be appended, each write makes an object of its own.

A write returns when its segment is stored, so nothing is released before. Threads that write at the same moment share a segment:
while one is being stored, the events of all others gather for the next. Names and guarantees are in
``docs/reference/audit-segments.md``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Final, Protocol

from attrs import define, field

from lunacore.errors import AuditUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore.audit import AuditEvent
    from lunacore.audit_chain import ChainedEvent

SUFFIX: Final = ".jsonl"
_WRITER_BYTES: Final = 8
_MICROSECONDS: Final = 1_000_000


class SegmentMedium(Protocol):
    """Where segments lie."""

    def create(self, name: str, content: bytes) -> None:
        """Store a new segment, whole, under a name with slashes in it; return when it is as durable as the medium is.

        Raises:
            StoreUnavailable: it may not be there.
        """
        ...

    def probe(self) -> None:
        """Reach the medium.

        Raises:
            StoreUnavailable: it cannot be reached.
        """
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


@define(eq=False)
class _Segment:
    """Lines that will be stored together, and what became of it."""

    lines: list[bytes] = field(factory=list, repr=False)
    is_done: bool = False
    failure: StoreUnavailable | None = None


class AuditSegments:
    """An ``AuditSink`` that stores each batch of events in a new segment; safe with threads and processes.

    Args:
        medium: where.
        setting: name of the setting that names it, for messages.
        now: Unix seconds.
        random: cryptographically secure random bytes, which keep the names of writers apart.
    """

    def __init__(
        self, medium: SegmentMedium, *, setting: str, now: Callable[[], float], random: Callable[[int], bytes]
    ) -> None:
        self._medium = medium
        self._setting = setting
        self._now = now
        self._random = random
        self._gathering = _Segment()
        self._gate = Lock()
        self._storing = Lock()
        self._last = 0
        self._unsure = "", b""  # name and content of the segment of which nobody knows whether it was stored

    def write(self, events: Sequence[AuditEvent | ChainedEvent]) -> None:
        """Store the events; after an error they may stand there all the same, and are whole then.

        The same events written once more go to the same segment, so that they never stand there twice.
        """
        lines = b"".join(event.to_line() for event in events)
        if not lines:
            return
        with self._gate:
            segment = self._gathering
            segment.lines.append(lines)
        with self._storing:
            if not segment.is_done:
                with self._gate:
                    self._gathering = _Segment()
                self._store(segment)
        if segment.failure is not None:
            raise AuditUnavailable(
                f"the audit log cannot be written, so nothing is released: {segment.failure.message}"
            ) from segment.failure

    def probe(self) -> None:
        self._medium.probe()

    def close(self) -> None:
        """Close the medium."""
        self._medium.close()

    def _store(self, segment: _Segment) -> None:
        content = b"".join(segment.lines)
        name = self._unsure[0] if content == self._unsure[1] else self._name()
        self._unsure = name, content
        try:
            self._medium.create(name, content)
            self._unsure = "", b""
        except StoreUnavailable as failure:
            segment.failure = failure
        except BaseException:
            # Whoever waits for this segment must not take it for stored.
            segment.failure = StoreUnavailable(f"{self._setting}: the segment could not be stored")
            raise
        finally:
            segment.is_done = True

    def _name(self) -> str:
        """A name that sorts behind all others of this sink, and by time among those of others.

        A forked process has the writer's name of its parent, so each segment draws a new one.
        """
        self._last = max(self._last + 1, int(self._now() * _MICROSECONDS))
        moment = datetime.fromtimestamp(self._last // _MICROSECONDS, UTC)
        fraction = self._last % _MICROSECONDS
        return f"{moment:%Y/%m/%d}/{moment:%Y%m%dT%H%M%S}.{fraction:06d}Z-{self._random(_WRITER_BYTES).hex()}{SUFFIX}"
