"""Which keys the records stand under: counted before a key is retired, and for whoever wants to know how far a rotation is.

A record of a later release, or one that is damaged, does not say which keys it needs. For root keys the store's index does.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final

from attrs import frozen

from lunacore.errors import IntegrityError
from lunacore.records import RecordType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lunacore.records import Header, Record
    from lunacore.stores import RecordStore

_PAGE: Final = 1000


def _nobody(_count: int) -> None:
    """Nobody watches."""


@frozen
class KeyUse:
    """How many tokens' records stand under each root version and each lookup version.

    Attributes:
        unreadable: records of a later release, and damaged ones.
        is_complete: whether there were no more records than were to be looked at.
    """

    roots: Mapping[int, int]
    lookups: Mapping[int, int]
    unreadable: int
    is_complete: bool


def count(records: RecordStore, *, at_most: int | None = None, seen: Callable[[int], object] = _nobody) -> KeyUse:
    """Count in pages, ``at_most`` so many records; ``seen`` is told how many more were looked at.

    Raises:
        StoreUnavailable: the store cannot be reached.
    """
    roots, lookups, unreadable, total = Counter[int](), Counter[int](), 0, 0
    wanted = every(records, seen=seen)
    for record in islice(wanted, at_most):
        total += 1
        header = _header(record)
        if header is None:
            unreadable += 1
        elif header.record_type is RecordType.TOKEN:
            roots[header.root_version] += 1
            lookups[header.lookup_version] += 1
    is_complete = at_most is None or total < at_most or next(wanted, None) is None
    return KeyUse(roots, lookups, unreadable, is_complete)


def needing_root(records: RecordStore, version: int, *, seen: Callable[[int], object] = _nobody) -> int:
    """How many records need the root key of a version, of whatever type and release.

    Raises:
        StoreUnavailable: the store cannot be reached.
    """
    return sum(_needs_root(records, one, version) for one in every(records, root_below=version + 1, seen=seen))


def needing_lookup(records: RecordStore, version: int, *, seen: Callable[[int], object] = _nobody) -> int:
    """How many records lie under the lookup secret of a version; what cannot be read may, and is counted.

    Raises:
        StoreUnavailable: the store cannot be reached.
    """
    headers = (_header(one) for one in every(records, seen=seen))
    return sum(header is None or header.lookup_version == version for header in headers)


def every(
    records: RecordStore, *, root_below: int | None = None, seen: Callable[[int], object] = _nobody
) -> Iterator[Record]:
    """Every record that meets the condition, in pages, so that any number of them fits in memory."""
    after = b""
    while page := records.scan(after=after, limit=_PAGE, root_below=root_below):
        yield from page
        seen(len(page))
        after = page[-1].name


def _needs_root(records: RecordStore, record: Record, version: int) -> bool:
    header = _header(record)
    if header is not None:
        return header.root_version == version
    # The index of the store is right where the header cannot be read: under an older version it is found again.
    before = int.from_bytes(record.name) - 1
    after = before.to_bytes(len(record.name)) if before >= 0 else b""
    older = records.scan(after=after, limit=1, root_below=version)
    return not any(one.name == record.name for one in older)


def _header(record: Record) -> Header | None:
    try:
        return record.header
    except IntegrityError:
        return None
