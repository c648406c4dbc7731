"""Records in an S3 bucket: ``s3://bucket/prefix?endpoint=…``, one object each; docs/reference/s3-records.md says what that costs.

S3 has no transactions. A record is created by ``If-None-Match: *`` and swapped by ``If-Match``, which ``open_records`` proves
the service to keep. A record cannot be renamed in one step, so that is refused.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from lunacore.errors import Conflict, StoreUnavailable
from lunacore.records import Record
from lunacore_backends.s3 import diagnosis
from lunacore_backends.s3.condition_proof import ConditionProof
from lunacore_backends.s3.conditional import connect, in_parallel
from lunacore_backends.s3.record_rows import WRITE_BYTES, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore.diagnosis import Circumstances, Finding
    from lunacore.plugins import BackendURL, Surroundings
    from lunacore_backends.s3.conditional import ConditionalObjects

_HEX_NAME: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PAGE: Final = 1000
# A page costs a request of its own, and most records that it names may not meet the conditions.
_LEAST_PAGE: Final = 100
# Each turn was lost to another writer whose record was then put back to what it had been.
_SWAPS: Final = 10


def open_records(url: BackendURL, surroundings: Surroundings) -> S3Records:
    """Open the record store in the bucket that the URL names, once its service is proved to keep the conditions.

    Raises:
        ConfigError: an option of the URL is unknown or wrong, or the service does not keep conditional writes.
        StoreUnavailable: the service cannot be reached, or refuses.
    """
    setting = surroundings.setting
    objects = connect(url, surroundings)
    prefix = objects.settings.prefix
    proof = ConditionProof(objects, setting, prefix, surroundings.random)
    try:
        objects.run(proof.give)
    except BaseException:
        objects.close()
        raise
    return S3Records(objects, setting, prefix, surroundings.random)


class S3Records:
    """A ``RecordStore`` in a bucket, as durable as the service. ``replace`` does not rename.

    Args:
        objects: the bucket.
        setting: name of the setting that names it, for messages.
        prefix: what keys begin with; empty, or ends with ``/``.
        random: cryptographically secure random bytes.
    """

    def __init__(self, objects: ConditionalObjects, setting: str, prefix: str, random: Callable[[int], bytes]) -> None:
        self._objects = objects
        self._setting = setting
        self._prefix = prefix
        self._random = random

    @property
    def renames(self) -> bool:
        return False

    def create(self, records: Sequence[Record]) -> None:
        """As the interface says, save that others may see part of the records for a moment; several at once.

        What was written is removed again if not all can be. A crash in between leaves some of the records.
        """
        write = self._random(WRITE_BYTES)
        rows = {self._key(record.name): Row.of(record, write) for record in records}
        if len(rows) < len(records):
            raise Conflict("a record's name comes twice")
        if rows:
            self._objects.run(self._create, rows)

    def get(self, names: Sequence[bytes]) -> list[Record | None]:
        """One request for each name."""
        wanted = list(dict.fromkeys(names))
        found = dict(zip(wanted, self._objects.run(in_parallel, self._read, wanted), strict=True))
        return [None if row is None else Record(name, row.body) for name in names for row in (found[name],)]

    def replace(self, old: Record, new: Record) -> bool:
        """As the interface says, for the same name.

        Raises:
            StoreUnavailable: the name changes, or the service cannot be reached.
        """
        if new.name != old.name:
            raise StoreUnavailable(
                f"{self._setting}: records in S3 cannot be renamed, so the lookup secret cannot be rotated; keep the "
                "lookup secret that the records were written under active, or use a database for the records"
            )
        return self._objects.run(self._replace, old, Row.of(new, self._random(WRITE_BYTES)))

    def delete(self, names: Sequence[bytes]) -> None:
        keys = [self._key(name) for name in dict.fromkeys(names)]
        if keys:
            self._objects.run(self._objects.remove, keys)

    def scan(
        self,
        *,
        after: bytes = b"",
        limit: int = 1000,
        root_below: int | None = None,
        due_before: int | None = None,
        label: bytes | None = None,
    ) -> list[Record]:
        """As the interface says; S3 has no index, so every record from ``after`` on is read until ``limit`` are found.

        An object that is named as a record and holds none meets all conditions, with all of it for a body.
        """
        if limit <= 0:
            return []

        def meets(row: Row) -> bool:
            return row.meets(root_below, due_before, label)

        has_conditions = any(condition is not None for condition in (root_below, due_before, label))
        return self._objects.run(self._scan, after, limit, meets, _LEAST_PAGE if has_conditions else 1)

    def probe(self) -> None:
        self._objects.run(self._objects.page, self._prefix, "", 1)

    def diagnose(self, circumstances: Circumstances) -> list[Finding]:
        """Look at service, credentials and bucket closely; scratch objects are written under the prefix and removed again."""
        return diagnosis.examine_records(self._objects.settings, circumstances)

    def close(self) -> None:
        """Close the connections; calls after that raise ``StoreUnavailable``."""
        self._objects.close()

    async def _create(self, rows: dict[str, Row]) -> None:
        begun: list[str] = []

        async def create(key: str) -> None:
            begun.append(key)
            if not await self._is_created(key, rows[key]):
                raise Conflict("a record of this name exists already")

        try:
            await in_parallel(create, rows)
        except Conflict:
            await self._take_back(begun, rows)
            raise
        except StoreUnavailable:
            with suppress(StoreUnavailable):
                await self._take_back(begun, rows)
            raise

    async def _is_created(self, key: str, row: Row) -> bool:
        if await self._objects.create(key, row.encode()):
            return True
        # A connection that broke after the service had written makes a second try, which then meets the first.
        return await self._is_written_by(key, row.write)

    async def _take_back(self, begun: Sequence[str], rows: dict[str, Row]) -> None:
        async def is_ours(key: str) -> bool:
            return await self._is_written_by(key, rows[key].write)

        ours = await in_parallel(is_ours, begun)
        await self._objects.remove([key for key, is_own in zip(begun, ours, strict=True) if is_own])

    async def _is_written_by(self, key: str, write: bytes) -> bool:
        present = await self._objects.read(key)
        return present is not None and Row.decode(present.data).write == write

    async def _replace(self, old: Record, new: Row) -> bool:
        key = self._key(old.name)
        for _ in range(_SWAPS):
            present = await self._objects.read(key)
            if present is None:
                return False
            row = Row.decode(present.data)
            if row.write == new.write:
                return True  # the answer to the swap was lost
            if row.body != old.body:
                return False
            if await self._objects.swap(key, new.encode(), present):
                return True
        raise StoreUnavailable(f"{self._setting}: the record is being changed by others; try again", retry_after=1)

    async def _read(self, name: bytes) -> Row | None:
        present = await self._objects.read(self._key(name))
        return None if present is None else Row.decode(present.data)

    async def _scan(self, after: bytes, limit: int, meets: Callable[[Row], bool], least: int) -> list[Record]:
        found: list[Record] = []
        cursor = self._key(after) if after else ""
        goes_on = True
        while goes_on and len(found) < limit:
            asked = max(least, min(_PAGE, limit - len(found)))
            page = await self._objects.page(self._prefix, cursor, asked)
            goes_on = page.goes_on and bool(page.keys)
            cursor = page.keys[-1] if page.keys else cursor
            names = [name for name in map(self._name, page.keys) if name is not None]
            rows = await in_parallel(self._read, names)
            met = (Record(name, row.body) for name, row in zip(names, rows, strict=True) if row and meets(row))
            found.extend(met)
        return found[:limit]

    def _key(self, name: bytes) -> str:
        return f"{self._prefix}{name.hex()}"

    def _name(self, key: str) -> bytes | None:
        """The record's name in a key, None if the object is something else."""
        name = key.removeprefix(self._prefix)
        return bytes.fromhex(name) if _HEX_NAME.fullmatch(name) else None
