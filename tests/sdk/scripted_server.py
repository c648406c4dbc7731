"""A server whose answers are written beforehand, to show what a client does with them."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from tests.servers.threads import ServedInThread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HANG_UP: Final = "hang up"
"""In place of an answer: read the request and close the connection."""


@frozen
class Scripted:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(factory=dict)


def success(data: Mapping[str, Any]) -> Scripted:
    return Scripted(200, json.dumps({"success": True, "error": {}, "data": data}).encode())


def items(*data: Mapping[str, Any]) -> Scripted:
    return success({"items": [{"success": True, "error": {}, "data": one} for one in data]})


def failure(status: int, name: str, **headers: str) -> Scripted:
    error = {"name": name, "message": f"told: {name}", "code": str(status)}
    return Scripted(status, json.dumps({"success": False, "error": error, "data": {}}).encode(), headers)


@frozen
class Received:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class ScriptedServer(ServedInThread):
    """Gives the answers in order, the last one for ever; ``received`` holds what came."""

    def __init__(self, script: Sequence[Scripted | str]) -> None:
        self.script = list(script)
        self.received: list[Received] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server._answer(self)

            def do_PUT(self) -> None:
                server._answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        self.url = f"http://127.0.0.1:{self.port}"

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.received.append(Received(handler.command, handler.path, headers, body))
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if not isinstance(answer, Scripted):
            handler.close_connection = True
            return
        handler.send_response(answer.status)
        for name, value in {"content-length": str(len(answer.body)), **answer.headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(answer.body)
