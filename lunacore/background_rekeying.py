"""Re-keying of what is read and was keyed long ago (``rekey.after``): in a thread of its own, after the answer was given.

Reading waits for none of it. What does not fit into the queue, or fails, is offered again when its token is next read.
"""

from __future__ import annotations

import logging
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final

from lunacore.audit import Action, AuditEvent
from lunacore.errors import LunaCoreError
from lunacore.identity import Call, operator
from lunacore.outcomes import only
from lunacore.records import RecordState
from lunacore.rekeying import MAX_LEFTOVER, keyed_at

if TYPE_CHECKING:
    from lunacore.lookup import Found, PresentedToken
    from lunacore.rekeying import Rekeyer
    from lunacore.stores import AuditSink

MAX_WAITING: Final = 256
REST: Final = 3600
"""Seconds for which a token is left alone after it could not be re-keyed."""

_LOG: Final = logging.getLogger("lunacore.rekey")
_REASON: Final = "rekey.after"
_MAX_RESTING: Final = 10_000
_STOP_SECONDS: Final = 60.0


class BackgroundRekeying:
    """Re-keys, one after another, the tokens that are offered and whose objects were keyed ``after`` seconds ago or more.

    The thread begins with the first of them, so that a process that forks before it serves has none.
    """

    def __init__(self, rekeyer: Rekeyer, audit: AuditSink, after: int) -> None:
        self._rekeyer = rekeyer
        self._audit = audit
        self._after = after
        self._lock = Lock()
        self._waiting: dict[bytes, None] = {}
        self._resting: dict[bytes, float] = {}
        self._queue: SimpleQueue[PresentedToken | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._closed = False

    def offer(self, found: Found) -> None:
        """Take a token that was just read; it is passed over if it is young, waits already, or too many do. Costs no I/O."""
        if not self._is_old(found):
            return
        name = found.opened.record.name
        with self._lock:
            if self._closed or name in self._waiting or len(self._waiting) >= MAX_WAITING:
                return
            if self._resting.get(name, 0) > self._rekeyer.now():
                return
            self._waiting[name] = None
            self._queue.put(found.token)
            if self._thread is None:
                self._thread = Thread(target=self._run, name="lunacore-rekeying", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End after the token at hand; those that wait are offered again another time."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._queue.put(None)
        if thread is not None:
            thread.join(_STOP_SECONDS)

    def _is_old(self, found: Found) -> bool:
        return (
            found.state is RecordState.STORED
            and keyed_at(found.fields) + self._after <= self._rekeyer.now()
            and len(found.fields.leftover) < MAX_LEFTOVER
        )

    def _run(self) -> None:
        while (token := self._queue.get()) is not None:
            if not self._closed:
                self._attempt(token)
            with self._lock:
                self._waiting.pop(token.keys.record_name, None)

    def _attempt(self, token: PresentedToken) -> None:
        try:
            self._rekey(token)
        except LunaCoreError as problem:
            self._rest(token)
            _LOG.warning('event=rekey_failed token=%s error=%s message="%s"', token.fingerprint, problem.name, problem)
        except Exception as problem:  # noqa: BLE001 - the thread must outlive whatever a backend raises
            self._rest(token)
            _LOG.error("event=rekey_failed token=%s error=%s", token.fingerprint, type(problem).__qualname__)

    def _rekey(self, token: PresentedToken) -> None:
        found = only(self._rekeyer.lookup.find([token]))
        if not self._is_old(found):  # another process was first
            return
        call, now = Call(operator(token.tenant), reason=_REASON), self._rekeyer.now
        fingerprint = found.token.fingerprint
        self._audit.write([AuditEvent.of(call, Action.TOKEN_REKEY, now(), token=fingerprint, detail={"deep": False})])
        rekeyed = self._rekeyer.rekey(found)
        keyring = self._rekeyer.lookup.keyring
        self._audit.write([rekeyed.event(call, Action.TOKEN_REKEY, found.token, keyring, now())])

    def _rest(self, token: PresentedToken) -> None:
        with self._lock:
            if len(self._resting) >= _MAX_RESTING:
                self._resting.clear()
            self._resting[token.keys.record_name] = self._rekeyer.now() + REST
