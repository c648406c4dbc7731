"""The tokenizer case by case: lifetimes of tickets, batches, roles, and what the audit log says."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from lunacore import segments
from lunacore.audit import Action
from lunacore.errors import (
    AuditUnavailable,
    Conflict,
    GrantMissing,
    InvalidRequest,
    InvalidToken,
    LunaCoreError,
    RoleForbidden,
    StoreUnavailable,
    TooLarge,
    Unauthenticated,
)
from lunacore.identity import Call, Role, Session, operator
from lunacore.outcomes import only
from lunacore.records import ValueFormat
from lunacore.testing.deployment import ISSUER, START, Clock, another_process, application, user
from lunacore.testing.faults import FailingGrants, FailingObjects, FailingRecords, Fault, FaultPlan, FullAudit
from lunacore.tickets import NewValue, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore.deployment import Deployment
    from lunacore.tokenizer import Tokenizer
    from lunacore.tokens import Token

SESSION = Session("default", ISSUER, "one")
UNKNOWN = "lunasec-00000000-0000-4000-8000-000000000000"


@pytest.fixture
def tokenizer(deployment: Deployment) -> Tokenizer:
    return deployment.tokenizer


def tokenize(tokenizer: Tokenizer, call: Call | None = None, **given: Any) -> Ticket:
    return only(tokenizer.tokenize(call or user("one"), [NewValue(**given)]))


def events(deployment: Deployment) -> list[tuple[str, str]]:
    return [(one.action.value, one.outcome) for one in deployment.audit.events]  # type: ignore[attr-defined]


class TestLifetimes:
    def test_a_download_ends_with_the_grant(self, tokenizer: Tokenizer, clock: Clock) -> None:
        token = tokenize(tokenizer).token
        clock.advance(900 - 50)
        assert only(tokenizer.detokenize(user("one"), [token])).request.expires == START + 900
        clock.advance(50)
        assert isinstance(tokenizer.detokenize(user("one"), [token])[0], GrantMissing)

    def test_a_download_ends_with_the_session_though_the_grant_is_longer(self, tokenizer: Tokenizer) -> None:
        caller = user("one", expires=START + 50)
        token = tokenize(tokenizer).token
        assert tokenizer.grant(application(), SESSION, [token], ttl=3600) == [None]
        assert only(tokenizer.detokenize(caller, [token])).request.expires == START + 50

    def test_an_upload_and_its_grants_end_with_the_session(self, tokenizer: Tokenizer) -> None:
        caller = user("one", expires=START + 50)
        ticket = tokenize(tokenizer, caller)
        assert ticket.request.expires == START + 50
        assert only(tokenizer.detokenize(user("one"), [ticket.token])).request.expires == START + 50

    def test_downloads_and_uploads_live_no_longer_than_configured(self, tokenizer: Tokenizer) -> None:
        ticket = tokenize(tokenizer)
        assert ticket.request.expires == START + 300
        assert only(tokenizer.detokenize(user("one"), [ticket.token])).request.expires == START + 120

    def test_a_grant_outlives_the_credential_of_the_application_that_gave_it(
        self, tokenizer: Tokenizer, clock: Clock
    ) -> None:
        """An application's own JWT lives for a minute or so; what it grants is another matter."""
        token = tokenize(tokenizer).token
        back_end = application(expires=START + 60)
        assert tokenizer.grant(back_end, SESSION, [token], ttl=3600) == [None]
        clock.advance(3599)
        assert isinstance(tokenizer.detokenize(user("one"), [token])[0], Ticket)

    @pytest.mark.parametrize("ttl", [0, -1, 86_401])
    def test_a_grant_past_the_maximum_is_refused(self, tokenizer: Tokenizer, ttl: int) -> None:
        token = tokenize(tokenizer).token
        with pytest.raises(InvalidRequest) as refusal:
            tokenizer.grant(application(), SESSION, [token], ttl=ttl)
        assert refusal.value.field == "customDuration"


CALLS: list[tuple[str, Callable[[Tokenizer, Call], object]]] = [
    ("tokenize", lambda tokenizer, call: tokenizer.tokenize(call, [NewValue()])),
    ("issue", lambda tokenizer, call: tokenizer.issue(call, [NewValue()])),
    ("detokenize", lambda tokenizer, call: tokenizer.detokenize(call, [UNKNOWN])),
    ("access", lambda tokenizer, call: tokenizer.access(call, [UNKNOWN])),
    ("grant", lambda tokenizer, call: tokenizer.grant(call, SESSION, [UNKNOWN])),
    ("verify", lambda tokenizer, call: tokenizer.verify(call, SESSION, [UNKNOWN])),
    ("confirm", lambda tokenizer, call: tokenizer.confirm(call, [UNKNOWN])),
    ("revoke", lambda tokenizer, call: tokenizer.revoke(call, SESSION, [UNKNOWN])),
    ("revoke-all", lambda tokenizer, call: tokenizer.revoke(call, SESSION)),
    ("end_session", lambda tokenizer, call: tokenizer.end_session(call, SESSION)),
    ("metadata", lambda tokenizer, call: tokenizer.metadata(call, [UNKNOWN])),
    ("delete", lambda tokenizer, call: tokenizer.delete(call, [UNKNOWN])),
]


@pytest.mark.parametrize(("name", "make"), CALLS, ids=[name for name, _ in CALLS])
class TestEveryCall:
    def test_refuses_a_developer_and_writes_it_down(
        self, deployment: Deployment, name: str, make: Callable[[Tokenizer, Call], object]
    ) -> None:
        developer = Call(evolve(application().identity, role=Role.DEVELOPER, may_read=True))
        with pytest.raises(RoleForbidden):
            make(deployment.tokenizer, developer)
        assert [outcome for _, outcome in events(deployment)] == ["roleForbidden"]

    def test_refuses_an_expired_credential(
        self, tokenizer: Tokenizer, clock: Clock, name: str, make: Callable[[Tokenizer, Call], object]
    ) -> None:
        call = Call(evolve(operator("default"), expires=START + 10))
        clock.advance(9.9)
        make(tokenizer, call)
        clock.advance(0.1)
        with pytest.raises(Unauthenticated):
            make(tokenizer, call)

    def test_releases_nothing_without_the_audit_log(
        self, deployment: Deployment, name: str, make: Callable[[Tokenizer, Call], object]
    ) -> None:
        if name == "confirm":  # it releases nothing, and is a part of putting, which was written down
            return
        with pytest.raises(AuditUnavailable):
            make(another_process(deployment, audit=FullAudit()).tokenizer, Call(operator("default")))


class TestTakingAway:
    """What takes permissions away is done even if the log cannot be written; repeated, it is written down."""

    @pytest.fixture
    def without_log(self, deployment: Deployment) -> Tokenizer:
        return another_process(deployment, audit=FullAudit()).tokenizer

    @pytest.mark.parametrize("of_all", [False, True], ids=["one", "all"])
    def test_a_revocation(self, deployment: Deployment, without_log: Tokenizer, *, of_all: bool) -> None:
        tokenizer, reader = deployment.tokenizer, user("one")
        session = reader.identity.session
        assert session is not None
        token = only(tokenizer.tokenize(reader, [NewValue()])).token
        texts = None if of_all else [token]
        with pytest.raises(AuditUnavailable):
            without_log.revoke(application(), session, texts)
        assert isinstance(tokenizer.detokenize(reader, [token])[0], GrantMissing)
        tokenizer.revoke(application(), session, texts)
        assert events(deployment)[-1] == ("grant.revoke", "allowed")

    def test_the_end_of_a_session(self, deployment: Deployment, without_log: Tokenizer) -> None:
        session = user("one").identity.session
        assert session is not None
        with pytest.raises(AuditUnavailable):
            without_log.end_session(application(), session)
        assert deployment.tokenizer.grants.has_ended(session, now=START)
        deployment.tokenizer.end_session(application(), session)
        assert events(deployment)[-1] == ("session.end", "allowed")


class TestBatches:
    def test_one_refusal_leaves_the_others_whole(self, deployment: Deployment) -> None:
        tokenizer = deployment.tokenizer
        outcomes = tokenizer.tokenize(
            user("one"), [NewValue(), NewValue(metadata={}), NewValue(size=-1), NewValue(size=10**12), NewValue()]
        )
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds == [Ticket, InvalidRequest, InvalidRequest, TooLarge, Ticket]
        assert [outcome for _, outcome in events(deployment)] == [
            "allowed", "invalidRequest", "invalidRequest", "tooLarge", "allowed",
        ]  # fmt: skip
        good: list[Token] = [only([outcomes[at]]).token for at in (0, 4)]
        answers = tokenizer.detokenize(user("one"), [good[0], "x", UNKNOWN, good[1]])
        assert [type(answer) for answer in answers] == [Ticket, InvalidToken, GrantMissing, Ticket]

    def test_an_empty_batch_is_an_empty_answer(self, tokenizer: Tokenizer) -> None:
        back_end = application(may_read=True)
        assert tokenizer.tokenize(user("one"), []) == []
        assert tokenizer.detokenize(back_end, []) == []
        assert tokenizer.grant(back_end, SESSION, []) == []
        assert tokenizer.verify(back_end, SESSION, []) == []
        assert tokenizer.delete(back_end, []) == []

    @pytest.mark.parametrize("call", ["create", "put"])
    def test_a_store_that_fails_fails_the_whole_and_hands_out_nothing(self, deployment: Deployment, call: str) -> None:
        plan = FaultPlan(Fault(call))
        process = another_process(
            deployment, records=FailingRecords(deployment.records, plan), grants=FailingGrants(deployment.grants, plan)
        )
        with pytest.raises(StoreUnavailable):
            process.tokenizer.tokenize(user("one"), [NewValue()] * 3)


class TestUploads:
    @pytest.mark.parametrize("size", [0, 19, 65_537])
    def test_a_size_that_is_told_is_signed(self, tokenizer: Tokenizer, size: int) -> None:
        raw = tokenize(tokenizer, size=size, value_format=ValueFormat.RAW)
        sealed = tokenize(tokenizer, size=size)
        assert raw.request.headers["content-length"] == str(size)
        assert sealed.request.headers["content-length"] == str(segments.sealed_size(size))
        assert (raw.value_key, len(sealed.value_key or b"")) == (None, 32)

    def test_raw_values_need_a_store_that_encrypts(self, deployment: Deployment) -> None:
        class Plain(FailingObjects):
            @property
            def takes_raw(self) -> bool:
                return False

        tokenizer = another_process(deployment, objects=Plain(deployment.objects, FaultPlan())).tokenizer
        refused, taken = tokenizer.tokenize(user("one"), [NewValue(value_format=ValueFormat.RAW), NewValue()])
        assert isinstance(refused, InvalidRequest)
        assert refused.field == "valueFormat"
        assert isinstance(taken, Ticket)

    def test_no_two_tokens_share_a_key_or_a_name(self, tokenizer: Tokenizer) -> None:
        accesses = [only([one]) for one in tokenizer.issue(Call(operator("default")), [NewValue()] * 50)]
        for name in ("token", "object_name", "store_key", "value_key"):
            assert len({getattr(access, name) for access in accesses}) == 50


class TestSessions:
    def test_a_user_tokenizes_for_its_own_session_only(self, tokenizer: Tokenizer) -> None:
        other = Session("default", ISSUER, "other")
        with pytest.raises(InvalidRequest) as refusal:
            tokenizer.tokenize(user("one"), [NewValue()], session=other)
        assert refusal.value.field == "sessionId"
        assert tokenizer.tokenize(user("one"), [NewValue()], session=SESSION)

    def test_a_user_without_a_session_gets_nothing(self, tokenizer: Tokenizer) -> None:
        nobody = Call(evolve(user("one").identity, session=None))
        with pytest.raises(Unauthenticated):
            tokenizer.tokenize(nobody, [NewValue()])
        with pytest.raises(Unauthenticated):
            tokenizer.detokenize(nobody, [UNKNOWN])

    def test_a_user_ends_its_own_session_only(self, tokenizer: Tokenizer) -> None:
        with pytest.raises(RoleForbidden):
            tokenizer.end_session(user("other"), SESSION)
        tokenizer.end_session(user("one"), SESSION)
        with pytest.raises(Unauthenticated):
            tokenizer.tokenize(user("one"), [NewValue()])
        with pytest.raises(Conflict):
            tokenizer.tokenize(application(), [NewValue()], session=SESSION)

    def test_a_user_cannot_tell_a_deleted_token_from_one_that_is_not_granted(self, tokenizer: Tokenizer) -> None:
        token = tokenize(tokenizer).token
        tokenizer.delete(application(), [token])
        for outcomes in (
            tokenizer.detokenize(user("one"), [token, UNKNOWN]),
            tokenizer.metadata(user("one"), [token, UNKNOWN]),
        ):
            assert [type(outcome) for outcome in outcomes] == [GrantMissing, GrantMissing]
            assert str(outcomes[0]) == str(outcomes[1])

    def test_a_foreign_tenants_session_is_refused(self, tokenizer: Tokenizer) -> None:
        token = tokenize(tokenizer).token
        stranger = application(tenant="other")
        for call in (
            lambda: tokenizer.grant(stranger, SESSION, [token]),
            lambda: tokenizer.verify(stranger, SESSION, [token]),
            lambda: tokenizer.revoke(stranger, SESSION),
            lambda: tokenizer.end_session(stranger, SESSION),
            lambda: tokenizer.tokenize(stranger, [NewValue()], session=SESSION),
        ):
            with pytest.raises(RoleForbidden, match="another tenant"):
                call()


class TestVerify:
    def test_confirms_once_and_pins_what_was_found(self, deployment: Deployment) -> None:
        ticket = tokenize(deployment.tokenizer)
        access = only(deployment.tokenizer.access(Call(operator("default")), [ticket.token]))
        assert deployment.tokenizer.verify(application(), SESSION, [ticket.token]) == [False]
        stat = deployment.objects.write(access.object_name, access.store_key, io.BytesIO(b"value"))  # type: ignore[attr-defined]
        plan = FaultPlan()
        process = another_process(deployment, objects=FailingObjects(deployment.objects, plan))
        for _ in range(3):
            assert process.tokenizer.verify(application(), SESSION, [ticket.token, ticket.token]) == [True, True]
        assert plan.calls.count("stat") <= 2
        found = only(deployment.tokenizer.access(Call(operator("default")), [ticket.token]))
        assert (found.size, found.etag) == (stat.size, stat.etag)
        download = only(deployment.tokenizer.detokenize(user("one"), [ticket.token]))
        assert download.request.headers["if-match"] == f'"{stat.etag}"'

    def test_refusals_are_written_down_as_missing_grants(self, deployment: Deployment) -> None:
        token = tokenize(deployment.tokenizer).token
        deployment.tokenizer.verify(application(), Session("default", ISSUER, "thief"), [token])
        assert events(deployment)[-1] == (Action.GRANT_VERIFY.value, "grantMissing")


def test_errors_have_stable_names() -> None:
    names = {kind.__name__: kind.name for kind in _all_errors(LunaCoreError)}
    assert names["GrantMissing"] == "grantMissing"
    assert all(name[0].islower() and name.isalnum() for name in names.values())


def _all_errors(kind: type[LunaCoreError]) -> list[type[LunaCoreError]]:
    return [kind, *(found for below in kind.__subclasses__() for found in _all_errors(below))]
