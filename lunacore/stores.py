"""The interfaces behind which every backend stands: small, synchronous, batch-first.

Each has one contract suite in ``lunacore.testing``. Implementations must be safe to call from several threads, and where their
medium is shared, from several processes. They raise ``StoreUnavailable`` when the medium cannot be reached, is full or refuses,
and never leave a call half done unless the contract says so. Times are Unix seconds, sizes are bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Protocol, runtime_checkable

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lunacore.audit import AuditEvent
    from lunacore.audit_chain import ChainedEvent
    from lunacore.records import Record


@frozen
class SignedRequest:
    """What a client must send to the object store, to the letter, before ``expires`` (Unix seconds).

    ``headers`` are lower-case and all of them are signed; they hold the key of the object.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    expires: int


@frozen
class Stat:
    """What the object store says of an object: ``size`` in bytes, and an ``etag`` that changes with every write.

    ``modified`` is the Unix second at which it was written, 0 where the store does not say.
    """

    size: int
    etag: str
    modified: int = field(default=0, eq=False)


@frozen
class ObjectEntry:
    """One object in a listing; ``modified`` is a Unix second."""

    name: bytes
    size: int
    modified: int


class ObjectStore(Protocol):
    """Where objects lie. Names are 32 bytes, keys are 32 bytes; both are unknown to everyone but their record.

    An object is written once: a second write to a name fails and leaves the first as it is.
    """

    @property
    def origin(self) -> str:
        """Scheme, host and port that browsers reach it at, for ``connect-src``."""
        ...

    @property
    def takes_raw(self) -> bool:
        """Whether objects are encrypted under their key by the store, so that raw values may be entrusted to it."""
        ...

    def upload(self, name: bytes, key: bytes, *, now: int, ttl: int, size: int | None = None) -> SignedRequest:
        """A request that may write the object once, with ``size`` bytes exactly where given. No network."""
        ...

    def download(self, name: bytes, key: bytes, *, now: int, ttl: int, etag: str = "") -> SignedRequest:
        """A request that may read the object, and nothing else. No network.

        With ``etag``, where the store can, it reads that very version only.
        """
        ...

    def stat(self, name: bytes, key: bytes) -> Stat | None:
        """Size and ETag of the object, None if there is none.

        Raises:
            IntegrityError: the object was written under another key, or is damaged at a place that was looked at.
        """
        ...

    def copy(self, name: bytes, key: bytes, new_name: bytes, new_key: bytes) -> Stat:
        """Copy within the store, from one name and key to another; whole or nothing.

        Raises:
            Conflict: the new name is taken.
            TokenNotFound: there is no object under ``name``.
        """
        ...

    def delete(self, names: Sequence[bytes]) -> None:
        """Remove the objects in all their versions, and what an unfinished write left; absent ones are no error."""
        ...

    def scan(self, after: bytes = b"", limit: int = 1000) -> list[ObjectEntry]:
        """Up to ``limit`` objects whose names come after ``after``, in the order of names."""
        ...


@runtime_checkable
class DirectTransfer(Protocol):
    """What an object store may offer to programs: values through the program itself, without a signed URL."""

    def write(self, name: bytes, key: bytes, source: BinaryIO) -> Stat:
        """Write the whole of ``source`` or nothing, in bounded memory.

        Raises:
            Conflict: the object exists already.
        """
        ...

    def open(self, name: bytes, key: bytes) -> BinaryIO:
        """The object as a seekable binary file, in bounded memory; the caller closes it.

        Raises:
            TokenNotFound: there is no such object.
            IntegrityError: the object was written under another key, or is damaged.
        """
        ...


class RecordStore(Protocol):
    """Where records lie, durably: what a call has returned for survives ``kill -9`` and power loss."""

    @property
    def renames(self) -> bool:
        """Whether ``replace`` may change the name; where it may not, the lookup secret cannot be rotated."""
        ...

    def create(self, records: Sequence[Record]) -> None:
        """Add all of the records or none.

        Raises:
            Conflict: one of the names exists, or comes twice.
        """
        ...

    def get(self, names: Sequence[bytes]) -> list[Record | None]:
        """The records in the order of ``names``, None where there is none."""
        ...

    def replace(self, old: Record, new: Record) -> bool:
        """Put ``new`` in the place of ``old`` if the body is still that of ``old``, in one step; say whether it was.

        The name may change, where the store ``renames``: then ``old.name`` is gone and ``new.name`` there.

        Raises:
            Conflict: the name changes and ``new.name`` exists already.
            StoreUnavailable: the name changes and the store does not rename; nothing was done.
        """
        ...

    def delete(self, names: Sequence[bytes]) -> None:
        """Remove; absent ones are no error."""
        ...

    def scan(
        self,
        *,
        after: bytes = b"",
        limit: int = 1000,
        root_below: int | None = None,
        due_before: int | None = None,
        label: bytes | None = None,
    ) -> list[Record]:
        """Up to ``limit`` records whose names come after ``after``, in the order of names, that meet all conditions.

        ``root_below`` keeps those of an older root version, ``due_before`` those with 0 < due < that second, ``label`` those with
        that label hash.
        """
        ...


@frozen
class Entry:
    """One entry of an expiring store; it is gone from the second ``expires`` on."""

    key: bytes
    value: bytes = field(repr=False)
    expires: int


class ExpiringStore(Protocol):
    """Grants, states, marks and counters: short-lived, and lost without harm when a power failure takes the last second."""

    def put(self, entries: Sequence[Entry], now: int) -> None:
        """Write all entries; what stood under their keys is replaced."""
        ...

    def put_if_absent(self, entry: Entry, now: int) -> bool:
        """Write the entry unless a live one stands there; say whether it was written. Atomic."""
        ...

    def get(self, keys: Sequence[bytes], now: int) -> list[bytes | None]:
        """The live values in the order of ``keys``, None where there is none."""
        ...

    def take(self, key: bytes, now: int) -> bytes | None:
        """Read and remove in one step: of several callers one gets the value."""
        ...

    def increment(self, key: bytes, by: int, expires: int, now: int) -> int:
        """Add to a counter and return its new value. Atomic.

        A counter that is absent or expired starts at 0 and is given ``expires``; a live one keeps the expiry it has. ``get``
        reads it as a signed decimal number in ASCII.

        Raises:
            ValueError: what stands there is no counter, or would no longer fit 64 bits.
        """
        ...

    def delete(self, keys: Sequence[bytes]) -> None:
        """Remove; absent ones are no error."""
        ...

    def sweep(self, now: int, limit: int = 10_000) -> int:
        """Remove up to ``limit`` expired entries for good and return how many; stores that expire by themselves return 0."""
        ...


@runtime_checkable
class Probe(Protocol):
    """What a store may offer to readiness checks."""

    def probe(self) -> None:
        """Reach the medium cheaply, reading only.

        Raises:
            StoreUnavailable: it cannot be reached.
        """
        ...


class KeyProvider(Protocol):
    """Seals the keyring: a key file, a passphrase, a KMS."""

    @property
    def name(self) -> str:
        """What the keyring says of it (1 to 255 bytes, not beginning with ``all:``), so that each finds its own part."""
        ...

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Seal at most 4 KiB, bound to ``context``."""
        ...

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Undo ``seal``.

        Raises:
            KeyringError: wrong key, wrong context or damaged.
        """
        ...


@runtime_checkable
class KnownByMoreNames(Protocol):
    """What a key provider may offer whose key goes by several names, such as an alias and an identifier."""

    def answers_to(self, name: str) -> bool:
        """Whether what a keyring holds under this name may be its own, so that trying to open it makes sense."""
        ...


class KeyringStore(Protocol):
    """Where the sealed keyring lies; small, and rarely written."""

    def read(self) -> bytes | None:
        """The sealed keyring, None if there is none yet."""
        ...

    def replace(self, old: bytes | None, new: bytes) -> bool:
        """Put ``new`` in the place of ``old`` (None: create) if that is still what is there, durably; say whether it was."""
        ...


class AuditSink(Protocol):
    """Where audit events go, before anything is released."""

    def write(self, events: Sequence[AuditEvent]) -> None:
        """Append the events, in order.

        Raises:
            AuditUnavailable: they were not all written; the caller then releases nothing.
        """
        ...


class LineSink(Protocol):
    """An ``AuditSink`` that keeps lines somewhere: it takes events in a chain, too, whose lines stand fast.

    After an error the very same events may be written once more, alone. A sink that cannot tell whether they are there already
    must then not write them twice.
    """

    def write(self, events: Sequence[AuditEvent | ChainedEvent]) -> None:
        """Append the lines of the events (``to_line()``), in order.

        Raises:
            AuditUnavailable: they were not all written, or may not have been.
        """
        ...
