"""``lunacore sweep``."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from lunacore import Call, Config, NewValue, Vault, open_deployment
from lunacore.identity import operator
from lunacore.stores import Entry
from tests.command.running import GET

if TYPE_CHECKING:
    from pathlib import Path

    from tests.command.running import Lunacore


def test_a_dry_run_first_then_what_is_due_and_nothing_else(lunacore: Lunacore) -> None:
    # First, so that the keyring is old enough for it.
    _leave_what_is_due(lunacore)
    lasting = lunacore.put(b"lasting", "--ttl", "90d")

    shown = lunacore.ok("sweep").decode()
    assert [line.split()[0] for line in shown.splitlines()[:4]] == ["1", "0", "1", "0"]
    assert "--yes" in shown
    assert lunacore.ok("sweep").decode() == shown
    assert len(_objects(lunacore)) == 2

    done = lunacore.ok("sweep", "--yes", "--reason", "spring cleaning").decode()
    assert [line.split()[0] for line in done.splitlines()] == ["2", "0", "0", "1"]
    event = json.loads(lunacore.audit().splitlines()[-1])
    assert (event["action"], event["reason"]) == ("sweep", "spring cleaning")
    assert event["detail"] == {"pending": 1, "stored": 1, "neverUploaded": 1}
    assert len(_objects(lunacore)) == 1
    assert lunacore.ok(*GET, lasting) == b"lasting"
    assert [line.split()[0] for line in lunacore.ok("sweep").decode().splitlines()[:4]] == ["0", "0", "0", "0"]


def _leave_what_is_due(lunacore: Lunacore) -> None:
    """One value whose time is up, one upload that never came, one expired grant."""
    long_ago = time.time() - 3600
    config = Config.from_mapping({"tokenizer": {"data_dir": str(lunacore.data)}, "sweep": {"unverified_after": 60}}, {})
    deployment = open_deployment(config, now=lambda: long_ago)
    deployment.tokenizer.issue(Call(operator("default")), [NewValue()])
    Vault(deployment).put(b"expired", ttl=60)
    deployment.grants.put([Entry(bytes(32), b"grant", int(long_ago) + 60)], int(long_ago))
    deployment.close()


def _objects(lunacore: Lunacore) -> list[Path]:
    return [path for path in (lunacore.data / "objects").rglob("*") if path.is_file()]
