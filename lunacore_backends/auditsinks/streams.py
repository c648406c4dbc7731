"""The audit log on standard output or standard error (``stdout:``, ``stderr:``), for whoever collects what containers print.

The lines are those of the file sink. Processes that share the stream take turns by ``flock`` where the stream allows it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from threading import Lock
from typing import TYPE_CHECKING, Final

from lunacore.errors import AuditUnavailable, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lunacore.audit import AuditEvent
    from lunacore.audit_chain import ChainedEvent
    from lunacore.plugins import BackendURL, Surroundings

_DESCRIPTORS: Final = {"stdout": 1, "stderr": 2}


def open_audit(url: BackendURL, surroundings: Surroundings) -> StreamAudit:
    """The sink of ``stdout:`` or ``stderr:``.

    Raises:
        ConfigError: the URL holds more than its scheme.
        AuditUnavailable: the stream is closed.
    """
    setting = surroundings.setting
    url.refuse_unknown_options(setting)
    if url.host or url.path:
        raise ConfigError(f"{setting}: write {url.scheme}: and nothing behind it")
    sink = StreamAudit(_DESCRIPTORS[url.scheme], setting)
    sink.probe()
    return sink


class StreamAudit:
    """A ``LineSink`` that writes to a descriptor, past any buffer; a batch that failed goes on where it was cut off."""

    def __init__(self, descriptor: int, setting: str) -> None:
        self._descriptor = descriptor
        self._setting = setting
        self._lock = Lock()
        self._unsure = b""
        self._written = 0

    def write(self, events: Sequence[AuditEvent | ChainedEvent]) -> None:
        content = b"".join([event.to_line() for event in events])
        with self._lock:
            if content != self._unsure:
                self._unsure, self._written = content, 0
            try:
                self._append()
            except OSError as problem:
                raise self._failed(problem) from problem
            self._unsure = b""

    def probe(self) -> None:
        """See that the stream is open."""
        try:
            os.fstat(self._descriptor)
        except OSError as problem:
            raise self._failed(problem) from problem

    def _append(self) -> None:
        with self._turn():
            while self._written < len(self._unsure):
                self._written += os.write(self._descriptor, self._unsure[self._written :])

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        locked = False
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            locked = True
        try:
            yield
        finally:
            if locked:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _failed(self, problem: OSError) -> AuditUnavailable:
        return AuditUnavailable(
            f"{self._setting}: cannot write the audit log to descriptor {self._descriptor}: {problem.strerror}; "
            "nothing is released until it can be written"
        )
