"""The client's side of a ticket: send a value to where it says, or fetch one, streamed, on connections that are kept open."""

from __future__ import annotations

import base64
import http.client
import os
import ssl
import time
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast
from urllib.parse import urlsplit

from benchmarks.processes import BenchmarkError
from lunacore.segments import HEADER_BYTES, SEALED_SEGMENT_BYTES, Purpose, SealingReader, SegmentOpener, sealed_size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PIECE: Final = 256 * 1024
_TIMEOUT: Final = 300.0
_IDLE: Final = 2.0
"""Seconds for which a connection that nobody uses is trusted to be there still; servers close idle ones."""


class TicketClient:
    """Uses tickets as a program does that has no LunaCore client: ``http.client`` and the documented formats.

    Args:
        ca: PEM file of the CA of the store's certificate, None for plain HTTP.
    """

    def __init__(self, ca: Path | None = None) -> None:
        self._context = None if ca is None else ssl.create_default_context(cafile=ca)
        self._connections: dict[tuple[str, str], http.client.HTTPConnection] = {}
        self._used: dict[tuple[str, str], float] = {}

    def upload(self, ticket: Mapping[str, Any], source: BinaryIO, size: int) -> None:
        """Send ``size`` bytes, sealed first if the ticket says so.

        Raises:
            BenchmarkError: they were not taken.
        """
        body = source
        if "valueKey" in ticket:
            sealing = SealingReader(source, _value_key(ticket), Purpose.VALUE, os.urandom)
            body, size = cast("BinaryIO", sealing), sealed_size(size)
        headers = {**ticket["headers"], "content-length": str(size)}
        with self._answer("PUT", ticket["uploadUrl"], headers, body) as answer:
            answer.read()

    def download(self, ticket: Mapping[str, Any], sink: BinaryIO) -> None:
        """Fetch a value into ``sink``, opened if it is sealed.

        Raises:
            BenchmarkError: there was none.
        """
        with self._answer("GET", ticket["downloadUrl"], ticket["headers"]) as answer:
            if "valueKey" not in ticket:
                _copy(answer, sink)
                return
            _open_into(answer, _value_key(ticket), sink)

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    def _answer(
        self, method: str, url: str, headers: Mapping[str, str], body: BinaryIO | None = None
    ) -> http.client.HTTPResponse:
        parts = urlsplit(url)
        connection = self._connection(parts.scheme, parts.netloc)
        connection.request(method, f"{parts.path}?{parts.query}", body=body, headers=dict(headers))
        answer = connection.getresponse()
        if answer.status != 200:
            raise BenchmarkError(f"{method} at the object store answered {answer.status}: {answer.read(500)!r}")
        return answer

    def _connection(self, scheme: str, host: str) -> http.client.HTTPConnection:
        known = self._connections.get((scheme, host))
        if known is None:
            if scheme == "https":
                known = http.client.HTTPSConnection(host, timeout=_TIMEOUT, blocksize=_PIECE, context=self._context)
            else:
                known = http.client.HTTPConnection(host, timeout=_TIMEOUT, blocksize=_PIECE)
            self._connections[scheme, host] = known
        elif time.monotonic() - self._used[scheme, host] > _IDLE:
            known.close()  # the server may have done so; the next request connects anew
        self._used[scheme, host] = time.monotonic()
        return known


def _copy(source: http.client.HTTPResponse, sink: BinaryIO) -> None:
    while piece := source.read(_PIECE):
        sink.write(piece)


def _open_into(source: http.client.HTTPResponse, key: bytes, sink: BinaryIO) -> None:
    opener = SegmentOpener(key, source.read(HEADER_BYTES), Purpose.VALUE)
    index, segment = 0, source.read(SEALED_SEGMENT_BYTES)
    while segment:
        following = source.read(SEALED_SEGMENT_BYTES)
        sink.write(opener.open(index, segment, final=not following))
        index, segment = index + 1, following


def _value_key(ticket: Mapping[str, Any]) -> bytes:
    return base64.b64decode(ticket["valueKey"])
