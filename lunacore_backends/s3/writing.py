"""Writing an S3 object whole or not at all: one PUT for small values, a multipart upload for the rest, in bounded memory.

Follows the Amazon S3 User Guide, "Uploading and copying objects using multipart upload", and "Amazon S3 multipart upload limits".
"""

from __future__ import annotations

import io
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, Final

from attrs import frozen

from lunacore.errors import LunaCoreError, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lunacore_backends.s3.client import S3Client
    from lunacore_backends.s3.failures import Failures

PART_BYTES: Final = 8 << 20
MAX_PARTS: Final = 10_000


@frozen
class S3Writing:
    """Multipart uploads to one bucket.

    Attributes:
        client: the bucket.
        failures: translates what it raises.
        part_bytes: size of all parts but the last; some services want them equal.
    """

    client: S3Client
    failures: Failures
    part_bytes: int = PART_BYTES

    def upload(
        self, key: str, first: bytes, source: BinaryIO, headers: Mapping[str, str], precondition: Mapping[str, str]
    ) -> int:
        """Write ``first`` and the rest of ``source`` in parts; return how many bytes it were.

        What ``source`` raises is passed on; whatever happens, either the whole object is there or nothing.
        """
        with self._parts(key, headers, precondition) as parts:
            size, piece = 0, first
            while piece:
                parts.put(piece)
                size += len(piece)
                piece = read_full(source, self.part_bytes)
            return size

    def copy(
        self,
        key: str,
        new_key: str,
        *,
        size: int,
        source_headers: Mapping[str, str],
        headers: Mapping[str, str],
        precondition: Mapping[str, str],
    ) -> None:
        """Copy within the bucket in parts, each short enough for one answer."""
        step = max(self.part_bytes, -(-size // MAX_PARTS))
        with self._parts(new_key, headers, precondition) as parts:
            for start in range(0, size, step):
                parts.copy(key, start, min(start + step, size), source_headers)

    @contextmanager
    def _parts(self, key: str, headers: Mapping[str, str], precondition: Mapping[str, str]) -> Iterator[_Parts]:
        with self.failures.translated():
            upload = self.client.begin_upload(key, headers)
        parts = _Parts(self, key, upload, headers, [])
        try:
            yield parts
            with self.failures.translated():
                self.client.complete_upload(key, upload, parts.etags, {**headers, **precondition})
        except BaseException:
            # The first failure tells why; parts that could not be removed now go when the object is deleted.
            with suppress(LunaCoreError), self.failures.translated():
                self.client.abort_upload(key, upload)
            raise


@frozen
class _Parts:
    """The parts of one upload so far."""

    writing: S3Writing
    key: str
    upload: str
    headers: Mapping[str, str]
    etags: list[str]

    def put(self, body: bytes) -> None:
        number = self._next_number()
        with self.writing.failures.translated():
            self.etags.append(self.writing.client.put_part(self.key, self.upload, number, body, self.headers))

    def copy(self, source: str, start: int, end: int, source_headers: Mapping[str, str]) -> None:
        number = self._next_number()
        headers = {**self.headers, **source_headers, "x-amz-copy-source-range": f"bytes={start}-{end - 1}"}
        with self.writing.failures.translated():
            self.etags.append(self.writing.client.copy_part(source, self.key, self.upload, number, headers))

    def _next_number(self) -> int:
        if len(self.etags) >= MAX_PARTS:
            limit = MAX_PARTS * self.writing.part_bytes >> 30
            raise TooLarge(f"a value of unknown size may have {limit} GiB; write it from a file that can seek")
        return len(self.etags) + 1


def part_bytes_for(source: BinaryIO) -> int:
    """How large parts must be for all of ``source`` to fit into an upload; its size is known only if it can seek."""
    try:
        here = source.tell()
        left = source.seek(0, io.SEEK_END) - here
        source.seek(here)
    except (OSError, AttributeError):
        return PART_BYTES
    return max(PART_BYTES, -(-left // MAX_PARTS))


def read_full(source: BinaryIO, size: int) -> bytes:
    """``size`` bytes, fewer only at the end; a source may return fewer at a time."""
    piece = source.read(size)
    if len(piece) == size or not piece:
        return piece
    pieces = [piece]
    missing = size - len(piece)
    while missing and (piece := source.read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)
