"""Rewrapping after a rotation of the root key: how fast, and in how much memory (group ``rewrap``)."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from benchmarks.bare_server import module_path
from benchmarks.figures import Book, Section, paragraphs
from benchmarks.processes import BenchmarkError, pinned, two_cores

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.processes import Cores
    from benchmarks.surroundings import Surroundings

RATE: Final = "records/s"
COST: Final = "CPU µs/record"
BEFORE: Final = "before MB"
PEAK: Final = "peak MB"
_MEGABYTE: Final = 1_000_000
_ROUNDS: Final = 3
_ALLOWED_GROWTH: Final = 1.2
_LEAST_RATE: Final = 0.7

_METHOD: Final = paragraphs(
    """
A program of its own on one core fills a data directory (SQLite) with so many tokens, adds a root key that is active at
once, and rewraps every record as lunacore keys rewrap --rate 0 does: read in pages, open, seal, compare-and-swap, each
synced to the disk. Only the rewrap is timed. By default the command holds itself to 1,000 records in a second.

Memory is what the kernel says the program has resident at most (VmHWM), reset before the rewrap; MB are 10^6 bytes.
"""
)


def measure(surroundings: Surroundings) -> list[Section]:
    """Run the group.

    Raises:
        BenchmarkError: the program failed.
    """
    cores, book = two_cores(), Book()
    folder, rounds = surroundings.folder("rewrap"), min(_ROUNDS, surroundings.scale.rounds)
    for number in range(1, rounds + 1):
        for count in surroundings.scale.rewrapped:
            surroundings.say(f"round {number}: {subject_name(count)}")
            found = _rewrap(folder / f"{number}-{count}", count, cores)
            book.note(subject_name(count), RATE, count / found["seconds"])
            book.note(subject_name(count), COST, 1e6 * found["cpu_seconds"] / count)
            book.note(subject_name(count), BEFORE, found["before"] / _MEGABYTE)
            book.note(subject_name(count), PEAK, found["peak"] / _MEGABYTE)
    return [_section(book, surroundings, rounds, cores)]


def subject_name(count: int) -> str:
    """What so many records are called in the table."""
    return f"{count:,} records"


def _rewrap(folder: Path, count: int, cores: Cores) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.rewrap_memory", str(folder), str(count)]
    ended = subprocess.run(
        pinned(cores.server, command), capture_output=True, text=True, check=False, env=module_path()
    )
    if ended.returncode != 0:
        raise BenchmarkError(f"the program that rewraps failed:\n{ended.stderr}")
    found: dict[str, float] = json.loads(ended.stdout)
    return found


def _section(book: Book, surroundings: Surroundings, rounds: int, cores: Cores) -> Section:
    counts = surroundings.scale.rewrapped
    few, many = subject_name(counts[0]), subject_name(counts[-1])
    return Section(
        name="rewrap",
        title="Rewrapping records under a new root key",
        method=_METHOD,
        settings={"rounds": rounds, "records": list(counts), "core": cores.server},
        figures=book.figures(),
        ratios=(
            book.ratio(f"peak: {many} ÷ {few}", (many, PEAK), (few, PEAK), at_most=_ALLOWED_GROWTH),
            book.ratio(f"records/s: {many} ÷ {few}", (many, RATE), (few, RATE), at_least=_LEAST_RATE),
        ),
    )
