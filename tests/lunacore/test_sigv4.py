"""Signature Version 4: the vectors, botocore as a second opinion, and what the verifying side refuses."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import quote, urlsplit

import botocore.auth
import botocore.credentials
import pytest
from attrs import evolve, field, frozen
from botocore.awsrequest import AWSRequest
from hypothesis import given
from hypothesis import strategies as st

from lunacore import sigv4, ssec
from lunacore.errors import LunaCoreError
from lunacore.sigv4 import Credentials, Signer, VerifiedRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VECTORS = Path(__file__).parent.parent / "vectors"
FILE = json.loads((VECTORS / "sigv4.json").read_text(encoding="utf-8"))
REGION = "us-east-1"
HOST = "files.example.com"
NOW = 1_700_000_000
LASTING = Credentials("LUNAEXAMPLE", "luna/example+secret")
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

# Signatures that AWS publishes in its two worked-example pages.
AWS_SIGNATURES = {
    "AWS's worked example": "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
    "AWS's example: GET object": "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    "AWS's example: PUT object": "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    "AWS's example: GET bucket lifecycle": "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    "AWS's example: GET bucket": "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
}


@frozen
class Request:
    """What is signed, and what a server then sees of it."""

    method: str = "GET"
    host: str = HOST
    path: str = "/luna/object"
    query: tuple[tuple[str, str], ...] = ()
    headers: dict[str, str] = field(factory=dict)
    now: int = NOW
    expires: int = 60
    scheme: str = "https"
    credentials: Credentials = LASTING

    @property
    def host_header(self) -> str:
        return self.host.lower().removesuffix(":443" if self.scheme == "https" else ":80")

    def presign(self) -> str:
        return Signer(self.credentials, REGION).presign(
            self.method,
            self.host,
            self.path,
            query=self.query,
            headers=self.headers,
            now=self.now,
            expires=self.expires,
            scheme=self.scheme,
        )

    def authorize(self, payload_sha256: str = EMPTY_SHA256) -> dict[str, str]:
        return Signer(self.credentials, REGION).authorize(
            self.method,
            self.host,
            self.path,
            query=self.query,
            headers=self.headers,
            payload_sha256=payload_sha256,
            now=self.now,
            scheme=self.scheme,
        )

    def verify_presigned(self, raw_query: str, **changed: Any) -> VerifiedRequest:
        arguments: dict[str, Any] = {
            "method": self.method,
            "host": self.host_header,
            "path": self.path,
            "raw_query": raw_query,
            "headers": self.headers,
            "credentials_of": {self.credentials.access_key: self.credentials}.get,
            "region": REGION,
            "now": self.now,
        }
        return sigv4.verify_presigned(**arguments | changed)

    def verify_authorized(self, headers: dict[str, str], **changed: Any) -> VerifiedRequest:
        arguments: dict[str, Any] = {
            "method": self.method,
            "host": self.host_header,
            "path": self.path,
            "raw_query": sigv4.encode_query(self.query),
            "headers": headers,
            "credentials_of": {self.credentials.access_key: self.credentials}.get,
            "region": REGION,
            "now": self.now,
        }
        return sigv4.verify_authorized(**arguments | changed)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NAMES = st.text(st.sampled_from("abcXYZ019-"), min_size=1, max_size=12).map(lambda text: f"x-{text}")
# All white space that a header could hold, and letters beyond ASCII; no control characters.
VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]) | st.sampled_from(" \t"), max_size=40)
FREE_HEADERS = st.dictionaries(
    NAMES | st.sampled_from(["Range", "content-length", "If-None-Match", "Content-Type", "user-agent", "x-amz-meta-a"]),
    VALUES,
    max_size=6,
).filter(lambda headers: len({name.lower() for name in headers}) == len(headers))
NO_HEADERS: dict[str, str] = {}
KEY_HEADERS = st.just(NO_HEADERS) | st.builds(
    ssec.headers, st.binary(min_size=32, max_size=32), copy_source=st.booleans()
)
HEADERS = st.builds(lambda first, second: {**first, **second}, FREE_HEADERS, KEY_HEADERS)
PATHS = st.builds(
    lambda parts: "/" + "/".join(parts), st.lists(TEXT | st.sampled_from([".", "..", "", "%2F", "a" * 900]), max_size=4)
)
# Hypothesis also draws strings that it finds in the code, so the names that mean something are left out by name.
QUERY_NAMES = TEXT.filter(lambda name: name != "" and name not in {*sigv4._AUTH_PARAMETERS, "zz-extra"})
QUERIES = st.dictionaries(QUERY_NAMES, TEXT, max_size=4).map(lambda query: tuple(query.items()))
CREDENTIALS = st.builds(
    Credentials,
    st.text("ABC123/+=", min_size=1, max_size=20),
    st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable()),
    st.none() | st.text("abc/+=é", min_size=1, max_size=400),
)
REQUESTS = st.builds(
    Request,
    method=st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "POST"]),
    host=st.sampled_from([HOST, "Files.Example.COM", "localhost:9000", "a.b:443", "a.b:80", "[::1]:9000", "127.0.0.1"]),
    path=PATHS,
    query=QUERIES,
    headers=HEADERS,
    now=st.integers(0, 4_102_444_800),
    expires=st.integers(1, 604_800),
    scheme=st.sampled_from(["https", "http"]),
    credentials=CREDENTIALS,
)


@contextmanager
def botocore_clock(now: int) -> Iterator[None]:
    frozen_now = datetime.fromtimestamp(now, UTC).replace(tzinfo=None)
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=frozen_now):
        yield


def botocore_request(request: Request, body: bytes = b"") -> Any:
    return AWSRequest(
        method=request.method,
        url=f"{request.scheme}://{request.host}{quote(request.path, safe='/~')}",
        headers=request.headers,
        params=dict(request.query),
        data=body,
    )


def botocore_credentials(request: Request) -> Any:
    ours = request.credentials
    return botocore.credentials.Credentials(ours.access_key, ours.secret_key, ours.session_token)


def botocore_presign(request: Request) -> str:
    theirs = botocore_request(request)
    with botocore_clock(request.now):
        botocore.auth.S3SigV4QueryAuth(botocore_credentials(request), "s3", REGION, expires=request.expires).add_auth(
            theirs
        )
    return str(theirs.url)


def botocore_authorize(request: Request, body: bytes) -> dict[str, str]:
    theirs = botocore_request(request, body)
    with botocore_clock(request.now):
        botocore.auth.S3SigV4Auth(botocore_credentials(request), "s3", REGION).add_auth(theirs)
    return {name.lower(): value for name, value in theirs.headers.items()}


def raw_query_of(url: str) -> str:
    return urlsplit(url).query


def refused(code: str, call: Callable[[], object]) -> sigv4.SignatureError:
    with pytest.raises(sigv4.SignatureError) as caught:
        call()
    assert caught.value.code == code
    return caught.value


def vector_credentials(vector: dict[str, Any]) -> Credentials:
    return Credentials(**vector["credentials"])


def vector_request(vector: dict[str, Any]) -> Request:
    fields = {name: vector[name] for name in ("method", "host", "path", "headers", "now")}
    return Request(
        **fields,
        query=tuple((name, value) for name, value in vector["query"]),
        expires=vector.get("expires", 60),
        scheme=vector.get("scheme", "https"),
        credentials=vector_credentials(vector),
    )


# Vectors


def test_the_vectors_are_what_their_generator_writes() -> None:
    made = subprocess.run(
        [sys.executable, str(VECTORS / "generate_sigv4.py")], check=True, capture_output=True, text=True
    ).stdout
    assert json.loads(made) == FILE


@pytest.mark.parametrize("vector", FILE["presign"], ids=lambda vector: vector["name"])
def test_presign_vectors(vector: dict[str, Any]) -> None:
    request = vector_request(vector)
    assert request.presign() == vector["url"]
    assert request.verify_presigned(raw_query_of(vector["url"])).access_key == vector["credentials"]["access_key"]
    signature = AWS_SIGNATURES.get(vector["name"])
    assert signature is None or vector["url"].endswith(f"X-Amz-Signature={signature}")


@pytest.mark.parametrize("vector", FILE["presign"], ids=lambda vector: vector["name"])
def test_botocore_agrees_with_the_presign_vectors(vector: dict[str, Any]) -> None:
    assert botocore_presign(vector_request(vector)) == vector["url"]


@pytest.mark.parametrize("vector", FILE["authorize"], ids=lambda vector: vector["name"])
def test_authorize_vectors(vector: dict[str, Any]) -> None:
    request = vector_request(vector)
    signed = request.authorize(vector["payload_sha256"])
    assert signed == vector["signed"]
    assert request.verify_authorized(signed).access_key == vector["credentials"]["access_key"]
    signature = AWS_SIGNATURES.get(vector["name"])
    assert signature is None or signed["authorization"].endswith(f"Signature={signature}")


def test_every_published_example_is_among_the_vectors() -> None:
    assert set(AWS_SIGNATURES) <= {vector["name"] for vector in FILE["presign"] + FILE["authorize"]}


@pytest.mark.parametrize("vector", FILE["invalid"], ids=lambda vector: vector["name"])
def test_invalid_vectors(vector: dict[str, Any]) -> None:
    credentials = vector_credentials(vector)
    verify = {"presigned": sigv4.verify_presigned, "authorized": sigv4.verify_authorized}[vector["kind"]]
    error = refused(
        vector["code"],
        lambda: verify(
            vector["method"],
            vector["host"],
            vector["path"],
            vector["raw_query"],
            vector["headers"],
            credentials_of={credentials.access_key: credentials}.get,
            region=vector["region"],
            now=vector["now"],
        ),
    )
    assert error.status in {400, 403}
    assert credentials.secret_key not in error.message


# Against botocore


@given(request=REQUESTS)
def test_presigned_urls_are_botocores_byte_for_byte(request: Request) -> None:
    assert request.presign() == botocore_presign(request)


@given(request=REQUESTS, body=st.binary(max_size=100))
def test_signed_headers_are_botocores_byte_for_byte(request: Request, body: bytes) -> None:
    ours = request.authorize(hashlib.sha256(body).hexdigest())
    theirs = botocore_authorize(request, body)
    assert ours.pop("host") == request.host_header  # botocore leaves it to the HTTP client
    assert ours == {name.lower(): value for name, value in request.headers.items()} | theirs


# What is signed is accepted


@given(request=REQUESTS, later=st.integers(0, 604_800), upper=st.booleans())
def test_what_presign_makes_is_accepted_until_it_expires(request: Request, later: int, upper: bool) -> None:
    now = request.now + min(later, request.expires - 1)
    headers = {name.upper() if upper else name: value for name, value in request.headers.items()}
    verified = request.verify_presigned(raw_query_of(request.presign()), now=now, headers=headers)
    assert verified.access_key == request.credentials.access_key
    assert verified.expires_at == request.now + request.expires
    assert verified.payload_sha256 is None
    assert dict(verified.query) == dict(request.query)
    assert set(verified.signed_headers) == {"host", *map(str.lower, request.headers)} - sigv4.NEVER_SIGNED
    error = refused(
        "AccessDenied", lambda: request.verify_presigned(raw_query_of(request.presign()), now=verified.expires_at)
    )
    assert isinstance(error, sigv4.RequestExpired)


@given(request=REQUESTS, body=st.binary(max_size=100), drift=st.integers(-900, 900))
def test_what_authorize_makes_is_accepted_within_the_skew(request: Request, body: bytes, drift: int) -> None:
    digest = hashlib.sha256(body)
    verified = request.verify_authorized(request.authorize(digest.hexdigest()), now=request.now + drift)
    assert verified.payload_sha256 == digest.hexdigest()
    assert dict(verified.query) == dict(request.query)
    verified.check_payload(digest.digest())
    refused("XAmzContentSHA256Mismatch", lambda: verified.check_payload(hashlib.sha256(body + b"x").digest()))


def test_an_unsigned_payload_may_be_any() -> None:
    verified = Request().verify_authorized(Request().authorize(sigv4.UNSIGNED_PAYLOAD))
    assert verified.payload_sha256 is None
    verified.check_payload(hashlib.sha256(b"anything").digest())


def test_a_payload_hash_in_a_presigned_request_is_handed_on() -> None:
    request = Request(method="PUT", headers={"x-amz-content-sha256": EMPTY_SHA256})
    assert request.verify_presigned(raw_query_of(request.presign())).payload_sha256 == EMPTY_SHA256


def test_headers_that_were_not_signed_may_be_added_unless_they_are_amazons() -> None:
    request = Request(headers={"range": "bytes=0-1"})
    query = raw_query_of(request.presign())
    verified = request.verify_presigned(query, headers=request.headers | {"accept": "*/*"})
    assert verified.signed_headers == ("host", "range")


def test_clients_may_encode_more_than_they_must() -> None:
    request = Request(query=(("a", "b~c"),))
    query = raw_query_of(request.presign()).replace("b~c", "%62%7ec")
    assert request.verify_presigned(query).query == {"a": "b~c"}


def test_a_signature_from_a_clock_ahead_is_accepted_up_to_the_skew() -> None:
    request = Request()
    query = raw_query_of(request.presign())
    request.verify_presigned(query, now=NOW - 900)
    error = refused("AccessDenied", lambda: request.verify_presigned(query, now=NOW - 901))
    assert isinstance(error, sigv4.RequestNotYetValid)
    refused("AccessDenied", lambda: request.verify_presigned(query, now=NOW - 1, clock_skew=0))


@pytest.mark.parametrize("drift", [-900, 900])
def test_signed_headers_are_accepted_up_to_the_skew(drift: int) -> None:
    signed = Request().authorize()
    assert Request().verify_authorized(signed, now=NOW + drift).expires_at == NOW + 901
    refused("RequestTimeTooSkewed", lambda: Request().verify_authorized(signed, now=NOW + drift, clock_skew=899))


def test_the_longest_life_can_be_lowered() -> None:
    request = Request(expires=61)
    refused(
        "AuthorizationQueryParametersError",
        lambda: request.verify_presigned(raw_query_of(request.presign()), max_expires=60),
    )


# What is changed is refused


@given(request=REQUESTS, data=st.data())
def test_every_change_of_a_presigned_request_is_refused(request: Request, data: st.DataObject) -> None:
    query = raw_query_of(request.presign())
    signed = sorted(name for name in request.headers if name.lower() not in sigv4.NEVER_SIGNED)
    other_key = evolve(request.credentials, secret_key=request.credentials.secret_key + "x")
    stretched = request.expires + (1 if request.expires < 604_800 else -1)
    digit = "0" if query[-1] != "0" else "1"
    changes: list[tuple[str, str, dict[str, Any]]] = [
        ("SignatureDoesNotMatch", query, {"method": "PATCH"}),
        ("SignatureDoesNotMatch", query, {"method": request.method.lower()}),
        ("SignatureDoesNotMatch", query, {"host": "other.example.com"}),
        ("SignatureDoesNotMatch", query, {"path": request.path + "x"}),
        ("SignatureDoesNotMatch", query, {"path": "/\udcff"}),
        ("SignatureDoesNotMatch", f"zz-extra=1&{query}", {}),
        ("SignatureDoesNotMatch", query[:-1] + digit, {}),
        ("SignatureDoesNotMatch", query, {"credentials_of": lambda _: other_key}),
        (
            "SignatureDoesNotMatch",
            query.replace(f"X-Amz-Expires={request.expires}&", f"X-Amz-Expires={stretched}&"),
            {},
        ),
        ("SignatureDoesNotMatch", re.sub(r"(X-Amz-Date=\d{8}T)(\d{6})", moved, query), {}),
        (
            "SignatureDoesNotMatch",
            query.replace("SignedHeaders=", "SignedHeaders=a%3B"),
            {"headers": {**request.headers, "a": "b"}},
        ),
        ("AccessDenied", query, {"headers": {**request.headers, "x-amz-added": "x"}}),
        ("InvalidAccessKeyId", query, {"credentials_of": lambda _: None}),
        ("AuthorizationQueryParametersError", query, {"region": "eu-west-1"}),
        ("AuthorizationQueryParametersError", f"{query}&X-Amz-Date=1", {}),
    ]
    own = sigv4.encode_query(request.query)
    for index, (name, value) in enumerate(request.query):
        for pairs in ([(name, value + "x")], []):
            edited = sigv4.encode_query((*request.query[:index], *pairs, *request.query[index + 1 :]))
            changes.append(("SignatureDoesNotMatch", (edited + query[len(own) :]).removeprefix("&"), {}))
    for name in signed:
        less = {other: value for other, value in request.headers.items() if other != name}
        changes.extend(
            [
                ("SignatureDoesNotMatch", query, {"headers": {**less, name: request.headers[name] + "x"}}),
                ("SignatureDoesNotMatch", query, {"headers": less}),
            ]
        )
    code, changed_query, changed = data.draw(st.sampled_from(changes))
    refused(code, lambda: request.verify_presigned(changed_query, **changed))


def moved(match: re.Match[str]) -> str:
    return f"{match[1]}000001" if match[2] != "000001" else f"{match[1]}000002"


@given(request=REQUESTS, data=st.data())
def test_every_change_of_a_header_signed_request_is_refused(request: Request, data: st.DataObject) -> None:
    signed = request.authorize()
    other_key = evolve(request.credentials, secret_key=request.credentials.secret_key + "x")
    raw_query = sigv4.encode_query((*request.query, ("zz-extra", "1")))
    covered = [name for name in signed if name not in sigv4.NEVER_SIGNED | {"authorization", "host"}]
    fixed = {"x-amz-date", "x-amz-content-sha256", "x-amz-security-token"}
    changes: list[tuple[str, dict[str, str], dict[str, Any]]] = [
        ("SignatureDoesNotMatch", signed, {"method": "PATCH"}),
        ("SignatureDoesNotMatch", signed, {"host": "other.example.com"}),
        ("SignatureDoesNotMatch", signed, {"path": request.path + "x"}),
        ("SignatureDoesNotMatch", signed, {"raw_query": raw_query}),
        ("SignatureDoesNotMatch", signed, {"credentials_of": lambda _: other_key}),
        ("SignatureDoesNotMatch", {**signed, "x-amz-content-sha256": "0" * 64}, {}),
        ("SignatureDoesNotMatch", {**signed, "authorization": signed["authorization"] + "0"}, {}),
        ("SignatureDoesNotMatch", {**signed, "authorization": signed["authorization"] + "é\udcff"}, {}),
        ("AccessDenied", {**signed, "x-amz-added": "x"}, {}),
        ("InvalidAccessKeyId", signed, {"credentials_of": lambda _: None}),
        ("AuthorizationHeaderMalformed", signed, {"region": "eu-west-1"}),
        ("RequestTimeTooSkewed", signed, {"now": request.now + 901}),
        *(("SignatureDoesNotMatch", {**signed, name: signed[name] + "x"}, {}) for name in covered if name not in fixed),
    ]
    code, headers, changed = data.draw(st.sampled_from(changes))
    refused(code, lambda: request.verify_authorized(headers, **changed))


@given(
    raw_query=st.text(max_size=80),
    headers=st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=3),
    path=st.text(max_size=10),
)
def test_garbage_is_refused_with_a_signature_error(raw_query: str, headers: dict[str, str], path: str) -> None:
    for verify in (sigv4.verify_presigned, sigv4.verify_authorized):
        with pytest.raises(sigv4.SignatureError):
            verify("GET", HOST, path, raw_query, headers, credentials_of=lambda _: LASTING, region=REGION, now=NOW)


def test_a_header_sent_twice_is_refused() -> None:
    query = raw_query_of(Request().presign())
    refused("InvalidArgument", lambda: Request().verify_presigned(query, headers={"Range": "a", "range": "b"}))


# What cannot be signed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"expires": 0}, "expires"),
        ({"expires": 604_801}, "expires"),
        ({"path": "luna"}, "path"),
        ({"path": ""}, "path"),
        ({"host": "a/b"}, "host"),
        ({"host": "user@a"}, "host"),
        ({"host": ""}, "host"),
        ({"scheme": "ftp"}, "scheme"),
        ({"query": (("a", "1"), ("a", "2"))}, "twice"),
        ({"query": (("X-Amz-Date", "1"),)}, "signature itself"),
        ({"headers": {"Range": "a", "range": "b"}}, "twice"),
        ({"headers": {"a b": "x"}}, "header name"),
        ({"headers": {"a\nb": "x"}}, "header name"),
        ({"headers": {"": "x"}}, "header name"),
        ({"headers": {"Host": "other.example.com"}}, "another host"),
        ({"headers": {"x-amz-content-sha256": "x"}}, "x-amz-content-sha256"),
    ],
)
def test_what_cannot_be_signed_is_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evolve(Request(), **changed).presign()


def test_authorize_refuses_a_payload_hash_that_is_none() -> None:
    with pytest.raises(ValueError, match="payload_sha256"):
        Request().authorize("sha256")


def test_a_host_header_among_the_headers_changes_nothing() -> None:
    assert Request(headers={"host": HOST}).presign() == Request().presign()


def test_signing_again_replaces_what_the_first_signing_added() -> None:
    request = Request(credentials=evolve(LASTING, session_token="t"))
    later = evolve(request, now=NOW + 5)
    assert evolve(later, headers=request.authorize()).authorize() == later.authorize()


@given(times=st.lists(st.integers(0, 4_102_444_800), min_size=2, max_size=8))
def test_one_signer_signs_for_any_sequence_of_days(times: list[int]) -> None:
    signer = Signer(LASTING, REGION)
    for now in times:
        ours = signer.presign("GET", HOST, "/luna/object", headers={}, now=now, expires=60)
        assert ours == Request(now=now).presign()


# Secrets and errors


def test_no_repr_shows_a_secret() -> None:
    credentials = Credentials("PUBLIC", "the-secret", "the-token")
    signer = Signer(credentials, REGION)
    signer.presign("GET", HOST, "/a", headers={}, now=NOW, expires=60)
    shown = repr((credentials, signer, sigv4.signing_key(credentials, REGION, "s3", NOW)))
    assert "PUBLIC" in shown
    assert "the-" not in shown
    assert "HMAC" not in shown.replace("AWS4-HMAC", "")


def test_signature_errors_are_for_s3_clients_only() -> None:
    assert not issubclass(sigv4.SignatureError, LunaCoreError)
    errors: list[type[sigv4.SignatureError]] = [sigv4.SignatureError, *sigv4.SignatureError.__subclasses__()]
    for error in errors:
        assert re.fullmatch("[A-Z][A-Za-z0-9]+", error.code)
        assert error.status in {400, 403}
    assert str(sigv4.RequestExpired()) == "Request has expired"
