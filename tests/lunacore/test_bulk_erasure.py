"""Erasure of all that belongs to a label, or is older than so long: complete under every lookup version, in pages, repeatable."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from lunacore import Vault, receipts, tokens
from lunacore.bulk_erasure import BulkErased, BulkEraser, label_fingerprint
from lunacore.erasure import UPLOAD_MARGIN
from lunacore.errors import InvalidRequest, LunaCoreError, RateLimited, RoleForbidden, StoreUnavailable
from lunacore.identity import Call, operator
from lunacore.keyring import KeyPurpose
from lunacore.outcomes import only
from lunacore.records import RecordState
from lunacore.rewrapping import Rewrapper, Throttle
from lunacore.stores import DirectTransfer
from lunacore.testing.deployment import START, Clock, another_process, application, open_in_memory, stage_key, user
from lunacore.testing.faults import Crash, FailingRecords, FailingTransfer, Fault, FaultPlan, FullAudit, crash
from lunacore.tickets import NewValue
from lunacore_backends.auditsinks.memory import MemoryAudit

if TYPE_CHECKING:
    from typing import Literal

    from lunacore.deployment import Deployment
    from lunacore.tokens import Token

CALL = Call(operator("default"))
DAY = 86_400
ALICE, BOB = "alice@example.com", "bob@example.com"


def put(deployment: Deployment, *labels: str, upload_until: int = 0, tenant: str = "default") -> Token:
    call = Call(operator(tenant))
    access = only(deployment.tokenizer.issue(call, [NewValue(labels=labels)], upload_until=upload_until))
    assert isinstance(deployment.objects, DirectTransfer)
    deployment.objects.write(access.object_name, access.store_key, io.BytesIO(b"a value"))
    assert only(deployment.tokenizer.confirm(call, [access.token]))
    return access.token


def is_readable(deployment: Deployment, token: str, tenant: str = "default") -> bool:
    return not isinstance(deployment.tokenizer.access(Call(operator(tenant)), [token])[0], LunaCoreError)


def bulk(deployment: Deployment) -> BulkEraser:
    return deployment.tokenizer.bulk_eraser


def erase(deployment: Deployment, label: str) -> list[BulkErased]:
    return list(bulk(deployment).labelled(CALL, label))


def count(outcomes: list[BulkErased]) -> int:
    assert not any(one.problem for one in outcomes)
    return sum(one.erased is not None for one in outcomes)


def rotate_lookup(deployment: Deployment, clock: Clock) -> None:
    stage_key(deployment, KeyPurpose.LOOKUP)
    clock.advance(400)


class TestByLabel:
    def test_erases_what_has_the_label_and_nothing_else(self, deployment: Deployment) -> None:
        hers = [put(deployment, ALICE), put(deployment, BOB, ALICE), put(deployment, ALICE)]
        others = [put(deployment, BOB), put(deployment)]
        foreign = put(deployment, ALICE, tenant="second")
        assert bulk(deployment).count_labelled("default", ALICE) == 3
        assert count(erase(deployment, ALICE)) == 3
        assert [is_readable(deployment, token) for token in hers] == [False] * 3
        assert [is_readable(deployment, token) for token in others] == [True] * 2
        assert is_readable(deployment, foreign, "second")
        assert len(deployment.objects.scan()) == 3
        assert bulk(deployment).count_labelled("default", ALICE) == 0
        assert count(erase(deployment, ALICE)) == 0

    def test_finds_records_under_every_lookup_version(self, deployment: Deployment, clock: Clock) -> None:
        """Records move only when their token is presented, so a label's lie under secrets of any age."""
        hers = []
        for _ in range(3):
            hers += [put(deployment, ALICE), put(deployment, ALICE)]
            rotate_lookup(deployment, clock)
        hers.append(put(deployment, ALICE))
        assert is_readable(deployment, hers[0])  # moved to the newest
        staged = stage_key(deployment, KeyPurpose.LOOKUP)
        assert staged == 5
        assert bulk(deployment).count_labelled("default", ALICE) == 7
        assert count(erase(deployment, ALICE)) == 7
        assert [is_readable(deployment, token) for token in hers] == [False] * 7
        assert deployment.objects.scan() == []

    def test_also_what_another_process_keeps_under_a_staged_lookup_secret(self, clock: Clock) -> None:
        deployment = open_in_memory(clock)
        stage_key(deployment, KeyPurpose.LOOKUP)
        ahead = another_process(deployment, clock=lambda: clock() + 400)
        token = put(ahead, ALICE)
        deployment.keyring.refresh()
        assert count(erase(deployment, ALICE)) == 1
        assert not is_readable(ahead, token)

    @pytest.mark.parametrize("nth", range(1, 6))
    def test_a_record_that_moves_meanwhile_is_found(self, deployment: Deployment, clock: Clock, nth: int) -> None:
        hers = [put(deployment, ALICE) for _ in range(3)]
        rotate_lookup(deployment, clock)

        def move() -> None:
            for token in hers:
                is_readable(deployment, token)

        plan = FaultPlan(Fault("any", nth, action=move))
        racing = another_process(deployment, records=FailingRecords(deployment.records, plan))
        erase(racing, ALICE)
        assert [is_readable(deployment, token) for token in hers] == [False] * 3
        assert deployment.objects.scan() == []

    def test_a_record_that_is_changed_meanwhile_is_erased_all_the_same(self, deployment: Deployment) -> None:
        token = put(deployment, ALICE)

        def rekey() -> None:
            only(deployment.tokenizer.rekey(CALL, [token]))

        plan = FaultPlan(Fault("replace", action=rekey))
        racing = another_process(deployment, records=FailingRecords(deployment.records, plan))
        (outcome,) = erase(racing, ALICE)
        assert outcome.erased is not None
        assert outcome.erased.sweep_from == START + 120 + UPLOAD_MARGIN
        assert not is_readable(deployment, token)
        assert deployment.objects.scan() == []

    def test_a_record_that_is_rewrapped_meanwhile_is_erased_all_the_same(
        self, deployment: Deployment, clock: Clock
    ) -> None:
        tokens_ = [put(deployment, ALICE) for _ in range(3)]
        stage_key(deployment, KeyPurpose.ROOT)
        clock.advance(400)
        rewrapper = Rewrapper(
            lookup=deployment.tokenizer.lookup,
            audit=deployment.audit,
            throttle=Throttle(0, clock, clock.advance),
            now=clock,
            random=deployment.random,
        )
        done: list[int] = []
        plan = FaultPlan(Fault("replace", action=lambda: done.append(rewrapper.rewrap(CALL).done)))
        racing = another_process(deployment, records=FailingRecords(deployment.records, plan))
        assert count(erase(racing, ALICE)) == 3
        assert done[0] >= 3
        assert [is_readable(deployment, token) for token in tokens_] == [False] * 3
        assert deployment.objects.scan() == []

    def test_two_erasers_at_once(self, deployment: Deployment) -> None:
        for _ in range(4):
            put(deployment, ALICE)
        others: list[BulkErased] = []
        plan = FaultPlan(Fault("replace", nth=2, action=lambda: others.extend(erase(deployment, ALICE))))
        racing = another_process(deployment, records=FailingRecords(deployment.records, plan))
        mine = erase(racing, ALICE)
        assert count(mine) + count(others) == 4
        assert deployment.objects.scan() == []

    def test_goes_through_any_number_in_pages(self, clock: Clock) -> None:
        deployment = open_in_memory(clock)
        deployment.tokenizer.issue(CALL, [NewValue(labels=(ALICE,))] * 703)
        assert count(erase(deployment, ALICE)) == 703
        assert isinstance(deployment.audit, MemoryAudit)
        summaries = [one for one in deployment.audit.events if one.action == "erase"]
        assert [one.detail["records"] for one in summaries] == [500, 203]

    def test_tells_what_a_live_upload_url_leaves_to_the_sweep(self, deployment: Deployment, clock: Clock) -> None:
        put(deployment, ALICE, upload_until=START + 300)
        put(deployment, ALICE)
        left = sorted(one.erased.sweep_from for one in erase(deployment, ALICE) if one.erased)
        assert left == [0, START + 300 + UPLOAD_MARGIN]
        assert deployment.objects.scan() == []
        assert count(erase(deployment, ALICE)) == 0, "what is being erased is not erased again"
        clock.seconds = START + 300 + UPLOAD_MARGIN
        for record in list(deployment.tokenizer.eraser.due(int(clock()))):
            assert deployment.tokenizer.eraser.sweep(record).done

    def test_a_damaged_record_is_told_of_and_holds_up_nothing(self, deployment: Deployment) -> None:
        damaged, good = put(deployment, ALICE), put(deployment, ALICE)
        presented = deployment.tokenizer.lookup.present("default", tokens.parse(damaged))
        record = deployment.records.get([presented.keys.record_name])[0]
        assert record is not None
        body = record.body[:-1] + bytes([record.body[-1] ^ 1])
        assert deployment.records.replace(record, type(record)(record.name, body))
        outcomes = erase(deployment, ALICE)
        assert sorted(one.problem.name for one in outcomes if one.problem) == ["integrityError"]
        assert not is_readable(deployment, good)
        assert isinstance(deployment.audit, MemoryAudit)
        fingerprint = deployment.keyring.record_fingerprints(record.name)[0]
        told = [one.outcome for one in deployment.audit.events if one.record == fingerprint]
        assert told == ["allowed", "integrityError"]

    def test_is_written_to_the_audit_log_first(self, deployment: Deployment) -> None:
        token = put(deployment, ALICE)
        record = deployment.tokenizer.lookup.present("default", tokens.parse(token)).keys.record_name
        with pytest.raises(StoreUnavailable):
            erase(another_process(deployment, audit=FullAudit()), ALICE)
        assert is_readable(deployment, token)
        erase(deployment, ALICE)
        assert isinstance(deployment.audit, MemoryAudit)
        each, summary = deployment.audit.events[-2:]
        assert (each.action, each.record) == ("record.erase", deployment.keyring.record_fingerprints(record)[0])
        fingerprint = label_fingerprint(deployment.keyring, "default", ALICE)
        assert summary.detail == {"by": "label", "label": fingerprint, "records": 1}
        assert ALICE not in str(deployment.audit.events)
        label_hash = deployment.keyring.label_hash("default", ALICE, 1)
        assert fingerprint != label_hash.hex(), "log and record store cannot be joined by it"


class TestByAge:
    def test_erases_what_is_older_and_nothing_else(self, deployment: Deployment, clock: Clock) -> None:
        old = [put(deployment), put(deployment, ALICE)]
        foreign = put(deployment, tenant="second")
        clock.advance(DAY)
        young = put(deployment)
        eraser = bulk(deployment)
        assert eraser.count_older("default", START) == 0
        assert eraser.count_older("default", START + 1) == 2
        assert count(list(eraser.older(CALL, START + 1))) == 2
        assert [is_readable(deployment, token) for token in old] == [False] * 2
        assert is_readable(deployment, young)
        assert is_readable(deployment, foreign, "second")
        assert isinstance(deployment.audit, MemoryAudit)
        (summary,) = [one for one in deployment.audit.events if one.action == "erase"]
        assert summary.detail == {"by": "age", "createdBefore": START + 1, "records": 2}


class TestForApplications:
    def test_a_label_at_a_time_in_portions(self, deployment: Deployment) -> None:
        for _ in range(5):
            put(deployment, ALICE)
        tokenizer = deployment.tokenizer
        portions = [tokenizer.erase_label(application(), ALICE, limit=2) for _ in range(4)]
        assert [(len(one.erased), one.complete) for one in portions] == [(2, False), (2, False), (1, True), (0, True)]
        assert deployment.objects.scan() == []

    def test_the_library_erases_all_and_gives_receipts(self, deployment: Deployment) -> None:
        with Vault(deployment) as vault:
            tokens_ = [vault.put(b"value", labels=[ALICE]) for _ in range(3)]
            erasure = vault.delete_label(ALICE)
            assert (erasure.erased, len(erasure.receipts)) == (3, 1)
            told = receipts.verify(erasure.receipts[0], deployment.keyring).told
            assert (told["counts"]["erased"], told["complete"]) == (3, True)
            assert [is_readable(deployment, token) for token in tokens_] == [False] * 3

    def test_is_not_for_users(self, deployment: Deployment) -> None:
        token = put(deployment, ALICE)
        with pytest.raises(RoleForbidden):
            deployment.tokenizer.erase_label(user("one"), ALICE)
        assert is_readable(deployment, token)

    def test_of_its_own_tenant(self, deployment: Deployment) -> None:
        token = put(deployment, ALICE)
        portion = deployment.tokenizer.erase_label(application(tenant="second"), ALICE)
        assert (portion.erased, portion.complete) == ((), True)
        assert is_readable(deployment, token)

    @pytest.mark.parametrize("label", ["", "x" * 257, "\ud800"])
    def test_refuses_what_is_no_label(self, deployment: Deployment, label: str) -> None:
        with pytest.raises(InvalidRequest):
            deployment.tokenizer.erase_label(application(), label)

    def test_is_limited(self, clock: Clock) -> None:
        deployment = open_in_memory(clock, {"limits": {"application_erasures": 2}})
        for _ in range(2):
            deployment.tokenizer.erase_label(application(), ALICE)
        with pytest.raises(RateLimited, match=r"limits\.application_erasures"):
            deployment.tokenizer.erase_label(application(), BOB)
        assert isinstance(deployment.audit, MemoryAudit)
        assert (deployment.audit.events[-1].action, deployment.audit.events[-1].outcome) == ("erase", "rateLimited")
        deployment.tokenizer.erase_label(CALL, ALICE)
        clock.advance(60)
        deployment.tokenizer.erase_label(application(), ALICE)

    def test_what_stays_is_told(self, deployment: Deployment) -> None:
        token = put(deployment, ALICE)
        plan = FaultPlan(Fault("replace"))
        broken = another_process(deployment, records=FailingRecords(deployment.records, plan))
        with pytest.raises(StoreUnavailable):
            broken.tokenizer.erase_label(application(), ALICE)
        assert is_readable(deployment, token)


@pytest.mark.parametrize("store", ["records", "objects", "crash"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", [1, 2, 3, 4, 6, 9, 12])
def test_what_is_interrupted_anywhere_is_finished_by_beginning_again(
    nth: int, when: Literal["before", "after"], store: str
) -> None:
    """Three tokens of one label: a store is away at the nth call, or the process dies there."""
    clock = Clock()
    deployment = open_in_memory(clock)
    hers = [put(deployment, ALICE, upload_until=START + 300) for _ in range(2)] + [put(deployment, ALICE)]
    other = put(deployment, BOB)
    plan = FaultPlan(Fault("any", nth, when, crash)) if store == "crash" else FaultPlan(Fault("any", nth, when))
    records, objects = deployment.records, deployment.objects
    broken = another_process(
        deployment,
        records=records if store == "objects" else FailingRecords(records, plan),
        objects=objects if store == "records" else FailingTransfer(objects, plan),
    )
    try:
        erase(broken, ALICE)
    except (Crash, StoreUnavailable):
        assert len(plan.calls) == nth
    assert count(erase(deployment, ALICE)) <= 3
    assert [is_readable(deployment, token) for token in hers] == [False] * 3
    for _ in range(2):
        clock.advance(DAY)
        for record in list(deployment.tokenizer.eraser.due(int(clock()))):
            assert deployment.tokenizer.eraser.sweep(record).done
    assert len(deployment.objects.scan()) == 1
    assert is_readable(deployment, other)
    states = [one.header.state for one in deployment.records.scan() if one.header.record_type == 1]
    assert states == [RecordState.STORED]
