"""Calls over real HTTP against a server whose answers are written beforehand: what is sent, what is raised, what is tried again."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunacore import errors
from lunacore.testing.servers import free_port
from lunacore.tokens import Token
from lunacore_http.sdk import Application, AsyncApplication, UnexpectedAnswer, calls
from lunacore_http.sdk.retries import LONGEST_WAIT, Attempts
from tests.sdk.pems import pem
from tests.sdk.scripted_server import HANG_UP, Scripted, ScriptedServer, failure, items, success

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "lunasec-419b2f79-cbdf-4b66-9980-a53fbc70c058"
OTHER = "lunasec-519b2f79-cbdf-4b66-9980-a53fbc70c058"
SESSION = "session-1"
ISSUER = "https://app.example.com"
KEY = pem()
VALID = {"valid": True}


class Caller:
    """Both kinds of application, called the same way."""

    def __init__(self, url: str, *, is_async: bool, **options: Any) -> None:
        self._is_async = is_async
        self._kind = AsyncApplication if is_async else Application
        self._arguments = {"tokenizer_url": url, "issuer": ISSUER, "signing_key": KEY, "timeout": 5.0, **options}

    def __call__(self, ask: Callable[[Any], Any]) -> Any:
        if not self._is_async:
            with Application(**self._arguments) as luna:
                return ask(luna)

        async def run() -> Any:
            async with AsyncApplication(**self._arguments) as luna:
                return await ask(luna)

        return asyncio.run(run())


@pytest.fixture(params=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "async")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are drawn; these draw none, so that nothing here waits but for Retry-After."""
    monkeypatch.setattr("lunacore_http.sdk.connection.jitter", lambda: 0.0)


def asked(
    script: list[Scripted | str], ask: Callable[[Any], Any], *, is_async: bool, **options: Any
) -> tuple[Any, ScriptedServer]:
    with ScriptedServer(script) as server:
        try:
            return Caller(server.url, is_async=is_async, **options)(ask), server
        except errors.LunaCoreError as refused:
            return refused, server


@pytest.mark.parametrize(
    ("ask", "path", "body", "answer"),
    [
        (
            lambda luna: luna.grants.create(SESSION, TOKEN),
            "/grant/set",
            {"sessionId": SESSION, "grantType": "read_token", "tokenIds": [TOKEN]},
            {},
        ),
        (
            lambda luna: luna.grants.create(SESSION, TOKEN, ttl="5m", issuer="https://proxy"),
            "/grant/set",
            {
                "sessionId": SESSION,
                "sessionIssuer": "https://proxy",
                "grantType": "read_token",
                "customDuration": "5m",
                "tokenIds": [TOKEN],
            },
            {},
        ),
        (
            lambda luna: luna.grants.create(SESSION, (TOKEN, TOKEN), ttl=timedelta(minutes=2)),
            "/grant/set",
            {"sessionId": SESSION, "grantType": "read_token", "customDuration": 120, "tokenIds": [TOKEN]},
            {},
        ),
        (
            lambda luna: luna.grants.verify(SESSION, [TOKEN]),
            "/grant/verify",
            {"sessionId": SESSION, "grantType": "store_token", "tokenIds": [TOKEN]},
            VALID,
        ),
        (
            lambda luna: luna.grants.verify_found(SESSION, {"ssn": TOKEN}),
            "/grant/verify",
            {"sessionId": SESSION, "grantType": "store_token", "tokenIds": [TOKEN]},
            VALID,
        ),
        (
            lambda luna: luna.grants.create_found(SESSION, [f"<b>{TOKEN}</b>"]),
            "/grant/set",
            {"sessionId": SESSION, "grantType": "read_token", "tokenIds": [TOKEN]},
            {},
        ),
        (
            lambda luna: luna.grants.revoke(SESSION, TOKEN),
            "/grant/revoke",
            {"sessionId": SESSION, "tokenIds": [TOKEN]},
            {},
        ),
        (lambda luna: luna.grants.revoke(SESSION), "/grant/revoke", {"sessionId": SESSION}, None),
        (lambda luna: luna.sessions.end(SESSION), "/session/end", {"sessionId": SESSION}, None),
        (lambda luna: luna.delete(TOKEN), "/token/delete", {"tokenIds": [TOKEN]}, {}),
        (
            lambda luna: luna.label([TOKEN], ("alice", "order:3")),
            "/token/label",
            {"tokenIds": [TOKEN], "labels": ["alice", "order:3"]},
            {},
        ),
    ],
)
def test_what_is_sent(
    ask: Callable[[Any], Any], path: str, body: dict[str, Any], answer: dict[str, Any] | None, is_async: bool
) -> None:
    result, server = asked([success({}) if answer is None else items(answer)], ask, is_async=is_async)
    assert not isinstance(result, Exception), result
    (request,) = server.received
    assert (request.method, request.path, request.json) == ("POST", path, body)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"].startswith("Bearer ey")


def test_a_label_is_erased_in_as_many_calls_as_it_takes(is_async: bool) -> None:
    portions: list[Scripted | str] = [
        success({"erased": 100, "complete": False, "receipt": "one"}),
        success({"erased": 7, "complete": True, "receipt": "two"}),
    ]
    result, server = asked(portions, lambda luna: luna.delete_label("alice"), is_async=is_async)
    assert (result.erased, result.receipts) == (107, ("one", "two"))
    assert [(one.path, one.json) for one in server.received] == [("/label/delete", {"label": "alice"})] * 2


@pytest.mark.parametrize(
    "answer", [{}, {"erased": 1, "complete": True}, {"erased": "1", "complete": True, "receipt": ""}]
)
def test_an_answer_that_says_not_what_was_erased(is_async: bool, answer: dict[str, Any]) -> None:
    result, _ = asked([success(answer)], lambda luna: luna.delete_label("alice"), is_async=is_async)
    assert isinstance(result, UnexpectedAnswer)


def test_metadata(is_async: bool) -> None:
    kept = {"dataType": "string", "customFields": {"é": 1}}
    result, server = asked([success({"metadata": kept})], lambda luna: luna.metadata(TOKEN), is_async=is_async)
    assert result == kept
    assert server.received[0].json == {"tokenId": TOKEN}


def test_found_tokens_are_returned(is_async: bool) -> None:
    result, _ = asked(
        [items(VALID, VALID)], lambda luna: luna.grants.verify_found(SESSION, [TOKEN, OTHER, TOKEN]), is_async=is_async
    )
    assert result == (TOKEN, OTHER)


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (items({"valid": False}, {"valid": False}), errors.GrantMissing),
        (items(VALID, {"valid": False}), errors.GrantMissing),
        (items({"valid": False}, VALID), errors.GrantMissing),
        (items({"valid": "true"}, VALID), errors.GrantMissing),
        (items({"valid": 1}, VALID), errors.GrantMissing),
        (items({}, VALID), errors.GrantMissing),
        (items(VALID), UnexpectedAnswer),
        (items(VALID, VALID, VALID), UnexpectedAnswer),
        (items(), UnexpectedAnswer),
        (success({}), UnexpectedAnswer),
        (success({"valid": True}), UnexpectedAnswer),
        (success({"items": "lots"}), UnexpectedAnswer),
        (success({"items": [VALID, VALID]}), UnexpectedAnswer),
        (Scripted(200, b"[]"), UnexpectedAnswer),
        (Scripted(200, b"<html>log in</html>"), UnexpectedAnswer),
        (Scripted(200, b""), UnexpectedAnswer),
        (Scripted(200, b'{"success": 1, "data": {"items": []}}'), UnexpectedAnswer),
        (Scripted(302, b"", {"location": "/elsewhere"}), UnexpectedAnswer),
        (Scripted(404, b"nothing here"), UnexpectedAnswer),
        (Scripted(404, items(VALID, VALID).body), UnexpectedAnswer),
        (failure(500, "internalError"), UnexpectedAnswer),
        (failure(400, "inventedLater"), UnexpectedAnswer),
        (failure(400, "invalidRequest"), errors.InvalidRequest),
        (failure(403, "roleForbidden"), errors.RoleForbidden),
        (failure(403, "grantMissing"), errors.GrantMissing),
        (failure(404, "tokenNotFound"), errors.TokenNotFound),
        (failure(409, "conflict"), errors.Conflict),
        (failure(413, "tooLarge"), errors.TooLarge),
    ],
)
def test_verify_raises_unless_every_token_is_valid(answer: Scripted, raised: type[Exception], is_async: bool) -> None:
    refused, server = asked([answer], lambda luna: luna.grants.verify(SESSION, [TOKEN, OTHER]), is_async=is_async)
    assert type(refused) is raised
    assert len(server.received) == 1
    assert TOKEN not in str(refused)


def test_one_refused_item_is_raised() -> None:
    refusal = {"success": False, "error": {"name": "tokenNotFound", "message": "gone", "code": "404"}, "data": {}}
    answer = success({"items": [{"success": True, "error": {}, "data": {}}, refusal]})
    refused, _ = asked([answer], lambda luna: luna.grants.create(SESSION, [TOKEN, OTHER]), is_async=False)
    assert type(refused) is errors.TokenNotFound
    assert refused.message == "gone"


@pytest.mark.parametrize("session_id", [None, "", 5, "a" * 257])
@pytest.mark.parametrize("tokens", [[], [TOKEN]])
def test_nobody_is_no_session(session_id: Any, tokens: list[str], is_async: bool) -> None:
    """A session id provider's None, passed on by mistake, must not verify anything, not even nothing."""
    for ask in (
        lambda luna: luna.grants.verify(session_id, tokens),
        lambda luna: luna.grants.verify_found(session_id, tokens),
        lambda luna: luna.grants.create(session_id, tokens),
    ):
        refused, server = asked([items(VALID)], ask, is_async=is_async)
        assert isinstance(refused, errors.InvalidRequest)
        assert not server.received


@pytest.mark.parametrize("tokens", [b"bytes", None, 5, [None], [b"x"], [""], ["x" * 257], {"a": 1}, ["é"]])
def test_what_is_no_token_is_not_sent(tokens: Any) -> None:
    refused, server = asked([items(VALID)], lambda luna: luna.grants.verify(SESSION, tokens), is_async=False)
    assert isinstance(refused, errors.InvalidRequest)
    assert not server.received


@given(count=st.integers(1, 2100))
def test_batches_hold_500_at_most(count: int) -> None:
    tokens = [f"token-{number}" for number in range(count)]
    flow = calls.verify_grants(SESSION, tokens, issuer=None)
    sent: list[str] = []
    sizes = []
    answer: Any = None
    for _ in range(-(-count // 500)):
        asked_for = json.loads(flow.send(answer).body)["tokenIds"]
        sent += asked_for
        sizes.append(len(asked_for))
        answer = {"items": [{"success": True, "data": VALID}] * len(asked_for)}
    with pytest.raises(StopIteration):
        flow.send(answer)
    assert sent == tokens
    assert max(sizes) <= 500


def test_a_false_item_in_a_later_batch_is_not_missed() -> None:
    flow = calls.verify_grants(SESSION, [f"token-{number}" for number in range(501)], issuer=None)
    next(flow)
    flow.send({"items": [{"success": True, "data": VALID}] * 500})
    with pytest.raises(errors.GrantMissing):
        flow.send({"items": [{"success": True, "data": {"valid": False}}]})


def test_carry_over_grants_only_what_was_verified(is_async: bool) -> None:
    _, server = asked(
        [items(VALID, VALID), items({}, {})],
        lambda luna: luna.grants.carry_over("anonymous:1", SESSION, [TOKEN, OTHER]),
        is_async=is_async,
    )
    assert [(one.path, one.json["sessionId"], one.json["tokenIds"]) for one in server.received] == [
        ("/grant/verify", "anonymous:1", [TOKEN, OTHER]),
        ("/grant/set", SESSION, [TOKEN, OTHER]),
    ]
    refused, server = asked(
        [items(VALID, {"valid": False}), items({}, {})],
        lambda luna: luna.grants.carry_over("anonymous:1", SESSION, [TOKEN, OTHER]),
        is_async=is_async,
    )
    assert isinstance(refused, errors.GrantMissing)
    assert len(server.received) == 1


# What is tried again


UNAVAILABLE = failure(503, "storeUnavailable", retry_after="0")
REPEATABLE = [
    lambda luna: luna.grants.create(SESSION, TOKEN),
    lambda luna: luna.grants.verify(SESSION, TOKEN),
    lambda luna: luna.grants.revoke(SESSION, TOKEN),
    lambda luna: luna.delete(TOKEN),
]


@pytest.mark.parametrize("ask", REPEATABLE)
@pytest.mark.parametrize(
    "trouble", [HANG_UP, UNAVAILABLE, Scripted(502, b"bad gateway"), failure(429, "rateLimited", retry_after="0")]
)
def test_what_is_safe_to_repeat_is_repeated(ask: Callable[[Any], Any], trouble: Scripted | str, is_async: bool) -> None:
    # Without Retry-After the wait is five seconds, which is the bound; so the plain 502 says 0 as well.
    if isinstance(trouble, Scripted):
        trouble = Scripted(trouble.status, trouble.body, {"retry-after": "0"})
    result, server = asked([trouble, trouble, items(VALID)], ask, is_async=is_async)
    assert not isinstance(result, Exception), result
    assert len(server.received) == 3


def test_it_gives_up_in_the_end(is_async: bool) -> None:
    refused, server = asked([UNAVAILABLE], REPEATABLE[0], is_async=is_async, retries=3)
    assert type(refused) is errors.StoreUnavailable
    assert refused.message == "told: storeUnavailable"
    assert len(server.received) == 4
    refused, server = asked([HANG_UP], REPEATABLE[0], is_async=is_async, retries=1)
    assert type(refused) is errors.StoreUnavailable
    assert len(server.received) == 2


@pytest.mark.parametrize("trouble", [HANG_UP, UNAVAILABLE, failure(429, "rateLimited", retry_after="0"), Scripted(502)])
def test_tokenize_is_not_repeated(trouble: Scripted | str, is_async: bool) -> None:
    refused, server = asked([trouble], lambda luna: luna.values.put(b"value"), is_async=is_async)
    assert isinstance(refused, errors.StoreUnavailable | errors.RateLimited)
    assert [one.path for one in server.received] == ["/tokenize"]


@pytest.mark.parametrize(
    "answer", [failure(400, "invalidRequest"), failure(409, "conflict"), failure(500, "internalError")]
)
def test_a_refusal_is_not_repeated(answer: Scripted, is_async: bool) -> None:
    _, server = asked([answer], REPEATABLE[0], is_async=is_async)
    assert len(server.received) == 1


def test_a_refused_bearer_is_signed_anew_once(is_async: bool) -> None:
    result, server = asked([failure(401, "unauthenticated"), items(VALID)], REPEATABLE[1], is_async=is_async)
    assert result is None
    assert len(server.received) == 2
    refused, server = asked([failure(401, "unauthenticated")], REPEATABLE[1], is_async=is_async)
    assert type(refused) is errors.Unauthenticated
    assert len(server.received) == 2


def test_longer_waits_are_left_to_the_caller(is_async: bool) -> None:
    refused, server = asked([failure(429, "rateLimited", retry_after="60")], REPEATABLE[0], is_async=is_async)
    assert isinstance(refused, errors.RateLimited)
    assert refused.retry_after == 60
    assert len(server.received) == 1


def test_nobody_there(is_async: bool) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(errors.StoreUnavailable, match="the tokenizer cannot be reached"):
        Caller(url, is_async=is_async)(lambda luna: luna.values.put(b"value"))


@given(jitter=st.floats(0, 1), retries=st.integers(0, 10), asks=st.lists(st.integers(0, 20), min_size=11, max_size=11))
def test_waits_are_bounded_and_never_shorter_than_asked(jitter: float, retries: int, asks: list[int]) -> None:
    attempts = Attempts(repeatable=True, retries=retries, jitter=lambda: jitter)
    for made, asked_for in enumerate(asks):
        pause = attempts.pause(errors.StoreUnavailable("down", retry_after=asked_for))
        if pause is None:
            assert made == retries or asked_for > LONGEST_WAIT
            return
        assert asked_for <= pause <= LONGEST_WAIT
    raise AssertionError


@given(failure=st.sampled_from([httpx.ConnectError("x"), httpx.ConnectTimeout("x"), httpx.PoolTimeout("x")]))
def test_a_request_that_never_left_may_be_sent_again(failure: Exception) -> None:
    assert Attempts(repeatable=False, retries=1, jitter=lambda: 0.5).pause(failure) is not None


@given(
    failure=st.sampled_from(
        [httpx.ReadTimeout("x"), httpx.WriteError("x"), httpx.RemoteProtocolError("x"), httpx.ReadError("x")]
    )
)
def test_a_request_that_may_have_arrived_is_only_repeated_if_repeatable(failure: Exception) -> None:
    assert Attempts(repeatable=False, retries=1, jitter=lambda: 0.5).pause(failure) is None
    assert Attempts(repeatable=True, retries=1, jitter=lambda: 0.5).pause(failure) is not None


@given(status=st.integers(100, 599), retry_after=st.none() | st.text(max_size=12), body=st.binary(max_size=60))
def test_any_answer_is_data_or_an_error_of_ours(status: int, retry_after: str | None, body: bytes) -> None:
    with pytest.raises(errors.LunaCoreError):
        calls.read_answer(status, retry_after, body)


def test_internal_url_is_where_calls_go() -> None:
    with (
        ScriptedServer([items(VALID)]) as server,
        Application("https://secure.example.com", issuer=ISSUER, signing_key=KEY, internal_url=server.url) as luna,
    ):
        luna.grants.verify(SESSION, TOKEN)
        assert len(server.received) == 1


def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ticket: dict[str, Any] = {
        "tokenId": TOKEN,
        "uploadUrl": "",
        "headers": {"x-amz-server-side-encryption-customer-key": "c2VjcmV0IHN0b3JlIGtleQ=="},
        "valueFormat": "sealed-v1",
        "valueKey": base64.b64encode(b"v" * 32).decode(),
    }
    with ScriptedServer([UNAVAILABLE]) as server, Application(server.url, issuer=ISSUER, signing_key=KEY) as luna:
        ticket["uploadUrl"] = f"{server.url}/objects/1?X-Amz-Signature=feedface"
        server.script = [success(ticket), Scripted(200), UNAVAILABLE, UNAVAILABLE, items(VALID), items({})]
        luna.values.put(b"4111 1111 1111 1111")
        bearer = luna._credentials.bearer()
        shown = caplog.text + repr(calls.ValueTicket(Token(TOKEN), "url?feedface", {}, b"v" * 32))
    assert "next attempt" in shown
    for secret in (TOKEN, "feedface", bearer, ticket["valueKey"], "c2VjcmV0", "4111 1111", "vvvv"):
        assert secret not in shown
