"""Files that commands read: one that cannot be read ends the command, and is named."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lunacore_http.command.exits import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Iterator


def opened(name: str | Path) -> BinaryIO:
    """The file, to be read piece by piece.

    Raises:
        CommandFailed: it cannot be opened; the message says why.
    """
    with _named(name):
        return Path(name).open("rb")


def content(name: str | Path, *, limit: int = -1) -> bytes:
    """What the file holds, or its first ``limit`` bytes.

    Raises:
        CommandFailed: it cannot be read; the message says why.
    """
    with _named(name), Path(name).open("rb") as file:
        return file.read(limit)


@contextmanager
def _named(name: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise CommandFailed(f"cannot read {name}: {problem.strerror}") from problem
