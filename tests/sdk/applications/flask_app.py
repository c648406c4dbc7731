"""A Flask application that keeps its users' social security numbers as tokens."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any

from flask import Flask, jsonify, request, session

from lunacore.errors import GrantMissing
from lunacore_http.sdk import Application, Request

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

app = Flask(__name__)
app.secret_key = os.environ["SECRET"]
PROFILES: dict[str, Any] = {}


def session_id_of(asked: Request) -> str | None:
    opened = app.session_interface.open_session(app, app.request_class(asked.raw))
    return None if opened is None else opened.get("sid")


luna = Application.from_environment(session_id_of)
app.wsgi_app = luna.wsgi(app.wsgi_app)  # type: ignore[method-assign, assignment]


@app.errorhandler(GrantMissing)
def refused(error: GrantMissing) -> tuple[Response, int]:
    return jsonify(error=error.message), 403


@app.post("/login")
def log_in() -> str:
    session["user"], session["sid"] = request.get_json()["user"], secrets.token_hex(16)
    return "welcome"


@app.post("/logout")
def log_out() -> str:
    luna.sessions.end(session["sid"])
    session.clear()
    return "bye"


@app.post("/profile")
def save() -> str:
    luna.grants.verify_found(session["sid"], request.get_json())
    PROFILES[session["user"]] = request.get_json()
    return "saved"


@app.get("/profile/<user>")
def show(user: str) -> Any:
    luna.grants.create_found(session["sid"], PROFILES[user])
    return PROFILES[user]


@app.get("/sign-up")
def begin_sign_up() -> str:
    luna.anonymous.start(request)
    return "<form>"


@app.post("/sign-up")
def sign_up() -> str:
    visitor = luna.anonymous.session_id(request)
    assert visitor is not None
    form = request.get_json()
    session["user"], session["sid"] = form["user"], secrets.token_hex(16)
    luna.grants.carry_over(visitor, session["sid"], form["ssn"])
    PROFILES[form["user"]] = {"ssn": form["ssn"]}
    luna.sessions.end(visitor)
    luna.anonymous.end(request)
    return "welcome"


def create() -> Flask:
    return app
