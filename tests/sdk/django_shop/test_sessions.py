"""Sessions: whose a request is, what a log-in and a log-out do, and the two well-known paths."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import AsyncClient, Client, override_settings

from lunacore.errors import GrantMissing
from lunacore_http.sdk.django import luna

if TYPE_CHECKING:
    from lunacore_http.sdk.testing import EmbeddedTokenizer

pytestmark = [pytest.mark.usefixtures("database"), pytest.mark.xdist_group("lunacore_tokenizer")]

STATE = "s" * 43
FRAME = f"/.lunasec/secure-frame?state={STATE}"
MIDDLEWARE = "lunacore_http.sdk.django.middleware.LunaCoreMiddleware"


def session_of(client: Client) -> str | None:
    told: str | None = client.get("/who").json()["session"]
    return told


def logged_in(name: str = "ada") -> Client:
    client = Client()
    log_in(client, name)
    return client


def log_in(client: Client, name: str = "ada") -> None:
    if not User.objects.filter(username=name).exists():
        User.objects.create_user(name, password="secret")
    assert client.post("/log-in", {"username": name, "password": "secret"}).status_code == 200


def test_an_anonymous_visitor_has_no_session_and_gets_none() -> None:
    client = Client()
    assert session_of(client) is None
    assert client.get(FRAME).status_code == 401
    assert Session.objects.count() == 0
    assert not client.cookies


def test_an_anonymous_visitor_whom_django_knows_has_a_session() -> None:
    client = Client()
    client.get("/cart")
    assert session_of(client) == session_of(client) is not None


def test_an_anonymous_visitor_gets_a_session_if_the_project_asks_for_it() -> None:
    with override_settings(LUNACORE={**settings.LUNACORE, "ANONYMOUS_SESSIONS": True}):
        client = Client()
        assert session_of(client) == session_of(client) is not None
        assert session_of(Client()) != session_of(client)
        assert client.get(FRAME).status_code == 302


def test_a_session_key_that_a_visitor_made_up_is_none() -> None:
    client = Client()
    client.cookies[settings.SESSION_COOKIE_NAME] = "a" * 32
    assert session_of(client) is None


def test_every_log_in_is_a_session_of_its_own() -> None:
    client = Client()
    client.get("/cart")
    seen = [session_of(client)]
    for _ in range(2):  # the second one while logged in, for which Django keeps its session key
        log_in(client)
        seen.append(session_of(client))
    client.post("/log-out")
    log_in(client)
    seen.append(session_of(client))
    assert len(set(seen)) == 4


def test_the_session_id_does_not_tell_the_session_key() -> None:
    client = logged_in()
    key = client.cookies[settings.SESSION_COOKIE_NAME].value
    assert key not in (session_of(client) or "")


def test_the_secure_frame_is_sent_back_with_an_assertion() -> None:
    client = logged_in()
    answer = client.get(FRAME)
    assert answer.status_code == 302
    assert answer["cache-control"] == "no-store"
    target = urlsplit(answer["location"])
    assert f"{target.scheme}://{target.netloc}{target.path}" == "https://secure.example.com/session/create"
    query = parse_qs(target.query)
    claims = jwt.decode(query["openid_token"][0], options={"verify_signature": False})
    assert query["state"] == [STATE]
    assert claims["session_id"] == session_of(client)
    assert claims["nonce"] == STATE


def test_who_is_not_logged_in_gets_401_and_never_a_log_in_page() -> None:
    without = [one for one in settings.MIDDLEWARE if one != MIDDLEWARE]
    by_urls = {"MIDDLEWARE": without, "ROOT_URLCONF": "tests.sdk.django_shop.urls_with_lunacore"}
    for more in ({}, by_urls):
        with override_settings(**more):
            answer = Client().get(FRAME)
            assert (answer.status_code, answer.json()["error"]["name"]) == (401, "unauthenticated")
            assert Client().get("/.lunasec/jwks.json").json() == luna.jwks()
            assert Client().post("/.lunasec/jwks.json").status_code == 405
            assert Client().get("/.lunasec/secure-frame").status_code == 401


def test_a_script_does_not_get_an_assertion() -> None:
    answer = logged_in().get(FRAME, headers={"sec-fetch-mode": "cors"})
    assert answer.status_code == 400


def test_a_log_out_ends_the_session_with_its_grants(tokenizer: EmbeddedTokenizer) -> None:
    client = logged_in()
    session = session_of(client)
    assert session is not None
    browser = tokenizer.browser(session)
    token = browser.tokenize("4111")
    assert browser.detokenize(token) == b"4111"
    client.post("/log-out")
    with pytest.raises(GrantMissing):
        browser.detokenize(token)
    assert session_of(client) is None


def test_a_log_out_works_while_the_tokenizer_is_down(caplog: pytest.LogCaptureFixture) -> None:
    down = {**settings.LUNACORE, "INTERNAL_URL": "http://127.0.0.1:9", "RETRIES": 0}
    with override_settings(LUNACORE=down):
        client = logged_in()
        assert client.post("/log-out").status_code == 200
        assert session_of(client) is None
    assert "event=session_not_ended error=storeUnavailable" in caplog.text


def test_the_middleware_works_under_asgi() -> None:
    async def visit() -> None:
        client = AsyncClient()
        assert (await client.get(FRAME)).status_code == 401
        assert (await client.get("/.lunasec/jwks.json")).json() == luna.jwks()
        assert (await client.get("/later")).content == b"True"

    asyncio.run(visit())
