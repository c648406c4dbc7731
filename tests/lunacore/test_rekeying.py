"""Re-keying: another name and other keys for the object of a token; whatever fails or happens in between, no value is lost."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from lunacore import tokens
from lunacore.erasure import UPLOAD_MARGIN, DueFor
from lunacore.errors import (
    ConfigError,
    Conflict,
    IntegrityError,
    LunaCoreError,
    RoleForbidden,
    StoreUnavailable,
    TokenNotFound,
)
from lunacore.identity import Call, operator
from lunacore.keyring import KeyPurpose
from lunacore.lookup import Found
from lunacore.outcomes import only
from lunacore.records import RecordState, ValueFormat
from lunacore.rekeying import MAX_LEFTOVER, keyed_at
from lunacore.segments import OpenedSegments, Purpose, SealingReader
from lunacore.stores import DirectTransfer
from lunacore.sweeping import Sweeper
from lunacore.testing.deployment import (
    START,
    Clock,
    another_process,
    application,
    failing_process,
    open_in_memory,
    stage_key,
    user,
)
from lunacore.testing.faults import Crash, FailingObjects, FailingTransfer, Fault, FaultPlan, FullAudit, crash
from lunacore.tickets import Access, NewValue
from lunacore_backends.auditsinks.memory import MemoryAudit

if TYPE_CHECKING:
    from typing import BinaryIO, Literal, NoReturn

    from lunacore.deployment import Deployment
    from lunacore.erasure import Swept
    from lunacore.records import OpenedRecord, Record
    from lunacore.tokens import Token

CALL = Call(operator("default"))
DAY = 86_400
DOWNLOAD_TTL = 120
VALUE = b"a value of some length"


def put(
    deployment: Deployment,
    *,
    value_format: ValueFormat = ValueFormat.SEALED_V1,
    upload_until: int = 0,
    ttl: int | None = None,
    labels: tuple[str, ...] = (),
    confirmed: bool = True,
) -> Token:
    value = NewValue(value_format=value_format, ttl=ttl, labels=labels)
    access = only(deployment.tokenizer.issue(CALL, [value], upload_until=upload_until))
    write(deployment, access)
    if confirmed:
        assert only(deployment.tokenizer.confirm(CALL, [access.token]))
    return access.token


def write(deployment: Deployment, access: Access) -> None:
    assert isinstance(deployment.objects, DirectTransfer)
    source: BinaryIO = io.BytesIO(VALUE)
    if access.value_format is ValueFormat.SEALED_V1:
        source = SealingReader(source, access.value_key, Purpose.VALUE, deployment.random)  # type: ignore[assignment]
    deployment.objects.write(access.object_name, access.store_key, source)


def access_of(deployment: Deployment, token: str) -> Access:
    return only(deployment.tokenizer.access(CALL, [token]))


def value_of(deployment: Deployment, access: Access) -> bytes:
    assert isinstance(deployment.objects, DirectTransfer)
    with deployment.objects.open(access.object_name, access.store_key) as stored:
        if access.value_format is ValueFormat.RAW:
            return stored.read()
        with OpenedSegments(stored, access.value_key, Purpose.VALUE) as opened:
            return opened.read()


def read(deployment: Deployment, token: str) -> bytes:
    """What whoever holds the token gets: the value, by way of the pinned ticket too."""
    access = access_of(deployment, token)
    stat = deployment.objects.stat(access.object_name, access.store_key)
    assert stat is not None
    assert (stat.etag, stat.size) == (access.etag, access.size), "the pins follow the object"
    return value_of(deployment, access)


def rekey(deployment: Deployment, token: str, *, deep: bool = False) -> None:
    only(deployment.tokenizer.rekey(CALL, [token], deep=deep))


def sweep(deployment: Deployment) -> list[Swept]:
    eraser = deployment.tokenizer.eraser
    return [eraser.sweep(record) for record in list(eraser.due(int(deployment.now())))]


def opened_record(deployment: Deployment, token: str) -> OpenedRecord | None:
    lookup = deployment.tokenizer.lookup
    for key in deployment.keyring.keyring.newest_first(KeyPurpose.LOOKUP):
        presented = lookup.present("default", tokens.parse(token), key.version)
        record = deployment.records.get([presented.keys.record_name])[0]
        if record is not None:
            return lookup.open(record)
    return None


def record_of(deployment: Deployment, token: str) -> OpenedRecord:
    opened = opened_record(deployment, token)
    assert opened is not None
    return opened


def object_names(deployment: Deployment) -> set[bytes]:
    return {entry.name for entry in deployment.objects.scan()}


def settle(deployment: Deployment, clock: Clock) -> None:
    """Let everything pass that anybody may still be waiting for."""
    for _ in range(3):
        clock.advance(2 * UPLOAD_MARGIN)
        for swept in sweep(deployment):
            assert not swept.problem


def assert_settles(deployment: Deployment, clock: Clock, token: str) -> None:
    """The value is there now and when everything has passed, and then no object but its own is left."""
    assert read(deployment, token) == VALUE
    settle(deployment, clock)
    assert read(deployment, token) == VALUE
    assert object_names(deployment) == {access_of(deployment, token).object_name}


class TestRekey:
    @pytest.mark.parametrize("value_format", ValueFormat)
    @pytest.mark.parametrize("deep", [False, True])
    def test_changes_name_and_keys_and_neither_token_nor_value(
        self, deployment: Deployment, value_format: ValueFormat, deep: bool
    ) -> None:
        token = put(deployment, value_format=value_format, labels=("alice",), ttl=DAY)
        metadata = deployment.tokenizer.metadata(CALL, [token])
        before, record = access_of(deployment, token), record_of(deployment, token)
        rekey(deployment, token, deep=deep)
        after, changed = access_of(deployment, token), record_of(deployment, token)
        assert after.object_name != before.object_name
        assert after.store_key != before.store_key
        assert (after.value_key != before.value_key) is deep
        assert read(deployment, token) == VALUE
        assert deployment.tokenizer.metadata(CALL, [token]) == metadata
        assert changed.fields.placement.generation == 2
        assert changed.header.labels == record.header.labels
        assert changed.header.state is RecordState.STORED
        assert (changed.fields.created, changed.fields.expires) == (record.fields.created, record.fields.expires)

    def test_what_is_at_rest_is_sealed_anew_only_by_a_deep_one(self, deployment: Deployment) -> None:
        """The old value key opens what a shallow re-keying left, and nothing that a deep one did."""
        token = put(deployment)
        old = access_of(deployment, token)
        rekey(deployment, token)
        assert value_of(deployment, evolve(access_of(deployment, token), value_key=old.value_key)) == VALUE
        rekey(deployment, token, deep=True)
        with pytest.raises(IntegrityError):
            value_of(deployment, evolve(access_of(deployment, token), value_key=old.value_key))

    def test_can_be_done_again_and_again(self, deployment: Deployment, clock: Clock) -> None:
        token = put(deployment)
        for generation in range(2, MAX_LEFTOVER + 2):
            rekey(deployment, token)
            assert record_of(deployment, token).fields.placement.generation == generation
        with pytest.raises(Conflict, match="many times"):
            rekey(deployment, token)
        assert len(object_names(deployment)) == MAX_LEFTOVER + 1
        assert_settles(deployment, clock, token)
        rekey(deployment, token)
        assert read(deployment, token) == VALUE

    def test_is_the_operators_alone(self, deployment: Deployment) -> None:
        token = put(deployment)
        for call in (user("one"), application(), application(may_read=True)):
            with pytest.raises(RoleForbidden):
                deployment.tokenizer.rekey(call, [token])

    def test_one_refusal_leaves_the_others_whole(self, deployment: Deployment) -> None:
        token, pending = put(deployment), put(deployment, confirmed=False)
        unknown = "lunasec-00000000-0000-4000-8000-000000000000"
        outcomes = deployment.tokenizer.rekey(CALL, [unknown, token, pending, "no token"])
        assert [getattr(one, "name", None) for one in outcomes] == ["tokenNotFound", None, "conflict", "invalidRequest"]
        assert record_of(deployment, token).fields.placement.generation == 2
        assert record_of(deployment, pending).fields.placement.generation == 1

    def test_an_expired_value_is_gone(self, deployment: Deployment, clock: Clock) -> None:
        token = put(deployment, ttl=10)
        clock.advance(10)
        with pytest.raises(TokenNotFound):
            rekey(deployment, token)

    def test_says_so_in_the_audit_log_first(self, deployment: Deployment) -> None:
        token = put(deployment)
        with pytest.raises(StoreUnavailable):
            rekey(another_process(deployment, audit=FullAudit()), token)
        assert record_of(deployment, token).fields.placement.generation == 1
        rekey(deployment, token, deep=True)
        assert isinstance(deployment.audit, MemoryAudit)
        before, after = deployment.audit.events[-2:]
        assert (before.action, before.outcome, before.detail) == ("token.rekey", "allowed", {"deep": True})
        assert before.token == after.token != ""
        record = record_of(deployment, token)
        assert (after.action, after.detail, after.revision) == ("token.rekey", {"done": True}, record.header.revision)
        assert after.record == deployment.keyring.record_fingerprints(record.record.name)[0]

    def test_what_is_younger_is_passed_over(self, deployment: Deployment, clock: Clock) -> None:
        token = put(deployment)
        clock.advance(DAY - 1)
        assert deployment.tokenizer.rekey(CALL, [token], older_than=DAY) == [False]
        clock.advance(1)
        assert deployment.tokenizer.rekey(CALL, [token], older_than=DAY) == [True]
        assert deployment.tokenizer.rekey(CALL, [token], older_than=DAY) == [False]

    def test_a_store_without_transfers_is_re_keyed_but_not_deep(self, deployment: Deployment) -> None:
        token = put(deployment)
        plain = another_process(deployment, objects=FailingObjects(deployment.objects, FaultPlan()))
        with pytest.raises(ConfigError):
            rekey(plain, token, deep=True)
        rekey(plain, token)
        assert read(deployment, token) == VALUE

    def test_keyed_at(self, deployment: Deployment, clock: Clock) -> None:
        token = put(deployment, upload_until=START + 300)
        assert keyed_at(record_of(deployment, token).fields) == START
        clock.advance(DAY)
        rekey(deployment, token)
        assert keyed_at(record_of(deployment, token).fields) == START + DAY + DOWNLOAD_TTL


class TestOldObject:
    def test_stays_until_nobody_can_be_reading_it(self, deployment: Deployment, clock: Clock) -> None:
        token = put(deployment)
        old = access_of(deployment, token)
        ticket = only(deployment.tokenizer.detokenize(Call(operator("default")), [token]))
        rekey(deployment, token)
        assert ticket.request.expires == START + DOWNLOAD_TTL
        clock.seconds = START + DOWNLOAD_TTL + UPLOAD_MARGIN - 0.1
        assert sweep(deployment) == []
        assert value_of(deployment, old) == VALUE, "whoever read the record before the switch still reads"
        clock.seconds = START + DOWNLOAD_TTL + UPLOAD_MARGIN
        assert [(swept.tidied, swept.done, swept.problem) for swept in sweep(deployment)] == [(True, False, "")]
        assert object_names(deployment) == {access_of(deployment, token).object_name}
        assert sweep(deployment) == []
        assert record_of(deployment, token).header.due == 0
        assert read(deployment, token) == VALUE

    def test_an_upload_that_its_url_still_allows_leaves_no_object_behind(self, clock: Clock) -> None:
        settings = {"tickets": {"upload_ttl": 6 * DAY}, "grants": {"default_ttl": 6 * DAY, "max_ttl": 7 * DAY}}
        deployment = open_in_memory(clock, settings)
        token = put(deployment, upload_until=START + 6 * DAY)
        old = access_of(deployment, token)
        rekey(deployment, token)
        clock.seconds = START + 6 * DAY + UPLOAD_MARGIN - 1
        assert sweep(deployment) == []
        deployment.objects.delete([old.object_name])
        write(deployment, old)  # the client uploads once more, in time
        clock.advance(1)
        assert [swept.tidied for swept in sweep(deployment)] == [True]
        assert object_names(deployment) == {access_of(deployment, token).object_name}

    def test_a_record_that_is_due_too_early_loses_nothing(self, deployment: Deployment) -> None:
        token = put(deployment)
        old = access_of(deployment, token)
        rekey(deployment, token)
        opened = record_of(deployment, token)
        right = opened.header.due
        assert deployment.tokenizer.lookup.change(opened, opened.fields, state=RecordState.STORED, due=START)
        assert [(swept.spared, swept.tidied) for swept in sweep(deployment)] == [(True, False)]
        assert value_of(deployment, old) == VALUE
        assert record_of(deployment, token).header.due == right

    def test_the_value_still_expires_in_time(self, deployment: Deployment, clock: Clock) -> None:
        token = put(deployment, ttl=DAY)
        rekey(deployment, token)
        clock.advance(UPLOAD_MARGIN + DOWNLOAD_TTL)
        assert [swept.tidied for swept in sweep(deployment)] == [True]
        assert record_of(deployment, token).header.due == START + DAY
        clock.seconds = START + DAY
        sweep(deployment)
        settle(deployment, clock)
        assert opened_record(deployment, token) is None
        assert object_names(deployment) == set()

    def test_expiry_goes_before_tidying(self, deployment: Deployment, clock: Clock) -> None:
        token = put(deployment, ttl=60)
        rekey(deployment, token)
        assert record_of(deployment, token).header.due == START + 60
        clock.advance(60)
        assert [(swept.tidied, swept.problem) for swept in sweep(deployment)] == [(False, "")]
        assert object_names(deployment) == set()
        settle(deployment, clock)
        assert opened_record(deployment, token) is None

    def test_the_sweep_tells_what_it_does(self, deployment: Deployment, clock: Clock) -> None:
        tokens_ = [put(deployment) for _ in range(3)]
        for token in tokens_:
            rekey(deployment, token)
        clock.advance(DAY)
        sweeper = Sweeper(deployment.tokenizer.eraser, deployment.grants, deployment.audit, deployment.now)
        assert sweeper.due() == {DueFor.REKEYED: 3}
        assert [swept.tidied for swept in sweeper.sweep_records(CALL)] == [True] * 3
        assert isinstance(deployment.audit, MemoryAudit)
        assert deployment.audit.events[-1].detail == {"rekeyed": 3}
        assert not sweeper.due()
        assert [read(deployment, token) for token in tokens_] == [VALUE] * 3

    def test_an_object_store_that_is_down_leaves_it_to_the_next_sweep(
        self, deployment: Deployment, clock: Clock
    ) -> None:
        token = put(deployment)
        rekey(deployment, token)
        clock.advance(DAY)
        broken = another_process(deployment, objects=FailingTransfer(deployment.objects, FaultPlan(Fault("delete"))))
        assert [bool(swept.problem) for swept in sweep(broken)] == [True]
        assert [swept.tidied for swept in sweep(broken)] == [True]
        assert object_names(deployment) == {access_of(deployment, token).object_name}


class TestWhatIsNotRight:
    def test_an_object_that_is_not_the_confirmed_one_stays(self, deployment: Deployment, clock: Clock) -> None:
        token = put(deployment)
        access = access_of(deployment, token)
        deployment.objects.delete([access.object_name])
        write(deployment, access)  # as a store without conditional writes lets an upload replace it
        with pytest.raises(IntegrityError, match="not the one"):
            rekey(deployment, token)
        assert object_names(deployment) == {access.object_name}
        settle(deployment, clock)
        assert access_of(deployment, token) == access

    def test_an_object_that_is_gone_is_told_from_an_erased_token(self, deployment: Deployment) -> None:
        token = put(deployment)
        deployment.objects.delete([access_of(deployment, token).object_name])
        for deep in (False, True):
            with pytest.raises(IntegrityError, match="not in the object store"):
                rekey(deployment, token, deep=deep)

    def test_a_damaged_value_is_not_sealed_anew(self, deployment: Deployment, clock: Clock) -> None:
        access = only(deployment.tokenizer.issue(CALL, [NewValue()]))
        assert isinstance(deployment.objects, DirectTransfer)
        deployment.objects.write(access.object_name, access.store_key, io.BytesIO(b"not sealed" * 20))
        assert only(deployment.tokenizer.confirm(CALL, [access.token]))
        with pytest.raises(IntegrityError):
            rekey(deployment, access.token, deep=True)
        settle(deployment, clock)
        assert object_names(deployment) == {access.object_name}


class TestRaces:
    def racing(self, deployment: Deployment, call: str, nth: int, action: object) -> Deployment:
        """A process during whose nth such call another one acts."""
        plan = FaultPlan(Fault(call, nth=nth, action=action))  # type: ignore[arg-type]
        return failing_process(deployment, plan)

    @pytest.mark.parametrize(("call", "nth"), [("replace", 1), ("copy", 1), ("stat", 1), ("get", 2), ("replace", 2)])
    def test_an_erasure_meanwhile_wins(self, deployment: Deployment, clock: Clock, call: str, nth: int) -> None:
        token = put(deployment)

        def erase() -> None:
            assert deployment.tokenizer.delete(CALL, [token]) == [None]

        with pytest.raises(TokenNotFound):
            rekey(self.racing(deployment, call, nth, erase), token)
        assert isinstance(deployment.tokenizer.access(CALL, [token])[0], TokenNotFound)
        settle(deployment, clock)
        assert object_names(deployment) == set()
        assert opened_record(deployment, token) is None

    def test_a_copy_that_ends_after_the_erasure_is_removed_too(self, deployment: Deployment, clock: Clock) -> None:
        """The process that copies dies before it can tidy up, and its copy appears when the record was erased already."""
        token = put(deployment)
        late: list[tuple[bytes, bytes]] = []

        class Slow(FailingTransfer):
            def copy(self, name: bytes, key: bytes, new_name: bytes, new_key: bytes) -> NoReturn:
                late.append((new_name, new_key))
                raise Crash

        with pytest.raises(Crash):
            rekey(another_process(deployment, objects=Slow(deployment.objects, FaultPlan())), token)
        old = access_of(deployment, token)
        clock.advance(UPLOAD_MARGIN - 60)
        assert deployment.tokenizer.delete(CALL, [token]) == [None]
        assert opened_record(deployment, token) is not None, "it waits for the copy"
        assert isinstance(deployment.objects, DirectTransfer)
        deployment.objects.write(late[0][0], late[0][1], io.BytesIO(b"the copy ends"))
        clock.advance(60)
        assert [swept.done for swept in sweep(deployment)] == [True]
        assert object_names(deployment) == set()
        assert old.object_name != late[0][0]

    @pytest.mark.parametrize(("call", "nth"), [("replace", 1), ("copy", 1), ("stat", 1), ("replace", 2)])
    def test_of_two_re_keyings_one_wins_and_nothing_is_lost(
        self, deployment: Deployment, clock: Clock, call: str, nth: int
    ) -> None:
        token = put(deployment)
        racing = self.racing(deployment, call, nth, lambda: rekey(deployment, token))
        outcome = racing.tokenizer.rekey(CALL, [token])[0]
        assert isinstance(outcome, Conflict)
        assert record_of(deployment, token).fields.placement.generation == 2
        assert_settles(deployment, clock, token)

    @pytest.mark.parametrize(("call", "nth"), [("copy", 1), ("stat", 1), ("replace", 2)])
    def test_another_that_has_only_begun_takes_over(
        self, deployment: Deployment, clock: Clock, call: str, nth: int
    ) -> None:
        """Nobody switches to what another one has yet to copy."""
        token = put(deployment)

        def begin() -> None:
            plan = FaultPlan(Fault("copy", action=crash))
            with pytest.raises(Crash):
                rekey(another_process(deployment, objects=FailingTransfer(deployment.objects, plan)), token)

        with pytest.raises(Conflict):
            rekey(self.racing(deployment, call, nth, begin), token)
        assert record_of(deployment, token).fields.following is not None
        assert_settles(deployment, clock, token)

    @pytest.mark.parametrize(("call", "nth"), [("replace", 1), ("copy", 1), ("stat", 1), ("get", 2), ("replace", 2)])
    def test_a_label_that_is_given_meanwhile_stays(
        self, deployment: Deployment, clock: Clock, call: str, nth: int
    ) -> None:
        """What the re-keying had sealed lacks it."""
        token = put(deployment, labels=("bob",))

        def label() -> None:
            only(deployment.tokenizer.label(CALL, [token], ["alice"]))

        with suppress(Conflict):
            rekey(self.racing(deployment, call, nth, label), token)
        for _ in range(2):
            opened = record_of(deployment, token)
            presented = deployment.tokenizer.lookup.present("default", tokens.parse(token))
            assert Found(presented, opened).contents().labels == ("bob", "alice")
            assert len(opened.header.labels) == 2
            assert read(deployment, token) == VALUE
            rekey(deployment, token)
        assert_settles(deployment, clock, token)

    @pytest.mark.parametrize(("call", "nth"), [("replace", 1), ("copy", 1), ("replace", 2)])
    def test_a_change_of_the_outer_layer_meanwhile_does_no_harm(
        self, deployment: Deployment, clock: Clock, call: str, nth: int
    ) -> None:
        """As rewrapping makes it: the same fields sealed anew, state and due as they were."""
        token = put(deployment)

        def rewrap() -> None:
            opened = record_of(deployment, token)
            assert deployment.tokenizer.lookup.change(
                opened, opened.fields, state=opened.header.state, due=opened.header.due
            )

        rekey(self.racing(deployment, call, nth, rewrap), token)
        assert record_of(deployment, token).fields.placement.generation == 2
        assert_settles(deployment, clock, token)

    @pytest.mark.parametrize(("call", "nth"), [("replace", 1), ("copy", 1), ("replace", 2)])
    def test_a_move_under_a_new_lookup_secret_meanwhile(
        self, deployment: Deployment, clock: Clock, call: str, nth: int
    ) -> None:
        token = put(deployment)
        mover = another_process(deployment)

        def move() -> None:
            clock.advance(400)
            access_of(mover, token)

        stage_key(deployment, KeyPurpose.LOOKUP)
        outcome = self.racing(deployment, call, nth, move).tokenizer.rekey(CALL, [token])[0]
        assert outcome is True or isinstance(outcome, Conflict | StoreUnavailable)
        assert_settles(deployment, clock, token)
        assert record_of(deployment, token).header.lookup_version == 2

    def test_a_sweep_never_removes_a_copy_that_can_still_be_switched_to(
        self, deployment: Deployment, clock: Clock
    ) -> None:
        """The copy took longer than anybody waits; the sweep gives it up, and its switch fails."""
        token = put(deployment)

        def too_long() -> None:
            clock.advance(DAY)
            assert [swept.tidied for swept in sweep(deployment)] == [True]

        with pytest.raises(Conflict):
            rekey(self.racing(deployment, "stat", 1, too_long), token)
        assert read(deployment, token) == VALUE
        assert object_names(deployment) == {access_of(deployment, token).object_name}

    def test_a_switch_between_the_sweeps_look_and_its_deletion(self, deployment: Deployment, clock: Clock) -> None:
        """The sweep saw a re-keying under way; before it gives that up, the switch comes."""
        token = put(deployment)
        listed: list[Record] = []

        def look() -> None:
            clock.advance(DAY)
            listed.extend(deployment.tokenizer.eraser.due(int(clock())))

        rekey(self.racing(deployment, "replace", 2, look), token)
        assert len(listed) == 1, "the sweep saw it under way"
        assert [deployment.tokenizer.eraser.sweep(record).tidied for record in listed] == [False]
        assert read(deployment, token) == VALUE

    def test_a_sweeper_that_saw_an_older_record_deletes_nothing_live(
        self, deployment: Deployment, clock: Clock
    ) -> None:
        token = put(deployment)
        rekey(deployment, token)
        clock.advance(DAY)
        listed = list(deployment.tokenizer.eraser.due(int(clock())))
        rekey(deployment, token)
        assert [deployment.tokenizer.eraser.sweep(record).tidied for record in listed] == [False]
        assert_settles(deployment, clock, token)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 8))
@pytest.mark.parametrize(
    ("afterwards", "deep"),
    [("sweep", False), ("rekey", False), ("erase", False), ("expire", False), ("sweep", True)],
)
def test_a_crash_between_any_two_steps_loses_nothing(
    nth: int, when: Literal["before", "after"], afterwards: str, deep: bool
) -> None:
    """Both stores fail at the nth call, whichever it is. The value is there throughout, and nothing else is in the end."""
    clock = Clock()
    deployment = open_in_memory(clock)
    token = put(deployment, upload_until=START + 300, ttl=100 * DAY if afterwards == "expire" else None)
    plan = FaultPlan(Fault("any", nth, when, crash))
    crashing = failing_process(deployment, plan)
    try:
        rekey(crashing, token, deep=deep)
    except Crash:
        pass
    else:
        assert len(plan.calls) < nth
    assert read(deployment, token) == VALUE
    if afterwards == "rekey":
        generation = record_of(deployment, token).fields.placement.generation
        rekey(deployment, token)
        assert record_of(deployment, token).fields.placement.generation == generation + 1
    if afterwards == "erase":
        deployment.tokenizer.delete(CALL, [token])
    if afterwards == "expire":
        clock.advance(100 * DAY)
        sweep(deployment)
    if afterwards in ("erase", "expire"):
        settle(deployment, clock)
        assert opened_record(deployment, token) is None
        assert object_names(deployment) == set()
        return
    assert_settles(deployment, clock, token)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 8))
def test_a_store_that_is_away_at_any_step_loses_nothing(nth: int, when: Literal["before", "after"], deep: bool) -> None:
    clock = Clock()
    deployment = open_in_memory(clock)
    token = put(deployment)
    plan = FaultPlan(Fault("any", nth, when))
    broken = failing_process(deployment, plan)
    try:
        rekey(broken, token, deep=deep)
    except StoreUnavailable:
        assert len(plan.calls) >= nth
    assert read(deployment, token) == VALUE
    rekey(deployment, token)
    assert_settles(deployment, clock, token)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 6))
@pytest.mark.parametrize("under_way", [False, True])
def test_a_sweep_that_crashes_at_any_step_loses_nothing(
    nth: int, when: Literal["before", "after"], under_way: bool
) -> None:
    clock = Clock()
    deployment = open_in_memory(clock)
    token = put(deployment)
    if under_way:
        plan = FaultPlan(Fault("copy", 1, "after", crash))
        with pytest.raises(Crash):
            rekey(another_process(deployment, objects=FailingTransfer(deployment.objects, plan)), token)
    else:
        rekey(deployment, token)
    clock.advance(DAY)
    plan = FaultPlan(Fault("any", nth, when, crash))
    crashing = failing_process(deployment, plan)
    try:
        sweep(crashing)
    except Crash:
        assert len(plan.calls) == nth
    assert_settles(deployment, clock, token)


class TestInTheBackground:
    def aged(self, clock: Clock, after: str = "90d") -> tuple[Deployment, Token]:
        deployment = open_in_memory(clock, {"rekey": {"after": after}})
        token = put(deployment)
        return deployment, token

    def drain(self, deployment: Deployment) -> None:
        """Wait until the thread has ended, having done what it was given."""
        rekeying = deployment.tokenizer.rekeying
        assert rekeying is not None
        while rekeying._waiting:
            rekeying._queue.put(None)
            if rekeying._thread is not None:
                rekeying._thread.join(30)
                rekeying._thread = None
            assert not rekeying._waiting

    def generation(self, deployment: Deployment, token: str) -> int:
        return record_of(deployment, token).fields.placement.generation

    def test_what_is_read_and_old_is_re_keyed(self, clock: Clock) -> None:
        deployment, token = self.aged(clock)
        clock.advance(90 * DAY - 1)
        only(deployment.tokenizer.detokenize(CALL, [token]))
        self.drain(deployment)
        assert self.generation(deployment, token) == 1
        clock.advance(1)
        ticket = only(deployment.tokenizer.detokenize(CALL, [token]))
        self.drain(deployment)
        assert self.generation(deployment, token) == 2
        assert ticket.request.url
        assert read(deployment, token) == VALUE
        assert isinstance(deployment.audit, MemoryAudit)
        events = [one for one in deployment.audit.events if one.action == "token.rekey"]
        assert [(one.role, one.reason) for one in events] == [("operator", "rekey.after")] * 2
        assert [one.detail for one in events] == [{"deep": False}, {"done": True}]
        self.drain(deployment)
        assert self.generation(deployment, token) == 2, "it is young again"

    def test_off_by_default(self, deployment: Deployment) -> None:
        assert deployment.tokenizer.rekeying is None

    @pytest.mark.parametrize("after", ["1h", "23h59m", 60])
    def test_must_be_days(self, clock: Clock, after: str | int) -> None:
        with pytest.raises(ConfigError, match=r"rekey\.after must be at least 1d"):
            open_in_memory(clock, {"rekey": {"after": after}})

    def test_what_the_caller_may_not_read_is_left_alone(self, clock: Clock) -> None:
        deployment, token = self.aged(clock)
        clock.advance(90 * DAY)
        assert isinstance(deployment.tokenizer.detokenize(user("one"), [token])[0], LunaCoreError)
        rekeying = deployment.tokenizer.rekeying
        assert rekeying is not None
        assert not rekeying._waiting

    def test_reading_waits_for_nothing_and_fails_for_nothing(
        self, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        deployment, token = self.aged(clock)
        clock.advance(90 * DAY)
        plan = FaultPlan(Fault("copy"), Fault("copy", 2))
        broken = another_process(deployment, objects=FailingTransfer(deployment.objects, plan))
        for _ in range(5):
            only(broken.tokenizer.detokenize(CALL, [token]))
            self.drain(broken)
        assert plan.calls.count("copy") == 1, "a token that could not be re-keyed rests"
        assert "event=rekey_failed" in caplog.text
        assert token not in caplog.text
        clock.advance(3600)
        only(broken.tokenizer.detokenize(CALL, [token]))
        self.drain(broken)
        clock.advance(3600)
        only(broken.tokenizer.detokenize(CALL, [token]))
        self.drain(broken)
        assert self.generation(deployment, token) == 2
        assert read(deployment, token) == VALUE

    def test_of_two_processes_one_re_keys(self, clock: Clock) -> None:
        deployment, token = self.aged(clock)
        clock.advance(90 * DAY)
        other = another_process(deployment)
        for one in (deployment, other):
            only(one.tokenizer.detokenize(CALL, [token]))
        for one in (deployment, other):
            self.drain(one)
        assert self.generation(deployment, token) == 2

    def test_a_close_ends_the_thread(self, clock: Clock) -> None:
        deployment, token = self.aged(clock)
        clock.advance(90 * DAY)
        only(deployment.tokenizer.detokenize(CALL, [token]))
        rekeying = deployment.tokenizer.rekeying
        assert rekeying is not None
        thread = rekeying._thread
        assert thread is not None
        deployment.close()
        assert not thread.is_alive()
        rekeying.offer(only(deployment.tokenizer._find(deployment.tokenizer._present(CALL, [token]))))
        assert not rekeying._waiting
