"""Write the vectors of signatures to standard output.

    python tests/vectors/generate_signing.py > tests/vectors/signing.json

A second implementation of "Signing" in docs/spec/keys.md that imports nothing but the standard library: Ed25519 is the reference
code of RFC 8032, section 6, so that vectors and code can disagree.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from typing import Any

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
Point = tuple[int, int, int, int]

AUDIT = bytes(range(160, 192))
OTHER_AUDIT = bytes(range(192, 224))


def lp(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def expand(key: bytes, purpose: bytes) -> bytes:
    return hmac.digest(key, b"lunacore/v1/" + purpose + b"\x01", hashlib.sha256)


def number(data: bytes) -> int:
    return int.from_bytes(hashlib.sha512(data).digest(), "little")


def add(one: Point, two: Point) -> Point:
    a, b = (one[1] - one[0]) * (two[1] - two[0]) % P, (one[1] + one[0]) * (two[1] + two[0]) % P
    c, d = 2 * one[3] * two[3] * D % P, 2 * one[2] * two[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f, g * h, f * g, e * h)


def multiply(scalar: int, point: Point) -> Point:
    result: Point = (0, 1, 1, 0)
    while scalar > 0:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def base() -> Point:
    y = 4 * pow(5, P - 2, P) % P
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P)
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P != 0:
        x = x * ROOT_OF_MINUS_ONE % P
    x = P - x if x & 1 else x
    return (x, y, 1, x * y % P)


def compress(point: Point) -> bytes:
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | ((x & 1) << 255)).to_bytes(32, "little")


def secret_of(seed: bytes) -> tuple[int, bytes]:
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | (1 << 254)
    return scalar, digest[32:]


def signed(seed: bytes, message: bytes) -> tuple[bytes, bytes]:
    scalar, prefix = secret_of(seed)
    public = compress(multiply(scalar, base()))
    r = number(prefix + message) % L
    point = compress(multiply(r, base()))
    s = (r + number(point + public + message) * scalar) % L
    return public, point + s.to_bytes(32, "little")


def vector(name: str, secret: bytes, version: int, purpose: str, message: bytes) -> dict[str, Any]:
    seed = expand(secret, b"audit-signing")
    public, signature = signed(seed, lp(b"lunacore/v1/signed", purpose.encode(), message))
    return {
        "name": name,
        "secret": secret.hex(),
        "version": version,
        "seed": seed.hex(),
        "public": public.hex(),
        "purpose": purpose,
        "message": message.hex(),
        "signature": signature.hex(),
    }


def main() -> None:
    vectors = {
        "format": "LunaCore signatures (docs/spec/keys.md)",
        "signatures": [
            vector("empty", AUDIT, 1, "audit-checkpoint", b""),
            vector("text", AUDIT, 1, "audit-checkpoint", b"a message"),
            vector("other-purpose", AUDIT, 1, "another-purpose", b"a message"),
            vector("other-key", OTHER_AUDIT, 2, "audit-checkpoint", b"a message"),
            vector("long", OTHER_AUDIT, 2, "audit-checkpoint", bytes(range(256)) * 40),
        ],
    }
    json.dump(vectors, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
