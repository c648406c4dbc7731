"""The SSE-C trio: what is made is read back, and nothing else is."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunacore import ssec
from lunacore.errors import InvalidRequest

KEY = bytes(range(32))
PREFIX = "x-amz-server-side-encryption"
SOURCE_PREFIX = "x-amz-copy-source-server-side-encryption"
ALGORITHM, KEY_NAME, MD5_NAME = (f"{PREFIX}-customer-{part}" for part in ("algorithm", "key", "key-md5"))


def test_the_trio_of_a_known_key() -> None:
    # Both values from the base64 and openssl md5 programs.
    assert ssec.headers(KEY) == {
        ALGORITHM: "AES256",
        KEY_NAME: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        MD5_NAME: "tP/LI3N87DFaSk0aoqYgzg==",
    }


@given(key=st.binary(min_size=32, max_size=32), copy_source=st.booleans(), upper=st.booleans())
def test_a_key_survives_the_way(key: bytes, copy_source: bool, upper: bool) -> None:
    sent = ssec.headers(key, copy_source)
    assert ssec.key_from({(name.upper() if upper else name): value for name, value in sent.items()}, copy_source) == key


def test_both_trios_of_a_copy_are_told_apart() -> None:
    sent = ssec.headers(b"n" * 32) | ssec.headers(b"s" * 32, copy_source=True)
    assert all(name.startswith(SOURCE_PREFIX) for name in ssec.headers(KEY, copy_source=True))
    assert ssec.key_from(sent) == b"n" * 32
    assert ssec.key_from(sent, copy_source=True) == b"s" * 32


@given(key=st.binary(max_size=64).filter(lambda key: len(key) != 32))
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        ssec.headers(key)
    sent = {
        ALGORITHM: "AES256",
        KEY_NAME: base64.b64encode(key).decode(),
        MD5_NAME: base64.b64encode(hashlib.md5(key, usedforsecurity=False).digest()).decode(),
    }
    with pytest.raises(InvalidRequest, match="32 bytes"):
        ssec.key_from(sent)


@pytest.mark.parametrize("name", [ALGORITHM, KEY_NAME, MD5_NAME])
def test_a_missing_header_is_named(name: str) -> None:
    sent = ssec.headers(KEY)
    del sent[name]
    with pytest.raises(InvalidRequest, match="is missing") as caught:
        ssec.key_from(sent)
    assert caught.value.field == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (ALGORITHM, "AES128"),
        (ALGORITHM, "aes256"),
        (ALGORITHM, ""),
        (KEY_NAME, ""),
        (KEY_NAME, "not base64"),
        (KEY_NAME, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"),
        (KEY_NAME, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9="),
        (KEY_NAME, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHhé="),
        (MD5_NAME, ""),
        (MD5_NAME, "b4ff9ecbc6f338dca4536631d4e9e34e"),
        (MD5_NAME, "AAAAAAAAAAAAAAAAAAAAAA=="),
        (f"{PREFIX}", "aws:kms"),
        (f"{PREFIX}-aws-kms-key-id", "alias/luna"),
        (f"{PREFIX}-customer-keys", "x"),
    ],
)
def test_a_wrong_or_extra_header_is_named_and_the_key_is_not_shown(name: str, value: str) -> None:
    sent = ssec.headers(KEY) | {name: value}
    with pytest.raises(InvalidRequest) as caught:
        ssec.key_from(sent)
    assert caught.value.field == name
    assert ssec.headers(KEY)[KEY_NAME] not in caught.value.message


@given(key=st.binary(min_size=32, max_size=32), other=st.binary(min_size=32, max_size=32))
def test_key_and_md5_of_different_keys_are_refused(key: bytes, other: bytes) -> None:
    mixed = ssec.headers(key) | {MD5_NAME: ssec.headers(other)[MD5_NAME]}
    if key == other:
        assert ssec.key_from(mixed) == key
        return
    with pytest.raises(InvalidRequest, match="not the MD5"):
        ssec.key_from(mixed)
