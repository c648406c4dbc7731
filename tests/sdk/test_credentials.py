from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import jwt as pyjwt
import pytest

from lunacore.errors import InvalidRequest
from lunacore.testing.deployment import Clock
from lunacore_http.identity.jwt import check_claims
from lunacore_http.sdk import Application
from lunacore_http.sdk.credentials import BEARER_TTL, RENEWED_BEFORE
from tests.sdk.pems import pem

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://secure.example.com"
ISSUER = "https://app.example.com"
STATE = "s" * 43


def application(clock: Clock, signing_key: Any = None, **options: Any) -> Application:
    key = pem() if signing_key is None else signing_key
    return Application(URL + "/", issuer=ISSUER, signing_key=key, now=clock, **options)


def claims_of(text: str) -> dict[str, Any]:
    claims: dict[str, Any] = pyjwt.decode(text, options={"verify_signature": False})
    return claims


def test_the_bearer_is_what_the_tokenizer_demands() -> None:
    clock = Clock()
    with application(clock) as luna:
        claims = claims_of(luna._credentials.bearer())
    check_claims(claims, issuer=ISSUER, audience=URL, now=clock())
    assert claims["sub"] == "application"
    assert "session_id" not in claims
    assert claims["exp"] - claims["iat"] == BEARER_TTL


def test_the_bearer_is_kept_until_shortly_before_its_end() -> None:
    clock = Clock()
    with application(clock) as luna:
        first = luna._credentials.bearer()
        clock.advance(BEARER_TTL - RENEWED_BEFORE - 1)
        assert luna._credentials.bearer() == first
        clock.advance(1)
        second = luna._credentials.bearer()
        assert second != first
        assert claims_of(second)["iat"] == clock()


def test_the_bearer_is_signed_anew_when_the_clock_goes_back_or_it_was_refused() -> None:
    clock = Clock()
    with application(clock, pem("ES256")) as luna:
        first = luna._credentials.bearer()
        clock.advance(-3600)
        second = luna._credentials.bearer()
        assert claims_of(second)["iat"] == clock()
        luna._credentials.forget(first)
        assert luna._credentials.bearer() == second
        luna._credentials.forget(second)
        assert luna._credentials.bearer() != second


def test_the_bearer_is_signed_anew_with_a_new_key(tmp_path: Path) -> None:
    path = tmp_path / "app.pem"
    path.write_bytes(pem())
    with application(Clock(), path) as luna:
        first = luna._credentials.bearer()
        path.write_bytes(pem("ES256"))
        luna._credentials._keys._look_again_at = 0
        second = luna._credentials.bearer()
    assert pyjwt.get_unverified_header(first)["alg"] == "EdDSA"
    assert pyjwt.get_unverified_header(second)["alg"] == "ES256"


def test_an_assertion() -> None:
    clock = Clock()
    with application(clock, session_ttl="2h") as luna:
        first, second = (claims_of(luna.assertion("session-1", STATE)) for _ in range(2))
    assert first["aud"] == f"{URL}/session/create"
    assert (first["sub"], first["session_id"], first["nonce"], first["iss"]) == ("user", "session-1", STATE, ISSUER)
    assert 0 < first["exp"] - clock() <= 60
    assert first["session_exp"] == clock() + 7200
    assert 16 <= len(first["jti"]) <= 256
    assert first["jti"] != second["jti"]


@pytest.mark.parametrize("state", ["", "s" * 21, "s" * 129, STATE + "\n", STATE + "&x=1", "é" * 43, None, 7])
def test_a_state_of_another_form_is_not_signed(state: Any) -> None:
    with application(Clock()) as luna, pytest.raises(InvalidRequest, match="state"):
        luna.assertion("session-1", state)


@pytest.mark.parametrize("session_id", ["", None, "a" * 257, "a\nb", 5, b"bytes"])
def test_an_assertion_is_for_somebody(session_id: Any) -> None:
    with application(Clock()) as luna, pytest.raises(InvalidRequest, match="session id"):
        luna.assertion(session_id, STATE)


def test_the_longest_session_id_fits() -> None:
    with application(Clock(), pem("RS256")) as luna:
        assert claims_of(luna.assertion("a" * 256, STATE))["session_id"] == "a" * 256


def test_repr_tells_no_secret() -> None:
    with application(Clock(), anonymous_secret=os.urandom(32).hex()) as luna:
        bearer = luna._credentials.bearer()
        shown = (
            repr(luna)
            + repr(luna._credentials)
            + repr(luna._credentials._bearer)
            + repr(luna._settings)
            + repr(luna.anonymous)
        )
    assert bearer not in shown
