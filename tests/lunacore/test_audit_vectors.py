"""Audit chains: what a second implementation wrote is what this one writes, reads and verifies."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from lunacore import signing
from lunacore.audit import Action, AuditEvent
from lunacore.audit_chain import Chain, digest, registration, verify_checkpoint
from lunacore.audit_registry import ChainRegistry
from lunacore.audit_verification import LogLine, Place, Verification
from lunacore.identity import Role
from lunacore.signing import PublicKeys, VerificationKey
from lunacore_backends.memory import MemoryRecords

VECTORS = Path(__file__).parents[1] / "vectors"
DOCUMENT = json.loads((VECTORS / "audit-chain.json").read_bytes())
LINES = [line.encode() for line in DOCUMENT["lines"]]
SIGNER = signing.signer(DOCUMENT["version"], bytes.fromhex(DOCUMENT["secret"]))
KNOWN = PublicKeys((VerificationKey(DOCUMENT["version"], bytes.fromhex(DOCUMENT["public"])),))
FACTS: dict[str, str | int | bool] = {"host": "one", "process": 4711}


def test_the_generator_still_writes_the_vectors() -> None:
    generated = subprocess.run(
        [sys.executable, VECTORS / "generate_audit_chain.py"], check=True, capture_output=True, timeout=60
    )
    assert generated.stdout == (VECTORS / "audit-chain.json").read_bytes()


def test_the_lines_are_written_so() -> None:
    chain = Chain(DOCUMENT["chain"])
    for line in LINES:
        members = json.loads(line)
        time = datetime.fromisoformat(members["time"]).timestamp()
        if "signature" in members:
            facts = FACTS | ({"final": True} if members["detail"].get("final") else {})
            assert chain.checkpoint(time, SIGNER, facts).line == line + b"\n"
        else:
            assert chain.append(_event(members, time)).line == line + b"\n"
    assert (chain.sequence, chain.head) == (5, digest(LINES[-1]))


def _event(members: dict[str, Any], time: float) -> AuditEvent:
    return AuditEvent(
        time=time,
        action=Action(members["action"]),
        outcome=members["outcome"],
        tenant=members["tenant"],
        role=Role(members["role"]),
        issuer=members["issuer"],
        reason=members.get("reason", ""),
        detail=members.get("detail", {}),
    )


@pytest.mark.parametrize("which", ["registration", "kept"])
def test_the_records_are_written_so(which: str) -> None:
    vector = DOCUMENT[which]
    store = MemoryRecords()
    registry = ChainRegistry(store, bytes.fromhex(DOCUMENT["keyring"]))
    first = registration(DOCUMENT["chain"], 1_700_000_000.25, SIGNER, FACTS)
    record = registry.register(DOCUMENT["chain"], first)
    if which == "kept":
        record = registry.keep(record, DOCUMENT["chain"], LINES[-1])
    assert (record.name.hex(), record.body.hex()) == (vector["name"], vector["body"])
    assert registry.open(record, KNOWN).line == vector["line"].encode()


def test_the_log_is_sound() -> None:
    verification = Verification(KNOWN)
    verification.expect(verify_checkpoint(LINES[-1], KNOWN), "the store")
    for number, line in enumerate(LINES, 1):
        verification.take(LogLine(Place("log", number), line))
    report = verification.finish()
    assert (report.findings, report.events, report.checkpoints, report.unconfirmed) == ((), 5, 2, 0)
