"""A server of another project as a child process: started on a port of its own, waited for, ended by its process id."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Final

from tests.servers.startable import Startable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.1


class ServerProcess:
    """One server process.

    Args:
        command: program and arguments.
        ready: says whether the server answers; called until it does.
        environment: what to add to the environment.
        folder: the working directory, and where the log goes.
        ending: the signal that ends it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        ready: Callable[[], bool],
        environment: Mapping[str, str],
        folder: Path,
        ending: signal.Signals = signal.SIGTERM,
    ) -> None:
        self._command = list(command)
        self._ready = ready
        self._environment = {**os.environ, **environment}
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "log"
        self._ending = ending

    @property
    def log(self) -> str:
        """What the process has written so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start, and return when the server answers."""
        assert self._process is None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._await_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def pause(self) -> None:
        """Freeze the process: it keeps its connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo ``pause``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the process; what it has on disk stays."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(self._ending)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if self._ready():
                return
            time.sleep(_POLL_SECONDS)
        raise RuntimeError(f"{self._command[0]} did not start:\n{self.log}")


class Server(Startable):
    """A server that is one process, which it makes as ``_process``."""

    _process: ServerProcess

    def start(self) -> None:
        self._process.start()

    def stop(self) -> None:
        self._process.stop()

    def pause(self) -> None:
        """Let it answer nothing until ``resume``."""
        self._process.pause()

    def resume(self) -> None:
        """Undo ``pause``."""
        self._process.resume()
