"""Values in a program's data directory, put and read without it, since a process for each would take most of a test's time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunacore import Config, Vault, open_vault
from lunacore.errors import TokenNotFound

if TYPE_CHECKING:
    from tests.command.running import Lunacore


def put(lunacore: Lunacore, value: bytes, *labels: str) -> str:
    with _opened(lunacore) as vault:
        return vault.put(value, labels=labels)


def read(lunacore: Lunacore, token: str) -> bytes | None:
    """The value of a token, None where there is none."""
    with _opened(lunacore) as vault:
        try:
            return vault.get(token)
        except TokenNotFound:
            return None


def _opened(lunacore: Lunacore) -> Vault:
    return open_vault(Config.from_mapping({"tokenizer": {"data_dir": str(lunacore.data)}}, {}))
