"""Receipts of erasure: to the byte as specified, verified with public keys alone, and refused when anything was changed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from lunacore import errors, receipts
from lunacore import keyring as keyrings
from lunacore.erasure import Erased
from lunacore.identity import Call, operator
from lunacore.keyring import KeyPurpose, Keyring, VersionedKey
from lunacore.keyring_source import KeyringSource
from lunacore.outcomes import only
from lunacore.receipts import Erasure
from lunacore.signing import PublicKeys, VerificationKey
from lunacore.testing.deployment import START, Clock, open_in_memory, stage_key
from lunacore.tickets import NewValue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lunacore.deployment import Deployment

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "receipts.json").read_text())
PUBLIC = PublicKeys((VerificationKey(VECTORS["version"], bytes.fromhex(VECTORS["public_key"])),))
CALL = Call(operator("default"))


@pytest.fixture(scope="module")
def keyring() -> KeyringSource:
    """A keyring with the audit key of the vectors, in a real source."""
    deployment = open_in_memory(Clock())
    sealed = deployment.keyring_store.read()
    assert sealed is not None
    made = keyrings.unseal(sealed, deployment.key_providers)
    others = tuple(key for key in made.keys if key.purpose is not KeyPurpose.AUDIT)
    audit = VersionedKey(KeyPurpose.AUDIT, VECTORS["version"], START, bytes.fromhex(VECTORS["audit_key"]))
    ours = Keyring(bytes.fromhex(VECTORS["keyring"]), made.serial, (*others, audit))
    resealed = keyrings.seal(ours, deployment.key_providers, random=os.urandom)
    assert deployment.keyring_store.replace(sealed, resealed)
    return KeyringSource(deployment.keyring_store, deployment.key_providers, now=Clock())


def erasure_of(vector: Mapping[str, Any]) -> Erasure:
    erased = [
        Erased(bytes.fromhex(one["name"]), one["at"], one["sweep_from"], one["token"]) for one in vector["erased"]
    ]
    names = ("tenant", "reason", "selection", "absent", "failed", "complete", "part")
    return Erasure(erased=erased, **{name: vector[name] for name in names})


@pytest.mark.parametrize("vector", VECTORS["generate"])
def test_vectors(vector: Mapping[str, Any], keyring: KeyringSource) -> None:
    signed = receipts.sign(erasure_of(vector), keyring, now=vector["now"] + 0.9)
    assert signed == vector["receipt"]
    for keys in (PUBLIC, keyring):
        receipt = receipts.verify(signed, keys)
        assert receipt.key_version == VECTORS["version"]
        assert receipt.told["reason"] == vector["reason"]


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: vector["why"])
def test_what_must_be_refused(vector: Mapping[str, Any]) -> None:
    with pytest.raises(errors.IntegrityError) as refused:
        receipts.verify(vector["receipt"], PUBLIC)
    assert type(refused.value) is getattr(errors, vector["error"])


@given(st.data())
def test_no_character_can_be_changed(data: st.DataObject) -> None:
    line = VECTORS["generate"][1]["receipt"]
    envelope = json.loads(line)
    place = data.draw(st.integers(0, len(line) - 1))
    changed = line[:place] + data.draw(st.characters(min_codepoint=32, max_codepoint=126)) + line[place + 1 :]
    try:
        told = receipts.verify(changed, PUBLIC).told
    except errors.IntegrityError:
        return
    assert dict(told) == json.loads(envelope["receipt"]), "only what says the same may pass"


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_anything_else_is_refused(line: bytes | str) -> None:
    with pytest.raises(errors.IntegrityError):
        receipts.verify(line, PUBLIC)


def test_after_a_new_audit_key_older_receipts_still_verify(deployment: Deployment, clock: Clock) -> None:
    token = only(deployment.tokenizer.issue(CALL, [NewValue()])).token
    erased = deployment.tokenizer.erase(CALL, [token])[0]
    assert isinstance(erased, Erased)
    erasure = Erasure("default", "", {"by": "tokens"}, [erased])
    before = receipts.sign(erasure, deployment.keyring, now=clock())
    stage_key(deployment, KeyPurpose.AUDIT)
    clock.advance(400)
    after = receipts.sign(evolve(erasure, part=2), deployment.keyring, now=clock())
    versions = [receipts.verify(one, deployment.keyring).key_version for one in (before, after)]
    assert versions == [1, 2]
    (entry,) = receipts.verify(before, deployment.keyring).told["erased"]
    assert entry["token"] == deployment.tokenizer.lookup.present_each("default", [token])[0].fingerprint  # type: ignore[union-attr]
    assert token not in before


def test_another_deployments_receipt_is_refused(deployment: Deployment) -> None:
    foreign = receipts.sign(Erasure("default", "", {"by": "tokens"}, []), deployment.keyring, now=START)
    with pytest.raises(errors.IntegrityError):
        receipts.verify(foreign, open_in_memory(Clock()).keyring)
