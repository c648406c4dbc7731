"""A proxy in front of an S3 server that adds a fault which the servers of the tests do not have.

It hands on ``Host`` and path as they came, so signatures hold.
"""

from __future__ import annotations

import http.client
import ssl
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

from attrs import frozen

from tests.servers.threads import ServedInThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


CUT: Final = 0
"""In place of a status: the connection is closed without an answer."""


@frozen
class Exchange:
    """A request, and what the server answered."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    answer: bytes


def refusal(code: str) -> bytes:
    """An error in S3's form."""
    return f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()


def as_it_is(exchange: Exchange) -> tuple[int, bytes]:
    """No fault: what the server answered."""
    return exchange.status, exchange.answer


def _no_refusal(method: str, path: str) -> tuple[int, bytes] | None:
    return None


@contextmanager
def faulty(
    endpoint: str,
    fault: Callable[[Exchange], tuple[int, bytes]] = as_it_is,
    *,
    refuse: Callable[[str, str], tuple[int, bytes] | None] = _no_refusal,
    ca: Path | None = None,
) -> Iterator[str]:
    """The endpoint of a proxy for ``endpoint``.

    Args:
        endpoint: scheme, host and port of the server.
        fault: gives status and body in place of the server's, which has done its work by then. ``CUT`` for the status closes the connection.
        refuse: gives the answer to a method and path of which the server is never to hear, or None.
        ca: CA of an https server, whose certificate and key lie beside it; the proxy uses them, too.
    """
    host = endpoint.partition("://")[2]

    def connect() -> http.client.HTTPConnection:
        if ca is None:
            return http.client.HTTPConnection(host, timeout=30)
        return http.client.HTTPSConnection(host, timeout=30, context=ssl.create_default_context(cafile=ca))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            if refused := refuse(self.command, self.path):
                self.reply(
                    *refused, [("content-type", "application/xml" if b"<Error>" in refused[1] else "text/html")], "0"
                )
                return
            connection = connect()
            try:
                connection.request(self.command, self.path, body or None, dict(self.headers))
                answered = connection.getresponse()
                content = answered.read()
            finally:
                connection.close()
            headers = {name.lower(): value for name, value in self.headers.items()}
            exchange = Exchange(self.command, self.path, headers, body, answered.status, content)
            self.reply(*fault(exchange), answered.getheaders(), answered.getheader("content-length", "0"))

        def reply(self, status: int, body: bytes, headers: list[tuple[str, str]], announced: str) -> None:
            if status == CUT:
                self.close_connection = True
                return
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("content-length", announced if self.command == "HEAD" else str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if ca is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(ca.with_name("public.crt"), ca.with_name("private.key"))
        # Hands are shaken by the thread of the connection, so that a client which does not holds up no other.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with ServedInThread(server) as served:
        yield f"{'https' if ca else 'http'}://127.0.0.1:{served.port}"
