"""Sessions: the one that a request names, ``/session/verify`` and ``/session/end``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from msgspec import UnsetType

from lunacore.errors import InvalidRequest, Unauthenticated
from lunacore.identity import Session
from lunacore.sessions import session_hash
from lunacore_http import wire
from lunacore_http.errors import MethodNotAllowed, refusal_of

if TYPE_CHECKING:
    from falcon import Request, Response

    from lunacore.identity import Call, Identity
    from lunacore.tokenizer import Tokenizer
    from lunacore_http.answering import Door, Identifies
    from lunacore_http.identity.providers import Identities


def parameters(req: Request, *known: str) -> dict[str, str]:
    """The query of a call that takes these parameters, each once.

    Raises:
        InvalidRequest: there is another one, or one comes twice.
    """
    given: dict[str, str] = {}
    for name, value in req.params.items():
        if name not in known:
            raise InvalidRequest(f"the query may hold {', '.join(known)} only")
        if not isinstance(value, str):
            raise InvalidRequest(f"{name} stands in the query more than once", field=name)
        given[name] = value
    return given


def named_session(
    identities: Identifies, identity: Identity, session_id: str, session_issuer: str | UnsetType
) -> Session:
    """The session that a caller names: of its own tenant, and of its own issuer unless it names another.

    Raises:
        InvalidRequest: the tenant has no such issuer.
    """
    if isinstance(session_issuer, UnsetType):
        return Session(identity.tenant, identity.issuer, session_id)
    if not identities.knows(identity.tenant, session_issuer):
        raise InvalidRequest("sessionIssuer is no identity provider of your tenant", field="sessionIssuer")
    return Session(identity.tenant, session_issuer, session_id)


@frozen
class Sessions:
    """What applications and users do with sessions."""

    tokenizer: Tokenizer
    identities: Identifies

    def end(self, call: Call, asked: wire.EndSession) -> list[wire.Empty]:
        """End a session: the one that is named, or else the caller's own."""
        self.tokenizer.end_session(call, self._which(call.identity, asked))
        return [wire.Empty()]

    def _which(self, identity: Identity, asked: wire.EndSession) -> Session:
        if not isinstance(asked.session_id, UnsetType):
            return named_session(self.identities, identity, asked.session_id, asked.session_issuer)
        if identity.session is None:
            raise InvalidRequest("sessionId is missing; an application names the session to end", field="sessionId")
        return identity.session


class VerifySession:
    """``GET /session/verify``: whether the browser has a live session, and its hash. Answered with 200 whether it has or not."""

    def __init__(self, door: Door, tokenizer: Tokenizer, identities: Identities) -> None:
        self._door = door
        self._tokenizer = tokenizer
        self._identities = identities

    def on_get(self, req: Request, resp: Response) -> None:
        name = parameters(req, "provider").get("provider")
        issuer = None if name is None else self._identities.application(name).issuer
        try:
            session = self._live_session(req, issuer)
        except Unauthenticated as refusal:
            resp.data = wire.encode(refusal_of(refusal, req.context.request).failure)
            return
        told = session_hash(session, self._door.keyring)
        resp.set_header("lunasec-session-hash", told)
        resp.data = wire.encode(wire.Success(data=wire.SessionState(told)))

    def on_options(self, req: Request, resp: Response) -> None:  # noqa: ARG002 - Falcon's
        """No pre-flight request is ever granted."""
        raise MethodNotAllowed("GET")

    def _live_session(self, req: Request, issuer: str | None) -> Session:
        session = self._door.admit(req, hash_needed=False).identity.session
        if session is None:
            raise Unauthenticated("an application has no session of its own; this is for browsers")
        if issuer not in (None, session.issuer):
            raise Unauthenticated("the session is that of another application; get one of this provider")
        if self._tokenizer.grants.has_ended(session, now=int(self._tokenizer.now())):
            raise Unauthenticated("the session has ended; log in again")
        return session
