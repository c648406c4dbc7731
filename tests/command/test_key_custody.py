"""``lunacore keys reseal``, ``backup`` and ``restore``, and starting with several key providers; with OpenBao and AWS KMS."""

from __future__ import annotations

import json
import shutil
import stat
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import httpx
import pytest

from lunacore.testing.servers import TokenizerProcess, free_port
from tests.servers import openbao as openbao_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.command.running import Ended, Lunacore
    from tests.servers.aws_kms import AWSKMS
    from tests.servers.openbao import OpenBao

WORDS = {"LUNA_ONE": "correct horse", "LUNA_TWO": "battery staple"}
ONE, TWO = "passphrase:?env=LUNA_ONE", "passphrase:?env=LUNA_TWO"


def seal(url: str, **more: str) -> dict[str, str]:
    return {"LUNACORE_TOKENIZER_SEAL": url, **WORDS, **more}


def key_file(lunacore: Lunacore, name: str = "seal.key") -> str:
    return (lunacore.data / name).as_uri()


def new_key_file(lunacore: Lunacore, name: str) -> str:
    return f"{key_file(lunacore, name)}?create=missing"


def get(lunacore: Lunacore, token: str, environ: Mapping[str, str] | None = None) -> Ended:
    return lunacore("get", token, "--reason", "test", environ=environ)


def got(lunacore: Lunacore, token: str, environ: Mapping[str, str] | None = None) -> bytes:
    ended = get(lunacore, token, environ)
    assert (ended.code, ended.err) == (0, "")
    return ended.out


def listed(lunacore: Lunacore, environ: Mapping[str, str] | None = None) -> dict[str, object]:
    printed: dict[str, object] = json.loads(lunacore.ok("keys", "list", "--json", environ=environ))
    return printed


def last_event(lunacore: Lunacore, action: str) -> dict[str, object]:
    events = [json.loads(line) for line in lunacore.audit().splitlines()]
    found: dict[str, object] = next(event for event in reversed(events) if event.get("action") == action)
    return found


class TestReseal:
    @pytest.mark.long
    def test_one_command_changes_the_key_provider(self, lunacore: Lunacore) -> None:
        token = lunacore.put(b"value")
        new = seal(new_key_file(lunacore, "new.key"))
        said = lunacore.ok("keys", "reseal", "--with", key_file(lunacore), "--reason", "moved", environ=new).decode()
        assert "serial 2, is sealed for\n  file:" in said
        assert "Back it up anew" in said
        assert got(lunacore, token, new) == b"value"
        event = last_event(lunacore, "keys.reseal")
        assert event["reason"] == "moved"
        ended = get(lunacore, token)
        assert ended.code == 4
        assert "none of these is configured; check the setting tokenizer.seal" in ended.err

    def test_without_one_that_opens_nothing_is_changed(self, lunacore: Lunacore) -> None:
        lunacore.ok("keys", "init")
        before = (lunacore.data / "keyring").read_bytes()
        ended = lunacore("keys", "reseal", environ=seal(new_key_file(lunacore, "new.key")))
        assert ended.code == 4
        ended = lunacore("keys", "reseal", "--with", "file:///nowhere", environ=seal(new_key_file(lunacore, "new.key")))
        assert ended.code == 4
        assert "--with: there is no file /nowhere" in ended.err
        assert (lunacore.data / "keyring").read_bytes() == before

    @pytest.mark.long
    def test_several_recipients_and_the_loss_of_one(self, lunacore: Lunacore) -> None:
        token = lunacore.put(b"value")
        two = seal(f"{key_file(lunacore)}, {new_key_file(lunacore, 'spare.key')}")
        lunacore.ok("keys", "reseal", environ=two)
        assert len(listed(lunacore, two)["recipients"]) == 2  # type: ignore[arg-type]
        assert lunacore.ok("keys", "list", environ=two).count(b"opens with file:") == 2
        (lunacore.data / "seal.key").unlink()
        assert got(lunacore, token, two) == b"value"
        # What is lost must be replaced before keys can be added: the keyring would no longer be sealed for it.
        ended = lunacore("keys", "rotate", environ=two)
        assert ended.code == 4
        assert f"tokenizer.seal (file://{lunacore.data / 'seal.key'}): there is no file" in ended.err
        one = seal(key_file(lunacore, "spare.key"))
        ended = lunacore("keys", "rotate", environ=one)
        assert ended.code == 4
        assert "lunacore keys reseal" in ended.err
        lunacore.ok("keys", "reseal", environ=one)
        lunacore.ok("keys", "rotate", environ=one)
        assert got(lunacore, token, one) == b"value"

    @pytest.mark.long
    def test_two_custodians_together(self, lunacore: Lunacore) -> None:
        both = seal(f"all({ONE}, {TWO})")
        lunacore.ok("keys", "init", environ=both)
        token = lunacore.ok("put", given=b"value", environ=both).decode().strip()
        assert got(lunacore, token, both) == b"value"
        assert listed(lunacore, both)["recipients"] == ["all(passphrase, passphrase)"]
        for alone in (ONE, TWO, f"{ONE}, {key_file(lunacore)}"):
            assert get(lunacore, token, seal(alone)).code in (3, 4)
        wrong = get(lunacore, token, {**both, "LUNA_TWO": "battery stapler"})
        assert wrong.code == 4
        assert "battery" not in wrong.err


class TestBackup:
    def test_copies_the_sealed_form_and_reads_it_back(self, lunacore: Lunacore) -> None:
        lunacore.ok("keys", "init")
        said = lunacore.ok("keys", "backup", "copy", "--reason", "nightly").decode()
        copy = lunacore.directory / "copy"
        assert copy.read_bytes() == (lunacore.data / "keyring").read_bytes()
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert "was read back and opens" in said
        assert last_event(lunacore, "keys.backup")["reason"] == "nightly"
        assert lunacore("keys", "backup", "copy").code == 1
        lunacore.ok("keys", "backup", "copy", "--force")

    @pytest.mark.long
    def test_seals_for_others(self, lunacore: Lunacore) -> None:
        lunacore.ok("keys", "init")
        lunacore.ok("keys", "backup", "copy", "--seal", f"all({ONE}, {TWO})", environ=WORDS)
        content = (lunacore.directory / "copy").read_bytes()
        assert b"passphrase" in content
        assert b"file:" not in content
        assert b"passphrase" not in (lunacore.data / "keyring").read_bytes()

    def test_writes_nothing_that_it_could_not_audit(self, lunacore: Lunacore) -> None:
        lunacore.ok("keys", "init")
        (lunacore.data / "audit" / "audit.jsonl").unlink()
        (lunacore.data / "audit" / "audit.jsonl").symlink_to("/dev/full")
        assert lunacore("keys", "backup", "copy").code == 5
        assert not (lunacore.directory / "copy").exists()

    @pytest.mark.long
    def test_a_full_disk_leaves_no_backup_that_looks_like_one(self, lunacore: Lunacore) -> None:
        lunacore.ok("keys", "init")
        ended = lunacore("keys", "backup", "/dev/full", "--force")
        assert ended.code == 1
        assert "cannot write" in ended.err


class TestRestore:
    @pytest.mark.long
    def test_a_drill(self, lunacore: Lunacore) -> None:
        token = lunacore.put(b"value")
        lunacore.ok("keys", "backup", "copy", "--seal", ONE, environ=WORDS)
        for name in ("keyring", "seal.key"):
            (lunacore.data / name).unlink()
        assert get(lunacore, token).code == 4
        before = sorted(lunacore.data.iterdir())
        rehearsed = lunacore.ok("keys", "restore", "copy", "--with", ONE, "--dry-run", environ=WORDS).decode()
        assert "serial 1, could be put in place" in rehearsed
        assert "a new key file" in rehearsed
        assert sorted(lunacore.data.iterdir()) == before
        said = lunacore.ok("keys", "restore", "copy", "--with", ONE, "--reason", "drill", environ=WORDS).decode()
        assert "is in place, sealed for\n  file:" in said
        assert got(lunacore, token) == b"value"
        assert last_event(lunacore, "keys.restore")["reason"] == "drill"

    @pytest.mark.long
    def test_refuses_older_foreign_and_damaged_backups_and_makes_nothing(self, lunacore: Lunacore) -> None:
        lunacore.put(b"value")
        lunacore.ok("keys", "backup", "older")
        lunacore.ok("keys", "rotate", "--purpose", "session")
        lunacore.ok("keys", "init", "--data", "other")
        lunacore.ok("keys", "backup", "foreign", "--data", "other", "--seal", ONE, environ=WORDS)
        (lunacore.directory / "damaged").write_bytes((lunacore.directory / "older").read_bytes()[:-1])
        before = (lunacore.data / "keyring").read_bytes()
        for name, said in {"older": "is older", "foreign": "belongs to keyring", "damaged": "cannot be opened"}.items():
            ended = lunacore("keys", "restore", name, "--with", ONE, environ=WORDS)
            assert ended.code == 4
            assert said in ended.err
            assert (lunacore.data / "keyring").read_bytes() == before
        assert "keys.restore" not in lunacore.audit()
        # Not by force either, and no key file is left of the attempt.
        (lunacore.data / "seal.key").unlink()
        assert lunacore("keys", "restore", "foreign", "--with", ONE, "--force", environ=WORDS).code == 4
        assert not (lunacore.data / "seal.key").exists()

    @pytest.mark.long
    def test_an_older_backup_by_force(self, lunacore: Lunacore) -> None:
        token = lunacore.put(b"value")
        lunacore.ok("keys", "backup", "older")
        lunacore.ok("keys", "reseal")
        (lunacore.data / "keyring").unlink()
        lunacore.ok("keys", "restore", "older", "--force")
        assert got(lunacore, token) == b"value"
        assert listed(lunacore)["serial"] == 3

    def test_needs_the_records_first(self, lunacore: Lunacore) -> None:
        lunacore.ok("keys", "init")
        lunacore.ok("keys", "backup", "copy", "--seal", ONE, environ=WORDS)
        shutil.rmtree(lunacore.data)
        ended = lunacore("keys", "restore", "copy", "--with", ONE, environ=WORDS)
        assert ended.code == 1
        assert "restore them first" in ended.err
        assert not lunacore.data.exists()

    def test_what_is_no_file_is_named(self, lunacore: Lunacore) -> None:
        lunacore.ok("keys", "init")
        assert "cannot read" in lunacore("keys", "restore", "nothing").err
        (lunacore.directory / "large").write_bytes(bytes((1 << 20) + 1))
        assert "is no keyring" in lunacore("keys", "restore", "large").err


def test_config_check_shows_recipients_without_options(lunacore: Lunacore) -> None:
    url = "openbao://bao.example.com/transit/keys/luna?token_file=/run/token"
    printed = lunacore.ok(
        "config", "check", environ=seal(f"all({url}, file:///a), awskms:///alias/b?region=x")
    ).decode()
    shown = (
        'seal = ["all(openbao://bao.example.com/transit/keys/luna, file:///a)", "awskms:///alias/b"]  # credentials and'
    )
    assert shown in printed
    assert "token_file" not in printed
    wrong = lunacore("config", "check", environ=seal("all(file:///a)"))
    assert wrong.code == 3
    assert "tokenizer.seal: all(…) takes 2 to 16 different URLs" in wrong.err


@pytest.mark.servers
@pytest.mark.xdist_group("openbao")
class TestWithOpenBao:
    @pytest.fixture
    def bao(self, tmp_path: Path) -> Iterator[OpenBao]:
        """One of its own, to be stopped."""
        if reason := openbao_server.missing():
            pytest.skip(reason)
        folder = tmp_path / "openbao"
        folder.mkdir()
        with openbao_server.OpenBao(folder) as server:
            yield server

    def url(self, bao: OpenBao, lunacore: Lunacore) -> str:
        bao.make_key("luna")
        token = lunacore.directory / "token"
        token.write_text(bao.make_token("luna"))
        token.chmod(0o600)
        options = {"ca": str(bao.ca), "token_file": str(token)}
        return f"openbao://127.0.0.1:{bao.port}/transit/keys/luna?{urlencode(options)}"

    @pytest.mark.long
    def test_a_move_to_openbao_while_a_server_serves_and_openbao_goes_away(
        self, lunacore: Lunacore, bao: OpenBao
    ) -> None:
        token = lunacore.put(b"value")
        url = self.url(bao, lunacore)
        moving = seal(f"{key_file(lunacore)}, {url}")
        operations = free_port()
        settings = {
            "tokenizer": {
                "data_dir": str(lunacore.data), "port": free_port(), "operations": f"127.0.0.1:{operations}",
                "seal": [key_file(lunacore), url],
            },
            "keys": {"reload_period": "1s"},
        }  # fmt: skip
        with TokenizerProcess(settings):
            lunacore.ok("keys", "reseal", environ=moving)
            only = seal(url)
            lunacore.ok("keys", "reseal", environ=only)
            assert listed(lunacore, only)["recipients"] == [f"transit:127.0.0.1:{bao.port}/transit/keys/luna"]
            assert got(lunacore, token, only) == b"value"
            assert httpx.get(f"http://127.0.0.1:{operations}/ready", timeout=30).status_code == 200
            bao.stop()
            # Those that run need it no more.
            assert httpx.get(f"http://127.0.0.1:{operations}/ready", timeout=30).status_code == 200
            ended = get(lunacore, token, only)
            assert ended.code == 5
            assert "it cannot be reached" in ended.err
            assert get(lunacore, token, seal(key_file(lunacore))).code == 4

    @pytest.mark.long
    def test_doctor_tells_of_every_recipient(self, lunacore: Lunacore, bao: OpenBao) -> None:
        lunacore.put(b"value")
        both = seal(f"{self.url(bao, lunacore)}, {key_file(lunacore)}")
        said = lunacore("doctor", environ=both).text
        assert "tokenizer.seal names others" in said
        lunacore.ok("keys", "reseal", environ=both)
        said = lunacore("doctor", environ=both).text
        assert f"transit:127.0.0.1:{bao.port}/transit/keys/luna seals, and opens what it sealed" in said
        assert said.count(" opens the keyring\n") == 2
        bao.stop()
        said = lunacore("doctor", environ=both).text
        assert "PROBLEM  tokenizer.seal: tokenizer.seal (openbao://127.0.0.1" in said
        assert "warning  tokenizer.seal: transit:127.0.0.1" in said
        assert said.count(" opens the keyring\n") == 1
        assert lunacore("config", "check", "--open", environ=both).code == 0


@pytest.mark.servers
@pytest.mark.xdist_group("aws_kms")
@pytest.mark.usefixtures("s3_credentials")
@pytest.mark.long
def test_a_key_file_and_kms_together(lunacore: Lunacore, aws_kms: AWSKMS) -> None:
    aws_kms.make_key("ceremony")
    kms = aws_kms.url("alias/ceremony")
    token = lunacore.put(b"value")
    both = seal(f"all({key_file(lunacore)}, {kms})")
    lunacore.ok("keys", "reseal", environ=both)
    assert got(lunacore, token, both) == b"value"
    for alone in (key_file(lunacore), kms):
        ended = get(lunacore, token, seal(alone))
        assert ended.code == 4
        assert "is sealed by all(awskms:eu-central-1:alias/ceremony, file:" in ended.err
    unreachable = aws_kms.url("alias/ceremony", endpoint=f"http://127.0.0.1:{free_port()}")
    away = seal(f"all({key_file(lunacore)}, {unreachable})")
    assert get(lunacore, token, away).code == 5
