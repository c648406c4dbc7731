"""Bodies: what is malformed is refused with the member's name, and nothing that was sent comes back."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunacore.errors import InvalidRequest
from lunacore_http import wire
from tests.http.conftest import refusal_in
from tests.http.tokenizer_server import STRING

if TYPE_CHECKING:
    from tests.http.conftest import Tokenizer

TOKEN = "lunasec-2b58d9b2-83c1-4e9b-9692-b149112810c8"
SECRET = "s3cr3t-4111-1111"
CALLS = (
    "/tokenize",
    "/detokenize",
    "/grant/set",
    "/grant/verify",
    "/grant/revoke",
    "/metadata/get",
    "/token/label",
    "/token/delete",
    "/label/delete",
    "/session/end",
)

MALFORMED: list[tuple[str, Any, str]] = [
    ("/tokenize", {}, "metadata"),
    ("/tokenize", [], "body"),
    ("/tokenize", None, "body"),
    ("/tokenize", SECRET, "body"),
    ("/tokenize", {"metadata": None}, "metadata"),
    ("/tokenize", {"metadata": {}}, "metadata.dataType"),
    ("/tokenize", {"metadata": {"dataType": SECRET}}, "metadata.dataType"),
    ("/tokenize", {"metadata": {"dataType": 3}}, "metadata.dataType"),
    ("/tokenize", {"metadata": STRING | {"kind": SECRET}}, "metadata.kind"),
    ("/tokenize", {"metadata": STRING | {SECRET: 1}}, "metadata"),
    ("/tokenize", {"metadata": STRING | {"createdAt": True}}, "metadata.createdAt"),
    ("/tokenize", {"metadata": STRING | {"customFields": SECRET}}, "metadata.customFields"),
    ("/tokenize", {"metadata": STRING | {"fileinfo": {}}}, "metadata.fileinfo.filename"),
    ("/tokenize", {"metadata": STRING | {"fileinfo": {"filename": 1}}}, "metadata.fileinfo.filename"),
    ("/tokenize", {"metadata": STRING | {"fileinfo": {"filename": "a", "size": 1}}}, "metadata.fileinfo.size"),
    ("/tokenize", {"metadata": STRING, "size": -1}, "size"),
    ("/tokenize", {"metadata": STRING, "size": 1.5}, "size"),
    ("/tokenize", {"metadata": STRING, "size": "1"}, "size"),
    ("/tokenize", {"metadata": STRING, "size": 2**63}, "size"),
    ("/tokenize", {"metadata": STRING, "valueFormat": SECRET}, "valueFormat"),
    ("/tokenize", {"metadata": STRING, "sessionId": ""}, "sessionId"),
    ("/tokenize", {"metadata": STRING, "sessionId": SECRET * 200}, "sessionId"),
    ("/tokenize", {"metadata": STRING, "sessionId": "s", "sessionIssuer": SECRET}, "sessionIssuer"),
    ("/tokenize", {"items": []}, "items"),
    ("/tokenize", {"items": {}}, "items"),
    ("/tokenize", {"items": [{"metadata": STRING}, {"metadata": {"dataType": SECRET}}]}, "items[1].metadata.dataType"),
    ("/tokenize", {"items": [{"metadata": STRING}], "metadata": STRING}, "metadata"),
    ("/tokenize", {"items": [{"metadata": STRING}] * 501}, "items"),
    ("/detokenize", {}, "tokenId"),
    ("/detokenize", {"tokenId": 1}, "tokenId"),
    ("/detokenize", {"tokenId": SECRET}, "tokenId"),
    ("/detokenize", {"tokenId": SECRET * 100}, "tokenId"),
    ("/detokenize", {"tokenId": TOKEN.upper()}, "tokenId"),
    ("/detokenize", {"tokenid": TOKEN}, "tokenid"),
    ("/detokenize", {"tokenId": TOKEN, "tokenIds": [TOKEN]}, "tokenId or tokenIds, not both"),
    ("/detokenize", {"tokenIds": []}, "tokenIds"),
    ("/detokenize", {"tokenIds": TOKEN}, "tokenIds"),
    ("/detokenize", {"tokenIds": [TOKEN, 1]}, "tokenIds[1]"),
    ("/detokenize", {"tokenIds": [TOKEN] * 501}, "tokenIds"),
    ("/detokenize", {"tokenId": TOKEN, "reason": SECRET}, "reason"),
    ("/grant/set", {"tokenId": TOKEN}, "sessionId"),
    ("/grant/set", {"sessionId": "s"}, "tokenId"),
    ("/grant/set", {"sessionId": "s", "tokenId": TOKEN, "grantType": SECRET}, "grantType"),
    ("/grant/set", {"sessionId": "s", "tokenId": TOKEN, "customDuration": SECRET}, "customDuration"),
    ("/grant/set", {"sessionId": "s", "tokenId": TOKEN, "customDuration": "25h"}, "customDuration"),
    ("/grant/set", {"sessionId": "s", "tokenId": TOKEN, "customDuration": 0}, "customDuration"),
    ("/grant/set", {"sessionId": "s", "tokenId": TOKEN, "customDuration": -1}, "customDuration"),
    ("/grant/set", {"sessionId": "s", "tokenId": TOKEN, "customDuration": 1.5}, "customDuration"),
    ("/grant/set", {"sessionId": "s", "tokenId": TOKEN, "customDuration": 10**30}, "customDuration"),
    ("/grant/set", {"sessionId": "s", "tokenId": TOKEN, "sessionIssuer": SECRET}, "sessionIssuer"),
    (
        "/grant/set",
        {"sessionId": "s", "tokenId": TOKEN, "sessionIssuer": "https://elsewhere.example.com"},
        "sessionIssuer",
    ),
    ("/grant/verify", {"sessionId": "s", "tokenId": TOKEN, "customDuration": "1m"}, "customDuration"),
    ("/grant/verify", {"sessionId": 1, "tokenId": TOKEN}, "sessionId"),
    ("/grant/revoke", {}, "sessionId"),
    ("/grant/revoke", {"sessionId": "s", "tokenId": None}, "tokenId"),
    ("/grant/revoke", {"sessionId": "s", "tokenIds": []}, "tokenIds"),
    ("/metadata/get", {"tokenId": ""}, "tokenId"),
    ("/token/delete", {"tokenId": None}, "tokenId"),
    ("/tokenize", {"metadata": STRING, "ttl": SECRET}, "ttl"),
    ("/tokenize", {"metadata": STRING, "ttl": 1.5}, "ttl"),
    ("/tokenize", {"metadata": STRING, "labels": SECRET}, "labels"),
    ("/tokenize", {"metadata": STRING, "labels": [SECRET, 1]}, "labels[1]"),
    ("/token/label", {"tokenId": TOKEN}, "labels"),
    ("/token/label", {"tokenId": TOKEN, "labels": []}, "labels"),
    ("/token/label", {"tokenId": TOKEN, "labels": SECRET}, "labels"),
    ("/token/label", {"tokenId": TOKEN, "labels": [SECRET, ""]}, "labels[1]"),
    ("/token/label", {"tokenId": TOKEN, "labels": ["é" * 200]}, "a label"),
    ("/token/label", {"labels": [SECRET]}, "tokenId"),
    ("/label/delete", {}, "label"),
    ("/label/delete", {"label": ""}, "label"),
    ("/label/delete", {"label": [SECRET]}, "label"),
    ("/label/delete", {"label": SECRET, "tokenId": TOKEN}, "tokenId"),
    ("/session/end", {}, "sessionId"),
    ("/session/end", {"sessionId": "s", "sessionIssuer": SECRET}, "sessionIssuer"),
    ("/session/end", {"sessionId": "s", "tokenId": TOKEN}, "tokenId"),
]

NOT_JSON = [
    b" ",
    b"{",
    b"\xff",
    b'{"tokenId": "\xff"}',
    b'{"tokenId": "\\ud800"}',
    b'\xef\xbb\xbf{"tokenId": "a"}',
    b'{"tokenId": NaN}',
    b'{"tokenId": "a"} {}',
    b'{"metadata": {"dataType": "string", "customFields": {"a": 1e400}}}',
    b'{"metadata": {"dataType": "string", "customFields": {"a": ' + b"9" * 5000 + b"}}}",
    b'{"metadata": {"dataType": "string", "customFields": {"a": ' + b"[" * 1900 + b"]" * 1900 + b"}}}",
    b"[" * 100_000,
]


@pytest.mark.parametrize(("path", "body", "named"), MALFORMED)
def test_a_malformed_member_is_named_and_not_repeated(
    shared_tokenizer: Tokenizer, path: str, body: Any, named: str
) -> None:
    caller = shared_tokenizer.reading_application
    status, name, message = shared_tokenizer.refusal(path, body, caller)
    assert (status, name) == (400, "invalidRequest")
    assert named in message
    assert SECRET not in message
    assert TOKEN not in message


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("body", NOT_JSON, ids=range(len(NOT_JSON)))
def test_what_is_no_json_is_refused(shared_tokenizer: Tokenizer, path: str, body: bytes) -> None:
    status, name, _ = shared_tokenizer.refusal(path, body, shared_tokenizer.application)
    assert (status, name) == (400, "invalidRequest")


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "", None]
)
def test_a_body_must_be_declared_as_json(shared_tokenizer: Tokenizer, media_type: str | None) -> None:
    headers = {} if media_type is None else {"content-type": media_type}
    answer = shared_tokenizer.client.simulate_post(
        "/detokenize", body=b"{}", headers={**shared_tokenizer.application, **headers}
    )
    status, name, message = refusal_in(answer)
    assert (status, name) == (400, "invalidRequest")
    assert "content-type" in message


@pytest.mark.parametrize("media_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_forms_of_the_media_type_that_pass(shared_tokenizer: Tokenizer, media_type: str) -> None:
    answer = shared_tokenizer.client.simulate_post(
        "/token/delete",
        body=json.dumps({"tokenId": TOKEN}),
        headers={**shared_tokenizer.application, "content-type": media_type},
    )
    assert answer.status_code == 200


def test_a_body_over_the_limit_is_refused(shared_tokenizer: Tokenizer) -> None:
    body = b" " * (shared_tokenizer.services.limits.max_body + 1)
    status, name, message = shared_tokenizer.refusal("/detokenize", body, shared_tokenizer.application)
    assert (status, name) == (413, "tooLarge")
    assert "tokenizer.max_body" in message


def test_metadata_over_four_kibibytes_is_refused(shared_tokenizer: Tokenizer) -> None:
    body = {"metadata": STRING | {"customFields": {"a": SECRET * 300}}}
    status, name, message = shared_tokenizer.refusal("/tokenize", body, shared_tokenizer.application)
    assert (status, name) == (413, "tooLarge")
    assert SECRET not in message


@pytest.mark.parametrize("depth", [31, 33, 500, *range(940, 1000, 4)])
def test_nesting_has_a_bound(shared_tokenizer: Tokenizer, depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    body = b'{"metadata": {"dataType": "string", "customFields": {"a": %b}}}' % nested
    status, name, _ = shared_tokenizer.refusal("/tokenize", body, shared_tokenizer.application)
    assert (status, name) == (400, "invalidRequest")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
members = st.sampled_from(
    [
        *("metadata", "size", "valueFormat", "sessionId", "sessionIssuer", "items", "tokenId", "tokenIds"),
        *("grantType", "customDuration", "dataType", "customFields", "createdAt", "fileinfo", "filename"),
    ]
)
plausible = st.sampled_from([STRING, TOKEN, [TOKEN], "read_token", "raw", "15m", 1, {"metadata": STRING}])
bodies = st.dictionaries(members, json_values | plausible, max_size=6)


@given(path=st.sampled_from(CALLS), body=json_values | bodies, by_user=st.booleans())
def test_no_json_makes_the_server_fail(shared_tokenizer: Tokenizer, path: str, body: Any, by_user: bool) -> None:
    caller = shared_tokenizer.user("hypothesis") if by_user else shared_tokenizer.application
    answer = shared_tokenizer.send(path, body, caller)
    assert answer.status_code in {200, 400, 401, 403, 404, 409, 413}
    assert set(answer.json) == {"success", "error", "data"}


@given(body=st.binary(max_size=200))
def test_no_bytes_make_the_decoders_fail(body: bytes) -> None:
    decoders: tuple[wire.RequestDecoder[Any], ...] = (wire.TOKENIZE, wire.BY_TOKEN, wire.SET_GRANT, wire.END_SESSION)
    for decoder in decoders:
        with contextlib.suppress(InvalidRequest):
            decoder.decode(body)


def test_no_shape_shows_what_it_holds() -> None:
    decoded = wire.SET_GRANT.decode(json.dumps({"sessionId": SECRET, "tokenId": TOKEN}).encode())
    assert SECRET not in repr(decoded)
    assert TOKEN not in repr(decoded)
