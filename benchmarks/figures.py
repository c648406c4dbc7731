"""What a benchmark finds: figures, ratios of figures of the same run, and sections that hold them.

A figure has one value for each round. Rounds are interleaved (A B C, A B C, …), so that what disturbs the machine for a while
disturbs all subjects, and a ratio is taken within each round before the median is.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@frozen
class Figure:
    """One quantity of one subject, measured once in each round.

    Attributes:
        subject: what was measured; the row of the table.
        quantity: which quantity of it, with its unit; the column.
        rounds: one value for each round, in order.
    """

    subject: str
    quantity: str
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.rounds)

    def as_json(self) -> dict[str, Any]:
        return {"subject": self.subject, "quantity": self.quantity, **_summary(self.rounds)}


@frozen
class Ratio:
    """How two subjects compare, round by round.

    Attributes:
        name: what is divided by what.
        rounds: one ratio for each round, in order.
        at_least: what the design aims at, None where it names no aim.
        at_most: likewise.
    """

    name: str
    rounds: tuple[float, ...]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        return median(self.rounds)

    @property
    def is_met(self) -> bool | None:
        """Whether the aim is met, None where there is none."""
        if self.at_least is not None:
            return self.median >= self.at_least
        if self.at_most is not None:
            return self.median <= self.at_most
        return None

    def as_json(self) -> dict[str, Any]:
        aims = {"at_least": self.at_least, "at_most": self.at_most, "is_met": self.is_met}
        return {"name": self.name, **_summary(self.rounds), **aims}


@frozen
class Section:
    """The figures of one table.

    Attributes:
        name: of the group, and of the part of it where it has several: ``http``, ``transfer.upload``.
        title: what the table shows.
        method: how it was measured and what to bear in mind, one paragraph each.
        settings: the numbers that the run depended on.
    """

    name: str
    title: str
    method: tuple[str, ...]
    settings: Mapping[str, object]
    figures: tuple[Figure, ...]
    ratios: tuple[Ratio, ...] = ()

    @property
    def subjects(self) -> list[str]:
        return list(dict.fromkeys(one.subject for one in self.figures))

    @property
    def quantities(self) -> list[str]:
        return list(dict.fromkeys(one.quantity for one in self.figures))

    def find(self, subject: str, quantity: str) -> Figure | None:
        return next((one for one in self.figures if (one.subject, one.quantity) == (subject, quantity)), None)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "method": list(self.method),
            "settings": dict(self.settings),
            "figures": [one.as_json() for one in self.figures],
            "ratios": [one.as_json() for one in self.ratios],
        }


@frozen
class Scale:
    """How much is measured.

    Attributes:
        rounds: of every subject.
        core_seconds: that one in-process operation runs in a round, about.
        load_seconds: that one subject is under load in a round.
        connections: that the load generator keeps open.
        tokens: that the server holds for reading.
        sizes: of the values that are transferred, in bytes.
        transfer_seconds: after which a size is not repeated further within a round.
        memory_sizes: of the values whose transfer is watched for memory, in bytes; the first is compared with the last.
        memory_requests: after which a worker's memory is looked at once more.
        records: that record stores hold whose speed is compared; the first is compared with the last.
        workers: how many processes serve, one number after another.
        rewrapped: records of one rewrap; the first is compared with the last.
    """

    rounds: int
    core_seconds: float
    load_seconds: float
    connections: int
    tokens: int
    sizes: tuple[int, ...]
    transfer_seconds: float
    memory_sizes: tuple[int, ...]
    memory_requests: int
    records: tuple[int, ...]
    workers: tuple[int, ...]
    rewrapped: tuple[int, ...]


_SMALL = (1, 1_000, 100_000)
QUICK = Scale(
    rounds=1,
    core_seconds=0.001,
    load_seconds=0.2,
    connections=4,
    tokens=100,
    sizes=(1, 100_000),
    transfer_seconds=0.0,
    memory_sizes=(1_000_000, 4_000_000),
    memory_requests=200,
    records=(200, 1_000),
    workers=(1, 2),
    rewrapped=(200, 1_000),
)
DEFAULT = Scale(
    rounds=5,
    core_seconds=0.1,
    load_seconds=2.0,
    connections=32,
    tokens=1_000,
    sizes=(*_SMALL, 1_000_000, 10_000_000, 100_000_000),
    transfer_seconds=0.3,
    memory_sizes=(30_000_000, 300_000_000),
    memory_requests=50_000,
    records=(1_000, 10_000, 100_000, 1_000_000),
    workers=(1, 2, 4),
    rewrapped=(10_000, 100_000),
)
FULL = Scale(
    rounds=9,
    core_seconds=0.3,
    load_seconds=5.0,
    connections=32,
    tokens=10_000,
    sizes=(*_SMALL, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000),
    transfer_seconds=1.0,
    memory_sizes=(30_000_000, 300_000_000, 3_000_000_000),
    memory_requests=1_000_000,
    records=(1_000, 10_000, 100_000, 1_000_000, 10_000_000),
    workers=(1, 2, 4),
    rewrapped=(10_000, 100_000, 1_000_000),
)


class Book:
    """Collects values round by round, and makes figures and ratios of them."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], list[float]] = {}

    def note(self, subject: str, quantity: str, value: float) -> None:
        """Add the value of one round."""
        self._values.setdefault((subject, quantity), []).append(value)

    def figures(self) -> tuple[Figure, ...]:
        return tuple(Figure(*name, rounds=tuple(values)) for name, values in self._values.items())

    def ratio(
        self,
        name: str,
        above: tuple[str, str],
        below: tuple[str, str],
        *,
        factor: float = 1.0,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> Ratio:
        """The ratio of two (subject, quantity), times ``factor``, in each round."""
        pairs = zip(self._values[above], self._values[below], strict=True)
        return Ratio(name, tuple(factor * over / under for over, under in pairs), at_least, at_most)


def paragraphs(text: str) -> tuple[str, ...]:
    """The paragraphs of a text, which blank lines part, each as one line."""
    return tuple(" ".join(one.split()) for one in text.strip().split("\n\n"))


def _summary(rounds: Sequence[float]) -> dict[str, Any]:
    return {"median": median(rounds), "low": min(rounds), "high": max(rounds), "rounds": list(rounds)}
