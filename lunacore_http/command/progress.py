"""Progress bars: on standard error, if that is a terminal, and only for work that takes longer than a moment."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

_DELAY: Final = 0.5
"""Seconds of work after which a bar appears."""


class Bar(Protocol):
    """What moves on as work is done."""

    def update(self, n: int) -> object:
        """Count ``n`` more: bytes or records."""
        ...


class _Silent:
    def update(self, n: int) -> None:
        """Nobody watches."""


@contextmanager
def shown(what: str, total: int | None, unit: str = "B") -> Iterator[Bar]:
    """A bar for ``total`` units of work, None where nobody knows how much there is."""
    if not sys.stderr or not sys.stderr.isatty():
        yield _Silent()
        return
    try:
        from tqdm import tqdm  # noqa: PLC0415 - costs 200 ms, and scripts never see a bar
    except ImportError:
        # It comes with the server; the library's own installation works without.
        yield _Silent()
        return
    scaled = unit == "B"
    with tqdm(
        desc=what, total=total, unit=unit, unit_scale=scaled, unit_divisor=1024, delay=_DELAY, leave=False
    ) as bar:
        yield bar


def counted(source: BinaryIO, bar: Bar) -> BinaryIO:
    """A source whose bytes move the bar as they are read."""
    return cast("BinaryIO", _Counted(source, bar))


class _Counted:
    def __init__(self, source: BinaryIO, bar: Bar) -> None:
        self._source = source
        self._bar = bar

    def read(self, size: int = -1) -> bytes:
        piece = self._source.read(size)
        self._bar.update(len(piece))
        return piece
