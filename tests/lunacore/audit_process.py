"""What other processes do in the tests of the audit log; started as a script with a task and a folder."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from lunacore import audit_processes, signing
from lunacore.audit import Action, AuditEvent
from lunacore.audit_log import AuditLog, CheckpointPolicy
from lunacore.audit_registry import ChainRegistry
from lunacore.identity import Role
from lunacore.plugins import Surroundings, open_backend

SECRET = b"a" * 32
KEYRING_ID = b"k" * 16


def event(number: int, writer: int = 0) -> AuditEvent:
    return AuditEvent(
        time=1_700_000_000.0 + number,
        action=Action.DETOKENIZE,
        outcome="allowed",
        tenant="default",
        role=Role.USER,
        issuer="https://app.example.com",
        detail={"number": number, "writer": writer},
    )


def open_log(folder: Path, *, entries: int = 1000, interval: float = 1000) -> AuditLog:
    around = Surroundings("test", lambda: 1_700_000_000.0, os.urandom)
    signer = signing.signer(1, SECRET)
    log = AuditLog(
        open_backend("audit", f"file://{folder}/audit.jsonl", around),
        registry=ChainRegistry(open_backend("records", f"sqlite://{folder}/records.sqlite", around), KEYRING_ID),
        signer=lambda: signer,
        now=around.now,
        random=os.urandom,
        policy=CheckpointPolicy(entries, interval),
        facts=audit_processes.facts,
    )
    audit_processes.watch(log)
    return log


def write_until_killed(folder: Path) -> None:
    log = open_log(folder, entries=50)
    for number in range(1_000_000):
        log.write([event(number), event(number)])
        if number == 200:
            print("writing", flush=True)


def ends_in_peace(folder: Path) -> None:
    """Write from several threads, and leave the checkpoint to the end of the process."""
    log = open_log(folder)
    threads = [threading.Thread(target=_write_some, args=(log, writer)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def forks(folder: Path) -> None:
    """Fork while other threads write; the child writes, too."""
    log = open_log(folder)
    log.write([event(0)])
    threads = [threading.Thread(target=_write_some, args=(log, writer)) for writer in range(3)]
    for thread in threads:
        thread.start()
    children = []
    for child in range(3):
        pid = os.fork()
        if not pid:
            _write_some(log, 10 + child)
            log.end()
            os._exit(0)
        children.append(pid)
    for thread in threads:
        thread.join()
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    log.end()


def _write_some(log: AuditLog, writer: int) -> None:
    for number in range(50):
        log.write([event(number, writer)])


if __name__ == "__main__":
    {task.__name__: task for task in (write_until_killed, ends_in_peace, forks)}[sys.argv[1]](Path(sys.argv[2]))
