"""What every group is given: how much to measure, where to work, values to put away, and whom to tell how far it is."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.figures import Scale

_BLOCK = 1 << 20


@frozen
class Surroundings:
    """See the module.

    Attributes:
        scale: how much is measured.
        seed: of the values; tokens and keys come from the system and differ in every run.
        work: a folder that is removed after the run.
        say: tells the person who waits.
    """

    scale: Scale
    seed: int
    work: Path
    say: Callable[[str], None]
    _random: random.Random = field(init=False, repr=False)

    @_random.default
    def _seeded(self) -> random.Random:
        return random.Random(self.seed)

    def folder(self, name: str) -> Path:
        """A new folder to work in."""
        made = self.work / name
        made.mkdir(parents=True)
        return made

    def rounds(self) -> range:
        """The numbers of the rounds, from 1."""
        return range(1, self.scale.rounds + 1)

    def value(self, size: int) -> bytes:
        """A value that compresses badly, in memory."""
        return self._random.randbytes(size)

    def value_file(self, path: Path, size: int) -> Path:
        """A value as a file: one random block over and over, which no part of LunaCore could profit from."""
        block = self.value(min(size, _BLOCK))
        with path.open("wb") as file:
            for start in range(0, size, _BLOCK):
                file.write(block[: size - start])
        return path
