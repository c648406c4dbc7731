"""The audit log as a local file of JSON lines (``file:``), shared by any number of processes.

A batch is appended whole or not at all: writers exclude one another by ``flock`` on the file itself, and one that cannot finish a
batch takes back what it wrote. What a crash left half-written is closed with a newline before the next batch. The line format and
the settings for log rotation are in ``docs/spec/audit.md``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from threading import Lock
from typing import TYPE_CHECKING, Final

from lunacore.errors import AuditUnavailable
from lunacore_backends import local_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lunacore.audit import AuditEvent
    from lunacore.audit_chain import ChainedEvent
    from lunacore.plugins import BackendURL, Surroundings

FILE_NAME: Final = "audit.jsonl"
ROTATION_CHECK_INTERVAL: Final = 1.0
"""Seconds between two looks whether the file was moved away."""


def open_audit(url: BackendURL, surroundings: Surroundings) -> JsonLinesAudit:
    """The sink of a ``file:`` URL: a file, or a directory that gets an ``audit.jsonl``.

    What ends with a slash, or is a directory, is taken for a directory. The last directory of the path is made where it
    is missing.

    Raises:
        ConfigError: the URL is wrong.
        AuditUnavailable: the file cannot be opened for writing.
    """
    setting = surroundings.setting
    url.refuse_unknown_options(setting, "fsync")
    path = local_files.path_of(url, setting)
    if url.path.endswith("/") or path.is_dir():
        path /= FILE_NAME
    fsync = url.choice(setting, "fsync", "always", "never", default="never") == "always"
    sink = JsonLinesAudit(path, setting=setting, now=surroundings.now, fsync=fsync)
    sink.probe()
    return sink


class JsonLinesAudit:
    """An ``AuditSink`` that appends to ``path``, from several threads and processes.

    A file that was moved away is noticed within ``ROTATION_CHECK_INTERVAL`` and a new one is begun; a process that was
    forked opens the file anew, since locks belong to the opening and not to the process.
    """

    def __init__(self, path: Path, *, setting: str, now: Callable[[], float], fsync: bool = False) -> None:
        self.path = path
        self._setting = setting
        self._now = now
        self._fsync = fsync
        self._lock = Lock()
        self._descriptor: int | None = None
        self._process = 0
        self._checked = 0.0

    def write(self, events: Sequence[AuditEvent | ChainedEvent]) -> None:
        """Append the events as one batch: after an error none of them stands in the file."""
        lines = b"".join([event.to_line() for event in events])
        if not lines:
            return
        with self._lock:
            try:
                descriptor = self._present_descriptor()
                _append(descriptor, lines, fsync=self._fsync)
            except OSError as problem:
                raise self._failed(problem) from problem

    def sync(self) -> None:
        """Force to disk what this process has written (``Syncable``).

        Raises:
            AuditUnavailable: it may not survive power loss.
        """
        with self._lock:
            if self._descriptor is None:
                return
            try:
                os.fdatasync(self._descriptor)
            except OSError as problem:
                raise self._failed(problem) from problem

    def probe(self) -> None:
        with self._lock:
            self._checked = float("-inf")
            try:
                self._present_descriptor()
            except OSError as problem:
                raise self._failed(problem) from problem

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        with self._lock:
            self._forget()

    def _failed(self, problem: OSError) -> AuditUnavailable:
        # A new opening is the best chance that the next write has, whatever was wrong with this one.
        self._forget()
        return AuditUnavailable(
            f"{self._setting}: cannot write the audit log {self.path}: {problem.strerror}; "
            "nothing is released until it can be written"
        )

    def _present_descriptor(self) -> int:
        now = self._now()
        # The absolute difference: a clock that was set back must not put off the check.
        due = abs(now - self._checked) >= ROTATION_CHECK_INTERVAL
        if self._descriptor is not None and self._process == os.getpid() and not due:
            return self._descriptor
        self._checked = now
        if self._descriptor is None or self._process != os.getpid():
            return self._open()
        if self._was_moved(self._descriptor):
            os.fdatasync(
                self._descriptor
            )  # nobody comes back to it: what it holds must not depend on later checkpoints
            return self._open()
        return self._descriptor

    def _was_moved(self, descriptor: int) -> bool:
        try:
            return not os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return True

    def _open(self) -> int:
        self._forget()
        with contextlib.suppress(FileExistsError):
            self.path.parent.mkdir(mode=0o700)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        descriptor = os.open(self.path, flags, 0o600)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is not a regular file")
        self._descriptor, self._process = descriptor, os.getpid()
        if self._fsync:
            local_files.sync_directory(self.path.parent)
        return descriptor

    def _forget(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
        self._descriptor = None


def _append(descriptor: int, lines: bytes, *, fsync: bool) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        end = os.lseek(descriptor, 0, os.SEEK_END)
        torn = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
        _write_whole(descriptor, b"\n" + lines if torn else lines, end, fsync=fsync)
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _write_whole(descriptor: int, content: bytes, end: int, *, fsync: bool) -> None:
    """Append all of the content, or leave the file as long as it was: ``end`` bytes."""
    written = 0
    try:
        while written < len(content):
            written += os.write(descriptor, content[written:])
        if fsync:
            os.fdatasync(descriptor)
    except BaseException:
        # Only what is certainly ours is taken back: another program may have appended without the lock.
        if os.fstat(descriptor).st_size == end + written:
            os.ftruncate(descriptor, end)
        raise
