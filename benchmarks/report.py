"""What is shown of a run: tables on the terminal, and the same as JSON."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.figures import Figure, Ratio, Section

SCHEMA: Final = 1
_WIDTH: Final = 100


@frozen
class Run:
    """A run: what it was made with and on, and what it found.

    Attributes:
        command: the command that repeats it.
        started: in UTC, ISO 8601.
        seconds: that it took.
        seed: of the values.
    """

    command: str
    started: str
    seconds: float
    seed: int
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    sections: Sequence[Section]

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "command": self.command,
            "started": self.started,
            "seconds": round(self.seconds, 1),
            "seed": self.seed,
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "sections": [one.as_json() for one in self.sections],
        }


def text_of(run: Run) -> str:
    """The run for people to read."""
    parts, told = [_head(run)], None
    for section in run.sections:
        parts.append(_section(section, with_method=section.method != told))
        told = section.method
    return "\n\n".join(parts) + "\n"


def provenance(run: Run) -> list[str]:
    """Where the figures come from, in a few lines."""
    machine = run.machine
    lines = [
        f"{run.command}, started {run.started}, {run.seconds:.0f} s, seed {run.seed}",
        _hardware(machine),
        ", ".join(f"{name} {number}" for name, number in run.versions.items() if number != "not installed"),
    ]
    if not machine["was_quiet"]:
        lines.append(
            f"NOT A QUIET MACHINE: the load average was {machine['load_before']} before the run; do not quote these figures"
        )
    return lines


def _hardware(machine: Mapping[str, Any]) -> str:
    size = machine["memory_bytes"] / 2**30
    return f"{machine['processor']}, {machine['cores']} cores, {size:.0f} GiB, {machine['system']}, {machine['file_system']}"


def amount(value: float) -> str:
    """A number with three significant digits, or all that it has before the point."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def _head(run: Run) -> str:
    return "\n".join(_wrapped(line) for line in provenance(run))


def _section(section: Section, *, with_method: bool) -> str:
    parts = [f"{section.title}\n{'=' * len(section.title)}", _table(section)]
    if section.ratios:
        parts.append(_ratios(section.ratios))
    if with_method:
        parts += [_wrapped(paragraph) for paragraph in section.method]
        parts.append(_wrapped(f"Settings: {json.dumps(section.settings)[1:-1]}"))
    return "\n\n".join(parts)


def _table(section: Section) -> str:
    rows = [["", *section.quantities]]
    rows += [
        [subject, *(_cell(section.find(subject, one)) for one in section.quantities)] for subject in section.subjects
    ]
    return f"{_aligned(rows)}\nmedian of the rounds (lowest … highest)"


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    if len(figure.rounds) == 1:
        return amount(figure.median)
    return f"{amount(figure.median)} ({amount(min(figure.rounds))}…{amount(max(figure.rounds))})"


def _ratios(ratios: Sequence[Ratio]) -> str:
    return _aligned(
        [["ratio, round by round", "median", "lowest", "highest", "aim"], *(_ratio_row(one) for one in ratios)]
    )


def _ratio_row(ratio: Ratio) -> list[str]:
    return [ratio.name, amount(ratio.median), amount(min(ratio.rounds)), amount(max(ratio.rounds)), _aim(ratio)]


def _aim(ratio: Ratio) -> str:
    if ratio.is_met is None:
        return ""
    aim = f"≥ {ratio.at_least:g}" if ratio.at_least is not None else f"≤ {ratio.at_most:g}"
    return f"{aim}: {'met' if ratio.is_met else 'MISSED'}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *others = row
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(len(line) for line in lines))
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
