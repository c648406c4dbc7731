"""The commands of the key ceremony are run as the guide shows them, one after the other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "key-ceremony.md"
SHELL = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
TOML = re.compile(r"^```toml\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.long
def test_the_ceremony_and_its_drill(tmp_path: Path) -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    (tmp_path / "luna.toml").write_text(TOML.findall(guide)[0])
    (tmp_path / "safe").mkdir()
    create, *others = SHELL.findall(guide)
    assert len(others) >= 6
    put = "TOKEN=$(printf 'a value' | lunacore put --config luna.toml)\n"
    ran = subprocess.run(
        ["bash", "-euc", "\n".join([create, put, *others])],
        cwd=tmp_path,
        input="one two three\nfour five six\n" * 2,
        capture_output=True,
        text=True,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("LUNACORE_")},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SAFE": str(tmp_path / "safe"),
        },
        check=False,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith("a value")
    assert "\nno keyring\n" in ran.stdout
    assert "could be put in place" in ran.stdout
    audit = (tmp_path / "luna-data" / "audit" / "audit.jsonl").read_text()
    for action in ("keys.init", "keys.backup", "keys.restore"):
        assert f'"action":"{action}"' in audit
    for words in ("one two", "four five"):
        assert words not in ran.stdout + ran.stderr + audit
