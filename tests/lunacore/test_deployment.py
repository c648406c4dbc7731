"""Deployments: first starts, keyrings that are missing, foreign or old, and several processes that start at once."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lunacore import canary
from lunacore.config import Config
from lunacore.deployment import Deployment, init_keyring, open_deployment
from lunacore.errors import ConfigError, KeyringError, LunaCoreError, UnsupportedVersion
from lunacore.keyring import KeyPurpose
from lunacore.records import RecordType
from lunacore.testing.deployment import Clock, open_in_memory, stage_key
from lunacore.vault import Vault, open_vault
from lunacore_backends.sqlite import SQLiteGrants, SQLiteRecords


def config_at(directory: Path, **settings: str) -> Config:
    return Config.from_mapping({"tokenizer": {"data_dir": str(directory), **settings}}, environ={})


def kept(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.suffix not in (".sqlite-wal", ".sqlite-shm", ".sqlite-turn", ".lock")
    }


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A data directory with one value in it."""
    directory = tmp_path / "data"
    with open_vault(config_at(directory)) as vault:
        vault.put(b"a value")
    return directory


def test_the_first_start_makes_everything(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "data"
    with Vault(open_deployment(config_at(directory))) as vault:
        assert vault.get(vault.put(b"x")) == b"x"
    assert {path.name for path in directory.iterdir()} >= {
        "records.sqlite",
        "grants.sqlite",
        "objects",
        "keyring",
        "seal.key",
    }


def test_starting_again_changes_neither_keyring_nor_key(used: Path) -> None:
    before = kept(used)
    open_deployment(config_at(used)).close()
    after = kept(used)
    assert (before["keyring"], before["seal.key"]) == (after["keyring"], after["seal.key"])


class TestKeyrings:
    @pytest.mark.parametrize("missing", [("keyring",), ("keyring", "seal.key")])
    def test_one_that_is_missing_is_not_made_anew_over_records(self, used: Path, missing: tuple[str, ...]) -> None:
        for name in missing:
            (used / name).unlink()
        before = kept(used)
        with pytest.raises(KeyringError, match=r"restore it from its backup, since a new one could open nothing"):
            open_deployment(config_at(used))
        assert kept(used) == before

    def test_a_seal_key_that_is_missing_is_not_made_anew(self, used: Path) -> None:
        (used / "seal.key").unlink()
        before = kept(used)
        with pytest.raises(KeyringError, match=r"seal\.key; restore it from its backup"):
            open_deployment(config_at(used))
        assert kept(used) == before

    def test_a_wrong_seal_key_opens_nothing(self, used: Path, tmp_path: Path) -> None:
        open_deployment(config_at(tmp_path / "other")).close()
        (used / "seal.key").write_bytes((tmp_path / "other" / "seal.key").read_bytes())
        with pytest.raises(KeyringError, match=r"tokenizer\.seal"):
            open_deployment(config_at(used))

    def test_a_foreign_keyring_is_refused(self, used: Path, tmp_path: Path) -> None:
        open_deployment(config_at(tmp_path / "other")).close()
        for name in ("keyring", "seal.key"):
            (used / name).write_bytes((tmp_path / "other" / name).read_bytes())
        with pytest.raises(KeyringError, match="belongs to keyring"):
            open_deployment(config_at(used))

    def test_an_older_keyring_is_refused(self, used: Path) -> None:
        older = (used / "keyring").read_bytes()
        deployment = open_deployment(config_at(used))
        stage_key(deployment, KeyPurpose.LOOKUP)
        deployment.close()
        open_deployment(config_at(used)).close()
        (used / "keyring").write_bytes(older)
        with pytest.raises(KeyringError, match="restore the newest keyring"):
            open_deployment(config_at(used))

    @pytest.mark.parametrize("content", [b"", b"LCKR", b"not a keyring"])
    def test_a_damaged_one_is_refused_and_left(self, used: Path, content: bytes) -> None:
        (used / "keyring").write_bytes(content)
        with pytest.raises(LunaCoreError) as refusal:
            open_deployment(config_at(used))
        assert refusal.value.name in ("keyringError", "integrityError")
        assert (used / "keyring").read_bytes() == content

    def test_one_of_a_later_release_is_refused(self, used: Path) -> None:
        content = (used / "keyring").read_bytes()
        (used / "keyring").write_bytes(content[:4] + b"\x02" + content[5:])
        with pytest.raises(UnsupportedVersion, match="upgrade LunaCore"):
            open_deployment(config_at(used))

    def test_one_that_is_named_is_never_made_unasked(self, tmp_path: Path) -> None:
        config = config_at(
            tmp_path, keyring=f"file://{tmp_path}/named", seal=f"file://{tmp_path}/named.key?create=missing"
        )
        with pytest.raises(KeyringError, match="lunacore keys init"):
            open_deployment(config)
        assert not (tmp_path / "named").exists()
        created = init_keyring(config)
        deployment = open_deployment(config)
        assert deployment.keyring.keyring == created
        deployment.close()

    def test_a_keyring_in_memory_cannot_open_records_that_last(self, used: Path) -> None:
        with pytest.raises(KeyringError, match="restore it from its backup"):
            open_deployment(config_at(used, keyring="memory://", seal="memory:"))

    def test_the_root_of_the_canary_can_be_retired(self) -> None:
        clock = Clock()
        deployment = open_in_memory(clock)
        stage_key(deployment, KeyPurpose.ROOT)
        clock.advance(180)
        canary.check(deployment.records, deployment.keyring.keyring, now=clock(), random=deployment.random)
        retired = deployment.keyring.keyring.without(KeyPurpose.ROOT, 1)
        canary.check(deployment.records, retired, now=clock(), random=deployment.random)


class TestInit:
    def test_makes_what_a_start_would(self, tmp_path: Path) -> None:
        created = init_keyring(config_at(tmp_path))
        deployment = open_deployment(config_at(tmp_path))
        assert deployment.keyring.keyring == created
        deployment.close()

    def test_leaves_a_keyring_that_is_there(self, used: Path, tmp_path: Path) -> None:
        init_keyring(config_at(tmp_path / "new"))
        for directory in (used, tmp_path / "new"):
            before = kept(directory)
            with pytest.raises(KeyringError):
                init_keyring(config_at(directory))
            assert kept(directory) == before

    def test_refuses_a_record_store_that_had_one(self, used: Path) -> None:
        (used / "keyring").unlink()
        before = kept(used)
        with pytest.raises(KeyringError, match="restore that one"):
            init_keyring(config_at(used))
        assert kept(used) == before


class TestFailures:
    @pytest.mark.parametrize(
        ("settings", "error"),
        [
            ({"objects": "nowhere://x"}, ConfigError),
            ({"audit": "nowhere://x"}, ConfigError),
            ({"keyring": "nowhere://x"}, ConfigError),
            ({"seal": "nowhere:"}, ConfigError),
            ({"records": "not a url"}, ConfigError),
            ({"records": "sqlite:///dev/null/records.sqlite"}, ConfigError),
        ],
    )
    def test_what_was_opened_is_closed_again(
        self, tmp_path: Path, settings: dict[str, str], error: type[LunaCoreError], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened, closed = [], []
        kinds: list[Any] = [SQLiteRecords, SQLiteGrants]
        for kind in kinds:
            original_init, original_close = kind.__init__, kind.close

            def init(self: Any, *args: Any, original: Any = original_init, **kwargs: Any) -> None:
                original(self, *args, **kwargs)
                opened.append(id(self))

            def close(self: Any, original: Any = original_close) -> None:
                closed.append(id(self))
                original(self)

            monkeypatch.setattr(kind, "__init__", init)
            monkeypatch.setattr(kind, "close", close)
        with pytest.raises(error, match=f"tokenizer.{next(iter(settings))}"):
            open_deployment(config_at(tmp_path, **settings))
        assert len(opened) == (0 if "records" in settings else 2)
        assert sorted(opened) == sorted(closed)


def start(directory: Path) -> subprocess.Popen[str]:
    script = Path(__file__).with_name("vault_process.py")
    return subprocess.Popen(
        [sys.executable, script, directory, "put"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_four_processes_that_start_at_once_share_one_keyring(tmp_path: Path) -> None:
    for attempt in range(3):
        directory = tmp_path / str(attempt)
        processes = [start(directory) for _ in range(4)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=100) for process in processes]
        assert [process.returncode for process in processes] == [0] * 4, answers
        tokens, keyrings = zip(*(out.split() for out, _ in answers), strict=True)
        assert len(set(keyrings)) == 1
        with open_vault(config_at(directory)) as vault:
            assert [vault.get(token) for token in tokens] == [b"from another process"] * 4
            stored = [one for one in vault.deployment.records.scan() if one.header.record_type is RecordType.TOKEN]
        assert len(stored) == 4


def test_settings_reach_the_tokenizer() -> None:
    deployment = open_in_memory(
        Clock(),
        {
            "tickets": {"upload_ttl": "1m", "download_ttl": 30, "max_value_size": 99},
            "grants": {"default_ttl": "10m", "max_ttl": "20m"},
            "sessions": {"max_ttl": "30m"},
            "sweep": {"unverified_after": "1d", "never_uploaded_after": "2h"},
        },
    )
    policy, limits = deployment.tokenizer.policy, deployment.tokenizer.grants.limits
    assert (policy.upload_ttl, policy.download_ttl, policy.max_value_size, policy.unverified_ttl) == (
        60,
        30,
        99,
        86_400,
    )
    assert (limits.default_ttl, limits.max_ttl, limits.max_session_ttl) == (600, 1_200, 1_800)
    assert (policy.never_uploaded_ttl, deployment.tokenizer.eraser.unverified_ttl) == (7_200, 86_400)


def test_closing_closes_every_part(tmp_path: Path) -> None:
    deployment: Deployment = open_deployment(config_at(tmp_path))
    Vault(deployment).put(io.BytesIO(b"x"))
    deployment.close()
    deployment.close()
