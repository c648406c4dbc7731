"""A proxy in front of an S3 server that adds a fault which the servers of the tests do not have.

It hands on ``Host`` and path as they came, so signatures hold.
"""

from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


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


@contextmanager
def faulty(endpoint: str, fault: Callable[[Exchange], tuple[int, bytes]]) -> Iterator[str]:
    """The endpoint of a proxy for the plain HTTP ``endpoint``; ``fault`` gives status and body in place of the server's."""
    host = endpoint.partition("://")[2]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            connection = http.client.HTTPConnection(host, timeout=30)
            try:
                connection.request(self.command, self.path, body or None, dict(self.headers))
                answered = connection.getresponse()
                content = answered.read()
            finally:
                connection.close()
            headers = {name.lower(): value for name, value in self.headers.items()}
            exchange = Exchange(self.command, self.path, headers, body, answered.status, content)
            status, changed = fault(exchange)
            self.send_response_only(status)
            for name, value in answered.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = answered.getheader("content-length", "0") if self.command == "HEAD" else str(len(changed))
            self.send_header("content-length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(changed)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
