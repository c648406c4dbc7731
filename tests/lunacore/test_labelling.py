"""Labels for tokens that were minted without: whose they are is said later, and erasure by label finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lunacore import receipts, tokens
from lunacore.bulk_erasure import label_fingerprint
from lunacore.errors import AuditUnavailable, Conflict, InvalidRequest, LunaCoreError, RoleForbidden, StoreUnavailable
from lunacore.identity import Call, operator
from lunacore.keyring import KeyPurpose
from lunacore.outcomes import only
from lunacore.records import MAX_LABELS
from lunacore.testing.deployment import START, Clock, another_process, application, open_in_memory, stage_key, user
from lunacore.testing.faults import FailingRecords, Fault, FaultPlan, FullAudit
from lunacore.tickets import NewValue
from lunacore_backends.auditsinks.memory import MemoryAudit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore.audit import AuditEvent
    from lunacore.deployment import Deployment
    from lunacore.lookup import Found
    from lunacore.tokens import Token

CALL = Call(operator("default"))
ALICE, BOB = "alice@example.com", "bob@example.com"
UNKNOWN = "lunasec-00000000-0000-4000-8000-000000000000"


def mint(deployment: Deployment, *labels: str, ttl: int | None = None) -> Token:
    return only(deployment.tokenizer.issue(CALL, [NewValue(labels=labels, ttl=ttl)])).token


def label(deployment: Deployment, token: str, *labels: str) -> None:
    only(deployment.tokenizer.label(CALL, [token], labels))


def found(deployment: Deployment, token: str) -> Found:
    lookup = deployment.tokenizer.lookup
    return only(lookup.find([lookup.present("default", tokens.parse(token))]))


def labels_of(deployment: Deployment, token: str) -> Sequence[str]:
    """Those within the inner layer, once it is seen that the header shows the same."""
    one = found(deployment, token)
    labels = one.contents().labels
    version = one.token.lookup_version
    hashes = {deployment.keyring.label_hash("default", text, version) for text in labels}
    assert one.opened.header.labels == tuple(sorted(hashes))
    return labels


def events(deployment: Deployment) -> list[AuditEvent]:
    assert isinstance(deployment.audit, MemoryAudit)
    return [one for one in deployment.audit.events if one.action == "token.label"]


def racing(deployment: Deployment, call: str, nth: int, action: Callable[[], None]) -> Deployment:
    plan = FaultPlan(Fault(call, nth=nth, action=action))
    return another_process(deployment, records=FailingRecords(deployment.records, plan))


class TestLabelling:
    def test_adds_to_what_there_is(self, deployment: Deployment) -> None:
        token = mint(deployment, BOB)
        before = found(deployment, token)
        label(deployment, token, ALICE, BOB, ALICE, "order:3")
        assert labels_of(deployment, token) == (BOB, ALICE, "order:3")
        after = found(deployment, token)
        assert after.opened.header.revision == before.opened.header.revision + 1
        assert (after.state, after.opened.header.due) == (before.state, before.opened.header.due)
        old, new = before.contents(), after.contents()
        assert (new.store_key, new.value_key, new.metadata) == (old.store_key, old.value_key, old.metadata)

    def test_changes_nothing_where_there_is_nothing_to_add(self, deployment: Deployment) -> None:
        token = mint(deployment, ALICE, BOB)
        before = found(deployment, token).opened.record
        for labels in [(ALICE,), (BOB, ALICE), ()]:
            label(deployment, token, *labels)
        assert found(deployment, token).opened.record == before

    def test_is_found_by_erasure(self, deployment: Deployment, clock: Clock) -> None:
        hers, his = mint(deployment), mint(deployment)
        label(deployment, hers, ALICE)
        label(deployment, his, BOB)
        stage_key(deployment, KeyPurpose.LOOKUP)
        clock.advance(400)
        assert labels_of(deployment, hers) == (ALICE,)  # moved to the new name
        erased = deployment.tokenizer.erase_label(application(), ALICE)
        assert receipts.verify(erased.receipt, deployment.keyring).told["counts"]["erased"] == 1
        outcomes = deployment.tokenizer.access(CALL, [hers, his])
        assert [isinstance(one, LunaCoreError) for one in outcomes] == [True, False]

    def test_moves_a_record_of_an_older_lookup_secret_first(self, deployment: Deployment, clock: Clock) -> None:
        token = mint(deployment, BOB)
        stage_key(deployment, KeyPurpose.LOOKUP)
        clock.advance(400)
        label(deployment, token, ALICE)
        assert labels_of(deployment, token) == (BOB, ALICE)
        assert found(deployment, token).token.lookup_version == 2

    def test_one_refusal_leaves_the_others_whole(self, deployment: Deployment) -> None:
        token, gone = mint(deployment), mint(deployment, ttl=5)
        deployment_later = another_process(deployment, clock=lambda: START + 5)
        outcomes = deployment_later.tokenizer.label(application(), [UNKNOWN, token, "no token", gone], [ALICE])
        names = [getattr(one, "name", None) for one in outcomes]
        assert names == ["tokenNotFound", None, "invalidRequest", "tokenNotFound"]
        assert labels_of(deployment, token) == (ALICE,)

    def test_of_another_tenant_is_refused(self, deployment: Deployment) -> None:
        token = mint(deployment)
        (outcome,) = deployment.tokenizer.label(application(tenant="second"), [token], [ALICE])
        assert getattr(outcome, "name", None) == "tokenNotFound"
        assert labels_of(deployment, token) == ()

    def test_is_not_for_users(self, deployment: Deployment) -> None:
        token = mint(deployment)
        with pytest.raises(RoleForbidden):
            deployment.tokenizer.label(user("one"), [token], [ALICE])
        assert labels_of(deployment, token) == ()


class TestWhatIsNoLabel:
    @pytest.mark.parametrize("labels", [[""], ["x" * 257], ["ä" * 129], ["\ud800"], [ALICE, ""], ["x"] * 256])
    def test_is_refused_before_anything_is_done(self, deployment: Deployment, labels: list[str]) -> None:
        token = mint(deployment)
        with pytest.raises(InvalidRequest, match="label"):
            label(deployment, token, *labels)
        assert labels_of(deployment, token) == ()
        assert events(deployment) == []

    def test_so_are_more_than_a_record_holds(self, deployment: Deployment) -> None:
        token = mint(deployment, *map(str, range(MAX_LABELS - 1)))
        label(deployment, token, ALICE)
        with pytest.raises(InvalidRequest, match="255"):
            label(deployment, token, BOB)
        label(deployment, token, ALICE, "0")
        assert len(labels_of(deployment, token)) == MAX_LABELS


class TestAudit:
    def test_says_it_before_and_after(self, deployment: Deployment) -> None:
        token = mint(deployment)
        label(deployment, token, ALICE, BOB)
        before, after = events(deployment)
        fingerprints = [label_fingerprint(deployment.keyring, "default", one) for one in (ALICE, BOB)]
        assert (before.outcome, before.detail) == ("allowed", {"labels": " ".join(fingerprints)})
        assert before.token == after.token == found(deployment, token).token.fingerprint
        record = found(deployment, token).opened.record
        assert (after.detail, after.revision) == ({"done": True}, record.header.revision)
        assert after.record == deployment.keyring.record_fingerprints(record.name)[0]

    def test_a_log_that_is_down_lets_nothing_happen(self, deployment: Deployment) -> None:
        token = mint(deployment)
        with pytest.raises(AuditUnavailable):
            label(another_process(deployment, audit=FullAudit()), token, ALICE)
        assert labels_of(deployment, token) == ()


class TestRaces:
    def test_others_that_label_at_the_same_time(self, deployment: Deployment) -> None:
        token = mint(deployment)
        label(racing(deployment, "replace", 1, lambda: label(deployment, token, BOB)), token, ALICE)
        assert labels_of(deployment, token) == (BOB, ALICE)

    @pytest.mark.parametrize("nth", [1, 2])
    def test_an_erasure_meanwhile_wins(self, deployment: Deployment, nth: int) -> None:
        token = mint(deployment)

        def erase() -> None:
            assert deployment.tokenizer.delete(CALL, [token]) == [None]

        call = "get" if nth == 2 else "replace"
        process = racing(deployment, call, 1, erase)
        (outcome,) = process.tokenizer.label(CALL, [token], [ALICE])
        assert getattr(outcome, "name", None) == "tokenNotFound"
        assert deployment.tokenizer.erase_label(application(), ALICE).erased == ()

    def test_a_token_that_never_rests_is_given_up(self, deployment: Deployment) -> None:
        token = mint(deployment)
        numbers = map(str, range(9))
        again = [Fault("replace", nth, action=lambda: label(deployment, token, next(numbers))) for nth in range(1, 9)]
        process = another_process(deployment, records=FailingRecords(deployment.records, FaultPlan(*again)))
        with pytest.raises(Conflict, match="try again"):
            label(process, token, ALICE)
        assert ALICE not in labels_of(deployment, token)

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_store_that_is_away_leaves_all_or_nothing(self, clock: Clock, when: str) -> None:
        deployment = open_in_memory(clock)
        token = mint(deployment, BOB)
        plan = FaultPlan(Fault("replace", 1, when))  # type: ignore[arg-type]
        process = another_process(deployment, records=FailingRecords(deployment.records, plan))
        with pytest.raises(StoreUnavailable):
            label(process, token, ALICE)
        assert labels_of(deployment, token) == ((BOB,) if when == "before" else (BOB, ALICE))
        label(process, token, ALICE)
        assert labels_of(deployment, token) == (BOB, ALICE)
