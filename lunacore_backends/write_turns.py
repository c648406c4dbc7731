"""Turns of processes that write to one SQLite file.

SQLite lets in whoever asks at a moment when nobody writes. A process that writes without pause leaves such moments of
microseconds, and another, which asks again after pauses that grow to a tenth of a second (``sqliteDefaultBusyCallback`` in
SQLite's main.c), can miss all of them for seconds. So a process asks SQLite only while it has a lock on a file beside the
database: whoever has just written waits behind the one that is asking. Only fairness rests on this, integrity on SQLite's own
lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIX: Final = "-turn"
_RETRY_SECONDS: Final = 0.001


@frozen
class WriteTurns:
    """The turns of one database; any number of threads and processes may ask."""

    path: Path

    @classmethod
    def beside(cls, database: Path) -> WriteTurns:
        return cls(database.with_name(database.name + SUFFIX))

    def create(self) -> None:
        """Make the file that is locked, for its owner alone.

        Raises:
            OSError: the directory cannot be written.
        """
        make_for_owner(self.path)

    @contextmanager
    def turn(self, timeout: float) -> Iterator[None]:
        """Be the one that asks, for as long as the block runs.

        Args:
            timeout: seconds to wait for it.

        Raises:
            TimeoutError: others had it all that time.
        """
        try:
            # Opened each time: a child of a fork would share a lock that its parent holds.
            file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            yield  # somebody removed it: writers are let in by chance then
            return
        try:
            lock(file, timeout)
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
            os.close(file)


def make_for_owner(path: Path) -> None:
    """Make an empty file that its owner alone may read and write, unless it is there.

    Raises:
        OSError: the directory cannot be written.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def lock(file: int, timeout: float) -> None:
    """Lock an open file or directory against everybody else who asks.

    Args:
        file: its descriptor; closing it gives the lock back.
        timeout: seconds to wait for the lock.

    Raises:
        TimeoutError: others had it all that time.
    """
    deadline = time.monotonic() + timeout
    while not _locked(file):
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(_RETRY_SECONDS)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
