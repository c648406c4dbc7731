"""The demo's application: sign-up, log-in, and pages whose forms save tokens. What has to do with LunaCore is in ``Site``.

It is a Falcon application. What it does for LunaCore is the same with any framework (``docs/reference/sdk.md``):

1. ``luna.wsgi`` answers the tokenizer's question whose session a browser has (``Site.session_id``).
2. Tokens that a form sent are verified before they are saved (``Site.save``).
3. Tokens are granted to the session that is to see them (``Site.show``), and the session is ended at log-out.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from contextlib import suppress
from http import HTTPStatus
from importlib import resources
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import falcon
from attrs import field, frozen

from lunacore.errors import GrantMissing, LunaCoreError, TokenNotFound
from lunacore_http.demo import passwords
from lunacore_http.demo.components import COMPONENTS, Component
from lunacore_http.demo.database import SESSION_SECONDS, Database, User, Visitor
from lunacore_http.demo.panel import Panel
from lunacore_http.demo.places import HOST, LOOPBACK
from lunacore_http.demo.templates import Markup, filled, joined
from lunacore_http.sdk import Application

if TYPE_CHECKING:
    from collections.abc import Mapping

    from falcon import Request, Response

    from lunacore_http.demo.places import Places
    from lunacore_http.sdk import Request as AnyRequest

COOKIE: Final = "demo_session"

_LOG: Final = logging.getLogger("lunacore.demo")
_FOLDER: Final = resources.files("lunacore_http.demo")
# Built by npm, and so not always there.
_REACT: Final = _FOLDER / "react" / "dist"
_NAME: Final = re.compile(r"[a-z][a-z0-9._-]{1,30}", re.ASCII | re.IGNORECASE)
_MAX_FORM: Final = 64 * 1024
_MAX_DRAINED: Final = 1024 * 1024
_MAX_TOKEN: Final = 256
_NEIGHBOUR: Final = "grace"
_NEIGHBOURS_NUMBER: Final = b"219-09-9999"


@frozen
class Site:
    """What all pages use."""

    places: Places
    database: Database
    panel: Panel
    luna: Application = field(repr=False)

    def visitor(self, cookie: str | None) -> Visitor | None:
        """Who sent this cookie."""
        return self.database.visitor(cookie, int(time.time())) if cookie else None

    def show(self, visitor: Visitor) -> dict[str, str]:
        """The tokens that a visitor saved, by field; the visitor's session may read them from now on."""
        profile = self.database.profile(visitor.user)
        with suppress(TokenNotFound):  # the frame will say so
            self.luna.grants.create(visitor.session_id, tuple(profile.values()))
        return profile

    def save(self, visitor: Visitor, sent: Mapping[str, str]) -> None:
        """Save the tokens that a form sent, by field.

        Raises:
            GrantMissing: one of them is not this session's to store; nothing is saved.
            InvalidRequest: one of them is no token.
        """
        before = self.database.profile(visitor.user)
        changes = {name: token for name, token in sent.items() if token != before.get(name, "")}
        # What is the user's already may change its place.
        new = set(changes.values()) - set(before.values()) - {""}
        self.luna.grants.verify(visitor.session_id, tuple(new))
        self.database.save(visitor.user, changes)
        left = set(before.values()) - set(self.database.profile(visitor.user).values())
        self.luna.delete(tuple(left))

    def log_in(self, user: User, req: Request, resp: Response) -> None:
        """Begin a session. One that this browser had ends: the tokenizer would go on with it otherwise."""
        if req.context.visitor is not None:
            self.log_out(req.context.visitor, req.context.cookie)
        cookie = secrets.token_urlsafe(32)
        self.database.begin_session(user, cookie, secrets.token_urlsafe(16), int(time.time()))
        # An application on the web adds secure=True, and "__Host-" before the name.
        resp.set_cookie(COOKIE, cookie, max_age=SESSION_SECONDS, path="/", secure=False, same_site="Lax")

    def log_out(self, visitor: Visitor, cookie: str) -> None:
        """End a session; at the tokenizer first, since if that fails it can be tried again."""
        self.luna.sessions.end(visitor.session_id)
        self.database.end_session(cookie)

    def invite_neighbour(self) -> None:
        """Make another user, whose number this back end itself puts away; nobody can log in as this user."""
        self.database.add_user(_NEIGHBOUR, passwords.NOBODYS)
        user = self.database.user(_NEIGHBOUR)
        if user is not None and not self.database.profile(user):
            self.database.save(user, {"ssn": self.luna.values.put(_NEIGHBOURS_NUMBER, {"dataType": "string"})})


def create_app(places: Places) -> falcon.App[Request, Response]:
    """The application, ready to be served."""
    database = Database(places.database)

    def session_id(request: AnyRequest) -> str | None:
        cookie = request.cookies.get(COOKIE)
        visitor = database.visitor(cookie, int(time.time())) if cookie else None
        return visitor.session_id if visitor is not None else None

    luna = Application(
        places.tokenizer_url,
        issuer=places.url,
        signing_key=places.signing_key,
        session_id_provider=session_id,
        internal_url=places.internal_url,
    )
    site = Site(places, database, Panel(places.tokenizer_log, places.audit), luna)
    # Any WSGI server serves it; the server's hint is narrower than what it takes.
    return cast("falcon.App[Request, Response]", luna.wsgi(_routed(site)))


def _routed(site: Site) -> falcon.App[Request, Response]:
    app = falcon.App(media_type=falcon.MEDIA_HTML, middleware=[Guard(site)])
    app.add_error_handler(LunaCoreError, _answer_refusal)
    app.add_error_handler(Exception, _answer_fault)
    app.add_error_handler(falcon.HTTPError, _answer_http_error)
    app.add_static_route("/static", str(_FOLDER / "static"))
    app.add_route("/", Home(site))
    app.add_route("/sign-up", SignUp(site))
    app.add_route("/log-in", LogIn(site))
    app.add_route("/log-out", LogOut(site))
    app.add_route("/react", ReactPage(site))
    if _REACT.is_dir():
        app.add_static_route("/react-page", str(_REACT))
    app.add_route("/another-user", AnotherUser(site))
    app.add_route("/another-user/neighbour", Neighbour(site))
    app.add_route("/attack", Attack(site))
    app.add_route("/panel", PanelFeed(site))
    for component in COMPONENTS:
        app.add_route(f"/components/{component.name}", ComponentPage(site, component))
    return app


@frozen
class Guard:
    """What holds for every request and every answer.

    A POST must come from this application's own pages: browsers say so in ``Origin`` (Fetch Standard), which no page of another
    origin can forge. The host must be ours, or a page that has its own name point here (DNS rebinding) could read answers.
    """

    site: Site

    def process_request(self, req: Request, resp: Response) -> None:  # noqa: ARG002 - Falcon's
        own = self.site.places
        if req.netloc in (f"{LOOPBACK}:{own.port}", f"localhost:{own.port}") and req.method == "GET":
            raise falcon.HTTPFound(own.url + req.relative_uri)
        if req.netloc != f"{HOST}:{own.port}":
            raise falcon.HTTPBadRequest(description=f"Open {own.url} instead.")
        if req.method == "POST" and req.get_header("Origin") != own.url:
            raise falcon.HTTPForbidden(description="This form was not sent by a page of this application.")
        req.context.cookie = req.cookies.get(COOKIE, "")
        req.context.visitor = self.site.visitor(req.context.cookie)

    def process_response(self, req: Request, resp: Response, resource: object, req_succeeded: bool) -> None:  # noqa: ARG002, FBT001 - Falcon's
        policy = content_security_policy(
            self.site.places, unsafe=isinstance(resource, Attack), style_nonce=getattr(req.context, "style_nonce", "")
        )
        resp.set_header("content-security-policy", policy)
        resp.set_header("cross-origin-opener-policy", "same-origin")
        resp.set_header("cross-origin-resource-policy", "same-origin")
        # Not "no-referrer": browsers would then not say which origin a form comes from.
        resp.set_header("referrer-policy", "same-origin")
        resp.set_header("x-content-type-options", "nosniff")
        resp.set_header("cache-control", "no-cache" if req.path.startswith("/static/") else "no-store")


def content_security_policy(places: Places, *, unsafe: bool = False, style_nonce: str = "") -> str:
    """The policy of the application's pages: its own files, the components, and the frames of the tokenizer.

    Args:
        places: the addresses.
        unsafe: for the page that attacks itself: inline scripts run, and may try to call the tokenizer.
        style_nonce: for the page whose library writes style sheets: under this nonce it may.
    """
    components = f"{places.tokenizer_url}/sdk/"
    scripts = f"'self' {components} 'unsafe-inline'" if unsafe else f"'self' {components}"
    calls = f"'self' {places.tokenizer_url}" if unsafe else "'self'"
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {scripts}",
            f"style-src 'self' 'nonce-{style_nonce}'" if style_nonce else "style-src 'self'",
            "img-src 'self'",
            f"connect-src {calls}",
            # On the way to its session the frame is sent to this application and back.
            f"frame-src {places.tokenizer_url} {places.url}/.lunasec/secure-frame",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    )


@frozen
class Page:
    """What resources have in common: a page within the layout, and who asks for it."""

    site: Site

    def answer(
        self,
        req: Request,
        resp: Response,
        title: str,
        content: Markup,
        *,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> None:
        resp.status = status
        resp.content_type = falcon.MEDIA_HTML
        resp.text = self._layout(req, title, content)

    def _layout(self, req: Request, title: str, content: Markup) -> str:
        visitor: Visitor | None = req.context.visitor
        account = filled("account-nobody") if visitor is None else filled("account", name=visitor.user.name)
        return filled(
            "layout",
            title=title,
            tokenizer=self.site.places.tokenizer_url,
            navigation=_navigation(req.path),
            account=account,
            content=content,
        )


class Home(Page):
    """What happens here, in a few sentences and a figure."""

    def on_get(self, req: Request, resp: Response) -> None:
        start = filled("start-nobody") if req.context.visitor is None else filled("start")
        self.answer(req, resp, "What happens here", filled("home", start=start, figure=filled("figure")))


class SignUp(Page):
    """A new user."""

    def on_get(self, req: Request, resp: Response) -> None:
        self._form(req, resp)

    def on_post(self, req: Request, resp: Response) -> None:
        form = _form_of(req)
        name, password = form.get("name", "").strip(), form.get("password", "")
        wrong = self._wrong(name, password)
        if wrong:
            self._form(req, resp, wrong, name)
            return
        if not self.site.database.add_user(name, passwords.hashed(password)):
            self._form(req, resp, "This name is taken. Choose another one.", name, HTTPStatus.CONFLICT)
            return
        user = self.site.database.user(name)
        assert user is not None
        self.site.log_in(user, req, resp)
        _see(resp, f"/components/{COMPONENTS[0].name}")

    def _wrong(self, name: str, password: str) -> str:
        if not _NAME.fullmatch(name):
            return "A name has 2 to 31 letters, digits, dots, hyphens or underscores, and begins with a letter."
        if not passwords.MIN_LENGTH <= len(password) <= passwords.MAX_LENGTH:
            return f"A password has {passwords.MIN_LENGTH} to {passwords.MAX_LENGTH} characters."
        return ""

    def _form(
        self,
        req: Request,
        resp: Response,
        wrong: str = "",
        name: str = "",
        status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY,
    ) -> None:
        content = filled("sign-up", name=name, wrong=_alert(wrong))
        self.answer(req, resp, "Sign up", content, status=status if wrong else HTTPStatus.OK)


class LogIn(Page):
    """A user comes back. An application on the web would also limit how often a password may be tried."""

    def on_get(self, req: Request, resp: Response) -> None:
        self.answer(req, resp, "Log in", filled("log-in", name="", wrong=_alert("")))

    def on_post(self, req: Request, resp: Response) -> None:
        form = _form_of(req)
        name, password = form.get("name", "").strip(), form.get("password", "")[: passwords.MAX_LENGTH]
        user = self.site.database.user(name)
        right = passwords.matches(password, passwords.NOBODYS if user is None else user.password)
        if user is None or not right:
            content = filled("log-in", name=name, wrong=_alert("There is no user with this name and password."))
            self.answer(req, resp, "Log in", content, status=HTTPStatus.FORBIDDEN)
            return
        self.site.log_in(user, req, resp)
        _see(resp, f"/components/{COMPONENTS[0].name}")


@frozen
class LogOut:
    """The session ends, here and at the tokenizer."""

    site: Site

    def on_post(self, req: Request, resp: Response) -> None:
        if req.context.visitor is not None:
            self.site.log_out(req.context.visitor, req.context.cookie)
        resp.unset_cookie(COOKIE, path="/", samesite="Lax")
        _see(resp, "/")


@frozen
class ComponentPage(Page):
    """A component, with a form whose tokens are saved."""

    component: Component

    def on_get(self, req: Request, resp: Response) -> None:
        visitor = _require_visitor(req)
        self._show(req, resp, self.site.show(visitor), _alert(""))

    def on_post(self, req: Request, resp: Response) -> None:
        visitor = _require_visitor(req)
        try:
            self.site.save(visitor, self._sent(req))
        except GrantMissing as refusal:
            self._show(req, resp, self.site.show(visitor), _refusal(refusal), HTTPStatus.FORBIDDEN)
            return
        _see(resp, req.path)

    def _sent(self, req: Request) -> dict[str, str]:
        """The tokens that the form sent, by field."""
        form, fields = _form_of(req), self.component.fields
        if not self.component.several:
            return {name: form[name][:_MAX_TOKEN] for name in fields if name in form}
        sent = [token[:_MAX_TOKEN] for token in _several_of(req, self.component.several)]
        return dict(zip(fields, [*sent, *[""] * len(fields)], strict=False))

    def _show(
        self,
        req: Request,
        resp: Response,
        profile: Mapping[str, str],
        told: Markup,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> None:
        tokens = {name: profile.get(name, "") for name in self.component.fields}
        name = self.component.name
        if self.component.shows_only and not any(tokens.values()):
            content = filled(
                "nothing-saved", name=name, summary=self.component.summary, shown_from=self.component.shown_from
            )
        else:
            if self.component.several:
                tokens[self.component.several] = " ".join(filter(None, tokens.values()))
            content = filled(f"component-{name}", told=told, path=req.path, **tokens)
        self.answer(req, resp, name, content, status=status)


class ReactPage(Page):
    """The same form in React, with Material UI and react-hook-form (``react/``). It sends its tokens by ``fetch``."""

    fields: ClassVar = ("ssn", "note")

    def on_get(self, req: Request, resp: Response) -> None:
        visitor = _require_visitor(req)
        if not _REACT.is_dir():
            self.answer(req, resp, "React", filled("react-not-built"))
            return
        profile = self.site.show(visitor)
        req.context.style_nonce = secrets.token_urlsafe(16)
        content = filled(
            "react",
            tokenizer=self.site.places.tokenizer_url,
            nonce=req.context.style_nonce,
            **{name: profile.get(name, "") for name in self.fields},
        )
        self.answer(req, resp, "React", content)

    def on_post(self, req: Request, resp: Response) -> None:
        visitor = _require_visitor(req)
        form = _form_of(req)
        try:
            self.site.save(visitor, {name: form[name][:_MAX_TOKEN] for name in self.fields if name in form})
        except GrantMissing as refusal:
            resp.status, resp.content_type, resp.text = HTTPStatus.FORBIDDEN, falcon.MEDIA_TEXT, refusal.name
            return
        self.site.show(visitor)
        resp.status = HTTPStatus.NO_CONTENT


class AnotherUser(Page):
    """Somebody who got hold of another user's token tries to read it, and to store it."""

    def on_get(self, req: Request, resp: Response) -> None:
        _require_visitor(req)
        self._show(req, resp, _alert(""))

    def on_post(self, req: Request, resp: Response) -> None:
        visitor = _require_visitor(req)
        try:
            self.site.save(visitor, {"ssn": _form_of(req).get("token", "")[:_MAX_TOKEN]})
        except GrantMissing as refusal:
            self._show(req, resp, _refusal(refusal), HTTPStatus.FORBIDDEN)
            return
        _see(resp, "/components/secure-input")

    def _show(self, req: Request, resp: Response, told: Markup, status: HTTPStatus = HTTPStatus.OK) -> None:
        visitor: Visitor = req.context.visitor
        found = self.site.database.of_others(visitor.user)
        if found is None:
            tries = filled("another-user-nobody")
        else:
            tries = filled("another-user-tries", other=found.user, token=found.token, told=told)
        content = filled("another-user", name=visitor.user.name, tries=tries)
        self.answer(req, resp, "Another user", content, status=status)


@frozen
class Neighbour:
    """Another user, for those who try this out alone."""

    site: Site

    def on_post(self, req: Request, resp: Response) -> None:
        _require_visitor(req)
        self.site.invite_neighbour()
        _see(resp, "/another-user")


class Attack(Page):
    """A page with a hole: it puts a comment into itself as it came, scripts and all. See ``content_security_policy``."""

    def on_get(self, req: Request, resp: Response) -> None:
        self._show(req, resp, "")

    def on_post(self, req: Request, resp: Response) -> None:
        # The hole is open to forms of this very page alone (see Guard), so nobody else can use it.
        self._show(req, resp, _form_of(req).get("comment", ""))

    def _show(self, req: Request, resp: Response, comment: str) -> None:
        visitor = _require_visitor(req)
        token = self.site.show(visitor).get("ssn", "")
        found = self.site.database.of_others(visitor.user)
        script = (_FOLDER / "pages" / "attack-script.html").read_text(encoding="utf-8")
        wares = filled("attack-wares", token=token) if token else filled("attack-nothing")
        content = filled(
            "attack",
            wares=wares,
            script=comment or script,
            others=found.token if found else "",
            loot=filled("attack-loot", comment=Markup(comment)) if comment else Markup(),
        )
        self.answer(req, resp, "Attack", content)


@frozen
class PanelFeed:
    """What the panel shows, as JSON: the tokenizer's last calls, and the visitor's row in the database."""

    site: Site

    def on_get(self, req: Request, resp: Response) -> None:
        visitor: Visitor | None = req.context.visitor
        row = None
        if visitor is not None:
            row = {"user": visitor.user.name, **self.site.database.profile(visitor.user)}
        resp.content_type = falcon.MEDIA_JSON
        resp.media = {"calls": self.site.panel.calls(), "row": row}


def _navigation(path: str) -> Markup:
    links = [("/", "Start")]
    links += [(f"/components/{component.name}", component.name) for component in COMPONENTS]
    links += [("/react", "React"), ("/another-user", "Another user"), ("/attack", "Attack")]
    return joined(
        [
            filled("link", address=address, text=text, current="page" if address == path else "false")
            for address, text in links
        ]
    )


def _alert(text: str) -> Markup:
    return filled("alert", text=text) if text else Markup()


def _refusal(refusal: LunaCoreError) -> Markup:
    return filled("refusal", name=refusal.name)


def _require_visitor(req: Request) -> Visitor:
    """Who is logged in; whoever is not is sent to the log-in page."""
    visitor: Visitor | None = req.context.visitor
    if visitor is None:
        raise falcon.HTTPSeeOther("/log-in")
    return visitor


def _form_of(req: Request) -> dict[str, str]:
    """The fields of a form (``application/x-www-form-urlencoded``); of several with one name the last."""
    if (req.content_length or 0) > _MAX_FORM:
        # A server that closes while the form is still under way may take the answer along.
        req.bounded_stream.read(_MAX_DRAINED)
        raise falcon.HTTPContentTooLarge(description="This form is too large.")
    given: Any = req.get_media(default_when_empty={})
    if not isinstance(given, dict):
        raise falcon.HTTPBadRequest(description="This is no form.")
    return {name: value[-1] if isinstance(value, list) else value for name, value in given.items()}


def _several_of(req: Request, name: str) -> list[str]:
    """All that a form sent under one name."""
    given = req.get_media(default_when_empty={}).get(name, [])
    return list(given) if isinstance(given, list) else [given]


def _see(resp: Response, path: str) -> None:
    """Send the browser on to a page, so that loading it again sends no form."""
    resp.status = HTTPStatus.SEE_OTHER
    resp.location = path


def _answer_http_error(_req: Request, resp: Response, error: falcon.HTTPError, _params: dict[str, Any]) -> None:
    _answer_plainly(resp, error.status_code, error.description or "")


def _answer_refusal(_req: Request, resp: Response, error: LunaCoreError, _params: dict[str, Any]) -> None:
    _LOG.warning("refused error=%s", error.name)
    status = {"storeUnavailable": 503, "rateLimited": 429, "conflict": 409}.get(error.name, 400)
    _answer_plainly(resp, status, f"{error.name}: {error.message}")


def _answer_fault(_req: Request, resp: Response, error: Exception, _params: dict[str, Any]) -> None:
    _LOG.error("fault kind=%s", type(error).__name__, exc_info=error)
    _answer_plainly(resp, 500, "This is a mistake in the demo; its log says more.")


def _answer_plainly(resp: Response, status: int, text: str) -> None:
    resp.status = status
    resp.content_type = falcon.MEDIA_HTML
    phrase = HTTPStatus(status).phrase
    resp.text = filled("error", title=phrase, text=text)
