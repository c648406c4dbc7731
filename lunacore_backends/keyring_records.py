"""The sealed keyring in the record store (``records:``), as one special record at a fixed name.

The layout is specified in ``docs/spec/keyring.md``: a record header of type ``KEYRING``, 32 zero bytes where a token's record has
its commitment, and the sealed keyring. Neither rewrap nor sweep ever selects it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from lunacore import keys, records
from lunacore.errors import ConfigError, Conflict, IntegrityError
from lunacore.records import Header, Record, RecordState, RecordType
from lunacore.stores import Probe

if TYPE_CHECKING:
    from lunacore.plugins import BackendURL, Surroundings
    from lunacore.stores import RecordStore

RECORD_NAME: Final = hashlib.sha256(b"lunacore/v1/keyring-record").digest()

_HEADER: Final = Header(
    record_type=RecordType.KEYRING,
    state=RecordState.STORED,
    lookup_version=0,
    # No root key seals it. The highest number keeps it out of every scan for records of older root keys.
    root_version=2**32 - 1,
    revision=0,
).encode()
_NO_COMMITMENT: Final = bytes(keys.KEY_BYTES)


def open_keyring(url: BackendURL, surroundings: Surroundings) -> KeyringRecord:
    """The keyring store inside the configured record store."""
    url.refuse_unknown_options(surroundings.setting)
    if url.host or url.path:
        raise ConfigError(f"{surroundings.setting}: write just records: to keep the keyring in the record store")
    if surroundings.records is None:
        raise ConfigError(f"{surroundings.setting}: records: needs a record store, and there is none here")
    return KeyringRecord(surroundings.records)


def encode(sealed: bytes) -> Record:
    """The record that carries a sealed keyring."""
    return Record(RECORD_NAME, _HEADER + _NO_COMMITMENT + sealed)


def decode(record: Record) -> bytes:
    """The sealed keyring that a record carries.

    Raises:
        UnsupportedVersion: a later release wrote the record.
        IntegrityError: it is no keyring's record.
    """
    header, commitment, sealed = records.split(record.body)
    if (header.encode(), commitment) != (_HEADER, _NO_COMMITMENT):
        raise IntegrityError("the record at the keyring's name holds no keyring")
    return sealed


@frozen
class KeyringRecord:
    """A ``KeyringStore`` in a ``RecordStore``, as durable and as shared as that is."""

    _records: RecordStore = field(repr=False)

    def read(self) -> bytes | None:
        (record,) = self._records.get([RECORD_NAME])
        return None if record is None else decode(record)

    def replace(self, old: bytes | None, new: bytes) -> bool:
        if old is not None:
            return self._records.replace(encode(old), encode(new))
        try:
            self._records.create([encode(new)])
        except Conflict:
            return False
        return True

    def probe(self) -> None:
        if isinstance(self._records, Probe):
            self._records.probe()
