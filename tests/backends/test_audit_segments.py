"""The audit log as segments: the contract on a file system, in SeaweedFS and in MinIO; what is shared, lost and refused."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from lunacore.errors import AuditUnavailable, ConfigError, StoreUnavailable
from lunacore.plugins import BackendURL, Surroundings, open_backend
from lunacore.testing.audit_sink import AuditSinkContract, make_batch, make_event, mappings
from lunacore_backends.auditsinks.fsspec_segments import FsspecSegments
from lunacore_backends.auditsinks.segments import AuditSegments
from lunacore_backends.s3.audit import S3Segments, open_audit
from tests.servers.faulty import faulty
from tests.servers.s3_server import client, url
from tests.servers.s3_stores import listed, new_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lunacore.stores import AuditSink
    from tests.servers.faulty import Exchange
    from tests.servers.s3_server import S3Server

pytestmark = pytest.mark.usefixtures("s3_credentials")

SETTING = "tokenizer.audit"
SURROUNDINGS = Surroundings(SETTING, time.time, os.urandom)
NAME = re.compile(r"\d{4}/\d\d/\d\d/\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{16}\.jsonl")


def lines_of(contents: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for content in contents for line in content.splitlines()]


class TestOnAFileSystem(AuditSinkContract):
    @pytest.fixture
    def open_sink(self, tmp_path: Path) -> Callable[[], AuditSink]:
        self._root = tmp_path / "audit"
        return lambda: open_backend("audit", f"local://{self._root}", SURROUNDINGS)

    def recorded(self, sink: AuditSink) -> list[dict[str, Any]]:
        paths = sorted(path for path in self._root.rglob("*") if path.is_file())
        assert all(NAME.fullmatch(path.relative_to(self._root).as_posix()) for path in paths)
        return lines_of([path.read_bytes() for path in paths])


class InS3(AuditSinkContract):
    @pytest.fixture
    def server(self) -> S3Server:
        raise NotImplementedError

    @pytest.fixture
    def open_sink(self, server: S3Server) -> Iterator[Callable[[], AuditSink]]:
        self._server, self._prefix = server, new_prefix()
        with ExitStack() as stack:

            def open_one() -> AuditSink:
                sink = open_audit(BackendURL.parse(url(server, "plain", self._prefix), SETTING), SURROUNDINGS)
                stack.callback(sink.close)
                return sink

            yield open_one

    def recorded(self, sink: AuditSink) -> list[dict[str, Any]]:
        s3 = client(self._server)
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket="plain", Prefix=self._prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        assert all(NAME.fullmatch(key.removeprefix(f"{self._prefix}/")) for key in keys)
        return lines_of([s3.get_object(Bucket="plain", Key=key)["Body"].read() for key in sorted(keys)])

    # Lines are made in one place, and the suite on the file system tries every text; here each example costs requests.
    def test_no_text_can_forge_an_event(self, sink: AuditSink) -> None:
        try_texts: Any = AuditSinkContract.test_no_text_can_forge_an_event
        for text in ('"}\n{"v":1,"action":"sweep"}', "\u2028\r\n", "\x00\\\ud800"):
            try_texts.hypothesis.inner_test(self, sink, issuer=text, reason=text, detail=text)

    def test_reached_or_not(self, server: S3Server) -> None:
        text = url(server, "plain", new_prefix())
        sink = open_audit(BackendURL.parse(text, SETTING), SURROUNDINGS)
        sink.probe()
        sink.close()
        with pytest.raises(AuditUnavailable, match="the store is closed"):
            sink.write([make_event(1)])
        away = url(server, "plain", new_prefix(), endpoint="https://127.0.0.1:1")
        sink = open_audit(BackendURL.parse(away, SETTING), SURROUNDINGS)
        with pytest.raises(
            AuditUnavailable, match=r"nothing is released: tokenizer.audit: bucket plain .*check endpoint"
        ):
            sink.write([make_event(1)])
        with pytest.raises(StoreUnavailable):
            sink.probe()
        sink.close()


@pytest.mark.long
@pytest.mark.servers
@pytest.mark.xdist_group("seaweedfs")
class TestOnSeaweedFS(InS3):
    @pytest.fixture
    def server(self, seaweedfs: S3Server) -> S3Server:
        return seaweedfs

    def test_a_lost_answer_is_made_good(self, server: S3Server) -> None:
        prefix = new_prefix()
        lost: list[int] = []

        def losing(exchange: Exchange) -> tuple[int, bytes]:
            if exchange.method == "PUT" and not lost:
                lost.append(exchange.status)
                return 503, b"<Error><Code>SlowDown</Code></Error>"
            return exchange.status, exchange.answer

        with faulty(server.endpoint, losing) as endpoint:
            parsed = BackendURL.parse(url(server, "plain", prefix, endpoint=endpoint), SETTING)
            sink = open_audit(parsed, SURROUNDINGS)
            sink.write([make_event(1)])
            sink.close()
        assert lost == [200]
        assert len(listed(server, "plain", prefix)) == 1

    def test_no_segment_is_replaced(self, server: S3Server) -> None:
        sink = open_audit(BackendURL.parse(url(server, "plain", new_prefix()), SETTING), SURROUNDINGS)
        medium = sink._medium
        assert isinstance(medium, S3Segments)
        medium.create("a.jsonl", b"one\n")
        with pytest.raises(StoreUnavailable, match=r"another object lies where the segment a\.jsonl should"):
            medium.create("a.jsonl", b"two\n")
        sink.close()


@pytest.mark.servers
@pytest.mark.xdist_group("minio")
class TestOnMinIO(InS3):
    @pytest.fixture
    def server(self, minio: S3Server) -> S3Server:
        return minio


class Held:
    """A medium that keeps its first segment waiting until told, and fails those that hold a word."""

    def __init__(self, fails: bytes = b"") -> None:
        self.segments: dict[str, bytes] = {}
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._fails = fails

    def create(self, name: str, content: bytes) -> None:
        self.begun.set()
        assert self.go_on.wait(30)
        if self._fails and self._fails in content:
            raise StoreUnavailable("the medium is full")
        self.segments[name] = content

    def probe(self) -> None:
        pass

    def close(self) -> None:
        pass


def sink_over(medium: Any, now: Callable[[], float] = time.time) -> AuditSegments:
    return AuditSegments(medium, setting=SETTING, now=now, random=os.urandom)


def gathered(sink: AuditSegments, batches: int) -> bool:
    """Wait until so many batches wait for the next segment."""
    deadline = time.monotonic() + 30
    while len(sink._gathering.lines) < batches:
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)
    return True


def test_what_comes_while_a_segment_is_stored_shares_the_next() -> None:
    medium = Held()
    sink = sink_over(medium)
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(sink.write, [make_event(0)])
        assert medium.begun.wait(30)
        others = [threads.submit(sink.write, make_batch(batch, writer=batch)) for batch in range(1, 7)]
        assert gathered(sink, 6)
        assert not first.done()
        assert not any(other.done() for other in others)
        medium.go_on.set()
        for write in (first, *others):
            write.result()
    assert len(medium.segments) == 2
    found = lines_of([medium.segments[name] for name in sorted(medium.segments)])
    assert found[:1] == mappings([make_event(0)])
    assert len(found) == 1 + sum(len(make_batch(batch, writer=batch)) for batch in range(1, 7))


def test_a_failure_is_everyones_who_shared_the_segment_and_nobody_elses() -> None:
    medium = Held(fails=b'"number":77')
    sink = sink_over(medium)
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(sink.write, [make_event(0)])
        assert medium.begun.wait(30)
        others = [threads.submit(sink.write, [make_event(number)]) for number in (77, 78)]
        assert gathered(sink, 2)
        medium.go_on.set()
        first.result()
        for other in others:
            with pytest.raises(AuditUnavailable, match="nothing is released: the medium is full"):
                other.result()
    sink.write([make_event(2)])
    assert [entry["detail"]["number"] for entry in lines_of([*medium.segments.values()])] == [0, 2]


def test_a_bug_in_a_medium_is_no_success_for_those_who_wait() -> None:
    class Broken(Held):
        def create(self, name: str, content: bytes) -> None:
            super().create(name, content)
            raise RuntimeError("a bug")

    medium = Broken()
    sink = sink_over(medium)
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(sink.write, [make_event(0)])
        assert medium.begun.wait(30)
        others = [threads.submit(sink.write, [make_event(number)]) for number in (1, 2)]
        assert gathered(sink, 2)
        medium.go_on.set()
        raised = [type(write.exception()) for write in (first, *others)]
    assert raised[0] is RuntimeError
    assert sorted(kind.__name__ for kind in raised[1:]) == ["AuditUnavailable", "RuntimeError"]


def test_names_sort_by_time_even_if_the_clock_goes_back() -> None:
    medium = Held()
    medium.go_on.set()
    clock = iter([1_800_000_000.0, 1_800_000_000.0, 1_799_999_000.0, 1_800_000_001.5])
    sink = sink_over(medium, lambda: next(clock))
    for number in range(4):
        sink.write([make_event(number)])
    names = sorted(medium.segments)
    assert [entry["detail"]["number"] for entry in lines_of([medium.segments[name] for name in names])] == [0, 1, 2, 3]
    assert names[0].startswith("2027/01/15/20270115T080000.000000Z-")
    assert names[2].startswith("2027/01/15/20270115T080000.000002Z-")
    assert names[3].startswith("2027/01/15/20270115T080001.500000Z-")


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    sink = open_backend("audit", f"local://{tmp_path}/audit", SURROUNDINGS)
    sink.probe()
    (tmp_path / "audit").rmdir()
    (tmp_path / "audit").write_bytes(b"a file in its place")
    with pytest.raises(AuditUnavailable, match=rf"nothing is released: {SETTING}: the file system failed"):
        sink.write([make_event(1)])
    (tmp_path / "audit").unlink()
    with pytest.raises(StoreUnavailable):
        sink.probe()


def test_what_was_cut_short_is_no_segment(tmp_path: Path) -> None:
    class Full:
        """A file system that runs full in the middle of a file."""

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def pipe_file(self, path: str, content: bytes) -> None:
            self._inner.pipe_file(path, content[:10])
            raise OSError("No space left on device")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    whole = open_backend("audit", f"local://{tmp_path}", SURROUNDINGS)._medium
    assert isinstance(whole, FsspecSegments)
    sink = sink_over(FsspecSegments(Full(whole._fs), str(tmp_path), SETTING))
    with pytest.raises(AuditUnavailable, match="OSError"):
        sink.write([make_event(1)])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s3://bucket/audit?fsync=always", "s3 has no option 'fsync'"),
        ("s3://bucket/audit?endpoint=http://minio:9000", "endpoint is http"),
        ("no-such-scheme://x", "fsspec does not know"),
    ],
)
def test_urls_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_backend("audit", text, SURROUNDINGS)
