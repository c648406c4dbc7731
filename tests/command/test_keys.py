"""``lunacore keys``, and what happens with a wrong or missing keyring."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import time
from typing import TYPE_CHECKING

from lunacore import Config, open_deployment
from lunacore import keyring as keyrings
from lunacore.gateway_keys import credentials
from lunacore.keyring import KeyPurpose
from lunacore_http.command import gateway_key_file
from tests.command.running import GET

if TYPE_CHECKING:
    from lunacore.keyring import Keyring
    from tests.command.running import Lunacore


def _deployed_keyring(lunacore: Lunacore) -> Keyring:
    deployment = open_deployment(Config.from_mapping({"tokenizer": {"data_dir": str(lunacore.data)}}, {}))
    try:
        return deployment.keyring.keyring
    finally:
        deployment.close()


def _stage(lunacore: Lunacore, purpose: KeyPurpose, active_from: int) -> None:
    deployment = open_deployment(Config.from_mapping({"tokenizer": {"data_dir": str(lunacore.data)}}, {}))
    sealed = deployment.keyring_store.read()
    staged = deployment.keyring.keyring.stage(purpose, active_from=active_from, random=os.urandom)
    resealed = keyrings.seal(staged, deployment.key_providers, random=os.urandom)
    assert deployment.keyring_store.replace(sealed, resealed)
    deployment.close()


def test_init_makes_the_keyring_and_says_what_to_back_up(lunacore: Lunacore) -> None:
    said = lunacore.ok("keys", "init").decode()
    assert _deployed_keyring(lunacore).id.hex() in said
    for name in ("keyring", "seal.key", "records.sqlite"):
        assert str(lunacore.data / name) in said
    assert "Back up" in said
    assert stat.S_IMODE((lunacore.data / "seal.key").stat().st_mode) == 0o600
    assert '"action":"keys.init"' in lunacore.audit()


def test_init_changes_nothing_where_there_is_a_keyring(lunacore: Lunacore) -> None:
    lunacore.put(b"value")
    before = (lunacore.data / "keyring").read_bytes()
    ended = lunacore("keys", "init")
    assert ended.code == 4
    assert (lunacore.data / "keyring").read_bytes() == before


def test_list_shows_versions_and_states_and_no_secret(lunacore: Lunacore) -> None:
    lunacore.ok("keys", "init")
    _stage(lunacore, KeyPurpose.ROOT, int(time.time()) + 100_000)
    _stage(lunacore, KeyPurpose.LOOKUP, int(time.time()) - 10)
    printed = lunacore.ok("keys", "list").decode()
    listed = json.loads(lunacore.ok("keys", "list", "--json"))
    states = {(one["purpose"], one["version"]): one["state"] for one in listed["keys"]}
    assert states[("root", 2)] == "staged"
    assert states[("root", 1)] == "active"
    assert states[("lookup", 2)] == "active"
    assert states[("lookup", 1)] == "older"
    assert re.search(r"^root +2  staged  20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ  0$", printed, re.MULTILINE)
    keyring = _deployed_keyring(lunacore)
    assert listed["id"] == keyring.id.hex()
    for key in keyring.keys:
        assert key.secret.hex() not in printed + json.dumps(listed)


def test_export_gives_the_gateway_its_keys_and_no_others(lunacore: Lunacore) -> None:
    lunacore.ok("keys", "init")
    _stage(lunacore, KeyPurpose.GATEWAY, int(time.time()) + 100_000)
    printed = lunacore.ok("keys", "export-gateway", "gateway.key", "--reason", "new gateway").decode()
    path = lunacore.directory / "gateway.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keyring = _deployed_keyring(lunacore)
    expected = [credentials(keyring.of_version(KeyPurpose.GATEWAY, version)) for version in (1, 2)]
    assert list(gateway_key_file.read(path).known) == expected
    for secret in (one.secret_key for one in expected):
        assert secret not in printed + lunacore.audit()
    event = json.loads(lunacore.audit().splitlines()[-1])
    assert (event["action"], event["reason"]) == ("keys.export", "new gateway")
    assert event["detail"] == {"purpose": "gateway", "versions": "1,2"}


def test_export_replaces_only_what_it_is_told_to(lunacore: Lunacore) -> None:
    lunacore.ok("keys", "init")
    (lunacore.directory / "gateway.key").write_text("precious")
    ended = lunacore("keys", "export-gateway", "gateway.key")
    assert ended.code == 1
    assert "--force" in ended.err
    assert (lunacore.directory / "gateway.key").read_text() == "precious"
    assert "keys.export" not in lunacore.audit()
    lunacore.ok("keys", "export-gateway", "gateway.key", "--force")
    gateway_key_file.read(lunacore.directory / "gateway.key")


def test_nothing_is_exported_that_cannot_be_audited(lunacore: Lunacore) -> None:
    lunacore.ok("keys", "init")
    (lunacore.data / "audit" / "audit.jsonl").unlink()
    (lunacore.data / "audit" / "audit.jsonl").symlink_to("/dev/full")
    ended = lunacore("keys", "export-gateway", "gateway.key")
    assert ended.code == 5
    assert "audit" in ended.err
    assert not (lunacore.directory / "gateway.key").exists()


def test_a_missing_keyring_is_never_made_anew_beside_old_records(lunacore: Lunacore) -> None:
    token = lunacore.put(b"value")
    kept = (lunacore.data / "keyring").rename(lunacore.directory / "kept")
    for command in ([*GET, token], ["put"], ["keys", "list"], ["sweep"]):
        ended = lunacore(*command)
        assert ended.code == 4
        assert "restore it from its backup" in ended.err
    kept.rename(lunacore.data / "keyring")
    assert lunacore.ok(*GET, token) == b"value"


def test_a_foreign_keyring_is_refused(lunacore: Lunacore) -> None:
    token = lunacore.put(b"value")
    lunacore.ok("keys", "init", "--data", "other")
    for name in ("keyring", "seal.key"):
        shutil.copy(lunacore.directory / "other" / name, lunacore.data / name)
    ended = lunacore(*GET, token)
    assert ended.code == 4
    assert "belongs to keyring" in ended.err


def test_a_wrong_seal_key_and_a_damaged_keyring_are_told_apart(lunacore: Lunacore) -> None:
    lunacore.ok("keys", "init")
    lunacore.ok("keys", "init", "--data", "other")
    keyring = lunacore.data / "keyring"
    damaged = bytearray(keyring.read_bytes())
    damaged[-1] ^= 1
    whole = keyring.read_bytes()
    keyring.write_bytes(damaged)
    ended = lunacore("keys", "list")
    assert ended.code == 4
    assert "the keyring cannot be opened" in ended.err
    keyring.write_bytes(whole)
    shutil.copy(lunacore.directory / "other" / "seal.key", lunacore.data / "seal.key")
    ended = lunacore("keys", "list")
    assert ended.code == 4
    assert "tokenizer.seal" in ended.err


def test_a_seal_key_that_others_may_read_is_refused(lunacore: Lunacore) -> None:
    lunacore.ok("keys", "init")
    (lunacore.data / "seal.key").chmod(0o644)
    ended = lunacore("keys", "list")
    assert ended.code == 4
    assert "chmod 600" in ended.err
