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
        if present is None:
            with suppress(Conflict):  # another process was first; the next round looks at what it wrote
                store.create([_make(keyring, 1, _active(keyring, now), random)])
            continue
        _refuse_older(keyring, _serial(present, keyring))
        if _is_current(present, keyring, now):
            return
        # Never back to an older root: a process whose clock is behind would undo what lets that root be retired.
        root_version = max(_active(keyring, now), present.header.root_version)
        store.replace(present, _make(keyring, present.header.revision + 1, root_version, random))
    raise KeyringError("the record store's canary keeps changing; are processes with different keyrings starting?")


def follow(store: RecordStore, keyring: Keyring, *, now: float, random: Callable[[int], bytes]) -> None:
    """Bring the canary to a keyring that was just changed, or to its active root; what a still newer one wrote stays.

    Raises:
        KeyringError: the store belongs to another keyring.
    """
    present = store.get([NAME])[0]
    if present is None or _serial(present, keyring) <= keyring.serial:
        check(store, keyring, now=now, random=random)


def known_serial(store: RecordStore, keyring: Keyring) -> int | None:
    """The highest serial that was ever used with the store, None if none was; nothing is written.

    Raises:
        KeyringError: the store belongs to another keyring, or was last used under a root key that this one lacks.
    """
    present = store.get([NAME])[0]
    return None if present is None else _serial(present, keyring)


def is_new(store: RecordStore) -> bool:
    """Whether no keyring was ever used with this record store."""
    return store.get([NAME])[0] is None


def _is_current(record: Record, keyring: Keyring, now: float) -> bool:
    """Whether the canary needs no rewriting; it follows the active root key, so that older ones can be retired."""
    return _serial(record, keyring) == keyring.serial and record.header.root_version >= _active(keyring, now)


def _active(keyring: Keyring, now: float) -> int:
    return keyring.active(KeyPurpose.ROOT, now).version


def _refuse_older(keyring: Keyring, serial: int) -> None:
    if serial > keyring.serial:
        raise KeyringError(
            f"the keyring is older (serial {keyring.serial}) than the one last used with this record store "
            f"(serial {serial}); restore the newest keyring"
        )


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
        return int.from_bytes(keys.unseal(key, sealed, associated), "big")
    except IntegrityError as damaged:
        raise KeyringError(
            "the record store's canary does not open with this keyring; one of the two was damaged or tampered with"
        ) from damaged


def _make(keyring: Keyring, revision: int, version: int, random: Callable[[int], bytes]) -> Record:
    """A canary under the root key of a version."""
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
