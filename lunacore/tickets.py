"""Tickets: what tokenize and detokenize hand out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from lunacore.records import ValueFormat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lunacore.stores import SignedRequest
    from lunacore.tokens import Token


@frozen
class NewValue:
    """What a caller says of a value that is to be tokenized.

    Attributes:
        metadata: kept with the token; see ``lunacore.metadata``.
        size: bytes of the value; where given, only an upload of exactly that size is accepted.
        value_format: whether the value is uploaded as it is or sealed.
        ttl: seconds until the value is erased, None for never.
        labels: whose value it is, for erasure; only keyed hashes of them are stored in the clear.
    """

    metadata: Mapping[str, Any] = field(factory=lambda: {"dataType": "string"}, repr=False)
    size: int | None = None
    value_format: ValueFormat = ValueFormat.SEALED_V1
    ttl: int | None = None
    labels: tuple[str, ...] = field(default=(), repr=False)


@frozen
class Access:
    """Where the object of a token lies and the keys to it, for programs that transfer values themselves.

    Attributes:
        object_name: 32 bytes.
        store_key: 32 bytes; the customer key that the object store is given.
        value_key: 32 bytes; the key of sealed values.
        etag: what the store said when the upload was confirmed, empty until then.
        size: bytes of the object, None until confirmed.
    """

    token: Token
    object_name: bytes = field(repr=False)
    store_key: bytes = field(repr=False)
    value_key: bytes = field(repr=False)
    value_format: ValueFormat
    etag: str = ""
    size: int | None = None


@frozen
class Ticket:
    """A short-lived permission to write or to read the object of one token.

    ``value_key`` (32 bytes) is there for sealed values only.
    """

    token: Token
    request: SignedRequest
    value_format: ValueFormat
    value_key: bytes | None = field(repr=False)
