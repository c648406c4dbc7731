"""Write the vectors of receipts to standard output.

    python tests/vectors/generate_receipts.py > tests/vectors/receipts.json

A second implementation of docs/spec/receipts.md that imports nothing of LunaCore, so that vectors and code can disagree.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Vector = dict[str, Any]

KEYRING = bytes(range(16)).hex()
AUDIT_KEY = bytes(range(160, 192))
VERSION = 3
NOW = 1_800_000_000
NOT_COVERED = [
    "copies of records and keyring in backups: with both and a token, a value could be opened until those of the records expire",
    "copies that the object store keeps, such as replicas or backups of a bucket: they stay sealed, and their keys are gone",
    "values that were read before they were erased, and download URLs that were given out until they have expired",
]


def lp(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def expand(key: bytes, purpose: bytes) -> bytes:
    return hmac.digest(key, b"lunacore/v1/" + purpose + b"\x01", hashlib.sha256)


def moment(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def private_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(expand(AUDIT_KEY, b"audit-signing"))


def signature(text: str, purpose: bytes = b"erasure-receipt") -> str:
    message = lp(b"lunacore/v1/signed", purpose, text.encode())
    return base64.b64encode(private_key().sign(message)).decode()


def fingerprint(name: str) -> str:
    key = expand(AUDIT_KEY, b"audit-record")
    return hmac.digest(key, lp(bytes.fromhex(name)), hashlib.sha256)[:16].hex()


def statement(given: Vector) -> str:
    left = [one for one in given["erased"] if one["sweep_from"]]
    entries = []
    for one in given["erased"]:
        entry = {"record": fingerprint(one["name"]), "at": moment(one["at"])}
        if one["token"]:
            entry["token"] = one["token"]
        if one["sweep_from"]:
            entry["sweepFrom"] = moment(one["sweep_from"])
        entries.append(entry)
    told = {
        "v": 1,
        "keyring": KEYRING,
        "keyVersion": VERSION,
        "time": moment(given["now"]),
        "tenant": given["tenant"],
        "reason": given["reason"],
        "selection": given["selection"],
        "part": given["part"],
        "complete": given["complete"],
        "counts": {
            "erased": len(given["erased"]),
            "removed": len(given["erased"]) - len(left),
            "leftToSweep": len(left),
            "absent": given["absent"],
            "failed": given["failed"],
        },
        "erased": entries,
        "notCovered": NOT_COVERED,
    }
    return compact(told)


def compact(told: Any) -> str:
    return json.dumps(told, separators=(",", ":"))


def envelope(text: str, sealed: str, kind: str = "lunacore-erasure-receipt") -> str:
    return compact({"kind": kind, "receipt": text, "signature": sealed})


def generated(**given: Any) -> Vector:
    whole: Vector = {
        "tenant": "default",
        "reason": "",
        "selection": {"by": "tokens"},
        "erased": [],
        "absent": 0,
        "failed": 0,
        "complete": True,
        "part": 1,
        "now": NOW,
        **given,
    }
    text = statement(whole)
    return {**whole, "receipt": envelope(text, signature(text))}


def erased(number: int, *, sweep_from: int = 0, token: str = "") -> Vector:
    return {"name": bytes([number] * 32).hex(), "at": NOW - number, "sweep_from": sweep_from, "token": token}


def generate() -> list[Vector]:
    return [
        generated(),
        generated(erased=[erased(1, token="0f" * 16)], reason="asked for by letter of 1 May", absent=2),
        generated(
            erased=[erased(1), erased(2, sweep_from=NOW + 43_500)],
            selection={"by": "label", "label": "ab" * 16},
            tenant="überall",
            reason='quotes " and\nlines \u2028 \U0001f600',
        ),
        generated(
            erased=[erased(9)],
            selection={"by": "age", "createdBefore": moment(NOW - 86_400)},
            complete=False,
            failed=1,
            part=7,
        ),
    ]


def invalid() -> list[Vector]:
    whole = generated(erased=[erased(1)])
    text = json.loads(whole["receipt"])["receipt"]
    sealed = signature(text)
    later = text.replace('"v":1', '"v":2', 1)
    other_key = text.replace('"keyVersion":3', '"keyVersion":4', 1)
    no_key = text.replace('"keyVersion":3', '"keyVersion":true', 1)
    damaged = base64.b64encode(bytes([base64.b64decode(sealed)[0] ^ 1]) + base64.b64decode(sealed)[1:]).decode()
    return [
        {"receipt": "", "error": "IntegrityError", "why": "nothing"},
        {"receipt": "[]", "error": "IntegrityError", "why": "no object"},
        {"receipt": envelope(text, sealed, "something"), "error": "IntegrityError", "why": "another kind"},
        {
            "receipt": compact({"kind": "lunacore-erasure-receipt", "receipt": text}),
            "error": "IntegrityError",
            "why": "no signature",
        },
        {"receipt": envelope("[]", sealed), "error": "IntegrityError", "why": "a statement that is no object"},
        {"receipt": envelope(text + " ", sealed), "error": "IntegrityError", "why": "a changed statement"},
        {
            "receipt": envelope(text.replace('"failed":0', '"failed":1'), sealed),
            "error": "IntegrityError",
            "why": "a changed count",
        },
        {"receipt": envelope(text, damaged), "error": "IntegrityError", "why": "a changed signature"},
        {"receipt": envelope(text, "not base64!"), "error": "IntegrityError", "why": "a signature that is not base64"},
        {
            "receipt": envelope(text, signature(text, b"audit-checkpoint")),
            "error": "IntegrityError",
            "why": "a signature for another purpose",
        },
        {
            "receipt": envelope(no_key, signature(no_key)),
            "error": "IntegrityError",
            "why": "a version that is no number",
        },
        {"receipt": envelope(other_key, signature(other_key)), "error": "UnknownKeyVersion", "why": "an unknown key"},
        {"receipt": envelope(later, signature(later)), "error": "UnsupportedVersion", "why": "a later version"},
    ]


def main() -> None:
    public = private_key().public_key().public_bytes_raw().hex()
    vectors = {
        "keyring": KEYRING,
        "audit_key": AUDIT_KEY.hex(),
        "version": VERSION,
        "public_key": public,
        "generate": generate(),
        "invalid": invalid(),
    }
    json.dump(vectors, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
