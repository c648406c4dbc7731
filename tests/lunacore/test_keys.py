"""Keys: vectors, separation of purposes, sealing, and that every info string of the code is in the specification."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import lunacore
import lunacore_backends
import lunacore_http
from lunacore import keys
from lunacore.errors import IntegrityError, UnsupportedVersion
from lunacore.fields import FieldReader, lp_list
from lunacore.gateway_keys import credentials
from lunacore.keyring import KeyPurpose, VersionedKey

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors"
DOCUMENT = json.loads((VECTORS / "keys.json").read_bytes())
KEY = st.binary(min_size=32, max_size=32)


def named(group: str) -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in DOCUMENT[group]]


def test_the_generator_still_writes_the_vectors() -> None:
    generated = subprocess.run(
        [sys.executable, VECTORS / "generate_keys.py"], check=True, capture_output=True, timeout=60
    )
    assert generated.stdout == (VECTORS / "keys.json").read_bytes()


@pytest.mark.parametrize("vector", DOCUMENT["lp"])
def test_lp_vectors(vector: dict[str, Any]) -> None:
    assert keys.lp(*(bytes.fromhex(part) for part in vector["parts"])).hex() == vector["encoded"]


@pytest.mark.parametrize("vector", named("expand"))
def test_expand_vectors(vector: dict[str, Any]) -> None:
    context = [bytes.fromhex(part) for part in vector["context"]]
    output = keys.expand(bytes.fromhex(vector["key"]), vector["purpose"], *context, length=vector["length"])
    assert keys.info(vector["purpose"], *context).hex() == vector["info"]
    assert output.hex() == vector["output"]


@pytest.mark.parametrize("vector", DOCUMENT["token_keys"])
def test_token_key_vectors(vector: dict[str, Any]) -> None:
    tenant_key = keys.tenant_key(bytes.fromhex(vector["lookup_secret"]), vector["tenant"])
    derived = keys.token_keys(tenant_key, vector["token"].encode())
    assert tenant_key.hex() == vector["tenant_key"]
    assert keys.extract(tenant_key, vector["token"].encode()).hex() == vector["prk"]
    for name in ("record_name", "wrap_key", "commitment", "fingerprint"):
        assert getattr(derived, name).hex() == vector[name]


def test_tokens_secrets_and_tenants_share_nothing() -> None:
    """LunaDefend's bug: every salt and key of every token in every deployment was the same."""
    derived = [value for vector in DOCUMENT["token_keys"] for name, value in vector.items() if name not in _GIVEN]
    shared_tenant_keys = 1  # two of the vectors are two tokens of one tenant
    assert len(set(derived)) == len(derived) - shared_tenant_keys


_GIVEN = ("lookup_secret", "tenant", "token")


@pytest.mark.parametrize("vector", DOCUMENT["gateway"])
def test_gateway_vectors(vector: dict[str, Any]) -> None:
    key = VersionedKey(KeyPurpose.GATEWAY, vector["version"], 0, bytes.fromhex(vector["key"]))
    assert credentials(key).access_key == vector["access_key"]
    assert credentials(key).secret_key == vector["secret_key"]


@pytest.mark.parametrize("vector", DOCUMENT["mac"])
def test_mac_vectors(vector: dict[str, Any]) -> None:
    assert keys.mac(bytes.fromhex(vector["key"]), *map(bytes.fromhex, vector["parts"])).hex() == vector["mac"]


@pytest.mark.parametrize("vector", named("seal"))
def test_seal_vectors(vector: dict[str, Any]) -> None:
    key, nonce, plain, associated, sealed = (
        bytes.fromhex(vector[name]) for name in ("key", "nonce", "plain", "associated", "sealed")
    )
    assert keys.seal(key, plain, associated, lambda _: nonce) == sealed
    assert keys.unseal(key, sealed, associated) == plain


@pytest.mark.parametrize("vector", named("invalid"))
def test_what_does_not_open_is_refused(vector: dict[str, Any]) -> None:
    key, sealed, associated = (bytes.fromhex(vector[name]) for name in ("key", "sealed", "associated"))
    with pytest.raises(IntegrityError) as refusal:
        keys.unseal(key, sealed, associated)
    assert not isinstance(refusal.value, UnsupportedVersion)
    assert ("cut short" in refusal.value.message) is (vector["layer"] == "size")


def test_info_strings_of_the_code_are_those_of_the_specification() -> None:
    """A new purpose must be written down before it is used, and none is used for two things."""
    source = "".join(
        path.read_text(encoding="utf-8")
        for package in (lunacore, lunacore_backends, lunacore_http)
        for path in sorted(Path(package.__path__[0]).rglob("*.py"))
        if "testing" not in path.parts
    )
    used = re.findall(r"\b(?:expand|info)\([^\"'()]*(?:\([^()]*\)[^\"'()]*)*[\"']([a-z-]+)[\"']", source)
    page = (ROOT / "docs" / "spec" / "keys.md").read_text(encoding="utf-8")
    table = page.partition("## Info strings")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)
    assert sorted(used) == sorted(set(used))
    assert sorted(used) == sorted(listed)


@given(st.lists(st.binary(max_size=8), max_size=4), st.lists(st.binary(max_size=8), max_size=4))
def test_lp_can_be_read_in_one_way_only(one: list[bytes], two: list[bytes]) -> None:
    assert (keys.lp(*one) == keys.lp(*two)) is (one == two)


@given(KEY, KEY, st.sampled_from(["tenant", "label", "canary"]), st.lists(st.binary(max_size=8), max_size=3))
def test_keys_and_purposes_are_apart(key: bytes, other: bytes, purpose: str, context: list[bytes]) -> None:
    assume(key != other)
    outputs = {
        keys.expand(key, purpose, *context),
        keys.expand(other, purpose, *context),
        keys.expand(key, f"{purpose}-x", *context),
        keys.expand(key, purpose, *context, b""),
    }
    assert len(outputs) == 4


@given(KEY, st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_labels_of_tenants_are_apart(secret: bytes, tenant: str, label: str, other_tenant: str, other: str) -> None:
    assume((tenant, label) != (other_tenant, other))
    assert keys.label_hash(secret, tenant, label) != keys.label_hash(secret, other_tenant, other)


@given(KEY, st.binary(max_size=100), st.binary(max_size=20), st.data())
def test_every_flipped_bit_is_refused(key: bytes, plain: bytes, associated: bytes, data: st.DataObject) -> None:
    sealed = bytearray(keys.seal(key, plain, associated, bytes))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(IntegrityError):
        keys.unseal(key, bytes(sealed), associated)


def test_every_seal_draws_a_new_nonce() -> None:
    drawn: list[int] = []

    def random(count: int) -> bytes:
        drawn.append(count)
        return len(drawn).to_bytes(count, "big")

    sealed = {keys.seal(bytes(32), b"same", b"", random) for _ in range(3)}
    assert drawn == [12, 12, 12]
    assert len(sealed) == 3


class TestFieldReader:
    @given(st.lists(st.binary(max_size=20), max_size=5), st.binary(max_size=5))
    def test_reads_back_what_was_encoded(self, items: list[bytes], rest: bytes) -> None:
        reader = FieldReader(lp_list(tuple(items)) + rest)
        assert reader.lp_list() == tuple(items)
        assert reader.rest() == rest
        reader.finish()

    @given(st.lists(st.binary(max_size=20), min_size=1, max_size=5), st.data())
    def test_every_cut_is_refused(self, items: list[bytes], data: st.DataObject) -> None:
        encoded = lp_list(tuple(items))
        cut = data.draw(st.integers(0, len(encoded) - 1))
        with pytest.raises(IntegrityError):
            FieldReader(encoded[:cut]).lp_list()

    @pytest.mark.parametrize("encoded", [b"\xff" * 4, b"\xff" * 8, b"\x00\x00\x00\x01\xff\xff\xff\xff"])
    def test_impossible_lengths_are_refused_at_once(self, encoded: bytes) -> None:
        with pytest.raises(IntegrityError):
            FieldReader(encoded).lp_list()

    def test_left_over_bytes_are_refused(self) -> None:
        with pytest.raises(IntegrityError, match="left over"):
            FieldReader(b"x").finish()

    @pytest.mark.parametrize("read", ["text", "text_list"])
    def test_text_must_be_utf8(self, read: str) -> None:
        encoded = {"text": keys.lp(b"\xff"), "text_list": lp_list((b"ok", b"\xff"))}[read]
        with pytest.raises(IntegrityError, match="UTF-8"):
            getattr(FieldReader(encoded), read)()
