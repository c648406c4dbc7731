"""Runs the services of a compose file as plain processes: a stand-in for ``docker compose`` where there is no Docker.

It takes the few subcommands and options that the documentation uses. A service's command, environment, secrets, folders and health
check are those of the file. As there are no containers, the path of a folder inside one is replaced by the folder itself wherever
it stands in a command or in the environment. Images are not built; networks, users and limits are not regarded.

    python tests/servers/compose.py compose up --detach --wait SERVICE

``COMPOSE_STAND_IN`` names a folder for its state. Whoever uses it ends what it started with ``down``.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import yaml

_START_SECONDS: Final = 180.0
_STOP_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.2
# Options of up, run and exec that mean nothing without containers.
_IGNORED: Final = ("--detach", "--wait", "--rm", "--no-deps", "-T")


class Service:
    """One service of the compose file in the working directory."""

    def __init__(self, name: str, state: Path) -> None:
        variables = dict(line.split("=", 1) for line in Path(".env").read_text().splitlines())
        file = yaml.safe_load(
            re.sub(r"\$\{(\w+)(:\?[^}]*)?\}", lambda one: variables[one[1]], Path("compose.yaml").read_text())
        )
        self._definition: dict[str, Any] = file["services"][name]
        # A temporary folder of the container.
        self._folders = {
            place.partition(":")[0]: state / name / place.strip("/").partition(":")[0]
            for place in self._definition["tmpfs"]
        }
        for folder in self._folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        for volume in self._definition["volumes"]:
            source, target, *_ = volume.split(":")
            self._folders[target] = Path(source).resolve(strict=True)
        for secret in self._definition["secrets"]:
            self._folders[f"/run/secrets/{secret}"] = Path(file["secrets"][secret]["file"]).resolve(strict=True)
        self._pid_file = state / f"{name}.pid"
        self._log = state / f"{name}.log"

    @property
    def environment(self) -> dict[str, str]:
        given = {name: self._here(value) for name, value in self._definition["environment"].items()}
        return {**os.environ, **given}

    def run(self, command: list[str]) -> int:
        """Run a command as in a container of the service."""
        return subprocess.run([self._here(word) for word in command], env=self.environment, check=False).returncode

    def up(self) -> None:
        """Start it, and wait until it is healthy."""
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [self._here(word) for word in self._entry() + self._definition["command"]],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._pid_file.write_text(str(process.pid))
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_healthy():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{self._pid_file.stem} is not healthy:\n{self._log.read_text()}")
            time.sleep(_POLL_SECONDS)

    def down(self) -> None:
        """End it, if it runs."""
        if not self._pid_file.exists():
            return
        pid = int(self._pid_file.read_text())
        self._pid_file.unlink()
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while _runs(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(_POLL_SECONDS)

    def _entry(self) -> list[str]:
        """The entry point that the image of the service has."""
        build = self._definition["build"]
        dockerfile = (Path(build["context"]) / build["dockerfile"]).read_text()
        found = re.search(r'^ENTRYPOINT \["(\w+)"\]$', dockerfile, re.MULTILINE)
        return [found[1]] if found else []

    def _is_healthy(self) -> bool:
        kind, *command = self._definition["healthcheck"]["test"]
        assert kind == "CMD"
        command = [self._here(word) for word in command]
        checked = subprocess.run(command, env=self.environment, capture_output=True, check=False)
        return checked.returncode == 0

    def _here(self, text: str) -> str:
        for inside, outside in self._folders.items():
            text = re.sub(rf"(?<![\w.]){re.escape(inside)}(?![\w-])", str(outside), text)
        return text


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def main(arguments: list[str]) -> int:
    state = Path(os.environ["COMPOSE_STAND_IN"])
    if "--entrypoint" in arguments:
        place = arguments.index("--entrypoint")
        entry = arguments[place + 1]
        arguments[place : place + 2] = []
        while arguments[2] in _IGNORED:
            del arguments[2]
        arguments.insert(3, entry)
    match [word for word in arguments[:4] if word not in _IGNORED] + arguments[4:]:
        case ["compose", "build"]:
            return 0
        case ["compose", "up", name]:
            Service(name, state).up()
        case ["compose", "restart", name]:
            service = Service(name, state)
            service.down()
            service.up()
        case ["compose", "exec" | "run", name, *command]:
            return Service(name, state).run(command)
        case ["compose", "down"]:
            for name in ("tokenizer", "minio"):
                Service(name, state).down()
        case _:
            sys.exit(f"not understood: {arguments}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
