"""Verification of audit logs: every kind of single change is found wherever it is made, and nothing else is.

Logs are written by the real ``AuditLog``; what is changed are their lines, as whoever can write to the medium would change them.
"""

from __future__ import annotations

import random as pseudo
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lunacore import signing
from lunacore.audit import Action, AuditEvent
from lunacore.audit_chain import Chain, digest, verify_checkpoint
from lunacore.audit_log import AuditLog, CheckpointPolicy
from lunacore.audit_registry import ChainRegistry
from lunacore.audit_verification import LogLine, Place, Problem, Report, Verification
from lunacore.errors import AuditUnavailable
from lunacore.identity import Role
from lunacore.signing import PublicKeys
from lunacore_backends.auditsinks.memory import MemoryAudit
from lunacore_backends.memory import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SIGNER = signing.signer(1, b"a" * 32)
FORGER = signing.signer(1, b"f" * 32)
KNOWN = PublicKeys((SIGNER.verification_key,))
FILE = "audit.jsonl"


def event(number: int, reason: str = "") -> AuditEvent:
    return AuditEvent(
        time=1_700_000_000.0 + number,
        action=Action.DETOKENIZE,
        outcome="allowed",
        tenant="default",
        role=Role.USER,
        issuer="https://app.example.com",
        token=f"{number:032x}",
        reason=reason,
    )


@define
class World:
    """One medium and one record store, and any number of processes that write."""

    seed: int = 0
    sink: MemoryAudit = field(factory=MemoryAudit)
    copy: MemoryAudit = field(factory=MemoryAudit)
    records: MemoryRecords = field(factory=MemoryRecords)

    def registry(self) -> ChainRegistry:
        return ChainRegistry(self.records, b"k" * 16)

    def process(self) -> AuditLog:
        self.seed += 1
        source = pseudo.Random(self.seed)
        return AuditLog(
            self.sink,
            registry=self.registry(),
            signer=lambda: SIGNER,
            now=lambda: 1_700_000_000.0,
            random=source.randbytes,
            policy=CheckpointPolicy(entries=10**9, interval=10**6),
            copy=self.copy,
        )

    def lines(self) -> list[bytes]:
        return [line[:-1] for line in self.sink.lines]

    def verify(self, lines: Sequence[bytes], *, registry: bool = True, copy: bool = False, **options: Any) -> Report:
        known = self.registry()
        verification = Verification(
            KNOWN, find_chain=(lambda chain: known.find(chain, KNOWN)) if registry else None, **options
        )
        if registry:
            for record in known.records():
                verification.expect(known.open(record, KNOWN), "the record store")
        if copy:
            for line in self.copy.lines:
                verification.expect(verify_checkpoint(line[:-1], KNOWN), "the second place")
        for number, line in enumerate(lines, 1):
            verification.take(LogLine(Place(FILE, number), line))
        return verification.finish()


def written(count: int, *, every: int = 50, chains: int = 2, ended: bool = True) -> World:
    """A log of ``count`` events of processes that take turns, with a checkpoint every so many events."""
    world = World()
    processes = [world.process() for _ in range(chains)]
    for number in range(count):
        process = processes[number % chains]
        process.write([event(number)])
        if number % every >= every - chains:
            assert process.checkpoint()
    for process in processes:
        if ended:
            process.end()
        else:
            assert process.checkpoint()
    return world


def flip(lines: list[bytes], at: int) -> None:
    line = bytearray(lines[at])
    place = (at * 7919) % len(line)
    line[place] ^= 1 << (at % 7)
    if line[place] in b"\n":
        line[place] ^= 1 << 6
    lines[at] = bytes(line)


def delete(lines: list[bytes], at: int) -> None:
    del lines[at]


def duplicate(lines: list[bytes], at: int) -> None:
    lines.insert(at, lines[at])


def duplicate_at_the_end(lines: list[bytes], at: int) -> None:
    lines.append(lines[at])


def swap(lines: list[bytes], at: int) -> None:
    """Swap a line with the next one of the same chain: others between them belong to others, whose order says nothing."""
    chain = lines[at].partition(b'"chain":"')[2][:32]
    after = next((place for place in range(at + 1, len(lines)) if chain in lines[place]), None)
    if after is None:
        after = next(place for place in range(at - 1, -1, -1) if chain in lines[place])
    lines[at], lines[after] = lines[after], lines[at]


def truncate(lines: list[bytes], at: int) -> None:
    del lines[at:]


def insert_unchained(lines: list[bytes], at: int) -> None:
    lines.insert(at, event(5).to_line()[:-1])


def insert_rubbish(lines: list[bytes], at: int) -> None:
    lines.insert(at, b"rubbish")


def insert_nothing(lines: list[bytes], at: int) -> None:
    lines.insert(at, b"")


def insert_cut(lines: list[bytes], at: int) -> None:
    lines.insert(at, lines[at][: 20 + at % 40])


def cut(lines: list[bytes], at: int) -> None:
    lines[at] = lines[at][: len(lines[at]) * (at % 10) // 10]


def forge(lines: list[bytes], at: int) -> None:
    """Insert an event with a chain's members, all but its hash right."""
    members = lines[at].partition(b',"chain":')
    lines.insert(at, event(7).to_line()[:-2] + members[1] + members[2])


def replace_event(lines: list[bytes], at: int) -> None:
    """Keep the members of the chain, and change what happened."""
    members = lines[at].partition(b',"chain":')
    lines[at] = event(999_999).to_line()[:-2] + members[1] + members[2]


def splice(lines: list[bytes], at: int) -> None:
    """Put a line of another, real chain in place of one."""
    other = World(seed=1000)
    process = other.process()
    process.write([event(number) for number in range(3)])
    lines[at] = other.lines()[at % 3]


def another_chain(lines: list[bytes], at: int) -> None:
    """Make a line one of another chain."""
    chain = lines[at].partition(b'"chain":"')[2][:32]
    lines[at] = lines[at].replace(chain, chain[::-1])


CHANGES: list[Callable[[list[bytes], int], None]] = [
    flip,
    delete,
    duplicate,
    duplicate_at_the_end,
    swap,
    truncate,
    insert_unchained,
    insert_rubbish,
    insert_nothing,
    insert_cut,
    cut,
    forge,
    replace_event,
    splice,
    another_chain,
]


def assert_found(world: World, change: Callable[[list[bytes], int], None], at: int, **options: Any) -> None:
    changed = world.lines()
    change(changed, at)
    assert changed != world.lines()
    report = world.verify(changed, **options)
    assert not report.is_sound, (change.__name__, at)


@pytest.fixture(scope="module")
def sample() -> World:
    return written(20, every=8)


@pytest.fixture(scope="module")
def thousand() -> World:
    return written(1000)


def test_a_log_as_it_was_written_is_sound(sample: World) -> None:
    for options in ({}, {"copy": True}, {"registry": False}, {"partial": True}):
        report = sample.verify(sample.lines(), **options)
        assert report.findings == ()
        assert (report.events, report.chains, report.unconfirmed) == (len(sample.lines()), 2, 0)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_single_change_is_found(sample: World, change: Callable[[list[bytes], int], None]) -> None:
    for at in range(len(sample.lines())):
        assert_found(sample, change, at)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_single_change_of_a_thousand_events_is_found(
    thousand: World, change: Callable[[list[bytes], int], None]
) -> None:
    assert len(thousand.lines()) > 1000
    for at in range(len(thousand.lines())):
        assert_found(thousand, change, at)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_an_auditor_without_the_record_store_finds_all_but_what_is_cut_off(
    sample: World, change: Callable[[list[bytes], int], None]
) -> None:
    """With the checkpoints of the second place, that too."""
    for at in range(0, len(sample.lines()), 3):
        assert_found(sample, change, at, registry=False, copy=True)
        if change not in (truncate, delete, splice, cut, another_chain):
            assert_found(sample, change, at, registry=False)


@pytest.mark.parametrize("bit", range(8))
def test_every_byte_of_a_last_checkpoint_counts(bit: int) -> None:
    world = written(3, chains=1, ended=False)
    lines = world.lines()
    for place in range(len(lines[-1])):
        changed = bytearray(lines[-1])
        changed[place] ^= 1 << bit
        assert not world.verify([*lines[:-1], bytes(changed)]).is_sound


def chain_of(line: bytes) -> str:
    return line.partition(b'"chain":"')[2][:32].decode()


class TestTheFirstBadEventIsNamed:
    @pytest.mark.parametrize("at", [0, 1, 5, 14, 18])
    def test_an_edited_one(self, sample: World, at: int) -> None:
        lines = sample.lines()
        replace_event(lines, at)
        (finding,) = sample.verify(lines).findings
        assert finding.problem is Problem.ALTERED
        assert finding.place == Place(FILE, at + 1)
        assert finding.chain == chain_of(lines[at])

    @pytest.mark.parametrize("at", [2, 5, 14])
    def test_one_whose_hash_was_edited(self, sample: World, at: int) -> None:
        lines = sample.lines()
        start = lines[at].index(b'"prev":"') + 8
        lines[at] = lines[at][:start] + b"0" * 64 + lines[at][start + 64 :]
        (finding,) = sample.verify(lines).findings
        assert (finding.problem, finding.place) == (Problem.ALTERED, Place(FILE, at + 1))

    def test_a_removed_one_by_the_next_of_its_chain(self, sample: World) -> None:
        lines = sample.lines()
        removed = lines.pop(10)
        (finding,) = sample.verify(lines).findings
        sequence = removed.partition(b'"seq":')[2].partition(b",")[0].decode()
        assert (finding.problem, finding.chain) == (Problem.MISSING, chain_of(removed))
        assert finding.place is not None
        assert chain_of(lines[finding.place.line - 1]) == chain_of(removed)
        assert f"sequence {sequence} is missing" in finding.message

    def test_several_removed_ones(self, sample: World) -> None:
        lines = sample.lines()
        del lines[2:6]
        assert "sequence 1 to 2 are missing" in sample.verify(lines).findings[0].message

    def test_a_removed_chain(self, sample: World) -> None:
        lines = sample.lines()
        gone = chain_of(lines[0])
        (finding,) = sample.verify([line for line in lines if chain_of(line) != gone]).findings
        assert (finding.problem, finding.chain) == (Problem.CHAIN_REMOVED, gone)

    def test_a_truncated_chain_by_its_last_line(self, sample: World) -> None:
        lines = sample.lines()[:12]
        findings = sample.verify(lines).findings
        assert {one.problem for one in findings} == {Problem.TRUNCATED}
        assert {one.place for one in findings} == {Place(FILE, 11), Place(FILE, 12)}


class TestForgeries:
    def test_a_whole_chain_that_was_made_up(self, sample: World) -> None:
        other = World(seed=50)
        process = other.process()
        process.write([event(1)])
        process.end()
        report = sample.verify([*sample.lines(), *other.lines()])
        assert [one.problem for one in report.findings] == [Problem.UNKNOWN_CHAIN]

    def test_a_checkpoint_under_another_key(self) -> None:
        world = World()
        process = world.process()
        process._signer = lambda: FORGER
        process.write([event(1)])
        process.checkpoint()
        report = world.verify(world.lines(), registry=False)
        assert [one.problem for one in report.findings] == [Problem.BAD_SIGNATURE]

    def test_a_past_that_was_written_anew_with_a_stolen_key(self) -> None:
        """Every hash and every signature is right; what is kept elsewhere is not this."""
        world = written(5, chains=1)
        chain = Chain(chain_of(world.lines()[0]))
        forged = [chain.append(event(number, "forged")).line[:-1] for number in range(5)]
        forged.append(chain.checkpoint(1_700_000_000.0, SIGNER, {"final": True}).line[:-1])
        assert world.verify(forged, registry=False).is_sound
        for options in ({}, {"registry": False, "copy": True}):
            (finding,) = world.verify(forged, **options).findings
            assert (finding.problem, finding.sequence) == (Problem.ALTERED, 5)

    def test_a_checkpoint_of_an_unknown_key(self) -> None:
        world = World()
        process = world.process()
        process._signer = lambda: signing.signer(2, b"a" * 32)
        process.write([event(1)])
        process.checkpoint()
        report = world.verify(world.lines(), registry=False)
        assert [one.problem for one in report.findings] == [Problem.UNKNOWN_KEY]

    def test_events_after_the_end_of_a_chain(self) -> None:
        world = written(5, chains=1)
        line = world.lines()[-1]
        chain = Chain(chain_of(line), len(world.lines()), digest(line))
        report = world.verify([*world.lines(), chain.append(event(9)).line[:-1]])
        assert [one.problem for one in report.findings] == [Problem.AFTER_THE_END]


class TestWhatIsNoTampering:
    def test_a_process_that_was_killed_leaves_events_unconfirmed(self) -> None:
        world = World()
        process = world.process()
        process.write([event(1), event(2)])
        report = world.verify(world.lines())
        assert report.is_sound
        assert report.unconfirmed == 2

    @pytest.mark.parametrize("size", [1, 10, 40, 200, -1])
    def test_and_a_torn_line(self, size: int) -> None:
        world = World()
        process = world.process()
        process.write([event(1)])
        assert process.checkpoint()
        process.write([event(2)])
        lines = world.lines()
        report = world.verify([*lines[:-1], lines[-1][:size]])
        assert report.is_sound
        assert report.torn == (Place(FILE, 3),)

    def test_but_not_two(self) -> None:
        world = World()
        world.process().write([event(1)])
        report = world.verify([*world.lines(), b'{"v":1', b'{"v":1'])
        assert [one.problem for one in report.findings] == [Problem.TOO_MANY_TORN]

    def test_nor_before_the_last_checkpoint(self) -> None:
        world = World()
        process = world.process()
        process.write([event(1), event(2)])
        assert process.checkpoint()
        lines = world.lines()
        lines[1] = lines[1][:50]
        report = world.verify(lines)
        assert [one.problem for one in report.findings] == [Problem.MISSING]

    def test_a_process_that_wrote_nothing(self) -> None:
        world = World()

        class Full(MemoryAudit):
            def write(self, events: Any) -> None:
                raise AuditUnavailable("full")

        world.sink = Full()
        with pytest.raises(AuditUnavailable):
            world.process().write([event(1)])
        assert world.verify([]).is_sound

    def test_a_log_of_an_older_release_if_it_is_let_pass(self, sample: World) -> None:
        lines = [event(1).to_line()[:-1], *sample.lines()]
        assert not sample.verify(lines).is_sound
        report = sample.verify(lines, unchained=True)
        assert report.is_sound
        assert report.unchained == 1

    def test_a_part_of_a_log_if_it_is_said_to_be_one(self, sample: World) -> None:
        lines = sample.lines()[8:22]
        assert not sample.verify(lines).is_sound
        assert sample.verify(lines, partial=True).is_sound
        for change in (flip, duplicate, replace_event, insert_unchained, forge):
            assert_found_in_part(sample, lines, change)


def assert_found_in_part(world: World, lines: list[bytes], change: Callable[[list[bytes], int], None]) -> None:
    changed = list(lines)
    change(changed, 7)
    assert not world.verify(changed, partial=True).is_sound


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_random_histories(data: st.DataObject) -> None:
    """Several processes, interleaved, some of which end and some of which are killed; then nothing or one change."""
    world = World()
    processes = [world.process() for _ in range(data.draw(st.integers(1, 4), label="processes"))]
    steps = data.draw(
        st.lists(
            st.tuples(st.integers(0, 3), st.sampled_from(["write", "write", "batch", "checkpoint", "end"])), max_size=25
        )
    )
    for number, (which, step) in enumerate(steps):
        process = processes[which % len(processes)]
        if step == "checkpoint":
            assert process.checkpoint()
        elif step == "end":
            process.end()
        else:
            process.write([event(number, "x" * number)] * (3 if step == "batch" else 1))
    lines = world.lines()
    report = world.verify(lines, copy=True)
    assert report.findings == ()
    assert report.events == len(lines)

    covered = _covered(lines)
    if not covered:
        return
    change = data.draw(st.sampled_from(CHANGES), label="change")
    at = data.draw(st.sampled_from(covered), label="at")
    changed = list(lines)
    change(changed, at)
    if change is insert_cut and not _all_ended(lines):
        return  # one torn line is what a killed process leaves
    assert not world.verify(changed).is_sound


def _covered(lines: Sequence[bytes]) -> list[int]:
    """The lines that a later checkpoint of their chain vouches for, or that are one."""
    signed = {}
    for at, line in enumerate(lines):
        if b'"signature"' in line:
            signed[chain_of(line)] = at
    return [at for at, line in enumerate(lines) if at <= signed.get(chain_of(line), -1)]


def _all_ended(lines: Sequence[bytes]) -> bool:
    last = {chain_of(line): line for line in lines}
    return all(b'"final":true' in line for line in last.values())
