"""Write the vectors of audit chains to standard output.

    python tests/vectors/generate_audit_chain.py > tests/vectors/audit-chain.json

A second implementation of "Chains" in docs/spec/audit.md that imports nothing of LunaCore, so that vectors and code can disagree.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

AUDIT = bytes(range(160, 192))
CHAIN = bytes(range(16))
KEYRING = bytes(range(16, 32))
KEY_VERSION = 3
HEADER = (b"LCRC", 1, 1, 4, 2, 0, 2**31 - 1)


def lp(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def signing_key() -> Ed25519PrivateKey:
    seed = hmac.digest(AUDIT, b"lunacore/v1/audit-signing\x01", hashlib.sha256)
    return Ed25519PrivateKey.from_private_bytes(seed)


def written(members: dict[str, Any]) -> str:
    return json.dumps(members, separators=(",", ":"))


def event(second: int, **members: Any) -> dict[str, Any]:
    return {
        "v": 1,
        "time": f"2023-11-14T22:13:{second:02}.250000Z",
        "action": "detokenize",
        "outcome": "allowed",
        "tenant": "default",
        "role": "operator",
        "issuer": "lunacore:operator",
        **members,
    }


def linked(members: dict[str, Any], sequence: int, before: str | None) -> dict[str, Any]:
    previous = "0" * 64 if before is None else hashlib.sha256(before.encode()).hexdigest()
    return {**members, "chain": CHAIN.hex(), "seq": sequence, "prev": previous}


def signed(members: dict[str, Any]) -> str:
    unsigned = written(members).removesuffix("}")
    message = lp(b"lunacore/v1/signed", b"audit-checkpoint", unsigned.encode())
    return f'{unsigned},"signature":"{signing_key().sign(message).hex()}"}}'


def checkpoint(second: int, sequence: int, before: str | None, **facts: Any) -> str:
    detail = {"key": KEY_VERSION, "host": "one", "process": 4711, **facts}
    return signed(linked({**event(second), "action": "audit.checkpoint", "detail": detail}, sequence, before))


def record(line: str, revision: int) -> dict[str, str]:
    magic, version, suite, kind, state, lookup, root = HEADER
    label = hashlib.sha256(b"lunacore/v1/audit-chains").digest()[:16]
    header = magic + bytes((version, suite, kind, state)) + lookup.to_bytes(4, "big") + root.to_bytes(4, "big")
    header += revision.to_bytes(8, "big") + bytes(8) + bytes((1,)) + label
    name = hashlib.sha256(lp(b"lunacore/v1/audit-chain", CHAIN)).hexdigest()
    return {"name": name, "body": (header + KEYRING + CHAIN + line.encode()).hex()}


def main() -> None:
    first = written(linked(event(20), 0, None))
    second = written(linked(event(21, reason='"quoted" \u00fc \ud83d\udd12'), 1, first))
    third = checkpoint(22, 2, second)
    fourth = written(linked(event(23, detail={"number": 7, "yes": True}), 3, third))
    last = checkpoint(24, 4, fourth, final=True)
    registration = checkpoint(20, 0, None)
    public = signing_key().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    vectors = {
        "format": "LunaCore audit chains (docs/spec/audit.md)",
        "secret": AUDIT.hex(),
        "version": KEY_VERSION,
        "public": public.hex(),
        "keyring": KEYRING.hex(),
        "chain": CHAIN.hex(),
        "lines": [first, second, third, fourth, last],
        "registration": {"line": registration, **record(registration, 1)},
        "kept": {"line": last, **record(last, 2)},
    }
    json.dump(vectors, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
