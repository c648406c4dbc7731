"""How a record lies in an S3 object: an index, and the record's body behind it; docs/reference/s3-records.md has the layout.

The index holds what the conditions of ``scan`` look at, as the release that wrote the record understood it, so that releases
that do not know the record's format find it too.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Self

from attrs import field, frozen

from lunacore.records import LABEL_HASH_BYTES

if TYPE_CHECKING:
    from lunacore.records import Record

MAGIC: Final = b"LCSR"
VERSION: Final = 1
WRITE_BYTES: Final = 16

_FIXED: Final = struct.Struct(">4sB16sIQB")


@frozen
class Row:
    """What one object holds.

    Attributes:
        write: 16 random bytes of the call that wrote it; the ETag changes with them even where the body does not.
        root_version, due, labels: copied from the record's header.
        body: the record's body.
        is_readable: False for an object that is no row of a version known here; ``body`` is then all of it.
    """

    write: bytes = field(repr=False)
    root_version: int
    due: int
    labels: tuple[bytes, ...] = field(repr=False)
    body: bytes = field(repr=False)
    is_readable: bool = True

    @classmethod
    def of(cls, record: Record, write: bytes) -> Self:
        """The row of a record.

        Raises:
            UnsupportedVersion: this release does not know the record's format, so it cannot index it.
            IntegrityError: the body is no record.
        """
        header = record.header
        return cls(write, header.root_version, header.due, header.labels, record.body)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Take the bytes of an object apart."""
        unreadable = cls(b"", 0, 0, (), data, is_readable=False)
        if len(data) < _FIXED.size:
            return unreadable
        magic, version, write, root_version, due, label_count = _FIXED.unpack_from(data)
        end = _FIXED.size + LABEL_HASH_BYTES * label_count
        if (magic, version) != (MAGIC, VERSION) or len(data) < end:
            return unreadable
        labels = tuple(data[at : at + LABEL_HASH_BYTES] for at in range(_FIXED.size, end, LABEL_HASH_BYTES))
        return cls(write, root_version, due, labels, data[end:])

    def encode(self) -> bytes:
        """The bytes of the object."""
        fixed = _FIXED.pack(MAGIC, VERSION, self.write, self.root_version, self.due, len(self.labels))
        return fixed + b"".join(self.labels) + self.body

    def meets(self, root_below: int | None, due_before: int | None, label: bytes | None) -> bool:
        """Whether ``scan`` with these conditions finds it; what cannot be read meets all, so that it is seen."""
        if not self.is_readable:
            return True
        if root_below is not None and self.root_version >= root_below:
            return False
        if due_before is not None and not 0 < self.due < due_before:
            return False
        return label is None or label in self.labels
