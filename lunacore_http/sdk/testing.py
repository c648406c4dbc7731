"""A real tokenizer for the tests of an application, and someone who plays the browser.

The server runs in a process of its own on free ports of 127.0.0.1, with everything it keeps in one directory. It needs the extras
``server`` and ``sdk``. ``lunacore_http.pytest_plugin`` makes fixtures of what is here.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lunacore.segments import Purpose, open_bytes, seal_bytes
from lunacore.testing.servers import TokenizerProcess, free_port
from lunacore_http.sdk import Application, calls
from lunacore_http.sdk.signing_keys import key_set, read_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lunacore.tokens import Token
    from lunacore_http.sdk.calls import Flow, ValueTicket
    from lunacore_http.sdk.signing_keys import SigningKey

ISSUER: Final = "https://app.example.test"

_TIMEOUT: Final = 30.0
_USER_TTL: Final = 600
_STRING: Final = {"dataType": "string"}
T = TypeVar("T")


class EmbeddedTokenizer:
    """A tokenizer of its own, as a context manager, whose one application is the application under test.

    Args:
        directory: an empty directory for all that it keeps.
        settings: more settings, section by section, as its configuration file would hold them. Members of ``identity`` are added
            to the application's own provider: ``{"identity": {"may_read": True}}``.

    Attributes:
        url: its public URL.
        issuer: what the application calls itself.
        signing_key: the application's private key, in PEM.
        client: for HTTP on loopback.
    """

    def __init__(self, directory: Path, settings: Mapping[str, Any] | None = None) -> None:
        self.issuer = ISSUER
        self.signing_key = new_signing_key()
        self._key = read_keys(self.signing_key)[0]
        more = dict(settings or {})
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        identity = {
            "name": "app",
            "kind": "application",
            "issuer": ISSUER,
            "jwks": _written_key_set(directory, self._key),
            "default": True,
            "direct": True,
            **more.pop("identity", {}),
        }
        tokenizer = {
            "port": port,
            "operations": f"127.0.0.1:{free_port()}",
            "data_dir": str(directory / "data"),
            **more.pop("tokenizer", {}),
        }
        self._process = TokenizerProcess({"tokenizer": tokenizer, "identity": [identity], **more})
        self._application: Application | None = None
        self.client = httpx.Client(timeout=_TIMEOUT, trust_env=False)

    @property
    def environment(self) -> dict[str, str]:
        """What ``Application.from_environment`` reads, for an application under test that is configured by it."""
        return {
            "LUNACORE_APP_TOKENIZER_URL": self.url,
            "LUNACORE_APP_ISSUER": self.issuer,
            "LUNACORE_APP_SIGNING_KEY": self.signing_key,
        }

    @property
    def django_settings(self) -> dict[str, Any]:
        """The setting ``LUNACORE`` of a Django project under test."""
        return {"TOKENIZER_URL": self.url, "ISSUER": self.issuer, "SIGNING_KEY": self.signing_key}

    @property
    def log(self) -> str:
        """What the tokenizer has written so far."""
        return self._process.log

    def application(self, session_id_provider: Callable[[Any], str | None] = lambda request: None) -> Application:  # noqa: ARG005 - nobody is logged in
        """An ``Application`` that is wired to it; close it."""
        return Application(
            self.url, issuer=self.issuer, signing_key=self.signing_key, session_id_provider=session_id_provider
        )

    def browser(self, session_id: str) -> Browser:
        """The browser of a user with that session, whether the application knows of it or not."""
        return Browser(self, session_id)

    def put(self, value: bytes | str) -> Token:
        """Tokenize a value that nobody holds a grant for."""
        return self._own().values.put(_encoded(value))

    def read(self, token: str) -> bytes:
        """The value of a token, past all grants: a session that nobody else has is let read it.

        Raises:
            TokenNotFound: there is no such token.
        """
        session = f"test-{secrets.token_hex(8)}"
        self._own().grants.create(session, token)
        return self.browser(session).detokenize(token)

    def user_jwt(self, session_id: str) -> str:
        """A JWT that stands for the session cookie of a user's browser."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": self.url, "sub": "user", "iat": now, "exp": now + _USER_TTL}
        return self._key.sign({**claims, "session_id": session_id})

    def __enter__(self) -> Self:
        self._process.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._application is not None:
            self._application.close()
        self.client.close()
        self._process.__exit__()

    def _own(self) -> Application:
        if self._application is None:
            self._application = self.application()
        return self._application


class Browser:
    """Does what the Secure Frame does in the browser of a user: seals and uploads, downloads and opens."""

    def __init__(self, tokenizer: EmbeddedTokenizer, session_id: str) -> None:
        self.session_id = session_id
        self._tokenizer = tokenizer

    def tokenize(self, value: bytes | str, metadata: Mapping[str, Any] | None = None) -> Token:
        """Put a value away, as a user who types it into a secure component.

        Raises:
            LunaCoreError: what the tokenizer answered.
        """
        plain = _encoded(value)
        ticket = self._run(calls.tokenize(self.session_id, metadata or _STRING, None))
        assert ticket.key is not None
        sealed = seal_bytes(ticket.key, plain, Purpose.VALUE, os.urandom)
        self._transfer("PUT", ticket, sealed)
        return ticket.token

    def detokenize(self, token: str) -> bytes:
        """The value, as a secure component shows it.

        Raises:
            GrantMissing: the application did not let this session read it, or there is no such token.
            LunaCoreError: what else the tokenizer answered.
        """
        ticket = self._run(calls.detokenize(token))
        stored = self._transfer("GET", ticket, None)
        return stored if ticket.key is None else open_bytes(ticket.key, stored, Purpose.VALUE)

    def _run(self, flow: Flow[T]) -> T:
        """A flow of one call, sent with the user's cookie in place of the application's JWT."""
        call = next(flow)
        cookie = f"access_token={self._tokenizer.user_jwt(self.session_id)}"
        headers = {"content-type": "application/json", "cookie": cookie}
        answer = self._tokenizer.client.post(self._tokenizer.url + call.path, content=call.body, headers=headers)
        data = calls.read_answer(answer.status_code, answer.headers.get("retry-after"), answer.content)
        try:
            flow.send(data)
        except StopIteration as done:
            return cast("T", done.value)
        raise AssertionError("the flow has more than one call")

    def _transfer(self, method: str, ticket: ValueTicket, content: bytes | None) -> bytes:
        answer = self._tokenizer.client.request(method, ticket.url, headers=dict(ticket.headers), content=content)
        answer.raise_for_status()
        return answer.content


def new_signing_key() -> str:
    """A private key for an application, in PEM."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def _encoded(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _written_key_set(directory: Path, key: SigningKey) -> str:
    path = directory / "application.jwks.json"
    path.write_text(json.dumps(key_set([key])), encoding="ascii")
    return path.as_uri()
