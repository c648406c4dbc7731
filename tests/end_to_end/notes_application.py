"""An application behind an auth proxy: it keeps notes as tokens, and takes the session from the JWT that the proxy passes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flask
import httpx
import jwt
from werkzeug.serving import make_server

from tests.servers.threads import ServedInThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from werkzeug.wrappers import Response


class NotesApplication(ServedInThread):
    """A running application, in threads of this process.

    Args:
        tokenizer: where the tokenizer is reached, not through the proxy.
        credential: makes the ``Authorization`` header of the application.
    """

    def __init__(self, tokenizer: str, credential: Callable[[], dict[str, str]]) -> None:
        self._tokenizer = tokenizer
        self._credential = credential
        self.notes: list[str] = []
        self.seen: list[dict[str, str]] = []
        self._issuer = self._audience = ""
        self._keys: Any = None
        app = flask.Flask(__name__)
        app.add_url_rule("/", view_func=self._home)
        app.add_url_rule("/notes", view_func=self._save, methods=["POST"])
        app.add_url_rule("/notes/<int:number>", view_func=self._show)
        super().__init__(make_server("127.0.0.1", 0, app, threaded=True))
        self.url = f"http://127.0.0.1:{self.port}"

    def trust(self, issuer: str, audience: str, keys: dict[str, Any]) -> None:
        """Name the provider whose users these are."""
        self._issuer, self._audience = issuer, audience
        self._keys = jwt.PyJWKSet.from_dict(keys).keys[0]

    def _session(self) -> str:
        token = flask.request.headers["authorization"].removeprefix("Bearer ")
        claims = jwt.decode(token, self._keys, ["RS256"], audience=self._audience, issuer=self._issuer)
        return str(claims["sid"])

    def _home(self) -> str:
        self.seen.append(dict(flask.request.headers))
        return self._session()

    def _save(self) -> tuple[str, int]:
        token = flask.request.get_json()["token"]
        if not self._ask("/grant/verify", token)["valid"]:
            return "this token is not of this session", 403
        self.notes.append(token)
        return str(len(self.notes) - 1), 201

    def _show(self, number: int) -> Response:
        token = self.notes[number]
        self._ask("/grant/set", token)
        return flask.jsonify(token=token)

    def _ask(self, path: str, token: str) -> Any:
        asked = {"sessionId": self._session(), "sessionIssuer": self._issuer, "tokenId": token}
        answer = httpx.post(self._tokenizer + path, json=asked, headers=self._credential(), timeout=30)
        return answer.raise_for_status().json()["data"]
