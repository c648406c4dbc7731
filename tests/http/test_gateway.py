"""The gateway over real HTTP: what it serves, what it refuses, and what other people's S3 clients make of it."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import os
import socket
import time
import zlib
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import falcon.testing
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session

from lunacore import ssec
from lunacore.errors import ConfigError
from lunacore.gateway_keys import REGION, FixedGatewayKeys
from lunacore.plugins import BackendURL, Surroundings
from lunacore.sigv4 import UNSIGNED_PAYLOAD, Credentials, Signer, encode_query
from lunacore.testing.object_store import Answer, bytes_of, send
from lunacore.testing.servers import WSGIProcess
from lunacore_backends import file_objects, fsspec_objects
from lunacore_backends.gateway_tickets import GatewayTickets
from lunacore_backends.sealed_objects import SealedObjects
from lunacore_http.gateway import create_gateway
from lunacore_http.gateway_requests import span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lunacore.stores import SignedRequest, Stat

# One worker runs them all, and so makes what they share once.
pytestmark = pytest.mark.xdist_group("gateway")

APPLICATION = Path(__file__).with_name("gateway_application.py")
ALLOWED_ORIGIN = "https://secure.example.com"
MAX_SIZE = 64 << 20
CREDENTIALS = Credentials(access_key="lunacore-gateway-1", secret_key="only for tests")
KEYS = FixedGatewayKeys([CREDENTIALS])
SIGNER = Signer(credentials=CREDENTIALS, region=REGION)
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


@pytest.fixture(scope="session")
def gateway_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway") / "objects"


@pytest.fixture(scope="session")
def gateway(gateway_directory: Path) -> Iterator[WSGIProcess]:
    environment = {
        "GATEWAY_OBJECTS": gateway_directory.as_uri(),
        "GATEWAY_ALLOWED_ORIGIN": ALLOWED_ORIGIN,
        "PYTHONPATH": str(APPLICATION.parents[2]),
    }
    with WSGIProcess(APPLICATION, environment=environment, threads=16) as server:
        yield server


@pytest.fixture
def store(gateway: WSGIProcess, gateway_directory: Path) -> SealedObjects:
    surroundings = Surroundings("objects", time.time, os.urandom, gateway.url, KEYS)
    return file_objects.open_objects(BackendURL.parse(gateway_directory.as_uri(), "objects"), surroundings)


@pytest.fixture
def name() -> bytes:
    return os.urandom(32)


@pytest.fixture
def key() -> bytes:
    return os.urandom(32)


def now() -> int:
    return int(time.time())


def code_of(answer: Answer | httpx.Response) -> str:
    root = ET.fromstring(answer.body if isinstance(answer, Answer) else answer.content)
    assert root.tag == "Error"
    assert root.findtext("Message")
    return root.findtext("Code") or ""


def presigned(
    gateway: WSGIProcess, method: str, name: bytes, headers: Mapping[str, str], query: Sequence[tuple[str, str]] = ()
) -> str:
    host = f"127.0.0.1:{gateway.port}"
    path = f"/objects/{name.hex()}"
    return SIGNER.presign(method, host, path, query=query, headers=headers, now=now(), expires=60, scheme="http")


def authorized(
    gateway: WSGIProcess,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    query: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    payload_sha256: str = "",
) -> httpx.Response:
    signed = SIGNER.authorize(
        method,
        f"127.0.0.1:{gateway.port}",
        path,
        query=query,
        headers=headers or {},
        payload_sha256=payload_sha256 or hashlib.sha256(body).hexdigest(),
        now=now(),
        scheme="http",
    )
    url = f"{gateway.url}{path}" + (f"?{encode_query(query)}" if query else "")
    return httpx.request(method, url, headers=signed, content=body)


def raw_exchange(gateway: WSGIProcess, sent: bytes, *, shut: bool = False) -> bytes:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as connection:
        connection.sendall(sent)
        if shut:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while b"</Error>" not in received and (data := connection.recv(65_536)):
            received += data
    return received


def raw_put(url: str, headers: Mapping[str, str], body: bytes) -> bytes:
    parts = urlsplit(url)
    lines = [f"PUT {parts.path}?{parts.query} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


# uploads


def test_an_upload_answers_with_the_etag(store: SealedObjects, name: bytes, key: bytes) -> None:
    answer = send(store.upload(name, key, now=now(), ttl=60), b"value")
    stat = store.stat(name, key)
    assert stat is not None
    assert (answer.status, answer.body, answer.headers["etag"]) == (200, b"", f'"{stat.etag}"')


def test_an_upload_needs_its_length(gateway: WSGIProcess, store: SealedObjects, name: bytes, key: bytes) -> None:
    request = store.upload(name, key, now=now(), ttl=60)
    headers = {**request.headers, "transfer-encoding": "chunked"}
    answer = raw_exchange(gateway, raw_put(request.url, headers, b"5\r\nvalue\r\n0\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 411 ")
    assert b"<Code>MissingContentLength</Code>" in answer
    assert store.stat(name, key) is None


def test_an_upload_cut_short_writes_nothing(
    gateway: WSGIProcess, gateway_directory: Path, store: SealedObjects, name: bytes, key: bytes
) -> None:
    request = store.upload(name, key, now=now(), ttl=60, size=300_000)
    answer = raw_exchange(gateway, raw_put(request.url, request.headers, bytes(200_000)), shut=True)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"<Code>IncompleteBody</Code>" in answer
    assert store.stat(name, key) is None
    assert not list((gateway_directory / ".incoming").glob(f"{name.hex()}*"))


def test_more_than_the_maximum_is_refused_unread(store: SealedObjects, name: bytes, key: bytes) -> None:
    request = store.upload(name, key, now=now(), ttl=60, size=MAX_SIZE + 1)
    answer = send(request, b"")
    assert (answer.status, code_of(answer)) == (413, "EntityTooLarge")


def test_a_second_upload_is_refused(store: SealedObjects, name: bytes, key: bytes) -> None:
    request = store.upload(name, key, now=now(), ttl=60)
    assert send(request, b"first").status == 200
    answer = send(request, b"second")
    assert (answer.status, code_of(answer)) == (412, "PreconditionFailed")


def test_an_upload_that_might_replace_is_refused(
    gateway: WSGIProcess, store: SealedObjects, name: bytes, key: bytes
) -> None:
    headers = ssec.headers(key)
    url = presigned(gateway, "PUT", name, headers)
    for extra in ({}, {"if-none-match": "*"}):
        answer = httpx.put(url, headers={**headers, **extra}, content=b"value")
        assert (answer.status_code, code_of(answer)) == (403, "AccessDenied")
    other = {**headers, "if-none-match": '"abc"'}
    answer = httpx.put(presigned(gateway, "PUT", name, other), headers=other, content=b"value")
    assert answer.status_code == 501
    assert store.stat(name, key) is None


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"x-amz-server-side-encryption-customer-algorithm": "AES128"}, 400),
        ({"x-amz-server-side-encryption-customer-key": "c2hvcnQ="}, 400),
        ({"x-amz-server-side-encryption-customer-key-md5": base64.b64encode(bytes(16)).decode()}, 400),
        ({"x-amz-server-side-encryption": "AES256"}, 501),
        ({"x-amz-acl": "public-read"}, 501),
        ({"x-amz-meta-owner": "me"}, 501),
        ({"x-amz-tagging": "a=b"}, 501),
        ({"content-encoding": "aws-chunked"}, 501),
        ({"content-md5": "no base64"}, 400),
        ({"x-amz-checksum-crc32": "AAAAAA=="}, 400),
        ({"x-amz-checksum-sha1": base64.b64encode(bytes(20)).decode()}, 400),
        ({"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}, 501),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    gateway: WSGIProcess, store: SealedObjects, name: bytes, key: bytes, changes: dict[str, str], status: int
) -> None:
    headers = {**ssec.headers(key), "if-none-match": "*", **changes}
    answer = httpx.put(presigned(gateway, "PUT", name, headers), headers=headers, content=b"value")
    assert answer.status_code == status, answer.text
    code_of(answer)
    assert store.stat(name, key) is None


@pytest.mark.parametrize("missing", list(ssec.headers(bytes(32))))
def test_the_whole_trio_is_needed(gateway: WSGIProcess, name: bytes, key: bytes, missing: str) -> None:
    headers = {**ssec.headers(key), "if-none-match": "*"}
    del headers[missing]
    answer = httpx.put(presigned(gateway, "PUT", name, headers), headers=headers, content=b"value")
    assert (answer.status_code, code_of(answer)) == (400, "InvalidRequest")
    assert base64.b64encode(key).decode() not in answer.text


@pytest.mark.parametrize(
    "digest", ["content-md5", "x-amz-checksum-sha256", "x-amz-checksum-crc32", "x-amz-checksum-sha1"]
)
def test_digests_are_checked(gateway: WSGIProcess, store: SealedObjects, name: bytes, key: bytes, digest: str) -> None:
    value = bytes_of(100_000)
    right = {
        "content-md5": hashlib.md5(value).digest(),
        "x-amz-checksum-sha256": hashlib.sha256(value).digest(),
        "x-amz-checksum-sha1": hashlib.sha1(value).digest(),
        "x-amz-checksum-crc32": zlib.crc32(value).to_bytes(4, "big"),
    }[digest]
    headers = {**ssec.headers(key), "if-none-match": "*", digest: base64.b64encode(right).decode()}
    url = presigned(gateway, "PUT", name, headers)
    answer = httpx.put(url, headers=headers, content=value[:-1] + b"?")
    assert (answer.status_code, code_of(answer)) == (400, "BadDigest")
    assert store.stat(name, key) is None
    assert httpx.put(url, headers=headers, content=value).status_code == 200


@pytest.mark.parametrize(
    "query", [[("tagging", "")], [("partNumber", "1"), ("uploadId", "x")], [("versionId", "1")], [("acl", "")]]
)
def test_subresources_are_refused(
    gateway: WSGIProcess, store: SealedObjects, name: bytes, key: bytes, query: list[tuple[str, str]]
) -> None:
    headers = {**ssec.headers(key), "if-none-match": "*"}
    answer = httpx.put(presigned(gateway, "PUT", name, headers, query), headers=headers, content=b"value")
    assert (answer.status_code, code_of(answer)) == (501, "NotImplemented")
    assert store.stat(name, key) is None


@pytest.mark.parametrize("path", ["a", "A" * 64, "0" * 63, "0" * 65, "%2e%2e"])
def test_a_name_is_hex(gateway: WSGIProcess, path: str) -> None:
    answer = httpx.put(f"{gateway.url}/objects/{path}", content=b"value")
    assert answer.status_code == 400
    assert code_of(answer) == "InvalidArgument"


# downloads


@pytest.fixture
def value(store: SealedObjects, name: bytes, key: bytes) -> bytes:
    value = bytes_of(150_000)
    store.write(name, key, io.BytesIO(value))
    return value


def test_a_value_is_served_so_that_no_browser_runs_it(
    store: SealedObjects, name: bytes, key: bytes, value: bytes
) -> None:
    answer = send(store.download(name, key, now=now(), ttl=60))
    assert answer.body == value
    expected = {
        "content-type": "application/octet-stream",
        "x-content-type-options": "nosniff",
        "content-disposition": "attachment",
        "content-security-policy": "sandbox; default-src 'none'",
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "accept-ranges": "bytes",
        "content-length": "150000",
    }
    assert expected.items() <= answer.headers.items()
    refused = send(store.download(name, os.urandom(32), now=now(), ttl=60))
    assert refused.headers["content-type"] == "application/xml"
    assert refused.headers["x-content-type-options"] == "nosniff"
    assert refused.headers["content-security-policy"] == "sandbox; default-src 'none'"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=65535-65536", 65_535, 65_537),
        ("bytes=100000-", 100_000, 150_000),
        ("bytes=149999-999999", 149_999, 150_000),
        ("bytes=-1", 149_999, 150_000),
        ("bytes=-999999", 0, 150_000),
    ],
)
def test_a_range(store: SealedObjects, name: bytes, key: bytes, value: bytes, asked: str, start: int, end: int) -> None:
    answer = send(store.download(name, key, now=now(), ttl=60), extra={"range": asked})
    assert (answer.status, answer.body) == (206, value[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/150000"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("asked", ["bytes=150000-", "bytes=150000-150001", "bytes=-0"])
def test_an_unsatisfiable_range(store: SealedObjects, name: bytes, key: bytes, value: bytes, asked: str) -> None:
    answer = send(store.download(name, key, now=now(), ttl=60), extra={"range": asked})
    assert (answer.status, code_of(answer)) == (416, "InvalidRange")
    assert answer.headers["content-range"] == "bytes */150000"


@pytest.mark.parametrize(
    "asked", ["bytes=1-0", "bytes=0-1,3-4", "lines=0-1", "bytes=-", "bytes=a-b", "bytes=0-٣".encode().decode("latin-1")]
)
def test_a_range_that_is_none_is_ignored(
    store: SealedObjects, name: bytes, key: bytes, value: bytes, asked: str
) -> None:
    answer = send(store.download(name, key, now=now(), ttl=60), extra={"range": asked})
    assert (answer.status, answer.body) == (200, value)


def test_the_ranges_of_nothing() -> None:
    assert span({}, 0, "e").length == 0
    for asked in ("bytes=0-", "bytes=-1", "bytes=0-0"):
        with pytest.raises(Exception, match="not satisfiable"):
            span({"range": asked}, 0, "e")


def test_conditions(store: SealedObjects, name: bytes, key: bytes, value: bytes) -> None:
    stat = store.stat(name, key)
    assert stat is not None
    etag = f'"{stat.etag}"'
    request = store.download(name, key, now=now(), ttl=60)
    assert send(request, extra={"if-match": etag}).status == 200
    assert send(request, extra={"if-match": "*"}).status == 200
    assert send(request, extra={"if-match": f'"other", {etag}'}).status == 200
    assert send(request, extra={"if-match": '"other"'}).status == 412
    assert send(request, extra={"if-none-match": etag}).status == 304
    assert send(request, extra={"if-none-match": '"other"'}).status == 200
    assert send(request, extra={"range": "bytes=0-0", "if-range": etag}).status == 206
    assert send(request, extra={"range": "bytes=0-0", "if-range": '"other"'}).body == value


def test_head_says_what_get_would(
    gateway: WSGIProcess, store: SealedObjects, name: bytes, key: bytes, value: bytes
) -> None:
    headers = ssec.headers(key)
    url = presigned(gateway, "HEAD", name, headers)
    answer = httpx.head(url, headers=headers)
    got = send(store.download(name, key, now=now(), ttl=60))
    assert (answer.status_code, answer.content) == (200, b"")
    for header in ("content-length", "etag", "content-type", "accept-ranges"):
        assert answer.headers[header] == got.headers[header]
    assert httpx.get(url, headers=headers).status_code == 403


def test_another_key_and_no_object(store: SealedObjects, name: bytes, key: bytes, value: bytes) -> None:
    answer = send(store.download(name, os.urandom(32), now=now(), ttl=60))
    assert (answer.status, code_of(answer)) == (403, "AccessDenied")
    absent = send(store.download(os.urandom(32), key, now=now(), ttl=60))
    assert (absent.status, code_of(absent)) == (404, "NoSuchKey")


def test_damage_never_looks_like_a_whole_answer(
    gateway_directory: Path, store: SealedObjects, name: bytes, key: bytes
) -> None:
    value = bytes_of(2_000_000)
    store.write(name, key, io.BytesIO(value))
    path = next(gateway_directory.rglob(name.hex()))
    damaged = bytearray(path.read_bytes())
    damaged[1_000_000] ^= 1
    path.write_bytes(damaged)
    request = store.download(name, key, now=now(), ttl=60)
    with pytest.raises(http.client.IncompleteRead) as caught:
        send(request)
    assert value.startswith(caught.value.partial)
    part = send(request, extra={"range": "bytes=1000000-1000010"})
    assert (part.status, code_of(part)) == (500, "InternalError")
    assert send(request, extra={"range": "bytes=0-99"}).body == value[:100]


# signatures


def test_unsigned_requests_are_refused(
    gateway: WSGIProcess, store: SealedObjects, name: bytes, key: bytes, value: bytes
) -> None:
    url = f"{gateway.url}/objects/{name.hex()}"
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        answer = httpx.request(method, url, headers=ssec.headers(key))
        assert answer.status_code == 403
        if method != "HEAD":
            assert code_of(answer) == "AccessDenied"
    assert httpx.get(f"{gateway.url}/objects?list-type=2").status_code == 403
    assert store.stat(name, key) is not None


def test_an_unknown_access_key_is_refused(gateway: WSGIProcess, name: bytes, key: bytes) -> None:
    signer = Signer(credentials=Credentials("lunacore-gateway-2", "only for tests"), region=REGION)
    headers = ssec.headers(key)
    url = signer.presign(
        "GET",
        f"127.0.0.1:{gateway.port}",
        f"/objects/{name.hex()}",
        headers=headers,
        now=now(),
        expires=60,
        scheme="http",
    )
    answer = httpx.get(url, headers=headers)
    assert (answer.status_code, code_of(answer)) == (403, "InvalidAccessKeyId")


@pytest.mark.parametrize(
    "header", ["x-amz-copy-source", "x-amz-server-side-encryption-customer-algorithm", "x-amz-acl"]
)
def test_headers_cannot_be_added(store: SealedObjects, name: bytes, key: bytes, header: str) -> None:
    request = store.upload(name, key, now=now(), ttl=60)
    value = f"/objects/{name.hex()}" if header == "x-amz-copy-source" else "AES128"
    assert send(request, b"value", extra={header: value}).status == 403
    assert store.stat(name, key) is None


def test_no_error_repeats_what_is_secret(gateway: WSGIProcess, store: SealedObjects, name: bytes, key: bytes) -> None:
    request = store.download(name, key, now=now(), ttl=60)
    answers = [send(request), send(request, method="PUT"), send(request, extra={"x-amz-foo": "bar"})]
    signature = request.url.rpartition("=")[2]
    for answer in answers:
        for secret in (base64.b64encode(key), name.hex().encode(), signature.encode()):
            assert secret not in answer.body
    log = gateway.log
    for text in (base64.b64encode(key).decode(), name.hex(), signature):
        assert text not in log


# programs: requests signed by header


def test_a_presigned_url_neither_deletes_nor_lists(
    gateway: WSGIProcess, store: SealedObjects, name: bytes, key: bytes, value: bytes
) -> None:
    assert httpx.delete(presigned(gateway, "DELETE", name, {})).status_code == 403
    host = f"127.0.0.1:{gateway.port}"
    url = SIGNER.presign(
        "GET", host, "/objects", query=[("list-type", "2")], headers={}, now=now(), expires=60, scheme="http"
    )
    assert httpx.get(url).status_code == 403
    headers = {
        **ssec.headers(key),
        **ssec.headers(key, copy_source=True),
        "x-amz-copy-source": f"/objects/{name.hex()}",
    }
    target = os.urandom(32)
    assert httpx.put(presigned(gateway, "PUT", target, headers), headers=headers).status_code == 403
    assert store.stat(name, key) is not None
    assert store.stat(target, key) is None


def test_a_program_may_write_read_copy_and_delete(
    gateway: WSGIProcess, store: SealedObjects, name: bytes, key: bytes
) -> None:
    path = f"/objects/{name.hex()}"
    trio = ssec.headers(key)
    assert authorized(gateway, "PUT", path, headers=trio, body=b"value").status_code == 200
    assert authorized(gateway, "PUT", path, headers=trio, body=b"second").status_code == 412
    assert authorized(gateway, "GET", path, headers=trio).content == b"value"
    assert authorized(gateway, "HEAD", path, headers=trio).headers["content-length"] == "5"
    target, new_key = os.urandom(32), os.urandom(32)
    headers = {**ssec.headers(new_key), **ssec.headers(key, copy_source=True), "x-amz-copy-source": path}
    copied = authorized(gateway, "PUT", f"/objects/{target.hex()}", headers=headers)
    assert copied.status_code == 200
    stat = store.stat(target, new_key)
    assert stat is not None
    assert f'"{stat.etag}"' in copied.text
    assert authorized(gateway, "PUT", f"/objects/{target.hex()}", headers=headers).status_code == 412
    wrong = {**headers, **ssec.headers(new_key, copy_source=True)}
    refused = authorized(gateway, "PUT", f"/objects/{os.urandom(32).hex()}", headers=wrong)
    assert (refused.status_code, code_of(refused)) == (403, "AccessDenied")
    for source, status in (
        (f"/objects/{os.urandom(32).hex()}", 404),
        ("/other/" + "0" * 64, 400),
        (path + "?versionId=1", 400),
    ):
        answer = authorized(
            gateway, "PUT", f"/objects/{os.urandom(32).hex()}", headers={**headers, "x-amz-copy-source": source}
        )
        assert answer.status_code == status
    assert authorized(gateway, "DELETE", path).status_code == 204
    assert authorized(gateway, "DELETE", path).status_code == 204
    assert store.stat(name, key) is None


def test_a_signed_body_must_be_that_body(gateway: WSGIProcess, store: SealedObjects, name: bytes, key: bytes) -> None:
    path = f"/objects/{name.hex()}"
    signed = hashlib.sha256(b"value").hexdigest()
    answer = authorized(gateway, "PUT", path, headers=ssec.headers(key), body=b"other", payload_sha256=signed)
    assert (answer.status_code, code_of(answer)) == (400, "XAmzContentSHA256Mismatch")
    assert store.stat(name, key) is None
    answer = authorized(gateway, "DELETE", path, payload_sha256=signed)
    assert answer.status_code == 400
    assert authorized(gateway, "DELETE", path, body=b"value").status_code == 400
    unsigned = authorized(gateway, "PUT", path, headers=ssec.headers(key), body=b"any", payload_sha256=UNSIGNED_PAYLOAD)
    assert unsigned.status_code == 200


def test_listing_in_pages(gateway: WSGIProcess, store: SealedObjects, key: bytes) -> None:
    names = sorted(os.urandom(32) for _ in range(5))
    for number, name in enumerate(names):
        store.write(name, key, io.BytesIO(bytes(number)))
    namespace = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    listed: dict[str, int] = {}
    token = ""
    while True:
        query = [("list-type", "2"), ("max-keys", "2"), *([("continuation-token", token)] if token else [])]
        answer = authorized(gateway, "GET", "/objects", query=query)
        assert answer.status_code == 200
        root = ET.fromstring(answer.content)
        contents = root.findall(f"{namespace}Contents")
        assert len(contents) == int(root.findtext(f"{namespace}KeyCount") or "") <= 2
        listed |= {
            one.findtext(f"{namespace}Key") or "": int(one.findtext(f"{namespace}Size") or "") for one in contents
        }
        token = root.findtext(f"{namespace}NextContinuationToken") or ""
        assert (root.findtext(f"{namespace}IsTruncated") == "true") is bool(token)
        if not token:
            break
    assert list(listed) == sorted(listed)
    assert {name.hex(): number for number, name in enumerate(names)}.items() <= listed.items()
    after = authorized(gateway, "GET", "/objects/", query=[("list-type", "2"), ("start-after", names[-2].hex())])
    assert names[-1].hex() in after.text
    assert names[-2].hex() not in after.text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ([], 501),
        ([("list-type", "2"), ("prefix", "ab")], 501),
        ([("list-type", "2"), ("max-keys", "-1")], 400),
        ([("list-type", "2"), ("start-after", "a")], 400),
        ([("versions", "")], 501),
        ([("uploads", "")], 501),
    ],
)
def test_other_listings_are_refused(gateway: WSGIProcess, query: list[tuple[str, str]], status: int) -> None:
    answer = authorized(gateway, "GET", "/objects", query=query)
    assert answer.status_code == status
    code_of(answer)


def test_other_methods_and_paths(gateway: WSGIProcess, name: bytes) -> None:
    for path in ("/objects", f"/objects/{name.hex()}"):
        answer = httpx.post(f"{gateway.url}{path}")
        assert (answer.status_code, code_of(answer)) == (405, "MethodNotAllowed")
    assert httpx.put(f"{gateway.url}/objects").status_code == 405
    answer = httpx.get(f"{gateway.url}/elsewhere")
    assert (answer.status_code, code_of(answer)) == (404, "NoSuchBucket")


def test_there_are_no_multipart_uploads(gateway: WSGIProcess, name: bytes) -> None:
    for query in ([("uploads", "")], [("uploadId", "1")]):
        answer = authorized(gateway, "POST", f"/objects/{name.hex()}", query=query)
        assert (answer.status_code, code_of(answer)) == (501, "NotImplemented")


def test_the_region_is_told(gateway: WSGIProcess) -> None:
    answer = authorized(gateway, "GET", "/objects", query=[("location", "")])
    assert ET.fromstring(answer.content).text == REGION
    assert httpx.get(f"{gateway.url}/objects?location").status_code == 403
    # Before a program can sign for the region it has to know it.
    refused = httpx.head(f"{gateway.url}/objects")
    assert (refused.status_code, refused.headers["x-amz-bucket-region"]) == (403, REGION)


def test_when_an_object_was_written_is_told(gateway: WSGIProcess, name: bytes, key: bytes) -> None:
    before = int(time.time())
    assert put(gateway, name, key, b"value").status_code == 200
    told = [
        authorized(gateway, method, f"/objects/{name.hex()}", headers=ssec.headers(key)).headers["last-modified"]
        for method in ("GET", "HEAD")
    ]
    assert told[0] == told[1]
    assert told[0].endswith(" GMT")
    assert before <= parsedate_to_datetime(told[0]).timestamp() <= time.time()


def test_without_a_key_only_presence_is_told(gateway: WSGIProcess, name: bytes, key: bytes) -> None:
    path = f"/objects/{name.hex()}"
    answer = authorized(gateway, "GET", path)
    assert (answer.status_code, code_of(answer)) == (404, "NoSuchKey")
    assert put(gateway, name, key, b"value").status_code == 200
    answer = authorized(gateway, "GET", path)
    assert (answer.status_code, code_of(answer)) == (400, "InvalidRequest")
    # Half a key is a mistake, whatever is there.
    half = {"x-amz-server-side-encryption-customer-algorithm": "AES256"}
    answer = authorized(gateway, "GET", f"/objects/{os.urandom(32).hex()}", headers=half)
    assert (answer.status_code, code_of(answer)) == (400, "InvalidRequest")


def test_a_copy_may_demand_an_etag(gateway: WSGIProcess, name: bytes, key: bytes) -> None:
    etag = put(gateway, name, key, b"value").headers["etag"]
    headers = {
        "x-amz-copy-source": f"/objects/{name.hex()}",
        **ssec.headers(key, copy_source=True),
        **ssec.headers(bytes(32)),
    }
    target = f"/objects/{os.urandom(32).hex()}"
    answer = authorized(gateway, "PUT", target, headers={**headers, "x-amz-copy-source-if-match": '"another"'})
    assert (answer.status_code, code_of(answer)) == (412, "PreconditionFailed")
    assert authorized(gateway, "GET", target).status_code == 404
    answer = authorized(gateway, "PUT", target, headers={**headers, "x-amz-copy-source-if-match": etag})
    assert answer.status_code == 200
    absent = {**headers, "x-amz-copy-source": f"/objects/{os.urandom(32).hex()}", "x-amz-copy-source-if-match": etag}
    assert authorized(gateway, "PUT", f"/objects/{os.urandom(32).hex()}", headers=absent).status_code == 404


# DeleteObjects


def put(gateway: WSGIProcess, name: bytes, key: bytes, value: bytes) -> httpx.Response:
    return authorized(gateway, "PUT", f"/objects/{name.hex()}", headers=ssec.headers(key), body=value)


def delete(gateway: WSGIProcess, body: bytes, **changes: Any) -> httpx.Response:
    return authorized(gateway, "POST", "/objects", **{"query": [("delete", "")], "body": body, **changes})


def deletion(*names: bytes, more: str = "") -> bytes:
    objects = "".join(f"<Object><Key>{name.hex()}</Key></Object>" for name in names)
    return f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{more}{objects}</Delete>'.encode()


def test_objects_are_deleted_together(gateway: WSGIProcess, key: bytes) -> None:
    names = [os.urandom(32) for _ in range(3)]
    for name in names:
        assert put(gateway, name, key, b"value").status_code == 200
    answer = delete(gateway, deletion(names[0], names[1], names[0], os.urandom(32)))
    assert answer.status_code == 200
    assert len(ET.fromstring(answer.content).findall("{*}Deleted/{*}Key")) == 4
    found = [authorized(gateway, "GET", f"/objects/{name.hex()}").status_code for name in names]
    assert found == [404, 404, 400]
    answer = delete(gateway, deletion(names[2], more="<Quiet>true</Quiet>"))
    assert (answer.status_code, len(ET.fromstring(answer.content))) == (200, 0)
    assert authorized(gateway, "GET", f"/objects/{names[2].hex()}").status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "MalformedXML"),
        (b"<Delete>", 400, "MalformedXML"),
        (b"<Other><Object><Key>k</Key></Object></Other>", 400, "MalformedXML"),
        (deletion(), 400, "MalformedXML"),
        (b'<!DOCTYPE d [<!ENTITY e "x">]>' + deletion(bytes(32)), 400, "MalformedXML"),
        (deletion(*[bytes(32)] * 1001), 400, "MalformedXML"),
        (b"<Delete><Object><Key>elsewhere</Key></Object></Delete>", 400, "InvalidArgument"),
        (b"<Delete><Object></Object></Delete>", 400, "InvalidArgument"),
        (deletion(bytes(32)).replace(b"</Key>", b"</Key><VersionId>1</VersionId>"), 501, "NotImplemented"),
        (deletion(bytes(32)) + bytes(1 << 18), 413, "EntityTooLarge"),
    ],
)
def test_other_deletions_delete_nothing(
    gateway: WSGIProcess, name: bytes, key: bytes, body: bytes, status: int, code: str
) -> None:
    assert put(gateway, name, key, b"value").status_code == 200
    # It stands before what is wrong.
    body = body.replace(b"<Object>", f"<Object><Key>{name.hex()}</Key></Object><Object>".encode(), 1)
    answer = delete(gateway, body)
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert authorized(gateway, "GET", f"/objects/{name.hex()}", headers=ssec.headers(key)).content == b"value"


def test_a_deletion_must_be_signed_with_its_body(gateway: WSGIProcess, name: bytes, key: bytes) -> None:
    assert put(gateway, name, key, b"value").status_code == 200
    body = deletion(name)
    other = hashlib.sha256(b"another").hexdigest()
    assert code_of(delete(gateway, body, payload_sha256=other)) == "XAmzContentSHA256Mismatch"
    assert httpx.post(f"{gateway.url}/objects?delete", content=body).status_code == 403
    host = f"127.0.0.1:{gateway.port}"
    presigned = SIGNER.presign(
        "POST", host, "/objects", now=now(), expires=60, query=[("delete", "")], headers={}, scheme="http"
    )
    answer = httpx.post(presigned, content=body)
    assert (answer.status_code, code_of(answer)) == (403, "AccessDenied")
    assert authorized(gateway, "GET", f"/objects/{name.hex()}", headers=ssec.headers(key)).content == b"value"


# botocore as a client


@pytest.fixture(scope="session")
def s3(gateway: WSGIProcess) -> Any:
    return Session().create_client(
        "s3",
        endpoint_url=gateway.url,
        region_name=REGION,
        aws_access_key_id=CREDENTIALS.access_key,
        aws_secret_access_key=CREDENTIALS.secret_key,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
        ),
    )


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
class TestBotocore:
    def customer(self, key: bytes, prefix: str = "") -> dict[str, Any]:
        return {f"{prefix}SSECustomerAlgorithm": "AES256", f"{prefix}SSECustomerKey": key}

    def headers(self, key: bytes) -> dict[str, str]:
        return ssec.headers(key)

    def test_presigned(self, s3: Any, name: bytes, key: bytes) -> None:
        where = {"Bucket": "objects", "Key": name.hex(), **self.customer(key)}
        upload = s3.generate_presigned_url("put_object", Params={**where, "IfNoneMatch": "*"}, ExpiresIn=60)
        headers = {**self.headers(key), "if-none-match": "*"}
        assert httpx.put(upload, headers=headers, content=b"value").status_code == 200
        assert httpx.put(upload, headers=headers, content=b"value").status_code == 412
        download = s3.generate_presigned_url("get_object", Params=where, ExpiresIn=60)
        assert httpx.get(download, headers=self.headers(key)).content == b"value"
        assert httpx.get(download).status_code == 403

    def test_calls(self, s3: Any, name: bytes, key: bytes) -> None:
        where = {"Bucket": "objects", "Key": name.hex()}
        value, other_key, target = bytes_of(200_000), os.urandom(32), os.urandom(32)
        put = s3.put_object(**where, **self.customer(key), Body=value, IfNoneMatch="*")
        head = s3.head_object(**where, **self.customer(key))
        assert (head["ContentLength"], head["ETag"]) == (200_000, put["ETag"])
        got = s3.get_object(**where, **self.customer(key), Range="bytes=65530-65545")
        assert got["Body"].read() == value[65_530:65_546]
        s3.copy_object(
            Bucket="objects",
            Key=target.hex(),
            CopySource=where,
            **self.customer(other_key),
            **self.customer(key, "CopySource"),
        )
        assert s3.get_object(Bucket="objects", Key=target.hex(), **self.customer(other_key))["Body"].read() == value
        listed = s3.get_paginator("list_objects_v2").paginate(Bucket="objects", PaginationConfig={"PageSize": 3})
        keys = [one["Key"] for page in listed for one in page.get("Contents", [])]
        assert {name.hex(), target.hex()} <= set(keys)
        assert s3.get_bucket_location(Bucket="objects")["LocationConstraint"] == REGION
        assert abs(s3.head_object(**where, **self.customer(key))["LastModified"].timestamp() - time.time()) < 60
        s3.delete_objects(Bucket="objects", Delete={"Objects": [{"Key": name.hex()}]})
        s3.delete_object(**where)
        with pytest.raises(ClientError) as caught:
            s3.get_object(**where, **self.customer(key))
        assert caught.value.response["Error"]["Code"] == "NoSuchKey"
        with pytest.raises(ClientError) as caught:
            s3.get_object(Bucket="objects", Key=target.hex(), **self.customer(key))
        assert caught.value.response["Error"]["Code"] == "AccessDenied"

    def test_default_checksum(self, gateway: WSGIProcess, name: bytes, key: bytes) -> None:
        client = Session().create_client(
            "s3",
            endpoint_url=gateway.url,
            region_name=REGION,
            aws_access_key_id=CREDENTIALS.access_key,
            aws_secret_access_key=CREDENTIALS.secret_key,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )
        client.put_object(Bucket="objects", Key=name.hex(), Body=b"value", **self.customer(key))
        assert client.get_object(Bucket="objects", Key=name.hex(), **self.customer(key))["Body"].read() == b"value"


# browsers of another origin


def preflight(gateway: WSGIProcess, origin: str, method: str) -> httpx.Response:
    headers = {"origin": origin, "access-control-request-method": method, "access-control-request-headers": "range"}
    return httpx.options(f"{gateway.url}/objects/{'0' * 64}", headers=headers)


def test_a_preflight_of_the_frame_is_answered(gateway: WSGIProcess, store: SealedObjects, key: bytes) -> None:
    for method in ("PUT", "GET", "HEAD"):
        answer = preflight(gateway, ALLOWED_ORIGIN, method)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == ALLOWED_ORIGIN
        assert method in answer.headers["access-control-allow-methods"]
        assert answer.headers["vary"] == "Origin"
        allowed = answer.headers["access-control-allow-headers"].split(", ")
        ticket = store.upload(bytes(32), key, now=now(), ttl=60).headers
        pinned = store.download(bytes(32), key, now=now(), ttl=60, etag="e").headers
        assert {*ticket, *pinned} - {"host"} <= set(allowed)
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "method"),
    [
        ("https://secure.example.com.evil.example", "GET"),
        ("http://secure.example.com", "GET"),
        ("null", "GET"),
        (ALLOWED_ORIGIN, "DELETE"),
        (ALLOWED_ORIGIN, "POST"),
    ],
)
def test_other_preflights_are_refused(gateway: WSGIProcess, origin: str, method: str) -> None:
    answer = preflight(gateway, origin, method)
    assert (answer.status_code, code_of(answer)) == (403, "AccessForbidden")
    assert "access-control-allow-methods" not in answer.headers


def test_answers_are_readable_for_the_frame_only(store: SealedObjects, name: bytes, key: bytes, value: bytes) -> None:
    request = store.download(name, key, now=now(), ttl=60)
    answer = send(request, extra={"origin": ALLOWED_ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ALLOWED_ORIGIN
    assert "ETag" in answer.headers["access-control-expose-headers"]
    other = send(request, extra={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    assert other.headers["vary"] == "Origin"


# the application itself, where a server in between adds nothing


def memory_objects() -> SealedObjects:
    surroundings = Surroundings("objects", time.time, os.urandom, "https://files.example.com/luna", KEYS)
    return fsspec_objects.open_objects(BackendURL.parse("memory://", "objects"), surroundings)


def test_behind_a_proxy_that_changes_host_and_path(name: bytes, key: bytes) -> None:
    objects = memory_objects()
    ticket = objects.upload(name, key, now=now(), ttl=60)
    parts = urlsplit(ticket.url)
    assert parts.path.startswith("/luna/objects/")
    for public_url, status in (("https://files.example.com/luna", 200), ("", 403)):
        app = create_gateway(objects, KEYS, now=time.time, max_size=100, public_url=public_url)
        headers = {**ticket.headers, "host": "internal:8000"}
        objects.delete([name])
        answer = falcon.testing.TestClient(app).simulate_put(
            parts.path.removeprefix("/luna"), query_string=parts.query, headers=headers, body=b"value"
        )
        assert answer.status_code == status, answer.text


def served_in_process(app: Any, ticket: SignedRequest) -> Any:
    parts = urlsplit(ticket.url)
    client = falcon.testing.TestClient(app)
    return client.simulate_request(ticket.method, parts.path, query_string=parts.query, headers=dict(ticket.headers))


def test_a_store_that_is_gone_is_a_503(tmp_path: Path, name: bytes, key: bytes) -> None:
    surroundings = Surroundings("objects", time.time, os.urandom, "http://files.example.com", KEYS)
    root = tmp_path / "objects"
    objects = file_objects.open_objects(BackendURL.parse(root.as_uri(), "objects"), surroundings)
    app = create_gateway(objects, KEYS, now=time.time, max_size=100)
    root.rename(tmp_path / "aside")
    for ticket in (
        objects.download(name, key, now=now(), ttl=60),
        objects.upload(name, key, now=now(), ttl=60, size=0),
    ):
        answer = served_in_process(app, ticket)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert "<Code>ServiceUnavailable</Code>" in answer.text


class Broken(SealedObjects):
    def stat(self, name: bytes, key: bytes) -> Stat | None:
        raise ZeroDivisionError("inner workings")


def test_an_unexpected_error_tells_nothing(name: bytes, key: bytes) -> None:
    sound = memory_objects()
    objects = Broken(sound._medium, sound._tickets, os.urandom)
    app = create_gateway(objects, KEYS, now=time.time, max_size=100, public_url="https://files.example.com")
    ticket = GatewayTickets("https://files.example.com", KEYS).download(name, key, now=now(), ttl=60, etag="")
    answer = served_in_process(app, ticket)
    assert answer.status_code == 500
    assert "inner workings" not in answer.text
    assert "<Code>InternalError</Code>" in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_large_values_pass_in_bounded_memory(
    gateway: WSGIProcess, store: SealedObjects, name: bytes, key: bytes
) -> None:
    before = gateway.peak_memory()
    value = bytes(MAX_SIZE)
    assert send(store.upload(name, key, now=now(), ttl=60, size=MAX_SIZE), value).status == 200
    assert send(store.download(name, key, now=now(), ttl=60)).body == value
    assert gateway.peak_memory() - before < MAX_SIZE * 3 // 4


# tickets


@pytest.mark.parametrize(
    "url",
    ["", "files.example.com", "ftp://files.example.com", "https://", "https://u:p@files.example.com", "https://f/?a=b"],
)
def test_a_gateway_url_is_checked(url: str) -> None:
    with pytest.raises(ConfigError, match="gateway_url"):
        GatewayTickets(url, KEYS)


@pytest.mark.parametrize("url", ["https://Files.Example.com:443/", "https://files.example.com"])
def test_a_ticket_names_the_host_as_clients_send_it(url: str, name: bytes, key: bytes) -> None:
    tickets = GatewayTickets(url, KEYS)
    request = tickets.upload(name, key, now=now(), ttl=60, size=None)
    assert tickets.origin == "https://files.example.com"
    assert request.headers["host"] == "files.example.com"
    assert request.url.startswith(f"https://files.example.com/objects/{name.hex()}?")


def test_tickets_follow_the_active_key(name: bytes, key: bytes) -> None:
    class Rotating(FixedGatewayKeys):
        def active(self, now: float) -> Credentials:
            return self.known[0 if now < 1000 else 1]

    keys = Rotating([CREDENTIALS, Credentials("lunacore-gateway-2", "another")])
    tickets = GatewayTickets("https://files.example.com", keys)
    urls = [tickets.download(name, key, now=when, ttl=60, etag="").url for when in (10, 2000, 20)]
    assert [f"lunacore-gateway-{version}%2F" in url for version, url in zip((1, 2, 1), urls, strict=True)] == [True] * 3
