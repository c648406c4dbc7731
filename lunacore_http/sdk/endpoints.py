"""``/.lunasec/jwks.json`` and ``/.lunasec/secure-frame``: what an application answers there, without any web framework.

The tokenizer fetches the first. The Secure Frame navigates itself to the second, to get a session: the answer is a redirect back
to the tokenizer with a one-use assertion, or 401. It is never a log-in page, which could not be shown in the frame, and which
would teach people to type passwords into frames.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlencode

from attrs import field, frozen

from lunacore.errors import InvalidRequest, LunaCoreError, StoreUnavailable, Unauthenticated
from lunacore_http.sdk.credentials import check_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lunacore_http.sdk.credentials import Credentials
    from lunacore_http.sdk.requests import Request
    from lunacore_http.sdk.settings import Settings

JWKS_PATH: Final = "/.lunasec/jwks.json"
SECURE_FRAME_PATH: Final = "/.lunasec/secure-frame"
PATHS: Final = (JWKS_PATH, SECURE_FRAME_PATH)
METHODS: Final = ("GET", "HEAD")

_MAX_QUERY: Final = 2048
_SAFE: Final = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_STATUS: Final[Mapping[str, HTTPStatus]] = {
    "invalidRequest": HTTPStatus.BAD_REQUEST,
    "unauthenticated": HTTPStatus.UNAUTHORIZED,
    "methodNotAllowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "storeUnavailable": HTTPStatus.SERVICE_UNAVAILABLE,
}


@frozen
class Answer:
    """An answer for any framework: status, headers (names in lower case) and body."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def reason(self) -> str:
        return HTTPStatus(self.status).phrase


class MethodNotAllowed(LunaCoreError):
    """The path takes GET and HEAD only."""

    name = "methodNotAllowed"


@frozen
class Endpoints:
    """Answers at the two paths."""

    settings: Settings
    credentials: Credentials

    def jwks(self) -> Answer:
        """All current public keys; to be fetched by anybody."""
        try:
            keys = self.credentials.jwks()
        except StoreUnavailable as problem:
            return _refused(problem)
        return _json(HTTPStatus.OK, keys)

    def secure_frame(self, session_id: str | None, query: str) -> Answer:
        """Send the browser back to the tokenizer with an assertion of this session; 401 if it has none.

        Args:
            session_id: what the application calls the session of whoever sent the request; None for nobody.
            query: that of the request, still encoded.
        """
        try:
            if session_id is None:
                raise Unauthenticated("nobody is logged in; log in to the application and load the page again")
            state = _state_in(query)
            assertion = self.credentials.assertion(session_id, state)
        except LunaCoreError as problem:
            return _refused(problem)
        target = (
            f"{self.settings.tokenizer_url}/session/create?{urlencode({'state': state, 'openid_token': assertion})}"
        )
        return _json(HTTPStatus.FOUND, {"success": True, "error": {}, "data": {}}, location=target)

    def check(self, request: Request) -> Answer | None:
        """The refusal of a request that is not answered whoever sends it; None for all others."""
        if request.method not in METHODS:
            return _refused(MethodNotAllowed(f"this path takes {' and '.join(METHODS)} only"), allow=", ".join(METHODS))
        mode = request.header("sec-fetch-mode")
        if request.path == SECURE_FRAME_PATH and mode not in (None, "navigate"):
            return _refused(InvalidRequest("this is for the Secure Frame to navigate to, not for scripts to fetch"))
        return None


def _state_in(query: str) -> str:
    if len(query) > _MAX_QUERY:
        raise InvalidRequest("the query is too long", field="state")
    states = parse_qs(query, keep_blank_values=True).get("state", [])
    return check_state(states[0] if len(states) == 1 else None)


def _refused(problem: LunaCoreError, **headers: str) -> Answer:
    """An error in the envelope that the tokenizer's own answers have."""
    status = _STATUS.get(problem.name, HTTPStatus.INTERNAL_SERVER_ERROR)
    if isinstance(problem, StoreUnavailable):
        headers["retry-after"] = str(problem.retry_after)
    error = {"name": problem.name, "message": problem.message, "code": str(int(status))}
    return _json(status, {"success": False, "error": error, "data": {}}, **headers)


def _json(status: HTTPStatus, content: Mapping[str, object], **headers: str) -> Answer:
    told = {**_SAFE, **headers, "content-type": "application/json"}
    return Answer(status, told, json.dumps(content).encode("ascii"))
