"""Erasure and sweep: keys first, then objects, then the record; what fails or is interrupted is finished later."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from lunacore import records, tokens
from lunacore.erasure import UPLOAD_MARGIN, DueFor
from lunacore.errors import LunaCoreError, StoreUnavailable, TokenNotFound
from lunacore.identity import Call, operator
from lunacore.outcomes import only
from lunacore.records import Record, RecordState
from lunacore.stores import DirectTransfer
from lunacore.sweeping import Sweeper
from lunacore.testing.deployment import START, Clock, another_process, failing_process, open_in_memory, user
from lunacore.testing.faults import Crash, FailingRecords, FailingTransfer, Fault, FaultPlan, FullAudit, crash
from lunacore.tickets import Access, NewValue
from lunacore_backends.auditsinks.memory import MemoryAudit

if TYPE_CHECKING:
    from lunacore.deployment import Deployment
    from lunacore.erasure import Swept

CALL = Call(operator("default"))
DAY = 86_400
WEEK = 7 * DAY


def issue(deployment: Deployment, *, upload_until: int = 0, ttl: int | None = None) -> Access:
    access = only(deployment.tokenizer.issue(CALL, [NewValue(ttl=ttl)], upload_until=upload_until))
    upload(deployment, access)
    return access


def upload(deployment: Deployment, access: Access) -> None:
    assert isinstance(deployment.objects, DirectTransfer)
    deployment.objects.write(access.object_name, access.store_key, io.BytesIO(b"a value"))


def confirm(deployment: Deployment, access: Access) -> None:
    assert only(deployment.tokenizer.confirm(CALL, [access.token]))


def sweep(deployment: Deployment) -> list[Swept]:
    eraser = deployment.tokenizer.eraser
    return [eraser.sweep(record) for record in list(eraser.due(int(deployment.now())))]


def record_of(deployment: Deployment, access: Access) -> Record | None:
    presented = deployment.tokenizer.lookup.present("default", tokens.parse(access.token))
    return deployment.records.get([presented.keys.record_name])[0]


def state_of(deployment: Deployment, access: Access) -> RecordState | None:
    record = record_of(deployment, access)
    return None if record is None else record.header.state


def has_object(deployment: Deployment, access: Access) -> bool:
    return any(entry.name == access.object_name for entry in deployment.objects.scan())


def is_readable(deployment: Deployment, access: Access) -> bool:
    return not isinstance(deployment.tokenizer.access(CALL, [access.token])[0], LunaCoreError)


class TestDelete:
    def test_leaves_nothing_where_no_upload_can_follow(self, deployment: Deployment) -> None:
        access = issue(deployment)
        confirm(deployment, access)
        assert deployment.tokenizer.delete(CALL, [access.token]) == [None]
        assert record_of(deployment, access) is None
        assert not has_object(deployment, access)
        assert isinstance(deployment.tokenizer.access(CALL, [access.token])[0], TokenNotFound)

    def test_can_be_repeated(self, deployment: Deployment) -> None:
        access = issue(deployment)
        for _ in range(2):
            assert deployment.tokenizer.delete(CALL, [access.token, access.token]) == [None, None]

    def test_a_live_upload_url_keeps_the_record_until_it_has_expired(
        self, deployment: Deployment, clock: Clock
    ) -> None:
        access = issue(deployment, upload_until=START + 300)
        assert deployment.tokenizer.delete(CALL, [access.token]) == [None]
        assert state_of(deployment, access) is RecordState.ERASING
        assert not has_object(deployment, access)
        session = user("one").identity.session
        assert session is not None
        for outcome in (
            deployment.tokenizer.access(CALL, [access.token]),
            deployment.tokenizer.metadata(CALL, [access.token]),
            deployment.tokenizer.grant(CALL, session, [access.token]),
        ):
            assert isinstance(outcome[0], TokenNotFound)
        upload(deployment, access)  # the client uploads once more
        clock.seconds = START + 300 + UPLOAD_MARGIN - 0.1
        assert sweep(deployment) == []
        clock.seconds = START + 300 + UPLOAD_MARGIN
        assert [swept.done for swept in sweep(deployment)] == [True]
        assert record_of(deployment, access) is None
        assert not has_object(deployment, access)

    @pytest.mark.parametrize("ends", [299, 301, 300 + UPLOAD_MARGIN - 1])
    def test_an_upload_that_ends_after_its_url_leaves_no_object_behind(
        self, deployment: Deployment, clock: Clock, ends: int
    ) -> None:
        """It began while the URL was valid, so the store takes it however late it ends."""
        access = only(deployment.tokenizer.issue(CALL, [NewValue()], upload_until=START + 300))
        deployment.tokenizer.delete(CALL, [access.token])
        clock.seconds = START + 300
        sweep(deployment)
        clock.seconds = START + ends
        upload(deployment, access)
        clock.seconds = START + 300 + UPLOAD_MARGIN
        assert [swept.done for swept in sweep(deployment)] == [True]
        assert not has_object(deployment, access)
        assert record_of(deployment, access) is None

    def test_an_erased_record_holds_no_key(self, deployment: Deployment) -> None:
        access = issue(deployment, upload_until=START + 300)
        before = record_of(deployment, access)
        deployment.tokenizer.delete(CALL, [access.token])
        after = record_of(deployment, access)
        assert before is not None
        assert after is not None
        assert len(after.body) < len(before.body)
        opened = records.open_record(after, deployment.keyring.root_key)
        assert opened.fields.placement.inner == b""
        assert opened.fields.object_names == (access.object_name,)

    def test_an_object_store_that_is_down_delays_the_object_only(self, deployment: Deployment, clock: Clock) -> None:
        access = issue(deployment)
        broken = another_process(
            deployment, objects=FailingTransfer(deployment.objects, FaultPlan(Fault("delete"), Fault("delete", nth=2)))
        )
        assert broken.tokenizer.delete(CALL, [access.token]) == [None]
        assert not is_readable(deployment, access)
        assert has_object(deployment, access)
        assert [(swept.was, swept.done) for swept in sweep(broken)] == [(RecordState.ERASING, False)]
        clock.advance(60)
        assert [swept.done for swept in sweep(broken)] == [True]
        assert not has_object(deployment, access)
        assert record_of(deployment, access) is None

    def test_nothing_is_erased_unless_the_audit_log_says_so(self, deployment: Deployment) -> None:
        access = issue(deployment)
        with pytest.raises(StoreUnavailable):
            another_process(deployment, audit=FullAudit()).tokenizer.delete(CALL, [access.token])
        assert is_readable(deployment, access)


class TestSweep:
    def test_gives_up_an_upload_that_nobody_confirmed(self, deployment: Deployment, clock: Clock) -> None:
        access = issue(deployment)
        clock.advance(DAY - 1)
        assert sweep(deployment) == []
        clock.seconds = START + WEEK - 1
        assert [swept.spared for swept in sweep(deployment)] == [True]
        assert is_readable(deployment, access)
        assert sweep(deployment) == [], "it is due again when it can no longer be verified, and not before"
        clock.advance(1)
        assert [(swept.was, swept.done, swept.problem) for swept in sweep(deployment)] == [
            (RecordState.PENDING, True, "")
        ]
        assert record_of(deployment, access) is None
        assert not has_object(deployment, access)

    def test_gives_up_a_token_to_which_nothing_was_uploaded_much_sooner(
        self, deployment: Deployment, clock: Clock
    ) -> None:
        empty, uploaded = (
            only(deployment.tokenizer.issue(CALL, [NewValue()], upload_until=START + 300)) for _ in range(2)
        )
        upload(deployment, uploaded)
        clock.advance(DAY - 1)
        assert sweep(deployment) == []
        clock.advance(1)
        assert sorted((swept.done, swept.spared) for swept in sweep(deployment)) == [(False, True), (True, False)]
        assert record_of(deployment, empty) is None
        assert is_readable(deployment, uploaded)
        assert sweep(deployment) == []
        confirm(deployment, uploaded)
        clock.advance(WEEK)
        assert sweep(deployment) == []
        assert is_readable(deployment, uploaded)

    @pytest.mark.parametrize("ttl", [DAY + 10, WEEK + 10])
    def test_a_spared_upload_is_due_again_when_its_value_expires(self, clock: Clock, ttl: int) -> None:
        deployment = open_in_memory(clock)
        access = issue(deployment, ttl=ttl)
        clock.advance(DAY)
        assert [swept.spared for swept in sweep(deployment)] == [True]
        clock.seconds = START + min(ttl, WEEK) - 1
        assert sweep(deployment) == []
        clock.advance(1)
        assert [swept.done for swept in sweep(deployment)] == [True]
        assert record_of(deployment, access) is None

    @pytest.mark.parametrize("upload_ttl", [60, 3 * DAY])
    def test_no_token_is_given_up_while_its_upload_url_lives(self, clock: Clock, upload_ttl: int) -> None:
        settings = {"sweep": {"never_uploaded_after": 3600}, "tickets": {"upload_ttl": upload_ttl}}
        deployment = open_in_memory(clock, {**settings, "grants": {"default_ttl": WEEK, "max_ttl": WEEK}})
        deployment.tokenizer.tokenize(user("one"), [NewValue()])
        clock.advance(max(3600, upload_ttl + 1) - 1)
        assert sweep(deployment) == []
        clock.advance(1)
        assert len(sweep(deployment)) == 1

    @pytest.mark.parametrize("name", [b"\x00" * 32, b"\xff" * 32, b"\x01" + b"\x00" * 31, b"\x00" * 31 + b"\x01"])
    def test_finds_objects_of_any_name_and_no_others(self, deployment: Deployment, name: bytes) -> None:
        eraser, neighbour = deployment.tokenizer.eraser, (int.from_bytes(name) ^ 1).to_bytes(32)
        assert isinstance(deployment.objects, DirectTransfer)
        deployment.objects.write(neighbour, bytes(32), io.BytesIO(b"a value"))
        assert not eraser._is_there(name)
        deployment.objects.write(name, bytes(32), io.BytesIO(b"a value"))
        assert eraser._is_there(name)

    def test_an_upload_that_is_confirmed_while_it_is_spared_keeps_what_was_confirmed(
        self, deployment: Deployment, clock: Clock
    ) -> None:
        access = issue(deployment)
        clock.advance(DAY)
        plan = FaultPlan(Fault("replace", action=lambda: confirm(deployment, access)))
        sweep(another_process(deployment, records=FailingRecords(deployment.records, plan)))
        assert state_of(deployment, access) is RecordState.STORED
        clock.advance(WEEK)
        assert sweep(deployment) == []

    def test_an_object_store_that_is_down_spares_what_only_it_could_judge(
        self, deployment: Deployment, clock: Clock
    ) -> None:
        empty, expired = only(deployment.tokenizer.issue(CALL, [NewValue()])), issue(deployment, ttl=60)
        clock.advance(DAY)
        plan = FaultPlan(*(Fault("scan", nth=number) for number in range(1, 9)))
        broken = another_process(deployment, objects=FailingTransfer(deployment.objects, plan))
        sweeper = Sweeper(broken.tokenizer.eraser, broken.grants, broken.audit, broken.now)
        swept = list(sweeper.sweep_records(CALL))
        assert sorted((one.done, one.problem) for one in swept) == [(False, "injected fault"), (True, "")]
        assert state_of(deployment, empty) is RecordState.PENDING
        assert record_of(deployment, expired) is None
        with pytest.raises(StoreUnavailable):
            sweeper.due()

    def test_tells_before_and_in_the_audit_log_what_goes_and_why(self, deployment: Deployment, clock: Clock) -> None:
        tokenizer = deployment.tokenizer
        only(tokenizer.issue(CALL, [NewValue()]))
        unverified, _other, expired = issue(deployment), issue(deployment), issue(deployment, ttl=60)
        confirm(deployment, expired)
        erasing = issue(deployment, upload_until=START + 300)
        tokenizer.delete(CALL, [erasing.token])
        clock.advance(WEEK - DAY)
        waits = issue(deployment)
        clock.advance(DAY)
        sweeper = Sweeper(tokenizer.eraser, deployment.grants, deployment.audit, deployment.now)
        due = {DueFor.UNVERIFIED: 3, DueFor.EXPIRED: 1, DueFor.ERASING: 1, DueFor.NOTHING_YET: 1}
        assert sweeper.due() == due
        assert sweeper.due() == due, "nothing was changed"
        only(tokenizer.issue(CALL, [NewValue()]))
        clock.advance(DAY)
        assert sweeper.due()[DueFor.NEVER_UPLOADED] == 1
        assert sum(swept.done for swept in sweeper.sweep_records(CALL)) == 6
        assert isinstance(deployment.audit, MemoryAudit)
        event = deployment.audit.events[-1]
        assert event.detail == {"pending": 4, "stored": 1, "erasing": 1, "neverUploaded": 1}
        assert is_readable(deployment, waits)
        assert not is_readable(deployment, unverified)
        assert not sweeper.due()

    def test_leaves_what_was_confirmed(self, deployment: Deployment, clock: Clock) -> None:
        access = issue(deployment)
        confirm(deployment, access)
        clock.advance(100 * WEEK)
        assert sweep(deployment) == []
        assert is_readable(deployment, access)

    @pytest.mark.parametrize("confirmed", [True, False])
    @pytest.mark.parametrize("ttl", [10, DAY])
    def test_erases_a_value_whose_time_is_up(
        self, deployment: Deployment, clock: Clock, confirmed: bool, ttl: int
    ) -> None:
        access = issue(deployment, ttl=ttl)
        if confirmed:
            confirm(deployment, access)
        clock.advance(ttl - 1)
        assert is_readable(deployment, access)
        assert sweep(deployment) == []
        clock.advance(1)
        assert not is_readable(deployment, access)
        assert [swept.done for swept in sweep(deployment)] == [True]
        assert record_of(deployment, access) is None
        assert not has_object(deployment, access)

    def test_what_has_expired_can_be_deleted_before_the_sweep(self, deployment: Deployment, clock: Clock) -> None:
        access = issue(deployment, ttl=10)
        clock.advance(10)
        assert deployment.tokenizer.delete(CALL, [access.token]) == [None]
        assert record_of(deployment, access) is None

    def test_a_ticket_does_not_outlive_the_value(self, deployment: Deployment, clock: Clock) -> None:
        access = issue(deployment, ttl=30)
        ticket = only(deployment.tokenizer.detokenize(CALL, [access.token]))
        assert ticket.request.expires == START + 30

    def test_spares_what_is_confirmed_while_it_sweeps(self, deployment: Deployment, clock: Clock) -> None:
        """The record was due when it was listed, and is not any more: a value that an application keeps must not go."""
        access = issue(deployment)
        clock.advance(WEEK)
        listed = list(deployment.tokenizer.eraser.due(int(clock())))
        confirm(deployment, access)
        assert [deployment.tokenizer.eraser.sweep(record).done for record in listed] == [False]
        assert state_of(deployment, access) is RecordState.STORED
        assert is_readable(deployment, access)
        assert has_object(deployment, access)

    def test_spares_what_is_confirmed_just_before_its_swap(self, deployment: Deployment, clock: Clock) -> None:
        access = issue(deployment)
        clock.advance(WEEK)
        plan = FaultPlan(Fault("replace", action=lambda: confirm(deployment, access)))
        racing = another_process(deployment, records=FailingRecords(deployment.records, plan))
        assert [swept.done for swept in sweep(racing)] == [False]
        assert is_readable(deployment, access)
        assert has_object(deployment, access)

    def test_what_stays_after_all_is_told_to_the_audit_log(self, deployment: Deployment, clock: Clock) -> None:
        access, other = issue(deployment), issue(deployment)
        clock.advance(WEEK)

        plan = FaultPlan(Fault("replace", action=lambda: confirm(deployment, access)))
        racing = another_process(deployment, records=FailingRecords(deployment.records, plan))
        sweeper = Sweeper(racing.tokenizer.eraser, racing.grants, racing.audit, racing.now)
        assert sorted(one.kept for one in sweeper.sweep_records(CALL)) == [False, True]
        assert is_readable(deployment, access)
        assert not is_readable(deployment, other)
        record = record_of(deployment, access)
        assert record is not None
        assert isinstance(deployment.audit, MemoryAudit)
        fingerprint = deployment.keyring.record_fingerprints(record.name)[0]
        told = [one.outcome for one in deployment.audit.events if one.record == fingerprint]
        assert told == ["allowed", "conflict"]

    def test_two_sweepers_do_not_disturb_each_other(self, deployment: Deployment, clock: Clock) -> None:
        for _ in range(3):
            issue(deployment)
        clock.advance(WEEK)
        listed = list(deployment.tokenizer.eraser.due(int(clock())))
        assert all(swept.done for swept in sweep(deployment))
        assert [(swept.done, swept.problem) for swept in map(deployment.tokenizer.eraser.sweep, listed)] == [
            (False, "")
        ] * 3

    def test_goes_through_any_number_in_pages(self, clock: Clock) -> None:
        deployment = open_in_memory(clock)
        deployment.tokenizer.issue(CALL, [NewValue()] * 1203)
        clock.advance(WEEK)
        assert sum(swept.done for swept in sweep(deployment)) == 1203
        assert list(deployment.tokenizer.eraser.due(int(clock()))) == []

    def test_leaves_records_of_later_releases_and_damaged_ones_alone(
        self, deployment: Deployment, clock: Clock
    ) -> None:
        later, damaged, good = issue(deployment), issue(deployment), issue(deployment)
        for access, at in ((later, 4), (damaged, 40)):
            record = record_of(deployment, access)
            assert record is not None
            changed = record.body[:at] + bytes([record.body[at] + 1 & 255]) + record.body[at + 1 :]
            deployment.records._rows[record.name] = type(deployment.records._rows[record.name])(  # type: ignore[attr-defined]
                changed, 1, START + WEEK, frozenset()
            )
        clock.advance(WEEK)
        swept = sweep(deployment)
        assert sorted(one.done for one in swept) == [False, True]
        assert [bool(one.problem) for one in swept if not one.done] == [True]
        assert record_of(deployment, good) is None
        assert has_object(deployment, later)
        assert has_object(deployment, damaged)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 8))
@pytest.mark.parametrize("upload_until", [0, START + 300])
@pytest.mark.parametrize("swept_only", [False, True])
def test_a_crash_between_any_two_steps_is_made_good(nth: int, when: str, upload_until: int, swept_only: bool) -> None:
    """Both stores fail at the nth call, whichever it is; what is left afterwards is all or nothing."""
    clock = Clock()
    deployment = open_in_memory(clock)
    access = issue(deployment, upload_until=upload_until)
    plan = FaultPlan(Fault("any", nth, when, crash))  # type: ignore[arg-type]
    crashing = failing_process(deployment, plan)
    if swept_only:
        clock.advance(WEEK)
    try:
        if swept_only:
            sweep(crashing)
        else:
            crashing.tokenizer.delete(CALL, [access.token])
    except Crash:
        pass
    else:
        assert len(plan.calls) < nth
    if is_readable(deployment, access):
        assert has_object(deployment, access), "a token that can be read must have its value"
        assert not swept_only or list(deployment.tokenizer.eraser.due(int(clock()))), "the next sweep must come back"
        deployment.tokenizer.delete(CALL, [access.token])
    assert not is_readable(deployment, access)
    clock.advance(WEEK)
    sweep(deployment)
    assert record_of(deployment, access) is None
    assert not has_object(deployment, access)


def test_an_upload_that_is_given_up_leaves_its_session_nothing(deployment: Deployment, clock: Clock) -> None:
    caller = user("one")
    ticket = only(deployment.tokenizer.tokenize(caller, [NewValue()]))
    assert ticket.request.expires == START + 300
    clock.advance(WEEK)
    sweep(deployment)
    outcome = deployment.tokenizer.detokenize(caller, [ticket.token])[0]
    assert isinstance(outcome, LunaCoreError)
    assert outcome.name == "grantMissing"
