"""Files that commands write: whole or not at all, and open to nobody else."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from lunacore_backends import local_files
from lunacore_http.command.exits import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

_FORCE: Final = "--force replaces it"


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file (mode 0600) that takes the place of ``path`` when the block ends, and leaves it as it was if the block fails.

    What is no regular file, such as a pipe or a device, is written to as it is.

    Raises:
        CommandFailed: it cannot be written; the message says why.
    """
    with _named(path):
        # A link stays one: what it points to is replaced.
        target = path.resolve()
        with _in_place(target) if _is_special(target) else _beside(target) as file:
            yield file


@contextmanager
def new(path: Path) -> Iterator[BinaryIO]:
    """A file (mode 0600) that was not there before, unbuffered; what is written stays, however the block ends.

    Raises:
        CommandFailed: it is there already, or cannot be written.
    """
    with _named(path, if_there="name another file"):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            yield cast("BinaryIO", file)
            os.fsync(descriptor)


def refuse_existing(path: Path, *, force: bool) -> None:
    """Refuse a file that must not be replaced, before the work for it is done.

    Raises:
        CommandFailed: it is there already, and ``force`` was not asked for.
    """
    if path.exists() and not force:
        raise CommandFailed(f"{path} exists already; {_FORCE}")


def write_for_owner(path: Path, content: bytes, *, force: bool) -> None:
    """Write a secret for a service: a file (mode 0600) of the owner of the old one, or of its directory, safely on disk.

    A link is replaced by the file.

    Raises:
        CommandFailed: it is there already and ``force`` was not asked for, or it cannot be written.
    """
    with _named(path, if_there=_FORCE):
        with local_files.written_beside(path, content) as temporary:
            if force:
                temporary.replace(path)
            else:
                path.hardlink_to(temporary)
        local_files.sync_directory(path.parent)


@contextmanager
def _named(path: Path, *, if_there: str = "") -> Iterator[None]:
    """Say which file cannot be written, and what to do where it must not be there."""
    try:
        yield
    except OSError as problem:
        if if_there and isinstance(problem, FileExistsError):
            raise CommandFailed(f"{path} exists already; {if_there}") from None
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
