"""A tokenizer to test against: an issuer of real JWTs, a client that speaks the wire, and a server in processes of its own."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any, Final, Self

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lunacore.testing.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

START_SECONDS: Final = 90.0
STOP_SECONDS: Final = 60.0
ISSUER: Final = "https://app.example.com"
JSON: Final = {"content-type": "application/json"}
STRING: Final = {"dataType": "string"}

_SERVE: Final = (
    "import sys; from lunacore.config import Config; from lunacore_http.server import serve; "
    "serve(Config.from_mapping(__import__('json').loads(sys.argv[1]), {}), started=lambda: print('started', flush=True))"
)


class Issuer:
    """Signs JWTs (Ed25519) whose keys lie in a file. A claim that is given as None is left out."""

    def __init__(self, directory: Path, issuer: str = ISSUER, *, name: str = "app", **settings: Any) -> None:
        self.issuer = issuer
        self._key = Ed25519PrivateKey.generate()
        point = base64.urlsafe_b64encode(self._key.public_key().public_bytes_raw()).rstrip(b"=").decode()
        keys = [{"kty": "OKP", "crv": "Ed25519", "x": point, "kid": "one", "alg": "EdDSA", "use": "sig"}]
        path = directory / f"{name}.jwks.json"
        path.write_text(json.dumps({"keys": keys}))
        self.settings = {
            "name": name,
            "kind": "application",
            "issuer": issuer,
            "jwks": path.as_uri(),
            "direct": True,
            **settings,
        }

    def user(self, audience: str, session: str = "session-1", **claims: Any) -> str:
        return self._sign(audience, sub="user", session_id=session, **claims)

    def application(self, audience: str, **claims: Any) -> str:
        return self._sign(audience, sub="application", **claims)

    def _sign(self, audience: str, **claims: Any) -> str:
        now = int(time.time())
        members = {"iss": self.issuer, "aud": audience, "iat": now, "exp": now + 3600, **claims}
        members = {name: value for name, value in members.items() if value is not None}
        return jwt.encode(members, self._key, algorithm="EdDSA", headers={"kid": "one"})


class TokenizerServer:
    """``serve`` in a process of its own, on free ports of 127.0.0.1 and one data directory, as a context manager.

    Args:
        directory: for data and keys.
        workers: how many processes serve.
        settings: more settings, section by section.
    """

    def __init__(self, directory: Path, *, workers: int = 1, settings: Mapping[str, Any] | None = None) -> None:
        self.directory = directory
        self.port, self.operations_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.operations_url = f"http://127.0.0.1:{self.operations_port}"
        self.issuer = Issuer(directory)
        more = dict(settings or {})
        self.config: dict[str, Any] = {
            "tokenizer": {
                "port": self.port,
                "operations": f"127.0.0.1:{self.operations_port}",
                "workers": workers,
                "data_dir": str(directory / "data"),
                **more.pop("tokenizer", {}),
            },
            "identity": [self.issuer.settings],
            **more,
        }
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed on exit
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the server has written so far."""
        return os.pread(self._log.fileno(), 1 << 22, 0).decode(errors="replace")

    @property
    def user(self) -> dict[str, str]:
        """Headers of a user of session-1, as in the exchange of the documentation: the cookie and nothing else."""
        return self.user_of("session-1")

    def user_of(self, session: str) -> dict[str, str]:
        return {"cookie": f"access_token={self.issuer.user(self.url, session)}"}

    @property
    def application(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.issuer.application(self.url)}"}

    def post(self, path: str, body: Any, headers: Mapping[str, str]) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, headers=dict(headers), timeout=30)

    def data(self, path: str, body: Any, headers: Mapping[str, str]) -> Any:
        answer = self.post(path, body, headers)
        assert answer.status_code == 200, answer.text
        envelope = answer.json()
        assert envelope["success"] is True
        assert envelope["error"] == {}
        return envelope["data"]

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, json.dumps(self.config)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        deadline = time.monotonic() + START_SECONDS
        while "started\n" not in self.log:
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.stop()
                message = f"the server did not start:\n{self.log}"
                raise RuntimeError(message)
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._log.close()

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Stop it and return its exit code."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def exchange(port: int, sent: bytes) -> bytes:
    """Send bytes as they are, and return all that comes back until the server closes; they should ask it to."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received
