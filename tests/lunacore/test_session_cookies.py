"""Session cookies: vectors, round trips, tampering, and rotation of the session key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import frozen
from hypothesis import assume, given
from hypothesis import strategies as st

from lunacore import base64url, keys, session_cookies
from lunacore.errors import RoleForbidden, Unauthenticated
from lunacore.identity import Session
from lunacore.keyring import KeyPurpose
from lunacore.session_cookies import SessionCookie
from lunacore.testing.deployment import START, Clock, another_process, application, open_in_memory, stage_key, user

if TYPE_CHECKING:
    from lunacore.deployment import Deployment
    from lunacore.keyring_source import KeyringSource

VECTORS = Path(__file__).parent.parent / "vectors"
DOCUMENT = json.loads((VECTORS / "sessions.json").read_bytes())
COOKIE = SessionCookie(Session("default", "https://app.example.com", "session-1"), START, START + 3600)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=64)


@frozen
class Keyring:
    """Session keys by their secrets, the active one first."""

    secrets: list[bytes]

    def session_keys(self) -> Any:
        return [
            _Keys(keys.expand(secret, "session-signing"), keys.expand(secret, "state-tag")) for secret in self.secrets
        ]


@frozen
class _Keys:
    signing: bytes
    state_tag: bytes


def keyring(*secrets: str) -> Any:
    return Keyring([bytes.fromhex(one) for one in secrets])


def named(group: str) -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in DOCUMENT[group]]


def write(cookie: SessionCookie, source: KeyringSource) -> str:
    return session_cookies.write(cookie, source, random=os.urandom)


def test_the_generator_still_writes_the_vectors() -> None:
    generated = subprocess.run(
        [sys.executable, VECTORS / "generate_sessions.py"], check=True, capture_output=True, timeout=60
    )
    assert generated.stdout == (VECTORS / "sessions.json").read_bytes()


@pytest.mark.parametrize("vector", DOCUMENT["cookies"])
def test_cookie_vectors(vector: dict[str, Any]) -> None:
    cookie = SessionCookie(
        Session(vector["tenant"], vector["issuer"], vector["session"]), vector["issued"], vector["expires"]
    )
    source = keyring(vector["session_key"])
    assert source.session_keys()[0].signing.hex() == vector["signing_key"]
    assert session_cookies._encode(cookie, bytes.fromhex(vector["random"])).hex() == vector["body"]
    text = session_cookies.write(cookie, source, random=lambda _: bytes.fromhex(vector["random"]))
    assert text == vector["text"]
    assert session_cookies.read(text, source, now=vector["issued"]) == cookie


@pytest.mark.parametrize("vector", named("invalid_cookies"))
def test_invalid_cookie_vectors(vector: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        session_cookies.read(vector["text"], keyring(*vector["session_keys"]), now=vector["now"])
    assert layer_of(vector) == vector["layer"]


def layer_of(vector: dict[str, Any]) -> str:
    """The first layer that a vector does not pass."""
    text = vector["text"]
    if len(text) > 4096:
        return "length"
    if not text.startswith("ls1."):
        return "prefix"
    try:
        body, mac = (base64url.decode(part) for part in text[4:].split("."))
    except ValueError:
        return "encoding"
    if len(mac) != 32:
        return "size"
    (signing,) = (one.signing for one in keyring(*vector["session_keys"]).session_keys())
    if keys.mac(signing, b"session-cookie", body) != mac:
        return "signature"
    try:
        session_cookies._decode(body)
    except Unauthenticated:
        return "fields"
    return "expiry"


@given(TEXTS, TEXTS, TEXTS, st.integers(0, 2**63), st.integers(1, 2**40))
def test_what_is_written_can_be_read(tenant: str, issuer: str, session: str, issued: int, rest: int) -> None:
    source = keyring("00" * 32)
    cookie = SessionCookie(Session(tenant, issuer, session), issued, issued + rest)
    text = write(cookie, source)
    assert text.isascii()
    assert text.isprintable()
    assert not set(text) & set('",;\\ ')
    assert session_cookies.read(text, source, now=cookie.expires - 1) == cookie
    with pytest.raises(Unauthenticated, match="expired"):
        session_cookies.read(text, source, now=cookie.expires)


@given(st.data())
def test_no_changed_cookie_is_read(data: st.DataObject) -> None:
    source = keyring("00" * 32)
    text = write(COOKIE, source)
    place = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 3))
    changed = text[:place] + data.draw(st.text(max_size=3)) + text[place + length :]
    assume(changed != text)
    with pytest.raises(Unauthenticated):
        session_cookies.read(changed, source, now=START)


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda raw: f"ls1.{base64url.encode(raw or b'x')}.AAAA"))
def test_no_other_text_is_a_cookie(text: str) -> None:
    with pytest.raises(Unauthenticated):
        session_cookies.read(text, keyring("00" * 32), now=START)


def test_no_two_cookies_are_equal() -> None:
    assert len({write(COOKIE, keyring("00" * 32)) for _ in range(10)}) == 10


def test_a_cookie_that_browsers_would_not_keep_is_refused() -> None:
    session = Session("default", "https://app.example.com", "x" * 3000)
    with pytest.raises(Unauthenticated, match="too long"):
        write(SessionCookie(session, START, START + 1), keyring("00" * 32))


@given(st.binary(min_size=1, max_size=64))
def test_base64url_has_one_spelling(raw: bytes) -> None:
    text = base64url.encode(raw)
    assert base64url.decode(text) == raw
    for other in (text + "=", text + "\n", " " + text, text + "A" * 4 + "!"):
        with pytest.raises(ValueError, match="base64url"):
            base64url.decode(other)


class TestRotation:
    def test_cookies_of_every_live_key_hold(self, deployment: Deployment, clock: Clock) -> None:
        before = write(COOKIE, deployment.keyring)
        stage_key(deployment, KeyPurpose.SESSION)
        clock.advance(240)
        after = write(COOKIE, deployment.keyring)
        assert deployment.keyring.session_keys()[0].version == 2
        for text in (before, after):
            assert session_cookies.read(text, deployment.keyring, now=clock()) == COOKIE

    def test_a_process_reads_what_one_ahead_of_it_wrote(self, deployment: Deployment) -> None:
        ahead = another_process(deployment, clock=Clock(START + 1))
        stage_key(deployment, KeyPurpose.SESSION, active_from=START + 1)
        for process in (deployment, ahead):
            process.keyring.refresh()
        assert [process.keyring.session_keys()[0].version for process in (deployment, ahead)] == [1, 2]
        for writer, reader in ((deployment, ahead), (ahead, deployment)):
            assert session_cookies.read(write(COOKIE, writer.keyring), reader.keyring, now=START) == COOKIE

    def test_cookies_of_a_retired_or_foreign_key_do_not(self) -> None:
        text = write(COOKIE, keyring("00" * 32))
        for source in (keyring("11" * 32), keyring("11" * 32, "22" * 32)):
            with pytest.raises(Unauthenticated, match="not one of this tokenizer"):
                session_cookies.read(text, source, now=START)
        with pytest.raises(Unauthenticated):
            session_cookies.read(write(COOKIE, open_in_memory(Clock()).keyring), keyring("00" * 32), now=START)


class TestBeginning:
    """``Tokenizer.begin_session``."""

    def test_is_on_the_record(self, deployment: Deployment) -> None:
        deployment.tokenizer.begin_session(user("s-1"))
        (event,) = deployment.audit.events  # type: ignore[attr-defined]  # the one in memory
        assert (event.action.value, event.outcome, event.role.value) == ("session.create", "allowed", "user")
        assert len(event.session) == 32

    def test_not_twice_after_its_end(self, deployment: Deployment) -> None:
        call = user("s-1")
        assert call.identity.session is not None
        deployment.tokenizer.begin_session(call)
        deployment.tokenizer.begin_session(call)
        deployment.tokenizer.end_session(call, call.identity.session)
        with pytest.raises(Unauthenticated, match="has ended"):
            deployment.tokenizer.begin_session(call)
        assert deployment.audit.events[-1].outcome == "unauthenticated"  # type: ignore[attr-defined]

    def test_only_of_users_and_only_in_time(self, deployment: Deployment) -> None:
        with pytest.raises(RoleForbidden):
            deployment.tokenizer.begin_session(application())
        with pytest.raises(Unauthenticated, match="expired"):
            deployment.tokenizer.begin_session(user("s-1", expires=START))
