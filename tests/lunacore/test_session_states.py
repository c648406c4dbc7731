"""States and used assertions: vectors, forgery, and a state machine over several processes whose keys and clocks move."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule

from lunacore import keys, session_states
from lunacore.keyring import KeyPurpose
from lunacore.session_states import STATE_TTL, PendingSession, SessionStates, browser_hash, is_secret, new_secret
from lunacore.stores import Entry
from lunacore.testing.deployment import START, Clock, another_process, open_in_memory, stage_key
from tests.lunacore.test_session_cookies import keyring

if TYPE_CHECKING:
    from lunacore.deployment import Deployment
    from lunacore.stores import ExpiringStore

DOCUMENT = json.loads((Path(__file__).parent.parent / "vectors" / "sessions.json").read_bytes())
PENDING = PendingSession("https://app.example.com", browser_hash("browser"), "/frame?a=b")


def states_of(deployment: Deployment) -> SessionStates:
    return SessionStates(deployment.grants, deployment.keyring, random=deployment.random)


@pytest.fixture
def states(deployment: Deployment) -> SessionStates:
    return states_of(deployment)


@pytest.mark.parametrize("vector", DOCUMENT["states"])
def test_state_vectors(deployment: Deployment, vector: dict[str, Any]) -> None:
    drawn = bytes.fromhex(vector["random"])
    states = SessionStates(deployment.grants, keyring(vector["session_key"]), random=lambda _: drawn)
    pending = PendingSession(vector["issuer"], browser_hash(vector["browser_cookie"]), vector["return_to"])
    assert pending.browser.hex() == vector["browser"]
    assert keys.expand(bytes.fromhex(vector["session_key"]), "state-tag").hex() == vector["tag_key"]
    assert states.issue(pending, now=vector["now"]) == vector["state"]
    name = bytes.fromhex(vector["name"])
    (value,) = deployment.grants.get([name], vector["now"])
    assert value == bytes.fromhex(vector["value"])
    assert states.take(vector["state"], now=vector["now"]) == pending
    assert deployment.grants.get([name], vector["now"]) == [None]


@pytest.mark.parametrize("vector", DOCUMENT["invalid_states"], ids=lambda vector: vector["name"])
def test_invalid_state_vectors(vector: dict[str, Any]) -> None:
    tag_key, key, value = (bytes.fromhex(vector[name]) for name in ("tag_key", "key", "value"))
    assert session_states._read(tag_key, key, value, vector["now"]) is None
    assert layer_of(tag_key, key, value) == vector["layer"]


def layer_of(tag_key: bytes, key: bytes, value: bytes) -> str:
    """What refuses an invalid vector; with what it refuses out of the way, the next layer would have its turn."""
    if len(value) < 17 or value[0] != 2:
        return "version"
    if keys.mac(tag_key, key, value[:-16])[:16] != value[-16:]:
        return "tag"
    return "expiry" if session_states._read(tag_key, key, value, 0) else "fields"


@pytest.mark.parametrize("vector", DOCUMENT["assertions"])
def test_assertion_vectors(deployment: Deployment, vector: dict[str, Any]) -> None:
    states = SessionStates(deployment.grants, keyring(vector["session_key"]), random=deployment.random)
    assert states.use_assertion(vector["issuer"], vector["jti"], expires=START + 60, now=START)
    name = bytes.fromhex(vector["name"])
    assert deployment.grants.get([name, name], START + 119) == [b"\x01", b"\x01"]
    assert deployment.grants.get([name], START + 120) == [None]


@pytest.mark.parametrize(
    "text", ["", "A" * 42, "A" * 44, "A" * 42 + "B", "A" * 42 + "=", "é" * 43, "\ud800", "A" * 43 + "\n"]
)
def test_what_has_not_the_form_of_a_state_is_none(states: SessionStates, text: str) -> None:
    assert not is_secret(text)
    assert states.take(text, now=START) is None


def test_a_state_has_the_form_of_one(deployment: Deployment) -> None:
    assert is_secret(new_secret(deployment.random))


def test_a_browser_that_sends_halves_of_characters_has_a_hash() -> None:
    assert browser_hash("\ud800") != browser_hash("")


def test_a_state_is_not_shown() -> None:
    assert PENDING.browser.hex() not in repr(PENDING)
    assert repr(PENDING.browser) not in repr(PENDING)


def test_a_store_that_forgets_to_drop_extends_nothing(deployment: Deployment) -> None:
    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(deployment.grants, name)

        def take(self, key: bytes, now: int) -> bytes | None:
            return deployment.grants.take(key, START)

    states: Any = SessionStates(Slow(), deployment.keyring, random=deployment.random)
    state = states.issue(PENDING, now=START)
    assert states.take(state, now=START + STATE_TTL) is None


class Watched:
    """A store in the hands of an attacker, who sees what is written and asked for, and can put anything there."""

    def __init__(self, store: ExpiringStore) -> None:
        self._store = store
        self.written: dict[bytes, bytes] = {}
        self.asked: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, entries: list[Entry], now: int) -> None:
        self.written |= {entry.key: entry.value for entry in entries}
        self._store.put(entries, now)

    def take(self, name: bytes, now: int) -> bytes | None:
        self.asked.append(name)
        return self._store.take(name, now)

    def last(self) -> tuple[bytes, bytes]:
        """Name and value of what was written last."""
        return list(self.written.items())[-1]

    def plant(self, name: bytes, value: bytes) -> None:
        self._store.put([Entry(name, value, START + STATE_TTL)], START)


def as_version_1(pending: PendingSession) -> bytes:
    return b"\x01" + without_version_and_tag(pending)


def without_version_and_tag(pending: PendingSession) -> bytes:
    return (START + STATE_TTL).to_bytes(8, "big") + keys.lp(
        pending.issuer.encode(), pending.browser, pending.return_to.encode()
    )


class TestForgery:
    VICTIMS = evolve(PENDING, browser=browser_hash("another"), return_to="/frame?c=d")

    @pytest.fixture
    def store(self, deployment: Deployment) -> Watched:
        return Watched(deployment.grants)

    @pytest.fixture
    def states(self, deployment: Deployment, store: Watched) -> SessionStates:
        watched: Any = store
        return SessionStates(watched, deployment.keyring, random=deployment.random)

    @pytest.mark.parametrize("tag", [b"", bytes(16), os.urandom(16)], ids=["none", "zeros", "random"])
    @pytest.mark.parametrize("version", [1, 2])
    def test_a_value_that_was_made_up_is_no_state(
        self, states: SessionStates, store: Watched, version: int, tag: bytes
    ) -> None:
        state = states.issue(PENDING, now=START)
        name, good = store.last()
        assert good[1:-16] == without_version_and_tag(PENDING)
        store.plant(name, bytes([version]) + without_version_and_tag(self.VICTIMS) + tag)
        assert states.take(state, now=START) is None

    def test_a_value_under_a_name_that_was_never_written_is_no_state(
        self, states: SessionStates, store: Watched
    ) -> None:
        """A state of the attacker's own making: the name is seen when it is asked for."""
        chosen = new_secret(os.urandom)
        assert states.take(chosen, now=START) is None
        states.issue(self.VICTIMS, now=START)
        _, good = store.last()
        for value in (good, as_version_1(self.VICTIMS)):
            store.plant(store.asked[-1], value)
            assert states.take(chosen, now=START) is None

    def test_a_value_is_no_state_under_the_name_of_another(self, states: SessionStates, store: Watched) -> None:
        own = states.issue(PENDING, now=START)
        own_name, _ = store.last()
        another = states.issue(self.VICTIMS, now=START)
        _, victims = store.last()
        store.plant(own_name, victims)
        assert states.take(own, now=START) is None
        assert states.take(another, now=START) == self.VICTIMS

    def test_no_bit_of_a_value_can_be_changed(self, states: SessionStates, store: Watched) -> None:
        state = states.issue(PENDING, now=START)
        name, good = store.last()
        for bit in range(8 * len(good)):
            store.plant(name, (int.from_bytes(good, "big") ^ 1 << bit).to_bytes(len(good), "big"))
            assert states.take(state, now=START) is None
        store.plant(name, good)
        assert states.take(state, now=START) == PENDING

    def test_no_byte_can_be_cut_off_or_added(self, states: SessionStates, store: Watched) -> None:
        state = states.issue(PENDING, now=START)
        name, good = store.last()
        for changed in (*(good[:end] for end in range(len(good))), good[1:], good + bytes(1), bytes(1) + good):
            store.plant(name, changed)
            assert states.take(state, now=START) is None

    def test_the_format_before_is_no_state(self, states: SessionStates, store: Watched) -> None:
        """Nor is it with a tag: what had none could have been made by anybody."""
        state = states.issue(PENDING, now=START)
        name, _ = store.last()
        store.plant(name, as_version_1(PENDING))
        assert states.take(state, now=START) is None

    def test_what_was_taken_can_be_put_back_until_it_expires(self, states: SessionStates, store: Watched) -> None:
        """Not prevented, as the threat model says: a tag does not tell that an entry was taken before."""
        state = states.issue(PENDING, now=START)
        name, good = store.last()
        assert states.take(state, now=START) == PENDING
        assert states.take(state, now=START) is None
        store.plant(name, good)
        assert states.take(state, now=START) == PENDING
        store.put([Entry(name, good, START + 10 * STATE_TTL)], START)
        assert states.take(state, now=START + STATE_TTL) is None

    def test_a_value_counts_under_its_own_key_alone(
        self, deployment: Deployment, states: SessionStates, store: Watched
    ) -> None:
        """While session keys rotate a state has a name under each; what lies under one is none under the other."""
        state = states.issue(PENDING, now=START)
        name, good = store.last()
        stage_key(deployment, KeyPurpose.SESSION, active_from=START + 3600)
        deployment.keyring.refresh()
        assert states.take(state, now=START) == PENDING
        active, staged = store.asked[-2:]
        assert active == name
        store.plant(staged, good)
        assert states.take(state, now=START) is None
        store.plant(active, good)
        assert states.take(state, now=START) == PENDING

    def test_a_forged_value_under_one_key_hides_none_under_another(
        self, deployment: Deployment, states: SessionStates, store: Watched
    ) -> None:
        state = states.issue(PENDING, now=START)
        name, good = store.last()
        stage_key(deployment, KeyPurpose.SESSION, active_from=START)
        deployment.keyring.refresh()
        assert states.take(state, now=START) == PENDING
        active, earlier = store.asked[-2:]
        assert earlier == name
        for planted in (as_version_1(self.VICTIMS), good):
            store.plant(active, planted)
            store.plant(earlier, good)
            assert states.take(state, now=START) == PENDING


class States(RuleBasedStateMachine):
    """Three processes on one store; their clocks differ by seconds, and the session key rotates beneath them."""

    issued = Bundle("issued")

    @initialize()
    def open(self) -> None:
        self.clocks = [Clock(START), Clock(START + 1), Clock(START + 2)]
        first = open_in_memory(self.clocks[0])
        self.processes = [first, *(another_process(first, clock=clock) for clock in self.clocks[1:])]
        self.states = [states_of(one) for one in self.processes]
        self.live: dict[str, tuple[PendingSession, int]] = {}
        self.used: dict[tuple[str, str], int] = {}
        self.refused: dict[tuple[str, str], int] = {}
        self.rotations = 0

    processes_ = st.integers(0, 2)

    @rule(
        target=issued,
        at=processes_,
        issuer=st.sampled_from(["a", "b"]),
        return_to=st.sampled_from(["/frame", "/frame?a"]),
    )
    def issue(self, at: int, issuer: str, return_to: str) -> str:
        pending = PendingSession(issuer, browser_hash(return_to), return_to)
        now = int(self.clocks[at]())
        state = self.states[at].issue(pending, now=now)
        assert state not in self.live
        self.live[state] = (pending, now + STATE_TTL)
        return state

    @rule(at=processes_, state=issued)
    def take(self, at: int, state: str) -> None:
        now = int(self.clocks[at]())
        pending, expires = self.live.get(state, (None, 0))
        assert self.states[at].take(state, now=now) == (pending if now < expires else None)
        if now < expires:  # where a clock runs ahead nothing is found, and nothing is used up for the others
            self.live.pop(state, None)

    @rule(
        at=processes_,
        issuer=st.sampled_from(["a", "b"]),
        identifier=st.sampled_from(["one", "two"]),
        lasts=st.integers(1, 60),
    )
    def use(self, at: int, issuer: str, identifier: str, lasts: int) -> None:
        now, name = int(self.clocks[at]()), (issuer, identifier)
        used = self.states[at].use_assertion(issuer, identifier, expires=now + lasts, now=now)
        if used:
            assert self.used.get(name, 0) <= now
            self.used[name] = now + lasts + 60
        else:
            # A use that is refused may be noted under a session key that the first one did not know.
            assert max(self.used.get(name, 0), self.refused.get(name, 0)) > now
            self.refused[name] = max(self.refused.get(name, 0), now + lasts + 60)

    @rule(at=processes_, never=st.binary(min_size=32, max_size=32))
    def take_what_was_never_issued(self, at: int, never: bytes) -> None:
        assert self.states[at].take(new_secret(lambda _: never), now=int(self.clocks[at]())) is None

    @rule(seconds=st.sampled_from([1, 59, 60, 150, STATE_TTL]))
    def advance(self, seconds: int) -> None:
        for clock in self.clocks:
            clock.advance(seconds)

    @precondition(lambda self: self.rotations < 3)
    @rule(delay=st.integers(0, 3))
    def rotate(self, delay: int) -> None:
        self.rotations += 1
        stage_key(self.processes[0], KeyPurpose.SESSION, active_from=int(self.clocks[0]()) + delay)
        for clock in self.clocks:
            clock.advance(2)
        for process in self.processes:
            process.keyring.refresh()


TestStates = States.TestCase
TestStates.settings = settings(max_examples=25, stateful_step_count=25)
