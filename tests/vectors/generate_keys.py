"""Write the vectors of key derivation and sealing to standard output.

    python tests/vectors/generate_keys.py > tests/vectors/keys.json

A second implementation of docs/spec/keys.md that imports nothing of LunaCore, so that vectors and code can disagree.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Vector = dict[str, Any]

LOOKUP = bytes(range(32))
OTHER_LOOKUP = bytes(range(32, 64))
ROOT = bytes(range(64, 96))
SESSION = bytes(range(96, 128))
GATEWAY = bytes(range(128, 160))
AUDIT = bytes(range(160, 192))
TOKEN = b"lunasec-01234567-89ab-4cde-8f01-23456789abcd"
OTHER_TOKEN = b"lunasec-01234567-89ab-4cde-8f01-23456789abce"


def lp(*parts: bytes) -> bytes:
    joined = b""
    for part in parts:
        joined += len(part).to_bytes(4, "big") + part
    return joined


def info(purpose: str, *context: bytes) -> bytes:
    return b"lunacore/v1/" + purpose.encode() + lp(*context)


def extract(salt: bytes, ikm: bytes) -> bytes:
    # RFC 5869, section 2.2.
    return hmac.digest(salt, ikm, hashlib.sha256)


def expand(prk: bytes, about: bytes, length: int) -> bytes:
    # RFC 5869, section 2.3; one block is enough for up to 32 bytes.
    return hmac.digest(prk, about + b"\x01", hashlib.sha256)[:length]


def expansion(name: str, key: bytes, purpose: str, *context: bytes, length: int = 32) -> Vector:
    about = info(purpose, *context)
    return {
        "name": name,
        "key": key.hex(),
        "purpose": purpose,
        "context": [part.hex() for part in context],
        "length": length,
        "info": about.hex(),
        "output": expand(key, about, length).hex(),
    }


def token_keys(lookup: bytes, tenant: str, token: bytes) -> Vector:
    tenant_key = expand(lookup, info("tenant", tenant.encode()), 32)
    prk = extract(tenant_key, token)
    return {
        "lookup_secret": lookup.hex(),
        "tenant": tenant,
        "token": token.decode(),
        "tenant_key": tenant_key.hex(),
        "prk": prk.hex(),
        "record_name": expand(prk, info("record-name"), 32).hex(),
        "wrap_key": expand(prk, info("token-wrap"), 32).hex(),
        "commitment": expand(prk, info("commitment"), 32).hex(),
        "fingerprint": expand(prk, info("fingerprint"), 16).hex(),
    }


def gateway(version: int) -> Vector:
    secret = expand(GATEWAY, info("gateway-signing"), 32)
    return {
        "key": GATEWAY.hex(),
        "version": version,
        "access_key": f"lunacore-gateway-{version}",
        "secret_key": base64.b64encode(secret).decode(),
    }


def sealing(name: str, plain: bytes, associated: bytes) -> Vector:
    key, nonce = hashlib.sha256(name.encode()).digest(), hashlib.sha256(b"nonce " + name.encode()).digest()[:12]
    return {
        "name": name,
        "key": key.hex(),
        "nonce": nonce.hex(),
        "plain": plain.hex(),
        "associated": associated.hex(),
        "sealed": (nonce + AESGCM(key).encrypt(nonce, plain, associated)).hex(),
    }


def invalid(name: str, layer: str, good: Vector, **changed: str) -> Vector:
    return {"name": name, "layer": layer, **{part: good[part] for part in ("key", "associated", "sealed")}, **changed}


def flipped(text: str, at: int) -> str:
    data = bytearray.fromhex(text)
    data[at] ^= 1
    return data.hex()


def main() -> None:
    good = sealing("text", b"a value", b"where it stands")
    empty = sealing("empty", b"", b"")
    vectors = {
        "format": "LunaCore keys (docs/spec/keys.md)",
        "lp": [
            {"parts": [part.hex() for part in parts], "encoded": lp(*parts).hex()}
            for parts in ([], [b""], [b"", b""], [b"a"], [b"ab", b"c"], [b"a", b"bc"], [bytes(300)])
        ],
        "expand": [
            expansion("tenant", LOOKUP, "tenant", b"default"),
            expansion("tenant-beyond-ascii", LOOKUP, "tenant", "Zürich".encode()),
            expansion("label", LOOKUP, "label", b"default", b"person:17", length=16),
            expansion("record-name", ROOT, "record-name"),
            expansion("token-wrap", ROOT, "token-wrap"),
            expansion("commitment", ROOT, "commitment"),
            expansion("fingerprint", ROOT, "fingerprint", length=16),
            expansion("record-outer", ROOT, "record-outer", bytes(range(32))),
            expansion("canary", ROOT, "canary"),
            expansion("grant", SESSION, "grant"),
            expansion("grant-tag", SESSION, "grant-tag"),
            expansion("session-fingerprint", SESSION, "session-fingerprint"),
            expansion("session-hash", SESSION, "session-hash"),
            expansion("session-signing", SESSION, "session-signing"),
            expansion("state-tag", SESSION, "state-tag"),
            expansion("gateway-signing", GATEWAY, "gateway-signing"),
            expansion("audit-signing", AUDIT, "audit-signing"),
            expansion("audit-record", AUDIT, "audit-record"),
        ],
        "token_keys": [
            token_keys(LOOKUP, "default", TOKEN),
            token_keys(LOOKUP, "default", OTHER_TOKEN),
            token_keys(LOOKUP, "other", TOKEN),
            token_keys(LOOKUP, "Zürich", TOKEN),
            token_keys(OTHER_LOOKUP, "default", TOKEN),
        ],
        "gateway": [gateway(1), gateway(7)],
        "mac": [
            {
                "key": SESSION.hex(),
                "parts": [part.hex() for part in parts],
                "mac": hmac.digest(SESSION, lp(*parts), hashlib.sha256).hex(),
            }
            for parts in ([b"default", b"issuer", b"session"], [b"defaul", b"tissuer", b"session"])
        ],
        "seal": [good, empty, sealing("no-associated-data", b"a value", b""), sealing("longer", bytes(1000), b"x")],
        "invalid": [
            invalid("no-bytes", "size", good, sealed=""),
            invalid("nonce-only", "size", good, sealed=good["nonce"]),
            invalid("one-byte-short-of-a-tag", "size", empty, sealed=empty["sealed"][:-2]),
            invalid("cut-by-one", "tag", good, sealed=good["sealed"][:-2]),
            invalid("one-byte-more", "tag", good, sealed=good["sealed"] + "00"),
            invalid("nonce-changed", "tag", good, sealed=flipped(good["sealed"], 0)),
            invalid("ciphertext-changed", "tag", good, sealed=flipped(good["sealed"], 12)),
            invalid("tag-changed", "tag", good, sealed=flipped(good["sealed"], -1)),
            invalid("other-key", "tag", good, key=flipped(good["key"], 31)),
            invalid("other-associated-data", "tag", good, associated=flipped(good["associated"], 0)),
            invalid("no-associated-data", "tag", good, associated=""),
        ],
    }
    json.dump(vectors, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
