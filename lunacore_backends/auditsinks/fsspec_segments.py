"""Audit segments on any file system that fsspec knows, by its URL: ``gs://bucket/audit``, ``sftp://user@host/audit``, …

What the URL's query names goes to the file system as keyword arguments. A segment is first written under a name that starts with
``.`` and ends with ``.part``, and then moved, so that one that was cut short is not taken for a segment.
"""

from __future__ import annotations

import posixpath
from contextlib import suppress
from typing import TYPE_CHECKING

from lunacore.errors import StoreUnavailable
from lunacore_backends.auditsinks.segments import AuditSegments
from lunacore_backends.fsspec_objects import file_system_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from lunacore.plugins import BackendURL, Surroundings


def open_audit(url: BackendURL, surroundings: Surroundings) -> AuditSegments:
    """The sink in the directory that the URL names, which is made if it is missing.

    Raises:
        ConfigError: fsspec does not know the scheme, or a package for it is missing.
        StoreUnavailable: the directory cannot be made.
    """
    setting = surroundings.setting
    file_system, root = file_system_of(url, setting)
    medium = FsspecSegments(file_system, root.rstrip("/"), setting)
    medium.prepare()
    return AuditSegments(medium, setting=setting, now=surroundings.now, random=surroundings.random)


class FsspecSegments:
    """A ``SegmentMedium`` under one directory."""

    def __init__(self, file_system: AbstractFileSystem, root: str, setting: str) -> None:
        self._fs = file_system
        self._root = root
        self._setting = setting

    def prepare(self) -> None:
        """Make the directory."""
        try:
            self._fs.makedirs(self._root, exist_ok=True)
        except Exception as error:
            raise self._unavailable(error) from error

    def create(self, name: str, content: bytes) -> None:
        path = f"{self._root}/{name}"
        directory, base = posixpath.split(path)
        unfinished = f"{directory}/.{base}.part"
        try:
            self._fs.makedirs(directory, exist_ok=True)
            self._fs.pipe_file(unfinished, content)
            self._fs.mv(unfinished, path)
        except Exception as error:
            with suppress(Exception):
                self._fs.rm_file(unfinished)
            raise self._unavailable(error) from error

    def probe(self) -> None:
        try:
            self._fs.invalidate_cache(self._root)
            self._fs.ls(self._root, detail=False)
        except Exception as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        """Nothing to do: fsspec keeps file systems for others who name them."""

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        # Every file system raises errors of its own libraries, and their texts may hold credentials.
        return StoreUnavailable(f"{self._setting}: the file system failed ({type(error).__name__})")
