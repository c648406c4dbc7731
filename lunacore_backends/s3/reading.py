"""An S3 object as a seekable file: ranged GETs, each answered from the very version that the first one met."""

from __future__ import annotations

import io
from typing import Final, Protocol

FIRST_BYTES: Final = 1 << 18
_MAX_BYTES: Final = 1 << 23


class ReadRange(Protocol):
    """Fetches bytes ``start`` to ``end`` (without ``end``) of one object, all of them or raising."""

    def __call__(self, start: int, end: int) -> bytes: ...


class S3File(io.RawIOBase):
    """A file that holds one stretch of the object in memory, at most 8 MiB of it.

    The stretch doubles as long as it is read in order, so that a long read takes few calls and a short one few bytes.

    Args:
        size: of the object.
        first: its beginning, as much as was fetched when it was opened.
        fetch: reads more.
    """

    def __init__(self, size: int, first: bytes, fetch: ReadRange) -> None:
        super().__init__()
        self._size = size
        self._fetch = fetch
        self._position = 0
        self._start = 0
        self._stretch = first
        self._length = FIRST_BYTES

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        self._refuse_closed()
        wanted = self._size - self._position
        if size is not None and size >= 0:
            wanted = min(size, wanted)
        pieces = []
        while wanted > 0:
            piece = self._next(wanted)
            pieces.append(piece)
            wanted -= len(piece)
        return b"".join(pieces)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # any writable buffer
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stretch = b""
        super().close()

    def _next(self, wanted: int) -> bytes:
        """Some of the bytes from the position on, one at least."""
        at = self._position - self._start
        if not 0 <= at < len(self._stretch):
            self._advance()
            at = 0
        piece = self._stretch[at : at + wanted]
        self._position += len(piece)
        return piece

    def _advance(self) -> None:
        follows = self._position == self._start + len(self._stretch)
        self._length = min(2 * self._length, _MAX_BYTES) if follows else FIRST_BYTES
        end = min(self._position + self._length, self._size)
        # The old stretch is let go first, so that never two are held.
        self._stretch = b""
        self._stretch, self._start = self._fetch(self._position, end), self._position

    def _refuse_closed(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
