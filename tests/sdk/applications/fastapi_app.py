"""A FastAPI application that keeps its users' social security numbers as tokens."""

import os
import secrets
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.middleware.sessions import SessionMiddleware

from lunacore.errors import GrantMissing
from lunacore_http.sdk import AsyncApplication
from lunacore_http.sdk import Request as AskedRequest

PROFILES: dict[str, Any] = {}


class LogIn(BaseModel):
    user: str


class Profile(BaseModel):
    ssn: str


class SignUp(BaseModel):
    user: str
    ssn: str


async def session_id_of(asked: AskedRequest) -> str | None:
    found: str | None = asked.raw["session"].get("sid")
    return found


luna = AsyncApplication.from_environment(session_id_of)
app = FastAPI()
# The last one added is the outermost: sessions are there when LunaCore asks for them.
app.add_middleware(luna.asgi)
app.add_middleware(SessionMiddleware, secret_key=os.environ["SECRET"])


@app.exception_handler(GrantMissing)
async def refused(request: Request, error: GrantMissing) -> JSONResponse:
    return JSONResponse({"error": error.message}, 403)


@app.post("/login")
async def log_in(request: Request, form: LogIn) -> str:
    request.session.update(user=form.user, sid=secrets.token_hex(16))
    return "welcome"


@app.post("/logout")
async def log_out(request: Request) -> str:
    await luna.sessions.end(request.session["sid"])
    request.session.clear()
    return "bye"


@app.post("/profile")
async def save(request: Request, profile: Profile) -> str:
    await luna.grants.verify_found(request.session["sid"], profile)
    PROFILES[request.session["user"]] = profile
    return "saved"


@app.get("/profile/{user}")
async def show(request: Request, user: str) -> Profile:
    await luna.grants.create_found(request.session["sid"], PROFILES[user])
    found: Profile = PROFILES[user]
    return found


@app.get("/sign-up")
async def begin_sign_up(request: Request) -> str:
    luna.anonymous.start(request)
    return "<form>"


@app.post("/sign-up")
async def sign_up(request: Request, form: SignUp) -> str:
    visitor = luna.anonymous.session_id(request)
    assert visitor is not None
    request.session.update(user=form.user, sid=secrets.token_hex(16))
    await luna.grants.carry_over(visitor, request.session["sid"], form.ssn)
    PROFILES[form.user] = Profile(ssn=form.ssn)
    await luna.sessions.end(visitor)
    luna.anonymous.end(request)
    return "welcome"


def create() -> FastAPI:
    return app
