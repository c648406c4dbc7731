"""The segment format, version 1: values of any size, sealed in authenticated segments that open in any order.

``docs/spec/segments.md`` specifies every byte. It is the STREAM construction of Hoang, Reyhanitabar, Rogaway
and Vizár ("Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015,
https://eprint.iacr.org/2015/189): the nonce of a segment holds its place and whether it is the last, so no
segment can be changed, moved, dropped, repeated or added unseen. HKDF-SHA256 (RFC 5869) derives a key per
write; AES-256-GCM (NIST SP 800-38D) seals the segments.
"""

from __future__ import annotations

import io
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lunacore import keys
from lunacore.errors import IntegrityError, TooLarge, UnsupportedVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from _typeshed import WriteableBuffer

Octets = bytes | bytearray | memoryview

SEGMENT_BYTES: Final = 1 << 16
SEALED_SEGMENT_BYTES: Final = SEGMENT_BYTES + keys.TAG_BYTES
HEADER_BYTES: Final = 40
MAX_SEGMENTS: Final = 1 << 32

_MAGIC: Final = b"LCSG"
_VERSION: Final = 1
_SUITE: Final = 1
_SEGMENT_SIZE_LOG2: Final = 16
_PREFIX_BYTES: Final = 8
_SALT_BYTES: Final = 32
_COUNTER_BYTES: Final = 11


class Purpose(IntEnum):
    """What a stream holds; a stream opens under its own purpose only."""

    VALUE = 1
    """A ``sealed-v1`` value, under the value key."""
    OBJECT = 2
    """An object at rest, under the SSE-C customer key."""


def sealed_size(plain: int) -> int:
    """The size in bytes of the sealed form of ``plain`` bytes.

    Raises:
        ValueError: if ``plain`` is negative.
        TooLarge: if it is over ``MAX_SEGMENTS`` segments (256 TiB).
    """
    if plain < 0:
        raise ValueError("a size is not negative")
    segments = _segment_count(plain)
    if segments > MAX_SEGMENTS:
        raise TooLarge(f"a sealed value holds at most {MAX_SEGMENTS * SEGMENT_BYTES} bytes")
    return HEADER_BYTES + plain + segments * keys.TAG_BYTES


def plain_size(sealed: int) -> int:
    """The size in bytes of the value whose sealed form has ``sealed`` bytes: the inverse of ``sealed_size``.

    Raises:
        IntegrityError: if no value has a sealed form of that size.
    """
    body = sealed - HEADER_BYTES
    segments = -(-body // SEALED_SEGMENT_BYTES)
    plain = body - segments * keys.TAG_BYTES
    if not 0 <= plain <= MAX_SEGMENTS * SEGMENT_BYTES or sealed_size(plain) != sealed:
        raise IntegrityError(f"no sealed value has {sealed} bytes: it was cut short or added to")
    return plain


def seal_bytes(key: bytes, plain: Octets, purpose: Purpose, random: Callable[[int], bytes]) -> bytes:
    """Seal a whole value that fits into memory.

    Raises:
        ValueError: if ``key`` is not 32 bytes.
    """
    sealed = io.BytesIO()
    with SealingWriter(sealed, key, purpose, random) as writer:
        writer.write(plain)
    return sealed.getvalue()


def open_bytes(key: bytes, sealed: Octets, purpose: Purpose) -> bytes:
    """Undo ``seal_bytes``.

    Raises:
        IntegrityError: if ``sealed`` is not whole and unchanged, or is of another key or purpose.
        UnsupportedVersion: if a later release sealed it in a form that this one does not know.
        ValueError: if ``key`` is not 32 bytes.
    """
    view = memoryview(sealed).cast("B")
    opener = SegmentOpener(key, bytes(view[:HEADER_BYTES]), purpose)
    last = _segment_count(plain_size(len(view))) - 1
    plain = io.BytesIO()
    for index in range(last + 1):
        plain.write(opener.open(index, view[slice(*_sealed_span(index))], final=index == last))
    return plain.getvalue()


class SegmentSealer:
    """Seals the segments of one stream, in order, under a key of their own.

    Attributes:
        header: the 40 bytes that stand before the first segment.
        finished: whether the final segment was sealed; no other can follow.
    """

    def __init__(self, key: bytes, purpose: Purpose, random: Callable[[int], bytes]) -> None:
        prefix = _MAGIC + bytes([_VERSION, _SUITE, _SEGMENT_SIZE_LOG2, purpose])
        self.header: Final = prefix + random(_SALT_BYTES)
        self.finished = False
        self._cipher = _cipher(key, self.header)
        self._index = 0

    def seal(self, plain: Octets, *, final: bool) -> bytes:
        """Seal the next segment: ciphertext ‖ tag.

        Args:
            plain: exactly ``SEGMENT_BYTES``; if final, 1 to ``SEGMENT_BYTES``, or none if also the first.
            final: whether the stream ends here.

        Raises:
            ValueError: if the size is wrong, or the stream has ended.
            TooLarge: if the stream has ``MAX_SEGMENTS`` already.
        """
        if self.finished:
            raise ValueError("the final segment was sealed already")
        if self._index == MAX_SEGMENTS:
            raise TooLarge(f"a sealed value holds at most {MAX_SEGMENTS * SEGMENT_BYTES} bytes")
        if not _size_is_right(self._index, memoryview(plain).nbytes, final=final):
            raise ValueError("every segment but the last is full, and only that of an empty value is empty")
        sealed = self._cipher.encrypt(_nonce(self._index, final=final), plain, None)
        self._index += 1
        self.finished = final
        return sealed


class SegmentOpener:
    """Opens the segments of one stream, in any order.

    Raises:
        IntegrityError: if ``header`` is not that of a stream for ``purpose``.
        UnsupportedVersion: if its version, suite or segment size is not one that this release knows.
        ValueError: if ``key`` is not 32 bytes.
    """

    def __init__(self, key: bytes, header: bytes, purpose: Purpose) -> None:
        _check_header(header, purpose)
        self._cipher = _cipher(key, header)

    def open(self, index: int, sealed: Octets, *, final: bool) -> bytes:
        """Open segment ``index``, which must (``final``) or must not be the last.

        Raises:
            IntegrityError: if it is not that segment of this stream, unchanged, or the key is another.
        """
        size = memoryview(sealed).nbytes - keys.TAG_BYTES
        if not _size_is_right(index, size, final=final):
            raise IntegrityError(
                f"segment {index} has not the size that it must have: the value was cut short or changed"
            )
        try:
            return self._cipher.decrypt(_nonce(index, final=final), sealed, None)
        except InvalidTag:
            raise IntegrityError(
                f"segment {index} does not open: the value was changed or cut short, or the key is another"
            ) from None


class _Pieces(io.RawIOBase):
    """A readable stream made of pieces. Reads are whole: fewer bytes than asked for means the end."""

    def _pieces(self, size: int) -> Iterator[memoryview]:
        raise NotImplementedError

    def readable(self) -> bool:
        self._check_open()
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        self._check_open()
        read = io.BytesIO()
        for piece in self._pieces(sys.maxsize if size is None or size < 0 else size):
            read.write(piece)
        return read.getvalue()

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        self._check_open()
        target = memoryview(buffer).cast("B")
        filled = 0
        for piece in self._pieces(len(target)):
            target[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the stream is closed")


class SealingReader(_Pieces):
    """The sealed form of what ``source`` still holds, as a binary file object to read from.

    Holds about three segments in memory. Closing it leaves ``source`` open. If ``source`` fails, so does the
    read, and the reader is closed.

    Raises:
        ValueError: if ``key`` is not 32 bytes.
    """

    def __init__(self, source: BinaryIO, key: bytes, purpose: Purpose, random: Callable[[int], bytes]) -> None:
        super().__init__()
        self._source = source
        self._sealer = SegmentSealer(key, purpose, random)
        self._ready = memoryview(self._sealer.header)
        self._plain: bytes | None = None

    def _pieces(self, size: int) -> Iterator[memoryview]:
        while size > 0 and (self._ready or self._seal_next()):
            piece, self._ready = self._ready[:size], self._ready[size:]
            size -= len(piece)
            yield piece

    def _seal_next(self) -> bool:
        if self._sealer.finished:
            return False
        try:
            plain = self._next_plain() if self._plain is None else self._plain
            # One segment is read ahead: only what follows tells whether this one is the last.
            following = self._next_plain() if len(plain) == SEGMENT_BYTES else b""
            self._ready = memoryview(self._sealer.seal(plain, final=not following))
        except BaseException:
            # Part of the source may be lost: to go on would seal a value with a hole in it.
            self.close()
            raise
        self._plain = following
        return True

    def _next_plain(self) -> bytes:
        return _read_whole(self._source, SEGMENT_BYTES)


class SealingWriter:
    """Seals what is written to it into ``sink``, which must take every write whole, as buffered files do.

    Only ``close`` seals the final segment: without it, what lies in ``sink`` is refused by every reader. As a
    context manager it closes on success and aborts on an exception. Neither closes ``sink``. It is no
    ``io.IOBase``: those close themselves when they are collected, which would pass off an abandoned write as
    whole.

    Raises:
        ValueError: if ``key`` is not 32 bytes.
    """

    def __init__(self, sink: BinaryIO, key: bytes, purpose: Purpose, random: Callable[[int], bytes]) -> None:
        self._sink = sink
        self._sealer = SegmentSealer(key, purpose, random)
        self._pending = bytearray()
        self._aborted = False
        sink.write(self._sealer.header)

    def write(self, plain: Octets) -> int:
        """Seal ``plain``, but for the last segment, which stays in memory; return its size in bytes.

        Raises:
            ValueError: if the writer was closed or aborted.
        """
        self._check_not_aborted()
        if self._sealer.finished:
            raise ValueError("the writer is closed")
        view = memoryview(plain).cast("B")
        rest = self._fill_pending(view)
        # A full segment waits for the next byte: until then it may be the last.
        while len(rest) > SEGMENT_BYTES:
            self._emit(rest[:SEGMENT_BYTES], final=False)
            rest = rest[SEGMENT_BYTES:]
        self._pending += rest
        return len(view)

    def close(self) -> None:
        """Seal and write the final segment; does nothing the second time.

        Raises:
            ValueError: if the writer was aborted, or a write failed: what lies in the sink is not whole.
        """
        self._check_not_aborted()
        if self._sealer.finished:
            return
        self._emit(self._pending, final=True)
        self._pending = bytearray()

    def abort(self) -> None:
        """Give the stream up: nothing final is ever written. Does nothing after ``close``."""
        if not self._sealer.finished:
            self._give_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _fill_pending(self, view: memoryview) -> memoryview:
        if not self._pending:
            return view
        room = SEGMENT_BYTES - len(self._pending)
        self._pending += view[:room]
        rest = view[room:]
        if rest:
            self._emit(self._pending, final=False)
            self._pending = bytearray()
        return rest

    def _emit(self, plain: Octets, *, final: bool) -> None:
        try:
            self._sink.write(self._sealer.seal(plain, final=final))
        except BaseException:
            self._give_up()
            raise

    def _give_up(self) -> None:
        self._aborted = True
        self._pending = bytearray()

    def _check_not_aborted(self) -> None:
        if self._aborted:
            raise ValueError("the sealed stream was aborted and is not whole")


class OpenedSegments(_Pieces):
    """The value in a sealed ``source``, as a seekable binary file object that reads no more than it must.

    The header and the last segment are checked before the constructor returns, so a value that was cut short
    is found out before any of it is released; every other segment is checked when it is first needed. A read
    that fails leaves the position as it was. Holds the segment used last, plus what a read asks for. Wrap it
    in ``io.BufferedReader`` for lines or many small reads. It is for one thread at a time.

    Args:
        source: a seekable binary file that starts with the header. It belongs to this object from the call
            on: it is closed with it, and also if the constructor fails.
        key: the 32-byte key that the value was sealed under.
        purpose: what the value was sealed for.
        size: of the sealed form, in bytes, if known; else the source is asked. Nothing past it is read.

    Raises:
        IntegrityError: from the constructor or a read, if the sealed value is not whole and unchanged, or is
            of another key or purpose.
        UnsupportedVersion: if a later release sealed it in a form that this one does not know.
        ValueError: if ``key`` is not 32 bytes, or the object is closed.
    """

    def __init__(self, source: BinaryIO, key: bytes, purpose: Purpose, size: int | None = None) -> None:
        super().__init__()
        self._source = source
        self._position = 0
        try:
            self._sealed_size = source.seek(0, io.SEEK_END) if size is None else size
            self._opener = SegmentOpener(key, self._read_sealed(0, HEADER_BYTES), purpose)
            self._size = plain_size(self._sealed_size)
            self._last = _segment_count(self._size) - 1
            self._cached = (self._last, self._open_segment(self._last))
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """The size of the value in bytes."""
        return self._size

    def seekable(self) -> bool:
        self._check_open()
        return True

    def tell(self) -> int:
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._check_open()
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}
        if whence not in bases:
            raise ValueError(f"whence is 0, 1 or 2, not {whence}")
        position = bases[whence] + offset
        if position < 0:
            raise ValueError("there is nothing before the start of a value")
        self._position = position
        return position

    def close(self) -> None:
        if self.closed:
            return
        try:
            self._source.close()
        finally:
            super().close()

    def _pieces(self, size: int) -> Iterator[memoryview]:
        position = self._position
        end = min(position + size, self._size)
        while position < end:
            index, start = divmod(position, SEGMENT_BYTES)
            piece = memoryview(self._segment(index))[start : start + end - position]
            position += len(piece)
            yield piece
        self._position = position

    def _segment(self, index: int) -> bytes:
        if self._cached[0] != index:
            self._cached = (index, self._open_segment(index))
        return self._cached[1]

    def _open_segment(self, index: int) -> bytes:
        start, end = _sealed_span(index)
        sealed = self._read_sealed(start, min(end, self._sealed_size))
        return self._opener.open(index, sealed, final=index == self._last)

    def _read_sealed(self, start: int, end: int) -> bytes:
        self._source.seek(start)
        return _read_whole(self._source, end - start)


def _segment_count(plain: int) -> int:
    return max(1, -(-plain // SEGMENT_BYTES))


def _sealed_span(index: int) -> tuple[int, int]:
    start = HEADER_BYTES + index * SEALED_SEGMENT_BYTES
    return start, start + SEALED_SEGMENT_BYTES


def _size_is_right(index: int, size: int, *, final: bool) -> bool:
    if not final:
        return size == SEGMENT_BYTES
    return (0 if index == 0 else 1) <= size <= SEGMENT_BYTES


def _nonce(index: int, *, final: bool) -> bytes:
    return index.to_bytes(_COUNTER_BYTES, "big") + (b"\x01" if final else b"\x00")


def _check_header(header: bytes, purpose: Purpose) -> None:
    if len(header) != HEADER_BYTES:
        raise IntegrityError("the sealed value is cut short: its header is not whole")
    if not header.startswith(_MAGIC):
        raise IntegrityError("this is no sealed value: it does not start with LCSG")
    version, suite, segment_size_log2, stored_purpose = header[len(_MAGIC) : _PREFIX_BYTES]
    if (version, suite, segment_size_log2) != (_VERSION, _SUITE, _SEGMENT_SIZE_LOG2):
        raise UnsupportedVersion(
            f"this release knows no segments of version {version}, suite {suite}, size 2^{segment_size_log2}"
        )
    if stored_purpose != purpose:
        raise IntegrityError(
            f"the value was sealed for purpose {stored_purpose}, not {purpose.value} ({purpose.name.lower()})"
        )


def _cipher(key: bytes, header: bytes) -> AESGCM:
    if len(key) != keys.KEY_BYTES:
        raise ValueError(f"a segment key has {keys.KEY_BYTES} bytes")
    prefix, salt = header[:_PREFIX_BYTES], header[_PREFIX_BYTES:]
    return AESGCM(keys.expand(keys.extract(salt, key), "segments", prefix))


def _read_whole(source: BinaryIO, size: int) -> bytes:
    """Read ``size`` bytes, fewer only at the end: raw files and pipes may give less than they are asked for."""
    data = source.read(size)
    # len() rather than truth: a non-blocking source's None must fail, not pass for the end.
    if len(data) == size:
        return data
    parts = [data]
    missing = size - len(data)
    while missing and len(parts[-1]):
        parts.append(source.read(missing))
        missing -= len(parts[-1])
    return b"".join(parts)
