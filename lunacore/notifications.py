"""Notifications: chosen events of the audit log are told to a webhook or a command (``[[notify]]``).

They never hold up a call: an event waits in a queue with a bound, and one that finds it full is dropped and counted. Only what
stands in the audit log is told. The audit log is the record; notifications may be lost.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from queue import Full, Queue
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Final, Protocol

from attrs import define, field, frozen

from lunacore.audit import ALLOWED
from lunacore.errors import StoreUnavailable
from lunacore.keys import lp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lunacore.audit import AuditEvent
    from lunacore.config import NotifySettings
    from lunacore.signing import AuditSigner
    from lunacore.stores import AuditSink

QUEUE: Final = 1000
"""Events that may wait for one receiver."""

ATTEMPTS: Final = 3
SIGNING_PURPOSE: Final = "notification"

_LOG: Final = logging.getLogger("lunacore.notify")
_BETWEEN: Final = (1.0, 5.0)
"""Seconds before the second and the third attempt."""

_REFUSED: Final = "refused"
_DRAIN_SECONDS: Final = 10.0


@frozen
class Notification:
    """One event, ready to be delivered.

    Attributes:
        body: the event as a JSON object.
        headers: what proves where it comes from: ``LunaCore-Time`` (Unix second), ``LunaCore-Key`` (version of the audit key) and
            ``LunaCore-Signature`` (Ed25519 over both, in hexadecimal).
    """

    body: bytes = field(repr=False)
    headers: Mapping[str, str]


class Receiver(Protocol):
    """Where notifications go."""

    def deliver(self, notification: Notification) -> None:
        """Deliver one.

        Raises:
            StoreUnavailable: it may not have arrived; it is tried again.
        """
        ...


@define(eq=False)
class Channel:
    """One receiver, with the events that wait for it; safe to use from several threads.

    ``sent``, ``failed`` and ``dropped`` count what became of events.
    """

    settings: NotifySettings
    receiver: Receiver
    signer: Callable[[], AuditSigner] = field(repr=False)
    now: Callable[[], float] = field(repr=False)
    sent: int = 0
    failed: int = 0
    dropped: int = 0
    _queue: Queue[AuditEvent | None] = field(factory=lambda: Queue(QUEUE), repr=False)
    _closing: Event = field(factory=Event, repr=False)
    _lock: Lock = field(factory=Lock, repr=False)
    _thread: Thread | None = field(default=None, repr=False)

    def wants(self, event: AuditEvent) -> bool:
        """Whether the receiver is to be told."""
        actions, outcomes = self.settings.actions, self.settings.outcomes
        if actions and event.action.value not in actions:
            return False
        refused = event.outcome != ALLOWED and _REFUSED in outcomes
        return not outcomes or refused or event.outcome in outcomes

    def offer(self, event: AuditEvent) -> None:
        """Let an event wait for its delivery; it is dropped where too many wait."""
        try:
            self._queue.put_nowait(event)
        except Full:
            self.dropped += 1
            _LOG.error("event=notification_dropped receiver=%s dropped=%d", self.settings.name, self.dropped)
            return
        self._run()

    def close(self) -> None:
        """Deliver what waits, within some seconds; what is left then is dropped and counted."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            return
        self._closing.set()
        with suppress(Full):  # the thread then ends by itself behind the last one
            self._queue.put_nowait(None)
        thread.join(_DRAIN_SECONDS)
        left = self._queue.qsize()
        if thread.is_alive() and left:
            self.dropped += left
            _LOG.error("event=notification_dropped receiver=%s dropped=%d", self.settings.name, self.dropped)

    def _run(self) -> None:
        # A forked process has the object without its thread.
        if self._thread is not None and self._thread.is_alive():
            return
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._closing.clear()
                self._thread = Thread(
                    target=self._deliver_each, name=f"lunacore-notify-{self.settings.name}", daemon=True
                )
                self._thread.start()

    def _deliver_each(self) -> None:
        while True:
            if self._closing.is_set() and self._queue.empty():
                return
            event = self._queue.get()
            if event is not None:
                self._deliver(event)

    def _deliver(self, event: AuditEvent) -> None:
        for attempt in range(ATTEMPTS):
            try:
                self.receiver.deliver(self._signed(event))
            except StoreUnavailable as problem:
                message = problem.message
            except Exception as problem:  # noqa: BLE001 - the thread must outlive whatever a receiver raises
                message = type(problem).__qualname__
            else:
                self.sent += 1
                return
            if attempt + 1 < ATTEMPTS:
                self._closing.wait(_BETWEEN[attempt])  # who closes has no time to wait
        self.failed += 1
        _LOG.error(
            'event=notification_failed receiver=%s failed=%d message="%s"', self.settings.name, self.failed, message
        )

    def _signed(self, event: AuditEvent) -> Notification:
        body, time, signer = event.to_line()[:-1], str(int(self.now())), self.signer()
        headers = {
            "LunaCore-Time": time,
            "LunaCore-Key": str(signer.version),
            "LunaCore-Signature": signer.sign(SIGNING_PURPOSE, lp(time.encode("ascii"), body)).hex(),
        }
        return Notification(body, headers)


@frozen
class NotifyingAudit:
    """An ``AuditSink`` that tells channels of what the other sink has written."""

    sink: AuditSink
    channels: Sequence[Channel]

    def write(self, events: Sequence[AuditEvent]) -> None:
        """As the other sink does; then tell of what was written."""
        self.sink.write(events)
        for event in events:
            for channel in self.channels:
                if channel.wants(event):
                    channel.offer(event)

    def probe(self) -> None:
        """Reach the other sink."""
        probe = getattr(self.sink, "probe", None)
        if probe is not None:
            probe()

    def close(self) -> None:
        """Deliver what waits, and close the other sink."""
        for channel in self.channels:
            channel.close()
        close = getattr(self.sink, "close", None)
        if close is not None:
            close()
