"""Who may use a session from where: the matrix of credentials, browsers, origins and session hashes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lunacore.config import Config
from lunacore_http.browser import origin_of
from tests.http.conftest import URL, refusal_in
from tests.http.tokenizer_server import STRING

if TYPE_CHECKING:
    from tests.http.conftest import Tokenizer

HASH = "lunasec-session-hash"
FOREIGN = "https://app.example.com"
BODY: dict[str, Any] = {"metadata": STRING}

# What says where a request comes from, and whether a page may use a cookie there.
PLACES: list[tuple[dict[str, str], bool | None]] = [
    ({}, None),
    ({"sec-fetch-site": "same-origin"}, True),
    ({"sec-fetch-site": "same-origin", "origin": URL}, True),
    ({"origin": URL}, True),
    ({"sec-fetch-site": "same-site"}, False),
    ({"sec-fetch-site": "cross-site"}, False),
    ({"sec-fetch-site": "none"}, False),
    ({"sec-fetch-site": ""}, False),
    ({"sec-fetch-site": "cross-site", "origin": URL}, False),
    ({"origin": FOREIGN}, False),
    ({"origin": "null"}, False),
    ({"origin": ""}, False),
    ({"origin": URL + ":443"}, False),
    ({"origin": URL + ".evil.example"}, False),
    ({"origin": "http://secure.example.com"}, False),
]


def session_hash(tokenizer: Tokenizer, session: str = "session-1") -> str:
    answer = tokenizer.client.simulate_get("/session/verify", headers=tokenizer.user(session))
    return str(answer.headers[HASH])


def by_bearer(tokenizer: Tokenizer) -> dict[str, str]:
    return {"authorization": f"Bearer {tokenizer.issuer.user(URL, 'session-1')}"}


@pytest.mark.parametrize(("place", "ours"), PLACES)
@pytest.mark.parametrize("sent", ["none", "right", "another session's", "garbage"])
def test_a_cookie(shared_tokenizer: Tokenizer, place: dict[str, str], ours: bool | None, sent: str) -> None:
    hashes = {
        "right": session_hash(shared_tokenizer),
        "another session's": session_hash(shared_tokenizer, "session-2"),
        "garbage": "é" * 64,
    }
    headers = {**shared_tokenizer.user(), **place, **({} if sent == "none" else {HASH: hashes[sent]})}
    allowed = (ours is None and sent in ("none", "right")) or (ours is True and sent == "right")
    answer = shared_tokenizer.send("/tokenize", BODY, headers)
    if allowed:
        assert answer.status_code == 200
    else:
        assert refusal_in(answer)[:2] == (403, "sessionMismatch")


@pytest.mark.parametrize(("place", "ours"), PLACES)
@pytest.mark.parametrize("sent", ["none", "right", "another session's"])
def test_a_bearer_is_judged_by_itself_but_a_hash_must_match(
    shared_tokenizer: Tokenizer, place: dict[str, str], ours: bool | None, sent: str
) -> None:
    hashes = {"right": session_hash(shared_tokenizer), "another session's": session_hash(shared_tokenizer, "session-2")}
    headers = {**by_bearer(shared_tokenizer), **place, **({} if sent == "none" else {HASH: hashes[sent]})}
    answer = shared_tokenizer.send("/tokenize", BODY, headers)
    assert answer.status_code == (403 if sent == "another session's" else 200)


@pytest.mark.parametrize("place", [place for place, _ in PLACES])
def test_an_application_is_judged_by_its_credential(shared_tokenizer: Tokenizer, place: dict[str, str]) -> None:
    headers = {**shared_tokenizer.application, **place}
    assert shared_tokenizer.send("/tokenize", BODY, headers).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [("/detokenize", {"tokenId": "x"}), ("/metadata/get", {"tokenId": "x"}), ("/session/end", {}), ("/tokenize", BODY)],
)
def test_every_call_of_a_user_follows_the_rules(shared_tokenizer: Tokenizer, path: str, body: Any) -> None:
    headers = {**shared_tokenizer.user("victim"), "sec-fetch-site": "cross-site"}
    assert shared_tokenizer.refusal(path, body, headers)[:2] == (403, "sessionMismatch")


@pytest.mark.parametrize(("place", "ours"), PLACES)
def test_a_frame_learns_its_hash_only_on_its_own_origin(
    shared_tokenizer: Tokenizer, place: dict[str, str], ours: bool | None
) -> None:
    answer = shared_tokenizer.client.simulate_get("/session/verify", headers={**shared_tokenizer.user(), **place})
    if ours is False:
        assert refusal_in(answer)[:2] == (403, "sessionMismatch")
        assert HASH not in answer.headers
    else:
        assert answer.headers[HASH] == answer.json["data"]["sessionHash"]


def test_a_form_cannot_speak_json(shared_tokenizer: Tokenizer) -> None:
    headers = {**shared_tokenizer.user(), "sec-fetch-site": "same-origin", HASH: session_hash(shared_tokenizer)}
    answer = shared_tokenizer.client.simulate_post(
        "/tokenize", body=b'{"metadata":{"dataType":"string"}}', headers={**headers, "content-type": "text/plain"}
    )
    assert refusal_in(answer)[:2] == (400, "invalidRequest")


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize", "/session/verify", "/session/end", "/health", "/nowhere"])
def test_no_pre_flight_request_is_granted(shared_tokenizer: Tokenizer, path: str) -> None:
    asked = {"origin": FOREIGN, "access-control-request-method": "POST", "access-control-request-headers": HASH}
    answer = shared_tokenizer.client.simulate_options(path, headers=asked)
    assert answer.status_code == (404 if path == "/nowhere" else 405)
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


def test_no_answer_lets_a_foreign_origin_read_it(shared_tokenizer: Tokenizer) -> None:
    headers = {**shared_tokenizer.application, "origin": FOREIGN}
    for answer in (
        shared_tokenizer.send("/tokenize", BODY, headers),
        shared_tokenizer.send("/tokenize", {}, headers),
        shared_tokenizer.client.simulate_get("/session/verify", headers=headers),
    ):
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://secure.example.com", "https://secure.example.com"),
        ("https://Secure.Example.com:443/luna", "https://secure.example.com"),
        ("http://127.0.0.1:37766", "http://127.0.0.1:37766"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_an_origin_is_written_as_browsers_do(url: str, origin: str) -> None:
    assert origin_of(Config.from_mapping({"tokenizer": {"public_url": url}}, {}).public_url) == origin
