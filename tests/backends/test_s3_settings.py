"""S3 objects without a server: the URL, AWS's addresses, credentials; and what a service may answer that none of the real ones does."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from lunacore.errors import ConfigError, IntegrityError, StoreUnavailable
from lunacore.plugins import BackendURL, Surroundings, open_backend
from lunacore_backends.s3.objects import S3Objects
from lunacore_backends.s3.settings import S3Settings
from lunacore_backends.s3.writing import PART_BYTES, part_bytes_for
from tests.servers.s3_server import ACCESS_KEY
from tests.servers.s3_stores import opened
from tests.servers.threads import ServedInThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("s3_credentials")

NAME, KEY = bytes(range(32)), bytes(range(100, 132))
NOW = 1_800_000_000


def settings(text: str) -> S3Settings:
    return S3Settings.from_url(BackendURL.parse(text, "objects"), "objects")


# the URL


def test_all_options() -> None:
    read = settings(
        "s3://bucket/a/b?endpoint=https://minio:9000&public_endpoint=https://files.example.com:443&region=eu-west-1"
        "&style=virtual&encryption=none&write_once=false&timeout=2.5"
    )
    assert (read.bucket, read.prefix, read.region, read.timeout) == ("bucket", "a/b/", "eu-west-1", 2.5)
    assert str(read.endpoint) == "https://minio:9000"
    assert str(read.public_endpoint) == "https://files.example.com"
    assert (read.encrypts, read.write_once) == (False, False)
    assert str(read.address("x").origin) == "https://bucket.minio:9000"
    assert str(read.public_address("x").origin) == "https://bucket.files.example.com"


def test_defaults() -> None:
    read = settings("s3://bucket")
    assert (read.prefix, read.region, read.encrypts, read.write_once) == ("", "", True, True)
    assert settings("s3://bucket/").prefix == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s3://", "bucket's name"),
        ("s3://Bucket", "bucket's name"),
        ("s3://a..b", "bucket's name"),
        ("s3://key:secret@bucket", "credentials do not stand in the URL"),
        ("s3://bucket/a//b", "prefix"),
        ("s3://bucket/a/../b", "prefix"),
        ("s3://bucket/a%00b", "prefix"),
        (f"s3://bucket/{'n' * 901}", "prefix"),
        ("s3://bucket?endpont=x", "no option 'endpont'"),
        ("s3://bucket?endpoint=minio:9000", "endpoint must be"),
        ("s3://bucket?endpoint=https://minio:9000/path", "endpoint must be"),
        ("s3://bucket?endpoint=https://user@minio", "endpoint must be"),
        ("s3://bucket?endpoint=https://minio:port", "endpoint must be"),
        ("s3://bucket?endpoint=http://minio:9000", "endpoint is http"),
        ("s3://bucket?endpoint=https://minio&public_endpoint=http://files.example.com", "public_endpoint is http"),
        ("s3://bucket?region=eu%20west", "region must be"),
        ("s3://bucket?ca=/no/such/file", "ca names cannot be used: No such file"),
        ("s3://bucket?ca=/dev/null", "ca names cannot be used: it is no PEM file"),
        ("s3://bucket?style=host", "style must be path or virtual"),
        ("s3://a.bucket?style=virtual", "bucket without dots"),
        ("s3://bucket?encryption=kms", "encryption must be sse-c or none"),
        ("s3://bucket?write_once=yes", "write_once must be true or false"),
        ("s3://bucket?timeout=0", "timeout must be"),
        ("s3://bucket?timeout=nan", "timeout must be"),
        ("s3://bucket?timeout=soon", "timeout must be"),
    ],
)
def test_a_wrong_url(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings(text)
    assert str(raised.value).startswith("objects: ")
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("host", ["127.0.0.1:8333", "[::1]:8333", "localhost:8333", "s3.localhost"])
def test_keys_may_travel_without_tls_on_one_machine(host: str) -> None:
    assert settings(f"s3://bucket?endpoint=http://{host}").encrypts


def test_no_key_travels_without_encryption() -> None:
    assert settings("s3://bucket?endpoint=http://minio:9000&encryption=none").endpoint is not None


def test_it_is_a_backend() -> None:
    surroundings = Surroundings("objects", time.time, os.urandom)
    store = open_backend("objects", "s3://bucket?region=eu-west-1", surroundings)
    assert isinstance(store, S3Objects)


# AWS


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://bucket?region=eu-west-1", "https://bucket.s3.eu-west-1.amazonaws.com/"),
        ("s3://bucket?region=us-east-1", "https://bucket.s3.us-east-1.amazonaws.com/"),
        ("s3://bucket?region=cn-north-1", "https://bucket.s3.cn-north-1.amazonaws.com.cn/"),
        ("s3://bucket?region=eu-west-1&style=path", "https://s3.eu-west-1.amazonaws.com/bucket/"),
        ("s3://my.bucket?region=eu-west-1", "https://s3.eu-west-1.amazonaws.com/my.bucket/"),
        (
            "s3://bucket?region=eu-west-1&endpoint=https://s3.eu-west-1.amazonaws.com",
            "https://bucket.s3.eu-west-1.amazonaws.com/",
        ),
    ],
)
def test_tickets_for_aws(text: str, url: str) -> None:
    request = opened(text).upload(NAME, KEY, now=NOW, ttl=60)
    assert request.url.startswith(f"{url}{NAME.hex()}?X-Amz-")
    assert f"%2F{settings(text).region}%2Fs3%2F" in request.url
    assert request.headers["host"] == request.url.split("/")[2]


def test_every_header_is_signed() -> None:
    store = opened("s3://bucket?region=eu-west-1")
    up = store.upload(NAME, KEY, now=NOW, ttl=60, size=5)
    down = store.download(NAME, KEY, now=NOW, ttl=60, etag="abc")
    for request, more in ((up, {"if-none-match", "content-length"}), (down, {"if-match"})):
        signed = request.url.partition("X-Amz-SignedHeaders=")[2].partition("&")[0].split("%3B")
        assert sorted(request.headers) == signed
        assert more <= set(signed)
    assert down.headers["if-match"] == '"abc"'
    later = opened("s3://bucket?region=eu-west-1&write_once=false").upload(NAME, KEY, now=NOW, ttl=60)
    assert "if-none-match" not in later.headers


# credentials


def credential_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Credentials come from a program that prints what the returned function is given."""
    answer, config = folder / "answer.json", folder / "config"
    script = f"import sys; sys.stdout.write(open({str(answer)!r}).read())"
    (folder / "script.py").write_text(script, encoding="utf-8")
    config.write_text(f"[default]\ncredential_process = {sys.executable} {folder / 'script.py'}\n", encoding="utf-8")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    return lambda said: void(answer.write_text(json.dumps({"Version": 1, **said}), encoding="utf-8"))


def void(_: object) -> None:
    pass


def said(name: str, lives: int) -> dict[str, Any]:
    expires = datetime.fromtimestamp(int(time.time()) + lives, UTC).isoformat()
    return {"AccessKeyId": name, "SecretAccessKey": "a secret", "SessionToken": f"{name}/token", "Expiration": expires}


def test_a_url_never_outlives_its_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    say = credential_process(tmp_path, monkeypatch)
    say(said("FIRST", 300))
    store, now = opened("s3://bucket?region=eu-west-1"), int(time.time())
    for request in (store.upload(NAME, KEY, now=now, ttl=900), store.download(NAME, KEY, now=now, ttl=900)):
        assert now + 290 <= request.expires <= now + 301
        assert f"X-Amz-Expires={request.expires - now}&" in request.url
        assert "X-Amz-Security-Token=FIRST%2Ftoken" in request.url
    assert store.upload(NAME, KEY, now=now, ttl=60).expires == now + 60


def test_credentials_are_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    say = credential_process(tmp_path, monkeypatch)
    say(said("FIRST", 300))
    store, now = opened("s3://bucket?region=eu-west-1"), int(time.time())
    assert "FIRST" in store.upload(NAME, KEY, now=now, ttl=60).url
    say(said("SECOND", 3600))
    assert "FIRST" in store.upload(NAME, KEY, now=now + 1, ttl=60).url
    renewed = store.upload(NAME, KEY, now=now + 60, ttl=900)
    assert "SECOND" in renewed.url
    assert renewed.expires == now + 960


def test_expired_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    say = credential_process(tmp_path, monkeypatch)
    say(said("FIRST", 300))
    store, now = opened("s3://bucket?region=eu-west-1"), int(time.time())
    store.upload(NAME, KEY, now=now, ttl=60)
    with pytest.raises(StoreUnavailable, match="have expired"):
        store.upload(NAME, KEY, now=now + 301, ttl=60)
    say({"AccessKeyId": "no secret"})
    with pytest.raises(StoreUnavailable, match=r"objects: credentials for S3 could not be had or renewed"):
        store.upload(NAME, KEY, now=now + 320, ttl=60)
    say(said("THIRD", 3600))
    assert "THIRD" in store.upload(NAME, KEY, now=now + 320, ttl=60).url


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = opened("s3://bucket?region=eu-west-1&endpoint=http://127.0.0.1:1")
    for call in (store.probe, store.scan, lambda: store.upload(NAME, KEY, now=NOW, ttl=60)):
        with pytest.raises(StoreUnavailable, match=r"objects: there are no credentials for S3; set AWS_ACCESS_KEY_ID"):
            call()


# a service that answers as told


class Told(BaseHTTPRequestHandler):
    """Answers every request alike, and remembers what was asked."""

    status = 200
    headers_told: dict[str, str]
    body = b""
    asked: list[str]

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.asked.append(f"{self.command} {self.path}")
        self.send_response(self.status)
        for name, value in self.headers_told.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass


@pytest.fixture
def service() -> Iterator[tuple[type[Told], str]]:
    class Handler(Told):
        pass

    Handler.headers_told, Handler.asked = {}, []

    with ServedInThread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield Handler, f"s3://bucket?endpoint=http://127.0.0.1:{server.port}"


def test_aws_names_the_region_even_where_it_refuses(service: tuple[type[Told], str]) -> None:
    handler, url = service
    handler.status, handler.headers_told = 403, {"x-amz-bucket-region": "ap-south-2"}
    store = opened(url)
    assert "%2Fap-south-2%2Fs3%2F" in store.upload(NAME, KEY, now=NOW, ttl=60).url
    assert "%2Fap-south-2%2Fs3%2F" in store.download(NAME, KEY, now=NOW, ttl=60).url
    assert handler.asked == ["HEAD /bucket/"]


def test_a_redirect_takes_no_key_elsewhere(service: tuple[type[Told], str]) -> None:
    handler, url = service
    handler.status, handler.headers_told = 307, {"location": f"{url.partition('endpoint=')[2]}/elsewhere"}
    with pytest.raises(StoreUnavailable):
        opened(f"{url}&region=x").write(NAME, KEY, io.BytesIO(b"value"))
    assert handler.asked == [f"PUT /bucket/{NAME.hex()}"]


def test_a_service_that_ignores_keys_is_found_out(service: tuple[type[Told], str]) -> None:
    handler, url = service
    handler.headers_told, handler.body = {"etag": '"1"', "content-type": "application/xml"}, b"value"
    store = opened(f"{url}&region=x")
    with pytest.raises(IntegrityError, match="does the service ignore SSE-C"):
        store.stat(NAME, KEY)
    with pytest.raises(IntegrityError, match="does the service ignore SSE-C"):
        store.open(NAME, KEY)


def test_no_encoding_is_undone(service: tuple[type[Told], str]) -> None:
    handler, url = service
    handler.status, handler.body = 206, gzip.compress(bytes(100_000))
    size = len(handler.body)
    handler.headers_told = {
        "content-encoding": "gzip",
        "content-range": f"bytes 0-{size - 1}/{size}",
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
    }
    with opened(f"{url}&region=x").open(NAME, KEY) as file:
        assert file.read() == handler.body


def test_an_answer_of_another_length_is_refused(service: tuple[type[Told], str]) -> None:
    handler, url = service
    handler.status, handler.body = 206, b"short"
    handler.headers_told = {
        "content-range": "bytes 0-99/100",
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
    }
    with pytest.raises(StoreUnavailable, match="fewer or more bytes"):
        opened(f"{url}&region=x").open(NAME, KEY)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (503, "SlowDown", "overloaded"),
        (500, "InternalError", "overloaded or broken"),
        (507, "XMinioStorageFull", "the store is full"),
        (403, "RequestTimeTooSkewed", "clocks"),
        (400, "ExpiredToken", "have expired"),
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (400, "InsecureSSECustomerRequest", "over TLS only"),
        (400, "SomethingNew", r"refuses \(SomethingNew\)"),
    ],
)
def test_what_a_service_says(service: tuple[type[Told], str], status: int, code: str, message: str) -> None:
    handler, url = service
    handler.status, handler.headers_told = status, {"content-type": "application/xml"}
    handler.body = f"<Error><Code>{code}</Code><Message>secret text</Message></Error>".encode()
    store = opened(f"{url}&region=x")
    actions: list[Callable[[], object]] = [
        store.probe,
        lambda: store.stat(NAME, KEY),
        lambda: store.open(NAME, KEY),
        lambda: store.delete([NAME]),
        lambda: store.write(NAME, KEY, io.BytesIO(b"value")),
    ]
    for action in actions:
        with pytest.raises(StoreUnavailable, match=message) as raised:
            action()
        assert "secret text" not in str(raised.value)
        assert ACCESS_KEY not in str(raised.value)


@pytest.mark.parametrize(("body", "content_type"), [(b"<html>", "text/html"), (b"{]", "application/xml"), (b"", "")])
def test_what_is_no_s3(service: tuple[type[Told], str], body: bytes, content_type: str) -> None:
    handler, url = service
    handler.status, handler.headers_told, handler.body = 404, {"content-type": content_type}, body
    store = opened(f"{url}&region=x")
    for action in (store.probe, store.scan, lambda: store.delete([NAME]), lambda: store.stat(NAME, KEY)):
        with pytest.raises(StoreUnavailable, match="does not speak S3"):
            action()


def test_dates_that_are_not_in_utc(service: tuple[type[Told], str]) -> None:
    handler, url = service
    handler.headers_told = {"content-type": "application/xml"}
    handler.body = (
        f"<ListBucketResult><Name>bucket</Name><Contents><Key>{NAME.hex()}</Key>"
        "<LastModified>2026-11-22T08:00:00+02:00</LastModified><Size>1</Size></Contents></ListBucketResult>"
    ).encode()
    with pytest.raises(StoreUnavailable, match="UTC"):
        opened(f"{url}&region=x").scan()


def test_parts_grow_with_the_value(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb+") as file:
        file.truncate(1 << 40)
        parts = part_bytes_for(file)
        assert parts * 10_000 >= 1 << 40
        assert file.tell() == 0
        file.seek((1 << 40) - 10)
        assert part_bytes_for(file) == PART_BYTES
