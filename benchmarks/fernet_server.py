"""What many Python applications do today: a Fernet column in SQLite behind Falcon, on the tokenizer's own server.

The key lies in the application's process, there is no check of who asks and no audit log: whoever may call may read everything.
A write commits to the disk before it answers, as LunaCore's does.

``python -m benchmarks.fernet_server PORT DATABASE`` runs it.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import falcon
import httpx
import msgspec
from cryptography.fernet import Fernet

from benchmarks.bare_server import module_path
from benchmarks.load import Request as Prepared
from benchmarks.processes import BenchmarkError, Server
from lunacore.config import Config
from lunacore.testing.servers import free_port
from lunacore_http.server import serve_application

if TYPE_CHECKING:
    from collections.abc import Sequence

    from falcon import Request, Response

READ: Final = "/read"
WRITE: Final = "/write"
_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS cards (id INTEGER PRIMARY KEY, number BLOB NOT NULL)"
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


class _Column:
    """The encrypted column; a connection for each thread."""

    def __init__(self, database: Path, key: bytes) -> None:
        self._database = database
        self._fernet = Fernet(key)
        self._local = threading.local()

    @property
    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = sqlite3.connect(self._database, isolation_level=None, timeout=30)
            found.execute("PRAGMA journal_mode = WAL")
            found.execute("PRAGMA synchronous = FULL")
            found.execute(_SCHEMA)
        return found

    def read(self, number: int) -> str:
        (sealed,) = self._connection.execute("SELECT number FROM cards WHERE id = ?", (number,)).fetchone()
        return self._fernet.decrypt(sealed).decode()

    def write(self, value: str) -> int:
        sealed = self._fernet.encrypt(value.encode())
        row = self._connection.execute("INSERT INTO cards (number) VALUES (?)", (sealed,)).lastrowid
        if row is None:
            raise RuntimeError("an INSERT has a row")
        return row


class _Read:
    def __init__(self, column: _Column) -> None:
        self._column = column

    def on_post(self, req: Request, resp: Response) -> None:
        resp.data = _encode({"value": self._column.read(_body(req)["id"])})


class _Write:
    def __init__(self, column: _Column) -> None:
        self._column = column

    def on_post(self, req: Request, resp: Response) -> None:
        resp.data = _encode({"id": self._column.write(_body(req)["value"])})


def create(database: Path) -> falcon.App[Request, Response]:
    """The application; each worker process makes its own."""
    column = _Column(database, _key(database))
    app: falcon.App[Request, Response] = falcon.App()
    app.add_route(READ, _Read(column))
    app.add_route(WRITE, _Write(column))
    return app


class FernetServer:
    """It on one core, as a context manager."""

    def __init__(self, folder: Path, *, core: int) -> None:
        self.port = free_port()
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        folder.mkdir(parents=True, exist_ok=True)
        database = folder / "cards.sqlite"
        database.with_suffix(".key").write_bytes(Fernet.generate_key())
        self.process = Server(
            [sys.executable, "-m", "benchmarks.fernet_server", str(self.port), str(database)],
            core=core,
            ready=self._answers,
            folder=folder,
            environment=module_path(),
        )

    def __enter__(self) -> Self:
        self.process.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self.process.stop()

    def write(self, values: Sequence[str]) -> list[int]:
        """Put values away, and see that one can be read.

        Raises:
            BenchmarkError: it cannot.
        """
        written = [int(self._client.post(WRITE, json={"value": one}).json()["id"]) for one in values]
        if self._client.post(READ, json={"id": written[0]}).json() != {"value": values[0]}:
            raise BenchmarkError("the Fernet column returned another value")
        return written

    def _answers(self) -> bool:
        try:
            return self._client.post(WRITE, json={"value": ""}).status_code == 200
        except httpx.TransportError:
            return False


def read_request(number: int) -> Prepared:
    """A call that reads one value."""
    return Prepared(READ, {}, _encode({"id": number}))


def write_request(value: str) -> Prepared:
    """A call that writes one value."""
    return Prepared(WRITE, {}, _encode({"value": value}))


def main() -> None:
    config = Config.from_mapping({"tokenizer": {"port": int(sys.argv[1])}}, {})
    serve_application(config, partial(create, Path(sys.argv[2])))


def _key(database: Path) -> bytes:
    return database.with_suffix(".key").read_bytes()


def _body(req: Request) -> dict[str, Any]:
    decoded: dict[str, Any] = _decode(req.env["wsgi.input"].read(int(req.env["CONTENT_LENGTH"])))
    return decoded


if __name__ == "__main__":
    main()
