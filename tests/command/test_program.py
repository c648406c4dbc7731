"""The program as a whole: what it loads, and how it fails when nobody foresaw it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from lunacore import __version__
from tests.command.running import PROGRAM

if TYPE_CHECKING:
    from tests.command.running import Lunacore


def test_a_command_without_a_server_loads_none(lunacore: Lunacore) -> None:
    script = """
import sys
from lunacore_http.command import main
assert main(["put"]) == 0
heavy = {"falcon", "granian", "httpx", "jwt", "msgspec", "prometheus_client", "tqdm"} & set(sys.modules)
print(sorted(heavy), file=sys.stderr)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script],
        input=b"",
        capture_output=True,
        cwd=lunacore.directory,
        env=lunacore.environ(),
        check=False,
    )
    assert (ended.returncode, ended.stderr.decode().strip()) == (0, "[]")


def test_a_missing_package_is_named(lunacore: Lunacore) -> None:
    lunacore.put(b"value")
    hidden = (
        "import sys; sys.modules['granian'] = None; from lunacore_http.command import main; sys.exit(main(['serve']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", hidden],
        capture_output=True,
        text=True,
        cwd=lunacore.directory,
        env=lunacore.environ(),
        check=False,
    )
    assert ended.returncode == 3
    assert "pip install 'lunacore[server]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_unforeseen_is_one_line_without_its_words(lunacore: Lunacore) -> None:
    broken = """
import sys
from lunacore_http.command import main, values
def refuse(*_): raise RuntimeError("4111 1111 1111 1111")
values._metadata = refuse
sys.exit(main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", broken, "put"]
    environ = lunacore.environ()
    plain = subprocess.run(command, capture_output=True, text=True, cwd=lunacore.directory, env=environ, check=False)
    assert plain.returncode == 1
    assert plain.stderr == "lunacore: unexpected RuntimeError; this is a mistake in LunaCore, and --debug shows where\n"
    traced = subprocess.run(
        [*command, "--debug"], capture_output=True, text=True, cwd=lunacore.directory, env=environ, check=False
    )
    assert traced.returncode == 1
    assert "Traceback" in traced.stderr


def test_a_read_only_data_directory_is_told(lunacore: Lunacore) -> None:
    lunacore.put(b"value")
    for directory in (lunacore.data, *(path for path in lunacore.data.rglob("*") if path.is_dir())):
        directory.chmod(0o500)
    # Permissions do not bind root, unless it gives up its capabilities.
    mortal = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    ended = subprocess.run(
        [*mortal, PROGRAM, "put"],
        input=b"value",
        capture_output=True,
        cwd=lunacore.directory,
        env=lunacore.environ(),
        check=False,
    )
    assert ended.returncode in (3, 5)
    assert b"tokenizer.records" in ended.stderr
    assert str(lunacore.data).encode() in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == b""


def test_a_data_directory_that_cannot_be_made_is_told(lunacore: Lunacore) -> None:
    (lunacore.directory / "file").write_text("")
    ended = lunacore("put", "--data", "file/vault")
    assert ended.code == 5
    assert "tokenizer.data_dir" in ended.err
    ended = lunacore("put", "--data", "file")
    assert ended.code == 5
    assert "tokenizer.data_dir" in ended.err


def test_help_and_version(lunacore: Lunacore) -> None:
    assert lunacore.ok("--version").decode() == f"lunacore {__version__}\n"
    for command in (
        [],
        ["put"],
        ["get"],
        ["delete"],
        ["jwt"],
        ["keys", "init"],
        ["sweep"],
        ["config", "check"],
        ["doctor"],
    ):
        assert b"usage: lunacore" in lunacore.ok(*command, "--help")
    assert lunacore().code == 2
