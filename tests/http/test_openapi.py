"""The OpenAPI document: valid, true to the routes, and true to what is really sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from lunacore_http.errors import STATUS
from lunacore_http.metrics import CallMetrics, CountedProblems, SweepMetrics, exposition
from lunacore_http.openapi import openapi_document
from tests.http.tokenizer_server import STRING

if TYPE_CHECKING:
    from tests.http.conftest import Tokenizer

DOCUMENT = openapi_document("https://secure.example.com")


def valid(schema: Any, value: Any) -> bool:
    whole = {**schema, "components": DOCUMENT["components"]}
    return bool(OAS31Validator(whole).is_valid(value))


def asked(path: str) -> Any:
    return DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]


def answered(path: str, status: int, method: str = "post") -> Any:
    return DOCUMENT["paths"][path][method]["responses"][str(status)]["content"]["application/json"]["schema"]


def test_the_document_is_openapi() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_every_path_is_served(shared_tokenizer: Tokenizer, path: str) -> None:
    method = next(iter(DOCUMENT["paths"][path])).upper()
    assert shared_tokenizer.client.simulate_request(method, path).status_code != 404


def test_every_error_is_documented_somewhere() -> None:
    told = " ".join(
        response["description"]
        for operations in DOCUMENT["paths"].values()
        for operation in operations.values()
        for response in operation["responses"].values()
    )
    # These two answer what is no call at all.
    assert {name for name in STATUS if name not in told} == {"notFound", "methodNotAllowed"}


def test_a_life_of_tokens_is_as_documented(tokenizer: Tokenizer) -> None:
    user, application = tokenizer.user(), tokenizer.application
    single = {"metadata": STRING | {"fileinfo": {"filename": "a", "lastModified": 1.5}}, "size": 3}
    session = {"sessionId": "session-1"}

    def call(path: str, body: Any, headers: dict[str, str], status: int = 200) -> Any:
        assert valid(asked(path), body), (path, body)
        answer = tokenizer.send(path, body, headers)
        assert answer.status_code == status
        assert valid(answered(path, status), answer.json), (path, answer.json)
        return answer.json["data"]

    token = call("/tokenize", single, user)["tokenId"]
    call("/tokenize", {**single, "ttl": "30d", "labels": ["alice"]}, application)
    call("/label/delete", {"label": "alice"}, application)
    tokens = [
        one["data"]["tokenId"]
        for one in call("/tokenize", {"items": [single | {"valueFormat": "sealed-v1"}]}, user)["items"]
    ]
    call("/detokenize", {"tokenId": token}, user)
    call("/detokenize", {"tokenIds": [*tokens, "no token"]}, user)
    call("/detokenize", {"tokenId": "no token"}, user, 400)
    call("/metadata/get", {"tokenId": token}, application)
    call("/metadata/get", {"tokenIds": tokens}, application)
    call("/grant/set", {**session, "tokenId": token, "customDuration": "15m"}, application)
    call("/grant/set", {**session, "tokenIds": tokens, "customDuration": 90, "grantType": "store_token"}, application)
    call("/grant/verify", {**session, "tokenId": token}, application)
    call("/grant/verify", {**session, "tokenIds": tokens, "sessionIssuer": tokenizer.issuer.issuer}, application)
    call("/grant/revoke", {**session, "tokenId": token}, application)
    call("/grant/revoke", {**session, "tokenIds": tokens}, application)
    call("/grant/revoke", session, application)
    call("/token/label", {"tokenId": token, "labels": ["alice"]}, application)
    call("/token/label", {"tokenIds": tokens, "labels": ["alice", "order:3"]}, application)
    call("/token/delete", {"tokenId": token}, application)
    call("/token/delete", {"tokenIds": tokens}, application)
    call("/detokenize", {"tokenId": token}, user, 403)
    call("/session/end", {}, user)
    call("/session/end", session, application)


def test_the_session_and_the_health_are_as_documented(shared_tokenizer: Tokenizer) -> None:
    for headers in (shared_tokenizer.user(), {}):
        answer = shared_tokenizer.client.simulate_get("/session/verify", headers=headers)
        assert valid(answered("/session/verify", 200, "get"), answer.json)
    health = shared_tokenizer.client.simulate_get("/health")
    assert valid(answered("/health", 200, "get"), health.json)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {"metadata": {}}),
        ("/tokenize", {"metadata": STRING, "items": [{"metadata": STRING}]}),
        ("/detokenize", {"tokenId": "a", "tokenIds": ["a"]}),
        ("/detokenize", {"tokenIds": []}),
        ("/grant/set", {"tokenId": "a"}),
        ("/grant/verify", {"tokenId": "a", "sessionId": "s", "grantType": "other"}),
    ],
)
def test_the_document_refuses_what_the_server_refuses(shared_tokenizer: Tokenizer, path: str, body: Any) -> None:
    assert not valid(asked(path), body)
    assert shared_tokenizer.refusal(path, body, shared_tokenizer.application)[:2] == (400, "invalidRequest")


def test_the_reference_names_every_call_error_and_metric() -> None:
    reference = Path(__file__).parents[2] / "docs" / "reference"
    calls, operations = (reference / "http.md").read_text(), (reference / "operations.md").read_text()
    for path in DOCUMENT["paths"]:
        assert f"{path}`" in calls
    for name, status in STATUS.items():
        assert f"| `{name}` | {status} |" in calls
    registry = CollectorRegistry()
    CallMetrics(registry)
    SweepMetrics(registry)
    CountedProblems(registry)
    CountedProblems(registry, namespace="lunacore_main")
    for family in text_string_to_metric_families(exposition(registry).decode()):
        assert f"`{family.name}" in operations or family.name.endswith("_created")
