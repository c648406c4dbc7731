"""``lunacore erase`` and ``lunacore receipt``."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from lunacore import Call, Config, NewValue, open_deployment
from lunacore.bulk_erasure import record_erased
from lunacore.identity import operator
from lunacore.outcomes import only
from lunacore.records import RecordType
from lunacore.stores import DirectTransfer
from lunacore.sweeping import Sweeper
from lunacore.testing.deployment import Clock, another_process
from lunacore.testing.faults import FailingRecords, Fault, FaultPlan
from tests.command.running import PROGRAM, TOKEN
from tests.command.vault import put, read

if TYPE_CHECKING:
    from pathlib import Path

    from tests.command.running import Lunacore

UNKNOWN = "lunasec-00000000-0000-4000-8000-000000000000"


def told(receipt: bytes) -> dict[str, Any]:
    (line,) = receipt.splitlines()
    decoded: dict[str, Any] = json.loads(json.loads(line)["receipt"])
    return decoded


def test_by_tokens(lunacore: Lunacore) -> None:
    first, second, kept = (put(lunacore, b"value") for _ in range(3))
    given = f"{first}\n\n{second}\n{UNKNOWN}\n".encode()
    looked = lunacore.ok("erase", "--tokens-from", "-", "--dry-run", given=given).decode()
    assert [line.split()[0] for line in looked.splitlines()] == ["2", "1", "nothing"]
    assert read(lunacore, first) == b"value"
    ended = lunacore("erase", "--tokens-from", "-", "--yes", "--reason", "ticket 7", given=given)
    assert (ended.code, ended.err) == (0, "2 erased, of which 0 are finished by the sweep; 1 were not there\n")
    receipt = told(ended.out)
    assert receipt["counts"] == {"erased": 2, "removed": 2, "leftToSweep": 0, "absent": 1, "failed": 0}
    assert (receipt["reason"], receipt["selection"], receipt["complete"]) == ("ticket 7", {"by": "tokens"}, True)
    assert all(len(one["token"]) == len(one["record"]) == 32 for one in receipt["erased"])
    assert not TOKEN.search(ended.out)
    assert read(lunacore, first) is None
    assert read(lunacore, kept) == b"value"
    again = lunacore("erase", "--tokens-from", "-", "--yes", given=given)
    assert told(again.out)["counts"]["absent"] == 3


def test_by_label(lunacore: Lunacore) -> None:
    hers = [put(lunacore, b"value", "alice@example.com") for _ in range(2)]
    kept = put(lunacore, b"value", "bob@example.com")
    looked = lunacore.ok("erase", "--label", "alice@example.com", "--dry-run").decode()
    assert looked.split()[0] == "2"
    # The label may stand on standard input, out of sight of other users of the machine.
    ended = lunacore("erase", "--label", "-", "--yes", given=b"alice@example.com\n")
    assert ended.code == 0
    receipt = told(ended.out)
    assert receipt["counts"]["erased"] == 2
    assert receipt["selection"]["by"] == "label"
    assert b"alice" not in ended.out
    assert "alice" not in lunacore.audit()
    assert [read(lunacore, token) for token in hers] == [None, None]
    assert read(lunacore, kept) == b"value"
    assert told(lunacore("erase", "--label", "alice@example.com", "--yes").out)["counts"]["erased"] == 0


def test_by_age(lunacore: Lunacore) -> None:
    token = put(lunacore, b"value")
    assert lunacore.ok("erase", "--older-than", "1d", "--dry-run").split()[0] == b"0"
    for age in ("1d", "999999999999"):
        assert told(lunacore("erase", "--older-than", age, "--yes").out)["counts"]["erased"] == 0
    assert read(lunacore, token) == b"value"
    ended = lunacore("erase", "--older-than", "0", "--yes")
    # Minted in this very second it is not older, so that one more may be needed.
    if told(ended.out)["counts"]["erased"] == 0:
        ended = lunacore("erase", "--older-than", "0", "--yes")
    assert told(ended.out)["selection"]["by"] == "age"
    assert read(lunacore, token) is None


def test_receipts_in_a_file_are_verified(lunacore: Lunacore) -> None:
    token = put(lunacore, b"value")
    path = lunacore.directory / "erased.jsonl"
    arguments = ("erase", "--tokens-from", "-", "--yes", "--reason", "asked\x1b[2Jfor", "--receipt", path)
    assert lunacore(*arguments, given=token.encode()).out == b""
    assert path.stat().st_mode & 0o777 == 0o600
    refused = lunacore(*arguments, given=token.encode())
    assert (refused.code, "exists already" in refused.err) == (1, True)
    shown = lunacore.ok("receipt", "verify", path).decode()
    assert shown.startswith("genuine: signed with audit key version 1")
    assert "asked?[2Jfor" in shown
    assert "not covered: copies of records" in shown
    printed = json.loads(lunacore.ok("receipt", "verify", "-", "--json", given=path.read_bytes()))
    assert printed == told(path.read_bytes())

    envelope = json.loads(path.read_bytes())
    envelope["receipt"] = envelope["receipt"].replace('"absent":0', '"absent":1')
    path.write_text(json.dumps(envelope))
    ended = lunacore("receipt", "verify", path)
    assert (ended.code, ended.out) == (1, b"")
    assert "line 1: the signature does not hold" in ended.err


@pytest.mark.long
def test_receipts_are_verified_with_exported_keys_alone(lunacore: Lunacore, tmp_path: Path) -> None:
    receipt = lunacore("erase", "--tokens-from", "-", "--yes", given=put(lunacore, b"value").encode()).out
    keys = tmp_path / "audit-keys.json"
    keys.write_bytes(lunacore.ok("audit", "keys"))
    elsewhere = type(lunacore)(tmp_path / "elsewhere")
    elsewhere.directory.mkdir()
    assert elsewhere.ok("receipt", "verify", "-", "--keys", keys, given=receipt).startswith(b"genuine")
    assert not elsewhere.data.exists()
    other = type(lunacore)(tmp_path / "other")
    other.directory.mkdir()
    put(other, b"value")
    ended = other("receipt", "verify", "-", given=receipt)
    assert (ended.code, "the signature does not hold" in ended.err) == (1, True)


@pytest.mark.parametrize("given", [b"\n\n", b"{}"])
def test_what_is_no_receipt_is_refused(used: Lunacore, given: bytes) -> None:
    ended = used("receipt", "verify", "-", given=given)
    assert (ended.code, ended.out) == (1, b"")
    assert "receipt" in ended.err


def test_without_a_terminal_it_wants_yes(lunacore: Lunacore) -> None:
    token = put(lunacore, b"value", "alice")
    ended = lunacore("erase", "--label", "alice")
    assert (ended.code, ended.out) == (2, b"")
    assert "--yes" in ended.err
    assert read(lunacore, token) == b"value"


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 1), (b"yes\n", 0)])
def test_at_a_terminal_it_asks(lunacore: Lunacore, answer: bytes, code: int) -> None:
    put(lunacore, b"value", "alice")
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    process = subprocess.run(
        [PROGRAM, "erase", "--label", "alice"],
        stdin=theirs,
        capture_output=True,
        cwd=lunacore.directory,
        env=lunacore.environ(),
        check=False,
        timeout=120,
    )
    os.close(ours)
    os.close(theirs)
    assert process.returncode == code
    assert process.stderr.startswith(b"This erases 1 value for good. Type yes: ")
    assert bool(process.stdout) is (code == 0)
    assert lunacore.ok("erase", "--label", "alice", "--dry-run").split()[0] == (b"1" if code else b"0")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--label", "alice", "--older-than", "1d"),
        ("--label", "x" * 257),
        ("--older-than", "soon"),
        ("--tokens-from", "-", UNKNOWN),
    ],
)
def test_wrong_arguments(used: Lunacore, arguments: tuple[str, ...]) -> None:
    ended = used("erase", "--yes", *arguments)
    assert (ended.code, ended.out) == (2, b"")
    assert UNKNOWN not in ended.err


def test_a_file_that_is_missing(used: Lunacore) -> None:
    ended = used("erase", "--yes", "--tokens-from", "nowhere")
    assert (ended.code, ended.out) == (1, b"")
    assert "cannot read nowhere" in ended.err


def test_one_bad_token_leaves_the_others_whole(lunacore: Lunacore) -> None:
    token = put(lunacore, b"value")
    ended = lunacore("erase", "--tokens-from", "-", "--yes", given=f"no token\n{token}\n".encode())
    assert ended.code == 2
    assert (told(ended.out)["counts"]["erased"], told(ended.out)["complete"]) == (1, False)
    assert read(lunacore, token) is None


@pytest.mark.long
def test_a_record_that_was_to_be_swept_and_stays_is_no_finding(lunacore: Lunacore) -> None:
    """Its upload is verified at the very moment at which the sweep wants to give it up; nobody is told to erase it again."""
    clock = Clock(time.time() - 3600)
    settings = {"tokenizer": {"data_dir": str(lunacore.data)}, "sweep": {"unverified_after": 60}}
    deployment = open_deployment(Config.from_mapping(settings, {}), now=clock)
    call = Call(operator("default"))
    access = only(deployment.tokenizer.issue(call, [NewValue()]))
    assert isinstance(deployment.objects, DirectTransfer)
    deployment.objects.write(access.object_name, access.store_key, io.BytesIO(b"value"))
    clock.advance(3600)

    def confirm() -> None:
        assert only(deployment.tokenizer.confirm(call, [access.token]))

    plan = FaultPlan(Fault("replace", action=confirm))
    racing = another_process(deployment, records=FailingRecords(deployment.records, plan))
    sweeper = Sweeper(racing.tokenizer.eraser, racing.grants, racing.audit, racing.now)
    assert [swept.kept for swept in sweeper.sweep_records(call)] == [True]
    deployment.close()
    assert lunacore("audit", "verify", "--records").code == 0

    # The same record, where the log says nothing of its staying.
    deployment = open_deployment(Config.from_mapping(settings, {}))
    name = next(one.name for one in deployment.records.scan() if one.header.record_type is RecordType.TOKEN)
    deployment.audit.write([record_erased(call, name, deployment.keyring, time.time())])
    deployment.close()
    ended = lunacore("audit", "verify", "--records")
    assert (ended.code, "erase it again" in ended.text + ended.err) == (6, True)
