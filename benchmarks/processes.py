"""Processes that are measured: each kept to given cores, waited for, watched, and ended by its id.

What is told of processes comes from Linux's ``/proc`` (proc(5)).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Never, Self

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_RESET_PEAK: Final = "5"
# The affinity is set before the program starts, since some (Go's runtime) look at it only then.
_PINNED: Final = (
    "import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1].split(','))); os.execvp(sys.argv[2], sys.argv[2:])"
)


class BenchmarkError(Exception):
    """A benchmark cannot run here; the message says why and what to do."""


@frozen
class Cores:
    """Which core serves and which one makes the load; the same one where there is no other."""

    server: int
    load: int

    @property
    def are_apart(self) -> bool:
        return self.server != self.load


def two_cores() -> Cores:
    """The first two cores that this process may use."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(usable[0], usable[min(1, len(usable) - 1)])


def all_cores() -> tuple[int, ...]:
    """Every core that this process may use."""
    return tuple(sorted(os.sched_getaffinity(0)))


def pinned(core: int | tuple[int, ...], command: Sequence[str]) -> list[str]:
    """The command that runs ``command`` on one core, or on several."""
    cores = core if isinstance(core, tuple) else (core,)
    return [sys.executable, "-c", _PINNED, ",".join(map(str, cores)), *command]


@contextlib.contextmanager
def kept_to(core: int | tuple[int, ...]) -> Iterator[None]:
    """Keep this thread, and the threads and processes that it starts meanwhile, to one core, or to several."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, core if isinstance(core, tuple) else {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Server:
    """A server on one core, as a context manager.

    Args:
        command: program and arguments.
        core: that it and its children may use; several, where it is to have more than one.
        ready: says whether it answers; asked until it does.
        folder: its working directory, and where its output goes.
        environment: what to add to the environment.
        ending: the signal that ends it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        core: int | tuple[int, ...],
        ready: Callable[[], bool],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        ending: signal.Signals = signal.SIGTERM,
    ) -> None:
        self._command = pinned(core, command)
        self._ready = ready
        self._folder = folder
        self._ending = ending
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._await_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(self._ending)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def cpu_seconds(self) -> float:
        """What the process and its children have used of the processor so far."""
        return sum(_cpu_seconds(pid) for pid in self._family())

    def reset_peak_memory(self) -> None:
        """Forget earlier peaks of memory."""
        for pid in self._family():
            reset_peak_memory(pid)

    def memory(self) -> int:
        """Bytes that the largest process of the server has resident now."""
        return max(status_bytes(pid, "VmRSS") for pid in self._family())

    def peak_memory(self) -> int:
        """The most bytes that a process of the server has had resident since the peaks were reset."""
        return max(status_bytes(pid, "VmHWM") for pid in self._family())

    @property
    def _log(self) -> Path:
        return self._folder / "output.log"

    def _family(self) -> list[int]:
        if self._process is None:
            raise BenchmarkError(f"{self._command[-1]} does not run")
        return descendants(self._process.pid)

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if self._ready():
                return
            time.sleep(_POLL_SECONDS)
        self._fail()

    def _fail(self) -> Never:
        output = self._log.read_text(encoding="utf-8", errors="replace")[-4000:]
        raise BenchmarkError(f"a server did not start ({' '.join(self._command[3:6])} …):\n{output}")


def descendants(pid: int) -> list[int]:
    """The process and all that it has started and that still run."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                found += descendants(int(child))
    return found


def status_bytes(pid: int, name: str) -> int:
    """A size in ``/proc/<pid>/status``, in bytes; 0 for a process that has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0


def reset_peak_memory(pid: int) -> None:
    """Let ``VmHWM`` of a process of ours begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK, encoding="ascii")


def _cpu_seconds(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
