"""A tokenizer to test against: an issuer of real JWTs, a client that speaks the wire, and a server in processes of its own."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lunacore.segments import OpenedSegments, Purpose, SealingReader
from lunacore.testing.servers import TokenizerProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ISSUER: Final = "https://app.example.com"
JSON: Final = {"content-type": "application/json"}
STRING: Final = {"dataType": "string"}


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


class TokenizerServer(TokenizerProcess):
    """A tokenizer on free ports of 127.0.0.1 and one data directory, as a context manager.

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
        super().__init__(self.config)

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


def sealed(value: bytes, ticket: dict[str, Any]) -> bytes:
    """A value as its ticket wants it uploaded, in the format sealed-v1."""
    key = base64.b64decode(ticket["valueKey"])
    return SealingReader(cast("BinaryIO", io.BytesIO(value)), key, Purpose.VALUE, os.urandom).read()


def opened(value: bytes, ticket: dict[str, Any]) -> bytes:
    """What was sealed into what its ticket downloads."""
    key = base64.b64decode(ticket["valueKey"])
    return OpenedSegments(cast("BinaryIO", io.BytesIO(value)), key, Purpose.VALUE).read()


def exchange(port: int, sent: bytes) -> bytes:
    """Send bytes as they are, and return all that comes back until the server closes; they should ask it to."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received
