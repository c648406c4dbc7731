"""``lunacore keys rotate``, ``rewrap``, ``move`` and ``retire``, as scripts run them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import termios
import time
from argparse import Namespace
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from lunacore import Config, NewValue, key_use, open_deployment
from lunacore.errors import AuditUnavailable
from lunacore.identity import Call, operator
from lunacore.keyring import KeyPurpose
from lunacore.keyring_source import STAGING_PERIOD
from lunacore.testing.deployment import Clock, another_process, open_in_memory, stage_key
from lunacore.tickets import Access
from lunacore_http.command import configuration, key_rotation
from lunacore_http.command.exits import Exit
from tests.command.running import GET, PROGRAM

if TYPE_CHECKING:
    from tests.command.running import Lunacore

QUICKLY = {"LUNACORE_KEYS_RELOAD_PERIOD": "1"}


def keys(lunacore: Lunacore, *arguments: str, given: bytes = b"") -> str:
    return lunacore.ok("keys", *arguments, environ=QUICKLY, given=given).decode()


def refused(lunacore: Lunacore, *arguments: str, code: int = 1) -> str:
    ended = lunacore("keys", *arguments, environ=QUICKLY)
    assert (ended.code, ended.out) == (code, b"")
    assert ended.err.startswith("lunacore: ")
    return ended.err


def listed(lunacore: Lunacore, *arguments: str) -> dict[tuple[str, int], Any]:
    rows = json.loads(keys(lunacore, "list", "--json", *arguments))["keys"]
    return {(row["purpose"], row["version"]): (row["state"], row.get("records")) for row in rows}


def audited(lunacore: Lunacore) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in lunacore.audit().splitlines()]
    return [event for event in events if event.get("action", "").startswith("keys.")]


def fill(lunacore: Lunacore, count: int, *, rotated: bool = False) -> None:
    """Tokens without values; with ``rotated`` there is a newer root key, active at once."""
    deployment = open_deployment(Config.from_mapping({"tokenizer": {"data_dir": str(lunacore.data)}}, {}))
    for start in range(0, count, 500):
        deployment.tokenizer.issue(Call(operator("default")), [NewValue()] * min(500, count - start))
    if rotated:
        stage_key(deployment, KeyPurpose.ROOT, active_from=int(time.time()))
    deployment.close()


def test_one_command_from_one_root_to_the_next(lunacore: Lunacore) -> None:
    token = lunacore.put(b"value")
    said = keys(lunacore, "rotate", "--retire", "--reason", "yearly")
    assert re.search(r"^version 2 of the root key is staged and becomes active at 20\d\d-\S+Z$", said, re.MULTILINE)
    assert "         1  records sealed anew under version 2 of the root key\n" in said
    assert said.endswith("version 1 of the root key is retired; back up the keyring anew\n")
    assert {key: one for key, one in listed(lunacore).items() if key[0] == "root"} == {("root", 2): ("active", 1)}
    assert lunacore.ok(*GET, token) == b"value"
    done = [(event["action"], event["reason"]) for event in audited(lunacore)]
    assert done == [(f"keys.{name}", "yearly") for name in ("rotate", "rewrap", "rewrap", "retire")]


@pytest.mark.long
def test_step_by_step_and_nothing_too_early(lunacore: Lunacore) -> None:
    token = lunacore.put(b"value")
    keys(lunacore, "rotate", "--purpose", "lookup", "--wait")
    keys(lunacore, "rotate")
    assert "         1  records sealed anew" in keys(lunacore, "rewrap", "--wait")
    states = listed(lunacore)
    assert (states[("root", 1)], states[("lookup", 1)]) == (("older", 0), ("older", 1))
    assert "1 records still lie under version 1" in refused(lunacore, "retire", "lookup", "1", "--wait")
    moved = keys(lunacore, "move", "-", "--reason", "tidy", given=f"{token}\n{token[:-12]}000000000000\n".encode())
    assert moved == "         1  under the active lookup key\n         1  not there, or erased\n"
    event = audited(lunacore)[-1]
    assert (event["action"], event["reason"]) == ("keys.move", "tidy")
    assert event["detail"] == {"purpose": "lookup", "version": 2}
    keys(lunacore, "retire", "lookup", "1")
    keys(lunacore, "retire", "root", "1", "--wait")
    assert lunacore.ok(*GET, token) == b"value"


def test_a_move_stands_in_the_log_even_where_nothing_is_to_move(lunacore: Lunacore) -> None:
    token = lunacore.put(b"value")
    keys(lunacore, "move", token, "--tenant", "other", "--reason", "before the old key goes")
    (event,) = audited(lunacore)
    assert (event["action"], event["tenant"], event["outcome"]) == ("keys.move", "other", "allowed")
    assert (event["role"], event["reason"]) == ("operator", "before the old key goes")
    assert event["detail"] == {"purpose": "lookup", "version": 1}
    assert not {"token", "record"} & event.keys()


def test_nothing_is_moved_that_the_log_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, events: object) -> None:
            raise AuditUnavailable("the disk is full")

    clock = Clock()
    deployment = open_in_memory(clock)
    (access,) = deployment.tokenizer.issue(Call(operator("default")), [NewValue()])
    assert isinstance(access, Access)
    stage_key(deployment, KeyPurpose.LOOKUP)
    clock.advance(STAGING_PERIOD)
    arguments = Namespace(tokens=[access.token], tenant="default", reason="")
    monkeypatch.setattr(configuration, "load", lambda _arguments: deployment.config)
    monkeypatch.setattr(configuration, "opened", lambda _config: nullcontext(another_process(deployment, audit=Full())))
    with pytest.raises(AuditUnavailable):
        key_rotation._move(arguments)
    assert key_use.count(deployment.records).lookups == {1: 1}
    monkeypatch.setattr(configuration, "opened", lambda _config: nullcontext(another_process(deployment)))
    assert key_rotation._move(arguments) is Exit.DONE
    assert key_use.count(deployment.records).lookups == {2: 1}


def test_a_staged_key_is_not_used(lunacore: Lunacore) -> None:
    lunacore.put(b"value")
    said = lunacore.ok("keys", "rotate", "--reason", "soon").decode()
    assert "Back up the keyring anew" in said
    assert "version 2 of the root key is staged already" in refused(lunacore, "rotate")
    said = keys(lunacore, "rewrap", "--rate", "0")
    assert re.search("version 2 of the root key is staged until 20.* rewrap again then\n         0  records", said)
    assert listed(lunacore)[("root", 2)] == ("staged", 0)
    assert listed(lunacore)[("root", 1)] == ("active", 1)
    assert "nothing was changed" in keys(lunacore, "rewrap", "--dry-run")
    assert "is staged" in refused(lunacore, "retire", "root", "2")


def test_what_is_refused_says_why(lunacore: Lunacore) -> None:
    lunacore.ok("keys", "init")
    before = (lunacore.data / "keyring").read_bytes()
    assert "is the active one" in refused(lunacore, "retire", "session", "1")
    assert "audit log is kept" in refused(lunacore, "retire", "audit", "1")
    assert "no root key of version 7" in refused(lunacore, "retire", "root", "7")
    assert "3 seconds at least" in refused(lunacore, "rotate", "--active-in", "2s")
    assert "for the root key" in refused(lunacore, "rotate", "--purpose", "lookup", "--rewrap", code=2)
    assert (lunacore.data / "keyring").read_bytes() == before
    ended = lunacore("keys", "retire", "root", "one")
    assert ended.code == 2
    ended = lunacore("keys", "move", "no-token")
    assert (ended.code, "malformed" in ended.text) == (1, True)


def test_a_gateway_gets_its_key_in_time(lunacore: Lunacore) -> None:
    lunacore.ok("keys", "init")
    said = keys(lunacore, "rotate", "--purpose", "gateway", "--active-in", "1h")
    assert "lunacore keys export-gateway" in said
    assert listed(lunacore)[("gateway", 2)] == ("staged", None)
    event = audited(lunacore)[-1]
    assert event["detail"]["activeFrom"] >= time.time() + 3500


@pytest.mark.long
def test_many_records_are_counted_when_that_is_asked_for(lunacore: Lunacore) -> None:
    lunacore.ok("keys", "init")
    fill(lunacore, 1001)
    assert "There are more than 1000 records; --counts counts them all." in lunacore.ok("keys", "list").decode()
    assert listed(lunacore)[("root", 1)] == ("active", None)
    counted = listed(lunacore, "--counts")
    assert counted[("root", 1)] == counted[("lookup", 1)] == ("active", 1001)


@pytest.mark.long
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_rewrap_that_is_ended_in_the_middle_goes_on(lunacore: Lunacore, ending: signal.Signals) -> None:
    lunacore.ok("keys", "init")
    fill(lunacore, 600, rotated=True)
    deployment = open_deployment(Config.from_mapping({"tokenizer": {"data_dir": str(lunacore.data)}}, {}))
    command = [str(PROGRAM), "keys", "rewrap", "--rate", "50", "--batch", "50"]
    rewrap = subprocess.Popen(
        command,
        cwd=lunacore.directory,
        env=lunacore.environ(QUICKLY),
        stderr=subprocess.PIPE,
        # A shell lets what it runs in the background ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - there are no threads to upset
    )
    try:
        deadline = time.monotonic() + 60
        while key_use.needing_root(deployment.records, 1) > 580:
            assert time.monotonic() < deadline
            assert rewrap.poll() is None
    finally:
        rewrap.send_signal(ending)
        _, said = rewrap.communicate()
    assert rewrap.returncode == (130 if ending is signal.SIGINT else -signal.SIGKILL)
    assert said == (b"lunacore: interrupted\n" if ending is signal.SIGINT else b"")
    left = key_use.count(deployment.records).roots[1]
    assert 0 < left <= 580
    assert keys(lunacore, "rewrap", "--rate", "0").startswith(f"{left:>10}  records sealed anew")
    assert key_use.needing_root(deployment.records, 1) == 0
    deployment.close()


@pytest.mark.long
def test_a_progress_bar_on_a_terminal(lunacore: Lunacore) -> None:
    lunacore.ok("keys", "init")
    fill(lunacore, 600, rotated=True)
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    os.set_blocking(ours, False)
    try:
        command = [str(PROGRAM), "keys", "rewrap", "--rate", "300"]
        subprocess.run(command, cwd=lunacore.directory, env=lunacore.environ(QUICKLY), stderr=theirs, check=True)
        shown = os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert re.search(r"rewrap: +\d+%.*\| \d+/\d+ \[\d\d:\d\d<\d\d:\d\d", shown)
