"""The audit log in a file and in memory: the contract, other processes, full disks, crashes, rotation."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from attrs import define

from lunacore.errors import AuditUnavailable, ConfigError
from lunacore.plugins import BackendURL, Surroundings, open_backend
from lunacore.testing.audit_sink import AuditSinkContract, assert_whole_batches, make_event, mappings
from lunacore_backends.auditsinks.jsonlines import JsonLinesAudit, open_audit
from lunacore_backends.auditsinks.memory import MemoryAudit
from lunacore_backends.auditsinks.memory import open_audit as open_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore.stores import AuditSink

SETTING = "tokenizer.audit"
WORKER = Path(__file__).with_name("local_files_worker.py")


@define
class Clock:
    time: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.time


def surroundings(clock: Callable[[], float] = Clock()) -> Surroundings:  # noqa: B008 - it never moves
    return Surroundings(setting=SETTING, now=clock, random=os.urandom)


def open_at(url: str, clock: Callable[[], float] | None = None) -> JsonLinesAudit:
    return open_audit(BackendURL.parse(url, SETTING), surroundings(clock or Clock()))


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def run(task: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), task, json.dumps([str(argument) for argument in arguments])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


class TestJsonLines(AuditSinkContract):
    @pytest.fixture
    def open_sink(self, path: Path) -> Callable[[], AuditSink]:
        return lambda: open_at(path.as_uri())

    def recorded(self, sink: AuditSink) -> list[dict[str, Any]]:
        return entries(cast("JsonLinesAudit", sink).path)


class TestJsonLinesWithFsync(TestJsonLines):
    @pytest.fixture
    def open_sink(self, path: Path) -> Callable[[], AuditSink]:
        return lambda: open_at(f"{path.as_uri()}?fsync=always")


class TestMemory(AuditSinkContract):
    @pytest.fixture
    def open_sink(self) -> Callable[[], AuditSink]:
        sink = open_memory(BackendURL.parse("memory://", SETTING), surroundings())
        return lambda: sink

    def recorded(self, sink: AuditSink) -> list[dict[str, Any]]:
        return [json.loads(line) for line in cast("MemoryAudit", sink).lines]


def test_the_entry_points_lead_here(path: Path) -> None:
    assert isinstance(open_backend("audit", path.as_uri(), surroundings()), JsonLinesAudit)
    assert isinstance(open_backend("audit", "memory://", surroundings()), MemoryAudit)


def test_a_batch_is_its_lines_and_nothing_else(path: Path) -> None:
    events = [make_event(1), make_event(2)]
    open_at(path.as_uri()).write(events)
    assert path.read_bytes() == b"".join(event.to_line() for event in events)


def test_a_new_file_is_the_owners_alone(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        sink = open_at(f"{tmp_path.as_uri()}/audit/")
    finally:
        os.umask(previous)
    assert sink.path.stat().st_mode & 0o777 == 0o600
    assert sink.path.parent.stat().st_mode & 0o777 == 0o700


def test_an_existing_file_keeps_its_mode(path: Path) -> None:
    path.touch()
    path.chmod(0o640)
    open_at(path.as_uri()).write([make_event(1)])
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(("end", "name"), [("", "log"), ("/", "log/audit.jsonl")])
def test_a_slash_makes_it_a_directory(tmp_path: Path, end: str, name: str) -> None:
    open_at(f"{tmp_path.as_uri()}/log{end}").write([make_event(1)])
    assert entries(tmp_path / name) == mappings([make_event(1)])


def test_an_existing_directory_needs_no_slash(tmp_path: Path) -> None:
    assert open_at(tmp_path.as_uri()).path == tmp_path / "audit.jsonl"


def test_processes_do_not_tear_each_others_batches(path: Path) -> None:
    workers = [run("write_batches", path, writer) for writer in range(4)]
    for worker in workers:
        worker.communicate(timeout=60)
        assert worker.returncode == 0
    assert_whole_batches(entries(path), range(4))


def test_parent_and_forked_child_do_not_either(path: Path) -> None:
    worker = run("audit_after_fork", path)
    worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert_whole_batches(entries(path), [1, 2])


def test_a_full_disk_takes_a_batch_whole_or_not_at_all(path: Path) -> None:
    worker = run("audit_on_full_disk", path)
    said, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0
    refusals = [line for line in said.splitlines() if not line.isdigit()]
    sizes = [int(line) for line in said.splitlines() if line.isdigit()]
    # No room for two lines until the last round: nothing is left of any try.
    assert set(sizes) == {0}
    assert len(refusals) == len(sizes) > 10
    assert set(refusals) == {
        f"{SETTING}: cannot write the audit log {path}: File too large; nothing is released until it can be written"
    }
    assert entries(path) == mappings([make_event(0), make_event(3)])


@pytest.mark.long
def test_killed_writers_lose_nothing_that_they_were_told_is_written(path: Path) -> None:
    workers = [run("write_until_killed", path, writer) for writer in range(2)]
    told = []
    for worker in workers:
        assert worker.stdout is not None
        lines = [worker.stdout.readline() for _ in range(10)]
        worker.send_signal(signal.SIGKILL)
        rest, _ = worker.communicate(timeout=60)
        # The last line of a killed process may be cut short.
        told.append(max(int(line) for line in [*lines, *rest.splitlines(keepends=True)] if line.endswith("\n")))
    open_at(path.as_uri()).write([make_event(0, writer=9)])
    *lines_written, last = path.read_bytes().split(b"\n")
    assert last == b""
    assert json.loads(lines_written[-1]) == mappings([make_event(0, writer=9)])[0]
    for writer in range(2):
        numbers = [number for line in lines_written if (number := _number(line, writer)) is not None]
        assert numbers[: told[writer]] == list(range(told[writer]))


def _number(line: bytes, writer: int) -> int | None:
    try:
        detail = json.loads(line)["detail"]
    except ValueError:
        return None
    return detail["number"] if detail["writer"] == writer else None


def test_the_file_is_locked_while_it_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, real_write, refused = open_at(path.as_uri()), os.write, []

    def write(descriptor: int, content: bytes) -> int:
        with path.open("rb") as other, pytest.raises(BlockingIOError) as error:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        refused.append(error)
        return real_write(descriptor, content)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        sink.write([make_event(1), make_event(2)])
    assert len(refused) == 1
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_line_torn_by_a_crash_is_closed_first(path: Path) -> None:
    sink = open_at(path.as_uri())
    sink.write([make_event(1)])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    sink.write([make_event(2)])
    assert path.read_bytes() == whole + whole[:20] + b"\n" + make_event(2).to_line()


def test_a_write_that_was_cut_short_takes_back_only_its_own(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # No real disk fills up between a short write and another program's, so the system call is led here.
    sink = open_at(path.as_uri())
    sink.write([make_event(1)])
    before, real_write, foreign = path.read_bytes(), os.write, b"a line of another program\n"

    def short_write(descriptor: int, content: bytes) -> int:
        if len(content) == len(make_event(2).to_line()):
            return real_write(descriptor, content[:10])
        real_write(descriptor, foreign)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", short_write)
        with pytest.raises(AuditUnavailable, match="No space left on device"):
            sink.write([make_event(2)])
    assert path.read_bytes() == before + make_event(2).to_line()[:10] + foreign


def test_a_short_write_is_completed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, real_write = open_at(path.as_uri()), os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, content: real_write(descriptor, content[:7]))
        sink.write([make_event(1), make_event(2)])
    assert entries(path) == mappings([make_event(1), make_event(2)])


def test_a_descriptor_that_was_closed_underneath_is_replaced(path: Path) -> None:
    sink = open_at(path.as_uri())
    assert sink._descriptor is not None
    os.close(sink._descriptor)
    with pytest.raises(AuditUnavailable, match="Bad file descriptor"):
        sink.write([make_event(1)])
    sink.write([make_event(2)])
    assert entries(path) == mappings([make_event(2)])


def test_follows_rotation_within_a_second(path: Path) -> None:
    clock = Clock()
    sink = open_at(path.as_uri(), clock)
    sink.write([make_event(1)])
    rotated = path.rename(path.with_suffix(".1"))
    clock.time += 0.9
    sink.write([make_event(2)])
    assert entries(rotated) == mappings([make_event(1), make_event(2)])
    clock.time += 0.1
    sink.write([make_event(3)])
    sink.write([make_event(4)])
    assert entries(path) == mappings([make_event(3), make_event(4)])
    assert entries(rotated) == mappings([make_event(1), make_event(2)])


def test_follows_rotation_when_the_new_file_is_already_there(path: Path) -> None:
    clock = Clock()
    sink = open_at(path.as_uri(), clock)
    path.rename(path.with_suffix(".1"))
    path.touch(mode=0o640)
    clock.time += 1
    sink.write([make_event(1)])
    assert entries(path) == mappings([make_event(1)])


def test_follows_rotation_when_the_clock_was_set_back(path: Path) -> None:
    clock = Clock()
    sink = open_at(path.as_uri(), clock)
    path.unlink()
    clock.time -= 86_400
    sink.write([make_event(1)])
    assert entries(path) == mappings([make_event(1)])


def test_survives_being_truncated_in_place(path: Path) -> None:
    sink = open_at(path.as_uri())
    sink.write([make_event(1)])
    os.truncate(path, 0)
    sink.write([make_event(2)])
    assert path.read_bytes() == make_event(2).to_line()


def test_refuses_while_the_directory_is_away_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    clock = Clock()
    directory = tmp_path / "parent" / "logs"
    directory.parent.mkdir()
    sink = open_at(f"{directory.as_uri()}/", clock)
    sink.close()
    directory.parent.rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(AuditUnavailable, match=rf"^{SETTING}: cannot write the audit log .*: No such file or"):
            sink.write([make_event(1)])
    with pytest.raises(AuditUnavailable):
        sink.probe()
    (tmp_path / "away").rename(directory.parent)
    sink.write([make_event(2)])
    sink.probe()
    assert entries(sink.path) == mappings([make_event(2)])


def test_goes_on_after_close(path: Path) -> None:
    sink = open_at(path.as_uri())
    sink.close()
    sink.close()
    sink.write([make_event(1)])
    assert entries(path) == mappings([make_event(1)])


def test_what_cannot_be_opened_is_told_of_at_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(AuditUnavailable, match="it is not a regular file"):
        open_at(f"{tmp_path.as_uri()}/fifo")
    with pytest.raises(AuditUnavailable, match="No such file or directory"):
        open_at(f"{tmp_path.as_uri()}/missing/directory/audit.jsonl")
    (tmp_path / "file").touch()
    with pytest.raises(AuditUnavailable, match="Not a directory"):
        open_at(f"{tmp_path.as_uri()}/file/audit.jsonl")


@pytest.mark.parametrize(
    "url",
    ["file:///x?fsync=sometimes", "file:///x?rotate=1", "file://x/y", "memory://x", "memory:///x", "memory://?a=b"],
)
def test_refuses_wrong_urls(url: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{SETTING}"):
        open_backend("audit", url, surroundings())
