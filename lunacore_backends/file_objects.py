"""Objects on a local disk: ``file:///directory``. Safe for several threads and processes, and across crashes.

``docs/reference/objects.md`` has the layout and the guarantees. A write is a temporary file, fsync, an exclusive hard link to
the final name, and fsync of the directories: the order that POSIX asks for if a name is to appear only with all of its contents.
Every path is walked from the root by descriptors that follow no symbolic link.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from lunacore.errors import Conflict, IntegrityError, StoreUnavailable
from lunacore_backends import local_files, object_tree
from lunacore_backends.object_tree import INCOMING
from lunacore_backends.sealed_objects import SealedFile, SealedObjects, tickets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from _typeshed import WriteableBuffer

    from lunacore.plugins import BackendURL, Surroundings

LEFTOVER_SECONDS: Final = 86_400
"""Age from which on an unfinished write counts as abandoned; one that still runs touches its file all the time."""

_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# The root itself may be a link: the operator named it.
_ROOT_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CREATE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO must be refused, not waited for.
_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_EXPLANATIONS: Final = {
    errno.ENOSPC: "the disk is full; nothing was written. Make room",
    errno.EDQUOT: "the disk quota is used up; nothing was written. Make room",
    errno.EFBIG: "the file would be larger than the system allows; nothing was written",
    errno.EROFS: "the file system is mounted read-only",
    errno.EACCES: "access was denied; check owner and permissions of the directory",
    errno.EPERM: "the system refused; check owner and permissions, and that the file system has hard links",
    errno.EOPNOTSUPP: "the file system has no hard links; choose another",
    errno.EMLINK: "the file system has no hard links; choose another",
    errno.EIO: "the disk failed to read or write; check it and the system's log",
    errno.ELOOP: "a symbolic link lies where a directory should be",
    errno.ENOTDIR: "a file or symbolic link lies where a directory should be",
    errno.EMFILE: "the process has too many files open",
    errno.ENFILE: "the system has too many files open",
}


def open_objects(url: BackendURL, surroundings: Surroundings) -> SealedObjects:
    """The object store in a directory, which is created if it is missing.

    Raises:
        ConfigError: the URL is not ``file:///directory``, or has options.
        StoreUnavailable: the directory cannot be created or used.
    """
    root = local_files.path_of(url, surroundings.setting)
    url.refuse_unknown_options(surroundings.setting)
    medium = FileMedium(root, surroundings.random)
    medium.prepare()
    medium.sweep_incoming(older_than=int(surroundings.now()) - LEFTOVER_SECONDS)
    return SealedObjects(medium, tickets_of(surroundings), surroundings.random)


class FileMedium:
    """Sealed files in a directory tree on a local disk.

    Args:
        root: the directory.
        random: makes the names of temporary files.
    """

    def __init__(self, root: Path, random: Callable[[int], bytes]) -> None:
        self._root = root
        self._random = random
        self._durable: set[tuple[str, ...]] = set()

    def prepare(self) -> None:
        """Create the root, open to its owner only, and the directory for writes under way."""
        with _translated():
            self._root.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
            incoming = self._root / INCOMING
            if not incoming.is_dir():
                incoming.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
                local_files.sync_directory(self._root)
                local_files.sync_directory(self._root.parent)

    def create(self, name: str, sealed: Iterable[bytes]) -> None:
        temporary = object_tree.incoming_name(name, self._random)
        with self._directory((INCOMING,)) as incoming:
            with _translated():
                descriptor = os.open(temporary, _CREATE_FLAGS, _FILE_MODE, dir_fd=incoming)
            try:
                _fill(descriptor, sealed)
                self._publish(incoming, temporary, name)
            finally:
                # Gone already if the object was deleted meanwhile; what a failure leaves, `remove` and the sweep take away.
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=incoming)

    def open(self, name: str) -> BinaryIO:
        with self._directory(object_tree.directories(name)) as leaf, _translated():
            descriptor = _open_object(name, leaf)
        file = _ObjectFile(descriptor, "rb")
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            file.close()
            raise IntegrityError("what lies under the object's name is no regular file")
        return cast("BinaryIO", file)

    def remove(self, names: Sequence[str]) -> None:
        # What is under way goes first: a write that has not got its final name by then never gets it.
        self._remove_incoming(frozenset(names))
        for name in names:
            with suppress(FileNotFoundError), self._directory(object_tree.directories(name)) as leaf, _translated():
                os.unlink(name, dir_fd=leaf)
                os.fsync(leaf)

    def files(self, after: str) -> Iterator[SealedFile]:
        for above in object_tree.leaves(self._children, after):
            yield from self._files_in(above, after)

    def probe(self) -> None:
        with self._directory((INCOMING,)):
            pass

    def sweep_incoming(self, *, older_than: int) -> int:
        """Remove what killed writes left and nobody has touched since ``older_than`` (Unix seconds); return how many."""
        removed = 0
        with self._directory((INCOMING,)) as incoming, _translated():
            for temporary in _names_in(incoming):
                with suppress(FileNotFoundError):
                    if object_tree.object_of(temporary) and _status(temporary, incoming).st_mtime < older_than:
                        os.unlink(temporary, dir_fd=incoming)
                        removed += 1
        return removed

    def _publish(self, incoming: int, temporary: str, name: str) -> None:
        above = object_tree.directories(name)
        self._make(above)
        with self._directory(above) as leaf:
            _link(temporary, incoming, name, leaf)
            try:
                with _translated():
                    os.fsync(leaf)
                self._make_durable(above)
            except StoreUnavailable:
                with suppress(OSError):
                    os.unlink(name, dir_fd=leaf)
                raise

    def _make(self, above: tuple[str, ...]) -> None:
        for level in range(len(above)):
            with self._directory(above[:level]) as parent, _translated(), suppress(FileExistsError):
                os.mkdir(above[level], _DIRECTORY_MODE, dir_fd=parent)

    def _make_durable(self, above: tuple[str, ...]) -> None:
        """Have the directories themselves survive power loss: another process may have made them and not come that far."""
        if above in self._durable:
            return
        for level in range(len(above)):
            with self._directory(above[:level]) as parent, _translated():
                os.fsync(parent)
        self._durable.add(above)

    def _remove_incoming(self, names: frozenset[str]) -> None:
        with self._directory((INCOMING,)) as incoming, _translated():
            found = [temporary for temporary in _names_in(incoming) if object_tree.object_of(temporary) in names]
            for temporary in found:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=incoming)
            if found:
                os.fsync(incoming)

    def _children(self, above: Sequence[str]) -> list[str]:
        with suppress(FileNotFoundError), self._directory(above) as directory, _translated():
            return _names_in(directory)
        return []

    def _files_in(self, above: Sequence[str], after: str) -> list[SealedFile]:
        files: list[SealedFile] = []
        with suppress(FileNotFoundError), self._directory(above) as leaf, _translated():
            for name in sorted(_names_in(leaf)):
                if name > after and object_tree.is_object(name):
                    with suppress(FileNotFoundError):
                        status = _status(name, leaf)
                        files.append(SealedFile(name, status.st_size, int(status.st_mtime)))
        return files

    @contextmanager
    def _directory(self, path: Sequence[str]) -> Iterator[int]:
        """A descriptor of a directory below the root.

        Raises:
            FileNotFoundError: there is none.
            StoreUnavailable: the root is not there, or not the tree that it was.
        """
        descriptor = self._open_root()
        try:
            for part in path:
                with _translated():
                    child = os.open(part, _DIRECTORY_FLAGS, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = child
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_root(self) -> int:
        try:
            descriptor = os.open(self._root, _ROOT_FLAGS)
        except OSError as error:
            raise _unavailable(error) from error
        try:
            # An empty mount point must not pass for a store whose objects are all gone.
            os.stat(INCOMING, dir_fd=descriptor, follow_symlinks=False)
        except OSError as error:
            os.close(descriptor)
            raise _unavailable(error) from error
        return descriptor


class _ObjectFile(io.FileIO):
    """A file whose failures are the store's."""

    def read(self, size: int | None = -1, /) -> bytes:
        with _translated():
            return super().read(-1 if size is None else size)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with _translated():
            return super().readinto(buffer)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        with _translated():
            return super().seek(offset, whence)


@contextmanager
def _translated() -> Iterator[None]:
    """Say in LunaCore's words what went wrong; that something is missing is for the caller to judge."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unavailable(error) from error


def _unavailable(error: OSError) -> StoreUnavailable:
    if error.errno == errno.ENOENT:
        return StoreUnavailable("objects: the directory is not there; is its disk mounted?")
    reason = _EXPLANATIONS.get(error.errno or 0) or os.strerror(error.errno or 0)
    return StoreUnavailable(f"objects: {reason}")


def _fill(descriptor: int, sealed: Iterable[bytes]) -> None:
    """Write the pieces and close, with everything on disk. What the pieces raise is not the disk's and passes through."""
    try:
        for piece in sealed:
            with _translated():
                _write_whole(descriptor, piece)
        with _translated():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_whole(descriptor: int, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _link(temporary: str, incoming: int, name: str, leaf: int) -> None:
    try:
        os.link(temporary, name, src_dir_fd=incoming, dst_dir_fd=leaf, follow_symlinks=False)
    except FileExistsError:
        raise Conflict("the object exists already; it is written once") from None
    except FileNotFoundError:
        raise Conflict("the object was deleted while it was written") from None
    except OSError as error:
        raise _unavailable(error) from error


def _open_object(name: str, leaf: int) -> int:
    try:
        return os.open(name, _READ_FLAGS, dir_fd=leaf)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise IntegrityError("what lies under the object's name is a symbolic link") from None
        raise


def _status(name: str, directory: int) -> os.stat_result:
    return os.stat(name, dir_fd=directory, follow_symlinks=False)


def _names_in(directory: int) -> list[str]:
    return os.listdir(directory)
