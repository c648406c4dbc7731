"""How a browser gets its session from the application, ``/session/ensure`` and ``/session/create``, and how it ends it.

The browser goes from ``/session/ensure`` to the application's callback with a *state*, and comes back to ``/session/create`` with
that state and a one-use assertion of the application. Then it gets the tokenizer's own cookie and goes where it wanted to go.
Follows OAuth 2.0 Security Best Current Practice (RFC 9700, sections 2.1 and 4.7) for the state, and DESIGN, "The flow".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from lunacore import keys, session_cookies
from lunacore.errors import InvalidRequest, SessionMismatch, Unauthenticated
from lunacore.identity import Call, Identity, Role
from lunacore.session_cookies import SessionCookie
from lunacore.session_states import STATE_TTL, PendingSession, browser_hash, is_secret, new_secret
from lunacore_http import wire
from lunacore_http.answering import Endpoint
from lunacore_http.errors import MethodNotAllowed
from lunacore_http.identity.providers import Presented
from lunacore_http.resources.sessions import parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from falcon import Request, Response

    from lunacore.config import IdentitySettings
    from lunacore.session_states import SessionStates
    from lunacore.tokenizer import Tokenizer
    from lunacore_http.answering import Door, Limits
    from lunacore_http.cookies import Cookies
    from lunacore_http.identity.assertions import Assertion
    from lunacore_http.identity.providers import Identities
    from lunacore_http.resources.sessions import Sessions
    from lunacore_http.work import Workplaces

FRAME: Final = "/frame"

_FOUND: Final = 302
_SEE_OTHER: Final = 303
# Nothing in it can lead to another path or origin, or end the header that it stands in.
_RETURN_TO: Final = re.compile(r"/frame(?:\?[A-Za-z0-9._~=&%+-]{0,512})?", re.ASCII)


@frozen
class SessionFlow:
    """What both steps need.

    Attributes:
        max_ttl: seconds that a session may last at most.
        at_work: admits as many requests to the stores at once as may be worked on.
    """

    tokenizer: Tokenizer
    identities: Identities
    states: SessionStates
    cookies: Cookies
    max_ttl: int
    at_work: Workplaces
    random: Callable[[int], bytes] = field(repr=False)

    def now(self) -> int:
        return int(self.tokenizer.now())

    def begin(self, application: IdentitySettings, browser: str, return_to: str) -> str:
        """Note that a browser is about to fetch its session; where it is to go for it."""
        pending = PendingSession(application.issuer, browser_hash(browser), return_to)
        state = self.states.issue(pending, now=self.now())
        return f"{application.callback}{'&' if '?' in application.callback else '?'}state={state}"

    def has_session(self, cookies: Mapping[str, str], application: IdentitySettings) -> bool:
        """Whether the browser has a live session of that application already."""
        try:
            caller = self.identities.identify(Presented(authorization=None, cookies=cookies, header=_no_header))
        except Unauthenticated:
            return False
        session = caller.identity.session
        if session is None or session.issuer != application.issuer:
            return False
        return not self.tokenizer.grants.has_ended(session, now=self.now())

    def take(self, state: str, browser: str) -> PendingSession:
        """What a state was issued for, which is used up by that.

        Raises:
            Unauthenticated: it was never issued, was used, or has expired.
            SessionMismatch: it was issued to another browser.
            InvalidRequest: it leads to where this tokenizer sends nobody.
        """
        pending = self.states.take(state, now=self.now())
        if pending is None:
            raise Unauthenticated("state is unknown, used or older than five minutes; begin again at /session/ensure")
        if not keys.equal(pending.browser, browser_hash(browser)):
            raise SessionMismatch("state was given to another browser; begin again at /session/ensure")
        # Checked when it was issued; once more, since a tokenizer of another release may have issued it.
        _return_to(pending.return_to)
        return pending

    def end_of(self, assertion: Assertion) -> int:
        """The Unix second until which the session may last."""
        return min(assertion.session_ends, self.now() + self.max_ttl)

    def create(self, assertion: Assertion, expires: int, *, request: str) -> str:
        """Let the session of an assertion begin; its cookie.

        Raises:
            Unauthenticated: the assertion was used before, or the session has ended.
        """
        session, now = assertion.session, self.now()
        if not self.states.use_assertion(session.issuer, assertion.identifier, expires=assertion.ends, now=now):
            raise Unauthenticated("the assertion was used before; begin again at /session/ensure")
        user = Identity(session.tenant, session.issuer, Role.USER, session=session, expires=expires)
        cookie = session_cookies.write(
            SessionCookie(session, issued=now, expires=expires), self.tokenizer.keyring, random=self.random
        )
        self.tokenizer.begin_session(Call(user, request=request))
        return cookie


class EnsureSession:
    """``GET /session/ensure``: send a browser without a session to its application, one that has a session straight back."""

    def __init__(self, flow: SessionFlow) -> None:
        self._flow = flow

    def on_get(self, req: Request, resp: Response) -> None:
        flow = self._flow
        asked = parameters(req, "provider", "return_to", "renew")
        application = flow.identities.application(asked.get("provider"))
        return_to = _return_to(asked.get("return_to", FRAME))
        with flow.at_work:
            if not _is_true(asked, "renew") and flow.has_session(req.cookies, application):
                _redirect(resp, _SEE_OTHER, return_to)
                return
            browser = req.cookies.get(flow.cookies.browser, "")
            if not is_secret(browser):
                browser = new_secret(flow.random)
            _redirect(resp, _FOUND, flow.begin(application, browser, return_to))
        flow.cookies.put(resp, flow.cookies.browser, browser, seconds=STATE_TTL)

    def on_options(self, req: Request, resp: Response) -> None:  # noqa: ARG002 - Falcon's
        """No pre-flight request is ever granted."""
        raise MethodNotAllowed("GET")


class CreateSession:
    """``GET /session/create``: take state and assertion, set the session's cookie, and send the browser where it began."""

    def __init__(self, flow: SessionFlow) -> None:
        self._flow = flow

    def on_get(self, req: Request, resp: Response) -> None:
        flow = self._flow
        asked = parameters(req, "state", "openid_token")
        state, text = _required(asked, "state"), _required(asked, "openid_token")
        with flow.at_work:
            pending = flow.take(state, req.cookies.get(flow.cookies.browser, ""))
        assertion = flow.identities.assertion(text, issuer=pending.issuer, nonce=state)
        expires = flow.end_of(assertion)
        with flow.at_work:
            cookie = flow.create(assertion, expires, request=req.context.request)
        flow.cookies.put(resp, flow.cookies.session, cookie, seconds=max(1, expires - flow.now()))
        _redirect(resp, _SEE_OTHER, pending.return_to)

    def on_options(self, req: Request, resp: Response) -> None:  # noqa: ARG002 - Falcon's
        """No pre-flight request is ever granted."""
        raise MethodNotAllowed("GET")


class EndSession(Endpoint[wire.EndSession]):
    """``POST /session/end``: as every call, and a browser that goes by our cookie is told to drop it."""

    def __init__(self, sessions: Sessions, door: Door, limits: Limits, cookies: Cookies) -> None:
        super().__init__(wire.END_SESSION, sessions.end, door, limits)
        self._browsers = door
        self._cookies = cookies

    def on_post(self, req: Request, resp: Response) -> None:
        super().on_post(req, resp)
        if self._cookies.session in req.cookies and self._browsers.admit(req).by_cookie:
            self._cookies.clear(resp, self._cookies.session)


def _required(asked: Mapping[str, str], name: str) -> str:
    value = asked.get(name)
    if not value:
        raise InvalidRequest(f"{name} is missing in the query", field=name)
    return value


def _is_true(asked: Mapping[str, str], name: str) -> bool:
    value = asked.get(name, "false")
    if value not in ("true", "false"):
        raise InvalidRequest(f"{name} must be true or false", field=name)
    return value == "true"


def _return_to(given: str) -> str:
    if not _RETURN_TO.fullmatch(given):
        raise InvalidRequest(
            "return_to must be /frame, perhaps with a query of at most 512 characters", field="return_to"
        )
    return given


def _redirect(resp: Response, status: int, location: str) -> None:
    resp.status = status
    resp.set_header("location", location)


def _no_header(name: str) -> str | None:  # noqa: ARG001 - only cookies count here
    return None
