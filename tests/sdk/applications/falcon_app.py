"""A Falcon application that keeps its users' social security numbers as tokens; its sessions lie on the server."""

from __future__ import annotations

import secrets
from typing import Any

import falcon

from lunacore.errors import GrantMissing
from lunacore_http.sdk import Application, Request

PROFILES: dict[str, Any] = {}
USERS: dict[str, str] = {}
COOKIE = "sid"


def session_id_of(asked: Request) -> str | None:
    sid = asked.cookies.get(COOKIE)
    return sid if sid in USERS else None


luna = Application.from_environment(session_id_of)


def _begin_session(resp: falcon.Response, user: str) -> str:
    sid = secrets.token_hex(16)
    USERS[sid] = user
    resp.set_cookie(COOKIE, sid, secure=False, path="/")
    return sid


class LogIn:
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        _begin_session(resp, req.get_media()["user"])


class LogOut:
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        luna.sessions.end(req.cookies[COOKIE])
        USERS.pop(req.cookies[COOKIE])


class Profile:
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        document = req.get_media()
        luna.grants.verify_found(req.cookies[COOKIE], document)
        PROFILES[USERS[req.cookies[COOKIE]]] = document

    def on_get_of(self, req: falcon.Request, resp: falcon.Response, user: str) -> None:
        luna.grants.create_found(req.cookies[COOKIE], PROFILES[user])
        resp.media = PROFILES[user]


class SignUp:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        luna.anonymous.start(req)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        visitor = luna.anonymous.session_id(req)
        assert visitor is not None
        form = req.get_media()
        luna.grants.carry_over(visitor, _begin_session(resp, form["user"]), form["ssn"])
        PROFILES[form["user"]] = {"ssn": form["ssn"]}
        luna.sessions.end(visitor)
        luna.anonymous.end(req)


def _refused(req: falcon.Request, resp: falcon.Response, error: GrantMissing, params: Any) -> None:
    resp.status = falcon.HTTP_403
    resp.media = {"error": error.message}


def create() -> Any:
    app = falcon.App()
    profile = Profile()
    app.add_route("/login", LogIn())
    app.add_route("/logout", LogOut())
    app.add_route("/profile", profile)
    app.add_route("/profile/{user}", profile, suffix="of")
    app.add_route("/sign-up", SignUp())
    app.add_error_handler(GrantMissing, _refused)
    return luna.wsgi(app)
