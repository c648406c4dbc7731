"""One object over HTTP with ranges, on a server that can be told to fail as stores do."""

from __future__ import annotations

import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.servers.threads import ServedInThread


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up when they have read enough."""


class ObjectServer(ServedInThread):
    """``GET`` gives ``content``, ``PUT`` takes it once.

    Attributes:
        refuse: statuses to answer the next requests with.
        cut_after: bytes after which the next bodies break off, one for each.
        knows_ranges: whether ``Range`` is obeyed.
        ranges: what was asked for, in order.
    """

    def __init__(self, content: bytes | None = None) -> None:
        self.content = content
        self.refuse: list[int] = []
        self.cut_after: list[int] = []
        self.lose_answers = 0
        self.knows_ranges = True
        self.ranges: list[str] = []
        self.headers: list[dict[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server._get(self)

            def do_PUT(self) -> None:
                server._put(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        super().__init__(_Quiet(("127.0.0.1", 0), Handler))
        self.url = f"http://127.0.0.1:{self.port}/objects/1?signature=secret"

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        if self._refused(handler):
            return
        assert self.content is not None
        asked = handler.headers.get("range", "")
        self.ranges.append(asked)
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked) if self.knows_ranges else None
        if match is None:
            body = self.content
            handler.send_response(200)
        else:
            start, end = int(match[1]), int(match[2]) + 1 if match[2] else len(self.content)
            body = self.content[start:end]
            handler.send_response(206)
            handler.send_header("content-range", f"bytes {start}-{start + len(body) - 1}/{len(self.content)}")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        if self.cut_after:
            body = body[: self.cut_after.pop(0)]
            handler.close_connection = True
        try:
            handler.wfile.write(body)
        except OSError:
            handler.close_connection = True

    def _put(self, handler: BaseHTTPRequestHandler) -> None:
        self.headers.append({name.lower(): value for name, value in handler.headers.items()})
        body = handler.rfile.read(int(handler.headers["content-length"]))
        if self._refused(handler):
            return
        status = 412 if self.content is not None else 200
        if self.content is None and len(body) == int(handler.headers["content-length"]):
            self.content = body
        if self.lose_answers:
            self.lose_answers -= 1
            handler.close_connection = True
            return
        handler.send_response(status)
        handler.send_header("content-length", "0")
        handler.end_headers()

    def _refused(self, handler: BaseHTTPRequestHandler) -> bool:
        if not self.refuse:
            return False
        handler.send_response(self.refuse.pop(0))
        handler.send_header("content-length", "0")
        handler.end_headers()
        return True
