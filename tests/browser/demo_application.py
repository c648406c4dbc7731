"""A small application on ``demo.localhost``: log-in by a cookie, a form with a secure field, pages that show what was saved.

It does what an application does: signs assertions for its users, has tokens verified before it saves them, and grants them before
it shows them. Tests may add pages of their own, hostile ones too.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

import httpx
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lunacore import segments
from lunacore_http.sdk.signing_keys import key_set, read_keys
from tests.http.standin_application import CALLBACK, Vouching
from tests.servers.threads import ServedInThread, wsgi_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

HOST = "demo.localhost"

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Demo</title>
<script type="module" src="{tokenizer}/sdk/lunacore.js"></script></head><body>{body}</body></html>"""

_FORM = """<form method="post" action="/save">
<label for="ssn">Social security number</label>
<secure-input id="ssn" name="ssn" token="{token}" placeholder="000-00-0000" required></secure-input>
<button>Save</button></form>"""


def reachable(url: str) -> str:
    """A URL as this process reaches it, whose resolver does not know the names that browsers know 127.0.0.1 by."""
    return re.sub(r"//[a-z.]*localhost:", "//127.0.0.1:", url)


class DemoApplication(ServedInThread):
    """Serves on a free port of 127.0.0.1, which browsers know as ``demo.localhost``.

    Args:
        directory: for its keys.
        host: another name that browsers know 127.0.0.1 by.
        name: of it as an identity provider.

    Attributes:
        saved: the token of each user, by session.
        pages: further pages, by path; ``page`` makes one with the components.
        scripts: further scripts, by path.
        tokenizer_url: the tokenizer's public URL; ``internal_url`` is where this process reaches it.
    """

    def __init__(self, directory: Path, *, host: str = HOST, name: str = "demo", default: bool = True) -> None:
        super().__init__(wsgi_server(self._serve))
        self.url = f"http://{host}:{self.port}"
        callback = self.url + CALLBACK
        self.issuer = Vouching(directory, self.url, name=name, direct=False, callback=callback, default=default)
        self._publish_as_the_sdk_does(directory / f"{name}.jwks.json")
        self.tokenizer_url = self.internal_url = ""
        self.saved: dict[str, str] = {}
        self.posted: list[dict[str, list[str]]] = []
        self.pages: dict[str, str] = {}
        self.scripts: dict[str, str] = {}

    @property
    def signing_key(self) -> str:
        """Its private key in PEM, for an application that is made with the SDK."""
        return self.issuer._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")

    def _publish_as_the_sdk_does(self, path: Path) -> None:
        keys = json.loads(path.read_text(encoding="ascii"))["keys"]
        path.write_text(json.dumps({"keys": [*keys, *key_set(read_keys(self.signing_key))["keys"]]}), encoding="ascii")

    def call(self, path: str, **body: Any) -> Any:
        """A call of the application's own on the tokenizer; its data."""
        authorization = f"Bearer {self.issuer.application(self.tokenizer_url)}"
        answer = httpx.post(self.internal_url + path, json=body, headers={"authorization": authorization}, timeout=30)
        return answer.raise_for_status().json()["data"]

    def keep(self, user: str, value: str | bytes, **fileinfo: Any) -> str:
        """Keep a value for a user as the application's back end would, as a file if something is known of one; its token."""
        metadata = {"dataType": "file", "fileinfo": fileinfo} if fileinfo else {"dataType": "string"}
        ticket = self.call("/tokenize", metadata=metadata, valueFormat="sealed-v1", sessionId=user)
        key = base64.b64decode(ticket["valueKey"])
        plain = value.encode() if isinstance(value, str) else value
        sealed = segments.seal_bytes(key, plain, segments.Purpose.VALUE, os.urandom)
        httpx.put(
            reachable(ticket["uploadUrl"]), headers=ticket["headers"], content=sealed, timeout=30
        ).raise_for_status()
        token: str = ticket["tokenId"]
        assert self.call("/grant/verify", sessionId=user, tokenId=token)["valid"]
        self.saved[user] = token
        return token

    def page(self, body: str) -> str:
        return _PAGE.format(tokenizer=self.tokenizer_url, body=body)

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path, query = environ["PATH_INFO"], parse_qs(environ["QUERY_STRING"])
        cookie = SimpleCookie(environ.get("HTTP_COOKIE", "")).get("user")
        user = cookie.value if cookie else ""
        status, headers, body = self._answer(environ, path, query, user)
        encoded = body.encode()
        kind = "text/javascript" if path in self.scripts else "text/html"
        headers = [*headers, ("content-type", f"{kind}; charset=utf-8"), ("content-length", str(len(encoded)))]
        start_response(status, headers)
        return [encoded]

    def _answer(
        self, environ: dict[str, Any], path: str, query: dict[str, list[str]], user: str
    ) -> tuple[str, list[tuple[str, str]], str]:
        if path == "/favicon.ico":
            return "204 No Content", [], ""
        if path in self.pages or path in self.scripts:
            return "200 OK", [], self.pages.get(path) or self.scripts[path]
        if path == CALLBACK and user:
            return self._vouch(query["state"][0], user)
        if path == "/form":
            return "200 OK", [], self.page(_FORM.format(token=""))
        if path == "/save":
            return self._save(environ, user)
        if path in ("/edit", "/show") and user in self.saved:
            token = html.escape(self.saved[user])
            self.call("/grant/set", sessionId=user, tokenId=token)
            body = (
                _FORM
                if path == "/edit"
                else "<p>Number: <secure-span token='{token}' aria-label='Number'></secure-span></p>"
            )
            return "200 OK", [], self.page(body.format(token=token))
        return "404 Not Found", [], "nothing here"

    def _vouch(self, state: str, user: str) -> tuple[str, list[tuple[str, str]], str]:
        sent = urlencode({"state": state, "openid_token": self.issuer.assertion(self.tokenizer_url, state, user)})
        return "302 Found", [("location", f"{self.tokenizer_url}/session/create?{sent}")], ""

    def _save(self, environ: dict[str, Any], user: str) -> tuple[str, list[tuple[str, str]], str]:
        form = parse_qs(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())
        self.posted.append(form)
        token = form["ssn"][0]
        if not self.call("/grant/verify", sessionId=user, tokenId=token)["valid"]:
            return "403 Forbidden", [], "refused"
        self.saved[user] = token
        return "303 See Other", [("location", "/show")], ""
