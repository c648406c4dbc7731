"""LunaCore, installed into an empty environment as a user would, brings a value back in five lines."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

import pytest
from uv import find_uv_bin

ROOT = Path(__file__).parents[2]
FIVE_LINES = """
import lunacore
with lunacore.open_vault("./vault") as vault:
    token = vault.put(b"4111 1111 1111 1111", metadata={"dataType": "string"})
    print(token)
    print(vault.get(token).decode())
"""


@pytest.mark.long
def test_five_lines_in_an_empty_environment(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False)
    python = str(tmp_path / "env" / "bin" / "python")
    # Not from the lock: users get what the ranges of pyproject.toml admit.
    subprocess.run(
        [find_uv_bin(), "pip", "install", "--quiet", "--python", python, str(ROOT)], check=True, cwd=tmp_path
    )
    result = subprocess.run([python, "-I", "-c", FIVE_LINES], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    token, value = result.stdout.splitlines()
    assert token.startswith("lunasec-")
    assert value == "4111 1111 1111 1111"
