"""The demo's application over HTTP: who may do what, and what its answers promise to browsers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.demo.running import PASSWORD, Person, RunningDemo

if TYPE_CHECKING:
    from collections.abc import Iterator

# One worker runs them all, and so makes what they share once.
pytestmark = pytest.mark.xdist_group("demo_application")

TOKEN = re.compile(r"lunasec-[0-9a-f-]{36}")
PAGES = [
    "/components/secure-input",
    "/components/secure-span",
    "/components/secure-paragraph",
    "/react",
    "/another-user",
    "/attack",
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    with RunningDemo(tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest.fixture
def person(demo: RunningDemo) -> Iterator[Person]:
    with Person(demo) as somebody:
        yield somebody


@pytest.fixture
def other(demo: RunningDemo) -> Iterator[Person]:
    with Person(demo) as somebody:
        yield somebody


def test_sign_up_log_out_log_in(person: Person) -> None:
    answer = person.sign_up("Ada")
    assert (answer.status_code, answer.headers["location"]) == (303, "/components/secure-input")
    assert "Logged in as <b>Ada</b>" in person.get("/").text
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie

    kept = person.client.cookies["demo_session"]
    assert person.post("/log-out").status_code == 303
    person.client.cookies.set("demo_session", kept, domain="demo.localhost")
    assert person.row() is None
    person.client.cookies.clear()

    assert person.log_in("ada").status_code == 303
    assert person.row() == {"user": "Ada"}
    assert person.client.cookies["demo_session"] != kept


def test_a_new_log_in_ends_the_session_that_the_browser_had(person: Person) -> None:
    person.sign_up("early")
    kept = person.client.cookies["demo_session"]
    person.sign_up("late")
    assert person.row() == {"user": "late"}
    person.client.cookies.clear()
    person.client.cookies.set("demo_session", kept, domain="demo.localhost")
    assert person.row() is None


def test_wrong_passwords_and_names_are_refused_alike(person: Person, other: Person) -> None:
    person.sign_up("grumpy")
    wrong, unknown = other.log_in("grumpy", "incorrect horse"), other.log_in("nobody-at-all")
    assert wrong.status_code == unknown.status_code == 403
    assert wrong.text.replace("grumpy", "nobody-at-all") == unknown.text
    assert other.row() is None


def test_a_taken_name_stays_whose_it_is(person: Person, other: Person) -> None:
    person.sign_up("first")
    assert other.sign_up("FIRST", "another password").status_code == 409
    assert other.row() is None
    assert other.log_in("first", "another password").status_code == 403


@pytest.mark.parametrize(
    ("name", "password"),
    [("", PASSWORD), ("a", PASSWORD), ("a" * 32, PASSWORD), ("<b>x</b>", PASSWORD), ("short", "1234567")],
)
def test_what_cannot_be_a_name_or_password_is_told(person: Person, name: str, password: str) -> None:
    answer = person.sign_up(name, password)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert "<b>x" not in answer.text
    assert password not in answer.text
    assert person.row() is None


def test_forms_of_other_origins_are_refused(person: Person) -> None:
    person.sign_up("careful")
    sibling = person.demo.tokenizer_url
    for origin in (None, "null", "http://evil.example", "http://demo.localhost", sibling, person.demo.url + "0"):
        for path in (
            "/log-in",
            "/sign-up",
            "/log-out",
            "/components/secure-input",
            "/react",
            "/another-user",
            "/attack",
        ):
            answer = person.post(path, origin=origin, name="forged", password=PASSWORD, comment="<i>forged</i>")
            assert answer.status_code == 403
            assert "<i>forged" not in answer.text
    assert person.row() == {"user": "careful"}
    assert person.log_in("forged").status_code == 403


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_for_those_who_are_logged_in(person: Person, path: str) -> None:
    answer = person.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/log-in")
    assert person.post(path, ssn="lunasec-x", token="x", comment="x").headers["location"] == "/log-in"


def test_the_policy_allows_the_tokenizer_and_nothing_else(person: Person) -> None:
    person.sign_up("strict")
    tokenizer, own = person.demo.tokenizer_url, person.demo.url
    for path in ["/", "/log-in", "/panel", *PAGES]:
        headers = person.get(path).headers
        policy = dict(one.split(" ", 1) for one in headers["content-security-policy"].split("; "))
        inline = " 'unsafe-inline'" if path == "/attack" else ""
        if path == "/react":  # its library writes style sheets; where the page is not built there is none
            policy["style-src"] = re.sub(r" 'nonce-[\w-]{22}'$", "", policy["style-src"])
        assert policy == {
            "default-src": "'none'",
            "script-src": f"'self' {tokenizer}/sdk/{inline}",
            "style-src": "'self'",
            "img-src": "'self'",
            "connect-src": f"'self' {tokenizer}" if path == "/attack" else "'self'",
            "frame-src": f"{tokenizer} {own}/.lunasec/secure-frame",
            "form-action": "'self'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
        }
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_other_hosts_are_not_answered(person: Person) -> None:
    answer = person.get("/", headers={"host": f"rebound.example:{person.demo.port}"})
    assert answer.status_code == 400
    answer = person.get("/log-in?a=b", headers={"host": f"127.0.0.1:{person.demo.port}"})
    assert (answer.status_code, answer.headers["location"]) == (302, f"{person.demo.url}/log-in?a=b")


def test_a_token_of_somebody_else_is_not_stored(person: Person, demo: RunningDemo) -> None:
    person.sign_up("nosy")
    if "Let Grace join" in person.get("/another-user").text:
        person.post("/another-user/neighbour")
    page = person.get("/another-user").text
    found = TOKEN.search(page)
    assert found is not None
    for path, form in (("/another-user", {"token": found[0]}), ("/components/secure-input", {"ssn": found[0]})):
        answer = person.post(path, **form)
        assert answer.status_code == 403
        assert "<code>grantMissing</code>" in answer.text
    assert person.row() == {"user": "nosy"}
    refused = [call for call in person.panel["calls"] if call["route"] == "/grant/verify"][-1]
    assert [event["outcome"] for event in refused["audit"]] == ["grantMissing"]


def test_what_is_no_token_is_not_stored(person: Person) -> None:
    person.sign_up("sloppy")
    for token in ("078-05-1120", "lunasec-", "x" * 5000):
        assert person.post("/components/secure-input", ssn=token).status_code == 400
    assert person.row() == {"user": "sloppy"}


def test_panel_database_and_logs_hold_no_secret(person: Person, demo: RunningDemo) -> None:
    person.sign_up("secretive")
    person.post("/another-user/neighbour")
    cookie = person.client.cookies["demo_session"]
    panel = person.panel
    assert {"/tokenize", "/grant/verify"} <= {call["route"] for call in panel["calls"]}
    database = b"".join(path.read_bytes() for path in demo.kept.glob("application.sqlite*"))
    for secret in (cookie, PASSWORD, "219-09-9999"):
        assert secret not in json.dumps(panel)
        assert secret.encode() not in database
        assert secret not in demo.logs()
    assert TOKEN.search(json.dumps(panel["calls"])) is None
    assert TOKEN.search(demo.logs()) is None
    assert "eyJ" not in json.dumps(panel) + demo.logs()
    for name in ("signing-key.pem", "application.log", "tokenizer.log"):
        assert (demo.kept / name).stat().st_mode & 0o077 == 0


def test_too_large_and_unknown(person: Person) -> None:
    assert person.post("/log-in", name="x" * 100_000, password="").status_code == 413
    assert person.get("/no-such-page").status_code == 404
    assert person.get("/static/../application.py").status_code == 404
