"""The audit log of a process: order among threads, failures that leave no gap, checkpoints, forks and kill -9."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from lunacore import signing
from lunacore.audit_chain import Chain, digest, link_of, verify_checkpoint
from lunacore.audit_log import AuditLog, CheckpointPolicy
from lunacore.audit_registry import LABEL, NO_ROOT, ChainRegistry
from lunacore.audit_verification import LogLine, Place, Report, Verification
from lunacore.errors import AuditUnavailable, Conflict, IntegrityError, StoreUnavailable
from lunacore.plugins import BackendURL, Surroundings
from lunacore.records import Record, RecordType
from lunacore.signing import PublicKeys
from lunacore_backends.auditsinks.memory import MemoryAudit
from lunacore_backends.memory import MemoryRecords
from lunacore_backends.sqlite import open_records
from tests.lunacore import audit_process
from tests.lunacore.audit_process import KEYRING_ID, SECRET, event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunacore.stores import RecordStore

SIGNER = signing.signer(1, SECRET)
KNOWN = PublicKeys((SIGNER.verification_key,))


def open_log(sink: Any, records: Any = None, *, copy: Any = None, entries: int = 10**6) -> AuditLog:
    numbers = itertools.count(1)
    return AuditLog(
        sink,
        registry=ChainRegistry(MemoryRecords() if records is None else records, KEYRING_ID),
        signer=lambda: SIGNER,
        now=lambda: 1_700_000_000.0,
        random=lambda count: next(numbers).to_bytes(count, "big"),
        policy=CheckpointPolicy(entries=entries, interval=10**6),
        copy=copy,
    )


def verified(lines: Sequence[bytes], records: RecordStore) -> Report:
    registry = ChainRegistry(records, KEYRING_ID)
    verification = Verification(KNOWN, find_chain=lambda chain: registry.find(chain, KNOWN))
    for record in registry.records():
        verification.expect(registry.open(record, KNOWN), "the store")
    for number, line in enumerate(lines, 1):
        verification.take(LogLine(Place("audit.jsonl", number), line.removesuffix(b"\n")))
    return verification.finish()


def numbers(lines: Sequence[bytes], writer: int) -> list[int]:
    details = [json.loads(line).get("detail", {}) for line in lines]
    return [detail["number"] for detail in details if detail.get("writer") == writer]


class TestChain:
    def test_each_line_holds_the_hash_of_the_one_before(self) -> None:
        sink = MemoryAudit()
        log = open_log(sink)
        log.write([event(1), event(2)])
        log.write([event(3)])
        links = [link_of(line[:-1]) for line in sink.lines]
        assert [link.sequence for link in links if link] == [0, 1, 2]
        assert [link.previous for link in links if link] == ["0" * 64, *(digest(line[:-1]) for line in sink.lines[:2])]
        assert len({link.chain for link in links if link}) == 1
        assert [json.loads(line)["detail"]["number"] for line in sink.lines] == [1, 2, 3]

    @given(st.text(), st.text(), st.dictionaries(st.text(), st.text() | st.integers() | st.booleans(), max_size=3))
    def test_the_members_are_read_whatever_an_event_says(
        self, issuer: str, reason: str, detail: dict[str, Any]
    ) -> None:
        chain = Chain("ab" * 16, 7, "cd" * 32)
        line = chain.append(evolve(event(1), issuer=issuer, reason=reason, detail=detail)).line[:-1]
        link = link_of(line)
        assert link is not None
        assert (link.chain, link.sequence, link.previous, link.signature) == ("ab" * 16, 7, "cd" * 32, None)
        assert json.loads(line)["seq"] == 7

    def test_an_event_cannot_pretend_to_be_in_a_chain(self) -> None:
        members = f'"chain":"{"a" * 32}","seq":1,"prev":"{"b" * 64}"}}'
        for forged in (f'x",{members}', f'\\",{members}', members):
            assert link_of(evolve(event(1), reason=forged).to_line()[:-1]) is None

    def test_a_second_log_is_a_chain_of_its_own(self) -> None:
        sink, records = MemoryAudit(), MemoryRecords()
        one, two = open_log(sink, records), open_log(sink, records)
        two._random = lambda count: b"\xff" * count
        one.write([event(1)])
        two.write([event(2)])
        one.write([event(3)])
        one.end()
        two.end()
        report = verified(sink.lines, records)
        assert (report.findings, report.chains, report.unconfirmed) == ((), 2, 0)

    def test_writing_nothing_begins_no_chain(self) -> None:
        sink, records = MemoryAudit(), MemoryRecords()
        log = open_log(sink, records)
        log.write([])
        log.close()
        assert sink.lines == []
        assert records.scan() == []


class TestThreads:
    def test_batches_stay_whole_and_in_order(self) -> None:
        sink, records = MemoryAudit(), MemoryRecords()
        log = open_log(sink, records, entries=20)

        def write(writer: int) -> None:
            for number in range(0, 60, 3):
                log.write([event(number + step, writer) for step in range(3)])

        with ThreadPoolExecutor(6) as threads:
            list(threads.map(write, range(6)))
        log.end()
        assert verified(sink.lines, records).findings == ()
        for writer in range(6):
            assert numbers(sink.lines, writer) == list(range(60))

    def test_those_who_wait_share_one_write(self) -> None:
        """While one write is under way, the events of all others gather for the next."""
        entered, go_on = threading.Event(), threading.Event()
        batches: list[int] = []

        class Slow(MemoryAudit):
            def write(self, events: Any) -> None:
                batches.append(len(events))
                if len(batches) == 1:
                    entered.set()
                    assert go_on.wait(60)
                super().write(events)

        log = open_log(Slow())
        with ThreadPoolExecutor(6) as threads:
            first = threads.submit(log.write, [event(0)])
            assert entered.wait(60)
            others = [threads.submit(log.write, [event(number)]) for number in range(1, 6)]
            while len(log._gathering.events) < 5:
                assert not any(one.done() for one in others)
            go_on.set()
            for one in (first, *others):
                one.result(60)
        assert batches == [1, 5]


class Faulty(MemoryAudit):
    """Fails at chosen writes, before or after the lines are there."""

    plan: list[str]

    def write(self, events: Any) -> None:
        fault = self.plan.pop(0) if self.plan else "ok"
        lines = [one.to_line() for one in events]
        # What the contract of LineSink asks for: the very same lines are not written twice.
        if fault != "before" and self.lines[len(self.lines) - len(lines) :] != lines:
            super().write(events)
        if fault != "ok":
            raise AuditUnavailable("the disk is full")


class TestFailures:
    @given(st.lists(st.sampled_from(["ok", "before", "after"]), max_size=12))
    def test_no_failure_leaves_a_gap_or_a_line_twice(self, plan: list[str]) -> None:
        sink, records = Faulty(), MemoryRecords()
        sink.plan = list(plan)
        log = open_log(sink, records)
        released = []
        for number in range(len(plan)):
            try:
                log.write([event(number), event(number)])
            except AuditUnavailable:
                continue
            released.append(number)
        sink.plan = []
        log.write([event(99)])
        log.end()
        report = verified(sink.lines, records)
        assert report.findings == ()
        written = numbers(sink.lines, 0)
        assert set(released) <= set(written)
        assert [written.count(number) for number in released] == [2] * len(released)

    def test_everybody_in_a_batch_that_failed_is_told(self) -> None:
        sink = Faulty()
        sink.plan = ["before"] * 9
        log = open_log(sink)

        def write(number: int) -> str:
            try:
                log.write([event(number)])
            except AuditUnavailable as refusal:
                return refusal.message
            return "written"

        with ThreadPoolExecutor(6) as threads:
            assert set(threads.map(write, range(6))) == {"the disk is full"}
        assert sink.lines == []

    def test_nothing_is_written_before_the_chain_is_registered(self) -> None:
        class Down(MemoryRecords):
            def create(self, records: Any) -> None:
                raise StoreUnavailable("no route to the record store")

        sink = MemoryAudit()
        log = open_log(sink, Down())
        with pytest.raises(AuditUnavailable, match="no route"):
            log.write([event(1)])
        assert sink.lines == []

    def test_an_event_that_is_no_line_leaves_no_gap(self) -> None:
        sink, records = MemoryAudit(), MemoryRecords()
        log = open_log(sink, records)
        log.write([event(1)])
        with pytest.raises(ValueError, match="JSON compliant"):
            log.write([event(2), evolve(event(3), detail={"ratio": cast("int", float("nan"))})])
        log.write([event(4)])
        log.end()
        assert verified(sink.lines, records).findings == ()
        assert numbers(sink.lines, 0) == [1, 4]

    def test_an_unforeseen_error_is_for_one_caller_and_the_others_are_refused(self) -> None:
        class Broken(MemoryAudit):
            def write(self, events: Any) -> None:
                raise ZeroDivisionError

        log = open_log(Broken())
        with pytest.raises(ZeroDivisionError):
            log.write([event(1)])
        with pytest.raises(ZeroDivisionError):
            log.write([event(2)])


class TestCheckpoints:
    def test_one_is_signed_after_so_many_entries(self) -> None:
        done = threading.Event()

        class Copy(MemoryAudit):
            def write(self, events: Any) -> None:
                super().write(events)
                done.set()

        sink, copy = MemoryAudit(), Copy()
        log = open_log(sink, copy=copy, entries=3)
        log.write([event(1), event(2)])
        assert not done.is_set()
        log.write([event(3)])
        assert done.wait(60)
        assert copy.lines == sink.lines[3:4]
        log.end()

    def test_one_is_signed_after_the_interval(self) -> None:
        done = threading.Event()

        class Copy(MemoryAudit):
            def write(self, events: Any) -> None:
                super().write(events)
                done.set()

        log = open_log(MemoryAudit(), copy=Copy())
        log._policy = CheckpointPolicy(entries=10**6, interval=0.01)
        log.write([event(1)])
        assert done.wait(60)
        log.end()

    def test_it_is_forced_to_disk_before_it_is_kept_anywhere(self) -> None:
        steps: list[str] = []

        class Sink(MemoryAudit):
            def write(self, events: Any) -> None:
                super().write(events)
                steps.append("write")

            def sync(self) -> None:
                steps.append("sync")

        class Copy(MemoryAudit):
            def write(self, events: Any) -> None:
                super().write(events)
                steps.append("copy")

        class Records(MemoryRecords):
            def replace(self, old: Any, new: Any) -> bool:
                steps.append("keep")
                return super().replace(old, new)

        log = open_log(Sink(), Records(), copy=Copy())
        log.write([event(1)])
        assert log.checkpoint()
        assert steps == ["write", "write", "sync", "keep", "copy"]

    def test_without_news_there_is_none(self) -> None:
        sink = MemoryAudit()
        log = open_log(sink)
        assert log.checkpoint()
        log.write([event(1)])
        assert log.checkpoint()
        assert log.checkpoint()
        assert len(sink.lines) == 2
        log.end()
        assert verify_checkpoint(sink.lines[-1][:-1], KNOWN).is_final
        log.end()
        assert len(sink.lines) == 3

    def test_after_the_end_a_new_chain_begins(self) -> None:
        sink, records = MemoryAudit(), MemoryRecords()
        log = open_log(sink, records)
        for number in range(2):
            log.write([event(number)])
            log.close()
        report = verified(sink.lines, records)
        assert (report.findings, report.chains) == ((), 2)

    @pytest.mark.parametrize("broken", ["registry", "copy", "sync"])
    def test_a_failure_releases_what_was_written_and_is_made_up_for(self, broken: str) -> None:
        failing = [True]

        def fail(*_: Any) -> None:
            if failing[0]:
                raise StoreUnavailable("it is down")

        class Records(MemoryRecords):
            def replace(self, old: Any, new: Any) -> bool:
                if broken == "registry":
                    fail()
                return super().replace(old, new)

        class Copy(MemoryAudit):
            def write(self, events: Any) -> None:
                if broken == "copy":
                    fail()
                super().write(events)

        class Sink(MemoryAudit):
            def sync(self) -> None:
                if broken == "sync":
                    fail()

        sink, copy, records = Sink(), Copy(), Records()
        log = open_log(sink, records, copy=copy)
        log.write([event(1)])
        assert not log.checkpoint()
        assert "it is down" in (log.problem or "")
        log.write([event(2)])
        failing[0] = False
        assert log.checkpoint()
        assert log.problem is None
        assert copy.lines[-1] == sink.lines[-1]
        (record,) = records.scan()
        assert ChainRegistry(records, KEYRING_ID).open(record, KNOWN).line == sink.lines[-1][:-1]

    def test_a_chain_record_that_somebody_replaced_is_noticed(self) -> None:
        records = MemoryRecords()
        log = open_log(MemoryAudit(), records)
        log.write([event(1)])
        (record,) = records.scan()
        records.delete([record.name])
        assert not log.checkpoint()
        assert "changed or removed by somebody else" in (log.problem or "")


class TestRegistry:
    def test_no_scan_for_what_is_due_or_under_older_roots_gives_chains_out(self) -> None:
        records = MemoryRecords()
        log = open_log(MemoryAudit(), records)
        log.write([event(1)])
        (record,) = records.scan()
        assert (record.header.record_type, record.header.root_version) == (RecordType.CHAIN, NO_ROOT)
        assert records.scan(due_before=2**62) == []
        assert records.scan(root_below=2**31 - 1) == []
        assert records.scan(label=LABEL) == [record]

    @pytest.mark.parametrize("change", ["name", "line", "owner", "other"])
    def test_a_forged_record_is_refused(self, change: str) -> None:
        records = MemoryRecords()
        registry = ChainRegistry(records, KEYRING_ID)
        log = open_log(MemoryAudit(), records)
        log.write([event(1)])
        (record,) = registry.records()
        body = record.body
        if change == "name":
            record = Record(bytes(32), body)
        elif change == "line":
            record = Record(record.name, body.replace(b'"seq":0', b'"seq":9'))
        elif change == "owner":
            record = Record(record.name, body.replace(KEYRING_ID, b"x" * 16))
        else:
            registry = ChainRegistry(records, b"x" * 16)
        with pytest.raises(IntegrityError):
            registry.open(record, KNOWN)

    def test_keeping_over_what_is_not_there_is_a_conflict(self) -> None:
        records = MemoryRecords()
        registry = ChainRegistry(records, KEYRING_ID)
        record = registry.register("ab" * 16, b'{"a":1,"long":"enough to be taken apart as a record is"}')
        records.delete([record.name])
        with pytest.raises(Conflict):
            registry.keep(record, "ab" * 16, b"{}" * 20)


def run(task: str, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, audit_process.__file__, task, folder],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"},
    )


def found(folder: Path) -> tuple[list[bytes], Report]:
    url = BackendURL.parse(f"sqlite://{folder}/records.sqlite", "test")
    records = open_records(url, Surroundings("test", lambda: 0.0, bytes))
    lines = (folder / "audit.jsonl").read_bytes().splitlines()
    return lines, verified(lines, records)


class TestProcesses:
    def test_the_end_of_a_process_ends_its_chain(self, tmp_path: Path) -> None:
        with run("ends_in_peace", tmp_path) as process:
            assert process.wait(60) == 0
        lines, report = found(tmp_path)
        assert (report.findings, report.chains, report.unconfirmed) == ((), 1, 0)
        assert verify_checkpoint(lines[-1], KNOWN).is_final
        for writer in range(4):
            assert numbers(lines, writer) == list(range(50))

    def test_a_forked_process_begins_a_chain_of_its_own(self, tmp_path: Path) -> None:
        with run("forks", tmp_path) as process:
            assert process.wait(60) == 0
        lines, report = found(tmp_path)
        assert (report.findings, report.chains, report.unconfirmed) == ((), 4, 0)
        for writer in (0, 1, 2, 10, 11, 12):
            assert numbers(lines, writer)[-50:] == list(range(50))

    def test_a_chain_survives_kill_9(self, tmp_path: Path) -> None:
        """The chain holds up to the last line; what is behind the last checkpoint is said to be unconfirmed."""
        for _ in range(3):
            with run("write_until_killed", tmp_path) as process:
                assert process.stdout is not None
                process.stdout.readline()
                process.kill()
        lines, report = found(tmp_path)
        assert report.findings == ()
        assert report.chains == 3
        assert report.events + len(report.torn) == len(lines)
        assert report.events > 3 * 400
        cut = [*lines[:-1], lines[-1][: len(lines[-1]) // 2]]
        _, whole = found(tmp_path)
        assert whole.is_sound
        (tmp_path / "audit.jsonl").write_bytes(b"\n".join(cut))
        _, torn = found(tmp_path)
        if b'"signature"' not in lines[-1]:
            assert torn.is_sound
            assert len(torn.torn) == len(report.torn) + 1
