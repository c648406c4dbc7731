"""A small log-in server for nginx's auth_request: it answers the same paths as oauth2-proxy does.

``/oauth2/auth`` says 202 with the user's ID token in ``Authorization``, or 401; ``/oauth2/start`` sends the browser to the OpenID
provider; ``/oauth2/callback`` takes it back (OpenID Connect Core 1.0, section 3.1). ID tokens stay on the server.
"""

from __future__ import annotations

import secrets
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import jwt

from tests.servers.threads import ServedInThread

COOKIE: Final = "login"
_SECRET: Final = "only for tests: a client's secret"


class AuthApplication(ServedInThread):
    """A running log-in server, in threads of this process.

    Args:
        provider: the URL of the OpenID provider.
        client_id: what the provider calls this server.
    """

    def __init__(self, provider: str, client_id: str) -> None:
        self._client_id = client_id
        self._endpoints = httpx.get(f"{provider}/.well-known/openid-configuration", timeout=30).json()
        self._keys = jwt.PyJWKSet.from_dict(httpx.get(self._endpoints["jwks_uri"], timeout=30).json())
        self._begun: dict[str, tuple[str, str, str]] = {}
        self._logged_in: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, *args: Any) -> None:
                pass

        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        self.url = f"http://127.0.0.1:{self.port}"

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        match parts.path:
            case "/oauth2/auth":
                self._auth(request)
            case "/oauth2/start":
                self._start(request, query.get("rd", "/"))
            case "/oauth2/callback":
                self._callback(request, query)
            case _:
                _send(request, 404)

    def _auth(self, request: BaseHTTPRequestHandler) -> None:
        token = self._logged_in.get(_cookie(request))
        if token is None:
            _send(request, 401)
        else:
            _send(request, 202, Authorization=f"Bearer {token}")

    def _start(self, request: BaseHTTPRequestHandler, back: str) -> None:
        # Only a path of this site: to nowhere else is anybody sent back.
        back = back if back.startswith("/") and not back.startswith(("//", "/\\")) else "/"
        state, nonce = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        callback = f"http://{request.headers['host']}/oauth2/callback"
        self._begun[state] = (nonce, callback, back)
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "scope": "openid",
            "redirect_uri": callback,
            "state": state,
            "nonce": nonce,
        }
        _send(request, 302, Location=f"{self._endpoints['authorization_endpoint']}?{urlencode(asked)}")

    def _callback(self, request: BaseHTTPRequestHandler, query: dict[str, str]) -> None:
        begun = self._begun.pop(query.get("state", ""), None)
        if begun is None or "code" not in query:
            _send(request, 403)
            return
        nonce, callback, back = begun
        exchange = {"grant_type": "authorization_code", "code": query["code"], "redirect_uri": callback}
        answer = httpx.post(
            self._endpoints["token_endpoint"], data=exchange, auth=(self._client_id, _SECRET), timeout=30
        )
        token = answer.raise_for_status().json()["id_token"]
        issuer = self._endpoints["issuer"]
        claims = jwt.decode(token, self._keys.keys[0], ["RS256"], audience=self._client_id, issuer=issuer)
        if claims["nonce"] != nonce:
            _send(request, 403)
            return
        name = secrets.token_urlsafe(24)
        self._logged_in[name] = token
        _send(request, 302, **{"Location": back, "Set-Cookie": f"{COOKIE}={name}; Path=/; HttpOnly; SameSite=Lax"})


def _cookie(request: BaseHTTPRequestHandler) -> str:
    morsel = SimpleCookie(request.headers.get("cookie", "")).get(COOKIE)
    return morsel.value if morsel else ""


def _send(request: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", "0")
    request.end_headers()
