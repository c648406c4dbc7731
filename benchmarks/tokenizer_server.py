"""A tokenizer to measure: ``lunacore serve`` on one core, with callers whose JWTs it believes.

Everything is as it comes, on the embedded default, but for what ``LIMITS`` says, which would stop a load generator.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Self

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.load import Request
from benchmarks.processes import BenchmarkError, Server
from lunacore.testing.servers import free_port
from lunacore_http.browser import SESSION_HASH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

ISSUER: Final = "https://app.example.com"
LIMITS: Final = {
    "limits": {"session_reads": 1_000_000_000, "application_reads": 1_000_000_000},
    "grants": {"default_ttl": "12h"},
    "sweep": {"every": 0},
}
"""The rate limits stay on, but are never reached; grants outlive the run; the sweep does not fall into a round."""

METADATA: Final = {"dataType": "string"}
_JWT_SECONDS: Final = 6 * 3600


class Issuer:
    """Signs JWTs (Ed25519), as the back end of an application would."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._key = Ed25519PrivateKey.generate()
        point = base64.urlsafe_b64encode(self._key.public_key().public_bytes_raw()).rstrip(b"=").decode()
        keys = [{"kty": "OKP", "crv": "Ed25519", "x": point, "kid": "one", "alg": "EdDSA", "use": "sig"}]
        self._jwks = folder / "jwks.json"
        self._jwks.write_text(json.dumps({"keys": keys}), encoding="utf-8")

    @property
    def settings(self) -> dict[str, Any]:
        """The ``[[identity]]`` that believes it."""
        return {
            "name": "app",
            "kind": "application",
            "issuer": ISSUER,
            "jwks": self._jwks.as_uri(),
            "direct": True,
        }

    def user(self, audience: str, session: str) -> str:
        return self._sign(audience, sub="user", session_id=session)

    def application(self, audience: str) -> str:
        return self._sign(audience, sub="application")

    def _sign(self, audience: str, **claims: str) -> str:
        now = int(time.time())
        members = {"iss": ISSUER, "aud": audience, "iat": now, "exp": now + _JWT_SECONDS, **claims}
        return jwt.encode(members, self._key, algorithm="EdDSA", headers={"kid": "one"})


class TokenizerServer:
    """``lunacore serve`` as a context manager.

    Args:
        folder: for data, keys and output.
        core: to serve on.
        objects: the setting ``tokenizer.objects``, empty for the embedded default and its gateway.
        stores: further settings of ``[tokenizer]``, such as ``records``, ``grants`` and ``threads``.
        workers: processes that serve.
        environment: what to add to the environment.
        host: that browsers know 127.0.0.1 by.
        app_origins: whose pages may embed the Secure Frame.
    """

    def __init__(
        self,
        folder: Path,
        *,
        core: int | tuple[int, ...],
        objects: str = "",
        stores: Mapping[str, str | int] | None = None,
        workers: int = 1,
        environment: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
        app_origins: Sequence[str] = (),
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.public_url = f"http://{host}:{self.port}"
        self.issuer = Issuer(folder)
        self._client = httpx.Client(base_url=self.url, timeout=60)
        settings: dict[str, Any] = {
            "tokenizer": {
                "port": self.port,
                "operations": f"127.0.0.1:{free_port()}",
                "data_dir": str(folder / "data"),
                "objects": objects,
                "public_url": self.public_url,
                "workers": workers,
                **(stores or {}),
            },
            "frame": {"app_origins": list(app_origins)},
            **LIMITS,
        }
        config = folder / "luna.toml"
        config.write_text(_toml(settings, self.issuer.settings), encoding="utf-8")
        self.process = Server(
            [sys.executable, "-m", "lunacore_http.command", "serve", "--config", str(config)],
            core=core,
            ready=self._answers,
            folder=folder,
            environment=environment,
        )

    def __enter__(self) -> Self:
        self.process.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self.process.stop()

    def frame(self, session: str) -> dict[str, str]:
        """The headers that the Secure Frame sends for a session, so that every check of a browser is made, too."""
        cookie = {"cookie": f"access_token={self.issuer.user(self.url, session)}"}
        told = self._client.get("/session/verify", headers=cookie)
        return {**cookie, "sec-fetch-site": "same-origin", SESSION_HASH: told.headers[SESSION_HASH]}

    @property
    def application(self) -> dict[str, str]:
        """The headers of the application's back end."""
        return {"authorization": f"Bearer {self.issuer.application(self.url)}"}

    def data(self, path: str, body: object, headers: Mapping[str, str]) -> Any:  # noqa: ANN401 - whatever the call answers
        """What a call answers.

        Raises:
            BenchmarkError: it failed, or an item of its batch did.
        """
        answer = self._client.post(path, json=body, headers=dict(headers))
        check(path, answer)
        return answer.json()["data"]

    def _answers(self) -> bool:
        try:
            return self._client.get("/health").status_code == 200
        except httpx.TransportError:
            return False


def check(path: str, answer: httpx.Response) -> None:
    """See that a call of the tokenizer succeeded, with every item of its batch.

    Raises:
        BenchmarkError: it did not.
    """
    envelope = answer.json()
    succeeded = answer.status_code == 200 and all(one["success"] for one in envelope["data"].get("items", []))
    if not succeeded:
        raise BenchmarkError(f"{path} answered {answer.status_code}: {answer.text[:500]}")


def detokenize_request(headers: Mapping[str, str], tokens: Sequence[str]) -> Request:
    """A call of ``/detokenize``, for one token or a batch."""
    body: dict[str, Any] = {"tokenId": tokens[0]} if len(tokens) == 1 else {"tokenIds": list(tokens)}
    return Request("/detokenize", headers, json.dumps(body).encode())


def tokenize_request(headers: Mapping[str, str], count: int) -> Request:
    """A call of ``/tokenize``, for one value or a batch."""
    body = new_token() if count == 1 else {"items": [new_token()] * count}
    return Request("/tokenize", headers, json.dumps(body).encode())


def new_token(value_format: str = "sealed-v1") -> dict[str, Any]:
    """What ``/tokenize`` is told of one value."""
    return {"metadata": METADATA, "valueFormat": value_format}


def _toml(settings: Mapping[str, Mapping[str, object]], identity: Mapping[str, object]) -> str:
    tables = [f"[{name}]\n{_lines(section)}" for name, section in settings.items()]
    return "\n".join([*tables, f"[[identity]]\n{_lines(identity)}"])


def _lines(section: Mapping[str, object]) -> str:
    # Numbers, booleans and texts without odd characters are written in TOML as in JSON.
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in section.items())
