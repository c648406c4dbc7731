"""Objects on any file system that fsspec knows, by its URL: ``memory://``, ``sftp://user@host/directory``, …

What the URL's query names goes to the file system as keyword arguments. Objects lie as ``lunacore_backends.object_tree`` says; a
write goes to a temporary file first and is then moved.

fsspec has no exclusive move, so a write looks whether the name is free and then moves, under a lock of this process. What that
does **not** guarantee: of two processes that write the same name in the same instant, the later may win where a move replaces
(SFTP). The tokenizer draws a fresh random name for every object, so two writers of one name means one upload ticket used twice at
once. Nor does fsspec have fsync: how durable a finished write is depends on the file system. Use ``file://`` or ``s3://`` where
either matters.
"""

from __future__ import annotations

import io
import posixpath
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final, cast

import fsspec.core
from fsspec.implementations.memory import MemoryFileSystem

from lunacore.errors import ConfigError, Conflict, LunaCoreError, StoreUnavailable
from lunacore_backends import object_tree
from lunacore_backends.object_tree import INCOMING
from lunacore_backends.sealed_objects import SealedFile, SealedObjects, tickets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fsspec import AbstractFileSystem

    from lunacore.plugins import BackendURL, Surroundings

# One lock for every first byte of a name: writes of one name exclude each other, writes of others hardly ever.
_LOCKS: Final = tuple(threading.Lock() for _ in range(256))


def open_objects(url: BackendURL, surroundings: Surroundings) -> SealedObjects:
    """The object store in the directory that the URL names, which is created if it is missing.

    ``memory://`` without a path makes a store of its own every time; with one, all in this process that name it share it.

    Raises:
        ConfigError: fsspec does not know the scheme, or a package for it is missing.
        StoreUnavailable: the directory cannot be created or used.
    """
    file_system, root = file_system_of(url, surroundings.setting)
    medium = _medium(file_system, root, surroundings.random)
    medium.prepare()
    return SealedObjects(medium, tickets_of(surroundings), surroundings.random)


def _medium(file_system: AbstractFileSystem, root: str, random: Callable[[int], bytes]) -> FsspecMedium:
    if not isinstance(file_system, MemoryFileSystem):
        return FsspecMedium(file_system, root, random)
    return MemoryMedium(file_system, root if root.strip("/") else f"/lunacore-{random(16).hex()}", random)


class FsspecMedium:
    """Sealed files on an fsspec file system.

    Args:
        file_system: where.
        root: the directory on it.
        random: makes the names of temporary files.
    """

    depth: ClassVar[int] = object_tree.DEPTH

    def __init__(self, file_system: AbstractFileSystem, root: str, random: Callable[[int], bytes]) -> None:
        self._fs = file_system
        self._root = root
        self._random = random
        self._made: set[str] = set()

    def prepare(self) -> None:
        """Create the root and the directory for writes under way."""
        with _translated():
            self._make(self._at(INCOMING))

    def create(self, name: str, sealed: Iterable[bytes]) -> None:
        temporary = self._at(INCOMING, object_tree.incoming_name(name, self._random))
        try:
            self._fill(temporary, sealed)
            self._publish(temporary, name)
        finally:
            with suppress(Exception):
                if self._exists(temporary):
                    self._fs.rm_file(temporary)

    def open(self, name: str) -> BinaryIO:
        path = self._path(name)
        with _translated():
            return cast("BinaryIO", _GuardedFile(self._fs.open(path, "rb")))

    def remove(self, names: Sequence[str]) -> None:
        # What is under way goes first: a write that has not got its final name by then never gets it.
        wanted = frozenset(names)
        for entry in self._list((INCOMING,)):
            if object_tree.object_of(_base(entry)) in wanted:
                self._remove_file(self._at(INCOMING, _base(entry)))
        for name in names:
            self._remove_file(self._path(name))

    def files(self, after: str) -> Iterator[SealedFile]:
        for above in object_tree.leaves(self._children, after, self.depth):
            entries = sorted(self._list(above), key=_base)
            for entry in entries:
                if _base(entry) > after and object_tree.is_object(_base(entry)):
                    yield SealedFile(_base(entry), int(entry["size"]), _modified(entry))

    def probe(self) -> None:
        """Raise ``StoreUnavailable`` where the root is not there."""
        with _translated():
            self._fs.invalidate_cache(self._root)
            if not self._exists(self._at(INCOMING)):
                raise StoreUnavailable("objects: the directory is not there; is its disk mounted?")

    def _fill(self, temporary: str, sealed: Iterable[bytes]) -> None:
        """Write and close. What the pieces raise is not the file system's and passes through."""
        with _translated():
            file = self._fs.open(temporary, "wb")
        try:
            for piece in sealed:
                with _translated():
                    file.write(piece)
        except BaseException:
            with suppress(Exception):
                file.close()
            raise
        with _translated():
            file.close()

    def _publish(self, temporary: str, name: str) -> None:
        path = self._path(name)
        with _LOCKS[int(name[:2], 16)], _translated():
            self._make(posixpath.dirname(path))
            if self._exists(path):
                raise Conflict("the object exists already; it is written once")
            try:
                self._move(temporary, path)
            except FileNotFoundError:
                raise Conflict("the object was deleted while it was written") from None

    def _exists(self, path: str) -> bool:
        # fsspec's own exists() takes every failure for a no.
        try:
            self._fs.info(path)
        except FileNotFoundError:
            return False
        return True

    def _move(self, source: str, target: str) -> None:
        self._fs.mv(source, target)

    def _make(self, directory: str) -> None:
        if directory not in self._made:
            self._fs.makedirs(directory, exist_ok=True)
            self._made.add(directory)

    def _remove_file(self, path: str) -> None:
        with suppress(FileNotFoundError), _translated():
            if self._exists(path):
                self._fs.rm_file(path)

    def _children(self, above: Sequence[str]) -> list[str]:
        return [_base(entry) for entry in self._list(above) if entry["type"] == "directory"]

    def _list(self, above: Sequence[str]) -> list[dict[str, Any]]:
        path = self._at(*above)
        with suppress(FileNotFoundError), _translated():
            self._fs.invalidate_cache(path)
            return list(self._fs.ls(path, detail=True))
        self.probe()
        return []

    def _path(self, name: str) -> str:
        return self._at(*object_tree.directories(name, self.depth), name)

    def _at(self, *parts: str) -> str:
        return "/".join((self._root.rstrip("/"), *parts))


class MemoryMedium(FsspecMedium):
    """The same on fsspec's memory file system, where a directory is an entry in a list that most calls go through."""

    depth = 0

    def open(self, name: str) -> BinaryIO:
        found = self._fs.store.get(self._path(name))
        if found is None:
            raise FileNotFoundError
        return cast("BinaryIO", _MemoryFile(found))

    def probe(self) -> None:
        """Memory is always there."""

    def _exists(self, path: str) -> bool:
        return path in self._fs.store

    def _move(self, source: str, target: str) -> None:
        self._fs.cp_file(source, target)
        self._fs.rm_file(source)


class _GuardedFile(io.RawIOBase):
    """A file of the file system whose failures are the store's."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        with _translated():
            return self._file.read(-1 if size is None else size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        with _translated():
            return self._file.seek(offset, whence)

    def close(self) -> None:
        if not self.closed:
            super().close()
            with suppress(Exception):
                self._file.close()


class _MemoryFile(io.RawIOBase):
    """What a memory file holds, with a position of its own: fsspec hands every reader the same file object."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__()
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        with self._file.getbuffer() as contents:
            end = len(contents) if size is None or size < 0 else self._position + size
            data = bytes(contents[self._position : end])
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        size = self._file.getbuffer().nbytes
        self._position = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: size}[whence] + offset
        return self._position


def file_system_of(url: BackendURL, setting: str) -> tuple[AbstractFileSystem, str]:
    """The file system that a URL names, with the options of its query, and the path on it.

    Raises:
        ConfigError: fsspec does not know the scheme, or a package for it is missing.
        StoreUnavailable: it cannot be reached.
    """
    try:
        file_system, root = fsspec.core.url_to_fs(url.text.partition("?")[0], **url.options)
    except ImportError as missing:
        raise ConfigError(f"{setting}: {url.scheme} needs a package that is not installed: {missing}") from missing
    except ValueError as unknown:
        raise ConfigError(f"{setting}: fsspec does not know what to do with {url.shown}") from unknown
    except Exception as error:
        raise StoreUnavailable(f"{setting}: {url.shown} cannot be reached ({type(error).__name__})") from error
    return file_system, root


@contextmanager
def _translated() -> Iterator[None]:
    """Say in LunaCore's words what went wrong; that something is missing is for the caller to judge."""
    try:
        yield
    except (LunaCoreError, FileNotFoundError):
        raise
    except Exception as error:
        # Every file system raises errors of its own libraries, and their texts may hold credentials.
        raise StoreUnavailable(f"objects: the file system failed ({type(error).__name__})") from error


def _base(entry: dict[str, Any]) -> str:
    return posixpath.basename(str(entry["name"]).rstrip("/"))


def _modified(entry: dict[str, Any]) -> int:
    """Unix seconds; file systems tell it under several names and in several forms, and some not at all."""
    when = next((entry[name] for name in ("mtime", "modified", "LastModified", "created") if entry.get(name)), 0)
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    if isinstance(when, datetime):
        return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
    return int(when)
