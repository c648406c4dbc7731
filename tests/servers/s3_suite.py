"""What S3 objects must do beyond the contract of object stores, on every server: subclass and give ``server``."""

from __future__ import annotations

import base64
import http.client
import io
import os
import ssl
import time
import tracemalloc
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from lunacore.errors import Conflict, IntegrityError, LunaCoreError, StoreUnavailable, TokenNotFound
from lunacore.plugins import BackendURL
from lunacore.testing.object_store import bytes_of
from lunacore_backends.s3.credentials import CredentialChain
from lunacore_backends.s3.objects import S3Objects
from lunacore_backends.s3.settings import S3Settings
from lunacore_backends.s3.writing import PART_BYTES
from tests.servers.s3_server import DOMAIN, SECRET_KEY, client, url
from tests.servers.s3_stores import listed, new_prefix, store_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore.stores import SignedRequest
    from tests.servers.s3_server import S3Server

MIB = 1 << 20


def sse_c(key: bytes) -> dict[str, Any]:
    return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}


def every_call(store: S3Objects, name: bytes, key: bytes) -> dict[str, Callable[[], object]]:
    return {
        "stat": lambda: store.stat(name, key),
        "copy": lambda: store.copy(name, key, os.urandom(32), key),
        "delete": lambda: store.delete([name]),
        "scan": store.scan,
        "write": lambda: store.write(os.urandom(32), key, io.BytesIO(b"value")),
        "write in parts": lambda: store.write(os.urandom(32), key, io.BytesIO(bytes(PART_BYTES + 1))),
        "open": lambda: store.open(name, key),
        "probe": store.probe,
    }


def send_to(server: S3Server, request: SignedRequest, body: bytes | None = None) -> tuple[int, bytes]:
    """Use a ticket at the server itself, whatever host it is for, as a proxy in front of it would."""
    host = urlsplit(server.endpoint).netloc
    connection = (
        http.client.HTTPSConnection(host, context=ssl.create_default_context(cafile=server.ca), timeout=30)
        if server.ca
        else http.client.HTTPConnection(host, timeout=30)
    )
    parts = urlsplit(request.url)
    try:
        connection.request(request.method, f"{parts.path}?{parts.query}", body, dict(request.headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class S3Suite:
    """Beyond the contract. Subclasses give ``server``."""

    @pytest.fixture
    def server(self) -> S3Server:
        raise NotImplementedError

    @pytest.fixture
    def prefix(self) -> str:
        return new_prefix()

    @pytest.fixture
    def store(self, server: S3Server, prefix: str) -> S3Objects:
        return store_of(server, prefix=prefix)

    @pytest.fixture
    def name(self) -> bytes:
        return os.urandom(32)

    @pytest.fixture
    def key(self) -> bytes:
        return os.urandom(32)

    # large values

    @pytest.mark.parametrize("size", [PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 40 * MIB])
    @pytest.mark.long
    def test_large_values_go_in_parts(
        self, server: S3Server, store: S3Objects, prefix: str, name: bytes, key: bytes, size: int
    ) -> None:
        value = bytes_of(size)
        stat = store.write(name, key, io.BytesIO(value))
        assert stat == store.stat(name, key)
        assert stat.size == size
        found = client(server).get_object(Bucket="plain", Key=f"{prefix}/{name.hex()}", **sse_c(key))
        assert found["Body"].read() == value
        with store.open(name, key) as file:
            assert file.read() == value
            assert file.seek(size - 10) == size - 10
            assert file.read(100) == value[-10:]
        assert [(entry.name, entry.size) for entry in store.scan()] == [(name, size)]
        with pytest.raises(IntegrityError):
            store.stat(name, os.urandom(32))

    def test_memory_is_bounded(self, store: S3Objects, name: bytes, key: bytes) -> None:
        class Zeros(io.RawIOBase):
            left = 64 * MIB

            def read(self, size: int = -1) -> bytes:
                size = min(size, self.left, 1_000_000)
                self.left -= size
                return bytes(size)

        source: Any = Zeros()
        tracemalloc.start()
        try:
            assert store.write(name, key, source).size == 64 * MIB
            assert tracemalloc.get_traced_memory()[1] < 5 * PART_BYTES
            tracemalloc.reset_peak()
            with store.open(name, key) as file:
                size = sum(len(piece) for piece in iter(lambda: file.read(100_000), b""))
                file.seek(1000)
                assert len(file.read(10)) == 10
            assert size == 64 * MIB
            assert tracemalloc.get_traced_memory()[1] < 5 * PART_BYTES
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("size", [6, PART_BYTES + 1])
    def test_a_write_under_another_key_replaces_nothing(
        self, store: S3Objects, name: bytes, key: bytes, size: int
    ) -> None:
        store.write(name, key, io.BytesIO(b"first"))
        with pytest.raises(Conflict):
            store.write(name, os.urandom(32), io.BytesIO(bytes(size)))
        with store.open(name, key) as file:
            assert file.read() == b"first"

    @pytest.mark.parametrize("same_key", [True, False])
    def test_a_write_in_parts_that_is_overtaken_replaces_nothing(
        self, server: S3Server, store: S3Objects, prefix: str, name: bytes, key: bytes, same_key: bool
    ) -> None:
        class Overtaken(io.BytesIO):
            def seekable(self) -> bool:
                return False

            def read(self, size: int | None = -1) -> bytes:
                if self.getbuffer().nbytes == PART_BYTES + 1 and super().tell() == PART_BYTES and not overtaken:
                    overtaken.append(store.write(name, key, io.BytesIO(b"first")))
                return super().read(size)

        overtaken: list[object] = []
        with pytest.raises(Conflict):
            store.write(name, key if same_key else os.urandom(32), Overtaken(bytes(PART_BYTES + 1)))
        assert overtaken
        with store.open(name, key) as file:
            assert file.read() == b"first"
        assert listed(server, "plain", f"{prefix}/{name.hex()}") == [f"{prefix}/{name.hex()}"]

    def test_a_source_that_fails_leaves_no_parts(
        self, server: S3Server, store: S3Objects, prefix: str, name: bytes, key: bytes
    ) -> None:
        class Failing(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                if self.tell() >= 2 * PART_BYTES:
                    raise OSError("the source broke")
                return super().read(size)

        with pytest.raises(OSError, match="the source broke"):
            store.write(name, key, Failing(bytes(3 * PART_BYTES)))
        assert listed(server, "plain", f"{prefix}/{name.hex()}") == []

    def test_a_large_object_is_copied_in_parts(self, server: S3Server, prefix: str, name: bytes, key: bytes) -> None:
        settings = S3Settings.from_url(BackendURL.parse(url(server, "plain", prefix), "objects"), "objects")
        store = S3Objects(settings, CredentialChain("objects", time.time), copy_bytes=5 * MIB)
        new_name, new_key, value = os.urandom(32), os.urandom(32), bytes_of(12 * MIB + 3)
        store.write(name, key, io.BytesIO(value))
        stat = store.copy(name, key, new_name, new_key)
        assert stat == store.stat(new_name, new_key)
        with store.open(new_name, new_key) as file:
            assert file.read() == value
        with pytest.raises(IntegrityError):
            store.stat(new_name, key)
        with pytest.raises(Conflict):
            store.copy(name, key, new_name, new_key)

    # deletion

    def test_delete_removes_every_version(self, server: S3Server, prefix: str, name: bytes, key: bytes) -> None:
        store, other = store_of(server, "versioned", prefix), os.urandom(32)
        whole = f"{prefix}/{name.hex()}"
        store.write(name, key, io.BytesIO(b"one"))
        store.write(other, key, io.BytesIO(b"other"))
        s3 = client(server)
        s3.put_object(Bucket="versioned", Key=whole, Body=b"two", **sse_c(key))
        s3.delete_object(Bucket="versioned", Key=whole)
        s3.put_object(Bucket="versioned", Key=whole, Body=b"three", **sse_c(key))
        s3.create_multipart_upload(Bucket="versioned", Key=whole, **sse_c(key))
        assert len(listed(server, "versioned", whole)) == 5
        store.delete([name])
        assert listed(server, "versioned", whole) == []
        assert store.stat(name, key) is None
        assert store.stat(other, key) is not None
        store.write(name, key, io.BytesIO(b"anew"))
        store.delete([name, other])
        assert listed(server, "versioned", prefix) == []

    def test_delete_ends_unfinished_uploads_of_that_name_only(
        self, server: S3Server, store: S3Objects, prefix: str, name: bytes, key: bytes
    ) -> None:
        s3, whole = client(server), f"{prefix}/{name.hex()}"
        neighbour = f"{whole}.neighbour"
        upload = s3.create_multipart_upload(Bucket="plain", Key=whole, **sse_c(key))["UploadId"]
        s3.upload_part(Bucket="plain", Key=whole, UploadId=upload, PartNumber=1, Body=b"part", **sse_c(key))
        s3.create_multipart_upload(Bucket="plain", Key=neighbour, **sse_c(key))
        s3.put_object(Bucket="plain", Key=neighbour, Body=b"neighbour")
        store.delete([name])
        uploads = s3.list_multipart_uploads(Bucket="plain", Prefix=whole).get("Uploads", [])
        assert whole not in [upload["Key"] for upload in uploads]
        assert s3.list_multipart_uploads(Bucket="plain", Prefix=neighbour)["Uploads"]
        assert s3.get_object(Bucket="plain", Key=neighbour)["Body"].read() == b"neighbour"

    # what others put there

    def test_what_is_no_object_is_not_listed(
        self, server: S3Server, store: S3Objects, prefix: str, name: bytes, key: bytes
    ) -> None:
        s3 = client(server)
        for foreign in ("readme.txt", f"{name.hex()}.bak", f"{name.hex().upper()}", f"sub/{name.hex()}"):
            s3.put_object(Bucket="plain", Key=f"{prefix}/{foreign}", Body=b"foreign")
        s3.put_object(Bucket="plain", Key=f"{prefix}x/{name.hex()}", Body=b"of another prefix")
        store.write(name, key, io.BytesIO(b"value"))
        assert [entry.name for entry in store.scan()] == [name]
        assert [entry.name for entry in store.scan(limit=1)] == [name]

    def test_an_object_without_encryption_is_refused(
        self, server: S3Server, store: S3Objects, prefix: str, name: bytes, key: bytes
    ) -> None:
        client(server).put_object(Bucket="plain", Key=f"{prefix}/{name.hex()}", Body=b"in the clear")
        with pytest.raises(IntegrityError):
            store.stat(name, key)
        with pytest.raises(IntegrityError):
            store.open(name, key)
        with pytest.raises(Conflict):
            store.write(name, key, io.BytesIO(b"value"))

    def test_an_object_that_is_replaced_while_it_is_read_is_refused(
        self, server: S3Server, store: S3Objects, prefix: str, name: bytes, key: bytes
    ) -> None:
        store.write(name, key, io.BytesIO(bytes_of(MIB)))
        with store.open(name, key) as file:
            file.read(10)
            client(server).put_object(Bucket="plain", Key=f"{prefix}/{name.hex()}", Body=bytes(MIB), **sse_c(key))
            with pytest.raises(IntegrityError, match="replaced"):
                file.read()

    def test_an_object_that_is_deleted_while_it_is_read_is_gone(
        self, store: S3Objects, name: bytes, key: bytes
    ) -> None:
        store.write(name, key, io.BytesIO(bytes_of(MIB)))
        with store.open(name, key) as file:
            store.delete([name])
            with pytest.raises(TokenNotFound):
                file.read()

    # addresses

    @pytest.mark.parametrize("prefix", ["Ümläut/日本語", "with space+plus&and=more", "a~b_c-d.e"])
    def test_any_prefix(self, server: S3Server, prefix: str, name: bytes, key: bytes) -> None:
        prefix = f"{new_prefix()}/{prefix}"
        store, other = store_of(server, prefix=prefix), os.urandom(32)
        now = int(time.time())
        assert send_to(server, store.upload(name, key, now=now, ttl=60), b"value")[0] == 200
        assert send_to(server, store.download(name, key, now=now, ttl=60)) == (200, b"value")
        assert store.copy(name, key, other, key).size == 5
        assert sorted(entry.name for entry in store.scan()) == sorted([name, other])
        assert len(store.scan(min(name, other))) == 1
        store.delete([name, other])
        assert store.scan() == []

    def test_the_whole_bucket(self, server: S3Server, name: bytes, key: bytes) -> None:
        store = store_of(server, prefix="")
        store.write(name, key, io.BytesIO(b"value"))
        assert name in [entry.name for entry in store.scan()]
        store.delete([name])
        assert store.stat(name, key) is None

    def test_tickets_are_for_the_public_endpoint(self, server: S3Server, prefix: str, name: bytes, key: bytes) -> None:
        store = store_of(server, prefix=prefix, public_endpoint="https://files.example.com")
        now = int(time.time())
        up, down = store.upload(name, key, now=now, ttl=60), store.download(name, key, now=now, ttl=60)
        assert store.origin == "https://files.example.com"
        assert up.url.startswith(f"https://files.example.com/plain/{prefix}/{name.hex()}?")
        assert up.headers["host"] == "files.example.com"
        assert send_to(server, up, b"value")[0] == 200
        assert send_to(server, down) == (200, b"value")
        assert store.stat(name, key) is not None

    def test_tickets_in_virtual_style(self, server: S3Server, prefix: str, name: bytes, key: bytes) -> None:
        store = store_of(server, prefix=prefix, public_endpoint=f"https://{DOMAIN}", style="virtual")
        now = int(time.time())
        up, down = store.upload(name, key, now=now, ttl=60), store.download(name, key, now=now, ttl=60)
        assert store.origin == f"https://plain.{DOMAIN}"
        assert up.url.startswith(f"https://plain.{DOMAIN}/{prefix}/{name.hex()}?")
        assert send_to(server, up, b"value")[0] == 200
        assert send_to(server, down) == (200, b"value")
        found = client(server).get_object(Bucket="plain", Key=f"{prefix}/{name.hex()}", **sse_c(key))
        assert found["Body"].read() == b"value"

    def test_the_region_is_found_out(self, server: S3Server, prefix: str, name: bytes, key: bytes) -> None:
        store = store_of(server, prefix=prefix, region="")
        request = store.upload(name, key, now=int(time.time()), ttl=60)
        assert f"%2F{server.region}%2Fs3%2F" in request.url
        assert send_to(server, request, b"value")[0] == 200
        assert store.stat(name, key) is not None

    # failures

    def test_no_such_bucket(self, server: S3Server, name: bytes, key: bytes) -> None:
        store = store_of(server, "no-such-bucket")
        for action in every_call(store, name, key).values():
            with pytest.raises(StoreUnavailable, match=r"no-such-bucket .*create it"):
                action()

    @pytest.mark.parametrize(("access_key", "secret_key"), [("nobody", SECRET_KEY), ("lunacore-tests", "wrong secret")])
    def test_wrong_credentials(
        self,
        server: S3Server,
        name: bytes,
        key: bytes,
        access_key: str,
        secret_key: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret_key)
        store = store_of(server)
        for action in every_call(store, name, key).values():
            with pytest.raises(StoreUnavailable, match=r"objects: bucket plain .*AWS_ACCESS_KEY_ID") as raised:
                action()
            assert secret_key not in str(raised.value)

    def test_a_server_that_is_down(self, server: S3Server, store: S3Objects, name: bytes, key: bytes) -> None:
        store.write(name, key, io.BytesIO(b"value"))
        server.stop()
        try:
            for action in every_call(store, name, key).values():
                with pytest.raises(StoreUnavailable, match=r"nothing listens there; check endpoint") as raised:
                    action()
                assert base64.b64encode(key).decode() not in str(raised.value)
                assert raised.value.retry_after > 0
        finally:
            server.start()
        store.probe()
        with store.open(name, key) as file:
            assert file.read() == b"value"

    @pytest.mark.long
    def test_a_server_that_goes_down_in_the_middle(
        self, server: S3Server, store: S3Objects, name: bytes, key: bytes
    ) -> None:
        class Stopping(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                if self.tell() == 2 * PART_BYTES:
                    server.stop()
                return super().read(size)

        store.write(kept := os.urandom(32), key, io.BytesIO(bytes_of(MIB)))
        with store.open(kept, key) as file:
            assert file.read(1000) == bytes_of(1000)
            try:
                with pytest.raises(StoreUnavailable):
                    store.write(name, key, Stopping(bytes(3 * PART_BYTES)))
                with pytest.raises(StoreUnavailable):
                    file.read()
            finally:
                server.start()
            file.seek(0)
            assert file.read() == bytes_of(MIB)
        assert store.stat(name, key) is None
        store.delete([name])
        assert store.write(name, key, io.BytesIO(bytes(3 * PART_BYTES))).size == 3 * PART_BYTES

    @pytest.mark.long
    def test_a_server_that_does_not_answer(self, server: S3Server, prefix: str, name: bytes, key: bytes) -> None:
        store_of(server, prefix=prefix).write(name, key, io.BytesIO(b"value"))
        store = store_of(server, prefix=prefix, timeout="1")
        server.pause()
        try:
            for call in ("stat", "write"):
                with pytest.raises(StoreUnavailable, match=r"timeout=|connection"):
                    every_call(store, name, key)[call]()
        finally:
            server.resume()
        with store.open(name, key) as file:
            assert file.read() == b"value"

    def test_errors_are_our_own(self, server: S3Server, name: bytes, key: bytes) -> None:
        # Another kind of server at the other end: its own port, spoken to in the other scheme.
        scheme = "http" if server.ca else "https"
        store = store_of(server, endpoint=f"{scheme}://{urlsplit(server.endpoint).netloc}", ca="")
        for action in every_call(store, name, key).values():
            with pytest.raises(LunaCoreError):
                action()
