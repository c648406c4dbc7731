"""One call over HTTP: who calls, what is asked, what is answered; and what is said and noted of every answer.

``Endpoint`` is the way of every POST; ``Bookkeeper`` sees every request, also those that find no endpoint. Falcon does the
routing and nothing else, so that the way from the socket to the tokenizer is short.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import falcon
from attrs import define, field, frozen

from lunacore.errors import InvalidRequest, LengthRequired, LunaCoreError, TooLarge
from lunacore.identity import Call
from lunacore.outcomes import Outcome, only
from lunacore.sessions import session_hash
from lunacore_http import browser, wire
from lunacore_http.errors import MethodNotAllowed, refusal_of
from lunacore_http.identity.providers import Presented

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from falcon import Request, Response

    from lunacore.keyring_source import KeyringSource
    from lunacore_http.identity.providers import Caller
    from lunacore_http.metrics import CallMetrics
    from lunacore_http.wire import Answered, RequestDecoder
    from lunacore_http.work import Workplaces

ACCESS_LOG: Final = logging.getLogger("lunacore.access")

REQUEST_ID: Final = "x-request-id"
OK: Final = "ok"
JSON: Final = "application/json"

_REQUEST_ID_BYTES: Final = 12
_SAFE_HEADERS: Final = (
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
)
_STRICT_HEADERS: Final = (*_SAFE_HEADERS, ("strict-transport-security", "max-age=31536000"))
_NO_COOKIES: Final[dict[str, str]] = {}

A = TypeVar("A", bound="wire.Asked")


class Identifies(Protocol):
    """Tells who calls, and which issuers a tenant has."""

    def identify(self, presented: Presented) -> Caller:
        """The caller; raises ``Unauthenticated``."""
        ...

    def knows(self, tenant: str, issuer: str) -> bool:
        """Whether the issuer vouches for sessions of the tenant."""
        ...


@frozen
class Door:
    """Lets callers in: their credential holds, and their browser may use it."""

    identities: Identifies
    keyring: KeyringSource
    own_origin: str

    def admit(self, req: Request, *, hash_needed: bool = True) -> Caller:
        """Who calls.

        Raises:
            Unauthenticated: no credential, or one that does not hold.
            SessionMismatch: a browser may not use the session in this way.
        """
        environ = req.env
        caller = self.identities.identify(
            Presented(
                authorization=environ.get("HTTP_AUTHORIZATION"),
                cookies=req.cookies if "HTTP_COOKIE" in environ else _NO_COOKIES,
                header=req.get_header,
            )
        )
        browser.check_session(environ, caller, self.keyring, own_origin=self.own_origin, hash_needed=hash_needed)
        return caller

    def put_session_hash(self, resp: Response, caller: Caller) -> None:
        """Tell a user's session by its hash."""
        session = caller.identity.session
        if session is not None:
            resp.set_header(browser.SESSION_HASH, session_hash(session, self.keyring))


@frozen
class Limits:
    """What one worker takes on.

    Attributes:
        max_body: bytes of a body at most.
        max_batch: items of a batch at most.
        at_work: admits as many requests at once as may be worked on; those whose body is still under way do not count.
    """

    max_body: int
    max_batch: int
    at_work: Workplaces


class Endpoint(Generic[A]):
    """A call that is POSTed as JSON.

    Args:
        decoder: of its bodies.
        answer: does it; gives one outcome for a single, one for each item of a batch, in order.
        door: lets callers in.
        limits: of bodies and batches.
        shows_session: whether the answer carries the session's hash.
    """

    def __init__(
        self,
        decoder: RequestDecoder[A],
        answer: Callable[[Call, A], Sequence[Outcome[Answered]]],
        door: Door,
        limits: Limits,
        *,
        shows_session: bool = False,
    ) -> None:
        self._decoder = decoder
        self._answer = answer
        self._door = door
        self._limits = limits
        self._shows_session = shows_session

    def on_post(self, req: Request, resp: Response) -> None:
        # The caller first: nobody else is waited for while a body comes in.
        caller = self._door.admit(req)
        if self._shows_session:
            self._door.put_session_hash(resp, caller)
        asked = self._decoder.decode(read_json(req, self._limits.max_body))
        self._check_size(asked)
        with self._limits.at_work:
            outcomes = self._answer(Call(caller.identity, request=req.context.request), asked)
        if asked.is_batch:
            resp.data = wire.encode(wire.Success(data=wire.Items([_item(one, req) for one in outcomes])))
        else:
            resp.data = wire.encode(wire.Success(data=only(outcomes)))

    def on_options(self, req: Request, resp: Response) -> None:  # noqa: ARG002 - Falcon's
        """No pre-flight request is ever granted."""
        raise MethodNotAllowed("POST")

    def _check_size(self, asked: A) -> None:
        if asked.is_batch and len(asked.parts()) > self._limits.max_batch:
            raise InvalidRequest(
                f"{self._decoder.many} may be {self._limits.max_batch} at most; ask in several batches",
                field=self._decoder.many,
            )


def read_json(req: Request, limit: int) -> bytes:
    """The body of a request.

    Raises:
        InvalidRequest: it is not declared as JSON, or ends early.
        LengthRequired: its length is not declared.
        TooLarge: it has more than ``limit`` bytes.
    """
    media_type = req.env.get("CONTENT_TYPE") or ""
    if media_type != JSON and media_type.partition(";")[0].strip().lower() != JSON:
        raise InvalidRequest("the header content-type must be application/json", field="content-type")
    declared = req.env.get("CONTENT_LENGTH") or ""
    if not declared:
        raise LengthRequired("the header content-length is missing; send the body whole, not in chunks")
    if not declared.isascii() or not declared.isdigit():
        raise InvalidRequest("the header content-length must be a number", field="content-length")
    if len(declared) > len(str(limit)) or int(declared) > limit:
        raise TooLarge(f"a body may have {limit} bytes at most (setting tokenizer.max_body)")
    length = int(declared)
    body: bytes = req.env["wsgi.input"].read(length)
    if len(body) != length:
        raise InvalidRequest("the body is shorter than content-length says", field="content-length")
    return body


def _item(outcome: Outcome[Answered], req: Request) -> wire.Success[Answered] | wire.Failure:
    if isinstance(outcome, LunaCoreError):
        return refusal_of(outcome, req.context.request).failure
    return wire.Success(data=outcome)


def answer_error(req: Request, resp: Response, error: Exception, params: dict[str, Any]) -> None:  # noqa: ARG001 - Falcon's
    """Answer an error with its envelope (a Falcon error handler)."""
    refusal = refusal_of(error, req.context.request)
    req.context.outcome = refusal.name
    resp.status = refusal.status
    resp.content_type = JSON
    resp.stream = None
    resp.set_headers(dict(refusal.headers))
    resp.data = wire.encode(refusal.failure)


@define
class Notes:
    """What is noted of one request: when it came, its id, and its outcome so far."""

    started: float = field(factory=perf_counter)
    request: str = ""
    outcome: str = OK


class NotedRequest(falcon.Request):
    """A request with ``Notes`` as its context."""

    context_type = Notes


@frozen
class Bookkeeper:
    """Gives every request its id, every answer its safe headers, and notes both in access log and metrics.

    The log line holds the route's template, never the path: a path or query might hold a secret by mistake.
    """

    random: Callable[[int], bytes] = field(repr=False)
    metrics: CallMetrics | None = None
    strict_transport: bool = False

    def process_request(self, req: Request, resp: Response) -> None:
        req.context.request = request = self.random(_REQUEST_ID_BYTES).hex()
        resp.set_headers((*(_STRICT_HEADERS if self.strict_transport else _SAFE_HEADERS), (REQUEST_ID, request)))

    def process_response(self, req: Request, resp: Response, resource: object, req_succeeded: bool) -> None:  # noqa: ARG002, FBT001 - Falcon's
        context = req.context
        if not context.request:
            self.process_request(req, resp)  # Falcon refuses some methods before it asks anybody
        seconds = perf_counter() - context.started
        route = req.uri_template or "-"
        outcome = context.outcome
        status = resp.status_code
        if outcome is OK and status >= 400:
            outcome = str(status)  # the gateway answers errors in S3's form by itself
        if self.metrics is not None:
            self.metrics.answered(route, outcome, seconds)
        ACCESS_LOG.info(
            "method=%s route=%s status=%d outcome=%s ms=%.2f request=%s",
            req.method if req.method in _METHODS else "-",
            route,
            status,
            outcome,
            seconds * 1000,
            context.request,
        )


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
