"""Values between this process and the object store, by ticket, sealed before they leave and opened when they are back.

Whatever its size, a value takes a few segments of memory (``lunacore.segments``, 64 KiB each). The requests go to httpx's
transport without its client: the client logs whole URLs, and a ticket's URL is not for logs.
"""

from __future__ import annotations

import io
import os
import tempfile
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import httpx
from attrs import frozen

from lunacore.errors import IntegrityError, StoreUnavailable, TokenNotFound
from lunacore.segments import SEGMENT_BYTES, OpenedSegments, Purpose, SealingReader, sealed_size
from lunacore_http.sdk.connection import LIMITS, jitter
from lunacore_http.sdk.refusals import UnexpectedAnswer
from lunacore_http.sdk.retries import Attempts, unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lunacore_http.sdk.calls import ValueTicket
    from lunacore_http.sdk.settings import Settings

OBJECT_STORE: Final = "the object store"

_CHUNK: Final = 1 << 16
_IN_MEMORY: Final = 1 << 20
"""Sealed bytes of unknown size that are kept in memory; more go to a temporary file."""

_ALREADY_THERE: Final = 412
_PASSING: Final = (429, 500, 502, 503, 504)


@frozen
class Source:
    """What is to be uploaded: ``size`` bytes of the value, None if nothing tells before the end."""

    file: BinaryIO
    start: int | None
    size: int | None

    @classmethod
    def of(cls, value: bytes | BinaryIO) -> Source:
        """The value's bytes from where it stands.

        Raises:
            TypeError: it is neither bytes nor a binary file object.
        """
        if isinstance(value, bytes | bytearray | memoryview):
            raw = bytes(value)
            return cls(io.BytesIO(raw), 0, len(raw))
        given: object = value
        if not hasattr(given, "read") or isinstance(given, io.TextIOBase):
            raise TypeError("the value must be bytes or a binary file object; encode text, open files with 'rb'")
        seekable = getattr(value, "seekable", None)
        if seekable is None or not seekable():
            return cls(value, None, None)
        start = value.tell()
        size = value.seek(0, io.SEEK_END) - start
        value.seek(start)
        return cls(value, start, max(0, size))

    @property
    def sealed_size(self) -> int | None:
        return None if self.size is None else sealed_size(self.size)

    def rewind(self) -> None:
        if self.start is not None:
            self.file.seek(self.start)


class Transfers:
    """Uploads and downloads; safe to use from several threads.

    Args:
        sleep: waits between attempts.
    """

    def __init__(self, settings: Settings, *, sleep: Callable[[float], None]) -> None:
        self._settings = settings
        self._sleep = sleep
        self._transport = httpx.HTTPTransport(verify=settings.trust, limits=LIMITS, trust_env=False)

    def upload(self, ticket: ValueTicket, source: Source) -> None:
        """Seal the value and put it where the ticket says, whole or not at all.

        Raises:
            StoreUnavailable: the object store cannot be reached or takes nothing now.
            UnexpectedAnswer: it refused the value.
        """
        assert ticket.key is not None
        if source.size is not None:
            self._upload(ticket, lambda: _sealed(source, ticket), sealed_size(source.size))
            return
        # Nobody takes an upload of unknown length. What lies in the temporary file meanwhile is sealed already.
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as sealed:
            _copy(_sealed(source, ticket), cast("BinaryIO", sealed))
            size = sealed.tell()

            def again() -> BinaryIO:
                sealed.seek(0)
                return cast("BinaryIO", sealed)

            self._upload(ticket, again, size)

    def open(self, ticket: ValueTicket, renew: Callable[[], ValueTicket]) -> BinaryIO:
        """The value as a seekable binary file object; read from the store as it is needed.

        Args:
            ticket: for the download.
            renew: gives another when this one has expired.

        Raises:
            TokenNotFound: the value was never uploaded, or was deleted.
            IntegrityError: what is stored was damaged or tampered with.
            StoreUnavailable: the object store cannot be reached.
        """
        stored = _StoredObject(self, ticket, renew)
        if ticket.key is None:
            return io.BufferedReader(stored, SEGMENT_BYTES)
        opened = OpenedSegments(cast("BinaryIO", stored), ticket.key, Purpose.VALUE, stored.size)
        return io.BufferedReader(opened, SEGMENT_BYTES)

    def close(self) -> None:
        self._transport.close()

    def get(self, ticket: ValueTicket, byte_range: str) -> httpx.Response:
        """The answer to one GET, its body still to be read; retried as calls are."""
        return self._attempt(lambda: self._request("GET", ticket, {"range": byte_range}))

    def _upload(self, ticket: ValueTicket, body: Callable[[], BinaryIO], size: int) -> None:
        attempts = 0

        def request() -> httpx.Request:
            nonlocal attempts
            attempts += 1
            return self._request("PUT", ticket, {"content-length": str(size)}, _chunks(body(), size))

        answer = self._attempt(request)
        answer.close()
        # The object's name is known to this ticket alone: what is there already came from the attempt whose answer was lost.
        if answer.is_success or (answer.status_code == _ALREADY_THERE and attempts > 1):
            return
        raise UnexpectedAnswer(f"{OBJECT_STORE} refused the value ({answer.status_code}); its log says why")

    def _attempt(self, request: Callable[[], httpx.Request]) -> httpx.Response:
        attempts = Attempts(repeatable=True, retries=self._settings.retries, jitter=jitter)
        while True:
            try:
                return _without_passing_trouble(self._transport.handle_request(request()))
            except (httpx.TransportError, StoreUnavailable) as problem:
                pause = attempts.pause(problem)
                if pause is None:
                    raise (
                        unreachable(problem, OBJECT_STORE) if isinstance(problem, httpx.TransportError) else problem
                    ) from None
            self._sleep(pause)

    def _request(
        self, method: str, ticket: ValueTicket, more: dict[str, str], content: Iterator[bytes] | None = None
    ) -> httpx.Request:
        url = self._reachable(ticket.url)
        headers = {**{name.lower(): value for name, value in ticket.headers.items()}, **more}
        headers.setdefault("accept-encoding", "identity")
        return httpx.Request(
            method, url, headers=headers, content=content, extensions={"timeout": _timeouts(self._settings.timeout)}
        )

    def _reachable(self, url: str) -> str:
        """The URL from inside: the gateway on the tokenizer's public URL is reached where the tokenizer is.

        The signature covers the path and the ``host`` header, which stays that of the ticket.
        """
        public, internal = self._settings.tokenizer_url, self._settings.internal_url
        if internal == public or not url.startswith(f"{public}/"):
            return url
        return internal + url.removeprefix(public)


class _StoredObject(io.RawIOBase):
    """An object in its store as a seekable file: what is read in order comes from one answer, anything else by ranges."""

    def __init__(self, transfers: Transfers, ticket: ValueTicket, renew: Callable[[], ValueTicket]) -> None:
        super().__init__()
        self._transfers = transfers
        self._ticket = ticket
        self._renew = renew
        self._position = 0
        self._stream: _Stream | None = None
        self._after_range = -1
        answer = self._get("bytes=0-")
        self.size: Final = _size(answer)
        self._stream = _Stream(answer, 0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("there is nothing before the start of a value")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - any writable buffer
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def read(self, size: int = -1, /) -> bytes:
        rest = max(0, self.size - self._position)
        wanted = rest if size < 0 else min(size, rest)
        if wanted == 0:
            return b""
        data = self._read(wanted)
        if len(data) != wanted:
            raise IntegrityError("the object store gave less than the whole value; it was cut short or changed")
        self._position += wanted
        return data

    def close(self) -> None:
        if not self.closed and self._stream is not None:
            self._stream.close()
        super().close()

    def _read(self, wanted: int) -> bytes:
        if self._stream is None or self._stream.position != self._position:
            if self._position != self._after_range:
                return self._read_range(wanted)
            # The second read in order: it is worth an answer of its own.
            self._restart()
        assert self._stream is not None
        try:
            return self._stream.read(wanted)
        except httpx.TransportError:
            # The answer broke off, or the store closed it while nobody read. What was read is checked; go on from here.
            self._restart()
            return self._continue(wanted)

    def _continue(self, wanted: int) -> bytes:
        assert self._stream is not None
        try:
            return self._stream.read(wanted)
        except httpx.TransportError as problem:
            raise unreachable(problem, OBJECT_STORE) from None

    def _restart(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = _Stream(self._get(f"bytes={self._position}-"), self._position)

    def _read_range(self, wanted: int) -> bytes:
        end = self._position + wanted
        part = _Stream(self._get(f"bytes={self._position}-{end - 1}"), self._position)
        try:
            data = part.read(wanted)
        except httpx.TransportError as problem:
            raise unreachable(problem, OBJECT_STORE) from None
        finally:
            part.close()
        self._after_range = end
        return data

    def _get(self, byte_range: str) -> httpx.Response:
        answer = self._transfers.get(self._ticket, byte_range)
        if answer.status_code == 403:
            # Tickets live for a minute or two; reading a large value may take longer.
            answer.close()
            self._ticket = self._renew()
            answer = self._transfers.get(self._ticket, byte_range)
        if answer.status_code in (200, 206, 416):
            return answer
        answer.close()
        if answer.status_code == 404:
            raise TokenNotFound("the value of this token was not uploaded, or was deleted")
        raise UnexpectedAnswer(f"{OBJECT_STORE} refused the download ({answer.status_code}); its log says why")


class _Stream:
    """One answer's body, read piece by piece; ``position`` is where in the object the next byte stands."""

    def __init__(self, answer: httpx.Response, wanted: int) -> None:
        self._answer = answer
        self._pieces = iter(answer.stream)  # type: ignore[arg-type]  # of a synchronous transport it is a synchronous one
        self._ready = b""
        # A store that ignores ranges answers the whole object.
        self.position = wanted if answer.status_code == 206 else 0
        if self.position < wanted:
            self._skip(wanted)

    def read(self, size: int) -> bytes:
        taken = io.BytesIO()
        while (missing := size - taken.tell()) > 0:
            if not self._ready:
                self._ready = next(self._pieces, b"")
                if not self._ready:
                    break
            taken.write(self._ready[:missing])
            self._ready = self._ready[missing:]
        self.position += taken.tell()
        return taken.getvalue()

    def close(self) -> None:
        self._answer.close()

    def _skip(self, until: int) -> None:
        while self.position < until and self.read(min(_CHUNK, until - self.position)):
            pass


def _without_passing_trouble(answer: httpx.Response) -> httpx.Response:
    if answer.status_code in _PASSING:
        answer.close()
        raise StoreUnavailable(f"{OBJECT_STORE} answered {answer.status_code}; try again later", retry_after=0)
    return answer


def _size(answer: httpx.Response) -> int:
    """The size of the whole object (RFC 9110, sections 8.6 and 14.4)."""
    told = answer.headers.get("content-range", "").rpartition("/")[2] or (
        answer.headers.get("content-length", "") if answer.status_code == 200 else ""
    )
    if not (told.isascii() and told.isdigit()):
        answer.close()
        raise UnexpectedAnswer(f"{OBJECT_STORE} did not tell the size of the value")
    return int(told)


def _sealed(source: Source, ticket: ValueTicket) -> BinaryIO:
    source.rewind()
    assert ticket.key is not None
    return cast("BinaryIO", SealingReader(source.file, ticket.key, Purpose.VALUE, os.urandom))


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    while piece := source.read(_CHUNK):
        target.write(piece)


def _chunks(body: BinaryIO, size: int) -> Iterator[bytes]:
    """Exactly ``size`` bytes: a source that changed meanwhile must not upload what nobody can tell from the whole value."""
    sent = 0
    while piece := body.read(_CHUNK):
        sent += len(piece)
        if sent > size:
            break
        yield piece
    if sent != size:
        raise ValueError("the value changed its size while it was uploaded; nothing was stored")


def _timeouts(seconds: float) -> dict[str, float]:
    return dict.fromkeys(("connect", "read", "write", "pool"), seconds)
