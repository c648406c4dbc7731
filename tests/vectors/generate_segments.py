"""Write the vectors of the segment format to standard output.

    python tests/vectors/generate_segments.py > tests/vectors/segments.json

A second implementation of docs/spec/segments.md that imports nothing of LunaCore, so that vectors and code can disagree.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Vector = dict[str, Any]

FULL = 65536
SEALED = FULL + 16
HEADER = 40
KEY = bytes(range(32))
OTHER_KEY = bytes(range(32, 64))
PURPOSES = {"value": 1, "object": 2}


def plain_of(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def header_of(purpose: str, salt: bytes) -> bytes:
    return b"LCSG\x01\x01\x10" + bytes([PURPOSES[purpose]]) + salt


def info_of(header: bytes) -> bytes:
    return b"lunacore/v1/segments" + b"\x00\x00\x00\x08" + header[:8]


def segment_key(key: bytes, header: bytes) -> bytes:
    # HKDF-SHA256, RFC 5869: Extract, then the first and only block of Expand.
    prk = hmac.digest(header[8:], key, hashlib.sha256)
    return hmac.digest(prk, info_of(header) + b"\x01", hashlib.sha256)


def segment(key: bytes, header: bytes, counter: int, flag: int, plain: bytes) -> bytes:
    nonce = counter.to_bytes(11, "big") + bytes([flag])
    return AESGCM(segment_key(key, header)).encrypt(nonce, plain, None)


def seal(key: bytes, header: bytes, plain: bytes) -> bytes:
    parts = [plain[start : start + FULL] for start in range(0, len(plain), FULL)] or [b""]
    return header + b"".join(
        segment(key, header, counter, int(counter == len(parts) - 1), part) for counter, part in enumerate(parts)
    )


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


VALID = {
    "empty": ("value", 0),
    "one-byte": ("value", 1),
    "card-number": ("value", 19),
    "object": ("object", 19),
    "one-less-than-a-segment": ("value", FULL - 1),
    "one-segment": ("value", FULL),
    "one-more-than-a-segment": ("value", FULL + 1),
    "two-segments": ("object", 2 * FULL),
    "three-segments": ("value", 140_000),
    "three-segments-again": ("value", 140_000),
}
HEADERS = {name: header_of(purpose, hashlib.sha256(name.encode()).digest()) for name, (purpose, _) in VALID.items()}
STREAMS = {name: seal(KEY, HEADERS[name], plain_of(size)) for name, (_, size) in VALID.items()}


def valid(name: str) -> Vector:
    purpose, size = VALID[name]
    header, sealed = HEADERS[name], STREAMS[name]
    vector = {
        "name": name,
        "purpose": purpose,
        "key": KEY.hex(),
        "salt": header[8:].hex(),
        "info": info_of(header).hex(),
        "segment_key": segment_key(KEY, header).hex(),
        "plain_size": size,
        "plain_sha256": sha256(plain_of(size)),
        "sealed_size": len(sealed),
        "sealed_sha256": sha256(sealed),
    }
    return vector | ({"sealed": sealed.hex()} if len(sealed) < 200 else {})


def cut(of: str, start: int = 0, end: int | None = None) -> Vector:
    return {"of": of, "from": start, "to": len(STREAMS[of]) if end is None else end}


def literal(data: bytes) -> Vector:
    return {"hex": data.hex()}


def bytes_of(piece: Vector) -> bytes:
    if "hex" in piece:
        return bytes.fromhex(piece["hex"])
    return STREAMS[piece["of"]][piece["from"] : piece["to"]]


def set_byte(of: str, offset: int, byte: int) -> list[Vector]:
    return [cut(of, 0, offset), literal(bytes([byte])), cut(of, offset + 1)]


def flip(of: str, offset: int, mask: int = 1) -> list[Vector]:
    return set_byte(of, offset, STREAMS[of][offset] ^ mask)


def part(of: str, index: int) -> Vector:
    start = HEADER + index * SEALED
    return cut(of, start, min(start + SEALED, len(STREAMS[of])))


def invalid(
    name: str,
    layer: str,
    pieces: list[Vector],
    *,
    of: str,
    error: str = "IntegrityError",
    purpose: str | None = None,
    key: bytes = KEY,
    first_refused: int | None = None,
) -> Vector:
    sealed = b"".join(map(bytes_of, pieces))
    vector = {
        "name": name,
        "layer": layer,
        "error": error,
        "purpose": purpose or VALID[of][0],
        "key": key.hex(),
        "segment_key": segment_key(KEY, HEADERS[of]).hex(),
        "pieces": pieces,
        "sealed_size": len(sealed),
        "sealed_sha256": sha256(sealed),
    }
    return vector | ({} if first_refused is None else {"segment": first_refused})


def of_header() -> list[Vector]:
    of = "card-number"
    unknown = "UnsupportedVersion"
    return [
        invalid("magic-changed", "header", flip(of, 0, 0x20), of=of),
        invalid("magic-last-byte-changed", "header", flip(of, 3), of=of),
        invalid("version-0", "header", set_byte(of, 4, 0), of=of, error=unknown),
        invalid("version-2", "header", set_byte(of, 4, 2), of=of, error=unknown),
        invalid("suite-2", "header", set_byte(of, 5, 2), of=of, error=unknown),
        invalid("segment-size-4-kib", "header", set_byte(of, 6, 12), of=of, error=unknown),
        invalid("segment-size-1-mib", "header", set_byte(of, 6, 20), of=of, error=unknown),
        invalid("purpose-0", "header", set_byte(of, 7, 0), of=of),
        invalid("purpose-3", "header", set_byte(of, 7, 3), of=of),
        invalid("value-opened-as-object", "header", [cut(of)], of=of, purpose="object"),
        invalid("object-opened-as-value", "header", [cut("object")], of="object", purpose="value"),
    ]


def of_size() -> list[Vector]:
    small, two, three = "card-number", "one-more-than-a-segment", "three-segments"
    empty_last = segment(KEY, HEADERS[two], 1, 1, b"")
    return [
        invalid("nothing", "size", [], of=small),
        invalid("part-of-the-header", "size", [cut(small, 0, HEADER - 1)], of=small),
        invalid("header-alone", "size", [cut(small, 0, HEADER)], of=small),
        invalid("part-of-a-tag", "size", [cut(small, 0, HEADER + 15)], of=small),
        invalid("part-of-the-last-tag", "size", [cut(three, 0, HEADER + 2 * SEALED + 15)], of=three),
        invalid("one-byte-of-the-last-segment", "size", [cut(three, 0, HEADER + 2 * SEALED + 1)], of=three),
        invalid("byte-added-to-a-full-segment", "size", [cut("one-segment"), literal(b"\x00")], of="one-segment"),
        invalid("empty-last-segment-of-a-value", "size", [cut(two, 0, HEADER + SEALED), literal(empty_last)], of=two),
    ]


def of_key() -> list[Vector]:
    return [
        invalid("wrong-key", "key", [cut("card-number")], of="card-number", key=OTHER_KEY, first_refused=0),
        invalid("wrong-key-empty-value", "key", [cut("empty")], of="empty", key=OTHER_KEY, first_refused=0),
        invalid("salt-first-bit", "key", flip("card-number", 8, 0x80), of="card-number", first_refused=0),
        invalid("salt-last-bit", "key", flip("card-number", 39), of="card-number", first_refused=0),
        invalid(
            "purpose-byte-rewritten",
            "key",
            set_byte("card-number", 7, 2),
            of="card-number",
            purpose="object",
            first_refused=0,
        ),
        invalid(
            "header-of-another-write",
            "key",
            [cut("three-segments-again", 0, HEADER), cut("three-segments", HEADER)],
            of="three-segments",
            first_refused=0,
        ),
    ]


def of_small_segment() -> list[Vector]:
    of = "one-byte"
    header = cut(of, 0, HEADER)

    def resealed(counter: int, flag: int) -> list[Vector]:
        return [header, literal(segment(KEY, HEADERS[of], counter, flag, plain_of(1)))]

    return [
        invalid("ciphertext-bit", "segment", flip(of, HEADER), of=of, first_refused=0),
        invalid("tag-first-bit", "segment", flip(of, HEADER + 1, 0x80), of=of, first_refused=0),
        invalid("tag-last-bit", "segment", flip(of, HEADER + 16), of=of, first_refused=0),
        invalid("cut-to-an-empty-value", "segment", [cut(of, 0, HEADER + 16)], of=of, first_refused=0),
        invalid("byte-added", "segment", [cut(of), literal(b"\x00")], of=of, first_refused=0),
        invalid(
            "byte-added-to-an-empty-value", "segment", [cut("empty"), literal(b"\x00")], of="empty", first_refused=0
        ),
        invalid("no-final-flag", "segment", resealed(0, 0), of=of, first_refused=0),
        invalid("final-flag-2", "segment", resealed(0, 2), of=of, first_refused=0),
        invalid("counter-starts-at-1", "segment", resealed(1, 1), of=of, first_refused=0),
        invalid("counter-little-endian", "segment", resealed(1 << 80, 1), of=of, first_refused=0),
    ]


def of_segment() -> list[Vector]:
    of, again = "three-segments", "three-segments-again"
    header, parts = cut(of, 0, HEADER), [part(of, index) for index in range(3)]
    second_after_final = segment(KEY, HEADERS["one-segment"], 1, 1, b"\x00")

    def parts_of(name: str, pieces: list[Vector], first_refused: int) -> Vector:
        return invalid(name, "segment", [header, *pieces], of=of, first_refused=first_refused)

    return [
        invalid("first-segment-bit", "segment", flip(of, HEADER + 100), of=of, first_refused=0),
        invalid("middle-segment-bit", "segment", flip(of, HEADER + SEALED + 100), of=of, first_refused=1),
        invalid("last-segment-bit", "segment", flip(of, HEADER + 2 * SEALED + 100), of=of, first_refused=2),
        invalid("last-byte-dropped", "segment", [cut(of, 0, len(STREAMS[of]) - 1)], of=of, first_refused=2),
        parts_of("last-segment-dropped", parts[:2], 1),
        parts_of("last-two-segments-dropped", parts[:1], 0),
        parts_of("first-segment-dropped", parts[1:], 0),
        parts_of("middle-segment-dropped", [parts[0], parts[2]], 1),
        parts_of("segments-swapped", [parts[1], parts[0], parts[2]], 0),
        parts_of("segment-repeated", [parts[0], parts[0], parts[1], parts[2]], 1),
        parts_of("last-segment-repeated", [*parts, parts[2]], 2),
        parts_of("middle-segment-of-another-write", [parts[0], part(again, 1), parts[2]], 1),
        parts_of("last-segment-of-another-write", [parts[0], parts[1], part(again, 2)], 2),
        invalid(
            "segment-after-the-final-one",
            "segment",
            [cut("one-segment"), literal(second_after_final)],
            of="one-segment",
            first_refused=0,
        ),
    ]


def document() -> Vector:
    return {
        "format": "LunaCore segments, version 1 (docs/spec/segments.md)",
        "plain": "byte i of every plain value is i mod 251",
        "pieces": "an invalid stream is its pieces joined: bytes from..to of a valid stream, or hex",
        "valid": [valid(name) for name in VALID],
        "invalid": [*of_header(), *of_size(), *of_key(), *of_small_segment(), *of_segment()],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(), indent=1) + "\n")
