"""A WOFF2 file (W3C) of a TrueType one, for browsers to load. Nothing is made smaller: Brotli (RFC 7932) also stores bytes as they are."""

from __future__ import annotations

import struct

_SFNT_HEADER = struct.Struct(">4sHHHH")
_SFNT_ENTRY = struct.Struct(">4sIII")
_WOFF2_HEADER = struct.Struct(">4s4sIHHIIHHIIIII")
# A tag that is written out; and for two of them that they are not transformed, which of all others goes without saying.
_OWN_TAG = 0x3F
_UNTRANSFORMED = {b"glyf": 0xC0, b"loca": 0xC0}
_BLOCK = 1 << 16


def woff2_of(truetype: bytes) -> bytes:
    """The same font as WOFF2."""
    flavor, count, *_ = _SFNT_HEADER.unpack_from(truetype)
    entries = [
        _SFNT_ENTRY.unpack_from(truetype, _SFNT_HEADER.size + place * _SFNT_ENTRY.size) for place in range(count)
    ]
    directory = b"".join(
        bytes([_OWN_TAG | _UNTRANSFORMED.get(tag, 0)]) + tag + _base128(length) for tag, _, _, length in entries
    )
    stored = _stored(b"".join(truetype[offset : offset + length] for _, _, offset, length in entries))
    padding = bytes(-(_WOFF2_HEADER.size + len(directory) + len(stored)) % 4)
    length = _WOFF2_HEADER.size + len(directory) + len(stored) + len(padding)
    header = _WOFF2_HEADER.pack(b"wOF2", flavor, length, count, 0, len(truetype), len(stored), 1, 0, 0, 0, 0, 0, 0)
    return header + directory + stored + padding


def _base128(number: int) -> bytes:
    octets = [number & 0x7F]
    while number := number >> 7:
        octets.append(number & 0x7F | 0x80)
    return bytes(reversed(octets))


def _stored(data: bytes) -> bytes:
    """A Brotli stream of blocks that are not compressed: a window of 2^16, then of each block its length in 16 bits, and a mark."""
    made = bytearray()
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK]
        # From the lowest bit: the window (first block only), not the last, four digits of length, the length less one, not compressed.
        bits, width = ((len(block) - 1) << 3 | 1 << 19, 20)
        if start == 0:
            bits, width = bits << 1, width + 1
        made += bits.to_bytes((width + 7) // 8, "little") + block
    return bytes(made) + b"\x03"
