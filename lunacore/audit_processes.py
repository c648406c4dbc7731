"""Ends and forks of processes. Audit logs are told of both: a chain belongs to one process, and ends with a checkpoint."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lunacore.audit_log import AuditLog


class SupportsClose(Protocol):
    """What can be closed."""

    def close(self) -> None:
        """Close it; once more does no harm."""
        ...


_LOGS: Final[weakref.WeakSet[AuditLog]] = weakref.WeakSet()
_PARTS: Final[weakref.WeakSet[SupportsClose]] = weakref.WeakSet()
_held: list[AuditLog] = []


def watch(log: AuditLog) -> None:
    """Tell ``log`` when this process forks, and end its chain when the process ends."""
    _LOGS.add(log)


def close_at_exit(part: SupportsClose) -> None:
    """Close ``part`` when the process ends, if it still exists."""
    _PARTS.add(part)


def facts() -> Mapping[str, str | int | bool]:
    """What checkpoints tell of this process: its host, its number there, and the user that it runs as."""
    return {"host": os.uname().nodename, "process": os.getpid(), "user": os.geteuid()}


def _before_fork() -> None:
    _held[:] = list(_LOGS)
    for log in _held:
        log.before_fork()


def _after_fork_in_parent() -> None:
    for log in _held:
        log.after_fork_in_parent()
    _held.clear()


def _after_fork_in_child() -> None:
    for log in _held:
        log.after_fork_in_child()
    _held.clear()


def _at_exit() -> None:
    for log in list(_LOGS):
        log.end()
    for part in list(_PARTS):
        part.close()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
