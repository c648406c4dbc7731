"""Issuers that sign real JWTs, a clock to turn, and a real HTTP server for their keys."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from lunacore.config import IdentitySettings
from lunacore_http.identity.providers import Identities, Presented
from tests.servers.threads import ServedInThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

NOW = 1_800_000_000
URL = "https://secure.example.com"
ISSUER = "https://app.example.com"
MAX_SESSION = 12 * 3600

# Made once: a key is only as good as its issuer's list of keys, which each test has for itself.
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def public_jwk(key: Any, kid: str | None = "one", **members: Any) -> dict[str, Any]:
    algorithm: Any = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    chosen = next((a for kind, a in algorithm.items() if isinstance(key, kind)), OKPAlgorithm)
    jwk: dict[str, Any] = {**chosen.to_jwk(key.public_key(), as_dict=True)}
    jwk.pop("key_ops", None)
    return {**jwk, **({} if kid is None else {"kid": kid}), **members}


def sign(claims: Any, key: Any = EC_KEY, algorithm: str = "ES256", kid: str | None = "one", **header: Any) -> str:
    """A JWS over any payload and any header, with what PyJWT would refuse to write as well."""
    members = {"alg": algorithm, **({} if kid is None else {"kid": kid}), **header}
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signing = f"{encode(json.dumps(members).encode())}.{encode(payload)}"
    return f"{signing}.{encode(signature(signing, key, algorithm))}"


def signature(signing: str, key: Any, algorithm: str = "ES256") -> bytes:
    return pyjwt.PyJWS().get_algorithm_by_name(algorithm).sign(signing.encode(), key)


class Clock:
    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        return self.now


class Desk:
    """A tokenizer's view of one or more providers whose keys lie in files."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.folder = folder
        self.keys: list[Any] = [public_jwk(EC_KEY)]
        self.settings: list[IdentitySettings] = [self.provider()]
        self._identities: Identities | None = None

    def provider(self, name: str = "app", keys: list[Any] | None = None, **given: Any) -> IdentitySettings:
        path = self.publish(name, self.keys if keys is None else keys)
        defaults: dict[str, Any] = {"kind": "application", "issuer": ISSUER, "jwks": path.as_uri(), "direct": True}
        return IdentitySettings(name=name, **(defaults | given))

    def publish(self, name: str, keys: list[Any]) -> Path:
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps({"keys": keys}))
        return path

    def configure(self, *settings: IdentitySettings) -> Desk:
        self.settings = list(settings)
        self._identities = None
        return self

    @property
    def identities(self) -> Identities:
        if self._identities is None:
            self._identities = Identities(
                self.settings, public_url=URL, max_session_ttl=MAX_SESSION, now=self.clock, start=lambda work: work()
            )
        return self._identities

    def claims(self, **changed: Any) -> dict[str, Any]:
        """A user's claims, all in order; None leaves one out."""
        now = int(self.clock())
        claims = {"iss": ISSUER, "aud": URL, "exp": now + 600, "iat": now, "sub": "user", "session_id": "s-1"}
        return {name: value for name, value in (claims | changed).items() if value is not None}

    def application(self, **changed: Any) -> dict[str, Any]:
        return self.claims(sub="application", session_id=None, **changed)

    def bearer(self, token: str) -> Any:
        return self.identities.identify(presented(authorization=f"Bearer {token}"))

    def cookie(self, token: str, name: str = "access_token") -> Any:
        return self.identities.identify(presented(cookies={name: token}))

    def header(self, name: str, value: str, **more: Any) -> Any:
        return self.identities.identify(presented(headers={name.lower(): value}, **more))


def presented(
    authorization: str | None = None, cookies: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> Presented:
    sent = headers or {}
    return Presented(authorization=authorization, cookies=cookies or {}, header=lambda name: sent.get(name.lower()))


class KeyServer(ServedInThread):
    """A real HTTP server on 127.0.0.1; ``answer`` writes the response, and may be replaced at any time."""

    def __init__(self) -> None:
        self.requests = 0
        self.keys: list[Any] = [public_jwk(EC_KEY)]
        self.answer: Callable[[BaseHTTPRequestHandler], None] = self.send_keys
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    outer.answer(self)

            def log_message(self, *args: Any) -> None:
                pass

        http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        http_server.daemon_threads = False
        super().__init__(http_server)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/.lunasec/jwks.json"

    def send_keys(self, request: BaseHTTPRequestHandler) -> None:
        self.send(request, json.dumps({"keys": self.keys}).encode())

    def send(self, request: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    def use_tls(self, certificate: Path, key: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def stop(self) -> None:
        self.released.set()
        super().stop()


@pytest.fixture
def kit() -> ModuleType:
    """This module: its keys and its signing."""
    return sys.modules[__name__]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    with KeyServer() as server:
        yield server
