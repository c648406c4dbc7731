"""The sealed keyring in a local file (``file:///path``), or in memory (``memory://``).

Writers exclude one another by a lock file, readers need no lock: a new keyring takes the place of the old one in one step
(``lunacore_backends.local_files``). Reading is refused where others than the owner could have written the file.
"""

from __future__ import annotations

import fcntl
import glob
import os
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

from lunacore.errors import ConfigError, KeyringError, StoreUnavailable
from lunacore_backends import local_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lunacore.plugins import BackendURL, Surroundings

MAX_BYTES: Final = 1 << 20
"""What a keyring file may hold at most; a keyring grows by 49 bytes with every key."""


def open_keyring(url: BackendURL, surroundings: Surroundings) -> KeyringFile:
    """The keyring store of a ``file:`` URL. The file need not exist yet, its directory must."""
    setting = surroundings.setting
    url.refuse_unknown_options(setting)
    path = local_files.path_of(url, setting)
    if url.path.endswith("/") or path.is_dir():
        raise ConfigError(f"{setting}: {path} is a directory; name a file in it, such as {path / 'keyring'}")
    # A rename would put a file in the place of a symbolic link, and leave the file that it points to behind.
    return KeyringFile(path.resolve(), setting)


def open_memory_keyring(url: BackendURL, surroundings: Surroundings) -> MemoryKeyring:
    """A keyring store that is gone with the process."""
    setting = surroundings.setting
    url.refuse_unknown_options(setting)
    if url.host or url.path:
        raise ConfigError(f"{setting}: memory:// takes neither host nor path; every keyring in memory is its own")
    return MemoryKeyring()


@frozen
class KeyringFile:
    """A ``KeyringStore`` in one local file of mode 0600, with a lock file beside it."""

    path: Path
    setting: str

    def read(self) -> bytes | None:
        try:
            return local_files.read_guarded(
                self.path, self.setting, refuse=local_files.WRITABLE_BY_OTHERS, limit=MAX_BYTES
            )
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise self._unavailable("read", problem) from problem

    def replace(self, old: bytes | None, new: bytes) -> bool:
        if len(new) > MAX_BYTES:
            raise KeyringError(f"{self.setting}: a keyring of more than {MAX_BYTES} bytes; retire some keys")
        try:
            with self._locked():
                return self._replace(old, new)
        except OSError as problem:
            raise self._unavailable("write", problem) from problem

    def probe(self) -> None:
        if self.read() is None:
            raise StoreUnavailable(f"{self.setting}: there is no keyring at {self.path}")

    def _replace(self, old: bytes | None, new: bytes) -> bool:
        if self.read() != old:
            return False
        self._remove_leftovers()
        with local_files.written_beside(self.path, new) as temporary:
            if old is not None:
                temporary.replace(self.path)
            # Somebody who knows nothing of the lock may have put a file there; linking does not overwrite it.
            elif not self._link(temporary):
                return False
        local_files.sync_directory(self.path.parent)
        return True

    def _link(self, temporary: Path) -> bool:
        try:
            self.path.hardlink_to(temporary)
        except FileExistsError:
            return False
        return True

    def _remove_leftovers(self) -> None:
        """Remove temporary files of writers that were killed; there can be no others while the lock is held."""
        pattern = f".{glob.escape(self.path.name)}.*{local_files.TEMPORARY_SUFFIX}"
        for leftover in self.path.parent.glob(pattern):
            leftover.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The lock file stays: whoever removed it could leave two writers with a lock each.
        lock = self.path.with_name(f".{self.path.name}.lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            local_files.give_to_owner(descriptor, self.path)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _unavailable(self, verb: str, problem: OSError) -> StoreUnavailable:
        return StoreUnavailable(f"{self.setting}: cannot {verb} the keyring {self.path}: {problem.strerror}")


@define
class MemoryKeyring:
    """A ``KeyringStore`` in this process's memory, for tests and throwaway vaults."""

    _sealed: bytes | None = field(default=None, repr=False)
    _lock: Lock = field(factory=Lock, repr=False, eq=False)

    def read(self) -> bytes | None:
        return self._sealed

    def replace(self, old: bytes | None, new: bytes) -> bool:
        with self._lock:
            if self._sealed != old:
                return False
            self._sealed = new
            return True

    def probe(self) -> None:
        """Memory can always be reached."""
