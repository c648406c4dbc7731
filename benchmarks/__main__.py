"""``python -m benchmarks``: run groups of benchmarks, and show and keep what they find."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import browsing, load, machine, openbao, report
from benchmarks.figures import DEFAULT, FULL, QUICK
from benchmarks.processes import BenchmarkError
from benchmarks.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.figures import Scale, Section

# Each in a module of its own, which is loaded when it is asked for, as are the plots: what they need takes seconds to load.
GROUPS: Final = {
    "core": "core",
    "profile": "profiling",
    "http": "serving",
    "growth": "growth",
    "workers": "scaling",
    "transfer": "transfer",
    "memory": "memory",
    "rewrap": "rewrapping",
    "browser": "browsing",
}
_LOADED: Final = ("http", "growth", "workers", "memory")
"""Groups that put a server under load."""
RESULTS: Final = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        run = _run(asked)
    except BenchmarkError as problem:
        print(f"benchmarks: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    text = report.text_of(run)
    encoded = json.dumps(run.as_json(), indent=1, ensure_ascii=False) + "\n"
    print(encoded if asked.json else text, end="")
    folder = _keep(run, text, encoded, asked.output)
    _say(f"kept in {folder}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="LunaCore's benchmarks; a few minutes for all."
    )
    parser.add_argument(
        "groups", nargs="*", metavar="GROUP", help=f"which to run: {', '.join(GROUPS)}; all if none is named"
    )
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--full", action="store_true", help="more and longer rounds, values up to 1 GB; an hour")
    amount.add_argument("--quick", action="store_true", help="see that everything runs; the figures mean nothing")
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    parser.add_argument(
        "--output", type=Path, default=RESULTS, metavar="DIR", help="where results go (benchmarks/results)"
    )
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="where data lies meanwhile; its disk counts (the system's)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the values that are put away (1)")
    return parser


def _run(asked: argparse.Namespace) -> report.Run:
    groups = list(dict.fromkeys(asked.groups)) or list(GROUPS)
    for name in groups:
        if name not in GROUPS:
            raise BenchmarkError(f"there is no group {name!r}; the groups are {', '.join(GROUPS)}")
    _check_programs(groups)
    with tempfile.TemporaryDirectory(prefix="lunacore-benchmarks-", dir=asked.work) as work:
        described = machine.describe(Path(work))
        started, clock = datetime.now(UTC), time.monotonic()
        sections = [section for name in groups for section in _measure(name, _scale(asked), asked.seed, Path(work))]
    return report.Run(
        command=shlex.join(["python", "-m", "benchmarks", *_repeatable(asked, groups)]),
        started=started.isoformat(timespec="seconds"),
        seconds=time.monotonic() - clock,
        seed=asked.seed,
        machine=described,
        versions=machine.versions(),
        sections=sections,
    )


def _check_programs(groups: Sequence[str]) -> None:
    """See at once, and not after the first groups, that nothing is missing."""
    if find_spec("matplotlib") is None:
        raise BenchmarkError("plots need matplotlib (dependency group bench): run make setup")
    if any(name in _LOADED for name in groups):
        load.check_generator()
    if "http" in groups:
        openbao.check_program()
    if "browser" in groups:
        browsing.check_program()


def _measure(name: str, scale: Scale, seed: int, work: Path) -> list[Section]:
    surroundings = Surroundings(scale=scale, seed=seed, work=work, say=lambda text: _say(f"{name}: {text}"))
    found: list[Section] = import_module(f"benchmarks.{GROUPS[name]}").measure(surroundings)
    return found


def _scale(asked: argparse.Namespace) -> Scale:
    if asked.quick:
        return QUICK
    return FULL if asked.full else DEFAULT


def _repeatable(asked: argparse.Namespace, groups: Sequence[str]) -> list[str]:
    """The arguments that what was found depends on."""
    chosen = [f"--{name}" for name in ("full", "quick") if getattr(asked, name)]
    return [*groups, *chosen, "--seed", str(asked.seed)]


def _keep(run: report.Run, text: str, encoded: str, output: Path) -> Path:
    folder: Path = output / datetime.fromisoformat(run.started).strftime("%Y%m%dT%H%M%SZ")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(encoded, encoding="utf-8")
    (folder / "report.txt").write_text(text, encoding="utf-8")
    import_module("benchmarks.plots").draw(run, folder)
    return folder


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
