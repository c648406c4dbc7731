"""Reading audit logs back, from wherever a sink or an archive put them: files, folders, S3, and what fsspec knows.

Files are read in the order of their events: segments by their names, others by the time of their first event. So rotated files
may be named in any order. What ends with ``.gz``, ``.bz2`` or ``.xz`` is decompressed on the way.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from attrs import field, frozen

from lunacore.audit_verification import LogLine, Place
from lunacore.errors import ConfigError, StoreUnavailable
from lunacore.plugins import BackendURL
from lunacore_backends import local_files
from lunacore_backends.auditsinks.jsonlines import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lunacore.plugins import Surroundings

MAX_LINE_BYTES: Final = 4 * 1024 * 1024
"""What is longer is no event; it is read over, so that no file takes more memory than this."""

_EVENT: Final = b'{"v":1,'
_SEGMENT: Final = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d\.\d{6}Z)-[0-9a-f]{16}\.jsonl")
_DECOMPRESSORS: Final[dict[str, Callable[[BinaryIO], Any]]] = {
    ".gz": lambda raw: gzip.GzipFile(fileobj=raw),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
_PAGE: Final = 1000


@frozen
class LogFile:
    """One file of a log: its name for people, its size in bytes where it is known, and how it is opened."""

    name: str
    size: int | None
    _open: Callable[[], BinaryIO] = field(repr=False, alias="open")

    def open(self) -> BinaryIO:
        """The lines, decompressed.

        Raises:
            StoreUnavailable: it cannot be read.
        """
        raw = self._open()
        decompress = _DECOMPRESSORS.get(Path(self.name).suffix)
        return raw if decompress is None else cast("BinaryIO", decompress(raw))

    def lines(self, count: Callable[[int], object], *, anywhere: bool = False) -> Iterator[LogLine]:
        """Each line; ``count`` is told of its bytes. With ``anywhere``, an event may stand behind other text, as syslog puts it.

        Raises:
            StoreUnavailable: the file cannot be read to its end.
        """
        try:
            with self.open() as source:
                for number, content in enumerate(_lines(source), 1):
                    count(len(content) + 1)
                    yield LogLine(Place(self.name, number), _event_in(content) if anywhere else content)
        except (OSError, EOFError, lzma.LZMAError) as problem:
            raise StoreUnavailable(f"{self.name} cannot be read: {_said(problem)}") from problem

    def first_time(self) -> str:
        """The time of its first event, or the time in its name, as text that sorts; empty where it has none."""
        named = _SEGMENT.fullmatch(self.name.rpartition("/")[2])
        if named is not None:
            year, month, day, hour, minute, rest = named.groups()
            return f"{year}-{month}-{day}T{hour}:{minute}:{rest}"
        for line in self.lines(lambda _: None, anywhere=True):
            time = _time_of(line.content)
            if time:
                return time
        return ""


def log_files(name: str, surroundings: Surroundings) -> list[LogFile]:
    """The files of a log that is named as a path, a folder, a URL, or ``-`` for standard input.

    Raises:
        ConfigError: a URL is wrong.
        StoreUnavailable: there is nothing, or it cannot be listed.
    """
    if name == "-":
        return [LogFile("standard input", None, lambda: cast("BinaryIO", io.FileIO(0, closefd=False)))]
    if "://" not in name and not name.startswith("file:"):
        return _local(Path(name))
    url = BackendURL.parse(name, surroundings.setting)
    if url.scheme == "file":
        return _rotated(local_files.path_of(BackendURL.parse(name.partition("?")[0], surroundings.setting), "audit"))
    if url.scheme == "s3":
        return _on_s3(url, surroundings)
    if url.scheme in ("stdout", "stderr", "syslog", "memory"):
        raise ConfigError(
            f"{surroundings.setting} is {url.scheme}:, which cannot be read back; name the files where its lines were collected"
        )
    return _on_fsspec(url, surroundings)


def in_order(files: list[LogFile]) -> list[LogFile]:
    """The files in the order of their events."""
    if len(files) < 2:
        return files
    return [file for _, file in sorted(((file.first_time(), file) for file in files), key=lambda pair: pair[0])]


def _local(path: Path) -> list[LogFile]:
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise StoreUnavailable(f"{path}: there is no such file")
    return [_file(path)]


def _rotated(path: Path) -> list[LogFile]:
    """A file that the sink writes, with those that were moved away beside it."""
    if path.is_dir():
        path /= FILE_NAME
    siblings = sorted(one for one in path.parent.glob(f"{path.name}[.-]*") if one.is_file())
    present = [path] if path.exists() else []
    return [_file(one) for one in (*siblings, *present)]


def _folder(path: Path) -> list[LogFile]:
    found = sorted(one for one in path.rglob("*.jsonl*") if one.is_file() and not one.name.startswith("."))
    if not found:
        raise StoreUnavailable(f"{path}: there is no *.jsonl file in this folder")
    return [_file(one) for one in found]


def _file(path: Path) -> LogFile:
    return LogFile(str(path), path.stat().st_size, lambda: path.open("rb"))


def _on_s3(url: BackendURL, surroundings: Surroundings) -> list[LogFile]:
    from lunacore_backends.s3.conditional import connect  # noqa: PLC0415 - the extra s3 is needed for this scheme alone

    objects = connect(url, surroundings)
    prefix = objects.settings.prefix
    keys: list[str] = []
    after = ""
    while True:
        page = objects.run(objects.page, prefix, after, _PAGE)
        keys += page.keys
        if not page.goes_on:
            break
        after = page.keys[-1]

    def opener(key: str) -> Callable[[], BinaryIO]:
        def read() -> BinaryIO:
            stored = objects.run(objects.read, key)
            if stored is None:
                raise StoreUnavailable(f"{surroundings.setting}: {key} was there a moment ago, and is gone")
            return io.BytesIO(stored.data)

        return read

    return [LogFile(f"s3://{url.host}/{key}", None, opener(key)) for key in keys if ".jsonl" in key]


def _on_fsspec(url: BackendURL, surroundings: Surroundings) -> list[LogFile]:
    from lunacore_backends.fsspec_objects import file_system_of  # noqa: PLC0415 - loads fsspec, for such URLs alone

    file_system, root = file_system_of(url, surroundings.setting)
    try:
        file_system.invalidate_cache()
        found = file_system.find(root, detail=True)
    except Exception as problem:
        raise StoreUnavailable(f"{url.shown} cannot be listed ({type(problem).__name__})") from problem

    def opener(path: str) -> Callable[[], BinaryIO]:
        return lambda: cast("BinaryIO", file_system.open(path, "rb"))

    names = sorted(path for path in found if ".jsonl" in path and not path.rpartition("/")[2].startswith("."))
    return [LogFile(f"{url.scheme}://{path.lstrip('/')}", found[path].get("size"), opener(path)) for path in names]


def _lines(source: BinaryIO) -> Iterator[bytes]:
    # A file object without a buffer would read byte by byte.
    buffered = (
        source if hasattr(source, "peek") or isinstance(source, io.BytesIO) else io.BufferedReader(cast("Any", source))
    )
    while content := buffered.readline(MAX_LINE_BYTES):
        if not content.endswith(b"\n") and len(content) == MAX_LINE_BYTES:
            while (rest := buffered.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
        yield content.removesuffix(b"\n")


def _event_in(content: bytes) -> bytes:
    start = content.find(_EVENT)
    return content if start < 0 else content[start:].rstrip(b"\r\n \0")


def _time_of(content: bytes) -> str:
    try:
        event = json.loads(content)
    except ValueError:
        return ""
    time = event.get("time") if isinstance(event, dict) else None
    return time if isinstance(time, str) else ""


def _said(problem: BaseException) -> str:
    return getattr(problem, "strerror", None) or f"it is damaged ({type(problem).__name__})"
