"""Reading the binary encodings back: fixed-width numbers and length-prefixed (``lp``) fields, nothing left over."""

from __future__ import annotations

import struct
from typing import Any

from lunacore.errors import IntegrityError
from lunacore.keys import lp


def lp_list(items: tuple[bytes, ...]) -> bytes:
    """A count (4 bytes, big-endian), then each item length-prefixed."""
    return len(items).to_bytes(4, "big") + lp(*items)


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
        return self.take(int.from_bytes(self.take(4), "big"))

    def text(self) -> str:
        return _text(self.lp())

    def lp_list(self) -> tuple[bytes, ...]:
        return tuple(self.lp() for _ in range(int.from_bytes(self.take(4), "big")))

    def text_list(self) -> tuple[str, ...]:
        return tuple(_text(item) for item in self.lp_list())

    def numbers(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def finish(self) -> None:
        if self._at != len(self._data):
            raise IntegrityError("bytes are left over behind the last encoded field")


def _text(encoded: bytes) -> str:
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        raise IntegrityError("an encoded text is not UTF-8") from None
