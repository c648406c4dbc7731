"""States and used assertions: vectors, and a state machine over several processes whose keys and clocks move."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule

from lunacore import session_states
from lunacore.keyring import KeyPurpose
from lunacore.session_states import STATE_TTL, PendingSession, SessionStates, browser_hash, is_secret, new_secret
from lunacore.testing.deployment import START, Clock, another_process, open_in_memory, stage_key
from tests.lunacore.test_session_cookies import keyring

if TYPE_CHECKING:
    from lunacore.deployment import Deployment

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
    assert states.issue(pending, now=vector["now"]) == vector["state"]
    name = bytes.fromhex(vector["name"])
    (value,) = deployment.grants.get([name], vector["now"])
    assert value == bytes.fromhex(vector["value"])
    assert states.take(vector["state"], now=vector["now"]) == pending
    assert deployment.grants.get([name], vector["now"]) == [None]


@pytest.mark.parametrize("vector", DOCUMENT["invalid_states"], ids=lambda vector: vector["name"])
def test_invalid_state_vectors(vector: dict[str, Any]) -> None:
    assert session_states._decode(bytes.fromhex(vector["value"]), vector["now"]) is None


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
