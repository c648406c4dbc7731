"""``--config``, ``--data``, the environment, and ``lunacore config check``."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import attrs
import pytest

from lunacore import Config

if TYPE_CHECKING:
    from tests.command.running import Lunacore

SECRETS = """
[tokenizer]
objects = "file:///srv/luna/objects"
records = "sqlite:///srv/luna/records.sqlite?password=hunter2"
grants = "redis://user:hunter2@cache.example.com/0"

[gateway]
key = "hunter2"

[[identity]]
name = "app"
kind = "application"
issuer = "https://app.example.com"
jwks = "https://app.example.com/.lunasec/jwks.json"
"""


def test_check_shows_every_setting_as_toml(lunacore: Lunacore) -> None:
    (lunacore.directory / "luna.toml").write_text(SECRETS)
    printed = lunacore.ok("config", "check", "--config", "luna.toml").decode()
    shown = tomllib.loads(printed)
    for section in attrs.fields(Config):
        if section.name == "notify":  # there is none
            assert "notify" not in shown
            continue
        settings = getattr(Config.from_file(lunacore.directory / "luna.toml", {}), section.name)
        settings, table = (
            (settings[0], shown["identity"][0]) if section.name == "identity" else (settings, shown[section.name])
        )
        assert list(table) == [one.name for one in attrs.fields(type(settings))]
    assert shown["tokenizer"]["objects"] == "file:///srv/luna/objects"
    assert shown["tokenizer"]["grants"] == "redis://cache.example.com/0"
    assert shown["identity"][0]["roles"] == ["user", "application"]
    assert "hunter2" not in printed


def test_check_opens_nothing_unless_told_to(lunacore: Lunacore) -> None:
    lunacore.ok("config", "check")
    assert not lunacore.data.exists()
    ended = lunacore("config", "check", "--open")
    assert ended.code == 3
    assert not lunacore.data.exists()
    lunacore.put(b"value")
    lunacore.ok("config", "check", "--open")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[tokenizer]\npubic_url = 'https://x.example'", "tokenizer.pubic_url is unknown; did you mean public_url"),
        ("[tokenize]\n", "tokenize is unknown; did you mean tokenizer"),
        ("[tokenizer]\nport = 'many'", "tokenizer.port must be"),
        ("[tokenizer\n", "is not TOML"),
        ("[grants]\ndefault_ttl = '2d'\n", "grants.default_ttl"),
        ("[[identity]]\nname = 'app'\nkind = 'application'\nissuer = 'i'\n", "identity[app].jwks is missing"),
        (
            "[[identity]]\nname = 'app'\nkind = 'application'\nissuer = 'i'\njwks = 'ftp://x'\n",
            "identity[app].jwks",
        ),
    ],
)
@pytest.mark.parametrize("command", [["config", "check"]])
def test_a_wrong_setting_is_named(lunacore: Lunacore, command: list[str], content: str, said: str) -> None:
    (lunacore.directory / "luna.toml").write_text(content)
    ended = lunacore(*command, "--config", "luna.toml")
    assert ended.code == 3
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not lunacore.data.exists()


@pytest.mark.parametrize(
    "command", [["put"], ["serve"], ["doctor"], ["sweep"], ["keys", "init"], ["jwt", "--role", "application"]]
)
def test_every_command_takes_the_configuration(lunacore: Lunacore, command: list[str]) -> None:
    (lunacore.directory / "luna.toml").write_text("[tokenizer]\ncolour = 1\n")
    ended = lunacore(*command, "--config", "luna.toml")
    assert ended.code == 3
    assert "tokenizer.colour is unknown" in ended.err
    assert lunacore("--config", "luna.toml", *command).err == ended.err


def test_a_missing_file_is_named(lunacore: Lunacore) -> None:
    ended = lunacore("put", "--config", "nowhere.toml")
    assert ended.code == 3
    assert "nowhere.toml cannot be read: No such file or directory" in ended.err


def test_the_environment_goes_before_the_file_and_data_before_both(lunacore: Lunacore) -> None:
    (lunacore.directory / "luna.toml").write_text("[tokenizer]\ndata_dir = 'from-file'\nport = 1001\n")
    environ = {"LUNACORE_TOKENIZER_DATA_DIR": "from-environment", "LUNACORE_TOKENIZER_PORT": "1002"}
    check = ["config", "check", "--config", "luna.toml"]
    shown = tomllib.loads(lunacore.ok(*check, environ=environ).decode())
    assert (shown["tokenizer"]["data_dir"], shown["tokenizer"]["port"]) == ("from-environment", 1002)
    shown = tomllib.loads(lunacore.ok(*check, "--data", "from-option", environ=environ).decode())
    assert shown["tokenizer"]["data_dir"] == "from-option"


def test_a_variable_may_name_the_file(lunacore: Lunacore) -> None:
    (lunacore.directory / "luna.toml").write_text("[tokenizer]\nport = 1001\n")
    shown = tomllib.loads(lunacore.ok("config", "check", environ={"LUNACORE_CONFIG": "luna.toml"}).decode())
    assert shown["tokenizer"]["port"] == 1001


def test_an_unknown_variable_is_named(lunacore: Lunacore) -> None:
    ended = lunacore("config", "check", environ={"LUNACORE_TOKENIZER_PROT": "1"})
    assert ended.code == 3
    assert "did you mean LUNACORE_TOKENIZER_PORT" in ended.err
