"""Every call of the application over real stores: exact answers, exact headers, exact refusals."""

from __future__ import annotations

import base64
import json
import logging
import time
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import falcon.testing
import pytest
from attrs import evolve
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from lunacore import errors
from lunacore.errors import AuditUnavailable, IntegrityError, LunaCoreError, RateLimited, StoreUnavailable
from lunacore.testing.faults import FullAudit
from lunacore_http import metrics
from lunacore_http.application import create_app
from lunacore_http.errors import STATUS, refusal_of
from tests.http.conftest import PROXY, READER, URL, Tokenizer, refusal_in
from tests.http.tokenizer_server import STRING

if TYPE_CHECKING:
    from pathlib import Path

    from lunacore.audit import AuditEvent

UNKNOWN = "lunasec-2b58d9b2-83c1-4e9b-9692-b149112810c8"
SSEC = {
    "host",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
}
SAFE = {"cache-control": "no-store", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
SESSION = {"sessionId": "session-1"}


def new_token(tokenizer: Tokenizer, headers: dict[str, str] | None = None, **body: Any) -> str:
    data = tokenizer.data("/tokenize", {"metadata": STRING, **body}, headers or tokenizer.user())
    return str(data["tokenId"])


def put(tokenizer: Tokenizer, ticket: dict[str, Any], value: bytes) -> falcon.testing.Result:
    url = urlsplit(ticket["uploadUrl"])
    return tokenizer.client.simulate_put(
        url.path, query_string=url.query, headers=ticket["headers"], body=value, host="secure.example.com"
    )


def get(tokenizer: Tokenizer, ticket: dict[str, Any]) -> falcon.testing.Result:
    url = urlsplit(ticket["downloadUrl"])
    return tokenizer.client.simulate_get(
        url.path, query_string=url.query, headers=ticket["headers"], host="secure.example.com"
    )


def test_a_value_goes_in_and_comes_back(tokenizer: Tokenizer) -> None:
    user, application = tokenizer.user(), tokenizer.application
    ticket = tokenizer.data("/tokenize", {"metadata": STRING, "size": 5}, user)
    assert put(tokenizer, ticket, b"value").status_code == 200
    token = ticket["tokenId"]
    assert tokenizer.data("/grant/verify", {**SESSION, "tokenId": token}, application) == {"valid": True}
    assert tokenizer.data("/grant/verify", {**SESSION, "tokenId": token}, application) == {"valid": True}
    other = {"sessionId": "session-2", "tokenId": token}
    assert tokenizer.refusal("/detokenize", {"tokenId": token}, tokenizer.user("session-2"))[1] == "grantMissing"
    assert tokenizer.data("/grant/set", other, application) == {}
    download = tokenizer.data("/detokenize", {"tokenId": token}, tokenizer.user("session-2"))
    assert get(tokenizer, download).content == b"value"


def test_the_exact_answer_to_tokenize_raw(tokenizer: Tokenizer) -> None:
    data = tokenizer.data("/tokenize", {"metadata": STRING}, tokenizer.user())
    assert set(data) == {"tokenId", "uploadUrl", "headers"}
    assert data["tokenId"].startswith("lunasec-")
    assert data["uploadUrl"].startswith(f"{URL}/objects/")
    assert set(data["headers"]) == SSEC | {"if-none-match"}
    assert data["headers"]["host"] == "secure.example.com"


def test_the_exact_answer_to_tokenize_sealed(tokenizer: Tokenizer) -> None:
    data = tokenizer.data("/tokenize", {"metadata": STRING, "valueFormat": "sealed-v1"}, tokenizer.user())
    assert set(data) == {"tokenId", "uploadUrl", "headers", "valueFormat", "valueKey"}
    assert data["valueFormat"] == "sealed-v1"
    assert len(base64.b64decode(data["valueKey"], validate=True)) == 32
    body = {"tokenId": data["tokenId"]}
    download = tokenizer.data("/detokenize", body, tokenizer.user())
    assert set(download) == {"downloadUrl", "headers", "valueFormat", "valueKey"}
    assert download["valueKey"] == data["valueKey"]


def test_the_exact_answer_to_detokenize(tokenizer: Tokenizer) -> None:
    token = new_token(tokenizer)
    answer = tokenizer.send("/detokenize", {"tokenId": token}, tokenizer.user())
    assert answer.json["success"] is True
    assert answer.json["error"] == {}
    assert set(answer.json["data"]) == {"downloadUrl", "headers"}
    assert set(answer.json["data"]["headers"]) == SSEC
    assert len(bytes.fromhex(answer.headers["lunasec-session-hash"])) == 32


def test_an_application_gets_no_session_hash(tokenizer: Tokenizer) -> None:
    token = new_token(tokenizer)
    answer = tokenizer.send("/detokenize", {"tokenId": token}, tokenizer.reading_application)
    assert answer.status_code == 200
    assert "lunasec-session-hash" not in answer.headers


def test_an_application_reads_only_where_it_may(tokenizer: Tokenizer) -> None:
    body = {"tokenId": new_token(tokenizer)}
    assert tokenizer.refusal("/detokenize", body, tokenizer.application)[:2] == (403, "roleForbidden")


def test_metadata_comes_back_as_it_went_in(tokenizer: Tokenizer) -> None:
    metadata = {
        "dataType": "file",
        "customFields": {"a": [1, 2.5, None, {"b": "ü"}]},
        "createdAt": "2026-01-01",
        "fileinfo": {"filename": "x.txt", "type": "text/plain", "lastModified": 1_700_000_000_000},
    }
    token = new_token(tokenizer, metadata=metadata)
    assert tokenizer.data("/metadata/get", {"tokenId": token}, tokenizer.application) == {"metadata": metadata}
    assert tokenizer.data("/metadata/get", {"tokenId": token}, tokenizer.user()) == {"metadata": metadata}
    assert tokenizer.refusal("/metadata/get", {"tokenId": token}, tokenizer.user("other"))[:2] == (403, "grantMissing")


def test_a_token_is_deleted_for_good_and_again(tokenizer: Tokenizer) -> None:
    body = {"tokenId": new_token(tokenizer)}
    assert tokenizer.data("/token/delete", body, tokenizer.application) == {}
    assert tokenizer.data("/token/delete", body, tokenizer.application) == {}
    assert tokenizer.refusal("/metadata/get", body, tokenizer.application)[:2] == (404, "tokenNotFound")
    assert tokenizer.refusal("/detokenize", body, tokenizer.user())[:2] == (403, "grantMissing")


def test_a_user_cannot_tell_unknown_from_foreign(tokenizer: Tokenizer) -> None:
    foreign = new_token(tokenizer, tokenizer.user("other"))
    told = [tokenizer.send("/detokenize", {"tokenId": one}, tokenizer.user()) for one in (UNKNOWN, foreign)]
    assert told[0].status_code == told[1].status_code == 403
    assert told[0].content == told[1].content
    assert tokenizer.refusal("/detokenize", {"tokenId": UNKNOWN}, tokenizer.reading_application)[0] == 404


@pytest.mark.parametrize("path", ["/grant/set", "/grant/verify", "/grant/revoke", "/token/delete"])
def test_users_may_not_do_what_applications_do(tokenizer: Tokenizer, path: str) -> None:
    session = {} if path == "/token/delete" else SESSION
    body = {**session, "tokenId": new_token(tokenizer)}
    assert tokenizer.refusal(path, body, tokenizer.user())[:2] == (403, "roleForbidden")


def test_without_a_credential(shared_tokenizer: Tokenizer) -> None:
    answer = shared_tokenizer.send("/tokenize", {"metadata": STRING}, {})
    assert refusal_in(answer)[:2] == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


# Grants and their sessions


def test_what_grant_calls_mean_by_default(tokenizer: Tokenizer) -> None:
    ticket = tokenizer.data("/tokenize", {"metadata": STRING}, tokenizer.application)
    put(tokenizer, ticket, b"value")
    body = {**SESSION, "tokenId": ticket["tokenId"]}
    application = tokenizer.application
    tokenizer.data("/grant/set", body, application)
    assert tokenizer.data("/grant/verify", body, application) == {"valid": False}
    assert tokenizer.data("/grant/verify", {**body, "grantType": "read_token"}, application) == {"valid": True}
    tokenizer.data("/grant/set", {**body, "grantType": "store_token"}, application)
    assert tokenizer.data("/grant/verify", body, application) == {"valid": True}


def test_a_store_grant_is_not_valid_before_the_upload(tokenizer: Tokenizer) -> None:
    body = {**SESSION, "tokenId": new_token(tokenizer)}
    assert tokenizer.data("/grant/verify", body, tokenizer.application) == {"valid": False}


def test_revoking_one_and_all(tokenizer: Tokenizer) -> None:
    first, second = new_token(tokenizer), new_token(tokenizer)
    assert tokenizer.data("/grant/revoke", {**SESSION, "tokenId": first}, tokenizer.application) == {}
    assert tokenizer.refusal("/detokenize", {"tokenId": first}, tokenizer.user())[1] == "grantMissing"
    assert tokenizer.data("/detokenize", {"tokenId": second}, tokenizer.user())
    assert tokenizer.data("/grant/revoke", SESSION, tokenizer.application) == {}
    assert tokenizer.refusal("/detokenize", {"tokenId": second}, tokenizer.user())[1] == "grantMissing"


def test_a_grant_to_a_session_of_another_issuer(tokenizer: Tokenizer) -> None:
    token = new_token(tokenizer, tokenizer.application)
    body = {"sessionId": "p", "tokenId": token, "sessionIssuer": PROXY}
    proxied = {"authorization": f"Bearer {tokenizer.proxy.user(URL, 'p')}"}
    assert tokenizer.refusal("/detokenize", {"tokenId": token}, proxied)[1] == "grantMissing"
    tokenizer.data("/grant/set", body, tokenizer.application)
    assert tokenizer.data("/detokenize", {"tokenId": token}, proxied)
    tokenizer.data("/grant/revoke", body, tokenizer.application)
    assert tokenizer.refusal("/detokenize", {"tokenId": token}, proxied)[1] == "grantMissing"


def test_a_duration_is_kept(tokenizer: Tokenizer) -> None:
    token = new_token(tokenizer, tokenizer.application)
    body = {**SESSION, "tokenId": token}
    for duration in ("90s", "1m30s", "90", 90):
        tokenizer.data("/grant/set", {**body, "customDuration": duration}, tokenizer.application)
        ticket = tokenizer.data("/detokenize", {"tokenId": token}, tokenizer.user())
        expires = int(ticket["downloadUrl"].partition("X-Amz-Expires=")[2].partition("&")[0])
        assert 60 < expires <= 90


def test_an_application_names_the_session_of_new_tokens(tokenizer: Tokenizer) -> None:
    named = new_token(tokenizer, tokenizer.application, sessionId="session-1")
    assert tokenizer.data("/detokenize", {"tokenId": named}, tokenizer.user())
    unnamed = new_token(tokenizer, tokenizer.application)
    assert tokenizer.refusal("/detokenize", {"tokenId": unnamed}, tokenizer.user())[1] == "grantMissing"


def test_a_user_names_no_other_session(tokenizer: Tokenizer) -> None:
    body = {"metadata": STRING, "sessionId": "session-2"}
    status, name, message = tokenizer.refusal("/tokenize", body, tokenizer.user())
    assert (status, name) == (400, "invalidRequest")
    assert "sessionId" in message


# Sessions


def test_verify_without_a_session_says_so_with_200(shared_tokenizer: Tokenizer) -> None:
    for headers in ({}, {"cookie": "access_token=nonsense"}, shared_tokenizer.application):
        answer = shared_tokenizer.client.simulate_get("/session/verify", headers=headers)
        assert answer.status_code == 200
        assert answer.json["success"] is False
        assert answer.json["data"] == {}
        assert answer.json["error"]["name"] == "unauthenticated"
        assert "lunasec-session-hash" not in answer.headers


def test_verify_tells_the_hash_of_each_session(shared_tokenizer: Tokenizer) -> None:
    told = {
        shared_tokenizer.client.simulate_get("/session/verify", headers=shared_tokenizer.user(one)).json["data"][
            "sessionHash"
        ]
        for one in ("a", "b", "a")
    }
    assert len(told) == 2


@pytest.mark.parametrize("by", ["user", "application"])
def test_an_ended_session_is_over(tokenizer: Tokenizer, by: str) -> None:
    token = new_token(tokenizer)
    caller, body = (tokenizer.user(), {}) if by == "user" else (tokenizer.application, SESSION)
    assert tokenizer.data("/session/end", body, caller) == {}
    assert tokenizer.refusal("/detokenize", {"tokenId": token}, tokenizer.user())[1] == "grantMissing"
    assert tokenizer.refusal("/tokenize", {"metadata": STRING}, tokenizer.user())[:2] == (401, "unauthenticated")
    assert tokenizer.client.simulate_get("/session/verify", headers=tokenizer.user()).json["success"] is False
    grant = {**SESSION, "tokenId": token}
    assert tokenizer.refusal("/grant/set", grant, tokenizer.application)[:2] == (409, "conflict")
    named = {"metadata": STRING, **SESSION}
    assert tokenizer.refusal("/tokenize", named, tokenizer.application)[:2] == (409, "conflict")


def test_a_user_ends_its_own_session_only(tokenizer: Tokenizer) -> None:
    assert tokenizer.refusal("/session/end", {"sessionId": "other"}, tokenizer.user())[:2] == (403, "roleForbidden")
    assert tokenizer.data("/session/end", SESSION, tokenizer.user()) == {}


# Batches


def names(data: dict[str, Any]) -> list[str]:
    return [one["error"].get("name", "ok") for one in data["items"]]


def test_a_batch_answers_in_order_and_item_by_item(tokenizer: Tokenizer) -> None:
    mine, foreign = new_token(tokenizer), new_token(tokenizer, tokenizer.user("other"))
    asked = [mine, "no token", foreign, UNKNOWN, mine]
    data = tokenizer.data("/detokenize", {"tokenIds": asked}, tokenizer.user())
    assert names(data) == ["ok", "invalidRequest", "grantMissing", "grantMissing", "ok"]
    assert [one["success"] for one in data["items"]] == [True, False, False, False, True]
    assert [one["error"].get("code") for one in data["items"]] == [None, "400", "403", "403", None]
    assert data["items"][1]["data"] == {}
    data = tokenizer.data("/detokenize", {"tokenIds": asked}, tokenizer.reading_application)
    assert names(data) == ["ok", "invalidRequest", "ok", "tokenNotFound", "ok"]


def test_every_call_on_tokens_has_its_batch(tokenizer: Tokenizer) -> None:
    application = tokenizer.application
    items = [{"metadata": STRING}, {"metadata": STRING, "valueFormat": "sealed-v1"}]
    tickets = [one["data"] for one in tokenizer.data("/tokenize", {"items": items}, tokenizer.user())["items"]]
    put(tokenizer, tickets[0], b"value")
    asked = {"tokenIds": [one["tokenId"] for one in tickets] + [UNKNOWN]}
    verified = tokenizer.data("/grant/verify", {**SESSION, **asked}, application)["items"]
    assert [one["data"].get("valid") for one in verified] == [True, False, False]
    assert names(tokenizer.data("/grant/set", {**SESSION, **asked}, application)) == ["ok", "ok", "tokenNotFound"]
    assert names(tokenizer.data("/metadata/get", asked, application)) == ["ok", "ok", "tokenNotFound"]
    assert names(tokenizer.data("/grant/revoke", {**SESSION, **asked}, application)) == ["ok", "ok", "ok"]
    assert names(tokenizer.data("/token/delete", asked, application)) == ["ok", "ok", "ok"]


def test_items_of_several_sessions(tokenizer: Tokenizer) -> None:
    tokenizer.data("/session/end", {"sessionId": "ended"}, tokenizer.application)
    sessions: list[dict[str, str]] = [
        {"sessionId": "a"},
        {},
        {"sessionId": "ended"},
        {"sessionId": "b"},
        {"sessionId": "a", "sessionIssuer": "unknown"},
        {"sessionId": "a"},
    ]
    items = [{"metadata": STRING | {"createdAt": at}, **one} for at, one in enumerate(sessions)]
    data = tokenizer.data("/tokenize", {"items": items}, tokenizer.application)
    assert names(data) == ["ok", "ok", "conflict", "ok", "invalidRequest", "ok"]
    for at, reader in ((0, "a"), (3, "b"), (5, "a")):
        token = data["items"][at]["data"]["tokenId"]
        kept = tokenizer.data("/metadata/get", {"tokenId": token}, tokenizer.user(reader))
        assert kept["metadata"]["createdAt"] == at


def test_one_item_that_is_too_large_leaves_the_others_whole(tokenizer: Tokenizer) -> None:
    large = {"metadata": STRING, "size": 2**40}
    data = tokenizer.data("/tokenize", {"items": [{"metadata": STRING}, large]}, tokenizer.user())
    assert names(data) == ["ok", "tooLarge"]
    assert tokenizer.refusal("/tokenize", large, tokenizer.user())[:2] == (413, "tooLarge")


def test_a_batch_of_another_size(tmp_path: Path) -> None:
    tokenizer = Tokenizer(tmp_path, tokenizer={"max_batch": 2})
    assert tokenizer.data("/detokenize", {"tokenIds": [UNKNOWN] * 2}, tokenizer.user())
    status, name, message = tokenizer.refusal("/detokenize", {"tokenIds": [UNKNOWN] * 3}, tokenizer.user())
    assert (status, name) == (400, "invalidRequest")
    assert "2" in message
    tokenizer.deployment.close()


# Headers, paths and methods


def test_every_answer_has_the_safe_headers_and_an_id_of_its_own(shared_tokenizer: Tokenizer) -> None:
    client, seen = shared_tokenizer.client, set()
    for answer in (
        client.simulate_get("/health", headers={"x-request-id": "mine"}),
        client.simulate_get("/nowhere"),
        client.simulate_delete("/tokenize"),
        client.simulate_get("/session/verify"),
        client.simulate_get(f"/objects/{'0' * 64}"),
        shared_tokenizer.send("/detokenize", {}, {}),
        shared_tokenizer.send("/tokenize", {"metadata": STRING}, shared_tokenizer.application),
    ):
        assert {name: answer.headers.get(name) for name in SAFE} == SAFE
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        assert "set-cookie" not in answer.headers
        seen.add(answer.headers["x-request-id"])
    assert len(seen) == 7
    assert "mine" not in seen


def test_plain_http_makes_no_promise_of_tls(tmp_path: Path) -> None:
    tokenizer = Tokenizer(tmp_path, tokenizer={"public_url": "http://127.0.0.1:1"})
    assert "strict-transport-security" not in tokenizer.client.simulate_get("/health").headers
    tokenizer.deployment.close()


@pytest.mark.parametrize(
    "path", ["/", "/nowhere", "/tokenize/", "/TOKENIZE", "/metrics", "/ready", "/openapi.json", "/%ff"]
)
def test_other_paths_do_not_exist(shared_tokenizer: Tokenizer, path: str) -> None:
    answer = shared_tokenizer.client.simulate_get(path, headers=shared_tokenizer.application)
    assert refusal_in(answer)[:2] == (404, "notFound")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/tokenize", "POST"),
        ("DELETE", "/token/delete", "POST"),
        ("POST", "/session/verify", "GET"),
        ("PUT", "/health", "GET"),
    ],
)
def test_other_methods_are_refused(shared_tokenizer: Tokenizer, method: str, path: str, allowed: str) -> None:
    answer = shared_tokenizer.client.simulate_request(method, path)
    assert refusal_in(answer)[:2] == (405, "methodNotAllowed")
    assert allowed in answer.headers["allow"]


def test_health_needs_nothing(shared_tokenizer: Tokenizer) -> None:
    assert shared_tokenizer.client.simulate_get("/health").json["data"] == {"status": "ok"}
    assert shared_tokenizer.client.simulate_head("/health").status_code == 200


# Errors


def test_every_error_of_the_core_has_its_status() -> None:
    # These cannot happen to a client; they come out as internalError.
    hidden = {"internalError", "integrityError", "keyringError", "configError"}
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, LunaCoreError)]
    assert {one.name for one in classes} - hidden <= set(STATUS)
    assert not hidden - {"internalError"} & set(STATUS)


@pytest.mark.parametrize(
    ("error", "status", "after"),
    [
        (RateLimited("slow down", retry_after=17), 429, "17"),
        (StoreUnavailable("away", retry_after=3), 503, "3"),
        (AuditUnavailable("full"), 503, "5"),
        (StoreUnavailable("away", retry_after=0), 503, "1"),
    ],
)
def test_some_errors_say_when_to_try_again(error: LunaCoreError, status: int, after: str) -> None:
    refusal = refusal_of(error, "id")
    assert (refusal.status, refusal.headers["retry-after"]) == (status, after)


def test_the_rate_limit_over_http(tmp_path: Path) -> None:
    tokenizer = Tokenizer(tmp_path, limits={"session_reads": 2})
    token = new_token(tokenizer)
    answers = [tokenizer.send("/detokenize", {"tokenId": token}, tokenizer.user()) for _ in range(6)]
    limited = [one for one in answers if one.status_code == 429]
    # A minute may end in between, and then two more are allowed.
    assert len(limited) >= 2
    assert refusal_in(limited[0])[1] == "rateLimited"
    assert 1 <= int(limited[0].headers["retry-after"]) <= 60
    tokenizer.deployment.close()


class _Broken:
    """Stands for a part of the tokenizer that has a bug, or finds damage."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


@pytest.mark.parametrize("error", [ValueError(f"secret {UNKNOWN}"), IntegrityError("the record is damaged")])
def test_an_unexpected_error_tells_the_client_nothing(
    tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    broken = evolve(tokenizer.services.tokenizer, lookup=cast("Any", _Broken(error)))
    client = falcon.testing.TestClient(create_app(evolve(tokenizer.services, tokenizer=broken)))
    with caplog.at_level(logging.INFO):
        answer = client.simulate_post("/detokenize", json={"tokenId": UNKNOWN}, headers=tokenizer.user())
    assert refusal_in(answer)[:2] == (500, "internalError")
    assert "Traceback" not in answer.text
    assert "damaged" not in answer.text
    assert answer.headers["x-request-id"] in caplog.text
    assert UNKNOWN not in caplog.text
    assert type(error).__name__ in caplog.text or "the record is damaged" in caplog.text


def test_nothing_is_released_without_the_audit_log(tokenizer: Tokenizer) -> None:
    token = new_token(tokenizer)
    deaf = evolve(tokenizer.services.tokenizer, audit=FullAudit())
    client = falcon.testing.TestClient(create_app(evolve(tokenizer.services, tokenizer=deaf)))
    answer = client.simulate_post("/detokenize", json={"tokenId": token}, headers=tokenizer.user())
    assert refusal_in(answer)[:2] == (503, "storeUnavailable")
    assert "retry-after" in answer.headers


# Logs, metrics and audit


def test_logs_name_routes_and_outcomes_and_nothing_else(tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    user = tokenizer.user("very-secret-session")
    with caplog.at_level(logging.DEBUG):
        ticket = tokenizer.data("/tokenize", {"metadata": STRING}, user)
        put(tokenizer, ticket, b"a secret value")
        answer = tokenizer.send("/detokenize", {"tokenId": ticket["tokenId"]}, user)
        get(tokenizer, answer.json["data"])
        tokenizer.send("/detokenize?token=" + ticket["tokenId"], {"tokenId": UNKNOWN}, user)
        tokenizer.client.simulate_get("/" + ticket["tokenId"])
    keys = [value for name, value in ticket["headers"].items() if name.startswith("x-amz-") and value != "AES256"]
    query, cookie = urlsplit(ticket["uploadUrl"]).query, user["cookie"].partition("=")[2]
    name = ticket["uploadUrl"].partition("/objects/")[2][:64]
    for secret in (ticket["tokenId"], UNKNOWN, cookie, "very-secret-session", query, name, "a secret value", *keys):
        assert secret not in caplog.text
    lines = [record.getMessage() for record in caplog.records if record.name == "lunacore.access"]
    assert len(lines) == 6
    assert lines[0].startswith("method=POST route=/tokenize status=200 outcome=ok ms=")
    assert lines[1].startswith("method=PUT route=/objects/{name} status=200 outcome=ok ms=")
    assert f"request={answer.headers['x-request-id']}" in lines[2]
    assert "status=403 outcome=grantMissing" in lines[4]
    assert "route=- status=404 outcome=notFound" in lines[5]


def test_the_audit_log_and_the_answer_share_the_request_id(tokenizer: Tokenizer) -> None:
    answer = tokenizer.send("/tokenize", {"metadata": STRING}, tokenizer.user())
    log = next((tokenizer.deployment.config.data_dir / "audit").glob("*")).read_text()
    assert json.loads(log.splitlines()[-1])["request"] == answer.headers["x-request-id"]


def values(registry: CollectorRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.exposition(registry).decode())
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def test_answers_and_audit_events_are_counted(tokenizer: Tokenizer) -> None:
    token = new_token(tokenizer)
    tokenizer.send("/detokenize", {"tokenIds": [token, UNKNOWN]}, tokenizer.user())
    tokenizer.send("/detokenize", {"tokenId": UNKNOWN}, tokenizer.user())
    counted = values(tokenizer.registry)
    calls = "lunacore_calls_total"
    assert counted[calls, (("call", "/tokenize"), ("outcome", "ok"))] == 1
    assert counted[calls, (("call", "/detokenize"), ("outcome", "ok"))] == 1
    assert counted[calls, (("call", "/detokenize"), ("outcome", "grantMissing"))] == 1
    assert counted["lunacore_call_seconds_count", (("call", "/detokenize"),)] == 2
    events = "lunacore_audit_events_total"
    assert counted[events, (("action", "detokenize"), ("outcome", "allowed"))] == 1
    assert counted[events, (("action", "detokenize"), ("outcome", "grantMissing"))] == 2
    assert token not in metrics.exposition(tokenizer.registry).decode()


def test_a_failing_audit_log_is_counted() -> None:
    registry = CollectorRegistry()
    sink = metrics.CountedAudit(FullAudit(), metrics.CallMetrics(registry))
    events: list[AuditEvent] = []
    with pytest.raises(AuditUnavailable):
        sink.write(events)
    assert values(registry)["lunacore_audit_failures_total", ()] == 1


def test_problems_in_the_log_are_counted_by_what_they_name_themselves() -> None:
    registry = CollectorRegistry()
    log, problems = logging.getLogger("lunacore.rekey"), metrics.CountedProblems(registry)
    problems.listen()
    try:
        log.warning('event=rekey_failed token=%s message="%s"', UNKNOWN, "event=other")
        log.error("event=rekey_failed")
        log.warning("%s", f"event={UNKNOWN}")
        log.info("event=swept")
    finally:
        logging.getLogger("lunacore").removeHandler(problems)
    log.warning("event=rekey_failed")
    counted = {key: value for key, value in values(registry).items() if key[0] == "lunacore_problems_total"}
    name = "lunacore_problems_total"
    assert counted == {
        (name, (("event", "rekey_failed"), ("logger", "lunacore.rekey"))): 2,
        (name, (("event", "-"), ("logger", "lunacore.rekey"))): 1,
    }


def test_tickets_live_no_longer_than_the_credential(tokenizer: Tokenizer) -> None:
    cookie = tokenizer.issuer.user(URL, "short", exp=int(time.time()) + 45)
    data = tokenizer.data("/tokenize", {"metadata": STRING}, {"cookie": f"access_token={cookie}"})
    expires = int(data["uploadUrl"].partition("X-Amz-Expires=")[2].partition("&")[0])
    assert 0 < expires <= 45


def test_the_reader_is_another_issuer_of_the_same_tenant(tokenizer: Tokenizer) -> None:
    assert tokenizer.services.identities.knows("default", READER)
    assert not tokenizer.services.identities.knows("elsewhere", READER)
    token = new_token(tokenizer)
    elsewhere = {"authorization": f"Bearer {tokenizer.elsewhere.application(URL)}"}
    assert tokenizer.refusal("/metadata/get", {"tokenId": token}, elsewhere)[:2] == (404, "tokenNotFound")
