"""The guide to a deployment on MinIO: its commands are run as they are written, with real programs in place of containers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lunacore.plugins import BackendURL
from lunacore.testing.servers import free_port
from lunacore_backends.s3.checks.rights import least_policy
from lunacore_backends.s3.settings import S3Settings
from tests.servers import minio

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DEPLOYMENT = ROOT / "deploy" / "minio"
PAGE = ROOT / "docs" / "how-to" / "minio.md"
SHELL_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
STAND_IN = ROOT / "tests" / "servers" / "compose.py"


def commands() -> str:
    return "\n".join(SHELL_BLOCK.findall(PAGE.read_text(encoding="utf-8")))


class Machine:
    """A machine with the project's folder ``deploy`` on it, names and ports that are free here, and a stand-in for Docker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._changes = {
            **{str(port): str(free_port()) for port in (9000, 37766, 37767)},
            **dict.fromkeys(["files.example.com", "secure.example.com"], "localhost"),
            "0.0.0.0": "127.0.0.1",
            "file:///etc/lunacore": (folder / "deploy" / "minio" / "config").as_uri(),
        }
        shutil.copytree(ROOT / "deploy", folder / "deploy")
        for path in (folder / "deploy" / "minio").rglob("*"):
            if path.is_file():
                path.write_text(self.here(path.read_text()))
        programs = folder / "programs"
        programs.mkdir()
        (programs / "minio").symlink_to(minio.program())
        (programs / "mc").symlink_to(minio.client_program())
        docker = programs / "docker"
        docker.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" "$@"\n')
        docker.chmod(0o755)
        (folder / "state").mkdir()
        search = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LUNACORE_"))}
        self._environment = {
            **inherited,
            "PATH": search,
            "COMPOSE_STAND_IN": str(folder / "state"),
            "HOME": str(folder),
        }

    def here(self, text: str) -> str:
        """The text with the names and ports of this machine."""
        for written, real in self._changes.items():
            text = text.replace(written, real)
        return text

    def run(self, script: str, folder: str = ".") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.here(script)],
            cwd=self.folder / folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    if reason := minio.missing() or minio.client_missing():
        pytest.skip(reason)
    machine = Machine(tmp_path)
    try:
        yield machine
    finally:
        machine.run("test ! -f .env || docker compose down", "deploy/minio")


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.servers
def test_the_guide_works_as_it_is_written(machine: Machine) -> None:
    ran = machine.run(commands())
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "\n0 problems, 0 warnings, " in ran.stdout
    assert re.search(r"^a value went to https://localhost:[0-9]+/luna/values and came back$", ran.stdout, re.MULTILINE)

    inside = "deploy/minio"
    # Credentials that may do more are found out, so the policy of the guide is what keeps them small.
    attached = machine.run(
        "docker compose exec -T minio mc admin policy attach luna readwrite --user lunacore-tokenizer", inside
    )
    assert attached.returncode == 0, attached.stderr
    report = machine.run("docker compose exec -T tokenizer lunacore doctor --json", inside)
    found = [one for one in json.loads(report.stdout)["findings"] if one["severity"] != "ok"]
    assert [one["message"].partition(":")[0] for one in found] == ["the credentials may do more than is needed"]


def test_the_policy_is_that_of_doctor() -> None:
    settings = S3Settings.from_url(BackendURL.parse("s3://luna/values?endpoint=https://minio:9000", "x"), "x")
    assert json.loads((DEPLOYMENT / "config" / "policy.json").read_text()) == json.loads(least_policy(settings))


def test_the_image_has_the_versions_that_tests_run_against() -> None:
    dockerfile = (DEPLOYMENT / "minio.Dockerfile").read_text()
    built = dict(re.findall(r"github\.com/minio/(minio|mc)@(\S+)", dockerfile))
    assert built == {"minio": minio.version("MINIO"), "mc": minio.version("MC")}
