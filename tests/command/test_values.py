"""``lunacore put``, ``get`` and ``delete``."""

from __future__ import annotations

import json
import os
import pty
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lunacore import open_vault
from tests.command.running import GET

if TYPE_CHECKING:
    from tests.command.running import Lunacore

UNKNOWN = "lunasec-00000000-0000-4000-8000-000000000000"
BINARY = bytes(range(256)) * 3


@pytest.mark.parametrize(
    "value",
    [
        b"",
        "Grüße, 世界\n".encode(),
        os.urandom(5_000_000),
        *(pytest.param(value, marks=pytest.mark.long) for value in (b"4111 1111 1111 1111", BINARY)),
    ],
    ids=len,
)
def test_a_value_comes_back_through_pipes(lunacore: Lunacore, value: bytes) -> None:
    token = lunacore.put(value)
    assert lunacore.ok(*GET, token) == value


def test_a_value_comes_back_through_files(lunacore: Lunacore, tmp_path: Path) -> None:
    (tmp_path / "in.bin").write_bytes(BINARY)
    token = lunacore.ok("put", "in.bin").decode().strip()
    assert lunacore.ok(*GET, token, "-o", "out.bin") == b""
    out = tmp_path / "out.bin"
    assert out.read_bytes() == BINARY
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.bin", "luna-data", "out.bin"]


def test_tokens_need_not_stand_in_the_list_of_processes(lunacore: Lunacore) -> None:
    tokens = [lunacore.put(b"one"), lunacore.put(b"two")]
    assert lunacore.ok(*GET, "-", given=tokens[0].encode() + b"\n") == b"one"
    lunacore.ok("delete", "-", given="\n\n".join(tokens).encode())
    assert [lunacore(*GET, token).code for token in tokens] == [1, 1]


def test_metadata_of_a_file_names_it(lunacore: Lunacore, tmp_path: Path) -> None:
    (tmp_path / "passport.png").write_bytes(b"png")
    named = lunacore.ok("put", "passport.png").decode().strip()
    renamed = lunacore.ok("put", "passport.png", "--filename", "scan.png").decode().strip()
    described = lunacore.put(b"4111", "--metadata", '{"customFields": {"brand": "visa"}}')
    with open_vault(lunacore.data) as vault:
        assert vault.metadata(named) == {"dataType": "file", "fileinfo": {"filename": "passport.png"}}
        assert vault.metadata(renamed) == {"dataType": "file", "fileinfo": {"filename": "scan.png"}}
        assert vault.metadata(described) == {"dataType": "string", "customFields": {"brand": "visa"}}


def test_ttl_and_labels_are_kept(lunacore: Lunacore) -> None:
    token = lunacore.put(b"short-lived", "--ttl", "90d", "--label", "customer-7", "--label", "order-1")
    with open_vault(lunacore.data) as vault:
        tokenizer = vault.tokenizer
        presented = tokenizer._present(vault._call, [token])
        (found,) = tokenizer._find(presented)
        assert not isinstance(found, Exception)
        assert found.fields.expires - found.fields.created == 90 * 86_400
        assert sorted(found.contents().labels) == ["customer-7", "order-1"]


def test_everything_is_in_the_audit_log_with_its_reason(lunacore: Lunacore) -> None:
    token = lunacore.put(b"value", "--reason", "import of march")
    lunacore.ok("get", token, "--reason", "ticket 4711")
    lunacore.ok("delete", token, "--reason", "erasure request 9")
    events = [json.loads(line) for line in lunacore.audit().splitlines()]
    told = {(event["action"], event.get("reason"), event["role"], event["issuer"]) for event in events}
    operator = ("operator", "lunacore:operator")
    assert {
        ("tokenize", "import of march", *operator),
        ("detokenize", "ticket 4711", *operator),
        ("token.delete", "erasure request 9", *operator),
    } <= told
    assert token not in lunacore.audit()


def test_tenants_do_not_see_each_other(lunacore: Lunacore) -> None:
    token = lunacore.put(b"theirs", "--tenant", "other")
    assert lunacore(*GET, token).code == 1
    assert lunacore.ok(*GET, token, "--tenant", "other") == b"theirs"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["put", "no-such-file"], 1, "no-such-file: No such file"),
        (["put", "."], 1, "Is a directory"),
        (["put", "--metadata", "{"], 2, "--metadata is not JSON"),
        (["put", "--metadata", "[1]"], 2, "--metadata must be a JSON object"),
        (["put", "--metadata", '{"colour": 1}'], 2, "metadata.colour is unknown"),
        (["put", "--ttl", "soon"], 2, "--ttl must be a duration"),
        (["put", "--ttl", "0"], 2, "ttl must be"),
        (["put", "--fil", "x"], 2, "--fil"),
        ([*GET, "4111"], 2, "not a token"),
        ([*GET, UNKNOWN], 1, "no such token"),
        ([*GET, "-"], 2, "no token on standard input"),
        ([*GET, UNKNOWN, UNKNOWN], 2, "unrecognized arguments"),
        ([UNKNOWN], 2, "invalid choice"),
    ],
)
def test_bad_input_is_named(used: Lunacore, arguments: list[str], code: int, said: str) -> None:
    ended = used(*arguments)
    assert ended.code == code
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert UNKNOWN not in ended.err
    assert ended.out == b""


def test_delete_goes_on_after_a_bad_token(lunacore: Lunacore) -> None:
    token = lunacore.put(b"value")
    ended = lunacore("delete", "nonsense", UNKNOWN, token)
    assert ended.code == 2
    assert ended.err.startswith("lunacore: token 1: ")
    assert len(ended.err.splitlines()) == 1
    assert "nonsense" not in ended.err
    assert lunacore(*GET, token).code == 1


@pytest.mark.parametrize("command", [[*GET, UNKNOWN], ["delete", UNKNOWN], ["keys", "list"], ["sweep"]])
def test_a_mistyped_data_directory_is_not_made(lunacore: Lunacore, command: list[str]) -> None:
    ended = lunacore(*command, "--data", "typo")
    assert ended.code == 3
    assert "there is no vault in" in ended.err
    assert not (lunacore.directory / "typo").exists()


def test_a_failed_get_leaves_the_old_file(lunacore: Lunacore, tmp_path: Path) -> None:
    token = lunacore.put(os.urandom(400_000))
    (tmp_path / "out").write_bytes(b"precious")
    (stored,) = (path for path in (lunacore.data / "objects").rglob("*") if len(path.name) == 64)
    damaged = bytearray(stored.read_bytes())
    damaged[200_000] ^= 1
    stored.write_bytes(damaged)
    ended = lunacore(*GET, token, "-o", "out")
    assert ended.code == 1
    assert (tmp_path / "out").read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["luna-data", "out"]


def test_links_and_devices_stay_what_they_are(lunacore: Lunacore, tmp_path: Path) -> None:
    token = lunacore.put(b"value")
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    os.mkfifo(tmp_path / "fifo")
    lunacore.ok(*GET, token, "-o", "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"value"
    reader = subprocess.Popen(["cat", tmp_path / "fifo"], stdout=subprocess.PIPE)
    lunacore.ok(*GET, token, "-o", "fifo")
    assert reader.communicate()[0] == b"value"
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)


def test_a_full_disk_under_the_output_is_told(lunacore: Lunacore) -> None:
    token = lunacore.put(b"value")
    with Path("/dev/full").open("wb") as full:
        ended = lunacore(*GET, token, stdout=full)
    assert (ended.code, ended.err) == (1, "lunacore: cannot write to standard output: No space left on device\n")
    ended = lunacore(*GET, token, "-o", "/dev/full")
    assert (ended.code, ended.err) == (1, "lunacore: cannot write /dev/full: No space left on device\n")


def test_a_value_whose_token_reached_nobody_is_taken_back(lunacore: Lunacore) -> None:
    lunacore.put(b"so that there is a vault")
    before = _objects(lunacore)
    with Path("/dev/full").open("wb") as full:
        ended = lunacore("put", given=b"value", stdout=full)
    assert ended.code == 1
    assert "the value was not kept" in ended.err
    assert _objects(lunacore) == before


def test_a_full_disk_under_the_store_leaves_nothing(lunacore: Lunacore) -> None:
    lunacore.put(b"so that there is a vault")
    before = _objects(lunacore)

    def no_file_beyond_a_megabyte() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    ended = lunacore("put", given=os.urandom(3_000_000), preexec_fn=no_file_beyond_a_megabyte)
    assert ended.code == 5
    assert "larger than the system allows; nothing was written" in ended.err
    assert ended.out == b""
    assert _objects(lunacore) == before
    assert lunacore.put(b"and afterwards all is well")


def test_a_value_past_the_limit_leaves_nothing(lunacore: Lunacore) -> None:
    lunacore.put(b"so that there is a vault")
    before = _objects(lunacore)
    ended = lunacore("put", given=b"x" * 1001, environ={"LUNACORE_TICKETS_MAX_VALUE_SIZE": "1000"})
    assert ended.code == 1
    assert "tickets.max_value_size" in ended.err
    assert _objects(lunacore) == before


def test_a_closed_pipe_ends_quietly(lunacore: Lunacore) -> None:
    token = lunacore.put(os.urandom(2_000_000))
    program = subprocess.Popen(
        ["lunacore", *GET, token],
        executable=str(_program()),
        cwd=lunacore.directory,
        env=lunacore.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.read(10)
    program.stdout.close()
    assert program.stderr.read() == b""
    program.stderr.close()
    assert program.wait() == 141


def test_ctrl_c_leaves_nothing(lunacore: Lunacore) -> None:
    lunacore.put(b"so that there is a vault")
    before = _objects(lunacore)
    reading, writing = os.pipe()
    program = subprocess.Popen(
        [_program(), "put"],
        cwd=lunacore.directory,
        env=lunacore.environ(),
        stdin=reading,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Whoever runs the tests in the background of a shell has it ignored, and programs inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - there are no threads to upset
    )
    os.close(reading)
    # More than a pipe holds: when all of it is written, the program is at work on the value.
    os.write(writing, os.urandom(1 << 20))
    program.send_signal(signal.SIGINT)
    out, err = program.communicate()
    os.close(writing)
    assert (program.returncode, out, err) == (130, b"", b"lunacore: interrupted\n")
    assert _objects(lunacore) == before


def test_a_terminal_is_shown_text_only(lunacore: Lunacore) -> None:
    text, hostile = lunacore.put("Grüße\n".encode()), lunacore.put(b"\x1b]0;owned\x07")
    assert _on_terminal(lunacore, *GET, text) == (0, "Grüße\r\n".encode())
    code, shown = _on_terminal(lunacore, *GET, hostile)
    assert code == 2
    assert b"\x1b" not in shown
    assert b"-o FILE" in shown
    assert _on_terminal(lunacore, *GET, hostile, "--force") == (0, b"\x1b]0;owned\x07")


def _on_terminal(lunacore: Lunacore, *arguments: str) -> tuple[int, bytes]:
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        [_program(), *arguments], cwd=lunacore.directory, env=lunacore.environ(), stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 1 << 16):
            shown += piece
    except OSError:
        pass  # Linux's way of saying that the other end was closed
    os.close(ours)
    return program.wait(), shown


def _objects(lunacore: Lunacore) -> list[str]:
    return sorted(path.name for path in (lunacore.data / "objects").rglob("*") if path.is_file())


def _program() -> Path:
    return Path(sys.executable).with_name("lunacore")
