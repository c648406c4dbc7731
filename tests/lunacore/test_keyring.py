"""The keyring: vectors, choice of keys by time, staging and retiring, and what sealing protects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, evolve, field
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import assume, given
from hypothesis import strategies as st

from lunacore import errors, keyring, keys
from lunacore.errors import IntegrityError, KeyringError, LunaCoreError, UnknownKeyVersion
from lunacore.keyring import KeyPurpose, Keyring, VersionedKey
from lunacore.plugins import BackendURL, Surroundings
from lunacore.recipients import Together, apart
from lunacore_backends.keyproviders.key_service import ServiceKeyProvider
from lunacore_backends.keyproviders.local import Argon2Cost, KeyFile, Passphrase, open_key_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore.stores import KeyProvider

VECTORS = Path(__file__).parent.parent / "vectors"
DOCUMENT = json.loads((VECTORS / "keyring.json").read_bytes())
VALID = [pytest.param(vector, id=vector["name"]) for vector in DOCUMENT["valid"]]
INVALID = [pytest.param(vector, id=vector["name"]) for vector in DOCUMENT["invalid"]]
SETTING = "tokenizer.seal"
HEAD_BYTES = 30
NOW = 1_700_000_000


def replay(data: bytes) -> Callable[[int], bytes]:
    """Random bytes that are known beforehand."""
    left = bytearray(data)

    def random(count: int) -> bytes:
        drawn = bytes(left[:count])
        assert len(drawn) == count, "more was drawn than the vector has"
        del left[:count]
        return drawn

    return random


@define
class RecordedService:
    """A key service that knows one key."""

    name: str
    wrapped: bytes
    key: bytes = field(repr=False)

    def wrap(self, key: bytes, context: bytes) -> bytes:
        assert key == self.key
        return self.wrapped

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        return self.key

    def close(self) -> None:
        pass


def provider_of(vector: dict[str, Any], random: Callable[[int], bytes] = os.urandom) -> KeyProvider:
    if vector["kind"] == "together":
        return Together(tuple(provider_of(member, random) for member in vector["members"]), random)
    if vector["kind"] == "service":
        service = RecordedService(vector["name"], bytes.fromhex(vector["wrapped"]), bytes.fromhex(vector["wrap_key"]))
        return ServiceKeyProvider(service, SETTING, random)
    if vector["kind"] == "key-file":
        return KeyFile(bytes.fromhex(vector["key"]), SETTING, random)
    return Passphrase(vector["passphrase"].encode(), SETTING, random, Argon2Cost(**vector["cost"]))


def keyring_of(vector: dict[str, Any]) -> Keyring:
    return Keyring(
        bytes.fromhex(vector["id"]),
        vector["serial"],
        tuple(
            VersionedKey(
                KeyPurpose[entry["purpose"].upper()],
                entry["version"],
                entry["active_from"],
                bytes.fromhex(entry["secret"]),
            )
            for entry in vector["keys"]
        ),
    )


@define
class Watched:
    """A key provider that notes whether it was asked, and what it opened."""

    provider: KeyProvider
    asked: bool = False
    opened: bytes | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.provider.name

    def seal(self, plain: bytes, context: bytes) -> bytes:
        return self.provider.seal(plain, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        self.asked = True
        self.opened = self.provider.open(sealed, context)
        return self.opened


def test_generator_writes_the_committed_vectors() -> None:
    command = [sys.executable, str(VECTORS / "generate_keyring.py")]
    written = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    assert written == (VECTORS / "keyring.json").read_bytes()


@pytest.mark.parametrize("vector", VALID)
def test_seals_to_the_bytes_of_the_vector(vector: dict[str, Any]) -> None:
    made, random = keyring_of(vector["keyring"]), replay(bytes.fromhex(vector["random"]))
    assert made.encode().hex() == vector["plain"]
    providers = [provider_of(provider, random) for provider in vector["providers"]]
    assert [provider.name for provider in providers] == [provider["name"] for provider in vector["providers"]]
    assert keyring.seal(made, providers, random=random).hex() == vector["sealed"]


@pytest.mark.parametrize("vector", VALID)
def test_every_provider_opens_the_vector(vector: dict[str, Any]) -> None:
    sealed = bytes.fromhex(vector["sealed"])
    assert [one.name for one in keyring.recipients_of(sealed)] == [provider["name"] for provider in vector["providers"]]
    for provider in vector["providers"]:
        assert keyring.unseal(sealed, [provider_of(provider)]) == keyring_of(vector["keyring"])


def refusing_layer(sealed: bytes, watched: list[Watched]) -> str:
    """Which layer must have refused, told from what the providers were asked and from the bytes themselves."""
    try:
        keyring.recipients_of(sealed[:HEAD_BYTES] + bytes(4))
    except LunaCoreError:
        return "head"
    asked = [provider for provider in watched if provider.asked]
    if not asked:
        return "recipients"
    body_key = asked[0].opened
    if body_key is None or any(provider.opened is None for provider in asked):
        return "provider"
    if len(body_key) != keys.KEY_BYTES:
        return "body-key"
    return "keys" if _body_opens(sealed, body_key) else "body"


def _body_opens(sealed: bytes, body_key: bytes) -> bool:
    at = HEAD_BYTES + 4
    for _ in range(int.from_bytes(sealed[HEAD_BYTES:at], "big")):
        at += 4 + int.from_bytes(sealed[at : at + 4], "big")
    nonce, rest = sealed[at : at + 12], sealed[at + 12 :]
    if len(rest) < 16:
        return False
    try:
        AESGCM(body_key).decrypt(nonce, rest, sealed[:at])
    except InvalidTag:
        return False
    return True


@pytest.mark.parametrize("vector", INVALID)
def test_the_named_layer_refuses_the_vector(vector: dict[str, Any]) -> None:
    sealed = bytes.fromhex(vector["sealed"])
    opening = [provider_of(provider) for provider in vector["providers"]]
    watched = [Watched(provider) for provider in apart(opening)]
    with pytest.raises(LunaCoreError) as refused:
        keyring.unseal(sealed, [Together(tuple(watched), os.urandom)] if isinstance(opening[0], Together) else watched)
    assert type(refused.value) is getattr(errors, vector["error"])
    assert refusing_layer(sealed, watched) == vector["layer"]


def test_every_layer_has_a_vector() -> None:
    assert list(dict.fromkeys(vector["layer"] for vector in DOCUMENT["invalid"])) == DOCUMENT["layers"]


def open_file(path: Path, content: str) -> KeyFile:
    path.write_bytes(bytes.fromhex(content))
    path.chmod(0o600)
    surroundings = Surroundings(setting=SETTING, now=lambda: 0.0, random=os.urandom)
    return open_key_file(BackendURL.parse(path.as_uri(), SETTING), surroundings)


@pytest.mark.parametrize("vector", DOCUMENT["key_files"]["valid"], ids=lambda vector: vector["name"])
def test_reads_the_key_file_of_the_vector(vector: dict[str, str], tmp_path: Path) -> None:
    provider = open_file(tmp_path / "seal.key", vector["content"])
    assert (provider._key.hex(), provider.name) == (vector["key"], vector["provider"])


@pytest.mark.parametrize("vector", DOCUMENT["key_files"]["invalid"], ids=lambda vector: vector["name"])
def test_refuses_the_key_file_of_the_vector(vector: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="is no key file"):
        open_file(tmp_path / "seal.key", vector["content"])


# Properties.

seconds = st.integers(0, 2**64 - 1)
secrets = st.binary(min_size=32, max_size=32)
versioned_keys = st.builds(VersionedKey, st.sampled_from(KeyPurpose), st.integers(0, 2**32 - 1), seconds, secrets)
keyrings = st.builds(
    Keyring,
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**64 - 1),
    st.lists(versioned_keys, max_size=12, unique_by=lambda key: (key.purpose, key.version)).map(tuple),
)
file_keys = st.lists(secrets, min_size=1, max_size=4, unique=True)


def key_files(file_keys: list[bytes]) -> list[KeyFile]:
    return [KeyFile(key, SETTING, os.urandom) for key in file_keys]


@given(keyrings)
def test_decoding_undoes_encoding(made: Keyring) -> None:
    assert Keyring.decode(made.encode()) == made


@given(st.binary(max_size=200))
def test_decoding_anything_is_an_integrity_error_or_the_same_bytes(plain: bytes) -> None:
    try:
        made = Keyring.decode(plain)
    except IntegrityError:
        return
    assert made.encode() == plain


@given(keyrings, file_keys, st.data())
def test_any_one_provider_opens(made: Keyring, file_keys: list[bytes], data: st.DataObject) -> None:
    sealed = keyring.seal(made, key_files(file_keys), random=os.urandom)
    chosen = data.draw(st.sampled_from(file_keys))
    assert keyring.unseal(sealed, key_files([chosen])) == made
    # Providers that it was not sealed for do not disturb.
    assert keyring.unseal(sealed, key_files([bytes(32), chosen])) == made


@given(keyrings, file_keys, secrets)
def test_no_other_provider_opens(made: Keyring, file_keys: list[bytes], other: bytes) -> None:
    assume(other not in file_keys)
    sealed = keyring.seal(made, key_files(file_keys), random=os.urandom)
    with pytest.raises(KeyringError, match=r"is sealed by file:[0-9a-f]{16}.*check the setting tokenizer\.seal"):
        keyring.unseal(sealed, key_files([other]))


def test_every_changed_byte_is_refused() -> None:
    made = keyring.create(now=NOW, random=os.urandom)
    opening = key_files([os.urandom(32)])
    passphrase = Passphrase(b"x", SETTING, os.urandom, Argon2Cost(8, 1, 1))
    sealed = keyring.seal(made, [*opening, passphrase], random=os.urandom)
    for at, byte in enumerate(sealed):
        for mask in (0x01, 0x80, 0xFF):
            changed = sealed[:at] + bytes([byte ^ mask]) + sealed[at + 1 :]
            with pytest.raises((KeyringError, IntegrityError)):
                keyring.unseal(changed, opening)


@given(st.data())
def test_changed_cut_and_longer_bytes_are_refused(data: st.DataObject) -> None:
    providers = key_files([bytes(32)])
    sealed = keyring.seal(keyring.create(now=NOW, random=os.urandom), providers, random=os.urandom)
    start = data.draw(st.integers(0, len(sealed)))
    end = data.draw(st.integers(start, len(sealed)))
    changed = sealed[:start] + data.draw(st.binary(max_size=40)) + sealed[end:]
    assume(changed != sealed)
    with pytest.raises((KeyringError, IntegrityError)):
        keyring.unseal(changed, providers)


@given(keyrings, st.sampled_from(KeyPurpose), seconds)
def test_the_active_key_is_the_newest_that_is_not_staged(made: Keyring, purpose: KeyPurpose, now: int) -> None:
    known = [key for key in made.keys if key.purpose is purpose]
    usable = [key for key in known if key.active_from <= now]
    if not known:
        with pytest.raises(KeyringError, match=f"no {purpose.name.lower()} key"):
            made.active(purpose, now)
    elif usable:
        assert made.active(purpose, now) == max(usable, key=lambda key: key.version)
    else:
        assert made.active(purpose, now) == min(known, key=lambda key: key.version)


def test_a_machine_whose_clock_is_behind_can_use_a_new_keyring() -> None:
    made = keyring.create(now=NOW, random=os.urandom)
    for purpose in KeyPurpose:
        assert made.active(purpose, NOW - 60).version == 1


@given(keyrings, st.sampled_from(KeyPurpose))
def test_keys_are_found_by_version_and_listed_newest_first(made: Keyring, purpose: KeyPurpose) -> None:
    listed = made.newest_first(purpose)
    assert [key.version for key in listed] == sorted((key.version for key in listed), reverse=True)
    assert {key for key in made.keys if key.purpose is purpose} == set(listed)
    for key in listed:
        assert made.of_version(purpose, key.version) is key
    unknown = next(number for number in range(20) if number not in {key.version for key in listed})
    with pytest.raises(UnknownKeyVersion) as refused:
        made.of_version(purpose, unknown)
    assert (refused.value.purpose, refused.value.version) == (purpose.name.lower(), unknown)


def test_a_new_keyring_has_one_active_key_of_every_purpose() -> None:
    made = keyring.create(now=NOW, random=os.urandom)
    assert [(key.purpose, key.version, key.active_from) for key in made.keys] == [(each, 1, NOW) for each in KeyPurpose]
    assert len({key.secret for key in made.keys}) == len(KeyPurpose)
    assert (len(made.id), made.serial) == (16, 1)
    for purpose in KeyPurpose:
        assert made.active(purpose, NOW).version == 1


def test_a_staged_key_becomes_active_at_its_second() -> None:
    made = keyring.create(now=NOW, random=os.urandom)
    staged = made.stage(KeyPurpose.ROOT, active_from=NOW + 180, random=os.urandom)
    assert (staged.id, staged.serial) == (made.id, made.serial + 1)
    assert staged.keys[:-1] == made.keys
    assert staged.active(KeyPurpose.ROOT, NOW + 179.999).version == 1
    assert staged.active(KeyPurpose.ROOT, NOW + 180).version == 2
    assert staged.active(KeyPurpose.LOOKUP, NOW + 180).version == 1
    assert staged.of_version(KeyPurpose.ROOT, 1) == made.of_version(KeyPurpose.ROOT, 1)


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([KeyPurpose.ROOT, KeyPurpose.AUDIT]), st.integers(1, 4)), max_size=40
    )
)
def test_a_version_number_is_never_given_twice(steps: list[tuple[bool, KeyPurpose, int]]) -> None:
    made = keyring.create(now=NOW, random=os.urandom)
    given_out = {(key.purpose, key.version): key.secret for key in made.keys}
    for stages, purpose, version in steps:
        before = made
        try:
            staged = made.stage(purpose, active_from=NOW, random=os.urandom)
            made = staged if stages else made.without(purpose, version)
        except (KeyringError, UnknownKeyVersion):
            continue
        assert made.serial == before.serial + 1
        for key in made.keys:
            assert given_out.setdefault((key.purpose, key.version), key.secret) == key.secret
        assert made.newest_first(purpose)


def test_the_newest_key_cannot_be_retired() -> None:
    made = keyring.create(now=NOW, random=os.urandom)
    with pytest.raises(KeyringError, match="the newest root key cannot be retired; stage another one first"):
        made.without(KeyPurpose.ROOT, 1)
    staged = made.stage(KeyPurpose.ROOT, active_from=NOW, random=os.urandom)
    with pytest.raises(KeyringError, match="the newest root key cannot be retired"):
        staged.without(KeyPurpose.ROOT, 2)
    retired = staged.without(KeyPurpose.ROOT, 1)
    assert [key.version for key in retired.newest_first(KeyPurpose.ROOT)] == [2]
    with pytest.raises(UnknownKeyVersion):
        retired.without(KeyPurpose.ROOT, 1)


@define
class Named:
    name: str

    def seal(self, plain: bytes, context: bytes) -> bytes:
        raise AssertionError

    open = seal


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "at least one key provider"),
        (["a", "b", "a"], "two key providers have the same name"),
        ([""], "must have 1 to 255 bytes"),
        (["ü" * 128], "must have 1 to 255 bytes"),
        (["all:0123456789abcdef"], "must not begin with all:"),
    ],
)
def test_refuses_providers_that_could_not_be_told_apart(names: list[str], message: str) -> None:
    made = keyring.create(now=NOW, random=os.urandom)
    with pytest.raises(KeyringError, match=message):
        keyring.seal(made, [Named(name) for name in names], random=os.urandom)


def test_sealing_the_same_keyring_twice_shares_no_key_or_nonce() -> None:
    made, providers = keyring.create(now=NOW, random=os.urandom), key_files([bytes(32)])
    one, other = (keyring.seal(made, providers, random=os.urandom) for _ in range(2))
    assert one[:HEAD_BYTES] == other[:HEAD_BYTES]
    assert one[-100:] != other[-100:]
    assert all(key.secret not in one for key in made.keys)


def test_a_changed_keyring_does_not_open_under_the_old_head() -> None:
    made, providers = keyring.create(now=NOW, random=os.urandom), key_files([bytes(32)])
    newer = evolve(made, serial=9)
    old, new = (keyring.seal(one, providers, random=partial(_constant, 7)) for one in (made, newer))
    with pytest.raises(IntegrityError):
        keyring.unseal(old[:HEAD_BYTES] + new[HEAD_BYTES:], providers)


def _constant(byte: int, count: int) -> bytes:
    return bytes([byte]) * count


def test_no_repr_shows_a_secret() -> None:
    made = keyring.create(now=NOW, random=lambda count: b"S" * count)
    assert "SSSS" not in repr(made.keys)
    assert "secret" not in repr(made)
