"""Small files that hold secrets: their URLs, their permissions, and writes that survive a crash.

The order of a write is the usual one of POSIX file systems: a temporary file in the same directory, fsync, link or rename, fsync
of the directory. A reader therefore sees the old file or the new one, and what a call has returned for survives power loss.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lunacore.errors import ConfigError, KeyringError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunacore.plugins import BackendURL

WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
OPEN_TO_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
TEMPORARY_SUFFIX: Final = ".new"


def path_of(url: BackendURL, setting: str) -> Path:
    """The absolute path that a ``file:`` URL, or one like it, names.

    Raises:
        ConfigError: naming ``setting``, where there is a host or no absolute path.
    """
    if url.host not in ("", "localhost") or not url.path.startswith("/") or "\0" in url.path:
        raise ConfigError(f"{setting} must name an absolute path, with three slashes: {url.scheme}:///etc/lunacore/…")
    return Path(url.path)


def read_guarded(path: Path, setting: str, *, refuse: int, limit: int) -> bytes:
    """The contents of a file of at most ``limit`` bytes that has none of the permission bits ``refuse``.

    Raises:
        KeyringError: the file has a forbidden permission bit, is no regular file or is too large.
        OSError: it cannot be read.
    """
    # A FIFO must be refused, not waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        _refuse_mode(os.fstat(descriptor).st_mode, path, setting, refuse)
        content = file.read(limit + 1)
    if len(content) > limit:
        raise KeyringError(f"{setting}: {path} holds more than {limit} bytes; is it the right file?")
    return content


def _refuse_mode(mode: int, path: Path, setting: str, refuse: int) -> None:
    if not stat.S_ISREG(mode):
        raise KeyringError(f"{setting}: {path} is not a regular file")
    if mode & refuse:
        may = "write" if refuse == WRITABLE_BY_OTHERS else "read or write"
        raise KeyringError(f"{setting}: others than its owner may {may} {path}; run: chmod 600 {path}")


@contextmanager
def written_beside(path: Path, content: bytes) -> Iterator[Path]:
    """A new file of mode 0600 in the directory of ``path``, safely on disk; gone at the end unless it was renamed."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=TEMPORARY_SUFFIX, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            give_to_owner(descriptor, path)
            os.fsync(descriptor)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def give_to_owner(descriptor: int, path: Path) -> None:
    """Let root's files belong to the owner of ``path``, or of its directory where there is no such file yet.

    Otherwise a service could not read what an administrator wrote for it.
    """
    if os.geteuid() != 0:
        return
    pattern = path.stat() if path.exists() else path.parent.stat()
    os.fchown(descriptor, pattern.st_uid, pattern.st_gid)


def sync_directory(path: Path) -> None:
    """Make what was created, renamed or removed in a directory survive power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
