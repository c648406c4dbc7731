"""``lunacore jwt`` and the local identity behind it."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import jwt
import pytest

from lunacore import Config, ConfigError, Role
from lunacore_http.command import local_identity
from lunacore_http.identity.providers import Identities, Presented

if TYPE_CHECKING:
    from tests.command.running import Lunacore


def _config(lunacore: Lunacore, **tokenizer: object) -> Config:
    given = {"tokenizer": {"data_dir": str(lunacore.data), **tokenizer}}
    return local_identity.with_local_identity(Config.from_mapping(given, {}))


def test_the_key_is_for_its_owner_alone_and_stays(lunacore: Lunacore) -> None:
    _config(lunacore)
    key = lunacore.data / "application.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes(), (lunacore.data / "application.jwks.json").read_bytes()
    _config(lunacore)
    assert (key.read_bytes(), (lunacore.data / "application.jwks.json").read_bytes()) == before
    assert "d" not in json.loads(before[1])["keys"][0]


def test_a_lost_jwks_is_made_again_from_the_key(lunacore: Lunacore) -> None:
    _config(lunacore)
    jwks = lunacore.data / "application.jwks.json"
    before = jwks.read_bytes()
    jwks.unlink()
    _config(lunacore)
    assert jwks.read_bytes() == before


def test_the_tokenizer_believes_its_jwts(lunacore: Lunacore) -> None:
    config = _config(lunacore)
    identities = Identities(config.identity, public_url=config.public_url, max_session_ttl=3600, now=time.time)
    user = lunacore.ok("jwt", "--role", "user", "--session", "s-1").decode().strip()
    caller = identities.identify(Presented(authorization=None, cookies={"access_token": user}, header=lambda _: None))
    assert caller.identity.session is not None
    assert (caller.identity.role, caller.identity.session.id) == (Role.USER, "s-1")
    application = lunacore.ok("jwt", "--role", "application").decode().strip()
    presented = Presented(authorization=f"Bearer {application}", cookies={}, header=lambda _: None)
    assert identities.identify(presented).identity.role is Role.APPLICATION


def test_claims_are_as_asked_for(lunacore: Lunacore) -> None:
    _config(lunacore)
    printed = lunacore.ok("jwt", "--role", "application", "--ttl", "1h30m", "--audience", "http://localhost:9").decode()
    claims = jwt.decode(printed.strip(), options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 5400
    assert claims["aud"] == "http://localhost:9"
    assert "session_id" not in claims


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--role", "user"], "--session goes with --role user"),
        (["--role", "application", "--session", "s"], "--session goes with --role user"),
        (["--role", "operator"], "invalid choice"),
        (["--role", "application", "--ttl", "25h"], "--ttl must be between"),
        (["--role", "application", "--ttl", "0"], "--ttl must be between"),
    ],
)
def test_bad_arguments_are_named(lunacore: Lunacore, arguments: list[str], said: str) -> None:
    ended = lunacore("jwt", *arguments)
    assert ended.code == 2
    assert said in ended.err


def test_without_a_key_nothing_is_signed_or_made(lunacore: Lunacore) -> None:
    ended = lunacore("jwt", "--role", "application")
    assert ended.code == 3
    assert "lunacore serve makes one" in ended.err
    assert not lunacore.data.exists()


def test_a_key_that_others_may_read_is_refused(lunacore: Lunacore) -> None:
    _config(lunacore)
    (lunacore.data / "application.key").chmod(0o640)
    ended = lunacore("jwt", "--role", "application")
    assert ended.code == 4
    assert "chmod 600" in ended.err
    (lunacore.data / "application.key").chmod(0o600)
    (lunacore.data / "application.key").write_text("no key")
    assert lunacore("jwt", "--role", "application").code == 4


def test_where_applications_are_configured_jwts_are_theirs(lunacore: Lunacore) -> None:
    _config(lunacore)
    provider = '[{"name": "app", "kind": "application", "issuer": "i", "jwks": "https://app.example.com/jwks"}]'
    ended = lunacore("jwt", "--role", "application", environ={"LUNACORE_IDENTITY": provider})
    assert ended.code == 3
    assert "identity providers are configured" in ended.err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "luna.example.com"])
def test_the_local_identity_is_for_loopback_only(lunacore: Lunacore, host: str) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer\.host"):
        _config(lunacore, host=host)
    with pytest.raises(ConfigError, match=r"tokenizer\.public_url"):
        _config(lunacore, public_url="https://luna.example.com")
    assert not (lunacore.data / "application.key").exists()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "secure.demo.localhost"])
def test_every_loopback_address_will_do(lunacore: Lunacore, host: str) -> None:
    (provider,) = _config(lunacore, host=host).identity
    assert provider.direct
    assert provider.default
    assert not provider.may_read
    assert Path(provider.jwks.removeprefix("file://")).exists()
