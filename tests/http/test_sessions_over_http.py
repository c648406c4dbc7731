"""Sessions that an application provides, over real HTTP: two workers, a stand-in application, a browser's cookie jar."""

from __future__ import annotations

import base64
import json
import re
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from lunacore.testing.servers import free_port
from tests.http.standin_application import CALLBACK, KEYS, StandInApplication
from tests.http.tokenizer_server import STRING, Issuer, TokenizerServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

# One worker runs them all, and so makes what they share once.
pytestmark = pytest.mark.xdist_group("sessions_over_http")

APP = "https://app.example.com"
OTHER = "https://other.example.com"
FOREIGN = "https://foreign.example.com"
DIRECT = "https://direct.example.com"
HASH = "lunasec-session-hash"
FRAME = {"sec-fetch-site": "same-origin"}


class World:
    """A tokenizer, two applications of one tenant, and a third of another."""

    def __init__(self, server: TokenizerServer, applications: Sequence[StandInApplication], closing: ExitStack) -> None:
        self.server = server
        self.app, self.other, self.foreign = applications
        self.closing = closing
        # One context for all: to make one takes longer than all else that a client does. A connection for each request, so
        # that both workers get some.
        self._tls = ssl.create_default_context()
        once = httpx.Limits(max_keepalive_connections=0)
        self.program = closing.enter_context(
            httpx.Client(base_url=server.url, timeout=30, verify=self._tls, limits=once)
        )
        for application in applications:
            application.tokenizer = server.url

    def browser(self, user: str | None = "session-1") -> httpx.Client:
        """A browser; it follows no redirect by itself."""
        client = self.closing.enter_context(httpx.Client(base_url=self.server.url, timeout=30, verify=self._tls))
        if user is not None:
            client.cookies.set("user", user, domain="127.0.0.1", path="/")
        return client

    def post(self, path: str, body: Any, headers: Mapping[str, str]) -> httpx.Response:
        """What a program sends."""
        return self.program.post(path, json=body, headers=dict(headers))

    def data(self, path: str, body: Any, headers: Mapping[str, str]) -> Any:
        answer = self.post(path, body, headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def log_in(self, user: str, **query: str) -> httpx.Client:
        """A browser that has gone through the whole flow."""
        browser = self.browser(user)
        created = self.follow(browser, **query)
        assert created.status_code == 303, created.text
        return browser

    def follow(self, browser: httpx.Client, **query: str) -> httpx.Response:
        """Go from /session/ensure through the application to /session/create, whose answer it is."""
        from_application = browser.get(self.callback_of(browser, **query))
        return browser.get(from_application.headers["location"])

    def callback_of(self, browser: httpx.Client, **query: str) -> str:
        """Where the tokenizer sends a browser for its session."""
        answer = browser.get("/session/ensure", params=query)
        assert answer.status_code == 302, answer.text
        return str(answer.headers["location"])

    def state_of(self, browser: httpx.Client, **query: str) -> str:
        return parse_qs(urlsplit(self.callback_of(browser, **query)).query)["state"][0]

    def create(self, browser: httpx.Client, state: str, assertion: str) -> httpx.Response:
        return browser.get("/session/create", params={"state": state, "openid_token": assertion})

    def application_headers(self, application: StandInApplication) -> dict[str, str]:
        return {"authorization": f"Bearer {application.issuer.application(self.server.url)}"}

    def on_every_worker(self, path: str, body: Any, headers: Mapping[str, str]) -> set[tuple[int, str]]:
        """Statuses and names of refusals of the same call over many connections, which both workers take some of."""
        answers = [self.post(path, body, headers) for _ in range(16)]
        return {(one.status_code, one.json()["error"].get("name", "")) for one in answers}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("sessions")
    with ExitStack() as stack:
        applications = [
            stack.enter_context(application)
            for application in (
                StandInApplication(directory, APP, name="standin", default=True),
                StandInApplication(directory, OTHER, name="other", query="?from=luna"),
                StandInApplication(directory, FOREIGN, name="foreign", tenant="elsewhere"),
            )
        ]
        server = TokenizerServer(directory, workers=2, settings={"sessions": {"max_ttl": "2h"}})
        server.issuer = Issuer(directory, DIRECT, name="direct")
        server.config["identity"] = [server.issuer.settings, *(one.issuer.settings for one in applications)]
        stack.enter_context(server)
        yield World(server, applications, stack)


def name_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and name of a refusal, whose envelope must be exact and which must set no cookie and lead nowhere."""
    envelope = answer.json()
    assert set(envelope) == {"success", "error", "data"}
    assert envelope["success"] is False
    assert "set-cookie" not in answer.headers
    assert "location" not in answer.headers
    return answer.status_code, envelope["error"]["name"]


def hash_of(browser: httpx.Client) -> dict[str, str]:
    """The headers that a frame sends."""
    told = browser.get("/session/verify", headers=FRAME)
    return {**FRAME, HASH: told.json()["data"]["sessionHash"]}


def cookie_of(browser: httpx.Client) -> dict[str, str]:
    return {"cookie": f"access_token={browser.cookies['access_token']}"}


UNAUTHENTICATED = (401, "unauthenticated")
MISMATCH = (403, "sessionMismatch")
INVALID = (400, "invalidRequest")


class TestTheFlow:
    def test_from_nothing_to_a_session_and_back(self, world: World) -> None:
        browser = world.browser("whole-flow")
        assert browser.get("/session/verify", headers=FRAME).json()["success"] is False
        first = browser.get("/session/ensure?return_to=/frame%3Fcomponent%3Dsecure-text")
        assert first.status_code == 302
        assert re.fullmatch(re.escape(world.app.callback) + r"\?state=[A-Za-z0-9_-]{43}", first.headers["location"])
        second = browser.get(first.headers["location"])
        third = browser.get(second.headers["location"])
        assert (third.status_code, third.headers["location"]) == (303, "/frame?component=secure-text")
        for answer in (first, third):
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.content == b""
        headers = hash_of(browser)
        token = browser.post("/tokenize", json={"metadata": STRING}, headers=headers).json()["data"]["tokenId"]
        assert browser.post("/detokenize", json={"tokenId": token}, headers=headers).status_code == 200
        ended = browser.post("/session/end", json={}, headers=headers)
        assert ended.status_code == 200
        assert "access_token" not in browser.cookies
        assert browser.get("/session/verify", headers=FRAME).json()["success"] is False

    def test_the_session_is_the_one_that_the_application_grants_to(self, world: World) -> None:
        application = world.application_headers(world.app)
        token = world.data("/tokenize", {"metadata": STRING}, application)["tokenId"]
        browser = world.log_in("granted")
        headers = hash_of(browser)
        assert name_of(browser.post("/detokenize", json={"tokenId": token}, headers=headers)) == (403, "grantMissing")
        world.data("/grant/set", {"sessionId": "granted", "tokenId": token}, application)
        assert browser.post("/detokenize", json={"tokenId": token}, headers=headers).status_code == 200

    def test_a_provider_by_name_whose_callback_has_a_query(self, world: World) -> None:
        browser = world.browser("by-name")
        callback = world.callback_of(browser, provider="other")
        assert callback.startswith(f"{world.other.callback}&state=")
        created = browser.get(browser.get(callback).headers["location"])
        assert (created.status_code, created.headers["location"]) == (303, "/frame")
        assert world.other.asked[-1]["from"] == ["luna"]

    def test_a_live_session_goes_straight_back(self, world: World) -> None:
        browser = world.log_in("live")
        back = browser.get("/session/ensure?return_to=/frame%3Fa")
        assert (back.status_code, back.headers["location"]) == (303, "/frame?a")
        assert "set-cookie" not in back.headers
        # Not for another application's session, and not where the page says that its user has changed.
        assert browser.get("/session/ensure?provider=other").status_code == 302
        assert browser.get("/session/ensure?renew=true").status_code == 302

    def test_a_browser_has_one_session_at_a_time(self, world: World) -> None:
        browser = world.log_in("one-of-two")

        def verified() -> list[bool]:
            asked = ("", "?provider=standin", "?provider=other")
            return [browser.get(f"/session/verify{query}", headers=FRAME).json()["success"] for query in asked]

        assert verified() == [True, True, False]
        assert world.follow(browser, provider="other").status_code == 303
        assert verified() == [True, False, True]
        for query in ("provider=nobody", "provider=other&provider=other", "x=y"):
            assert name_of(browser.get(f"/session/verify?{query}", headers=FRAME)) == INVALID

    def test_an_ended_session_is_no_live_one(self, world: World) -> None:
        browser = world.log_in("ended-then-ensured")
        world.data("/session/end", {"sessionId": "ended-then-ensured"}, world.application_headers(world.app))
        assert browser.get("/session/ensure").status_code == 302

    def test_a_new_log_in_is_a_new_session(self, world: World) -> None:
        browser = world.log_in("alice-1")
        before = hash_of(browser)
        browser.cookies.set("user", "bob-1", domain="127.0.0.1", path="/")
        assert world.follow(browser, renew="true").status_code == 303
        after = hash_of(browser)
        assert after != before
        # The page of the first user cannot go on beneath the second one's cookie.
        assert name_of(browser.post("/tokenize", json={"metadata": STRING}, headers=before)) == MISMATCH

    def test_tabs_in_parallel(self, world: World) -> None:
        browser = world.browser("tabs")
        first, second = world.callback_of(browser), world.callback_of(browser)
        assert first != second
        for callback in (first, second):
            assert browser.get(browser.get(callback).headers["location"]).status_code == 303

    def test_the_session_ends_with_the_assertion_or_with_the_settings(self, world: World) -> None:
        browser = world.browser("short")
        for wanted, given in ((90, 90), (24 * 3600, 2 * 3600)):
            state = world.state_of(browser, renew="true")
            ends = int(time.time()) + wanted
            answer = world.create(browser, state, world.app.issuer.assertion(world.server.url, state, session_exp=ends))
            (age,) = re.findall(r"Max-Age=(\d+)", answer.headers["set-cookie"])
            assert given - 5 <= int(age) <= given


class TestWhereARequestLeads:
    @pytest.mark.parametrize(
        "query", ["provider=nobody", "provider=direct", "provider=", "provider=other&provider=standin"]
    )
    def test_only_to_configured_applications(self, world: World, query: str) -> None:
        assert name_of(world.browser().get(f"/session/ensure?{query}")) == INVALID

    @pytest.mark.parametrize(
        "return_to",
        [
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "/frame/../evil",
            "/frame//evil.example",
            "/framework",
            "/frame#x",
            "/frame?a#x",
            "/frame?x=https://evil.example",
            "/frame?a b",
            "/frame?a\r\nset-cookie: b=c",
            "/frame\n",
            "/frame?a\n",
            "/Frame",
            " /frame",
            "frame",
            "",
            "/",
            "/frame?\xe9",
            "/frame?" + "a" * 513,
            "javascript:alert(1)",
        ],
    )
    def test_only_back_to_the_frame(self, world: World, return_to: str) -> None:
        for browser in (world.browser(), world.log_in("redirected")):
            assert name_of(browser.get("/session/ensure", params={"return_to": return_to})) == INVALID

    @pytest.mark.parametrize(
        "return_to", ["/frame", "/frame?", "/frame?" + "a" * 512, "/frame?origin=https%3A%2F%2Fapp.example.com"]
    )
    def test_to_the_frame_with_a_query(self, world: World, return_to: str) -> None:
        browser = world.browser("to-the-frame")
        created = world.follow(browser, return_to=return_to)
        assert created.headers["location"] == return_to

    def test_what_the_callback_says_of_it_is_ignored_as_a_whole(self, world: World) -> None:
        browser = world.browser()
        state = world.state_of(browser)
        sent = {
            "state": state,
            "openid_token": world.app.issuer.assertion(world.server.url, state),
            "return_to": "/frame?b",
        }
        assert name_of(browser.get("/session/create", params=sent)) == INVALID
        assert world.create(browser, state, sent["openid_token"]).headers["location"] == "/frame"

    @pytest.mark.parametrize("path", ["/session/ensure", "/session/create"])
    @pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "OPTIONS"])
    def test_by_no_other_method(self, world: World, path: str, method: str) -> None:
        answer = world.browser().request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET" if method == "OPTIONS" else "GET, OPTIONS")


class TestStates:
    def test_used_once(self, world: World) -> None:
        browser = world.browser("reused")
        state = world.state_of(browser)
        assert world.create(browser, state, world.app.issuer.assertion(world.server.url, state)).status_code == 303
        again = world.create(browser, state, world.app.issuer.assertion(world.server.url, state))
        assert name_of(again) == UNAUTHENTICATED

    def test_used_once_by_many_at_the_same_time(self, world: World) -> None:
        browser = world.browser("raced")
        state = world.state_of(browser)
        jar = {"cookie": f"lunasec_browser={browser.cookies['lunasec_browser']}"}
        sent = {"state": state, "openid_token": world.app.issuer.assertion(world.server.url, state)}
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(world.program.get, "/session/create", params=sent, headers=jar) for _ in range(16)]
        assert sorted(one.result().status_code for one in asked) == [303] + [401] * 15

    @pytest.mark.parametrize("state", ["A" * 43, "A" * 42 + "B", "short", "é" * 43, "A" * 44, "A" * 100_00, "%00"])
    def test_never_issued(self, world: World, state: str) -> None:
        browser = world.browser()
        world.state_of(browser)
        assertion = world.app.issuer.assertion(world.server.url, state)
        assert name_of(world.create(browser, state, assertion)) == UNAUTHENTICATED

    def test_of_somebody_elses_browser(self, world: World) -> None:
        attacker, victim = world.browser("attacker"), world.browser("victim")
        world.state_of(victim)
        state = world.state_of(attacker)
        assertion = world.app.issuer.assertion(world.server.url, state, "attacker")
        assert name_of(world.create(victim, state, assertion)) == MISMATCH
        assert "access_token" not in victim.cookies
        # The state is used up: what has been seen elsewhere is not good any more.
        assert name_of(world.create(attacker, state, assertion)) == UNAUTHENTICATED

    def test_without_the_browsers_cookie(self, world: World) -> None:
        state = world.state_of(world.browser())
        assertion = world.app.issuer.assertion(world.server.url, state)
        assert name_of(world.create(world.browser(), state, assertion)) == MISMATCH

    @pytest.mark.parametrize("missing", ["state", "openid_token"])
    def test_a_parameter_is_missing_or_comes_twice(self, world: World, missing: str) -> None:
        browser = world.browser()
        state = world.state_of(browser)
        sent = {"state": state, "openid_token": world.app.issuer.assertion(world.server.url, state)}
        for value in ("", None, [sent[missing], sent[missing]]):
            changed: dict[str, Any] = {**sent, missing: value}
            params = {name: one for name, one in changed.items() if one is not None}
            assert name_of(browser.get("/session/create", params=params)) == INVALID
        assert browser.get("/session/create", params=sent).status_code == 303


def _now(seconds: float) -> float:
    return time.time() + seconds


# What is wrong with an assertion; None leaves a claim out, a function is asked when the test runs.
WRONG: dict[str, dict[str, Any]] = {
    **{
        f"no {claim}": {claim: None}
        for claim in ("aud", "sub", "session_id", "nonce", "jti", "iat", "exp", "session_exp")
    },
    "for the tokenizer": {"aud": lambda world: world.server.url},
    "for another path": {"aud": lambda world: f"{world.server.url}/session/create/"},
    "for two": {"aud": lambda world: [f"{world.server.url}/session/create", world.server.url]},
    "for another tokenizer": {"aud": "https://secure.example.com/session/create"},
    "by another issuer": {"iss": OTHER},
    "of an application": {"sub": "application"},
    "of a developer": {"sub": "developer"},
    "of an operator": {"sub": "operator"},
    "of nobody": {"sub": ""},
    "of another state": {"nonce": "A" * 43},
    "with a number for nonce": {"nonce": 1},
    "with a lone surrogate for nonce": {"nonce": "\ud800"},
    "lasting too long": {"exp": lambda _: int(time.time()) + 63},
    "older than a minute": {"iat": lambda _: int(time.time()) - 61, "exp": lambda _: int(time.time()) - 1},
    "issued long ago": {"iat": lambda _: int(time.time()) - 300},
    "not valid yet": {"iat": lambda _: _now(90), "exp": lambda _: _now(120)},
    "not before long": {"nbf": lambda _: _now(90)},
    "short jti": {"jti": "x" * 15},
    "long jti": {"jti": "x" * 257},
    "jti with a line feed": {"jti": "x" * 16 + "\n"},
    "jti that is a number": {"jti": 12345678901234567890},
    "session over": {"session_exp": lambda _: _now(-1)},
    "session over this second": {"session_exp": lambda _: int(time.time())},
    "session without end": {"session_exp": "never"},
    "session until no time": {"session_exp": True},
    "session before time": {"session_exp": -1},
    "session of no name": {"session_id": ""},
    "session of a number": {"session_id": 7},
    "session of too long a name": {"session_id": "x" * 257},
}


class TestAssertions:
    @pytest.mark.parametrize("changed", WRONG.values(), ids=WRONG)
    def test_refused(self, world: World, changed: dict[str, Any]) -> None:
        browser = world.browser()
        state = world.state_of(browser)
        claims = {name: one(world) if callable(one) else one for name, one in changed.items()}
        assertion = world.app.issuer.assertion(world.server.url, state, **claims)
        assert name_of(world.create(browser, state, assertion)) == UNAUTHENTICATED

    def test_used_once_also_with_a_new_state(self, world: World) -> None:
        browser = world.browser("used-once")
        for status in (303, 401):
            state = world.state_of(browser, renew="true")
            assertion = world.app.issuer.assertion(world.server.url, state, jti="the same for both")
            assert world.create(browser, state, assertion).status_code == status
        # Another application may have chosen the same.
        state = world.state_of(browser, provider="other")
        assertion = world.other.issuer.assertion(world.server.url, state, jti="the same for both")
        assert world.create(browser, state, assertion).status_code == 303

    @pytest.mark.parametrize("provider", ["other", "foreign"])
    def test_of_another_provider(self, world: World, provider: str) -> None:
        browser = world.browser()
        theirs = {"other": world.other, "foreign": world.foreign}[provider].issuer
        for issuer in (theirs.issuer, APP):
            state = world.state_of(browser)
            assertion = theirs.assertion(world.server.url, state, iss=issuer)
            assert name_of(world.create(browser, state, assertion)) == UNAUTHENTICATED
            state = world.state_of(browser, provider=provider)
            assertion = world.app.issuer.assertion(world.server.url, state, iss=issuer)
            assert name_of(world.create(browser, state, assertion)) == UNAUTHENTICATED

    def test_changed_on_the_way(self, world: World) -> None:
        browser = world.browser()
        for change in (_unsigned, _other_session):
            state = world.state_of(browser)
            assertion = change(world.app.issuer.assertion(world.server.url, state))
            assert name_of(world.create(browser, state, assertion)) == UNAUTHENTICATED

    @pytest.mark.parametrize("garbage", ["x", "a.b.c", "ls1.a.b", "é", "..", "x" * 20_000])
    def test_garbage(self, world: World, garbage: str) -> None:
        browser = world.browser()
        assert name_of(world.create(browser, world.state_of(browser), garbage)) == UNAUTHENTICATED

    def test_an_assertion_is_no_session(self, world: World) -> None:
        browser = world.browser()
        assertion = world.app.issuer.assertion(world.server.url, world.state_of(browser))
        for headers in (
            {"cookie": f"access_token={assertion}"},
            {"cookie": f"__Host-access_token={assertion}"},
            {"authorization": f"Bearer {assertion}"},
        ):
            assert name_of(world.post("/tokenize", {"metadata": STRING}, headers)) == UNAUTHENTICATED

    def test_a_session_is_no_assertion(self, world: World) -> None:
        browser = world.log_in("no-assertion")
        for text in (
            browser.cookies["access_token"],
            world.app.issuer.user(world.server.url, "no-assertion"),
            world.app.issuer.application(world.server.url),
            world.server.issuer.user(world.server.url),
        ):
            state = world.state_of(browser, renew="true")
            assert name_of(world.create(browser, state, text)) == UNAUTHENTICATED

    def test_a_users_jwt_is_no_session_of_an_application_that_is_not_direct(self, world: World) -> None:
        headers = {"cookie": f"access_token={world.app.issuer.user(world.server.url)}"}
        assert name_of(world.post("/tokenize", {"metadata": STRING}, headers)) == UNAUTHENTICATED


def _unsigned(assertion: str) -> str:
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return f"{header}.{assertion.split('.')[1]}."


def _other_session(assertion: str) -> str:
    header, payload, signature = assertion.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    changed = base64.urlsafe_b64encode(json.dumps({**claims, "session_id": "root"}).encode()).rstrip(b"=").decode()
    return f"{header}.{changed}.{signature}"


class TestACookie:
    def test_works_for_programs_as_it_is_and_nowhere_else(self, world: World) -> None:
        cookie = world.log_in("cookie").cookies["access_token"]
        body = {"metadata": STRING}
        assert world.post("/tokenize", body, {"cookie": f"access_token={cookie}"}).status_code == 200
        for headers in (
            {"authorization": f"Bearer {cookie}"},
            {"cookie": f"__Host-access_token={cookie}"},
            {"cookie": f"lunasec_browser={cookie}"},
        ):
            assert name_of(world.post("/tokenize", body, headers)) == UNAUTHENTICATED

    def test_changed_anywhere_it_is_none(self, world: World) -> None:
        cookie = world.log_in("tampered").cookies["access_token"]
        for place in range(0, len(cookie), 7):
            changed = cookie[:place] + ("B" if cookie[place] != "B" else "C") + cookie[place + 1 :]
            headers = {"cookie": f"access_token={changed}"}
            assert name_of(world.post("/tokenize", {"metadata": STRING}, headers)) == UNAUTHENTICATED

    @pytest.mark.parametrize(
        "place", [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": APP}]
    )
    @pytest.mark.parametrize(("path", "body"), [("/tokenize", {"metadata": STRING}), ("/session/end", {})])
    def test_a_page_of_another_origin_cannot_use_it(
        self, world: World, place: dict[str, str], path: str, body: Any
    ) -> None:
        browser = world.log_in("posted-from-elsewhere")
        for headers in (place, {**place, HASH: hash_of(browser)[HASH]}):
            assert name_of(browser.post(path, json=body, headers=headers)) == MISMATCH
        assert browser.get("/session/verify", headers=FRAME).json()["success"] is True

    def test_a_frame_without_the_sessions_hash_cannot_use_it(self, world: World) -> None:
        browser = world.log_in("hashed")
        other = hash_of(world.log_in("hashed-too"))
        for headers in (FRAME, other, {**FRAME, HASH: "0" * 64}):
            assert name_of(browser.post("/tokenize", json={"metadata": STRING}, headers=headers)) == MISMATCH
            assert name_of(browser.post("/session/end", json={}, headers=headers)) == MISMATCH
        assert browser.post("/tokenize", json={"metadata": STRING}, headers=hash_of(browser)).status_code == 200

    def test_it_cannot_do_what_an_application_can(self, world: World) -> None:
        cookie = cookie_of(world.log_in("no-application"))
        token = world.data("/tokenize", {"metadata": STRING}, cookie)["tokenId"]
        for path in ("/grant/set", "/grant/verify", "/grant/revoke", "/token/delete"):
            body = {"tokenId": token, **({} if path == "/token/delete" else {"sessionId": "no-application"})}
            assert name_of(world.post(path, body, cookie)) == (403, "roleForbidden")


class TestTheEnd:
    """Of a session: at once, for every worker, whatever is remembered."""

    @pytest.mark.parametrize("by", ["user", "application"])
    def test_kills_grants_and_cookie(self, world: World, by: str) -> None:
        name = f"ended-by-{by}"
        cookie, application = cookie_of(world.log_in(name)), world.application_headers(world.app)
        token = world.data("/tokenize", {"metadata": STRING}, cookie)["tokenId"]
        opened = {"tokenId": token}
        assert world.on_every_worker("/detokenize", opened, cookie) == {(200, "")}
        if by == "user":
            world.data("/session/end", {}, cookie)
        else:
            world.data("/session/end", {"sessionId": name}, application)
        assert world.on_every_worker("/detokenize", opened, cookie) == {(403, "grantMissing")}
        assert world.on_every_worker("/metadata/get", opened, cookie) == {(403, "grantMissing")}
        assert world.on_every_worker("/tokenize", {"metadata": STRING}, cookie) == {UNAUTHENTICATED}
        granted = {"sessionId": name, "tokenId": token}
        assert world.on_every_worker("/grant/set", granted, application) == {(409, "conflict")}
        assert world.data("/grant/verify", granted, application) == {"valid": False}
        told = world.program.get("/session/verify", headers=cookie).json()
        assert (told["success"], told["error"]["name"]) == (False, "unauthenticated")

    def test_kills_remembered_jwts(self, world: World) -> None:
        headers = world.server.user_of("remembered")
        token = world.data("/tokenize", {"metadata": STRING}, headers)["tokenId"]
        assert world.on_every_worker("/detokenize", {"tokenId": token}, headers) == {(200, "")}
        ended = {"sessionId": "remembered"}
        world.data("/session/end", ended, world.server.application)
        assert world.on_every_worker("/detokenize", {"tokenId": token}, headers) == {(403, "grantMissing")}
        assert world.on_every_worker("/tokenize", {"metadata": STRING}, headers) == {UNAUTHENTICATED}

    def test_is_final(self, world: World) -> None:
        world.data("/session/end", {"sessionId": "final"}, world.application_headers(world.app))
        browser = world.browser("final")
        assert name_of(world.follow(browser)) == UNAUTHENTICATED
        assert "access_token" not in browser.cookies

    def test_is_that_of_one_session_alone(self, world: World) -> None:
        ours, theirs = cookie_of(world.log_in("same-name")), cookie_of(world.log_in("same-name", provider="other"))
        world.data("/session/end", {"sessionId": "same-name"}, world.application_headers(world.app))
        assert world.on_every_worker("/tokenize", {"metadata": STRING}, ours) == {UNAUTHENTICATED}
        assert world.on_every_worker("/tokenize", {"metadata": STRING}, theirs) == {(200, "")}

    def test_by_another_application_only_within_the_tenant(self, world: World) -> None:
        cookie = cookie_of(world.log_in("shared"))
        named = {"sessionId": "shared", "sessionIssuer": APP}
        refused = world.post("/session/end", named, world.application_headers(world.foreign))
        assert name_of(refused) == INVALID
        assert world.post("/tokenize", {"metadata": STRING}, cookie).status_code == 200
        world.data("/session/end", named, world.application_headers(world.other))
        assert name_of(world.post("/tokenize", {"metadata": STRING}, cookie)) == UNAUTHENTICATED

    def test_drops_no_cookie_of_a_program_with_its_own_credential(self, world: World) -> None:
        headers = {**world.application_headers(world.app), **cookie_of(world.log_in("kept"))}
        answer = world.post("/session/end", {"sessionId": "someone"}, headers)
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers


def test_nothing_secret_is_written_down(world: World) -> None:
    """Neither in the log nor in the audit log; both tell of the session by its fingerprint or not at all."""
    name = "a-session-that-nobody-may-read-of"
    browser = world.browser(name)
    callback = world.callback_of(browser)
    back = browser.get(callback).headers["location"]
    query = {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}
    assert browser.get(back).status_code == 303
    assert browser.get(back).status_code == 401
    assert world.browser(name).get("/session/ensure?return_to=//evil.example").status_code == 400
    browser.post("/session/end", json={}, headers=hash_of(browser))
    audit = (world.server.directory / "data" / "audit" / "audit.jsonl").read_text()
    written = world.server.log + audit
    for secret in (name, *query.values(), *browser.cookies.values(), "evil.example"):
        assert secret
        assert secret not in written
    told = [json.loads(line) for line in audit.splitlines()]
    created = [one for one in told if one["action"] == "session.create" and one["outcome"] == "allowed"]
    ended = [one for one in told if one["action"] == "session.end"]
    assert created[-1]["session"] == ended[-1]["session"]
    assert (created[-1]["issuer"], created[-1]["tenant"], created[-1]["role"]) == (APP, "default", "user")
    assert f"request={created[-1]['request']}" in world.server.log


def test_a_session_that_has_ended_is_refused_on_the_record(world: World) -> None:
    world.data("/session/end", {"sessionId": "refused"}, world.application_headers(world.app))
    world.follow(world.browser("refused"))
    audit = (world.server.directory / "data" / "audit" / "audit.jsonl").read_text()
    last = json.loads(audit.splitlines()[-1])
    assert (last["action"], last["outcome"]) == ("session.create", "unauthenticated")


@pytest.mark.long
class TestKeysAtTheStart:
    def test_every_worker_fetches_them_before_it_is_asked(self, tmp_path: Path) -> None:
        with StandInApplication(tmp_path, APP, serves_keys=True) as app:
            server = TokenizerServer(tmp_path, workers=2)
            server.config["identity"] = [app.issuer.settings]
            with server:
                wait_for(lambda: app.fetches >= 2)

    def test_an_application_that_is_down_holds_up_no_start(self, tmp_path: Path) -> None:
        port = free_port()
        with StandInApplication(tmp_path, APP, name="standin", serves_keys=True) as app:
            settings = dict(app.issuer.settings)
        down = f"http://127.0.0.1:{port}"
        server = TokenizerServer(tmp_path)
        server.config["identity"] = [{**settings, "jwks": f"{down}{KEYS}", "callback": f"{down}{CALLBACK}"}]
        with server, httpx.Client(timeout=30) as client:
            ready = client.get(f"{server.operations_url}/ready")
            assert ready.status_code == 503
            assert "standin" in ready.json()["error"]["message"]
            assert client.get(f"{server.url}/health").status_code == 200
            with StandInApplication(tmp_path, APP, name="standin", port=port, serves_keys=True) as app:
                app.tokenizer = server.url
                client.cookies.set("user", "late", domain="127.0.0.1", path="/")
                wait_for(lambda: client.get(f"{server.operations_url}/ready").status_code == 200)
                ensured = f"{server.url}/session/ensure?provider=standin"
                wait_for(lambda: client.get(ensured, follow_redirects=True).url.path == "/frame")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
