"""Every command that the guides to erasure and re-keying show is run as it is written there, in order."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.command.running import PROGRAM, Lunacore

GUIDES = Path(__file__).parents[2] / "docs" / "how-to"


def commands_of(page: str) -> list[str]:
    text = (GUIDES / page).read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", ["erasure.md", "rekey.md"])
def test_every_command_does_what_it_says(lunacore: Lunacore, page: str) -> None:
    environ = lunacore.environ({"PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"})
    printed = ""
    for block in commands_of(page):
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=lunacore.directory,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert ended.returncode == 0, (block, ended.stderr)
        printed += ended.stdout
    if page == "rekey.md":
        assert re.findall(r"^ +(\d+)  re-keyed$", printed, re.MULTILINE) == ["1", "0", "1"]
        return
    assert re.findall(r"^ +(\d+)  would be erased$", printed, re.MULTILINE) == ["2", "0"]
    assert printed.count("genuine: signed with audit key version 1") == 2
    assert "erased     2 values of one label" in printed
    assert all((lunacore.directory / name).stat().st_size for name in ("retention.receipt", "customer-4711.json"))
