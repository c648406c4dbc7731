"""Records: everything that the tokenizer keeps of one token, in two sealed layers under a clear header.

The outer layer opens with a root key and holds what the operator needs to sweep and erase; the inner layer opens with the token
alone and holds the keys of the object. Every byte is laid down in ``docs/spec/records.md``; ``tests/vectors/records.json`` has
vectors. Readers refuse versions and suites that they do not know and leave such records untouched.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Self, TypeVar

from attrs import evolve, field, frozen

from lunacore import keys
from lunacore.errors import IntegrityError, UnsupportedVersion
from lunacore.fields import FieldReader, lp_list

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lunacore.tokens import TokenKind

E = TypeVar("E", bound=IntEnum)

MAGIC: Final = b"LCRC"
FORMAT_VERSION: Final = 1
SUITE: Final = 1  # HKDF-SHA256 and AES-256-GCM
OBJECT_NAME_BYTES: Final = 32
LABEL_HASH_BYTES: Final = 16
MAX_LABELS: Final = 255
MAX_LABEL_BYTES: Final = 256
UNKNOWN_SIZE: Final = 2**64 - 1

_FIXED = struct.Struct(">4sBBBBIIQQB")
_PREAMBLE_BYTES: Final = 6
_PLACEMENT = struct.Struct(f">{OBJECT_NAME_BYTES}sI")
_FIGURES = struct.Struct(">BQQQQ")
_OBJECT_KEYS = struct.Struct(f">{keys.KEY_BYTES}s{keys.KEY_BYTES}s")


class RecordType(IntEnum):
    """What a record is; a number once given is never reused."""

    TOKEN = 1
    CANARY = 2
    KEYRING = 3
    CHAIN = 4


class RecordState(IntEnum):
    """Where a token's life stands."""

    PENDING = 1  # minted; the upload was not yet seen
    STORED = 2  # the upload was confirmed
    ERASING = 3  # the keys are gone; the object is being removed


class ValueFormat(IntEnum):
    """How the value lies in the object."""

    RAW = 1  # as the client sent it
    SEALED_V1 = 2  # in authenticated segments under the value key

    @property
    def wire_name(self) -> str:
        return _WIRE_NAMES[self]


_RECORD_TYPES: Final = {one.value: one for one in RecordType}
_STATES: Final = {one.value: one for one in RecordState}
_VALUE_FORMATS: Final = {one.value: one for one in ValueFormat}
_WIRE_NAMES: Final = {ValueFormat.RAW: "raw", ValueFormat.SEALED_V1: "sealed-v1"}


@frozen
class Header:
    """The clear part of a record, authenticated by the outer seal.

    Attributes:
        root_version: version of the root key that seals the outer layer.
        due: Unix second at which the present state ends and the sweeper must look, 0 for never.
        labels: keyed hashes, 16 bytes each, in ascending order.
    """

    record_type: RecordType
    state: RecordState
    lookup_version: int
    root_version: int
    revision: int
    due: int = 0
    labels: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        fixed = _FIXED.pack(
            MAGIC,
            FORMAT_VERSION,
            SUITE,
            self.record_type,
            self.state,
            self.lookup_version,
            self.root_version,
            self.revision,
            self.due,
            len(self.labels),
        )
        return fixed + b"".join(self.labels)


@frozen
class Record:
    """A record as a store keeps it: ``name`` (32 bytes) and ``body``, both opaque to whoever lacks the keys."""

    name: bytes
    body: bytes

    @property
    def header(self) -> Header:
        """The clear header; stores index its ``root_version``, ``due`` and ``labels``.

        Raises:
            UnsupportedVersion: the record was written by a later release.
            IntegrityError: the body is no record.
        """
        return split(self.body)[0]


@frozen
class Placement:
    """One object and the inner seal that holds its keys."""

    object_name: bytes = field(repr=False)
    generation: int
    inner: bytes = field(repr=False)


@frozen
class OperatorFields:
    """What the outer layer holds: enough to sweep, erase and re-key the object, not enough to open it.

    Attributes:
        tenant: whose token it is.
        session_issuer: who vouched for the session that minted it; empty where none did.
        placement: the present object. Its inner seal is empty once the record is being erased.
        following: while an object is being re-keyed, the object that will take its place.
        leftover: names of objects that were replaced and are still to be deleted.
        created: Unix second of minting.
        upload_until: Unix second after which no upload URL for any of the objects is valid, no copy of them begins, and no
            download URL of one that was replaced is valid; 0 where there never was any.
        expires: Unix second at which the value itself is to be erased, 0 for never.
        size: bytes of the object as the store counts them, None until confirmed.
        etag: the store's ETag or version of what was confirmed, empty until then.
    """

    tenant: str
    session_issuer: str
    placement: Placement
    value_format: ValueFormat
    created: int
    upload_until: int
    expires: int = 0
    size: int | None = None
    etag: str = ""
    following: Placement | None = None
    leftover: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def object_names(self) -> tuple[bytes, ...]:
        """Every object that erasure must remove."""
        following = () if self.following is None else (self.following.object_name,)
        return (self.placement.object_name, *following, *self.leftover)

    def without_following(self) -> OperatorFields:
        """The same with a re-keying given up that was under way; what it may have copied is left for deletion."""
        if self.following is None:
            return self
        return evolve(self, following=None, leftover=(*self.leftover, self.following.object_name))

    def erased(self) -> OperatorFields:
        """The same without any inner seal: from here on the token opens nothing."""
        bare = evolve(self.placement, inner=b"")
        following = None if self.following is None else evolve(self.following, inner=b"")
        return evolve(self, placement=bare, following=following)

    def encode(self) -> bytes:
        return b"".join(
            (
                keys.lp(self.tenant.encode(), self.session_issuer.encode()),
                _encode_placement(self.placement),
                _FIGURES.pack(
                    self.value_format,
                    self.created,
                    self.upload_until,
                    self.expires,
                    UNKNOWN_SIZE if self.size is None else self.size,
                ),
                keys.lp(self.etag.encode()),
                keys.lp(b"" if self.following is None else _encode_placement(self.following)),
                lp_list(self.leftover),
            )
        )

    @classmethod
    def decode(cls, plain: bytes) -> Self:
        reader = FieldReader(plain)
        tenant, issuer = reader.text(), reader.text()
        placement = _read_placement(reader)
        value_format, created, upload_until, expires, size = reader.fixed(_FIGURES)
        etag = reader.text()
        following = reader.lp()
        leftover = reader.lp_list()
        reader.finish()
        return cls(
            tenant=tenant,
            session_issuer=issuer,
            placement=placement,
            value_format=_member(_VALUE_FORMATS, value_format, "the value has format"),
            created=created,
            upload_until=upload_until,
            expires=expires,
            size=None if size == UNKNOWN_SIZE else size,
            etag=etag,
            following=_decode_placement(following) if following else None,
            leftover=leftover,
        )


@frozen
class Contents:
    """What the inner layer holds, readable with the token alone.

    Attributes:
        store_key: 32 bytes; the SSE-C customer key of the object.
        value_key: 32 bytes; the key under which LunaCore's clients seal the value.
        metadata: the client's metadata, encoded JSON.
        labels: the labels in the clear, so that their hashes can follow a new lookup secret.
    """

    store_key: bytes = field(repr=False)
    value_key: bytes = field(repr=False)
    metadata: bytes = field(repr=False)
    labels: tuple[str, ...] = field(default=(), repr=False)

    def encode(self) -> bytes:
        labels = lp_list(tuple(label.encode() for label in self.labels))
        return self.store_key + self.value_key + keys.lp(self.metadata) + labels

    @classmethod
    def decode(cls, plain: bytes) -> Self:
        reader = FieldReader(plain)
        store_key, value_key = reader.fixed(_OBJECT_KEYS)
        metadata = reader.lp()
        labels = reader.text_list()
        reader.finish()
        return cls(store_key=store_key, value_key=value_key, metadata=metadata, labels=labels)


def seal_contents(
    contents: Contents,
    token_keys: keys.TokenKeys,
    *,
    kind: TokenKind,
    tenant: str,
    lookup_version: int,
    generation: int,
    random: Callable[[int], bytes],
) -> bytes:
    """Make the inner seal of one object."""
    associated = _inner_associated(token_keys.record_name, kind, tenant, lookup_version, generation)
    return keys.seal(token_keys.wrap_key, contents.encode(), associated, random)


def open_contents(
    placement: Placement, token_keys: keys.TokenKeys, *, kind: TokenKind, tenant: str, lookup_version: int
) -> Contents:
    """Open the inner seal of one object with what its token leads to.

    Raises:
        IntegrityError: the seal is not of this token, tenant, lookup version or generation.
    """
    associated = _inner_associated(token_keys.record_name, kind, tenant, lookup_version, placement.generation)
    return Contents.decode(keys.unseal(token_keys.wrap_key, placement.inner, associated))


def seal_record(
    header: Header,
    fields: OperatorFields,
    *,
    name: bytes,
    commitment: bytes,
    root_key: bytes,
    random: Callable[[int], bytes],
) -> Record:
    """Put a record together: header ‖ commitment ‖ outer seal, which authenticates both."""
    associated = header.encode() + commitment
    sealed = keys.seal(keys.outer_key(root_key, name), fields.encode(), associated, random)
    return Record(name, associated + sealed)


@frozen
class OpenedRecord:
    """A record with its outer layer open."""

    record: Record
    header: Header
    commitment: bytes = field(repr=False)
    fields: OperatorFields


def open_record(record: Record, root_key_of: Callable[[int], bytes]) -> OpenedRecord:
    """Open the outer layer with the root key of the version that the header names.

    Raises:
        UnsupportedVersion: the record was written by a later release.
        UnknownKeyVersion: raised by ``root_key_of``.
        IntegrityError: the record is damaged, tampered with or stands under a wrong name.
    """
    header, commitment, sealed = split(record.body)
    if header.record_type is not RecordType.TOKEN:
        raise IntegrityError("this record is not a token's")
    outer = keys.outer_key(root_key_of(header.root_version), record.name)
    plain = keys.unseal(outer, sealed, record.body[: len(record.body) - len(sealed)])
    return OpenedRecord(record, header, commitment, OperatorFields.decode(plain))


def check_commitment(opened: OpenedRecord, token_keys: keys.TokenKeys) -> None:
    """Refuse a record that was not made for this token (AES-GCM by itself does not commit to its key).

    Raises:
        IntegrityError: the record stands under the token's name but is not the token's.
    """
    if not keys.equal(opened.commitment, token_keys.commitment):
        raise IntegrityError("the record was not made for this token")


def split(body: bytes) -> tuple[Header, bytes, bytes]:
    """Take a body apart: header, commitment (32 bytes), sealed rest.

    Raises:
        UnsupportedVersion: unknown format version or suite.
        IntegrityError: not a record at all.
    """
    if len(body) < _PREAMBLE_BYTES or body[:4] != MAGIC:
        raise IntegrityError("this is no record")
    if body[4] != FORMAT_VERSION or body[5] != SUITE:
        raise UnsupportedVersion(
            f"the record has format version {body[4]} and suite {body[5]}; this release reads version "
            f"{FORMAT_VERSION} and suite {SUITE}: upgrade LunaCore"
        )
    if len(body) < _FIXED.size:
        raise IntegrityError("the record is cut short")
    _, _, _, record_type, state, lookup, root, revision, due, label_count = _FIXED.unpack_from(body)
    end = _FIXED.size + LABEL_HASH_BYTES * label_count
    if len(body) < end + keys.KEY_BYTES + keys.NONCE_BYTES + keys.TAG_BYTES:
        raise IntegrityError("the record is cut short")
    labels = tuple([body[at : at + LABEL_HASH_BYTES] for at in range(_FIXED.size, end, LABEL_HASH_BYTES)])
    header = Header(
        record_type=_member(_RECORD_TYPES, record_type, "the record has type"),
        state=_member(_STATES, state, "the record has state"),
        lookup_version=lookup,
        root_version=root,
        revision=revision,
        due=due,
        labels=labels,
    )
    return header, body[end : end + keys.KEY_BYTES], body[end + keys.KEY_BYTES :]


def _inner_associated(name: bytes, kind: TokenKind, tenant: str, lookup_version: int, generation: int) -> bytes:
    fixed = struct.pack(">4sBBBII", MAGIC, FORMAT_VERSION, SUITE, kind, lookup_version, generation)
    return fixed + name + keys.lp(tenant.encode())


def _encode_placement(placement: Placement) -> bytes:
    return _PLACEMENT.pack(placement.object_name, placement.generation) + keys.lp(placement.inner)


def _read_placement(reader: FieldReader) -> Placement:
    name, generation = reader.fixed(_PLACEMENT)
    return Placement(name, generation, reader.lp())


def _decode_placement(encoded: bytes) -> Placement:
    reader = FieldReader(encoded)
    placement = _read_placement(reader)
    reader.finish()
    return placement


def _member(known: Mapping[int, E], number: int, what: str) -> E:
    # Looking it up takes a fraction of what it takes to call the enum.
    member = known.get(number)
    if member is None:
        raise UnsupportedVersion(f"{what} {number}, unknown to this release")
    return member
