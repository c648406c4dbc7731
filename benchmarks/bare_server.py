"""The floor: a Falcon handler that parses JSON and echoes it, on the tokenizer's own server with the same options.

JSON is read and written by msgspec, as the tokenizer does it, which is several times as fast as Falcon's own way: the comparison
is with the fastest handler that there is.

``python -m benchmarks.bare_server PORT`` runs it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import falcon
import httpx
import msgspec

from benchmarks.processes import Server
from lunacore.config import Config
from lunacore.testing.servers import free_port
from lunacore_http.server import serve_application

if TYPE_CHECKING:
    from falcon import Request, Response

PATH: Final = "/echo"
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


class Echo:
    """Answers with the JSON that it is sent."""

    def on_post(self, req: Request, resp: Response) -> None:
        resp.data = _encode(_decode(req.env["wsgi.input"].read(int(req.env["CONTENT_LENGTH"]))))


def create() -> falcon.App[Request, Response]:
    """The application."""
    app: falcon.App[Request, Response] = falcon.App()
    app.add_route(PATH, Echo())
    return app


class BareServer:
    """The floor on one core, as a context manager."""

    def __init__(self, folder: Path, *, core: int) -> None:
        self.port = free_port()
        self.process = Server(
            [sys.executable, "-m", "benchmarks.bare_server", str(self.port)],
            core=core,
            ready=self._answers,
            folder=folder,
            environment=module_path(),
        )

    def __enter__(self) -> Self:
        self.process.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def _answers(self) -> bool:
        try:
            return httpx.post(f"http://127.0.0.1:{self.port}{PATH}", json={}).status_code == 200
        except httpx.TransportError:
            return False


def module_path() -> dict[str, str]:
    """The environment in which a program elsewhere finds this package."""
    return {"PYTHONPATH": str(Path(__file__).parents[1])}


def main() -> None:
    config = Config.from_mapping({"tokenizer": {"port": int(sys.argv[1])}}, {})
    serve_application(config, create)


if __name__ == "__main__":
    main()
