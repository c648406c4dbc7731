"""The pages of an application, and one value in the clear: what the Secure Frame is put beside.

``python -m benchmarks.page_server PORT TOKENIZER`` runs it, on the tokenizer's own server with the same options.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import falcon
import httpx

from benchmarks.bare_server import module_path
from benchmarks.processes import Server
from lunacore.config import Config
from lunacore_http.server import serve_application

if TYPE_CHECKING:
    from pathlib import Path

    from falcon import Request, Response

VALUE: Final = "4111 1111 1111 1111"

_PAGE: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Benchmark</title>
<script type="module" src="{tokenizer}/sdk/lunacore.js"></script></head>
<body><secure-input aria-label="Value"></secure-input><p id="plain"></p></body></html>"""


class Fixed:
    """Answers every GET with the same text."""

    def __init__(self, text: str, media_type: str) -> None:
        self._text = text.encode()
        self._media_type = media_type

    def on_get(self, req: Request, resp: Response) -> None:  # noqa: ARG002 - Falcon's
        resp.content_type = self._media_type
        resp.set_header("cache-control", "no-store")
        resp.data = self._text


def create(tokenizer: str) -> falcon.App[Request, Response]:
    """The application."""
    app: falcon.App[Request, Response] = falcon.App()
    app.add_route("/", Fixed(_PAGE.format(tokenizer=tokenizer), "text/html; charset=utf-8"))
    app.add_route("/value", Fixed(VALUE, "text/plain; charset=utf-8"))
    return app


class PageServer:
    """The application on one core, as a context manager."""

    def __init__(self, folder: Path, *, core: int, port: int, tokenizer: str) -> None:
        self._address = f"http://127.0.0.1:{port}/value"
        self._process = Server(
            [sys.executable, "-m", "benchmarks.page_server", str(port), tokenizer],
            core=core,
            ready=self._answers,
            folder=folder,
            environment=module_path(),
        )

    def __enter__(self) -> Self:
        self._process.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    def _answers(self) -> bool:
        try:
            return httpx.get(self._address).status_code == 200
        except httpx.TransportError:
            return False


def main() -> None:
    config = Config.from_mapping({"tokenizer": {"port": int(sys.argv[1])}}, {})
    serve_application(config, partial(create, sys.argv[2]))


if __name__ == "__main__":
    main()
