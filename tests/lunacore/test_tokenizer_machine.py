"""The tokenizer against a model of who may do what: two tenants, several sessions and processes, time, rotating keys, re-keying.

Whatever happened before, after every step each session can read exactly the tokens that were granted to it and are alive, and
all others look the same to it; and every value that was put away and is alive is there.
"""

from __future__ import annotations

import io
from typing import Final

import pytest
from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from lunacore.errors import (
    Conflict,
    GrantMissing,
    IntegrityError,
    InvalidRequest,
    InvalidToken,
    LunaCoreError,
    RoleForbidden,
    TokenNotFound,
    Unauthenticated,
)
from lunacore.grants import GrantType
from lunacore.identity import Call, Session, operator
from lunacore.keyring import KeyPurpose
from lunacore.outcomes import attempt, only
from lunacore.records import ValueFormat
from lunacore.stores import DirectTransfer
from lunacore.testing.deployment import START, Clock, another_process, application, open_in_memory, stage_key, user
from lunacore.tickets import NewValue, Ticket
from lunacore.tokens import Token

DEFAULT_TTL, MAX_TTL, MAX_SESSION = 900, 3_600, 7_200
UNVERIFIED = 86_400
SETTINGS: Final = {
    "grants": {"default_ttl": DEFAULT_TTL, "max_ttl": MAX_TTL},
    "sessions": {"max_ttl": MAX_SESSION},
    "sweep": {"unverified_after": UNVERIFIED},
    "limits": {"session_reads": 0, "application_reads": 0, "application_erasures": 0},
}
CALLERS: Final = [
    user("one"),
    user("two", expires=START + 5_000),
    user("one", issuer="https://other.example.com"),
    user("one", tenant="second", issuer="https://second.example.com"),
    user("", tenant="second", issuer="https://second.example.com", expires=START + 400),
]
APPLICATIONS: Final = [
    application(),
    application(may_read=True),
    application(issuer="https://other.example.com", expires=START + 10**9),
    application(tenant="second", issuer="https://second.example.com"),
    application(tenant="second", issuer="https://second.example.com", may_read=True),
]
UNKNOWN: Final = Token("lunasec-00000000-0000-4000-8000-000000000000")
TTLS: Final = st.sampled_from([1, 60, DEFAULT_TTL, MAX_TTL, MAX_TTL + 1, 0])

LABELS: Final = ["alice", "bob"]

callers = st.sampled_from(CALLERS)
label_lists = st.sampled_from([(), ("alice",), ("alice", "bob")])
applications = st.sampled_from(APPLICATIONS)
processes = st.integers(0, 1)


def session_of(call: Call) -> Session:
    assert call.identity.session is not None
    return call.identity.session


@define
class ModelToken:
    tenant: str
    created: int
    expires: int | None
    value_format: ValueFormat = ValueFormat.SEALED_V1
    labels: tuple[str, ...] = ()
    uploaded: bool = False
    confirmed: bool = False
    gone: bool = False


@define
class Model:
    """What must hold, in the plainest form."""

    now: int = START
    tokens: dict[str, ModelToken] = field(factory=dict)
    grants: dict[tuple[Session, GrantType, str], int] = field(factory=dict)
    ended: dict[Session, int] = field(factory=dict)

    def has_ended(self, session: Session) -> bool:
        return self.ended.get(session, 0) > self.now

    def is_over(self, call: Call) -> bool:
        return call.identity.expires is not None and call.identity.expires <= self.now

    def exists(self, token: str, tenant: str) -> bool:
        known = self.tokens.get(token)
        if known is None or known.gone or known.tenant != tenant:
            return False
        return known.expires is None or known.expires > self.now

    def granted_until(self, session: Session, kind: GrantType, token: str) -> int | None:
        until = self.grants.get((session, kind, token), 0)
        return until if until > self.now and not self.has_ended(session) else None

    def allow(self, session: Session, kinds: list[GrantType], token: str, until: int) -> None:
        for kind in kinds:
            self.grants[session, kind, token] = until

    def forget(self, session: Session, tokens: list[str] | None = None) -> None:
        self.grants = {
            key: until
            for key, until in self.grants.items()
            if key[0] != session or (tokens is not None and key[2] not in tokens)
        }

    def readable_until(self, call: Call, token: str) -> int | None:
        """The Unix second until which a user may read the token, None if it may not."""
        until = self.granted_until(session_of(call), GrantType.READ, token)
        if until is None or not self.exists(token, call.identity.tenant):
            return None
        bounds = (until, call.identity.expires, self.tokens[token].expires)
        return min(bound for bound in bounds if bound is not None)


class TokenizerMachine(RuleBasedStateMachine):
    tokens = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        first = open_in_memory(self.clock, SETTINGS)
        self.processes = [first, another_process(first)]
        self.model = Model()

    @rule(
        target=tokens,
        process=processes,
        call=callers,
        value_format=st.sampled_from(ValueFormat),
        ttl=st.sampled_from([None, None, 100, 1_000]),
        labels=label_lists,
    )
    def tokenize(
        self, process: int, call: Call, value_format: ValueFormat, ttl: int | None, labels: tuple[str, ...]
    ) -> Token:
        value = NewValue(value_format=value_format, ttl=ttl, labels=labels)
        outcome = attempt(self.processes[process].tokenizer.tokenize, call, [value])
        if self.model.is_over(call) or self.model.has_ended(session_of(call)):
            assert isinstance(outcome, Unauthenticated)
            return UNKNOWN
        assert isinstance(outcome, list)
        ticket = only(outcome)
        until = min(self.model.now + DEFAULT_TTL, call.identity.expires or self.model.now + DEFAULT_TTL)
        self.check_upload(ticket, until)
        return self.minted(ticket, call.identity.tenant, value, session_of(call), until)

    @rule(target=tokens, process=processes, call=applications, named=st.none() | callers)
    def tokenize_by_application(self, process: int, call: Call, named: Call | None) -> Token:
        session = None if named is None else session_of(named)
        outcome = attempt(self.processes[process].tokenizer.tokenize, call, [NewValue()], session=session)
        if session is not None and session.tenant != call.identity.tenant:
            assert isinstance(outcome, RoleForbidden)
            return UNKNOWN
        if session is not None and self.model.has_ended(session):
            assert isinstance(outcome, Conflict)
            return UNKNOWN
        assert isinstance(outcome, list)
        ticket = only(outcome)
        until = self.model.now + DEFAULT_TTL
        self.check_upload(ticket, until)
        return self.minted(ticket, call.identity.tenant, NewValue(), session, until)

    def check_upload(self, ticket: Ticket, until: int) -> None:
        assert ticket.token not in self.model.tokens
        assert ticket.request.method == "PUT"
        assert self.model.now < ticket.request.expires <= min(until, self.model.now + 300)

    def minted(self, ticket: Ticket, tenant: str, value: NewValue, session: Session | None, until: int) -> Token:
        now = self.model.now
        expires = None if value.ttl is None else now + value.ttl
        self.model.tokens[ticket.token] = ModelToken(tenant, now, expires, value.value_format, value.labels)
        if session is not None:
            self.model.allow(session, list(GrantType), ticket.token, until)
        return ticket.token

    @rule(token=tokens)
    def upload(self, token: Token) -> None:
        known = self.model.tokens.get(token)
        if known is None or known.uploaded or not self.model.exists(token, known.tenant):
            return
        deployment = self.processes[0]
        access = only(deployment.tokenizer.access(Call(operator(known.tenant)), [token]))
        assert isinstance(deployment.objects, DirectTransfer)
        deployment.objects.write(access.object_name, access.store_key, io.BytesIO(b"value"))
        known.uploaded = True

    @rule(process=processes, call=applications, named=callers, token=tokens, kind=st.sampled_from(GrantType))
    def verify(self, process: int, call: Call, named: Call, token: Token, kind: GrantType) -> None:
        session = session_of(named)
        outcome = attempt(self.processes[process].tokenizer.verify, call, session, [token], kind=kind)
        if session.tenant != call.identity.tenant:
            assert isinstance(outcome, RoleForbidden)
            return
        assert isinstance(outcome, list)
        valid = self.model.exists(token, call.identity.tenant)
        valid = valid and self.model.granted_until(session, kind, token) is not None
        if valid and kind is GrantType.STORE:
            valid = self.model.tokens[token].uploaded
            self.model.tokens[token].confirmed |= valid
        assert only(outcome) is valid

    @rule(
        process=processes,
        call=applications,
        named=callers,
        chosen=st.lists(tokens, min_size=1, max_size=3),
        ttl=st.none() | TTLS,
        kind=st.sampled_from(GrantType),
    )
    def grant(
        self, process: int, call: Call, named: Call, chosen: list[Token], ttl: int | None, kind: GrantType
    ) -> None:
        session = session_of(named)
        tokenizer = self.processes[process].tokenizer
        outcome = attempt(tokenizer.grant, call, session, [*chosen, "no token"], ttl=ttl, kind=kind)
        exist = [self.model.exists(token, call.identity.tenant) for token in chosen]
        if session.tenant != call.identity.tenant:
            assert isinstance(outcome, RoleForbidden)
        elif ttl is not None and not 0 < ttl <= MAX_TTL:
            assert isinstance(outcome, InvalidRequest)
        elif self.model.has_ended(session):
            assert isinstance(outcome, Conflict)
        else:
            assert isinstance(outcome, list)
            assert isinstance(outcome.pop(), InvalidToken)
            for token, exists, one in zip(chosen, exist, outcome, strict=True):
                assert (one is None) if exists else isinstance(one, TokenNotFound)
                if exists:
                    until = self.model.now + (DEFAULT_TTL if ttl is None else ttl)
                    self.model.allow(session, [kind], token, until)

    @rule(
        process=processes, call=applications, named=callers, chosen=st.none() | st.lists(tokens, min_size=1, max_size=3)
    )
    def revoke(self, process: int, call: Call, named: Call, chosen: list[Token] | None) -> None:
        session = session_of(named)
        outcome = attempt(self.processes[process].tokenizer.revoke, call, session, chosen)
        if session.tenant != call.identity.tenant:
            assert isinstance(outcome, RoleForbidden)
            return
        assert outcome == [None] * len(chosen or [])
        self.model.forget(session, None if chosen is None else [str(token) for token in chosen])

    @rule(process=processes, call=callers | applications, named=callers)
    def end_session(self, process: int, call: Call, named: Call) -> None:
        session = session_of(named)
        outcome = attempt(self.processes[process].tokenizer.end_session, call, session)
        if self.model.is_over(call):
            assert isinstance(outcome, Unauthenticated)
            return
        foreign = session.tenant != call.identity.tenant
        if foreign or call.identity.session not in (None, session):
            assert isinstance(outcome, RoleForbidden)
            return
        assert outcome is None
        self.model.ended[session] = self.model.now + max(MAX_SESSION, MAX_TTL) + 60
        self.model.forget(session)

    @rule(process=processes, call=applications, token=tokens)
    def detokenize_by_application(self, process: int, call: Call, token: Token) -> None:
        outcome = attempt(self.processes[process].tokenizer.detokenize, call, [token])
        if not call.identity.may_read:
            assert isinstance(outcome, RoleForbidden)
            return
        assert isinstance(outcome, list)
        readable = self.model.exists(token, call.identity.tenant)
        assert isinstance(outcome[0], Ticket if readable else TokenNotFound)

    @rule(process=processes, call=callers, token=tokens)
    def metadata(self, process: int, call: Call, token: Token) -> None:
        outcome = attempt(self.processes[process].tokenizer.metadata, call, [token])
        if self.model.is_over(call):
            assert isinstance(outcome, Unauthenticated)
            return
        assert isinstance(outcome, list)
        if self.model.readable_until(call, token) is None:
            assert isinstance(outcome[0], GrantMissing)
        else:
            assert outcome[0] == {"dataType": "string"}

    @rule(process=processes, call=callers, token=tokens)
    def what_users_may_not_do(self, process: int, call: Call, token: Token) -> None:
        tokenizer, session = self.processes[process].tokenizer, session_of(call)
        assert isinstance(attempt(tokenizer.grant, call, session, [token]), RoleForbidden)
        assert isinstance(attempt(tokenizer.verify, call, session, [token]), RoleForbidden)
        assert isinstance(attempt(tokenizer.revoke, call, session, [token]), RoleForbidden)
        assert isinstance(attempt(tokenizer.delete, call, [token]), RoleForbidden)
        assert isinstance(attempt(tokenizer.label, call, [token], LABELS), RoleForbidden)
        assert isinstance(attempt(tokenizer.confirm, call, [token]), RoleForbidden)

    @rule(process=processes, call=applications, token=consumes(tokens))
    def delete(self, process: int, call: Call, token: Token) -> None:
        assert self.processes[process].tokenizer.delete(call, [token]) == [None]
        known = self.model.tokens.get(token)
        if known is not None and known.tenant == call.identity.tenant:
            known.gone = True

    @rule(process=processes, call=applications, token=tokens, labels=label_lists)
    def label(self, process: int, call: Call, token: Token, labels: tuple[str, ...]) -> None:
        (outcome,) = self.processes[process].tokenizer.label(call, [token], labels)
        if not self.model.exists(token, call.identity.tenant):
            assert isinstance(outcome, TokenNotFound)
            return
        assert outcome is None
        known = self.model.tokens[token]
        known.labels = (*known.labels, *labels)

    @rule(process=processes, call=applications, label=st.sampled_from(LABELS))
    def erase_label(self, process: int, call: Call, label: str) -> None:
        tokenizer = self.processes[process].tokenizer
        while not tokenizer.erase_label(call, label, limit=2).complete:
            pass
        for known in self.model.tokens.values():
            known.gone |= known.tenant == call.identity.tenant and label in known.labels

    @rule(process=processes, token=tokens, deep=st.booleans())
    def rekey(self, process: int, token: Token, deep: bool) -> None:
        tenant = self.model.tokens[token].tenant if token in self.model.tokens else "default"
        deployment = self.processes[process]
        call = Call(operator(tenant))
        before = attempt(deployment.tokenizer.access, call, [token])
        outcome = deployment.tokenizer.rekey(call, [token], deep=deep)[0]
        if not self.model.exists(token, tenant):
            assert isinstance(outcome, TokenNotFound)
        elif not self.model.tokens[token].confirmed:
            assert isinstance(outcome, Conflict)
        elif deep and self.model.tokens[token].value_format is ValueFormat.SEALED_V1:
            assert isinstance(outcome, IntegrityError)  # what was uploaded here is not really sealed
        else:
            # Too often in a row it is refused until the sweep has been.
            assert outcome is True or isinstance(outcome, Conflict)
            assert isinstance(before, list)
            after = only(deployment.tokenizer.access(call, [token]))
            assert (after.object_name != only(before).object_name) is (outcome is True)

    @rule(process=processes)
    def sweep(self, process: int) -> None:
        eraser = self.processes[process].tokenizer.eraser
        for record in list(eraser.due(self.model.now)):
            assert not eraser.sweep(record).problem
        for known in self.model.tokens.values():
            known.gone |= not known.confirmed and known.created + UNVERIFIED <= self.model.now

    @rule(
        seconds=st.sampled_from([1, 30, 61, 200, DEFAULT_TTL - 1, DEFAULT_TTL, MAX_TTL, MAX_SESSION + 60, UNVERIFIED])
    )
    def advance(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.model.now += seconds

    @rule(purpose=st.sampled_from([KeyPurpose.LOOKUP, KeyPurpose.ROOT, KeyPurpose.SESSION, KeyPurpose.GATEWAY]))
    def stage(self, purpose: KeyPurpose) -> None:
        stage_key(self.processes[0], purpose)

    @invariant()
    def every_session_reads_what_is_granted_to_it_and_nothing_else(self) -> None:
        texts = [*self.model.tokens, UNKNOWN]
        tokenizer = self.processes[len(texts) % 2].tokenizer
        for call in CALLERS:
            outcome = attempt(tokenizer.detokenize, call, texts)
            if self.model.is_over(call):
                assert isinstance(outcome, Unauthenticated)
                continue
            assert isinstance(outcome, list)
            for text, one in zip(texts, outcome, strict=True):
                self.check_read(one, self.model.readable_until(call, text))

    @invariant()
    def every_value_that_is_alive_is_there(self) -> None:
        deployment = self.processes[len(self.model.tokens) % 2]
        for token, known in self.model.tokens.items():
            if known.uploaded and self.model.exists(token, known.tenant):
                access = only(deployment.tokenizer.access(Call(operator(known.tenant)), [token]))
                stat = deployment.objects.stat(access.object_name, access.store_key)
                assert stat is not None
                assert not known.confirmed or (stat.etag, stat.size) == (access.etag, access.size)

    def teardown(self) -> None:
        """When all that anybody might wait for has passed, no object is left but those of values that are alive."""
        for _ in range(3):
            self.advance(2 * UNVERIFIED)
            self.sweep(0)
        alive = [(token, known) for token, known in self.model.tokens.items() if self.model.exists(token, known.tenant)]
        tokenizer = self.processes[0].tokenizer
        names = {
            only(tokenizer.access(Call(operator(known.tenant)), [token])).object_name
            for token, known in alive
            if known.uploaded
        }
        assert {entry.name for entry in self.processes[0].objects.scan()} == names

    def check_read(self, outcome: Ticket | LunaCoreError, until: int | None) -> None:
        if until is None:
            # To the letter, whatever the reason.
            assert type(outcome) is GrantMissing
            assert outcome.message == GrantMissing().message
            return
        assert isinstance(outcome, Ticket)
        assert outcome.request.method == "GET"
        assert self.model.now < outcome.request.expires <= min(until, self.model.now + 120)
        assert (outcome.value_key is not None) is (outcome.value_format is ValueFormat.SEALED_V1)


def test_any_history() -> None:
    # Each step asks for every session and token, so few and short histories in the default run.
    run_state_machine_as_test(TokenizerMachine, settings=settings(max_examples=20, stateful_step_count=40))


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_any_history_at_length() -> None:
    run_state_machine_as_test(TokenizerMachine, settings=settings(max_examples=60, stateful_step_count=80))
