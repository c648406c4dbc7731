"""Object stores that LunaCore keeps itself: objects lie sealed on a medium, and the gateway serves them.

Whatever the medium, an object at rest is one stream of the segment format (``lunacore.segments``, purpose object) under the
customer key of the object, and its name on the medium is its name in hex. The medium holds no key and no value.
"""

from __future__ import annotations

import hashlib
import os
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast

from attrs import frozen

from lunacore.errors import ConfigError, IntegrityError, TokenNotFound
from lunacore.segments import HEADER_BYTES, OpenedSegments, Purpose, SealingReader, plain_size
from lunacore.stores import ObjectEntry, Stat
from lunacore_backends.gateway_tickets import GatewayTickets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lunacore.plugins import Surroundings
    from lunacore.stores import SignedRequest

# Several segments at once: fewer calls to the medium, and still little memory.
_PIECE_BYTES: Final = 1 << 18
_ETAG_BYTES: Final = 16


@frozen
class SealedFile:
    """One sealed object on its medium: ``name`` in hex, ``size`` of the sealed form in bytes, ``modified`` in Unix seconds."""

    name: str
    size: int
    modified: int


class Medium(Protocol):
    """Where sealed files lie. Names are 64 lower-case hex digits. Safe to use from several threads.

    Every method raises ``StoreUnavailable`` where the medium cannot be reached, is full or refuses.
    """

    def create(self, name: str, sealed: Iterable[bytes]) -> None:
        """Write the pieces as one file, whole or not at all; what ``sealed`` raises is passed on.

        Raises:
            Conflict: there is such a file.
        """
        ...

    def open(self, name: str) -> BinaryIO:
        """The file, seekable; the caller closes it.

        Raises:
            FileNotFoundError: there is no such file.
        """
        ...

    def remove(self, names: Sequence[str]) -> None:
        """Remove the files, and what unfinished writes of them left; absent ones are no error."""
        ...

    def files(self, after: str) -> Iterator[SealedFile]:
        """The files whose names come after ``after``, in the order of names, read as far as they are asked for."""
        ...

    def probe(self) -> None:
        """Reach the medium cheaply, reading only."""
        ...


class SealedObjects:
    """An ``ObjectStore`` with ``DirectTransfer`` and ``Probe`` over a medium.

    Args:
        medium: where the sealed files lie.
        tickets: signs for the gateway; None where there is no gateway, and then no ticket can be had.
        random: cryptographically secure random bytes.
    """

    def __init__(self, medium: Medium, tickets: GatewayTickets | None, random: Callable[[int], bytes]) -> None:
        self._medium = medium
        self._tickets = tickets
        self._random = random

    @property
    def origin(self) -> str:
        """Origin of the gateway, empty where there is none."""
        return "" if self._tickets is None else self._tickets.origin

    @property
    def takes_raw(self) -> bool:
        return True

    def upload(self, name: bytes, key: bytes, *, now: int, ttl: int, size: int | None = None) -> SignedRequest:
        return self._signing().upload(name, key, now=now, ttl=ttl, size=size)

    def download(self, name: bytes, key: bytes, *, now: int, ttl: int, etag: str = "") -> SignedRequest:
        return self._signing().download(name, key, now=now, ttl=ttl, etag=etag)

    def stat(self, name: bytes, key: bytes) -> Stat | None:
        """``size`` is that of the value; ``etag`` changes with every write and tells nothing of value or key.

        The header and the last segment are opened, so that another key or a file cut short is found out.
        """
        try:
            source = self._medium.open(name.hex())
        except FileNotFoundError:
            return None
        with OpenedSegments(source, key, Purpose.OBJECT) as opened:
            source.seek(0)
            return Stat(opened.size, _etag(source.read(HEADER_BYTES)), _modified(source))

    def copy(self, name: bytes, key: bytes, new_name: bytes, new_key: bytes) -> Stat:
        with self.open(name, key) as source:
            return self.write(new_name, new_key, source)

    def delete(self, names: Sequence[bytes]) -> None:
        self._medium.remove([name.hex() for name in names])

    def scan(self, after: bytes = b"", limit: int = 1000) -> list[ObjectEntry]:
        found = islice(self._medium.files(after.hex()), max(0, limit))
        return [ObjectEntry(bytes.fromhex(file.name), _size(file), file.modified) for file in found]

    def write(self, name: bytes, key: bytes, source: BinaryIO) -> Stat:
        sealed = _SealedPieces(SealingReader(source, key, Purpose.OBJECT, self._random))
        self._medium.create(name.hex(), sealed)
        return Stat(plain_size(sealed.size), _etag(sealed.header))

    def open(self, name: bytes, key: bytes) -> BinaryIO:
        try:
            source = self._medium.open(name.hex())
        except FileNotFoundError:
            raise TokenNotFound("there is no such object") from None
        return cast("BinaryIO", OpenedSegments(source, key, Purpose.OBJECT))

    def probe(self) -> None:
        """Raise ``StoreUnavailable`` where the medium cannot be reached."""
        self._medium.probe()

    def _signing(self) -> GatewayTickets:
        if self._tickets is None:
            raise ConfigError(
                "these objects have no gateway, so there are no tickets for them; set tokenizer.public_url"
            )
        return self._tickets


def tickets_of(surroundings: Surroundings) -> GatewayTickets | None:
    """What signs for the gateway of ``surroundings``, None where it names none."""
    if not surroundings.gateway_url or surroundings.gateway_keys is None:
        return None
    return GatewayTickets(surroundings.gateway_url, surroundings.gateway_keys)


class _SealedPieces:
    """The pieces of a sealed stream, to be gone through once, counted on the way."""

    def __init__(self, sealed: SealingReader) -> None:
        self.header = b""
        self.size = 0
        self._sealed = sealed

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._sealed.read(_PIECE_BYTES):
            self.header = self.header or piece[:HEADER_BYTES]
            self.size += len(piece)
            yield piece


def _etag(header: bytes) -> str:
    # The header is fixed but for its salt, which is drawn anew for every write.
    return hashlib.sha256(header).digest()[:_ETAG_BYTES].hex()


def _modified(source: BinaryIO) -> int:
    try:
        return int(os.fstat(source.fileno()).st_mtime)
    except (OSError, AttributeError):
        # It lies elsewhere than in a file of this machine.
        return 0


def _size(file: SealedFile) -> int:
    try:
        return plain_size(file.size)
    except IntegrityError:
        # A damaged file must be listed too, or the sweeper would never find it.
        return file.size
