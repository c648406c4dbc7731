"""Wycheproof's vectors of AES-GCM, HKDF-SHA256 and HMAC-SHA256 against the primitives as LunaCore calls them."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from lunacore import keys
from lunacore.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = os.environ.get("LUNACORE_WYCHEPROOF", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="LUNACORE_WYCHEPROOF names no folder with Wycheproof's vectors")


def vectors(file: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each vector with its group, hexadecimal text as bytes."""
    for group in json.loads((Path(FOLDER) / file).read_text())["testGroups"]:
        for vector in group["tests"]:
            binary = {name: bytes.fromhex(vector[name]) for name in vector if name in _BINARY}
            yield group, {**vector, **binary}


_BINARY = ("key", "iv", "aad", "msg", "ct", "tag", "ikm", "salt", "info", "okm")


def test_unseal_opens_and_refuses_as_aes_gcm_must() -> None:
    judged = {"valid": 0, "invalid": 0}
    for group, vector in vectors("aes_gcm_test.json"):
        sealed = vector["iv"] + vector["ct"] + vector["tag"]
        # LunaCore knows one key size and one nonce size; the nonce is read off the front of what is sealed.
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (256, 96, 128):
            continue
        judged[vector["result"]] += 1
        if vector["result"] == "valid":
            assert keys.unseal(vector["key"], sealed, vector["aad"]) == vector["msg"], vector["tcId"]
            assert keys.seal(vector["key"], vector["msg"], vector["aad"], lambda _, v=vector: v["iv"]) == sealed  # type: ignore[misc]
        else:
            with pytest.raises(IntegrityError):
                keys.unseal(vector["key"], sealed, vector["aad"])
    assert judged == {"valid": 39, "invalid": 27}


def test_extract_and_expand_are_hkdf() -> None:
    too_long = 0
    for _, vector in vectors("hkdf_sha256_test.json"):
        prk = keys.extract(vector["salt"], vector["ikm"])
        # keys.expand puts its own prefix before every info; the vectors' info is passed to what it calls.
        if vector["result"] == "invalid":
            too_long += 1
            with pytest.raises(ValueError, match="large"):
                HKDFExpand(hashes.SHA256(), vector["size"], vector["info"])
            with pytest.raises(ValueError, match="large"):
                keys.expand(prk, "test", length=vector["size"])
            continue
        okm = HKDFExpand(hashes.SHA256(), vector["size"], vector["info"]).derive(prk)
        assert okm == vector["okm"], vector["tcId"]
    assert too_long == 3


def test_expand_is_the_expand_of_the_vectors_under_its_own_info() -> None:
    for _, vector in vectors("hkdf_sha256_test.json"):
        if vector["result"] == "valid":
            prk, size = keys.extract(vector["salt"], vector["ikm"]), vector["size"]
            info = keys.info("test", vector["info"])
            expected = HKDFExpand(hashes.SHA256(), size, info).derive(prk)
            assert keys.expand(prk, "test", vector["info"], length=size) == expected


def test_mac_is_hmac_and_compared_as_a_whole() -> None:
    judged = {"valid": 0, "invalid": 0}
    for group, vector in vectors("hmac_sha256_test.json"):
        judged[vector["result"]] += 1
        computed = hmac.digest(vector["key"], vector["msg"], hashlib.sha256)[: group["tagSize"] // 8]
        assert keys.equal(computed, vector["tag"]) is (vector["result"] == "valid"), vector["tcId"]
        framed = hmac.digest(vector["key"], keys.lp(vector["msg"]), hashlib.sha256)
        assert keys.mac(vector["key"], vector["msg"]) == framed
    assert judged == {"valid": 66, "invalid": 108}
