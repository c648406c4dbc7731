"""What a deployment of some size needs, computed from the figures of a run: ``python -m benchmarks.planning RESULTS.json``.

Prints a Markdown table. Rates and sizes come from the run's groups ``http`` and ``growth``; how often tokens are made and read,
how uneven the load is, and what storage costs are assumptions, which stand under the table and can be given as arguments.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from benchmarks import growth, serving

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MONTH: Final = 30 * 24 * 3600
_SEGMENT_OVERHEAD: Final = 70
"""Bytes that sealing adds to a value of one segment (``docs/spec/segments.md``), at most."""


@frozen
class Measured:
    """What one core of one worker did, and what one record takes up."""

    detokenize_rate: float
    tokenize_rate: float
    record_bytes: Mapping[str, float]


@frozen
class Assumed:
    """What no benchmark can tell.

    Attributes:
        value_bytes: of one value, on average.
        reads: of each token in a month.
        turnover: share of the tokens that are made anew in a month.
        peak: the busiest minute over the mean.
        share: of a worker's full rate that is planned with.
        gigabyte_month: price of storing 10^9 bytes for a month.
        put_thousand: price of a thousand writes to the object store.
        get_thousand: price of a thousand reads.
    """

    value_bytes: int = 1_000
    reads: float = 10.0
    turnover: float = 0.1
    peak: float = 10.0
    share: float = 0.5
    gigabyte_month: float = 0.023
    put_thousand: float = 0.005
    get_thousand: float = 0.0004


@frozen
class Plan:
    """What so many tokens need."""

    tokens: int
    peak_reads: float
    peak_writes: float
    workers: int
    record_gigabytes: Mapping[str, float]
    object_gigabytes: float
    object_price: float


def plan(tokens: int, measured: Measured, assumed: Assumed) -> Plan:
    """Compute one line."""
    reads = tokens * assumed.reads
    writes = tokens * assumed.turnover
    peak_reads = reads / _MONTH * assumed.peak
    peak_writes = writes / _MONTH * assumed.peak
    busy = peak_reads / measured.detokenize_rate + peak_writes / measured.tokenize_rate
    object_gigabytes = tokens * (assumed.value_bytes + _SEGMENT_OVERHEAD) / 1e9
    price = (
        object_gigabytes * assumed.gigabyte_month
        + writes / 1000 * assumed.put_thousand
        + reads / 1000 * assumed.get_thousand
    )
    return Plan(
        tokens=tokens,
        peak_reads=peak_reads,
        peak_writes=peak_writes,
        workers=max(1, math.ceil(busy / assumed.share)),
        record_gigabytes={name: tokens * size / 1e9 for name, size in measured.record_bytes.items()},
        object_gigabytes=object_gigabytes,
        object_price=price,
    )


def read_measured(results: Mapping[str, Any]) -> Measured:
    """The figures of a run.

    Raises:
        ValueError: it lacks the groups http or growth.
    """
    sections = {section["name"]: section for section in results["sections"]}
    if not {"http", "growth"} <= sections.keys():
        raise ValueError("the run must hold the groups http and growth: python -m benchmarks http growth")
    return Measured(
        detokenize_rate=_median(sections["http"], serving.DETOKENIZE, serving.RATE),
        tokenize_rate=_median(sections["http"], serving.TOKENIZE, serving.RATE),
        record_bytes=_record_bytes(sections["growth"]),
    )


def table(plans: Sequence[Plan]) -> str:
    """The plans as Markdown."""
    stores = list(plans[0].record_gigabytes)
    head = ["tokens", "reads/s at peak", "new tokens/s at peak", "workers (cores)"]
    head += [f"records on {name}" for name in stores] + ["objects", "object store, $/month"]
    rows = [head, ["---"] * len(head)]
    rows += [
        [
            f"{one.tokens:,}",
            f"{one.peak_reads:,.0f}",
            f"{one.peak_writes:,.1f}",
            f"{one.workers:,}",
            *(_gigabytes(one.record_gigabytes[name]) for name in stores),
            _gigabytes(one.object_gigabytes),
            f"{one.object_price:,.2f}",
        ]
        for one in plans
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    try:
        measured = read_measured(json.loads(asked.results.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError) as problem:
        print(f"benchmarks.planning: {problem}", file=sys.stderr)
        return 1
    assumed = Assumed(**{name: getattr(asked, name) for name in _ASSUMPTIONS})
    print(table([plan(10**power, measured, assumed) for power in (6, 7, 8, 9)]))
    return 0


_ASSUMPTIONS: Final = {
    "value_bytes": (int, "bytes of one value, on average"),
    "reads": (float, "reads of each token in a month"),
    "turnover": (float, "share of the tokens that are made anew in a month"),
    "peak": (float, "the busiest minute over the mean"),
    "share": (float, "of a worker's full rate that is planned with"),
    "gigabyte_month": (float, "price of storing 10^9 bytes for a month"),
    "put_thousand": (float, "price of a thousand writes to the object store"),
    "get_thousand": (float, "price of a thousand reads"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planning", description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, metavar="RESULTS.json", help="of a run with the groups http and growth")
    defaults = Assumed()
    for name, (kind, meaning) in _ASSUMPTIONS.items():
        default = getattr(defaults, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=f"{meaning} ({default:g})")
    return parser


def _record_bytes(section: Mapping[str, Any]) -> dict[str, float]:
    """For each store that of the largest number of records, where fixed costs no longer count."""
    sizes: dict[str, tuple[int, float]] = {}
    for figure in section["figures"]:
        if figure["quantity"] != growth.SIZE:
            continue
        store, count = growth.named(figure["subject"])
        sizes[store] = max(sizes.get(store, (0, 0.0)), (count, figure["median"]))
    return {store: size for store, (_, size) in sizes.items()}


def _median(section: Mapping[str, Any], subject: str, quantity: str) -> float:
    for figure in section["figures"]:
        if (figure["subject"], figure["quantity"]) == (subject, quantity):
            return float(figure["median"])
    raise ValueError(f"the run has no {quantity} of {subject}")


def _gigabytes(amount: float) -> str:
    return f"{amount:,.1f} GB" if amount < 1000 else f"{amount / 1000:,.1f} TB"


if __name__ == "__main__":
    sys.exit(main())
