from __future__ import annotations

import base64
import os
from typing import Any

import jwt as pyjwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunacore.errors import ConfigError
from lunacore.testing.deployment import Clock
from lunacore_http.sdk import Application
from lunacore_http.sdk.credentials import MAX_SESSION_ID
from tests.sdk.pems import pem
from tests.sdk.test_middleware import FRAME, STATE, Asked, ask_asgi, ask_wsgi

URL = "https://secure.example.com"
SECRET = "s" * 32
KEY = pem()
NAME = "__Host-lunasec_anonymous"


def application(secret: Any = SECRET, *, issuer: str = "https://app.example.com", **options: Any) -> Application:
    return Application(URL, issuer=issuer, signing_key=KEY, anonymous_secret=secret, **options)


LUNA = application()


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize("action", ["start", "look", "end"])
def test_the_cookie_is_set_when_the_session_begins_and_not_before(kind: str, action: str) -> None:
    luna = application(anonymous_ttl="1h")
    seen: list[str | None] = []

    def act(request: Any) -> None:
        if action == "start":
            seen.append(luna.anonymous.start(request))
            assert luna.anonymous.start(request) == seen[0]
        if action == "end":
            luna.anonymous.end(request)
        seen.append(luna.anonymous.session_id(request))

    answer = _served(luna, kind, act, {})
    cookies = [value for name, value in answer.headers if name.lower() == "set-cookie"]
    if action == "look":
        assert (cookies, seen) == ([], [None])
        assert answer.header("cache-control") == "max-age=60"
        return
    (cookie,) = cookies
    assert answer.header("cache-control") == "no-store"  # no cache may hand one visitor's cookie to another
    value, *attributes = cookie.split("; ")
    if action == "end":
        assert value == f"{NAME}="
        assert attributes[0] == "Max-Age=0"
        assert seen == [None]
        return
    assert set(attributes) == {"Max-Age=3600", "Path=/", "HttpOnly", "SameSite=Lax", "Secure"}
    assert seen[0] == seen[1]
    assert luna.anonymous.read(value.removeprefix(f"{NAME}=")) == seen[0]
    # The next request knows it, begins no other, and sets nothing.
    again = _served(luna, kind, act, {"cookie": value})
    assert again.header("set-cookie") is None
    assert seen[2] == seen[0]


def _served(luna: Application, kind: str, act: Any, headers: dict[str, str]) -> Any:
    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        act(environ)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Cache-Control", "max-age=60")])
        return [b""]

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        act(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Cache-Control", b"max-age=60")]})
        await send({"type": "http.response.body", "body": b""})

    if kind == "wsgi":
        return ask_wsgi(luna.wsgi(wsgi), Asked("/", headers=headers))
    return ask_asgi(luna.asgi(asgi), Asked("/", headers=headers))


def test_the_secure_frame_takes_it_where_nobody_is_logged_in() -> None:
    session, cookie = LUNA.anonymous.issue()
    asked = Asked(FRAME, f"state={STATE}", headers={"cookie": f"{NAME}={cookie}"})
    claims = _claims(ask_wsgi(LUNA.wsgi(_no_application), asked))
    assert claims["session_id"] == session
    logged_in = application(session_id_provider=lambda _: "user-7")
    assert _claims(ask_wsgi(logged_in.wsgi(_no_application), asked))["session_id"] == "user-7"
    for other in (f"{NAME}={cookie}x", "", f"lunasec_anonymous={cookie}"):
        nobody = Asked(FRAME, f"state={STATE}", headers={"cookie": other})
        assert ask_wsgi(LUNA.wsgi(_no_application), nobody).status == 401


def _no_application(environ: Any, start_response: Any) -> list[bytes]:
    raise AssertionError


def _claims(answer: Any) -> dict[str, Any]:
    assert answer.status == 302
    token = answer.header("location").partition("openid_token=")[2]
    claims: dict[str, Any] = pyjwt.decode(token, options={"verify_signature": False})
    return claims


def test_ids_are_random_and_fit() -> None:
    sessions = {LUNA.anonymous.issue()[0] for _ in range(100)}
    assert len(sessions) == 100
    for session in sessions:
        assert session.startswith("anonymous:")
        assert len(session) <= MAX_SESSION_ID
        assert len(base64.urlsafe_b64decode(session.removeprefix("anonymous:") + "=")) == 32


@given(data=st.data())
def test_no_changed_cookie_is_taken(data: st.DataObject) -> None:
    _, cookie = LUNA.anonymous.issue()
    place = data.draw(st.integers(0, len(cookie) - 1))
    other = data.draw(st.sampled_from("ABCDEFxyz019-_.la=;\n "))
    changed = data.draw(
        st.sampled_from(
            [
                cookie[:place] + other + cookie[place + 1 :],
                cookie[:place],
                cookie + other,
                cookie[:place] + other + cookie[place:],
            ]
        )
    )
    if changed != cookie and not _same_bytes(changed, cookie):
        assert LUNA.anonymous.read(changed) is None


def _same_bytes(changed: str, cookie: str) -> bool:
    """The last character of base64url may have unused bits."""
    try:
        return [base64.urlsafe_b64decode(part + "==") for part in changed.split(".")[1:]] == [
            base64.urlsafe_b64decode(part + "==") for part in cookie.split(".")[1:]
        ] and len(changed) == len(cookie)
    except ValueError:
        return False


@given(st.text())
def test_no_made_up_cookie_is_taken(text: str) -> None:
    assert LUNA.anonymous.read(text) is None


def test_another_secret_or_application_does_not_take_it() -> None:
    _, cookie = LUNA.anonymous.issue()
    assert application("t" * 32).anonymous.read(cookie) is None
    assert application(issuer="https://other.example.com").anonymous.read(cookie) is None
    assert application().anonymous.read(cookie) is not None


def test_the_secret_can_be_rotated() -> None:
    old, new = os.urandom(32), os.urandom(32)
    session, cookie = application(old).anonymous.issue()
    both = application([new, old])
    assert both.anonymous.read(cookie) == session
    assert application(new).anonymous.read(both.anonymous.issue()[1]) is not None


def test_it_ends_with_its_time() -> None:
    clock = Clock()
    luna = application(anonymous_ttl="10s", now=clock)
    session, cookie = luna.anonymous.issue()
    clock.advance(9)
    assert luna.anonymous.read(cookie) == session
    clock.advance(1)
    assert luna.anonymous.read(cookie) is None


def test_attributes_for_other_sites_and_for_plain_http() -> None:
    assert "SameSite=None; Secure" in application(anonymous_same_site="None").anonymous.set_cookie("x")
    local = application(issuer="http://127.0.0.1:5000").anonymous
    assert local.set_cookie("x").startswith("lunasec_anonymous=x; ")
    assert "Secure" not in local.set_cookie("x")
    with pytest.raises(ConfigError, match="anonymous_same_site"):
        application(issuer="http://127.0.0.1:5000", anonymous_same_site="None")


def test_without_secret_or_middleware_it_says_what_is_missing() -> None:
    environ = {"REQUEST_METHOD": "GET"}
    with pytest.raises(ConfigError, match="anonymous_secret"):
        application(None).anonymous.start(environ)
    with pytest.raises(ConfigError, match="anonymous_secret"):
        application(None).anonymous.issue()
    with pytest.raises(ConfigError, match="middleware"):
        application().anonymous.start(environ)
    assert application(None).anonymous.session_id(environ) is None
