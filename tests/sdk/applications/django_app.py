"""A Django application that keeps its users' social security numbers as tokens."""

from __future__ import annotations

import json
import os
import secrets
from importlib import import_module
from typing import Any

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from lunacore.errors import GrantMissing
from lunacore_http.sdk import Application, Request

PROFILES: dict[str, Any] = {}


def session_id_of(asked: Request) -> str | None:
    store = import_module(settings.SESSION_ENGINE).SessionStore
    found: str | None = store(asked.cookies.get(settings.SESSION_COOKIE_NAME)).get("sid")
    return found


luna = Application.from_environment(session_id_of)


class RefuseUngranted:
    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response: HttpResponse = self.get_response(request)
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return JsonResponse({"error": error.message}, status=403) if isinstance(error, GrantMissing) else None


def log_in(request: HttpRequest) -> HttpResponse:
    request.session["user"], request.session["sid"] = json.loads(request.body)["user"], secrets.token_hex(16)
    return HttpResponse("welcome")


def log_out(request: HttpRequest) -> HttpResponse:
    luna.sessions.end(request.session["sid"])
    request.session.flush()
    return HttpResponse("bye")


def save(request: HttpRequest) -> HttpResponse:
    document = json.loads(request.body)
    luna.grants.verify_found(request.session["sid"], document)
    PROFILES[request.session["user"]] = document
    return HttpResponse("saved")


def show(request: HttpRequest, user: str) -> HttpResponse:
    luna.grants.create_found(request.session["sid"], PROFILES[user])
    return JsonResponse(PROFILES[user])


def sign_up(request: HttpRequest) -> HttpResponse:
    if request.method == "GET":
        luna.anonymous.start(request)
        return HttpResponse("<form>")
    visitor = luna.anonymous.session_id(request)
    assert visitor is not None
    form = json.loads(request.body)
    request.session["user"], request.session["sid"] = form["user"], secrets.token_hex(16)
    luna.grants.carry_over(visitor, request.session["sid"], form["ssn"])
    PROFILES[form["user"]] = {"ssn": form["ssn"]}
    luna.sessions.end(visitor)
    luna.anonymous.end(request)
    return HttpResponse("welcome")


urlpatterns = [
    path("login", log_in),
    path("logout", log_out),
    path("profile", save),
    path("profile/<user>", show),
    path("sign-up", sign_up),
]


def create() -> Any:
    settings.configure(
        SECRET_KEY=os.environ["SECRET"],
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["127.0.0.1"],
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", f"{__name__}.RefuseUngranted"],
    )
    django.setup()
    return luna.wsgi(get_wsgi_application())
