"""The check of `make lint` for names of registries and of one machine's paths."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
# Put together here, since this file is checked too.
DOWNLOADS = "https://files.python" + "hosted.org/packages/x.whl"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_files", ROOT / ".ci" / "check_files.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHECK: Any = load()
PATTERNS = CHECK.machine_patterns(Path("/srv/someone/checkout"), frozenset({"mirror.example.net"}))


def found(text: str, name: str = "docs/page.md") -> list[str]:
    return list(CHECK.complaints(name, text, PATTERNS))


@pytest.mark.parametrize(
    "text",
    [
        DOWNLOADS,
        "https://pypi.org/" + "simple/",
        '"resolved": "https://registry.' + 'npmjs.org/x"',
        "see https://mirror.example.net/index",
        "cd /srv/someone/checkout && make",
        "`/" + "home/ann/x`",
        "path = /" + "root/.cache",
        'open("/' + 'tmp/x")',
    ],
)
def test_complains(text: str) -> None:
    assert len(found(f"fine\n{text}\n")) == 1
    assert found(f"fine\n{text}\n")[0].startswith("docs/page.md:2: names ")


@pytest.mark.parametrize(
    "text",
    [
        "https://pypi.org/project/lunacore/",
        "/srv/someone/checkouts-of-others",
        "./" + "home/x",
        "keys/root/1",
        "$TMPDIR/" + "tmp/x",
        "/etc/lunacore/keyring",
        "https://tokenizer.example.com/home",
    ],
)
def test_lets_pass(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://example.org/",
        "--find-links wheels",
        "-f wheels",
        "x @ file:///wheels/x.whl",
        "x==1 # https://example.org",
    ],
)
def test_requirements_name_no_place(line: str) -> None:
    assert found(line, "requirements/dev.txt")
    assert not found(line.replace("https://example.org", "").replace("file:///", ""), "docs/page.md")


def test_requirements_with_hashes_pass() -> None:
    assert found("x==1 \\\n    --hash=sha256:00\n    # via y\n", "requirements/dev.txt") == []


def test_hosts_come_from_this_machines_settings(tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://user:secret@one.example/x\ntrusted-host = y\n", encoding="utf-8")
    environment = {
        "UV_DEFAULT_INDEX": "https://two.example/simple",
        "GOPROXY": "https://three.example,direct",
        "HOMEPAGE": "https://not.example",
        "PIP_INDEX_URL": "https://pypi.org/" + "simple",
    }
    hosts = CHECK.local_hosts(environment, [config, tmp_path / "absent"])
    assert hosts == {"one.example", "two.example", "three.example"}


def test_new_files_count_and_ignored_ones_do_not(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("ignored\n", encoding="utf-8")
    for name in ("new", "ignored", "tracked", "deleted"):
        (tmp_path / name).write_text("", encoding="utf-8")
    subprocess.run(["git", "-C", str(tmp_path), "add", "tracked", "deleted"], check=True)
    (tmp_path / "deleted").unlink()
    assert CHECK.project_files(tmp_path) == [".gitignore", "new", "tracked"]
