"""Reading the binary encodings back: fixed-width numbers and length-prefixed (``lp``) fields, nothing left over."""

from __future__ import annotations

import struct
from typing import Any

from lunacore.errors import IntegrityError
from lunacore.keys import lp


def lp_list(items: tuple[bytes, ...]) -> bytes:
    """A count (4 bytes, big-endian), then each item length-prefixed."""
    return b"".join([len(items).to_bytes(4, "big"), *map(lp, items)])


class FieldReader:
    """Reads fields off the front of ``data``; every method raises ``IntegrityError`` where bytes are missing."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise IntegrityError("an encoded field is cut short")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def lp(self) -> bytes:
        start = self._at + 4
        end = start + int.from_bytes(self._data[self._at : start], "big")
        if end > len(self._data):  # also where the length itself is cut short
            raise IntegrityError("an encoded field is cut short")
        self._at = end
        return self._data[start:end]

    def text(self) -> str:
        try:
            return self.lp().decode()
        except UnicodeDecodeError:
            raise IntegrityError("an encoded text is not UTF-8") from None

    def lp_list(self) -> tuple[bytes, ...]:
        return tuple([self.lp() for _ in range(int.from_bytes(self.take(4), "big"))])

    def text_list(self) -> tuple[str, ...]:
        return tuple([self.text() for _ in range(int.from_bytes(self.take(4), "big"))])

    def fixed(self, layout: struct.Struct) -> tuple[Any, ...]:
        start = self._at
        self._at = end = start + layout.size
        if end > len(self._data):
            raise IntegrityError("an encoded field is cut short")
        return layout.unpack_from(self._data, start)

    def numbers(self, layout: str) -> tuple[Any, ...]:
        return self.fixed(struct.Struct(layout))

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def finish(self) -> None:
        if self._at != len(self._data):
            raise IntegrityError("bytes are left over behind the last encoded field")
