"""A stand-in for an application: a WSGI app over HTTP that knows its users by a cookie and signs assertions for them."""

from __future__ import annotations

import secrets
import threading
import time
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlencode
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from tests.http.tokenizer_server import Issuer

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


class _Server(ThreadingMixIn, WSGIServer):
    """One thread for each request."""


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


class StandInApplication:
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
        self._server = make_server("127.0.0.1", port, self._serve, server_class=_Server, handler_class=_Quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.callback = self.url + CALLBACK + query
        self.issuer = Vouching(directory, issuer, name=name, **{"direct": False, "callback": self.callback, **settings})
        self._keys = directory / f"{name}.jwks.json"
        if serves_keys:
            self.issuer.settings["jwks"] = f"{self.url}{KEYS}"
        self.fetches = 0
        self.tokenizer = ""
        self.asked: list[dict[str, list[str]]] = []
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

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
