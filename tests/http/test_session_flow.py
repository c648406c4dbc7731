"""The flow of sessions where time passes, keys rotate, and browsers go by HTTPS: in this process, with a clock to turn."""

from __future__ import annotations

import os
import time
from http.cookies import SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import falcon.testing
import pytest
from prometheus_client import CollectorRegistry

from lunacore import keyring as keyrings
from lunacore.config import Config
from lunacore.deployment import open_deployment
from lunacore.errors import ConfigError
from lunacore.keyring import KeyPurpose
from lunacore.session_states import PendingSession, browser_hash
from lunacore.stores import Entry
from lunacore.testing.deployment import Clock, stage_key
from lunacore_http.application import create_app
from lunacore_http.cookies import Cookies, names_loopback
from lunacore_http.metrics import CallMetrics
from lunacore_http.wiring import services_of
from tests.http.conftest import refusal_in
from tests.http.standin_application import Vouching
from tests.http.tokenizer_server import JSON, STRING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lunacore.deployment import Deployment

URL = "https://secure.example.com"
APP = "https://app.example.com"
OTHER = "https://other.example.com"
CALLBACK = f"{APP}/.lunasec/secure-frame"
SESSION = "__Host-access_token"
BROWSER = "__Host-lunasec_browser"
UNAUTHENTICATED = (401, "unauthenticated")


class Desk:
    """A tokenizer in this process, and an application that vouches for whom it likes."""

    def __init__(self, directory: Path, *, url: str = URL, **settings: Any) -> None:
        self.clock = Clock(int(time.time()))
        self.url = url
        self.issuer = Vouching(directory, APP, name="app", direct=False, callback=CALLBACK, default=True)
        self.other = Vouching(directory, OTHER, name="other", callback=f"{OTHER}/back")
        for issuer in (self.issuer, self.other):
            issuer.clock = self.clock
        tokenizer = {"data_dir": str(directory / "data"), "public_url": url}
        identity = [self.issuer.settings, self.other.settings]
        self.settings = {"tokenizer": tokenizer, "identity": identity, **settings}
        self.open()

    def open(self) -> None:
        self.deployment = open_deployment(Config.from_mapping(self.settings, {}), now=self.clock, random=os.urandom)
        self.services = services_of(self.deployment, CallMetrics(CollectorRegistry()))
        self.client = falcon.testing.TestClient(create_app(self.services))

    def open_anew(self, **settings: Any) -> None:
        """Start with other settings on the same stores."""
        self.deployment.close()
        self.settings |= settings
        self.open()

    def get(self, path: str, params: dict[str, str] | None = None, cookies: dict[str, str] | None = None) -> Any:
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
        return self.client.simulate_get(path, params=params or {}, headers=headers)

    def begin(self, cookies: dict[str, str] | None = None, **params: str) -> tuple[str, str]:
        """State and browser cookie."""
        answer = self.get("/session/ensure", params, cookies)
        assert answer.status_code == 302, answer.text
        (state,) = parse_qs(urlsplit(answer.headers["location"]).query)["state"]
        return state, set_cookie(answer)[1].value

    def create(self, state: str, browser: str, **claims: Any) -> Any:
        assertion = self.issuer.assertion(self.url, state, **claims)
        cookies = {Cookies.of(self.url, "same-site").browser: browser}
        return self.get("/session/create", {"state": state, "openid_token": assertion}, cookies)

    def log_in(self, **claims: Any) -> str:
        """The value of a new session's cookie."""
        created = self.create(*self.begin(), **claims)
        assert created.status_code == 303, created.text
        return str(set_cookie(created)[1].value)

    def tokenize(self, cookies: dict[str, str]) -> Any:
        headers = {**JSON, "cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        return self.client.simulate_post("/tokenize", json={"metadata": STRING}, headers=headers)


def set_cookie(answer: Any) -> tuple[str, Any]:
    """Name and morsel of the one cookie that an answer sets."""
    # The parser of Python 3.11 does not know the attribute.
    ((name, morsel),) = SimpleCookie(answer.headers["set-cookie"].replace("Partitioned; ", "")).items()
    return name, morsel


def retire_first_session_key(deployment: Deployment) -> None:
    store, providers = deployment.keyring_store, deployment.key_providers
    sealed = store.read()
    assert sealed is not None
    retired = keyrings.unseal(sealed, providers).without(KeyPurpose.SESSION, 1)
    assert store.replace(sealed, keyrings.seal(retired, providers, random=os.urandom))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.deployment.close()


class TestTime:
    def test_a_state_holds_for_five_minutes(self, desk: Desk) -> None:
        state, browser = desk.begin()
        desk.clock.advance(299)
        assert desk.create(state, browser).status_code == 303
        state, browser = desk.begin()
        desk.clock.advance(300)
        assert refusal_in(desk.create(state, browser))[:2] == UNAUTHENTICATED

    def test_an_assertion_holds_for_a_minute(self, desk: Desk) -> None:
        for later, status in ((59, 303), (60, 401)):
            state, browser = desk.begin()
            issued = int(desk.clock())
            desk.clock.advance(later)
            assert desk.create(state, browser, iat=issued, exp=issued + 60).status_code == status

    def test_an_issuers_clock_may_run_half_a_minute_ahead(self, desk: Desk) -> None:
        for ahead, status in ((30, 303), (32, 401)):
            issued = int(desk.clock()) + ahead
            assert desk.create(*desk.begin(), iat=issued, exp=issued + 60).status_code == status

    def test_an_assertion_counts_once_as_long_as_it_holds(self, desk: Desk) -> None:
        issued = int(desk.clock()) + 30
        claims: dict[str, Any] = {"iat": issued, "exp": issued + 60, "jti": "chosen once for all"}
        assert desk.create(*desk.begin(), **claims).status_code == 303
        desk.clock.advance(89)
        assert "used before" in refusal_in(desk.create(*desk.begin(), **claims))[2]
        desk.clock.advance(1)
        assert "expired" in refusal_in(desk.create(*desk.begin(), **claims))[2]

    def test_a_session_lasts_until_session_exp(self, desk: Desk) -> None:
        cookie = desk.log_in(session_exp=desk.clock() + 100.9)
        desk.clock.advance(99)
        assert desk.tokenize({SESSION: cookie}).status_code == 200
        assert desk.get("/session/verify", cookies={SESSION: cookie}).json["success"] is True
        desk.clock.advance(1)
        assert refusal_in(desk.tokenize({SESSION: cookie}))[:2] == UNAUTHENTICATED
        told = desk.get("/session/verify", cookies={SESSION: cookie}).json
        assert (told["success"], told["error"]["name"]) == (False, "unauthenticated")
        assert desk.get("/session/ensure", cookies={SESSION: cookie}).status_code == 302

    def test_a_session_lasts_no_longer_than_the_settings_allow(self, desk: Desk) -> None:
        desk.open_anew(sessions={"max_ttl": "1h"})
        cookie = desk.log_in(session_exp=int(desk.clock()) + 10**6)
        desk.clock.advance(3599)
        assert desk.tokenize({SESSION: cookie}).status_code == 200
        desk.clock.advance(1)
        assert refusal_in(desk.tokenize({SESSION: cookie}))[:2] == UNAUTHENTICATED

    def test_a_shorter_setting_shortens_sessions_that_are_there(self, desk: Desk) -> None:
        cookie = desk.log_in()
        desk.open_anew(sessions={"max_ttl": "10m"})
        desk.clock.advance(599)
        assert desk.tokenize({SESSION: cookie}).status_code == 200
        desk.clock.advance(1)
        assert refusal_in(desk.tokenize({SESSION: cookie}))[:2] == UNAUTHENTICATED

    def test_the_mark_of_an_ended_session_outlives_its_cookie(self, desk: Desk) -> None:
        desk.open_anew(sessions={"max_ttl": "48h"})
        cookie = desk.log_in(session_exp=int(desk.clock()) + 10**6)
        headers = {**JSON, "cookie": f"{SESSION}={cookie}"}
        assert desk.client.simulate_post("/session/end", json={}, headers=headers).status_code == 200
        desk.clock.advance(48 * 3600 - 1)
        assert "has ended" in refusal_in(desk.tokenize({SESSION: cookie}))[2]
        desk.clock.advance(1)
        assert "expired" in refusal_in(desk.tokenize({SESSION: cookie}))[2]


class TestRotation:
    def test_of_the_session_key_keeps_cookies_states_and_assertions(self, desk: Desk) -> None:
        cookie, (state, browser) = desk.log_in(), desk.begin()
        issued = int(desk.clock())
        claims: dict[str, Any] = {"iat": issued, "exp": issued + 60, "jti": "before the rotation"}
        assert desk.create(*desk.begin(), **claims).status_code == 303
        stage_key(desk.deployment, KeyPurpose.SESSION, active_from=issued + 2)
        desk.clock.advance(2)
        desk.deployment.keyring.refresh()
        assert desk.deployment.keyring.session_keys()[0].version == 2
        assert desk.tokenize({SESSION: cookie}).status_code == 200
        assert desk.create(state, browser).status_code == 303
        assert "used before" in refusal_in(desk.create(*desk.begin(), **claims))[2]

    def test_a_cookie_under_a_key_that_is_retired_is_void_at_once(self, desk: Desk) -> None:
        cookie = desk.log_in()
        assert desk.tokenize({SESSION: cookie}).status_code == 200
        stage_key(desk.deployment, KeyPurpose.SESSION, active_from=int(desk.clock()) + 2)
        desk.clock.advance(2)
        retire_first_session_key(desk.deployment)
        desk.deployment.keyring.refresh()
        assert [one.version for one in desk.deployment.keyring.session_keys()] == [2]
        assert refusal_in(desk.tokenize({SESSION: cookie}))[:2] == UNAUTHENTICATED

    def test_of_the_applications_key_keeps_cookies(self, desk: Desk, tmp_path: Path) -> None:
        cookie = desk.log_in()
        desk.issuer = Vouching(tmp_path, APP, name="app", direct=False, callback=CALLBACK, default=True)
        desk.issuer.clock = desk.clock
        desk.clock.advance(2)
        assert desk.tokenize({SESSION: cookie}).status_code == 200
        desk.log_in()

    def test_an_application_that_is_gone_takes_its_sessions_along(self, desk: Desk) -> None:
        cookie = desk.log_in()
        for changed in ({"callback": ""}, {"tenant": "elsewhere"}, {"roles": ["application"]}):
            settings = {name: value for name, value in {**desk.issuer.settings, **changed}.items() if value != ""}
            desk.open_anew(identity=[settings, desk.other.settings])
            assert refusal_in(desk.tokenize({SESSION: cookie}))[:2] == UNAUTHENTICATED
        desk.open_anew(identity=[desk.issuer.settings])
        assert desk.tokenize({SESSION: cookie}).status_code == 200
        desk.open_anew(identity=[desk.other.settings])
        assert refusal_in(desk.tokenize({SESSION: cookie}))[:2] == UNAUTHENTICATED


class TestFixation:
    """What a sibling domain can plant counts for nothing: it can set no cookie whose name begins with __Host-."""

    def test_a_planted_session(self, desk: Desk) -> None:
        planted = desk.log_in(session_id="attacker")
        assert desk.tokenize({SESSION: planted}).status_code == 200
        assert refusal_in(desk.tokenize({"access_token": planted}))[:2] == UNAUTHENTICATED
        state = desk.get("/session/verify", cookies={"access_token": planted}).json
        assert state["success"] is False
        own = desk.log_in(session_id="victim")
        both = {"access_token": planted, SESSION: own}
        told = [desk.get("/session/verify", cookies=one).json["data"] for one in ({SESSION: own}, both)]
        assert told[0] == told[1]

    def test_a_planted_browser(self, desk: Desk) -> None:
        state, browser = desk.begin()
        assertion = desk.issuer.assertion(URL, state, session_id="attacker")
        sent = {"state": state, "openid_token": assertion}
        answer = desk.get("/session/create", sent, {"lunasec_browser": browser})
        assert refusal_in(answer)[:2] == (403, "sessionMismatch")
        _, given = desk.begin({"lunasec_browser": browser})
        assert given != browser

    @pytest.mark.parametrize("cookie", ["", "short", "A" * 44, "A" * 42 + "B", '"' + "A" * 43])
    def test_a_browsers_cookie_without_the_form_of_one_is_replaced(self, desk: Desk, cookie: str) -> None:
        assert desk.begin({BROWSER: cookie})[1] != cookie

    def test_a_browsers_cookie_serves_for_every_tab(self, desk: Desk) -> None:
        first, browser = desk.begin()
        second, again = desk.begin({BROWSER: browser})
        assert (first == second, browser == again) == (False, True)


class StoreOfAnAttacker:
    """Whoever holds the store of grants sees what is written there, and writes what they like."""

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self._desk = desk
        self._grants = desk.deployment.grants
        self._put = self._grants.put
        self.written: list[Entry] = []
        monkeypatch.setattr(self._grants, "put", self._noted)

    def _noted(self, entries: Sequence[Entry], now: int) -> None:
        self.written += entries
        self._put(entries, now)

    def replace(self, entry: Entry, value: bytes) -> None:
        self._put([Entry(entry.key, value, entry.expires)], int(self._desk.clock()))


class TestForgedStates:
    """Who sees the store of grants, writes to it and has a session gives it to nobody else, and sends nobody elsewhere."""

    @pytest.fixture
    def store(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> StoreOfAnAttacker:
        return StoreOfAnAttacker(desk, monkeypatch)

    @pytest.mark.parametrize("attack", ["browser", "address", "version 1", "whole value"])
    def test_another_browser_gets_no_session(self, desk: Desk, store: StoreOfAnAttacker, attack: str) -> None:
        """Every attack is on a state of the attacker's, to which their own application's assertion fits."""
        state, own_browser = desk.begin()
        victims_state, browser = desk.begin()
        attackers, victims = store.written
        good = attackers.value
        moved = good.replace(browser_hash(own_browser), browser_hash(browser))
        assert moved != good
        planted = {
            "browser": moved,
            "address": moved.replace(b"\0\0\0\x06/frame", b"\0\0\0\x0e//evil.example"),
            "version 1": b"\x01" + moved[1:-16],
            "whole value": victims.value,
        }[attack]
        store.replace(attackers, planted)
        answer = desk.create(state, browser, session_id="attacker")
        assert refusal_in(answer)[:2] == UNAUTHENTICATED
        assert not {"set-cookie", "location"} & set(answer.headers)
        store.replace(attackers, good)
        answer = desk.create(state, browser, session_id="attacker")
        assert refusal_in(answer)[:2] == (403, "sessionMismatch")
        assert desk.create(victims_state, browser, session_id="victim").status_code == 303

    def test_what_the_tokenizer_wrote_counts_where_it_wrote_it(self, desk: Desk, store: StoreOfAnAttacker) -> None:
        """So the attacks fail for what they plant, not because nothing that is planted is found."""
        state, browser = desk.begin()
        (entry,) = store.written
        store.replace(entry, bytes(100))
        store.replace(entry, entry.value)
        assert desk.create(state, browser).headers["location"] == "/frame"

    @pytest.mark.parametrize("elsewhere", ["//evil.example", "https://evil.example/frame", "/frame\r\nset-cookie: a=b"])
    def test_an_address_is_checked_once_more_when_it_is_used(self, desk: Desk, elsewhere: str) -> None:
        """Even one that the tokenizer itself wrote down, as one of another release could have."""
        _, browser = desk.begin()
        pending = PendingSession(APP, browser_hash(browser), elsewhere)
        state = desk.services.session_flow.states.issue(pending, now=int(desk.clock()))
        answer = desk.create(state, browser)
        assert refusal_in(answer)[:2] == (400, "invalidRequest")
        assert not {"set-cookie", "location"} & set(answer.headers)


class TestAttributes:
    @pytest.mark.parametrize(
        ("url", "site", "prefix", "attributes"),
        [
            (URL, "same-site", "__Host-", "Lax, secure"),
            (URL, "cross-site", "__Host-", "None, secure, partitioned"),
            ("http://127.0.0.1:37766", "same-site", "", "Lax"),
            ("http://secure.localhost:37766", "cross-site", "", "None, secure, partitioned"),
            ("http://secure.example.com", "same-site", "__Host-", "Lax, secure"),
        ],
    )
    def test_of_both_cookies(self, tmp_path: Path, url: str, site: str, prefix: str, attributes: str) -> None:
        desk = Desk(tmp_path, url=url, sessions={"cookie": site})
        begun = desk.get("/session/ensure")
        state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
        browser = set_cookie(begun)[1].value
        created = desk.create(state, browser)
        ended = desk.client.simulate_post(
            "/session/end", json={}, headers={**JSON, "cookie": f"{prefix}access_token={set_cookie(created)[1].value}"}
        )
        assert [set_cookie(one)[0] for one in (begun, created, ended)] == [
            f"{prefix}lunasec_browser",
            f"{prefix}access_token",
            f"{prefix}access_token",
        ]
        for answer in (begun, created, ended):
            given = [part.strip() for part in answer.headers["set-cookie"].split(";")[1:]]
            named = [part for part in given if not part.lower().startswith(("max-age=", "expires="))]
            wanted = ["HttpOnly", "Path=/", f"SameSite={attributes.partition(',')[0]}"]
            wanted += ["Secure"] if "secure" in attributes else []
            wanted += ["Partitioned"] if "partitioned" in attributes else []
            assert sorted(named) == sorted(wanted)
            assert len(given) == len(named) + 1
        assert "Max-Age=300" in begun.headers["set-cookie"]
        assert "Max-Age=3600" in created.headers["set-cookie"]
        assert "1970" in ended.headers["set-cookie"]
        desk.deployment.close()

    @pytest.mark.parametrize(
        ("url", "loopback"),
        [
            ("http://localhost:1", True),
            ("http://LOCALHOST./", True),
            ("http://secure.demo.localhost", True),
            ("http://127.8.9.1", True),
            ("http://[::1]:80", True),
            ("http://localhost.example.com", False),
            ("http://notlocalhost", False),
            ("http://10.0.0.1", False),
            ("http://127.0.0.1.example.com", False),
        ],
    )
    def test_what_names_this_machine(self, url: str, *, loopback: bool) -> None:
        assert names_loopback(url) is loopback


class TestSettings:
    @pytest.mark.parametrize(
        "callback",
        [
            "ftp://app.example.com/x",
            "//app.example.com",
            "https://",
            "https://app.example.com/x#y",
            "https://app.example.com/a b",
            "https://app.example.com/\r\nx: y",
            "https://app.example.com/é",
            "https://me@app.example.com/",
            "https://[",
            "javascript:alert(1)",
            "http://app.example.com/.lunasec/secure-frame",
        ],
    )
    def test_a_callback_that_nobody_should_be_sent_to(self, tmp_path: Path, callback: str) -> None:
        with pytest.raises(ConfigError, match="callback"):
            self.open(tmp_path, callback=callback)

    @pytest.mark.parametrize(
        "callback",
        ["https://app.example.com/x?a=b&c=%20d", "http://localhost:8000/x", "http://app.localhost/", CALLBACK],
    )
    def test_a_callback_stays_as_it_is(self, tmp_path: Path, callback: str) -> None:
        desk = self.open(tmp_path, callback=callback)
        location = desk.get("/session/ensure", {"provider": "app"}).headers["location"]
        assert location.startswith(f"{callback}{'&' if '?' in callback else '?'}state=")

    def test_an_audience_that_is_for_assertions_alone(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="audience"):
            self.open(tmp_path, audience=f"{URL}/session/create")

    def test_a_site_that_there_is_not(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"sessions\.cookie must be one of same-site, cross-site"):
            Desk(tmp_path, sessions={"cookie": "strict"})

    def test_without_a_default_a_provider_must_be_named(self, tmp_path: Path) -> None:
        desk = Desk(tmp_path)
        desk.open_anew(identity=[desk.other.settings])
        assert refusal_in(desk.get("/session/ensure"))[:2] == (400, "invalidRequest")
        assert desk.get("/session/ensure", {"provider": "other"}).status_code == 302
        desk.deployment.close()

    @pytest.mark.parametrize("renew", ["1", "True", ""])
    def test_renew_is_true_or_false(self, desk: Desk, renew: str) -> None:
        assert refusal_in(desk.get("/session/ensure", {"renew": renew}))[:2] == (400, "invalidRequest")

    def open(self, directory: Path, **changed: Any) -> Desk:
        desk = Desk(directory)
        desk.open_anew(identity=[Vouching(directory, APP, direct=False, **changed).settings])
        return desk


def test_keys_that_cannot_be_had(desk: Desk) -> None:
    """The browser is told to come back later, and begins anew then."""
    state, browser = desk.begin()
    path = Path(desk.issuer.settings["jwks"].removeprefix("file://"))
    away = path.rename(path.with_suffix(".away"))
    desk.open_anew()
    answer = desk.create(state, browser)
    assert refusal_in(answer)[:2] == (503, "storeUnavailable")
    assert answer.headers["retry-after"]
    away.rename(path)
    desk.clock.advance(2)
    desk.log_in()
