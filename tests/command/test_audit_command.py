"""``lunacore audit`` and break-glass: verify, search, export, keys, forget, and reasons, as an operator and as an auditor."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import pty
import shutil
import sqlite3
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from lunacore import open_vault
from tests.command.running import GET, PROGRAM, Lunacore

if TYPE_CHECKING:
    from pathlib import Path

# One worker runs them all, and so makes what they share once.
pytestmark = pytest.mark.xdist_group("audit_command")

TAMPERED = 6


def log_of(lunacore: Lunacore) -> Path:
    return lunacore.data / "audit" / "audit.jsonl"


def findings(lunacore: Lunacore, *arguments: str | Path) -> list[dict[str, Any]]:
    ended = lunacore("audit", "verify", "--json", *arguments)
    report: dict[str, Any] = json.loads(ended.out)
    assert ended.code == (0 if report["sound"] else TAMPERED)
    assert report["sound"] is not bool(report["findings"])
    found: list[dict[str, Any]] = report["findings"]
    return found


@pytest.fixture(scope="session")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of one who put two values away and got one of them."""
    lunacore = Lunacore(tmp_path_factory.mktemp("pattern"))
    token = lunacore.put(b"one")
    lunacore.put(b"two", "--reason", "a reason")
    lunacore.ok("get", token, "--reason", "ticket 4711")
    (lunacore.directory / "token").write_text(token + "\n")
    return lunacore.directory


@pytest.fixture
def written(pattern: Path, tmp_path: Path) -> Lunacore:
    """A copy of it."""
    return Lunacore(shutil.copytree(pattern, tmp_path / "written"))


class TestVerify:
    def test_a_log_that_nobody_touched_is_sound(self, written: Lunacore) -> None:
        shown = written.ok("audit", "verify", "--records").decode()
        assert shown.splitlines() == [
            "6 events of 3 chains, 3 checkpoints",
            "sound: nothing was changed, removed, repeated or cut off",
        ]

    def test_the_first_bad_event_is_named(self, written: Lunacore) -> None:
        log = log_of(written)
        lines = log.read_bytes().splitlines(keepends=True)
        chain = json.loads(lines[4])["chain"]
        log.write_bytes(b"".join(lines).replace(b"ticket 4711", b"ticket 4712"))
        ended = written("audit", "verify")
        assert ended.code == TAMPERED
        assert f"{log}:5: altered: the event is not the one that was written (chain {chain}, sequence 0)" in ended.text
        assert "NOT SOUND" in ended.text

    def test_a_chain_that_was_removed_and_a_log_that_was_emptied(self, written: Lunacore) -> None:
        log = log_of(written)
        lines = log.read_bytes().splitlines(keepends=True)
        log.write_bytes(b"".join(lines[2:]))
        assert [one["problem"] for one in findings(written)] == ["chain_removed"]
        log.unlink()
        assert [one["problem"] for one in findings(written)] == ["chain_removed"] * 3

    @pytest.mark.long
    def test_an_older_log_in_its_place(self, written: Lunacore) -> None:
        log = log_of(written)
        older = log.read_bytes()
        written.put(b"three")
        log.write_bytes(older)
        assert [one["problem"] for one in findings(written)] == ["chain_removed"]

    def test_a_record_of_a_chain_that_was_removed_or_changed(self, written: Lunacore) -> None:
        with sqlite3.connect(written.data / "records.sqlite") as database:
            chains = database.execute("SELECT name, body FROM records WHERE root_version = ?", (2**31 - 1,)).fetchall()
            assert len(chains) == 3
            name, body = chains[0]
            database.execute(
                "UPDATE records SET body = ? WHERE name = ?", (body.replace(b'"process":', b'"process":1'), name)
            )
            database.execute("DELETE FROM records WHERE name = ?", (chains[1][0],))
        assert sorted(one["problem"] for one in findings(written)) == ["forged_checkpoint", "unknown_chain"] or sorted(
            one["problem"] for one in findings(written)
        ) == ["forged_checkpoint", "forged_checkpoint", "unknown_chain"]

    @pytest.mark.long
    def test_the_second_place_finds_what_was_removed_from_log_and_records(self, lunacore: Lunacore) -> None:
        copies = lunacore.directory / "copies" / "checkpoints.jsonl"
        environ = {"LUNACORE_AUDIT_COPY": copies.as_uri()}
        for value in (b"one", b"two"):
            lunacore.ok("put", given=value, environ=environ)
        log = log_of(lunacore)
        log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
        with sqlite3.connect(lunacore.data / "records.sqlite") as database:
            database.execute("DELETE FROM records WHERE root_version = ?", (2**31 - 1,))
        problems = [one["problem"] for one in findings(lunacore, "--from", copies)]
        assert "chain_removed" in problems
        assert lunacore("audit", "verify", environ=environ).code == TAMPERED

    @pytest.mark.long
    def test_rotated_and_compressed_files_in_any_order(self, written: Lunacore) -> None:
        log = log_of(written)
        first, rest = log.read_bytes().split(b"\n", 1)
        (log.parent / "audit.jsonl.2.gz").write_bytes(gzip.compress(first + b"\n"))
        second, rest = rest.split(b"\n", 1)
        (log.parent / "audit.jsonl.1").write_bytes(second + b"\n")
        log.write_bytes(rest)
        assert findings(written) == []
        named = [log, log.parent / "audit.jsonl.1", log.parent / "audit.jsonl.2.gz"]
        assert findings(written, *named) == []
        assert findings(written, *named[:2]) != []
        assert findings(written, "--partial", *named[:2]) == []
        assert findings(written, log.parent) == []

    @pytest.mark.long
    def test_events_behind_what_syslog_puts_before_them(self, written: Lunacore) -> None:
        log = log_of(written)
        lines = [b"Nov 22 08:00:00 host lunacore[1]: " + line for line in log.read_bytes().splitlines(keepends=True)]
        collected = written.directory / "syslog"
        collected.write_bytes(b"".join(lines))
        assert findings(written, "--syslog", collected) == []
        assert findings(written, collected) != []

    @pytest.mark.parametrize("form", [pytest.param([], marks=pytest.mark.long), ["--pem"]])
    def test_an_auditor_needs_public_keys_alone(self, written: Lunacore, tmp_path: Path, form: list[str]) -> None:
        elsewhere = Lunacore(tmp_path / "elsewhere")
        elsewhere.directory.mkdir()
        (elsewhere.directory / "keys").write_bytes(written.ok("audit", "keys", *form))
        shutil.copy(log_of(written), elsewhere.directory / "log")
        assert findings(elsewhere, "--keys", "keys", "log") == []
        assert not elsewhere.data.exists()
        text = (elsewhere.directory / "log").read_text()
        (elsewhere.directory / "log").write_text(text.replace("ticket 4711", "ticket 4712"))
        assert [one["line"] for one in findings(elsewhere, "--keys", "keys", "log")] == [5]
        other = Lunacore(tmp_path / "other")
        other.directory.mkdir()
        other.put(b"value")
        (elsewhere.directory / "others").write_bytes(other.ok("audit", "keys"))
        assert "bad_signature" in [one["problem"] for one in findings(elsewhere, "--keys", "others", "log")]

    def test_a_record_that_was_put_back_is_found(self, written: Lunacore) -> None:
        token = (written.directory / "token").read_text().strip()
        with sqlite3.connect(written.data / "records.sqlite") as database:
            before = database.execute("SELECT * FROM records WHERE root_version = 1").fetchall()
        written.ok("delete", token)
        assert findings(written, "--records") == []
        with sqlite3.connect(written.data / "records.sqlite") as database:
            for row in before:
                database.execute(f"INSERT OR REPLACE INTO records VALUES ({','.join('?' * len(row))})", row)
        assert findings(written) == []
        (finding,) = findings(written, "--records")
        assert finding["problem"] == "put_back"
        assert finding["line"] is not None
        assert "erase it again" in finding["message"]

    @pytest.mark.parametrize(
        ("arguments", "code", "told"),
        [
            (["--keys", "nowhere", "log"], 1, "cannot read nowhere"),
            (["--keys", "rubbish", "log"], 1, "holds no audit keys"),
            (["--keys", "rubbish", "--records"], 2, "--records needs"),
            (["nowhere"], 5, "there is no such file"),
        ],
    )
    def test_mistakes(self, written: Lunacore, arguments: list[str], code: int, told: str) -> None:
        (written.directory / "rubbish").write_text("rubbish")
        ended = written("audit", "verify", *arguments)
        assert (ended.code, told in ended.err) == (code, True)
        assert "Traceback" not in ended.err

    def test_a_compressed_file_that_is_damaged(self, written: Lunacore) -> None:
        (written.directory / "log.jsonl.gz").write_bytes(gzip.compress(log_of(written).read_bytes())[:-20])
        ended = written("audit", "verify", "log.jsonl.gz")
        assert ended.code == 5
        assert "cannot be read" in ended.err


class TestSearch:
    def search(self, lunacore: Lunacore, *arguments: str, given: bytes = b"") -> list[dict[str, Any]]:
        printed = lunacore.ok("audit", "search", "--json", *arguments, given=given)
        return [json.loads(line) for line in printed.splitlines()]

    @pytest.mark.long
    def test_by_token_reason_action_and_time(self, written: Lunacore) -> None:
        token = (written.directory / "token").read_bytes()
        found = self.search(written, "--token-file", "token")
        assert [one["action"] for one in found] == ["tokenize", "detokenize"]
        assert self.search(written, "--token-file", "-", given=token) == found
        assert self.search(written, "--token", found[0]["token"]) == found
        assert self.search(written, "--token-file", "token", "--action", "detokenize") == found[1:]
        assert self.search(written, "--reason", "TICKET") == found[1:]
        assert self.search(written, "--token-file", "token", "--since", "1h") == found
        assert self.search(written, "--token-file", "token", "--until", "1h") == []
        assert self.search(written, "--token-file", "token", "--since", found[1]["time"]) == found[1:]
        assert self.search(written, "--token-file", "token", "--tenant", "other") == []

    @pytest.mark.long
    def test_by_label(self, lunacore: Lunacore) -> None:
        hers = [
            lunacore.put(b"value", "--label", "alice", "--label", "both"),
            lunacore.put(b"value", "--label", "both"),
        ]
        other = lunacore.put(b"value", "--label", "bob")
        for token in (*hers, other):
            lunacore.ok("get", token, "--reason", "a test")
        with open_vault(lunacore.data) as vault:
            vault.label(other, ["later"])
        lunacore("erase", "--label", "alice", "--yes")
        found = self.search(lunacore, "--label", "alice")
        assert [one["action"] for one in found] == ["tokenize", "detokenize", "erase"]
        assert self.search(lunacore, "--label", "-", given=b"alice\n") == found
        both = [one["action"] for one in self.search(lunacore, "--label", "both")]
        assert both == ["tokenize", "tokenize", "detokenize", "detokenize"]
        later = [one["action"] for one in self.search(lunacore, "--label", "later")]
        assert later == ["tokenize", "detokenize", "token.label", "token.label"]
        assert self.search(lunacore, "--label", "carol") == []
        assert self.search(lunacore, "--label", "alice", "--tenant", "other") == []
        assert "alice" not in lunacore.audit()
        assert lunacore("audit", "search", "--label", "").code == 2

    @pytest.mark.long
    def test_by_outcome_and_detail(self, written: Lunacore) -> None:
        assert written("get", "lunasec-00000000-0000-4000-8000-000000000000", "--reason", "why not").code == 1
        (refused,) = self.search(written, "--outcome", "refused")
        assert (refused["outcome"], refused["reason"]) == ("tokenNotFound", "why not")
        assert self.search(written, "--outcome", "tokenNotFound") == [refused]
        assert refused not in self.search(written, "--outcome", "allowed")
        host = os.uname().nodename
        assert refused in self.search(written, "--detail", f"host={host}", "--action", "detokenize")
        assert self.search(written, "--detail", "host=elsewhere") == []
        assert len(self.search(written, "--detail", "final=true")) == 4

    def test_what_others_wrote_does_nothing_to_a_terminal(self, lunacore: Lunacore) -> None:
        lunacore.put(b"value", "--reason", "\x1b]0;owned\x07\nforged")
        shown = lunacore.ok("audit", "search").decode()
        assert len(shown.splitlines()) == 2
        assert shown.replace("\n", "").isprintable()

    def test_a_token_as_an_argument_is_refused_and_not_repeated(self, written: Lunacore) -> None:
        token = (written.directory / "token").read_text().strip()
        ended = written("audit", "search", "--token", token)
        assert ended.code == 2
        assert token not in ended.err
        assert "--token-file" in ended.err

    @pytest.mark.parametrize(
        "arguments", [["--since", "yesterday"], ["--detail", "x"], ["--token-file", "token", "--token", "a" * 32]]
    )
    def test_mistakes(self, written: Lunacore, arguments: list[str]) -> None:
        assert written("audit", "search", *arguments).code == 2

    @pytest.mark.long
    def test_export(self, written: Lunacore) -> None:
        written.put(b"three", "--reason", "=HYPERLINK(1)")
        assert written.ok("audit", "export", "-o", "all.jsonl") == b""
        assert (written.directory / "all.jsonl").read_bytes() == log_of(written).read_bytes()
        assert findings(written, "all.jsonl", "--partial") == []
        rows = list(csv.DictReader(io.StringIO(written.ok("audit", "export", "--format", "csv").decode())))
        assert len(rows) == 8
        assert [row["reason"] for row in rows if row["reason"]] == ["a reason", "ticket 4711", "'=HYPERLINK(1)"]
        assert rows[1]["action"] == "audit.checkpoint"


class TestForget:
    @pytest.mark.long
    def test_chains_whose_log_was_archived(self, written: Lunacore) -> None:
        log_of(written).unlink()
        assert written.ok("audit", "forget", "--before", "1h").startswith(b"0 chains")
        assert written.ok("audit", "forget", "--before", "0s").startswith(b"3 chains")
        assert findings(written) != []
        assert b"3 chains are forgotten" in written.ok(
            "audit", "forget", "--before", "0s", "--yes", "--reason", "archived"
        )
        assert findings(written) == []
        event = json.loads(written.audit().splitlines()[-1])
        assert (event["action"], event["reason"], event["detail"]["chains"]) == ("audit.forget", "archived", 3)


class TestBreakGlass:
    @pytest.mark.parametrize("reason", [[], ["--reason", ""], ["--reason", "  "]])
    def test_no_value_without_a_reason(self, written: Lunacore, reason: list[str]) -> None:
        token = (written.directory / "token").read_text().strip()
        before = written.audit()
        ended = written("get", token, *reason)
        assert (ended.code, ended.out) == (2, b"")
        assert "--reason" in ended.err
        assert written.audit() == before

    def test_the_log_shows_who_and_why(self, written: Lunacore) -> None:
        event = json.loads(written.audit().splitlines()[-1])
        assert event["reason"] == "ticket 4711"
        assert event["detail"]["host"] == os.uname().nodename
        assert event["detail"]["user"]

    def test_at_a_terminal_it_is_asked_for(self, written: Lunacore) -> None:
        token = (written.directory / "token").read_text().strip()
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [PROGRAM, "get", token],
            cwd=written.directory,
            env=written.environ(),
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
        ) as program:
            os.close(theirs)
            shown = b""
            while b"Reason, for the audit log: " not in shown:
                shown += os.read(ours, 1 << 16)
            os.write(ours, b"an incident\n")
            assert program.stdout is not None
            assert program.stdout.read() == b"one"
            assert program.wait() == 0
        os.close(ours)
        assert json.loads(written.audit().splitlines()[-1])["reason"] == "an incident"


def test_an_audit_log_on_standard_output_leaves_results_alone(written: Lunacore) -> None:
    token = (written.directory / "token").read_text().strip()
    ended = written(*GET, token, environ={"LUNACORE_TOKENIZER_AUDIT": "stdout:"})
    assert (ended.code, ended.out) == (0, b"one")
    actions = [json.loads(line)["action"] for line in ended.err.splitlines()]
    assert actions == ["detokenize", "audit.checkpoint"]
