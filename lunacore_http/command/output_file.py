"""Files that commands write: whole or not at all, and open to nobody else."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from lunacore_http.command.exits import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file (mode 0600) that takes the place of ``path`` when the block ends, and leaves it as it was if the block fails.

    What is no regular file, such as a pipe or a device, is written to as it is.

    Raises:
        CommandFailed: it cannot be written; the message says why.
    """
    try:
        # A link stays one: what it points to is replaced.
        target = path.resolve()
        with _in_place(target) if _is_special(target) else _beside(target) as file:
            yield file
    except OSError as problem:
        raise CommandFailed(f"cannot write {path}: {problem.strerror}") from problem


@contextmanager
def new(path: Path) -> Iterator[BinaryIO]:
    """A file (mode 0600) that was not there before, unbuffered; what is written stays, however the block ends.

    Raises:
        CommandFailed: it is there already, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            yield cast("BinaryIO", file)
            os.fsync(descriptor)
    except FileExistsError:
        raise CommandFailed(f"{path} exists already; name another file") from None
    except OSError as problem:
        raise CommandFailed(f"cannot write {path}: {problem.strerror}") from problem


def _is_special(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(mode)


@contextmanager
def _in_place(path: Path) -> Iterator[BinaryIO]:
    with path.open("wb") as file:
        yield file


@contextmanager
def _beside(path: Path) -> Iterator[BinaryIO]:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield cast("BinaryIO", file)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
