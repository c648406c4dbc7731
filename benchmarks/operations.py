"""One operation that is called in a loop."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

UNLIMITED: Final = 1_000_000


@frozen
class Operation:
    """What is measured.

    Attributes:
        name: for the table.
        prepare: given how often it will be called, makes ready and returns what does all the calls; only the latter is timed.
        tokens: that one call is about.
        limit: how often it can be called after one preparation.
    """

    name: str
    prepare: Callable[[int], Callable[[], None]]
    tokens: int = 1
    limit: int = UNLIMITED


def calls(name: str, call: Callable[[], object], *, tokens: int = 1) -> Operation:
    """An operation that is the same every time."""

    def prepare(count: int) -> Callable[[], None]:
        def run() -> None:
            for _ in repeat(None, count):
                call()

        return run

    return Operation(name, prepare, tokens)
