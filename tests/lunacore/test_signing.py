"""Signatures: vectors of a second implementation, separation of purposes and keys, and where the keyring source finds its keys."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lunacore import keyring as keyrings
from lunacore import signing
from lunacore.errors import IntegrityError, UnknownKeyVersion
from lunacore.keyring import KeyPurpose
from lunacore.keyring_source import KeyringSource
from lunacore.signing import PublicKeys, VerificationKey
from lunacore_backends.keyproviders.local import KeyFile
from lunacore_backends.keyring_files import MemoryKeyring

VECTORS = Path(__file__).parents[1] / "vectors"
DOCUMENT = json.loads((VECTORS / "signing.json").read_bytes())
SECRET = st.binary(min_size=32, max_size=32)
PURPOSE = st.sampled_from(["audit-checkpoint", "erasure-receipt", "a"])


def test_the_generator_still_writes_the_vectors() -> None:
    generated = subprocess.run(
        [sys.executable, VECTORS / "generate_signing.py"], check=True, capture_output=True, timeout=60
    )
    assert generated.stdout == (VECTORS / "signing.json").read_bytes()


@pytest.mark.parametrize("vector", [pytest.param(one, id=one["name"]) for one in DOCUMENT["signatures"]])
def test_vectors(vector: dict[str, Any]) -> None:
    signer = signing.signer(vector["version"], bytes.fromhex(vector["secret"]))
    message, signature = bytes.fromhex(vector["message"]), bytes.fromhex(vector["signature"])
    assert signer.verification_key == VerificationKey(vector["version"], bytes.fromhex(vector["public"]))
    assert signer.sign(vector["purpose"], message) == signature
    signer.verification_key.verify(vector["purpose"], message, signature)


@given(SECRET, SECRET, PURPOSE, PURPOSE, st.binary(max_size=40), st.binary(max_size=40))
def test_a_signature_holds_for_its_key_purpose_and_message_alone(
    secret: bytes, other: bytes, purpose: str, other_purpose: str, message: bytes, other_message: bytes
) -> None:
    assume((secret, purpose, message) != (other, other_purpose, other_message))
    signature = signing.signer(1, secret).sign(purpose, message)
    with pytest.raises(IntegrityError, match="does not hold"):
        signing.signer(1, other).verification_key.verify(other_purpose, other_message, signature)


@given(SECRET, st.binary(max_size=100), st.data())
def test_every_flipped_bit_is_refused(secret: bytes, message: bytes, data: st.DataObject) -> None:
    signer = signing.signer(1, secret)
    signature = bytearray(signer.sign("a", message))
    signature[data.draw(st.integers(0, 63))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(IntegrityError):
        signer.verification_key.verify("a", message, bytes(signature))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_a_wrong_size_verifies_nothing(size: int) -> None:
    with pytest.raises(IntegrityError):
        VerificationKey(1, bytes(size)).verify("a", b"", bytes(64))


def test_no_secret_shows() -> None:
    signer = signing.signer(1, b"s" * 32)
    assert "key" not in repr(signer)


class TestPublicKeys:
    def test_are_found_by_version(self) -> None:
        one, two = VerificationKey(1, b"a" * 32), VerificationKey(2, b"b" * 32)
        known = PublicKeys((two,)).joined([one, two])
        assert known.known == (one, two)
        assert known.verification_key(2) == two
        with pytest.raises(UnknownKeyVersion):
            known.verification_key(3)

    def test_two_of_one_version_are_refused(self) -> None:
        with pytest.raises(IntegrityError, match="version 1"):
            PublicKeys((VerificationKey(1, b"a" * 32),)).joined([VerificationKey(1, b"b" * 32)])


class TestKeyringSource:
    """The active audit key signs; every other one still verifies; a new one is found by reloading."""

    def test_the_active_key_signs_and_older_ones_verify(self) -> None:
        now = [1000.0]
        provider, random = KeyFile(b"k" * 32, "test", bytes), _counting()
        first = keyrings.create(now=0, random=random)
        store = MemoryKeyring()
        assert store.replace(None, keyrings.seal(first, [provider], random=random))
        source = KeyringSource(store, [provider], now=lambda: now[0])
        old = source.audit_signer()
        assert old.version == 1
        assert source.verification_keys() == (old.verification_key,)

        second = first.stage(KeyPurpose.AUDIT, active_from=2000, random=random)
        assert store.replace(store.read(), keyrings.seal(second, [provider], random=random))
        assert source.verification_key(2).version == 2
        assert source.audit_signer().version == 1
        now[0] = 2000.0
        assert source.audit_signer().version == 2
        assert source.verification_key(1) == old.verification_key
        with pytest.raises(UnknownKeyVersion):
            source.verification_key(3)

    def test_records_have_a_fingerprint_under_each_key(self) -> None:
        provider, random = KeyFile(b"k" * 32, "test", bytes), _counting()
        first = keyrings.create(now=0, random=random).stage(KeyPurpose.AUDIT, active_from=5, random=random)
        store = MemoryKeyring()
        store.replace(None, keyrings.seal(first, [provider], random=random))
        source = KeyringSource(store, [provider], now=lambda: 10.0)
        one, other = source.record_fingerprints(b"n" * 32), source.record_fingerprints(b"m" * 32)
        assert [len(text) for text in one] == [32, 32]
        assert len({*one, *other}) == 4


def _counting() -> Any:
    drawn = [0]

    def random(count: int) -> bytes:
        drawn[0] += 1
        return drawn[0].to_bytes(count, "big")

    return random
