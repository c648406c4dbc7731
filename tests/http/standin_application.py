"""A stand-in for an application: a WSGI app over HTTP that knows its users by a cookie and signs assertions for them."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

from tests.http.tokenizer_server import Issuer
from tests.servers.threads import ServedInThread, wsgi_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

CALLBACK = "/.lunasec/secure-frame"
KEYS = "/.lunasec/jwks.json"


class Vouching(Issuer):
    """An issuer that signs assertions too; ``clock`` gives Unix seconds."""

    clock: Callable[[], float] = staticmethod(time.time)

    def assertion(self, tokenizer: str, state: str, session: str = "session-1", **changed: Any) -> str:
        """An assertion with all in order; None leaves a claim out."""
        now = int(self.clock())
        claims = {
            "sub": "user",
            "session_id": session,
            "nonce": state,
            "jti": secrets.token_hex(16),
            "iat": now,
            "exp": now + 60,
            "session_exp": now + 3600,
            **changed,
        }
        return self._sign(claims.pop("aud", f"{tokenizer}/session/create"), **claims)


class StandInApplication(ServedInThread):
    """Serves the callback on a port of 127.0.0.1, a free one unless given; its log-in is the cookie ``user``, whose value is the
    session id. It can serve its keys as well, in place of the file.
    """

    def __init__(
        self,
        directory: Path,
        issuer: str,
        *,
        name: str = "app",
        query: str = "",
        port: int = 0,
        serves_keys: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(wsgi_server(self._serve, port))
        self.url = f"http://127.0.0.1:{self.port}"
        self.callback = self.url + CALLBACK + query
        self.issuer = Vouching(directory, issuer, name=name, **{"direct": False, "callback": self.callback, **settings})
        self._keys = directory / f"{name}.jwks.json"
        if serves_keys:
            self.issuer.settings["jwks"] = f"{self.url}{KEYS}"
        self.fetches = 0
        self.tokenizer = ""
        self.asked: list[dict[str, list[str]]] = []

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == KEYS:
            self.fetches += 1
            keys = self._keys.read_bytes()
            start_response("200 OK", [("content-type", "application/json"), ("content-length", str(len(keys)))])
            return [keys]
        query = parse_qs(environ["QUERY_STRING"])
        self.asked.append(query)
        cookies = dict(part.strip().partition("=")[::2] for part in environ.get("HTTP_COOKIE", "").split(";"))
        user = cookies.get("user")
        if environ["PATH_INFO"] != CALLBACK or not user:
            start_response("401 Unauthorized", [("content-length", "0")])
            return [b""]
        (state,) = query["state"]
        sent = urlencode({"state": state, "openid_token": self.issuer.assertion(self.tokenizer, state, user)})
        location = f"{self.tokenizer}/session/create?{sent}"
        start_response("302 Found", [("location", location), ("content-length", "0")])
        return [b""]
