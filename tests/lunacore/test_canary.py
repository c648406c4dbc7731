"""The canary: vectors, and which keyrings may be used with a record store."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lunacore import canary, errors
from lunacore import keyring as keyrings
from lunacore.errors import KeyringError, LunaCoreError, StoreUnavailable
from lunacore.keyring import KeyPurpose, Keyring, VersionedKey
from lunacore.records import Record
from lunacore.testing.deployment import START
from lunacore.testing.faults import FailingRecords, Fault, FaultPlan
from lunacore_backends.memory import MemoryRecords

DOCUMENT = json.loads((Path(__file__).parent.parent / "vectors" / "records.json").read_bytes())


def check(store: MemoryRecords, keyring: Keyring, now: int = START) -> None:
    canary.check(store, keyring, now=now, random=os.urandom)


def body(store: MemoryRecords) -> bytes:
    found = store.get([canary.NAME])[0]
    assert found is not None
    return found.body


@pytest.fixture
def keyring() -> Keyring:
    return keyrings.create(now=START, random=os.urandom)


@pytest.fixture
def store() -> MemoryRecords:
    return MemoryRecords()


@pytest.mark.parametrize("vector", DOCUMENT["canary"])
def test_vectors(vector: dict[str, Any]) -> None:
    root = DOCUMENT["root"]
    key = VersionedKey(KeyPurpose.ROOT, root["version"], 0, bytes.fromhex(root["key"]))
    keyring = Keyring(bytes.fromhex(vector["keyring_id"]), vector["serial"], (key,))
    made = canary._make(keyring, vector["revision"], root["version"], lambda _: bytes.fromhex(vector["nonce"]))
    assert made == Record(bytes.fromhex(vector["record_name"]), bytes.fromhex(vector["body"]))
    assert canary._serial(made, keyring) == vector["serial"]


def test_a_new_store_is_tied_to_its_keyring(store: MemoryRecords, keyring: Keyring) -> None:
    assert canary.is_new(store)
    check(store, keyring)
    assert not canary.is_new(store)
    before = body(store)
    check(store, keyring)
    assert body(store) == before


def test_a_foreign_keyring_is_refused(store: MemoryRecords, keyring: Keyring) -> None:
    check(store, keyring)
    foreign = keyrings.create(now=START, random=os.urandom)
    before = body(store)
    with pytest.raises(KeyringError, match=f"{keyring.id.hex()}, but keyring {foreign.id.hex()}.*tokenizer.keyring"):
        check(store, foreign)
    assert body(store) == before


def test_an_older_keyring_is_refused(store: MemoryRecords, keyring: Keyring) -> None:
    newer = keyring.stage(KeyPurpose.LOOKUP, active_from=START, random=os.urandom)
    check(store, keyring)
    check(store, newer)
    with pytest.raises(KeyringError, match=r"older \(serial 1\).*\(serial 2\); restore the newest keyring"):
        check(store, keyring)
    check(store, newer)


def test_a_keyring_without_the_root_is_refused(store: MemoryRecords, keyring: Keyring) -> None:
    newer = keyring.stage(KeyPurpose.ROOT, active_from=START, random=os.urandom)
    check(store, newer)
    with pytest.raises(KeyringError, match=r"lacks root key version 2.*restore the newest keyring"):
        check(store, keyring)


def test_it_follows_the_active_root_so_that_the_old_one_can_be_retired(store: MemoryRecords, keyring: Keyring) -> None:
    rotated = keyring.stage(KeyPurpose.ROOT, active_from=START + 180, random=os.urandom)
    check(store, rotated)
    check(store, rotated, now=START + 180)
    check(store, rotated.without(KeyPurpose.ROOT, 1), now=START + 180)


def test_clocks_that_differ_do_not_write_it_to_and_fro(store: MemoryRecords, keyring: Keyring) -> None:
    rotated = keyring.stage(KeyPurpose.ROOT, active_from=START + 180, random=os.urandom)
    check(store, rotated, now=START + 180)
    before = body(store)
    check(store, rotated, now=START)
    assert body(store) == before


@pytest.mark.parametrize("at", range(4))
def test_a_damaged_one_is_refused(store: MemoryRecords, keyring: Keyring, at: int) -> None:
    check(store, keyring)
    good = body(store)
    offset = [24, 33, -1, 60][at]
    offset %= len(good)
    bad = good[:offset] + bytes([good[offset] ^ 1]) + good[offset + 1 :]
    store.replace(Record(canary.NAME, good), Record(canary.NAME, bad))
    with pytest.raises(KeyringError):
        check(store, keyring)
    assert body(store) == bad


def test_one_of_a_later_release_is_left_alone(store: MemoryRecords, keyring: Keyring) -> None:
    check(store, keyring)
    bad = b"LCRC\x02" + body(store)[5:]
    store._rows[canary.NAME] = type(store._rows[canary.NAME])(bad, 1, 0, frozenset())
    with pytest.raises(errors.UnsupportedVersion):
        check(store, keyring)
    assert body(store) == bad


def test_many_processes_may_start_at_once(keyring: Keyring) -> None:
    for _ in range(20):
        store = MemoryRecords()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _, on=store: check(on, keyring), range(8)))
        assert canary._serial(Record(canary.NAME, body(store)), keyring) == 1


def test_the_loser_of_a_race_looks_at_what_the_winner_wrote(store: MemoryRecords, keyring: Keyring) -> None:
    foreign = keyrings.create(now=START, random=os.urandom)
    plan = FaultPlan(Fault("create", action=lambda: check(store, foreign)))
    with pytest.raises(KeyringError, match="belongs to keyring"):
        canary.check(FailingRecords(store, plan), keyring, now=START, random=os.urandom)


@pytest.mark.parametrize("call", ["get", "create"])
def test_a_store_that_fails_is_no_reason_to_go_on(store: MemoryRecords, keyring: Keyring, call: str) -> None:
    with pytest.raises(StoreUnavailable):
        canary.check(FailingRecords(store, FaultPlan(Fault(call))), keyring, now=START, random=os.urandom)


def test_messages_hold_no_key(store: MemoryRecords, keyring: Keyring) -> None:
    check(store, keyring)
    with pytest.raises(LunaCoreError) as refusal:
        check(store, keyrings.create(now=START, random=os.urandom))
    assert not any(key.secret.hex() in str(refusal.value) for key in keyring.keys)
