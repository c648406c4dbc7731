"""What the other processes do in the tests of keyring files and the audit log; started as a script with a task and its arguments.

A line on standard output says that a store's call has returned.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lunacore.errors import AuditUnavailable, StoreUnavailable
from lunacore.testing.audit_sink import batches_of, make_event
from lunacore.testing.keyring_store import count_up, number_of, sealed_of
from lunacore_backends.auditsinks.jsonlines import JsonLinesAudit
from lunacore_backends.keyring_files import KeyringFile

if TYPE_CHECKING:
    from collections.abc import Callable


def say(line: str) -> None:
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


def open_keyring(path: str) -> KeyringFile:
    return KeyringFile(Path(path), "tokenizer.keyring")


def open_audit(path: str) -> JsonLinesAudit:
    return JsonLinesAudit(Path(path), setting="tokenizer.audit", now=lambda: 0.0)


def limit_file_size(size: int) -> None:
    """Make the kernel cut writes short at ``size`` bytes and then fail them, as a full disk does."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size < 0 else size, hard))


def count(path: str, turns: str) -> None:
    count_up(open_keyring(path), int(turns))


def count_until_killed(path: str) -> None:
    store = open_keyring(path)
    while True:
        count_up(store, 1)
        say(str(number_of(store.read() or sealed_of(0))))


def keyring_on_full_disk(path: str) -> None:
    store = open_keyring(path)
    limit_file_size(10)
    try:
        store.replace(store.read(), sealed_of(2))
    except StoreUnavailable as refused:
        say(refused.message)
    limit_file_size(-1)
    say(str(store.replace(sealed_of(1), sealed_of(3))))


def write_batches(path: str, writer: str) -> None:
    sink = open_audit(path)
    for batch in batches_of(int(writer)):
        sink.write(batch)


def write_until_killed(path: str, writer: str) -> None:
    sink = open_audit(path)
    number = 0
    while True:
        sink.write([make_event(number + step, writer=int(writer), reason="x" * 5000) for step in range(4)])
        number += 4
        say(str(number))


def audit_on_full_disk(path: str) -> None:
    sink = open_audit(path)
    sink.write([make_event(0)])
    size = Path(path).stat().st_size
    for room in range(0, 2 * size, 7):
        limit_file_size(size + room)
        try:
            sink.write([make_event(1), make_event(2)])
        except AuditUnavailable as refused:
            say(refused.message)
        say(str(Path(path).stat().st_size - size))
    limit_file_size(-1)
    sink.write([make_event(3)])


def audit_after_fork(path: str) -> None:
    sink = open_audit(path)
    sink.write([make_event(0)])
    child = os.fork()
    for batch in batches_of(1 if child else 2):
        sink.write(batch)
    if not child:
        # An inherited opening would share the parent's lock, and so lock nobody out.
        os._exit(0 if sink._process == os.getpid() else 1)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


TASKS: dict[str, Callable[..., None]] = {
    task.__name__: task
    for task in (
        count,
        count_until_killed,
        keyring_on_full_disk,
        write_batches,
        write_until_killed,
        audit_on_full_disk,
        audit_after_fork,
    )
}

if __name__ == "__main__":
    TASKS[sys.argv[1]](*json.loads(sys.argv[2]))
