"""Load over HTTP: wrk, on a core of its own, with requests that were made beforehand.

wrk is a closed loop: a connection sends its next request when it has the answer to the last. Its latencies are therefore those
of a server that is fully used by that many connections.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from benchmarks.processes import BenchmarkError, pinned

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SCRIPT: Final = Path(__file__).with_name("load.lua")
_TIMEOUT: Final = "30s"


@frozen
class Request:
    """One POST of JSON."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def encode(self, port: int) -> bytes:
        """The request as HTTP/1.1 to 127.0.0.1."""
        headers = {
            "host": f"127.0.0.1:{port}",
            "content-type": "application/json",
            "content-length": str(len(self.body)),
            **self.headers,
        }
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


@frozen
class Load:
    """What one spell of load came to; times in seconds."""

    requests_per_second: float
    requests: int
    p50: float
    p99: float


def check_generator() -> None:
    """See that wrk is there.

    Raises:
        BenchmarkError: it is not.
    """
    if shutil.which("wrk") is None:
        raise BenchmarkError(
            "the groups http, growth, workers and memory need the load generator wrk: install it (Debian, Ubuntu: apt install "
            "wrk; Fedora: dnf install wrk), or name the other groups: python -m benchmarks core transfer browser"
        )


def write_requests(path: Path, requests: Iterable[Request], port: int) -> Path:
    """Write requests as ``load.lua`` reads them."""
    with path.open("wb") as file:
        for one in requests:
            encoded = one.encode(port)
            file.write(b"%010d" % len(encoded) + encoded)
    return path


def run(requests: Path, port: int, *, core: int, connections: int, seconds: float) -> Load:
    """Send the requests in turn for some seconds.

    Raises:
        BenchmarkError: an answer was missing, or was no success.
    """
    url = f"http://127.0.0.1:{port}/"
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--timeout", _TIMEOUT]
    command += ["--duration", f"{max(1, round(seconds))}s", "--script", str(_SCRIPT), url, "--", str(requests)]
    ended = subprocess.run(pinned(core, command), capture_output=True, text=True, check=False)
    last = ended.stdout.strip().rpartition("\n")[2]
    if ended.returncode != 0 or not last.startswith("{"):
        raise BenchmarkError(f"wrk failed:\n{ended.stdout}{ended.stderr}")
    told = json.loads(last)
    if told["failures"] or told["refusals"] or not told["requests"]:
        raise BenchmarkError(
            f"of {told['requests']} requests to {url} {told['refusals']} were refused and {told['failures']} not answered"
        )
    return Load(
        requests_per_second=told["requests"] / told["microseconds"] * 1e6,
        requests=told["requests"],
        p50=told["p50"] / 1e6,
        p99=told["p99"] / 1e6,
    )
