"""Grants: vectors, lifetimes, revocation, ended sessions, and rotation of the session key with clocks that differ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunacore import grants as grants_module
from lunacore import keys
from lunacore.errors import Conflict, SessionMismatch
from lunacore.grants import GrantLimits, Grants, GrantType
from lunacore.identity import Session
from lunacore.keyring import KeyPurpose
from lunacore.keys import SharedMac
from lunacore.sessions import check_session_hash, session_fingerprint, session_hash
from lunacore.stores import Entry
from lunacore.testing.deployment import START, Clock, another_process, open_in_memory, stage_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunacore.deployment import Deployment
    from lunacore.stores import ExpiringStore

VECTORS = Path(__file__).parent.parent / "vectors"
DOCUMENT = json.loads((VECTORS / "grants.json").read_bytes())
SESSION = Session("default", "issuer", "session")
TOKEN = b"lunasec-01234567-89ab-4cde-8f01-23456789abcd"
OTHER_TOKEN = TOKEN[:-1] + b"e"
HOUR = 3600
VALUE_BYTES = 41


def named(group: str) -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in DOCUMENT[group]]


def expiry(grants: Grants, now: int, *, session: Session = SESSION, kind: GrantType = GrantType.READ) -> int | None:
    return grants.expiries(session, [TOKEN], kind, now=now)[0]


def test_the_generator_still_writes_the_vectors() -> None:
    generated = subprocess.run(
        [sys.executable, VECTORS / "generate_grants.py"], check=True, capture_output=True, timeout=60
    )
    assert generated.stdout == (VECTORS / "grants.json").read_bytes()


@pytest.mark.parametrize("vector", DOCUMENT["identifiers"])
def test_identifier_vectors(vector: dict[str, Any]) -> None:
    session = Session(vector["tenant"], vector["issuer"], vector["session"])
    secret = bytes.fromhex(vector["session_key"])
    grant_key = keys.expand(secret, "grant")
    assert grant_key.hex() == vector["grant_key"]
    assert keys.expand(secret, "grant-tag").hex() == vector["grant_tag_key"]
    names = grants_module._Names(grant_key, session, SharedMac(grant_key))
    for kind in GrantType:
        assert names.grant(kind, vector["token"].encode()).hex() == vector[kind.value]
    assert names.ended().hex() == vector["ended"]
    assert names.epoch().hex() == vector["epoch"]
    who = (session.tenant.encode(), session.issuer.encode(), session.id.encode())
    assert keys.mac(keys.expand(secret, "session-hash"), *who).hex() == vector["session_hash"]
    assert keys.mac(keys.expand(secret, "session-fingerprint"), *who)[:16].hex() == vector["session_fingerprint"]


def test_no_two_identifiers_are_equal() -> None:
    names = ("store_token", "read_token", "ended", "epoch")
    found = {vector[name] for vector in DOCUMENT["identifiers"] for name in names}
    same_marks = 2  # one vector differs in the token alone
    assert len(found) == len(names) * len(DOCUMENT["identifiers"]) - same_marks


@pytest.mark.parametrize("vector", named("marks"))
def test_mark_vectors(vector: dict[str, Any]) -> None:
    found = [None if mark is None else bytes.fromhex(mark) for pair in vector["found"] for mark in pair]
    ended, epoch = grants_module._read_marks(found)
    assert ended is vector["ended"]
    assert ended or epoch == (None if vector["epoch"] is None else bytes.fromhex(vector["epoch"]))


@pytest.mark.parametrize("vector", named("valid") + named("invalid"))
def test_reading_vectors(vector: dict[str, Any]) -> None:
    marks = [mark for epoch in vector["epochs"] for mark in (None, bytes.fromhex(epoch))]
    ended, epoch = grants_module._read_marks(marks)
    assert not ended
    tags, key, value = SharedMac(bytes.fromhex(vector["tag_key"])), vector["key"], vector["value"]
    found = grants_module._read_grant(tags, bytes.fromhex(key), bytes.fromhex(value), epoch, vector["now"])
    assert found == vector.get("expires")


@pytest.mark.parametrize("vector", named("valid"))
def test_writing_vectors(vector: dict[str, Any]) -> None:
    tags, key, value = SharedMac(bytes.fromhex(vector["tag_key"])), vector["key"], bytes.fromhex(vector["value"])
    written = grants_module._write_grant(tags, bytes.fromhex(key), value[1:17], int.from_bytes(value[17:25], "big"))
    assert written == value


@pytest.mark.parametrize("vector", named("invalid"))
def test_every_invalid_vector_names_its_layer(vector: dict[str, Any]) -> None:
    tag_key, key, value = (bytes.fromhex(vector[name]) for name in ("tag_key", "key", "value"))
    layer = "epoch"
    if len(value) != VALUE_BYTES:
        layer = "size"
    elif value[0] != 2:
        layer = "version"
    elif keys.mac(tag_key, key, value[:25])[:16] != value[25:]:
        layer = "tag"
    elif int.from_bytes(value[17:25], "big") <= vector["now"]:
        layer = "expiry"
    assert layer == vector["layer"]


class TestLifetimes:
    @pytest.fixture
    def grants(self, deployment: Deployment) -> Grants:
        return deployment.tokenizer.grants

    def test_a_grant_ends_at_its_second(self, grants: Grants) -> None:
        grants.allow(SESSION, [TOKEN], [GrantType.READ], now=START, expires=START + 10)
        assert expiry(grants, START + 9) == START + 10
        assert expiry(grants, START + 10) is None

    def test_an_entry_that_the_store_forgot_to_drop_is_no_grant(self, deployment: Deployment) -> None:
        class Slow:
            """A store that keeps entries beyond their time, as DynamoDB may."""

            def __getattr__(self, name: str) -> Any:
                return getattr(deployment.grants, name)

            def get(self, wanted: list[bytes], now: int) -> list[bytes | None]:
                return deployment.grants.get(wanted, START)

        grants = Grants(Slow(), deployment.keyring, deployment.tokenizer.grants.limits, random=os.urandom)  # type: ignore[arg-type]
        grants.allow(SESSION, [TOKEN], [GrantType.READ], now=START, expires=START + 10)
        assert expiry(grants, START + 10) is None

    def test_types_sessions_and_tokens_are_apart(self, grants: Grants) -> None:
        grants.allow(SESSION, [TOKEN], [GrantType.STORE], now=START, expires=START + 10)
        assert expiry(grants, START) is None
        assert expiry(grants, START, kind=GrantType.STORE) == START + 10
        for other in (
            Session("other", "issuer", "session"),
            Session("default", "other", "session"),
            Session("default", "issuer", "other"),
            Session("defaulti", "ssuer", "session"),
        ):
            assert expiry(grants, START, session=other, kind=GrantType.STORE) is None
        assert grants.expiries(SESSION, [OTHER_TOKEN, TOKEN], GrantType.STORE, now=START) == [None, START + 10]

    def test_revoking_one_leaves_the_others(self, grants: Grants) -> None:
        grants.allow(SESSION, [TOKEN, OTHER_TOKEN], list(GrantType), now=START, expires=START + 10)
        grants.revoke(SESSION, [TOKEN])
        for kind in GrantType:
            assert grants.expiries(SESSION, [TOKEN, OTHER_TOKEN], kind, now=START) == [None, START + 10]

    def test_revoking_all_lets_new_ones_be_given(self, grants: Grants) -> None:
        other = Session("default", "issuer", "other")
        for session in (SESSION, other):
            grants.allow(session, [TOKEN], [GrantType.READ], now=START, expires=START + 10)
        grants.revoke_all(SESSION, now=START)
        assert expiry(grants, START) is None
        assert expiry(grants, START, session=other) == START + 10
        grants.allow(SESSION, [TOKEN], [GrantType.READ], now=START, expires=START + 20)
        assert expiry(grants, START) == START + 20
        grants.revoke_all(SESSION, now=START)
        assert expiry(grants, START) is None

    def test_an_ended_session_gets_nothing_for_as_long_as_it_could_have_lived(self, grants: Grants) -> None:
        grants.allow(SESSION, [TOKEN], [GrantType.READ], now=START, expires=START + 24 * HOUR)
        grants.end(SESSION, now=START)
        assert grants.has_ended(SESSION, now=START)
        last = START + max(grants.limits.max_session_ttl, grants.limits.max_ttl)
        for moment in (START, last):
            assert expiry(grants, moment) is None
            with pytest.raises(Conflict, match="session has ended"):
                grants.allow(SESSION, [TOKEN], [GrantType.READ], now=moment, expires=moment + 10)

    def test_a_revocation_outlives_every_grant_that_it_voids(self, grants: Grants) -> None:
        longest = grants.limits.max_ttl
        grants.allow(SESSION, [TOKEN], [GrantType.READ], now=START, expires=START + longest)
        grants.revoke_all(SESSION, now=START)
        assert all(expiry(grants, START + moment) is None for moment in (0, longest - 1, longest, longest + 120))


class Watched:
    """A store of grants in the hands of an attacker, who sees what it is asked for and can put anything there."""

    def __init__(self, store: ExpiringStore) -> None:
        self._store = store
        self.asked: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, wanted: Sequence[bytes], now: int) -> list[bytes | None]:
        self.asked = list(wanted)
        return self._store.get(wanted, now)

    def held(self, name: bytes) -> bytes:
        (value,) = self._store.get([name], START)
        assert value is not None
        return value

    def plant(self, name: bytes, value: bytes) -> None:
        self._store.put([Entry(name, value, START + HOUR)], START)


class TestForgery:
    @pytest.fixture
    def store(self, deployment: Deployment) -> Watched:
        return Watched(deployment.grants)

    @pytest.fixture
    def grants(self, deployment: Deployment, store: Watched) -> Grants:
        limits = deployment.tokenizer.grants.limits
        return Grants(store, deployment.keyring, limits, random=os.urandom)

    def name_asked(self, grants: Grants, store: Watched, token: bytes = TOKEN, session: Session = SESSION) -> bytes:
        """What the tokenizer looks for to let the session read the token."""
        grants.expiries(session, [token], GrantType.READ, now=START)
        return store.asked[-1]

    @pytest.mark.parametrize("tag", [b"", bytes(16), os.urandom(16)], ids=["none", "zeros", "random"])
    @pytest.mark.parametrize("version", [1, 2])
    def test_a_value_that_was_made_up_is_no_grant(
        self, grants: Grants, store: Watched, version: int, tag: bytes
    ) -> None:
        name = self.name_asked(grants, store)
        store.plant(name, bytes([version]) + bytes(16) + (START + HOUR).to_bytes(8, "big") + tag)
        assert expiry(grants, START) is None

    def test_a_value_is_no_grant_under_any_other_name(self, grants: Grants, store: Watched) -> None:
        """Neither of another token, nor of another session, nor of the other type."""
        others = [(OTHER_TOKEN, SESSION), (TOKEN, Session("default", "issuer", "other"))]
        names = [self.name_asked(grants, store, *one) for one in others]
        grants.expiries(SESSION, [TOKEN], GrantType.STORE, now=START)
        names.append(store.asked[-1])
        grants.allow(SESSION, [TOKEN], [GrantType.READ], now=START, expires=START + HOUR)
        own = store.held(self.name_asked(grants, store))
        for name in names:
            store.plant(name, own)
        for token, session in others:
            assert grants.expiries(session, [token], GrantType.READ, now=START) == [None]
        assert expiry(grants, START, kind=GrantType.STORE) is None
        assert expiry(grants, START) == START + HOUR

    def test_no_bit_of_a_value_can_be_changed(self, grants: Grants, store: Watched) -> None:
        grants.allow(SESSION, [TOKEN], [GrantType.READ], now=START, expires=START + HOUR)
        name = self.name_asked(grants, store)
        good = store.held(name)
        assert len(good) == VALUE_BYTES
        for bit in range(8 * len(good)):
            store.plant(name, (int.from_bytes(good, "big") ^ 1 << bit).to_bytes(len(good), "big"))
            assert expiry(grants, START) is None
        store.plant(name, good)
        assert expiry(grants, START) == START + HOUR

    def test_a_value_is_bound_to_its_epoch(self, grants: Grants, store: Watched) -> None:
        """Nor can what was revoked be moved into the epoch that stands there now."""
        grants.allow(SESSION, [TOKEN], [GrantType.READ], now=START, expires=START + HOUR)
        grants.revoke_all(SESSION, now=START)
        name = self.name_asked(grants, store)
        old, epoch = store.held(name), store.held(store.asked[1])
        assert expiry(grants, START) is None
        store.plant(name, old[:1] + epoch + old[17:])
        assert expiry(grants, START) is None

    def test_forged_marks_only_void(self, grants: Grants, store: Watched) -> None:
        grants.allow(SESSION, [TOKEN], [GrantType.READ], now=START, expires=START + HOUR)
        self.name_asked(grants, store)
        ended, epoch, _ = store.asked
        for mark in (epoch, ended):
            store.plant(mark, os.urandom(16))
            assert expiry(grants, START) is None
            assert grants.expiries(SESSION, [OTHER_TOKEN], GrantType.READ, now=START) == [None]

    @pytest.mark.parametrize("size", [0, 1, 15, 17, 32, 100_000])
    @pytest.mark.parametrize("byte", [b"\x00", b"\xff"])
    def test_an_epoch_of_another_size_ends_the_session(
        self, grants: Grants, store: Watched, size: int, byte: bytes
    ) -> None:
        """None of its grants count, none are given that would not count, and nothing fails unexpectedly."""
        grants.allow(SESSION, [TOKEN], [GrantType.READ], now=START, expires=START + HOUR)
        self.name_asked(grants, store)
        _, epoch, _ = store.asked
        store.plant(epoch, size * byte)
        assert expiry(grants, START) is None
        assert grants.has_ended(SESSION, now=START)
        with pytest.raises(Conflict, match="session has ended"):
            grants.allow(SESSION, [TOKEN], [GrantType.READ], now=START, expires=START + HOUR)
        other = Session("default", "issuer", "other")
        grants.allow(other, [TOKEN], [GrantType.READ], now=START, expires=START + HOUR)
        assert grants.expiries(other, [TOKEN], GrantType.READ, now=START) == [START + HOUR]

    def test_what_was_once_given_can_be_put_back(self, grants: Grants, store: Watched) -> None:
        """Not prevented, as the threat model says: a tag does not tell that a mark was deleted or a value put back."""
        grants.allow(SESSION, [TOKEN], [GrantType.READ], now=START, expires=START + HOUR)
        name = self.name_asked(grants, store)
        given = store.held(name)
        grants.revoke(SESSION, [TOKEN])
        grants.end(SESSION, now=START)
        assert expiry(grants, START) is None
        store.delete([store.asked[0]])
        store.plant(name, given)
        assert expiry(grants, START) == START + HOUR
        assert expiry(grants, START + HOUR) is None

    def test_a_value_counts_under_its_own_key_alone(
        self, deployment: Deployment, grants: Grants, store: Watched
    ) -> None:
        """While session keys rotate a token has a name under each; what lies under one is no grant under the other."""
        grants.allow(SESSION, [TOKEN], [GrantType.READ], now=START, expires=START + 10)
        stage_key(deployment, KeyPurpose.SESSION, active_from=START + HOUR)
        deployment.keyring.refresh()
        assert expiry(grants, START) == START + 10
        active, staged = store.asked[-2:]
        value = store.held(active)
        store.delete([active])
        store.plant(staged, value)
        assert expiry(grants, START) is None
        store.plant(active, value)
        assert expiry(grants, START) == START + 10


class TestRotation:
    def test_grants_and_marks_of_both_keys_count(self, deployment: Deployment) -> None:
        ahead = another_process(deployment, clock=Clock(START + 1))
        stage_key(deployment, KeyPurpose.SESSION, active_from=START + 1)
        # One process sees the new key as active, the other does not.
        early, late = deployment.tokenizer.grants, ahead.tokenizer.grants
        for process in (deployment, ahead):
            process.keyring.refresh()
        assert [process.keyring.session_keys()[0].version for process in (deployment, ahead)] == [1, 2]
        late.allow(SESSION, [TOKEN], [GrantType.READ], now=START, expires=START + 10)
        assert expiry(early, START) == START + 10
        early.revoke_all(SESSION, now=START)
        assert expiry(late, START) is None
        early.allow(SESSION, [TOKEN], [GrantType.READ], now=START, expires=START + 20)
        assert expiry(late, START) == START + 20
        late.revoke_all(SESSION, now=START)
        assert expiry(early, START) is None
        late.allow(SESSION, [TOKEN], [GrantType.READ], now=START, expires=START + 30)
        early.revoke(SESSION, [TOKEN])
        assert expiry(late, START) is None
        late.end(SESSION, now=START)
        assert early.has_ended(SESSION, now=START)

    def test_hashes_of_both_keys_are_accepted(self, deployment: Deployment, clock: Clock) -> None:
        before = session_hash(SESSION, deployment.keyring)
        stage_key(deployment, KeyPurpose.SESSION)
        clock.advance(240)
        after = session_hash(SESSION, deployment.keyring)
        assert before != after
        for sent in (before, after):
            check_session_hash(SESSION, sent, deployment.keyring)


class TestSessionHash:
    @pytest.mark.parametrize("sent", ["", "0" * 64, "\udcff", "ä", "x" * 10_000])
    def test_another_hash_is_refused(self, deployment: Deployment, sent: str) -> None:
        with pytest.raises(SessionMismatch):
            check_session_hash(SESSION, sent, deployment.keyring)

    def test_hash_and_fingerprint_tell_sessions_apart(self, deployment: Deployment) -> None:
        sessions = [
            SESSION,
            Session("default", "issuer", "other"),
            Session("default", "other", "session"),
            Session("other", "issuer", "session"),
        ]
        shown = {session_hash(one, deployment.keyring) for one in sessions}
        shown |= {session_fingerprint(one, deployment.keyring) for one in sessions}
        assert len(shown) == 8
        for other in sessions[1:]:
            with pytest.raises(SessionMismatch):
                check_session_hash(other, session_hash(SESSION, deployment.keyring), deployment.keyring)


@given(
    st.lists(
        st.tuples(st.sampled_from(["allow", "revoke", "revoke_all", "advance"]), st.integers(1, 2 * HOUR)), max_size=12
    )
)
def test_a_grant_is_alive_exactly_if_given_not_revoked_and_not_expired(steps: list[tuple[str, int]]) -> None:
    deployment = open_in_memory(Clock())
    grants = Grants(deployment.grants, deployment.keyring, GrantLimits(HOUR, 2 * HOUR, HOUR), random=os.urandom)
    now, until = START, 0
    for step, amount in steps:
        if step == "allow":
            until = now + amount
            grants.allow(SESSION, [TOKEN], [GrantType.READ], now=now, expires=until)
        elif step == "advance":
            now += amount
        else:
            until = 0
            grants.revoke(SESSION, [TOKEN]) if step == "revoke" else grants.revoke_all(SESSION, now=now)
        assert expiry(grants, now) == (until if until > now else None)
