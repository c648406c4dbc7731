"""The stores that a tokenizer is measured on: the embedded default, and PostgreSQL with Redis where both are installed."""

from __future__ import annotations

import os
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Protocol

from lunacore.plugins import BackendURL, Surroundings
from lunacore_backends import sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager, ExitStack
    from pathlib import Path

    from lunacore.stores import RecordStore


class Stores(Protocol):
    """Where records and grants of a tokenizer lie.

    ``label`` (letters, digits and ``_``) keeps tokenizers apart that share servers.
    """

    name: str
    key: str

    def settings(self, data: Path, label: str) -> Mapping[str, str]:
        """What ``[tokenizer]`` is told; ``data`` is its data directory."""
        ...

    def records(self, data: Path, label: str) -> AbstractContextManager[RecordStore]:
        """The record store, beside the tokenizer that uses it."""
        ...

    def record_bytes(self, data: Path, label: str) -> int:
        """Bytes that all records take up, their indexes included."""
        ...


class Embedded:
    """SQLite, as it comes."""

    name = "SQLite"
    key = "sqlite"

    def settings(self, data: Path, label: str) -> Mapping[str, str]:  # noqa: ARG002 - a store's
        return {"data_dir": str(data)}

    @contextmanager
    def records(self, data: Path, label: str) -> Iterator[RecordStore]:  # noqa: ARG002 - a store's
        url = BackendURL.parse((data / "records.sqlite").as_uri().replace("file:", "sqlite:", 1), "tokenizer.records")
        surroundings = Surroundings(setting="tokenizer.records", now=time.time, random=os.urandom)
        with closing(sqlite.open_records(url, surroundings)) as records:
            yield records

    def record_bytes(self, data: Path, label: str) -> int:  # noqa: ARG002 - a store's
        return sum(path.stat().st_size for path in data.glob("records.sqlite*") if not path.name.endswith("-shm"))


def available(stack: ExitStack, folder: Path, *, core: int | tuple[int, ...]) -> list[Stores]:  # noqa: ARG001 - servers of stores
    """What can be measured here; servers run on ``core`` until ``stack`` ends."""
    return [Embedded()]
