"""From errors to HTTP: the one place that knows which name has which status (``docs/reference/http.md`` lists them)."""

from __future__ import annotations

import logging
import traceback
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

import falcon
from attrs import field, frozen

from lunacore.errors import LunaCoreError, RateLimited, StoreUnavailable
from lunacore_http import wire

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG: Final = logging.getLogger("lunacore.errors")

INTERNAL_ERROR: Final = "internalError"

STATUS: Final[Mapping[str, int]] = {
    "invalidRequest": 400,
    "unauthenticated": 401,
    "roleForbidden": 403,
    "grantMissing": 403,
    "sessionMismatch": 403,
    "tokenNotFound": 404,
    "notFound": 404,
    "methodNotAllowed": 405,
    "conflict": 409,
    "lengthRequired": 411,
    "tooLarge": 413,
    "rateLimited": 429,
    INTERNAL_ERROR: 500,
    "storeUnavailable": 503,
}

_INTERNAL_MESSAGE: Final = "something failed inside the tokenizer; its operator finds it in the log by the request's id"
_FRAMES: Final = 6


class NotFound(LunaCoreError):
    """There is no such path."""

    name = "notFound"


class MethodNotAllowed(LunaCoreError):
    """The path has no such method; ``allowed`` are those that it has."""

    name = "methodNotAllowed"

    def __init__(self, allowed: str) -> None:
        super().__init__(f"this path takes {allowed} only")
        self.allowed = allowed


@frozen
class Refusal:
    """What a client is told of an error."""

    status: int
    failure: wire.Failure
    headers: Mapping[str, str] = field(factory=dict)

    @property
    def name(self) -> str:
        return self.failure.error.name


def refusal_of(error: Exception, request: str) -> Refusal:
    """What a client is told of ``error``; one that clients can do nothing about goes to the log under the request's id."""
    if isinstance(error, falcon.HTTPError):
        error = _of_falcon(error)
    if isinstance(error, LunaCoreError) and error.name in STATUS and error.name != INTERNAL_ERROR:
        return _refusal(error.name, error.message, _headers(error))
    _log(error, request)
    return _refusal(INTERNAL_ERROR, _INTERNAL_MESSAGE, {})


def _refusal(name: str, message: str, headers: Mapping[str, str]) -> Refusal:
    status = STATUS[name]
    problem = wire.Problem(name=name, message=message, code=str(status))
    return Refusal(status, wire.Failure(error=problem), headers)


def _headers(error: LunaCoreError) -> dict[str, str]:
    if isinstance(error, RateLimited | StoreUnavailable):
        return {"retry-after": str(max(1, error.retry_after))}
    if isinstance(error, MethodNotAllowed):
        return {"allow": error.allowed}
    if error.name == "unauthenticated":
        return {"www-authenticate": "Bearer"}
    return {}


def _of_falcon(error: falcon.HTTPError) -> LunaCoreError:
    """Falcon's own errors under this project's names; their texts may repeat what was sent."""
    if error.status_code == STATUS["notFound"]:
        return NotFound("there is no such path; see the list of calls in the documentation")
    if error.status_code == STATUS["methodNotAllowed"]:
        return MethodNotAllowed(dict(error.headers or {}).get("Allow", ""))
    return _Malformed("the request is not HTTP as this server understands it")


class _Malformed(LunaCoreError):
    name = "invalidRequest"


def _log(error: Exception, request: str) -> None:
    """Write where it happened. The text of a foreign error is left out, since it may repeat a token or a key."""
    told = error.message if isinstance(error, LunaCoreError) else type(error).__qualname__
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = " < ".join(f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    LOG.error('event=internal_error request=%s error="%s" at="%s"', request, told.replace('"', "'"), places)
