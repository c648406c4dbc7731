"""The canary: a record that ties a record store to its keyring.

It holds the keyring's id in the clear and, sealed, the highest serial that was ever used with the store. So a foreign keyring,
or an older one restored by mistake, is found before anything is read or written with it (``docs/spec/records.md``).
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from lunacore import keys, records
from lunacore.errors import Conflict, IntegrityError, KeyringError, UnknownKeyVersion
from lunacore.keyring import ID_BYTES, KeyPurpose
from lunacore.records import Header, Record, RecordState, RecordType

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore.keyring import Keyring
    from lunacore.stores import RecordStore

NAME: Final = hashlib.sha256(b"lunacore/v1/canary").digest()
_ATTEMPTS: Final = 5


def check(store: RecordStore, keyring: Keyring, *, now: float, random: Callable[[int], bytes]) -> None:
    """Tie a new record store to the keyring, or make sure that the two belong together.

    Raises:
        KeyringError: the store belongs to another keyring, or was used with a newer one.
    """
    for _ in range(_ATTEMPTS):
        present = store.get([NAME])[0]
        if present is not None and _is_current(present, keyring, now):
            return
        revision = 1 if present is None else present.header.revision + 1
        fresh = _make(keyring, revision, now, random)
        if present is not None:
            store.replace(present, fresh)
            continue
        with suppress(Conflict):  # another process was first; the next round looks at what it wrote
            store.create([fresh])
    raise KeyringError("the record store's canary keeps changing; are processes with different keyrings starting?")


def is_new(store: RecordStore) -> bool:
    """Whether no keyring was ever used with this record store."""
    return store.get([NAME])[0] is None


def _is_current(record: Record, keyring: Keyring, now: float) -> bool:
    """Whether the canary needs no rewriting; it follows the active root key, so that older ones can be retired."""
    serial = _serial(record, keyring)
    return serial == keyring.serial and record.header.root_version >= keyring.active(KeyPurpose.ROOT, now).version


def _serial(record: Record, keyring: Keyring) -> int:
    header, owner, sealed = records.split(record.body)
    if owner[:ID_BYTES] != keyring.id:
        raise KeyringError(
            f"the record store belongs to keyring {owner[:ID_BYTES].hex()}, but keyring {keyring.id.hex()} is configured; "
            "check the settings tokenizer.keyring and tokenizer.records"
        )
    associated = record.body[: len(record.body) - len(sealed)]
    key = _key(keyring, header.root_version)
    try:
        serial = int.from_bytes(keys.unseal(key, sealed, associated), "big")
    except IntegrityError as damaged:
        raise KeyringError(
            "the record store's canary does not open with this keyring; one of the two was damaged or tampered with"
        ) from damaged
    if serial > keyring.serial:
        raise KeyringError(
            f"the keyring is older (serial {keyring.serial}) than the one last used with this record store "
            f"(serial {serial}); restore the newest keyring"
        )
    return serial


def _make(keyring: Keyring, revision: int, now: float, random: Callable[[int], bytes]) -> Record:
    version = keyring.active(KeyPurpose.ROOT, now).version
    header = Header(
        record_type=RecordType.CANARY,
        state=RecordState.STORED,
        lookup_version=0,
        root_version=version,
        revision=revision,
    )
    associated = header.encode() + keyring.id + bytes(keys.KEY_BYTES - ID_BYTES)
    serial = keyring.serial.to_bytes(8, "big")
    return Record(NAME, associated + keys.seal(_key(keyring, version), serial, associated, random))


def _key(keyring: Keyring, version: int) -> bytes:
    try:
        return keys.expand(keyring.of_version(KeyPurpose.ROOT, version).secret, "canary")
    except UnknownKeyVersion as unknown:
        raise KeyringError(
            f"the keyring lacks root key version {version}, which the record store was last used with; "
            "restore the newest keyring"
        ) from unknown
