"""Records are sealed anew under the active root: all of them, beside others that change them, after crashes, at a given rate."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from lunacore import canary, tokens
from lunacore.errors import AuditUnavailable, LunaCoreError, StoreUnavailable
from lunacore.identity import Call, operator
from lunacore.keyring import KeyPurpose
from lunacore.keyring_source import STAGING_PERIOD
from lunacore.outcomes import only
from lunacore.records import FORMAT_VERSION, Record, RecordState
from lunacore.rewrapping import Rewrap, Rewrapper, Throttle
from lunacore.testing.deployment import Clock, another_process
from lunacore.testing.faults import FailingRecords, Fault, FaultPlan
from lunacore.tickets import NewValue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunacore.deployment import Deployment
    from lunacore.rewrapping import Rewrapped
    from lunacore.tokens import Token

CALL = Call(operator("default"), reason="yearly")


def put(deployment: Deployment, count: int) -> list[Token]:
    made = deployment.tokenizer.issue(CALL, [NewValue(labels=("person:17",))] * count)
    return [one.token for one in made]  # type: ignore[union-attr]


def find(deployment: Deployment, *texts: str) -> list[Any]:
    lookup = deployment.tokenizer.lookup
    return lookup.find([lookup.present("default", tokens.parse(text)) for text in texts])


def rewrapper(deployment: Deployment, batch: int = 3) -> Rewrapper:
    throttle = Throttle(0, deployment.now, lambda _seconds: None)
    return Rewrapper(
        deployment.tokenizer.lookup, deployment.audit, throttle, deployment.now, deployment.random, batch=batch
    )


def roots(deployment: Deployment) -> list[int]:
    return [one.header.root_version for one in deployment.records.scan() if one.name != canary.NAME]


@pytest.fixture
def rotated(deployment: Deployment, clock: Clock) -> tuple[Deployment, list[Token]]:
    """A deployment whose ten tokens stand under the root before the active one."""
    made = put(deployment, 10)
    deployment.rotation.stage(CALL, KeyPurpose.ROOT)
    clock.advance(STAGING_PERIOD + 1)
    return deployment, made


@pytest.mark.parametrize("batch", [1, 3, 10, 11, 500])
def test_every_record_and_nothing_but_its_outer_seal(rotated: tuple[Deployment, list[Token]], batch: int) -> None:
    deployment, made = rotated
    before = find(deployment, *made)
    seen: list[Rewrapped] = []
    report = rewrapper(deployment, batch).rewrap(CALL, seen.append)
    assert (report.done, report.changed, report.left) == (10, 0, {})
    assert [one.name for one in seen] == sorted({one.name for one in deployment.records.scan()} - {canary.NAME})
    assert [one.header.root_version for one in deployment.records.scan()] == [2] * 11
    for old, new in zip(before, find(deployment, *made), strict=True):
        assert new.fields == old.fields
        assert new.contents() == old.contents()
        header = evolve(old.opened.header, root_version=2, revision=old.opened.header.revision + 1)
        assert new.opened.header == header


def test_a_second_time_changes_nothing(rotated: tuple[Deployment, list[Token]]) -> None:
    deployment, _ = rotated
    rewrapper(deployment).rewrap(CALL)
    before = deployment.records.scan()
    assert rewrapper(deployment).rewrap(CALL).done == 0
    assert deployment.records.scan() == before


def test_before_the_new_root_is_active_there_is_nothing_to_do(deployment: Deployment, clock: Clock) -> None:
    put(deployment, 3)
    deployment.rotation.stage(CALL, KeyPurpose.ROOT)
    clock.advance(STAGING_PERIOD)
    assert rewrapper(deployment).rewrap(CALL).done == 0
    clock.advance(1)
    assert rewrapper(deployment).rewrap(CALL).done == 3


def test_several_roots_and_states_at_once(deployment: Deployment, clock: Clock) -> None:
    made: list[Token] = []
    for _ in range(3):
        made += put(deployment, 3)
        found = only(find(deployment, made[-1]))
        deployment.tokenizer.eraser._mark(only(find(deployment, made[-2])).opened)
        deployment.tokenizer.lookup.change(found.opened, found.fields, state=RecordState.STORED, due=0)
        deployment.rotation.stage(CALL, KeyPurpose.ROOT)
        clock.advance(STAGING_PERIOD + 1)
    worker = rewrapper(deployment, batch=2)
    assert sum(worker.older().values()) == 9
    before = [one.header for one in deployment.records.scan()]
    assert worker.rewrap(CALL).done == 9
    assert worker.older() == {}
    after = [one.header for one in deployment.records.scan()]
    assert [(one.state, one.due, one.labels) for one in after] == [(one.state, one.due, one.labels) for one in before]
    assert set(roots(deployment)) == {4}


def test_it_is_audited_first(rotated: tuple[Deployment, list[Token]]) -> None:
    deployment, _ = rotated
    before = deployment.records.scan()

    class Full:
        def write(self, events: Sequence[Any]) -> None:
            assert (events[0].action, events[0].reason) == ("keys.rewrap", "yearly")
            assert events[0].detail == {"purpose": "root", "version": 2}
            raise AuditUnavailable("full")

    with pytest.raises(AuditUnavailable):
        evolve(rewrapper(deployment), audit=Full()).rewrap(CALL)
    assert deployment.records.scan() == before


class TestWhatItLeaves:
    def spoil(self, deployment: Deployment, token: str, at: int) -> Record:
        rows: Any = deployment.records
        name = only(find(deployment, token)).opened.record.name
        body = bytearray(rows._rows[name].body)
        body[at] ^= 1 if at != 4 else FORMAT_VERSION ^ (FORMAT_VERSION + 1)
        rows._rows[name] = evolve(rows._rows[name], body=bytes(body))
        return Record(name, bytes(body))

    @pytest.mark.parametrize(("at", "why"), [(4, "upgrade LunaCore"), (6, "type 0"), (-1, "does not open")])
    def test_what_it_does_not_know_or_cannot_open(
        self, rotated: tuple[Deployment, list[Token]], at: int, why: str
    ) -> None:
        deployment, made = rotated
        spoilt = [self.spoil(deployment, token, at) for token in made[:2]]
        report = rewrapper(deployment).rewrap(CALL)
        assert report.done == 8
        assert list(report.left.values()) == [2]
        assert why in "".join(report.left)
        assert deployment.records.get([one.name for one in spoilt]) == spoilt
        assert sum(rewrapper(deployment).older().values()) == 2

    def test_the_record_of_a_root_that_is_not_known(self, rotated: tuple[Deployment, list[Token]]) -> None:
        deployment, made = rotated
        rows: Any = deployment.records
        name = only(find(deployment, made[0])).opened.record.name
        body = bytearray(rows._rows[name].body)
        body[12:16] = bytes(4)
        rows._rows[name] = evolve(rows._rows[name], body=bytes(body), root_version=0)
        report = rewrapper(deployment).rewrap(CALL)
        assert "root key version 0" in "".join(report.left)


class TestBesideOthers:
    def test_what_was_changed_meanwhile_is_not_overwritten(self, rotated: tuple[Deployment, list[Token]]) -> None:
        deployment, made = rotated
        others = iter(made[:4])

        def confirm() -> None:
            found = only(find(deployment, next(others)))
            assert deployment.tokenizer.lookup.change(found.opened, found.fields, state=RecordState.STORED, due=77)

        plan = FaultPlan(*(Fault("scan", nth=nth, when="after", action=confirm) for nth in (1, 2, 3, 4)))
        process = another_process(deployment, records=FailingRecords(deployment.records, plan))
        report = rewrapper(process, batch=11).rewrap(CALL)
        assert (report.changed, report.left) == (0, {})
        assert [one.opened.header.due == 77 for one in find(deployment, *made[:4])].count(True) >= 2
        assert set(roots(deployment)) == {2}

    def test_one_that_always_loses_says_so(self, rotated: tuple[Deployment, list[Token]]) -> None:
        deployment, made = rotated
        late = another_process(deployment, clock=Clock(deployment.now() - STAGING_PERIOD))

        def change() -> None:
            found = only(find(late, made[0]))
            assert late.tokenizer.lookup.change(found.opened, found.fields, state=RecordState.PENDING, due=5)

        plan = FaultPlan(*(Fault("scan", nth=nth, when="after", action=change) for nth in range(1, 100)))
        process = another_process(deployment, records=FailingRecords(deployment.records, plan))
        report = rewrapper(process, batch=50).rewrap(CALL)
        assert (report.done, report.changed) == (9, 1)
        assert sorted(roots(deployment)) == [1] + [2] * 9

    def test_what_was_erased_meanwhile_stays_erased(self, rotated: tuple[Deployment, list[Token]]) -> None:
        deployment, made = rotated
        erase = Fault("scan", when="after", action=lambda: _ignore(deployment.tokenizer.delete(CALL, made)))
        process = another_process(deployment, records=FailingRecords(deployment.records, FaultPlan(erase)))
        rewrapper(process, batch=50).rewrap(CALL)
        assert all(isinstance(one, LunaCoreError) for one in find(deployment, *made))

    def test_a_token_that_is_moved_at_that_moment_is_found(self, deployment: Deployment, clock: Clock) -> None:
        """Root and lookup secret rotate at once: neither the rewrap nor the request that moves the record fails."""
        (token,) = put(deployment, 1)
        for purpose in (KeyPurpose.ROOT, KeyPurpose.LOOKUP):
            deployment.rotation.stage(CALL, purpose)
        clock.advance(STAGING_PERIOD + 1)
        plan = FaultPlan(Fault("replace", action=lambda: _ignore(rewrapper(deployment).rewrap(CALL))))
        process = another_process(deployment, records=FailingRecords(deployment.records, plan))
        found = only(find(process, token))
        assert (found.opened.header.root_version, found.opened.header.lookup_version) == (2, 2)

    def test_several_at_once(self, rotated: tuple[Deployment, list[Token]]) -> None:
        deployment, made = rotated
        processes = [another_process(deployment) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            reports = list(pool.map(lambda one: rewrapper(one, batch=2).rewrap(CALL), processes))
        assert sum(report.done for report in reports) == 10
        assert [one.opened.header.revision for one in find(deployment, *made)] == [2] * 10


@pytest.mark.parametrize("call", ["scan", "replace"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_store_that_fails_ends_it_and_the_next_goes_on(
    rotated: tuple[Deployment, list[Token]], call: str, when: Any
) -> None:
    deployment, made = rotated
    for nth in range(1, 6):
        plan = FaultPlan(Fault(call, nth=nth, when=when))
        process = another_process(deployment, records=FailingRecords(deployment.records, plan))
        try:
            report = rewrapper(process, batch=2).rewrap(CALL)
        except StoreUnavailable:
            assert not any(isinstance(one, LunaCoreError) for one in find(deployment, *made))
        else:
            assert not report.changed
    rewrapper(deployment).rewrap(CALL)
    assert roots(deployment) == [2] * 10
    assert [one.opened.header.revision for one in find(deployment, *made)] == [2] * 10


def test_the_estimate_is_exact_for_a_page_and_near_for_more(deployment: Deployment, clock: Clock) -> None:
    assert rewrapper(deployment).estimate() == 0
    put(deployment, 499)
    deployment.rotation.stage(CALL, KeyPurpose.ROOT)
    clock.advance(STAGING_PERIOD + 1)
    assert rewrapper(deployment, batch=501).estimate() == 500
    assert 250 < rewrapper(deployment, batch=100).estimate() < 1000
    positions: list[float] = []
    rewrapper(deployment, batch=100).rewrap(CALL, lambda one: positions.append(one.position))
    assert positions == sorted(positions)
    assert 0 <= positions[0] < 0.2
    assert 0.8 < positions[-1] <= 1


class TestThrottle:
    def run(self, rate: int, steps: int, work: float = 0.0) -> float:
        """Seconds that so many steps take, each with some work."""
        clock = Clock(1000.0)
        throttle = Throttle(rate, clock, clock.advance)
        for _ in range(steps):
            clock.advance(work)
            throttle.step()
        return clock.seconds - 1000

    @pytest.mark.parametrize("rate", [1, 7, 100, 1000, 20_000])
    def test_holds_the_rate(self, rate: int) -> None:
        assert self.run(rate, 3 * rate) == pytest.approx(3, abs=0.02)

    def test_slow_work_is_not_held_up(self) -> None:
        assert self.run(100, 50, work=0.1) == pytest.approx(5, abs=0.02)

    def test_no_burst_follows_a_wait(self) -> None:
        clock = Clock(1000.0)
        throttle = Throttle(10, clock, clock.advance)
        throttle.step()
        clock.advance(3600)
        before = clock.seconds
        for _ in range(20):
            throttle.step()
        assert clock.seconds - before == pytest.approx(2, abs=0.02)

    def test_a_clock_that_is_set_back_holds_nothing_up(self) -> None:
        clock = Clock(10_000.0)
        throttle = Throttle(10, clock, clock.advance)
        throttle.step()
        clock.seconds = 10.0
        throttle.step()
        assert clock.seconds < 11

    def test_none_where_there_is_no_limit(self) -> None:
        assert self.run(0, 1000) == 0


def test_what_becomes_of_a_record_is_told_one_by_one(rotated: tuple[Deployment, list[Token]]) -> None:
    deployment, _ = rotated
    outcomes = [one.outcome for one in rewrapper(deployment).one_pass()]
    assert outcomes == [Rewrap.DONE] * 10


def _ignore(_: object) -> None:
    """For actions that must return nothing."""
