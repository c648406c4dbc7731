"""The vault: tokens and values for programs that need no server.

The program holds the keyring itself and acts as the operator; values go straight to the object store, sealed before they leave.
Everything is written to the same audit log, and a server may run beside it on the same stores.
"""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

from attrs import evolve

from lunacore.config import Config
from lunacore.deployment import DEFAULT_TENANT, open_deployment
from lunacore.errors import ConfigError, Conflict, TooLarge
from lunacore.identity import Call, operator
from lunacore.outcomes import only
from lunacore.receipts import MAX_TOKENS, LabelErasure
from lunacore.records import ValueFormat
from lunacore.segments import SEGMENT_BYTES, OpenedSegments, Purpose, SealingReader
from lunacore.stores import DirectTransfer
from lunacore.tickets import Access, NewValue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from lunacore.deployment import Deployment
    from lunacore.tokenizer import Tokenizer
    from lunacore.tokens import Token


def open_vault(where: str | Path | Config) -> Vault:
    """Open a vault: a data directory, which is made where it is missing, a TOML file, or a ``Config``.

    Raises:
        ConfigError: a setting is wrong, or the object store takes no values from programs.
        KeyringError: the keyring is missing, does not open, or is not that of the record store.
        StoreUnavailable: a store cannot be reached.
    """
    return Vault(open_deployment(_config(where)))


class Vault:
    """Puts values away for tokens and gets them back; safe to use from several threads. Close it, or use ``with``."""

    def __init__(
        self,
        deployment: Deployment,
        *,
        tenant: str = DEFAULT_TENANT,
        reason: str = "",
        who: Mapping[str, str] | None = None,
    ) -> None:
        if not isinstance(deployment.objects, DirectTransfer):
            deployment.close()
            raise ConfigError("tokenizer.objects: this object store takes no values from programs, only from browsers")
        self._transfer: DirectTransfer = deployment.objects
        self._deployment = deployment
        self._call = Call(operator(tenant), reason=reason, who=who or {})

    @property
    def tokenizer(self) -> Tokenizer:
        return self._deployment.tokenizer

    @property
    def deployment(self) -> Deployment:
        return self._deployment

    def put(
        self,
        value: bytes | BinaryIO,
        *,
        metadata: Mapping[str, Any] | None = None,
        ttl: int | None = None,
        labels: Sequence[str] = (),
    ) -> Token:
        """Put a value away, whole or not at all, and return its token.

        Args:
            value: bytes, or a binary file object that is read to its end, in bounded memory.
            metadata: see ``lunacore.metadata``; ``{"dataType": "string"}`` where None.
            ttl: seconds until the value is erased, None for never.
            labels: whose value it is, for erasing all that belongs to someone.

        Raises:
            InvalidRequest: the metadata is malformed.
            TooLarge: the value is larger than ``tickets.max_value_size``.
            StoreUnavailable: a store cannot be reached or is full; nothing is left of the value.
        """
        source = _source(value)
        wanted = NewValue(
            metadata={"dataType": "string"} if metadata is None else metadata,
            size=len(value) if isinstance(value, bytes) else None,
            ttl=ttl,
            labels=tuple(labels),
        )
        access = only(self.tokenizer.issue(self._call, [wanted]))
        try:
            self._write(access, source)
            self._confirm(access)
        except BaseException:
            self._discard(access)
            raise
        return access.token

    def get(self, token: str) -> bytes:
        """The whole value.

        Raises:
            InvalidToken: the string is no token.
            TokenNotFound: there is no such token, or it was deleted.
            IntegrityError: what is stored was damaged or tampered with.
            StoreUnavailable: a store cannot be reached.
        """
        with self.open(token) as source:
            return source.read()

    def open(self, token: str) -> BinaryIO:
        """The value as a seekable binary file object, in bounded memory; errors are those of ``get``."""
        access = only(self.tokenizer.access(self._call, [token]))
        stored = self._transfer.open(access.object_name, access.store_key)
        if access.value_format is ValueFormat.RAW:
            return stored
        opened = OpenedSegments(stored, access.value_key, Purpose.VALUE)
        return io.BufferedReader(opened, SEGMENT_BYTES)

    def metadata(self, token: str) -> dict[str, Any]:
        """What was said of the value when it was put away; errors are those of ``get``."""
        return only(self.tokenizer.metadata(self._call, [token]))

    def label(self, token: str, labels: Sequence[str]) -> None:
        """Give the token labels, beside those that it has: whose value it is, for erasing all that belongs to someone.

        Raises:
            InvalidToken: the string is no token.
            InvalidRequest: one is no label, or they are too many.
            TokenNotFound: there is no such token, or it was deleted.
            StoreUnavailable: a store cannot be reached.
        """
        only(self.tokenizer.label(self._call, [token], labels))

    def delete(self, token: str) -> None:
        """Erase the token and its value for good; a token that is not there counts as erased.

        Raises:
            InvalidToken: the string is no token.
            StoreUnavailable: a store cannot be reached; nothing was erased.
        """
        only(self.tokenizer.delete(self._call, [token]))

    def delete_label(self, label: str) -> LabelErasure:
        """Erase all that has a label, and get signed receipts of it; can be repeated.

        Raises:
            InvalidRequest: it is no label.
            StoreUnavailable: a store cannot be reached; what was erased is erased, and another call goes on.
        """
        erased, receipts = 0, []
        while True:
            portion = self.tokenizer.erase_label(self._call, label, limit=MAX_TOKENS)
            erased += len(portion.erased)
            receipts.append(portion.receipt)
            if portion.complete:
                return LabelErasure(erased, tuple(receipts))

    def rekey(self, token: str, *, deep: bool = False) -> None:
        """Give the object of a token another name and store key, inside the object store; token and value stay the same.

        Args:
            token: whose.
            deep: carry the value through this program, and seal it under a new value key too.

        Raises:
            InvalidToken: the string is no token.
            TokenNotFound: there is no such token, or it was deleted.
            Conflict: the token is being changed by others; try again.
            IntegrityError: what is stored was damaged or tampered with; it was not changed.
            StoreUnavailable: a store cannot be reached.
        """
        only(self.tokenizer.rekey(self._call, [token], deep=deep))

    def because(self, reason: str) -> Vault:
        """The same vault, with a reason that the audit log shows beside everything done through it."""
        other = Vault(self._deployment, tenant=self._call.identity.tenant)
        other._call = evolve(self._call, reason=reason)
        return other

    def close(self) -> None:
        """Close the stores."""
        self._deployment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, access: Access, source: BinaryIO) -> None:
        limited = _Limited(source, self.tokenizer.policy.max_value_size)
        sealing = SealingReader(cast("BinaryIO", limited), access.value_key, Purpose.VALUE, self._deployment.random)
        self._transfer.write(access.object_name, access.store_key, cast("BinaryIO", sealing))

    def _confirm(self, access: Access) -> None:
        if not only(self.tokenizer.confirm(self._call, [access.token])):
            raise Conflict("the value was removed from the object store while it was being put away; put it again")

    def _discard(self, access: Access) -> None:
        """Leave nothing behind; what cannot be removed now is left to the sweep, and the first error is the one to tell."""
        # The caller learns why the put failed, not why tidying up did.
        with suppress(Exception):
            self.tokenizer.delete(self._call, [access.token])
        with suppress(Exception):
            self._deployment.objects.delete([access.object_name])


class _Limited(io.RawIOBase):
    """Reads from a source and refuses to go past a limit."""

    def __init__(self, source: BinaryIO, limit: int) -> None:
        super().__init__()
        self._source = source
        self._limit = limit
        self._count = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        piece = self._source.read(size)
        if not isinstance(piece, bytes):
            raise TypeError("the value must be bytes or a binary file object; open text files with 'rb'")
        self._count += len(piece)
        if self._count > self._limit:
            raise TooLarge(f"the value is larger than tickets.max_value_size, {self._limit} bytes")
        return piece


def _source(value: bytes | BinaryIO) -> BinaryIO:
    if isinstance(value, bytes):
        return io.BytesIO(value)
    if not hasattr(value, "read"):
        raise TypeError("the value must be bytes or a binary file object; encode text first")
    return value


def _config(where: str | Path | Config) -> Config:
    if isinstance(where, Config):
        return where
    path = Path(where)
    if path.suffix == ".toml" or path.is_file():
        return Config.from_file(path)
    config = Config.from_mapping({})
    # A directory that the program names itself goes before the environment.
    return evolve(config, tokenizer=evolve(config.tokenizer, data_dir=str(path)))
