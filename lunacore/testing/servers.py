"""Real servers for black-box tests: a WSGI application or a tokenizer, in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_LOG_BYTES: Final = 1 << 22
_SERVE: Final = (
    "import json, sys; from lunacore.config import Config; from lunacore_http.server import serve; "
    "serve(Config.from_mapping(json.loads(sys.argv[1]), {}), started=lambda: print('started', flush=True))"
)
# Below those from which systems take ports for connections: 32768 on Linux, 49152 elsewhere (RFC 6335, section 6).
_PORTS: Final = range(20_000, 32_000)
_STARTED: Final = "started\n"


class _Server:
    """A process that serves, as a context manager; what it writes is kept.

    Attributes:
        process: the server's main process, None until it is started.
    """

    _called = "the server"

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed on exit

    @property
    def log(self) -> str:
        """What the process has written so far."""
        # The process writes at the position that a seek here would move.
        return os.pread(self._log.fileno(), _LOG_BYTES, 0).decode(errors="replace")

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(  # noqa: S603 - the arguments are the test's own
            self._command(),
            env=self._surroundings(),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        try:
            self._await_start(self.process)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.stop()
        self._log.close()

    def terminate(self) -> None:
        """Ask it to end, and wait for nothing."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """End it, by force if it takes too long, and return its exit code."""
        assert self.process is not None
        self.terminate()
        try:
            return self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def _await_start(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if self._has_started():
                return
            time.sleep(_POLL_SECONDS)
        raise RuntimeError(f"{self._called} did not start:\n{self.log}")

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _surroundings(self) -> dict[str, str] | None:
        """The environment of the process; that of this one where None."""
        return None

    def _has_started(self) -> bool:
        raise NotImplementedError


class WSGIProcess(_Server):
    """A WSGI or ASGI application served by granian on 127.0.0.1, as a context manager.

    Args:
        module: the Python file that holds the application's factory.
        factory: a function without arguments that returns the application.
        environment: what to add to the environment of the process.
        threads: how many requests are worked on at once; ASGI has one thread whatever is said.
        interface: ``wsgi`` or ``asgi``.
        port: a free one where None.
    """

    def __init__(
        self,
        module: Path,
        *,
        factory: str = "create",
        environment: Mapping[str, str] | None = None,
        threads: int = 8,
        interface: str = "wsgi",
        port: int | None = None,
    ) -> None:
        super().__init__()
        self._target = f"{module}:{factory}"
        self._environment = {**os.environ, **(environment or {})}
        self._threads = threads if interface == "wsgi" else 1
        self._interface = interface
        self.port = free_port() if port is None else port

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.port}"

    def peak_memory(self) -> int:
        """The most memory that any process of the server has had resident so far, in bytes; Linux only."""
        assert self.process is not None
        main = str(self.process.pid)
        workers = Path(f"/proc/{main}/task/{main}/children").read_text(encoding="ascii").split()
        return max(_peak_memory(pid) for pid in (main, *workers))

    def _command(self) -> list[str]:
        arguments = ["--interface", self._interface, "--host", "127.0.0.1", "--port", str(self.port)]
        arguments += ["--blocking-threads", str(self._threads), "--no-ws", "--factory", self._target]
        return [sys.executable, "-m", "granian", *arguments]

    def _surroundings(self) -> dict[str, str]:
        return self._environment

    def _has_started(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


class TokenizerProcess(_Server):
    """``lunacore serve`` as a context manager; it needs the extra ``server``.

    Args:
        settings: the configuration, as TOML would give it. The environment of this process adds nothing to it.
    """

    _called = "the tokenizer"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.settings = settings

    def _command(self) -> list[str]:
        return [sys.executable, "-c", _SERVE, json.dumps(self.settings)]

    def _has_started(self) -> bool:
        return _STARTED in self.log


def _peak_memory(pid: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the system does not tell the peak memory of a process")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on, and that no connection is given by the system in the meantime."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
