"""Write the vectors of the record format to standard output.

    python tests/vectors/generate_records.py > tests/vectors/records.json

A second implementation of docs/spec/records.md that imports nothing of LunaCore, so that vectors and code can disagree.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Vector = dict[str, Any]

LOOKUP_VERSION, LOOKUP = 3, bytes(range(32))
ROOT_VERSION, ROOT = 5, bytes(range(32, 64))
KEYRING_ID = bytes(range(64, 80))
TOKEN = "lunasec-01234567-89ab-4cde-8f01-23456789abcd"
CREATED = 1_800_000_000

STATES = {"pending": 1, "stored": 2, "erasing": 3}
FORMATS = {"raw": 1, "sealed-v1": 2}


def lp(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def lp_list(items: list[bytes]) -> bytes:
    return len(items).to_bytes(4, "big") + lp(*items)


def expand(key: bytes, purpose: str, *context: bytes, length: int = 32) -> bytes:
    return hmac.digest(key, b"lunacore/v1/" + purpose.encode() + lp(*context) + b"\x01", hashlib.sha256)[:length]


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def bytes_for(what: str, length: int = 32) -> bytes:
    return hashlib.sha256(what.encode()).digest()[:length]


def seal(key: bytes, nonce: bytes, plain: bytes, associated: bytes) -> bytes:
    return nonce + AESGCM(key).encrypt(nonce, plain, associated)


def token_keys(tenant: str) -> dict[str, bytes]:
    prk = hmac.digest(expand(LOOKUP, "tenant", tenant.encode()), TOKEN.encode(), hashlib.sha256)
    return {purpose: expand(prk, purpose) for purpose in ("record-name", "token-wrap", "commitment")}


def header(given: Vector) -> bytes:
    labels = sorted(
        expand(LOOKUP, "label", given["tenant"].encode(), label.encode(), length=16) for label in given["labels"]
    )
    return (
        b"LCRC\x01\x01\x01"
        + number(STATES[given["state"]], 1)
        + number(LOOKUP_VERSION, 4)
        + number(ROOT_VERSION, 4)
        + number(given["revision"], 8)
        + number(given["due"], 8)
        + number(len(labels), 1)
        + b"".join(labels)
    )


def contents(given: Vector) -> bytes:
    return (
        bytes.fromhex(given["store_key"])
        + bytes.fromhex(given["value_key"])
        + lp(given["metadata"].encode())
        + lp_list([label.encode() for label in given["labels"]])
    )


def inner_associated(name: bytes, tenant: str, generation: int) -> bytes:
    return b"LCRC\x01\x01\x01" + number(LOOKUP_VERSION, 4) + number(generation, 4) + name + lp(tenant.encode())


def inner_of(given: Vector, generation: int, plain: bytes) -> bytes:
    derived = token_keys(given["tenant"])
    nonce = bytes_for(f"inner nonce {given['name']} {generation}", 12)
    associated = inner_associated(derived["record-name"], given["tenant"], generation)
    return seal(derived["token-wrap"], nonce, plain, associated)


def placement(given: Vector, generation: int, inner: bytes) -> bytes:
    name = bytes_for(f"object {given['name']} {generation}")
    return name + number(generation, 4) + lp(inner)


def operator_fields(given: Vector) -> bytes:
    erasing = given["state"] == "erasing"
    generation = given["generation"]
    inner = b"" if erasing else inner_of(given, generation, contents(given))
    following = b""
    if given["following"]:
        follower = b"" if erasing else inner_of(given, generation + 1, contents(given))
        following = placement(given, generation + 1, follower)
    return (
        lp(given["tenant"].encode(), given["session_issuer"].encode())
        + placement(given, generation, inner)
        + number(FORMATS[given["value_format"]], 1)
        + number(given["created"], 8)
        + number(given["upload_until"], 8)
        + number(given["expires"], 8)
        + number(2**64 - 1 if given["size"] is None else given["size"], 8)
        + lp(given["etag"].encode())
        + lp(following)
        + lp_list([bytes.fromhex(name) for name in given["leftover"]])
    )


def body_of(given: Vector, plain: bytes, clear: bytes | None = None, commitment: bytes | None = None) -> bytes:
    derived = token_keys(given["tenant"])
    associated = (header(given) if clear is None else clear) + (commitment or derived["commitment"])
    key = expand(ROOT, "record-outer", derived["record-name"])
    return associated + seal(key, bytes_for(f"outer nonce {given['name']}", 12), plain, associated)


def record(name: str, **changed: Any) -> Vector:
    given: Vector = {
        "name": name,
        "tenant": "default",
        "session_issuer": "https://app.example.com",
        "state": "pending",
        "revision": 1,
        "due": CREATED + 604_800,
        "generation": 1,
        "value_format": "sealed-v1",
        "created": CREATED,
        "upload_until": CREATED + 300,
        "expires": 0,
        "size": None,
        "etag": "",
        "store_key": bytes_for(f"store key {name}").hex(),
        "value_key": bytes_for(f"value key {name}").hex(),
        "metadata": '{"dataType":"string"}',
        "labels": [],
        "following": False,
        "leftover": [],
    } | changed
    derived = token_keys(given["tenant"])
    plain = operator_fields(given)
    return given | {
        "record_name": derived["record-name"].hex(),
        "inner_nonce": bytes_for(f"inner nonce {name} {given['generation']}", 12).hex(),
        "outer_nonce": bytes_for(f"outer nonce {name}", 12).hex(),
        "object_name": bytes_for(f"object {name} {given['generation']}").hex(),
        "header": header(given).hex(),
        "inner_associated": inner_associated(derived["record-name"], given["tenant"], given["generation"]).hex(),
        "operator_fields": plain.hex(),
        "body": body_of(given, plain).hex(),
    }


def canary(serial: int) -> Vector:
    associated = (
        b"LCRC\x01\x01\x02\x02" + bytes(4) + number(ROOT_VERSION, 4) + number(4, 8) + bytes(9) + KEYRING_ID + bytes(16)
    )
    nonce = bytes_for("canary nonce", 12)
    return {
        "record_name": hashlib.sha256(b"lunacore/v1/canary").hexdigest(),
        "keyring_id": KEYRING_ID.hex(),
        "serial": serial,
        "revision": 4,
        "nonce": nonce.hex(),
        "body": (associated + seal(expand(ROOT, "canary"), nonce, number(serial, 8), associated)).hex(),
    }


VALID = [
    record("pending"),
    record("raw", value_format="raw", session_issuer=""),
    record("stored", state="stored", revision=2, due=0, size=75, etag="0123456789abcdef"),
    record("expiring", state="stored", due=CREATED + 3600, expires=CREATED + 3600, size=0, etag='"x"'),
    record(
        "labels", labels=["person:17", "konto:Zürich", ""], metadata='{"dataType":"file","fileinfo":{"filename":"ä"}}'
    ),
    record("other-tenant", tenant="Zürich"),
    record("re-keying", state="stored", due=0, size=75, generation=2, following=True),
    record("leftovers", state="stored", due=0, size=75, generation=3, leftover=["11" * 32, "22" * 32]),
    record("erasing", state="erasing", revision=9, due=CREATED + 300, size=75),
]
BASE = VALID[0]
BODY = bytes.fromhex(BASE["body"])


def invalid(name: str, layer: str, body: bytes, error: str = "IntegrityError", **given: str) -> Vector:
    return {
        "name": name,
        "layer": layer,
        "error": error,
        "record_name": BASE["record_name"],
        "tenant": "default",
        "token": TOKEN,
        "body": body.hex(),
    } | given


def with_byte(at: int, value: int) -> bytes:
    return BODY[:at] + bytes([value]) + BODY[at + 1 :]


def flip(at: int) -> bytes:
    return with_byte(at % len(BODY), BODY[at] ^ 1)


def resealed(plain: bytes) -> bytes:
    return body_of(BASE, plain)


def with_contents(plain: bytes, generation: int = 1, stated: int = 1) -> bytes:
    good = operator_fields(BASE)
    start = len(lp(b"default", b"https://app.example.com"))
    old = placement(BASE, 1, inner_of(BASE, 1, contents(BASE)))
    name = bytes_for("object pending 1")
    new = name + number(stated, 4) + lp(inner_of(BASE, generation, plain))
    assert good[start : start + len(old)] == old
    return resealed(good[:start] + new + good[start + len(old) :])


def invalid_vectors() -> list[Vector]:
    unsupported = "UnsupportedVersion"
    good = operator_fields(BASE)
    format_at = len(lp(b"default", b"https://app.example.com")) + len(
        placement(BASE, 1, inner_of(BASE, 1, contents(BASE)))
    )
    plain = contents(BASE)
    other = bytes_for("another token")
    return [
        invalid("empty", "header", b""),
        invalid("magic-only", "header", b"LCRC"),
        invalid("other-magic", "header", flip(0)),
        invalid("format-version-0", "header", with_byte(4, 0), unsupported),
        invalid("format-version-2", "header", with_byte(4, 2), unsupported),
        invalid("suite-2", "header", with_byte(5, 2), unsupported),
        invalid("unknown-version-and-short", "header", b"LCRC\x02\x01", unsupported),
        invalid("record-type-9", "header", with_byte(6, 9), unsupported),
        invalid("state-0", "header", with_byte(7, 0), unsupported),
        invalid("state-9", "header", with_byte(7, 9), unsupported),
        invalid("header-cut-short", "header", BODY[:20]),
        invalid("labels-missing", "header", with_byte(32, 255)),
        invalid("commitment-cut-short", "header", BODY[:60]),
        invalid("seal-shorter-than-nonce-and-tag", "header", BODY[: 33 + 32 + 27]),
        invalid("a-canary", "type", body_of(BASE, good, clear=header(BASE)[:6] + b"\x02" + header(BASE)[7:])),
        invalid("unknown-root-version", "root", with_byte(15, 6), "UnknownKeyVersion"),
        invalid("state-changed", "outer", with_byte(7, 2)),
        invalid("lookup-version-changed", "outer", flip(11)),
        invalid("older-revision", "outer", with_byte(23, 0)),
        invalid("due-changed", "outer", flip(31)),
        invalid("commitment-changed", "outer", flip(33)),
        invalid("outer-nonce-changed", "outer", flip(65)),
        invalid("outer-ciphertext-changed", "outer", flip(77)),
        invalid("outer-tag-changed", "outer", flip(-1)),
        invalid("cut-by-one", "outer", BODY[:-1]),
        invalid("one-byte-more", "outer", BODY + b"\0"),
        invalid("under-another-name", "outer", BODY, record_name=bytes_for("another name").hex()),
        invalid("no-operator-fields", "operator-fields", resealed(b"")),
        invalid("operator-fields-cut-by-one", "operator-fields", resealed(good[:-1])),
        invalid("operator-fields-and-one-byte", "operator-fields", resealed(good + b"\0")),
        invalid("tenant-not-utf-8", "operator-fields", resealed(lp(b"\xff") + good[11:])),
        invalid("tenant-longer-than-all", "operator-fields", resealed(b"\xff\xff\xff\xff" + good[4:])),
        invalid(
            "value-format-9",
            "operator-fields",
            resealed(good[:format_at] + b"\x09" + good[format_at + 1 :]),
            unsupported,
        ),
        invalid("leftovers-without-end", "operator-fields", resealed(good[:-4] + b"\xff\xff\xff\xff")),
        invalid("commitment-of-another-token", "commitment", body_of(BASE, good, commitment=other)),
        invalid("presented-with-another-token", "commitment", BODY, token=TOKEN[:-1] + "e"),
        invalid("presented-by-another-tenant", "commitment", BODY, tenant="other"),
        invalid("inner-of-another-generation", "inner", with_contents(plain, generation=2)),
        invalid("generation-changed", "inner", with_contents(plain, stated=2)),
        invalid("inner-empty", "inner", erased_but_pending()),
        invalid("contents-cut-by-one", "contents", with_contents(plain[:-1])),
        invalid("contents-and-one-byte", "contents", with_contents(plain + b"\0")),
        invalid("contents-empty", "contents", with_contents(b"")),
        invalid("label-not-utf-8", "contents", with_contents(plain[:-4] + lp_list([b"\xff"]))),
    ]


def erased_but_pending() -> bytes:
    return resealed(operator_fields(BASE | {"state": "erasing"}))


def main() -> None:
    vectors = {
        "format": "LunaCore records, version 1 (docs/spec/records.md)",
        "token": TOKEN,
        "lookup": {"version": LOOKUP_VERSION, "secret": LOOKUP.hex()},
        "root": {"version": ROOT_VERSION, "key": ROOT.hex()},
        "generate": VALID,
        "canary": [canary(1), canary(17)],
        "invalid": invalid_vectors(),
    }
    json.dump(vectors, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
