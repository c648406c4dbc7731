from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from lunacore.errors import ConfigError, StoreUnavailable
from lunacore.testing.deployment import Clock
from lunacore_http.identity.jwk import parse_key_set
from lunacore_http.identity.jwt import parse, verify_signature
from lunacore_http.sdk.signing_keys import ASK_AGAIN, SigningKeys, _signing_key, key_set, read_keys
from tests.sdk.pems import ALGORITHMS, encoded, pem, public_pem

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_kind_of_key_signs_what_the_tokenizer_verifies(algorithm: str) -> None:
    (key,) = read_keys(pem(algorithm))
    published = parse_key_set(json.dumps(key_set([key])).encode(), ALGORITHMS, "app")
    unverified = parse(key.sign({"sub": "application"}))
    assert (key.algorithm, unverified.algorithm, unverified.key_id) == (algorithm, algorithm, key.id)
    found = published.select(key.id, algorithm)
    assert found is not None
    verify_signature(unverified, found)


def test_only_public_members_are_published() -> None:
    for algorithm in ALGORITHMS:
        (key,) = read_keys(pem(algorithm))
        assert set(key.jwk()) <= {"kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"}


def test_the_key_id_is_the_thumbprint_of_rfc_7638() -> None:
    """The example of RFC 7638, section 3.1, computed from the key that it prints."""
    jwk = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs"
        "tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbIS"
        "D08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
    }
    (any_key,) = read_keys(pem())
    made = _signing_key(any_key.private, "RS256", jwk)
    assert made.id == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_all_keys_are_published_and_the_first_signs() -> None:
    old, new = pem("EdDSA"), pem("ES256")
    keys = read_keys(old + b"some text between them\n" + new)
    assert [key.algorithm for key in keys] == ["EdDSA", "ES256"]
    assert read_keys([old, new.decode()]) == keys
    assert len(read_keys([old, old])) == 1


def test_an_elliptic_key_as_openssl_writes_it() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    traditional = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (read,) = read_keys(parameters + traditional)
    assert read.algorithm == "ES256"


@pytest.mark.parametrize(
    "given",
    [
        b"",
        "no key",
        "/etc/keys/app.pem",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        public_pem(),
        encoded(ed448.Ed448PrivateKey.generate()),
        encoded(ec.generate_private_key(ec.SECP384R1())),
        encoded(rsa.generate_private_key(65537, 1024)),
        [],
    ],
    # Keys that are new in each process must not be part of the tests' names, which all processes compare.
    ids=("empty", "text", "path", "malformed", "public key", "ed448", "P-384", "rsa of 1024 bits", "no keys"),
)
def test_what_cannot_sign_is_refused(given: bytes | str | list[bytes]) -> None:
    with pytest.raises(ConfigError, match="signing_key"):
        read_keys(given)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_encrypted_keys_are_refused_with_what_to_do(form: PrivateFormat) -> None:
    key = load_pem_private_key(pem("ES256"), None)
    locked = key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))
    with pytest.raises(ConfigError, match="encrypted"):
        read_keys(locked)


def test_no_message_and_no_repr_holds_the_key(tmp_path: Path) -> None:
    whole = pem().decode()
    secret = whole.splitlines()[1]
    with pytest.raises(ConfigError) as refused:
        read_keys(whole.replace("-----END", "x-----END"))
    assert secret not in str(refused.value)
    keys = SigningKeys(whole, now=Clock())
    assert secret not in repr(keys) + repr(keys.current()) + str(keys.current()[0])


def test_a_file_is_read_again_when_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, path = Clock(), tmp_path / "app.pem"
    first, second = pem(), pem()
    path.write_bytes(first)
    keys = SigningKeys(path, now=clock)
    assert keys.current() == read_keys(first)

    replaced = tmp_path / "new.pem"
    replaced.write_bytes(second)
    replaced.replace(path)
    clock.advance(2)
    assert keys.current() == read_keys(second)

    path.write_bytes(second[:40])  # half written
    clock.advance(2)
    assert keys.current() == read_keys(second)
    assert "the keys before it stay" in caplog.text
    path.unlink()
    clock.advance(2)
    assert keys.current() == read_keys(second)
    path.write_bytes(first + second)
    clock.advance(2)
    assert keys.current() == read_keys(first + second)


def test_a_file_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        SigningKeys(tmp_path / "missing.pem", now=Clock())


def test_a_function_is_asked_again_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    clock, first, second = Clock(), pem(), pem()
    answers = [first, second]
    asked = []

    def vault() -> bytes:
        asked.append(clock())
        if not answers:
            raise RuntimeError(second.decode())
        return answers.pop(0)

    keys = SigningKeys(vault, now=clock)
    assert not asked
    assert not keys.are_at_hand()
    assert keys.current() == keys.current() == read_keys(first)
    assert keys.are_at_hand()
    assert len(asked) == 1
    clock.advance(ASK_AGAIN)
    assert keys.current() == read_keys(second)
    clock.advance(ASK_AGAIN)
    assert keys.current() == read_keys(second)
    assert "RuntimeError" in caplog.text
    assert second.decode().splitlines()[1] not in caplog.text


def test_a_function_that_never_gave_a_key() -> None:
    clock = Clock()

    def fails() -> bytes:
        raise OSError

    with pytest.raises(StoreUnavailable):
        SigningKeys(fails, now=clock).current()


def test_pyjwt_agrees_on_the_public_key() -> None:
    (key,) = read_keys(pem("ES256"))
    made = pyjwt.PyJWK(key.jwk())
    assert pyjwt.decode(key.sign({"a": 1}), made, algorithms=["ES256"]) == {"a": 1}
