"""Records in S3, on SeaweedFS and on MinIO: the contract, what S3 adds to it, and services that are refused."""

from __future__ import annotations

import os
import re
import struct
import threading
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from lunacore.errors import ConfigError, Conflict, IntegrityError, StoreUnavailable
from lunacore.plugins import BackendURL, Surroundings, open_backend
from lunacore.records import Record
from lunacore.testing.record_store import RecordStoreContract, label_of, make_record, name_of, race, record_machine
from lunacore_backends.s3.condition_proof import RIVALS
from lunacore_backends.s3.conditional import ConditionalObjects
from lunacore_backends.s3.records import S3Records, open_records
from lunacore_backends.s3.settings import S3Settings
from tests.servers.s3_server import BUCKETS, SECRET_KEY, client, url
from tests.servers.s3_stores import listed, new_prefix
from tests.servers.seaweedfs import READER
from tests.servers.tcp_proxy import PIECE_BYTES, TCPProxy
from tests.servers.threads import ServedInThread

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence

    from lunacore.stores import RecordStore
    from tests.servers.s3_server import S3Server

pytestmark = pytest.mark.usefixtures("s3_credentials")

SETTING = "tokenizer.records"
SERVERS = [
    pytest.param("minio", marks=[pytest.mark.servers, pytest.mark.xdist_group("minio")]),
    pytest.param("seaweedfs", marks=[pytest.mark.servers, pytest.mark.xdist_group("seaweedfs"), pytest.mark.long]),
]


@pytest.fixture
def server(request: pytest.FixtureRequest) -> S3Server:
    running: S3Server = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def opened(text: str) -> S3Records:
    return open_records(BackendURL.parse(text, SETTING), Surroundings(SETTING, time.time, os.urandom))


def objects_of(server: S3Server, closing: ExitStack, bucket: str, **options: str) -> ConditionalObjects:
    parsed = BackendURL.parse(url(server, bucket, encryption="none", **options), SETTING)
    objects = ConditionalObjects(S3Settings.from_url(parsed, SETTING), server.region, str(server.ca or ""))
    closing.callback(objects.close)
    return objects


def store_of(
    server: S3Server, closing: ExitStack, bucket: str = "plain", prefix: str = "", **options: str
) -> S3Records:
    """A store at a server whose conditions other tests prove."""
    objects = objects_of(server, closing, bucket, **options)
    return S3Records(objects, SETTING, f"{prefix or new_prefix()}/", os.urandom)


def proven_store_of(server: S3Server, closing: ExitStack, bucket: str = "plain", **options: str) -> S3Records:
    store = opened(url(server, bucket, new_prefix(), **options))
    closing.callback(store.close)
    return store


@pytest.fixture(scope="module")
def connections() -> Iterator[Callable[[S3Server, str], ConditionalObjects]]:
    """Connections to a bucket, made once."""
    made: dict[tuple[str, str], ConditionalObjects] = {}
    with ExitStack() as stack:

        def connect(server: S3Server, bucket: str) -> ConditionalObjects:
            key = (server.endpoint, bucket)
            if key not in made:
                made[key] = objects_of(server, stack, bucket)
            return made[key]

        yield connect


def objects_in(server: S3Server, bucket: str, prefix: str) -> dict[str, bytes]:
    """Keys and contents, by another client."""
    s3 = client(server)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def row_of(record: Record, root_version: int = 1, due: int = 0, labels: Sequence[bytes] = ()) -> bytes:
    """The layout of docs/reference/s3-records.md, written out once more."""
    index = struct.pack(">4sB16sIQB", b"LCSR", 1, bytes(16), root_version, due, len(labels))
    return index + b"".join(labels) + record.body


def body_in(data: bytes) -> bytes:
    assert data[:5] == b"LCSR\x01"
    return data[34 + 16 * data[33] :]


class S3Contract(RecordStoreContract):
    """Each store has a prefix of its own; they share connections."""

    renames = False
    bucket = "plain"

    @pytest.fixture
    def server(self) -> S3Server:
        raise NotImplementedError

    @pytest.fixture
    def open_store(
        self, server: S3Server, connections: Callable[[S3Server, str], ConditionalObjects]
    ) -> Callable[[], RecordStore]:
        objects = connections(server, self.bucket)
        self._server = server

        class SharingConnections(S3Records):
            def close(self) -> None:
                pass

        return lambda: SharingConnections(objects, SETTING, f"{new_prefix()}/", os.urandom)

    def plant(
        self, store: RecordStore, record: Record, *, root_version: int, due: int, labels: Sequence[bytes]
    ) -> None:
        assert isinstance(store, S3Records)
        client(self._server).put_object(
            Bucket=self.bucket, Key=store._prefix + record.name.hex(), Body=row_of(record, root_version, due, labels)
        )

    def peek(self, store: RecordStore) -> dict[bytes, bytes]:
        assert isinstance(store, S3Records)
        found = objects_in(self._server, self.bucket, store._prefix)
        return {bytes.fromhex(key.removeprefix(store._prefix)): body_in(data) for key, data in found.items()}

    def test_state_machine(self, open_store: Callable[[], RecordStore]) -> None:
        machine = record_machine(open_store, renames=False)
        run_state_machine_as_test(machine, settings=settings(max_examples=5, stateful_step_count=20))

    @pytest.mark.long
    def test_state_machine_at_length(self, open_store: Callable[[], RecordStore]) -> None:
        machine = record_machine(open_store, renames=False)
        run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=40))

    @pytest.mark.parametrize("count", [0, 1, 2, 9, pytest.param(1200, marks=pytest.mark.long)])
    def test_get_keeps_order_gaps_and_repeats(self, store: RecordStore, count: int) -> None:
        super().test_get_keeps_order_gaps_and_repeats(store, count)

    @pytest.mark.long
    def test_delete_many(self, store: RecordStore) -> None:
        super().test_delete_many(store)

    @pytest.mark.long
    def test_scan_limit_defaults_to_a_thousand(self, store: RecordStore) -> None:
        super().test_scan_limit_defaults_to_a_thousand(store)

    @pytest.mark.long
    def test_no_replace_is_lost(self, store: RecordStore) -> None:
        super().test_no_replace_is_lost(store)


@pytest.mark.long
@pytest.mark.servers
@pytest.mark.xdist_group("seaweedfs")
class TestOnSeaweedFS(S3Contract):
    @pytest.fixture
    def server(self, seaweedfs: S3Server) -> S3Server:
        return seaweedfs


@pytest.mark.servers
@pytest.mark.xdist_group("minio")
class TestOnMinIO(S3Contract):
    @pytest.fixture
    def server(self, minio: S3Server) -> S3Server:
        return minio


@pytest.mark.long
@pytest.mark.servers
@pytest.mark.xdist_group("minio")
class TestOnMinIOWithVersions(TestOnMinIO):
    bucket = "versioned"


@pytest.mark.parametrize("server", SERVERS, indirect=True)
class TestBeyondTheContract:
    def test_opened_by_url(self, server: S3Server, closing: ExitStack) -> None:
        prefix = new_prefix()
        store = open_backend("records", url(server, "plain", prefix), Surroundings(SETTING, time.time, os.urandom))
        closing.callback(store.close)
        assert listed(server, "plain", prefix) == []
        record = make_record(name_of(1), labels=[label_of(1)], due=5, root_version=7)
        store.create([record])
        ((key, data),) = objects_in(server, "plain", prefix).items()
        assert key == f"{prefix}/{record.name.hex()}"
        expected = row_of(record, 7, 5, [label_of(1)])
        assert data[:5] + data[21:] == expected[:5] + expected[21:]

    def test_the_whole_bucket_and_the_region_found_out(self, server: S3Server, closing: ExitStack) -> None:
        store = opened(url(server, "plain", region=""))
        closing.callback(store.close)
        record = make_record(os.urandom(32))
        store.create([record])
        assert store.get([record.name]) == [record]
        # Other tests keep objects of their own in the bucket, so no further than this record.
        assert store.scan(after=record.name[:31], limit=1) == [record]
        store.delete([record.name])
        assert store.get([record.name]) == [None]

    @pytest.mark.parametrize("bucket", BUCKETS)
    def test_nothing_stays_behind(self, server: S3Server, closing: ExitStack, bucket: str) -> None:
        """Neither the scratch object, nor what a batch took back, nor versions that were replaced or deleted."""
        prefix = new_prefix()
        store = store_of(server, closing, bucket, prefix)
        records = [make_record(name_of(number)) for number in range(5)]
        store.create(records[3:4])
        with pytest.raises(Conflict):
            store.create(records)
        (present,) = records[3:4]
        for revision in (2, 3):
            new = make_record(present.name, revision=revision)
            assert store.replace(present, new)
            present = new
        assert listed(server, bucket, prefix) == [f"{prefix}/{present.name.hex()}"]
        store.delete([present.name])
        store.delete([present.name])
        assert listed(server, bucket, prefix) == []

    def test_a_deletion_that_was_cut_short_is_finished(self, server: S3Server, closing: ExitStack) -> None:
        prefix = new_prefix()
        store = store_of(server, closing, "versioned", prefix)
        record = make_record(name_of(1))
        store.create([record])
        client(server).delete_object(Bucket="versioned", Key=f"{prefix}/{record.name.hex()}")
        assert store.get([record.name]) == [None]
        assert not store.replace(record, record)
        store.delete([record.name])
        assert listed(server, "versioned", prefix) == []

    def test_other_objects_under_the_prefix(self, server: S3Server, closing: ExitStack) -> None:
        prefix = new_prefix()
        store, record = store_of(server, closing, prefix=prefix), make_record(name_of(1))
        store.create([record])
        s3 = client(server)
        for key in ("readme.txt", f"{name_of(2).hex()}/more", name_of(2).hex().upper(), "0" * 63):
            s3.put_object(Bucket="plain", Key=f"{prefix}/{key}", Body=b"other")
        assert store.scan() == [record]

    @pytest.mark.parametrize("data", [b"", b"no record", b"LCSR\x02" + bytes(99), b"LCSR\x01" + b"\xff" * 40])
    def test_an_object_that_holds_no_record_is_seen(self, server: S3Server, closing: ExitStack, data: bytes) -> None:
        prefix = new_prefix()
        store, sound = store_of(server, closing, prefix=prefix), make_record(name_of(1))
        store.create([sound])
        client(server).put_object(Bucket="plain", Key=f"{prefix}/{name_of(2).hex()}", Body=data)
        (strange,) = store.get([name_of(2)])
        assert strange == Record(name_of(2), data)
        with pytest.raises(IntegrityError):
            _ = strange.header
        for found in (store.scan(root_below=1), store.scan(due_before=1), store.scan(label=label_of(1))):
            assert found == [strange]
        store.delete([name_of(2)])
        assert store.scan() == [sound]

    def test_two_stores_share_a_bucket(self, server: S3Server, closing: ExitStack) -> None:
        prefix = new_prefix()
        stores = [store_of(server, closing, prefix=prefix) for _ in range(2)]
        record = make_record(name_of(1))
        outcomes = race(*(lambda store=store: store.create([record]) for store in stores))
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 1
        # The same bytes written again are another write.
        assert stores[0].replace(record, record)
        new = make_record(record.name, revision=2)
        won = race(*(lambda store=store: store.replace(record, new) for store in stores))
        assert sorted(won) == [False, True]
        assert stores[1].get([record.name]) == [new]

    @pytest.mark.long
    def test_a_server_that_is_down(self, server: S3Server, closing: ExitStack) -> None:
        store, record = store_of(server, closing), make_record(name_of(1))
        store.create([record])
        server.stop()
        try:
            for call in every_call(store):
                with pytest.raises(StoreUnavailable, match=rf"{SETTING}: bucket plain .*check endpoint") as raised:
                    call()
                assert SECRET_KEY not in str(raised.value)
            with pytest.raises(StoreUnavailable, match="check endpoint"):
                proven_store_of(server, closing)
        finally:
            server.start()
        store.probe()
        assert store.get([record.name]) == [record]

    def test_a_server_that_does_not_answer(self, server: S3Server, closing: ExitStack) -> None:
        store = store_of(server, closing, timeout="1")
        server.pause()
        try:
            with pytest.raises(StoreUnavailable, match=r"timeout=|connection"):
                store.get([name_of(1)])
        finally:
            server.resume()
        assert store.get([name_of(1)]) == [None]

    def test_no_such_bucket(self, server: S3Server, closing: ExitStack) -> None:
        with pytest.raises(StoreUnavailable, match=r"no-such-bucket .*create it"):
            proven_store_of(server, closing, "no-such-bucket")

    def test_wrong_credentials(self, server: S3Server, closing: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong secret")
        with pytest.raises(StoreUnavailable, match="AWS_ACCESS_KEY_ID") as raised:
            proven_store_of(server, closing)
        assert "wrong secret" not in str(raised.value)

    def test_no_credentials(self, server: S3Server, closing: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(StoreUnavailable, match=r"no credentials.*AWS_ACCESS_KEY_ID"):
            proven_store_of(server, closing)

    def test_a_closed_store(self, server: S3Server, closing: ExitStack) -> None:
        store = store_of(server, closing)
        store.close()
        store.close()
        for call in every_call(store):
            with pytest.raises(StoreUnavailable, match="closed"):
                call()


@pytest.mark.servers
@pytest.mark.xdist_group("minio")
def test_an_unknown_ca(minio: S3Server, closing: ExitStack) -> None:
    with pytest.raises(StoreUnavailable, match="ca="):
        proven_store_of(minio, closing, ca="")


@pytest.mark.servers
@pytest.mark.xdist_group("seaweedfs")
def test_too_few_rights(seaweedfs: S3Server, closing: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER[1])
    with pytest.raises(StoreUnavailable, match=r"may not do this.*s3:PutObject") as raised:
        proven_store_of(seaweedfs, closing)
    assert READER[1] not in str(raised.value)


def every_call(store: S3Records) -> list[Callable[[], object]]:
    record = make_record(name_of(1))
    return [
        store.probe,
        lambda: store.create([make_record(name_of(9))]),
        lambda: store.get([record.name]),
        lambda: store.replace(record, make_record(record.name, revision=2)),
        lambda: store.delete([name_of(9)]),
        store.scan,
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s3://bucket?encryption=none", "no option 'encryption'"),
        ("s3://bucket?write_once=true", "no option 'write_once'"),
        ("s3://B", "bucket's name"),
        ("s3://bucket?endpoint=http://minio:9000", "use https"),
        ("s3://key:secret@bucket", "do not stand in the URL"),
    ],
)
def test_urls_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"{SETTING}: .*{message}") as raised:
        opened(text)
    assert "secret" not in str(raised.value)


class LossyRelay(TCPProxy):
    """Passes connections on to a server, and swallows the answer to the next PUT once the server has given it."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(urlsplit(endpoint).port or 0)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.loses = False
        self.lost = 0
        self._losing: set[socket.socket] = set()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        while sent := client.recv(PIECE_BYTES):
            if sent.startswith(b"PUT ") and self.loses:
                self._losing.add(client)
                self.loses = False
            server.sendall(sent)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        while answered := server.recv(PIECE_BYTES):
            if client in self._losing and not answered.startswith(b"HTTP/1.1 100 "):
                self.lost += 1
                return
            client.sendall(answered)


@pytest.mark.servers
@pytest.mark.xdist_group("seaweedfs")
class TestLostAnswers:
    """The server has written and the connection breaks: the second try meets the first, and knows it."""

    @pytest.fixture
    def relay(self, seaweedfs: S3Server) -> Iterator[LossyRelay]:
        with LossyRelay(seaweedfs.endpoint) as relay:
            yield relay

    @pytest.fixture
    def store(self, seaweedfs: S3Server, relay: LossyRelay, closing: ExitStack) -> S3Records:
        return store_of(seaweedfs, closing, endpoint=relay.endpoint)

    def test_create(self, store: S3Records, relay: LossyRelay) -> None:
        record = make_record(name_of(1))
        relay.loses = True
        store.create([record])
        assert relay.lost == 1
        assert store.scan() == [record]
        with pytest.raises(Conflict):
            store.create([record])

    def test_replace(self, store: S3Records, relay: LossyRelay) -> None:
        old, new = make_record(name_of(1)), make_record(name_of(1), revision=2)
        store.create([old])
        relay.loses = True
        assert store.replace(old, new)
        assert relay.lost == 1
        assert store.scan() == [new]
        assert not store.replace(old, new)


class LaxS3(ThreadingHTTPServer):
    """As much of S3 as the proof asks for, with the conditional writes of services that get them wrong."""

    daemon_threads = True

    def __init__(self, flaw: str) -> None:
        super().__init__(("127.0.0.1", 0), _LaxHandler)
        self.flaw = flaw
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.lock = threading.Lock()
        self.writes = 0
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.region = "us-east-1"
        self.ca = None
        # All rivals look before any of them writes.
        self.together: dict[str, threading.Barrier] = defaultdict(lambda: threading.Barrier(RIVALS))


class _LaxHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LaxS3

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- as in the standard library
        pass

    def do_GET(self) -> None:
        data, etag = self.server.objects.get(self.path, (None, ""))
        if data is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self._answer(200, data, etag)

    def do_POST(self) -> None:
        for key in re.findall(rb"<Key>([^<]+)</Key>", self._body()):
            self.server.objects.pop(f"/plain/{key.decode()}", None)
        self._answer(200, b"<DeleteResult></DeleteResult>")

    def do_PUT(self) -> None:
        data, flaw = self._body(), self.server.flaw
        creates, etag = self.headers.get("If-None-Match"), self.headers.get("If-Match")
        if flaw == "unknown":
            self._answer(501, b"<Error><Code>NotImplemented</Code></Error>")
            return
        lax = (flaw == "If-None-Match" and creates) or (flaw == "If-Match" and etag)
        if not lax and flaw != "no lock":
            with self.server.lock:
                self._settle(data, self._holds(creates, etag))
            return
        holds = self._holds(creates, etag)
        if flaw == "no lock" and holds:
            with self.server.lock:
                rivals = self.server.together[self.path]
            rivals.wait()
        self._settle(data, holds or bool(lax))

    def _holds(self, creates: str | None, etag: str | None) -> bool:
        present = self.server.objects.get(self.path)
        return present is None if creates else present is not None and present[1] == etag

    def _settle(self, data: bytes, holds: bool) -> None:
        if holds or self.server.flaw == "writes all the same":
            self.server.writes += 1
            self.server.objects[self.path] = (data, f'"{self.server.writes}"')
        if holds:
            self._answer(200, b"", self.server.objects[self.path][1])
        else:
            self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _answer(self, status: int, body: bytes, etag: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def lax_s3(flaw: str) -> Iterator[LaxS3]:
    server = LaxS3(flaw)
    with ServedInThread(server):
        yield server


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ("If-None-Match", r"of 4 writers at the same moment 4 won \(it checks If-None-Match: \* without a lock\)"),
        ("If-Match", r"its ETag was another \(it ignores If-Match\)"),
        ("no lock", "of 4 writers at the same moment 4 won"),
        ("unknown", r"does not take If-None-Match or If-Match \(NotImplemented\)"),
        ("writes all the same", "refused a write .* and did it all the same"),
    ],
)
def test_services_that_are_refused(flaw: str, message: str, closing: ExitStack) -> None:
    with lax_s3(flaw) as server, pytest.raises(ConfigError, match=rf"{SETTING}: this S3 service.*{message}"):
        proven_store_of(server, closing)  # type: ignore[arg-type]  # it cannot be paused, and need not
    assert server.objects == {}


def test_a_service_without_flaw_is_taken(closing: ExitStack) -> None:
    with lax_s3("none") as server:
        store = proven_store_of(server, closing)  # type: ignore[arg-type]  # as above
        store.create([make_record(name_of(1))])
        assert len(server.objects) == 1
        store.close()
