"""The keyring: the tokenizer's own versioned secrets, and its sealed form.

A key is *staged* until its ``active_from`` and may be used by anyone from then on; the active key of a purpose is the newest that
is no longer staged. A new key is given an ``active_from`` far enough ahead that every worker has reloaded the keyring by then.
The sealed form is an envelope: the keys lie sealed under a random body key, which each key provider seals in its own way
(``docs/spec/keyring.md``).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Self

from attrs import evolve, field, frozen

from lunacore import keys, recipients
from lunacore.errors import IntegrityError, KeyringError, StoreUnavailable, UnknownKeyVersion, UnsupportedVersion
from lunacore.fields import FieldReader, lp_list
from lunacore.recipients import Recipient, Unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore.stores import KeyProvider

MAGIC: Final = b"LCKR"
FORMAT_VERSION: Final = 1
SUITE: Final = 1  # AES-256-GCM
ID_BYTES: Final = 16
MAX_NAME_BYTES: Final = 255


class KeyPurpose(IntEnum):
    """What a key is for; a number once given is never reused."""

    LOOKUP = 1
    ROOT = 2
    SESSION = 3
    GATEWAY = 4
    AUDIT = 5


@frozen
class VersionedKey:
    """One key: 32 uniformly random bytes, usable as the active key from the Unix second ``active_from`` on."""

    purpose: KeyPurpose
    version: int
    active_from: int
    secret: bytes = field(repr=False)


@frozen
class Keyring:
    """All keys of one deployment. ``id`` (16 bytes) never changes; ``serial`` grows with every change."""

    id: bytes
    serial: int
    keys: tuple[VersionedKey, ...]

    def active(self, purpose: KeyPurpose, now: float) -> VersionedKey:
        """The newest key of the purpose that is no longer staged.

        Where all are staged, as for a machine whose clock is behind, it is the oldest: somebody uses that one already.
        """
        known = self.newest_first(purpose)
        if not known:
            raise KeyringError(f"the keyring holds no {purpose.name.lower()} key")
        return next((key for key in known if key.active_from <= now), known[-1])

    def newest_first(self, purpose: KeyPurpose) -> list[VersionedKey]:
        """Every key of the purpose, staged ones included."""
        return sorted((key for key in self.keys if key.purpose is purpose), key=lambda key: key.version, reverse=True)

    def of_version(self, purpose: KeyPurpose, version: int) -> VersionedKey:
        """One key.

        Raises:
            UnknownKeyVersion: it was retired, or this keyring is older than whoever used it.
        """
        for key in self.keys:
            if key.purpose is purpose and key.version == version:
                return key
        raise UnknownKeyVersion(purpose.name.lower(), version)

    def stage(self, purpose: KeyPurpose, *, active_from: int, random: Callable[[int], bytes]) -> Keyring:
        """Add the next version of a purpose, active from the Unix second ``active_from``."""
        versions = [key.version for key in self.keys if key.purpose is purpose]
        key = VersionedKey(purpose, max(versions, default=0) + 1, active_from, random(keys.KEY_BYTES))
        return evolve(self, serial=self.serial + 1, keys=(*self.keys, key))

    def without(self, purpose: KeyPurpose, version: int) -> Keyring:
        """Retire one key for good.

        Raises:
            UnknownKeyVersion: there is no such key.
            KeyringError: it is the newest of its purpose; the version after it would get its number a second time.
        """
        self.of_version(purpose, version)
        if self.newest_first(purpose)[0].version == version:
            raise KeyringError(f"the newest {purpose.name.lower()} key cannot be retired; stage another one first")
        remaining = tuple(key for key in self.keys if (key.purpose, key.version) != (purpose, version))
        return evolve(self, serial=self.serial + 1, keys=remaining)

    def encode(self) -> bytes:
        entries = tuple(
            struct.pack(">BIQ", key.purpose, key.version, key.active_from) + key.secret for key in self.keys
        )
        return self.id + struct.pack(">Q", self.serial) + lp_list(entries)

    @classmethod
    def decode(cls, plain: bytes) -> Self:
        reader = FieldReader(plain)
        keyring_id = reader.take(ID_BYTES)
        (serial,) = reader.numbers(">Q")
        entries = reader.lp_list()
        reader.finish()
        decoded = tuple(_decode_key(entry) for entry in entries)
        if len({(key.purpose, key.version) for key in decoded}) != len(decoded):
            raise IntegrityError("the keyring holds two keys of one purpose and version")
        return cls(keyring_id, serial, decoded)


def create(*, now: int, random: Callable[[int], bytes]) -> Keyring:
    """A new keyring: version 1 of every purpose, active from ``now``."""
    first = tuple(
        VersionedKey(purpose, version=1, active_from=now, secret=random(keys.KEY_BYTES)) for purpose in KeyPurpose
    )
    return Keyring(random(ID_BYTES), serial=1, keys=first)


def seal(keyring: Keyring, providers: Sequence[KeyProvider], *, random: Callable[[int], bytes]) -> bytes:
    """The sealed form; any one of the providers can open it.

    Raises:
        KeyringError: a provider refuses to seal, or two have one name.
        StoreUnavailable: one of the providers cannot be reached; all of them are needed.
    """
    for unusable in (provider for provider in providers if isinstance(provider, Unusable)):
        raise unusable.problem
    _check_names(providers)
    body_key = random(keys.KEY_BYTES)
    context = _context(keyring.id)
    sealed = tuple(keys.lp(provider.name.encode(), _sealed_by(provider, body_key, context)) for provider in providers)
    head = _encode_head(keyring.id, keyring.serial) + lp_list(sealed)
    return head + keys.seal(body_key, keyring.encode(), head, random)


def unseal(sealed: bytes, providers: Sequence[KeyProvider]) -> Keyring:
    """Open the sealed form with the first provider that it was sealed for, that can be reached and opens its part.

    Raises:
        KeyringError: no provider fits, those that fit cannot open it, or it asks for fewer than are required together.
        UnsupportedVersion: a later release wrote it.
        IntegrityError: it is damaged.
        StoreUnavailable: a provider that might open it cannot be reached, and no other opens it.
    """
    reader = FieldReader(sealed)
    keyring_id, serial = _read_head(reader)
    parts = _read_recipients(reader)
    body = reader.rest()
    body_key = _checked_body_key(recipients.open_any(parts, providers, _context(keyring_id)))
    keyring = Keyring.decode(keys.unseal(body_key, body, sealed[: len(sealed) - len(body)]))
    if (keyring.id, keyring.serial) != (keyring_id, serial):
        raise IntegrityError("the keyring's clear head does not agree with what it seals")
    return keyring


def recipients_of(sealed: bytes) -> list[Recipient]:
    """Who can open a sealed keyring.

    Raises:
        KeyringError: it is no keyring.
        IntegrityError: it is damaged, or of a later release.
    """
    reader = FieldReader(sealed)
    _read_head(reader)
    return [Recipient.read(name, part) for name, part in _read_recipients(reader).items()]


def check_recipients(sealed: bytes, providers: Sequence[KeyProvider]) -> None:
    """Make sure that sealing anew for ``providers`` adds nobody who can open it, and leaves nobody out.

    Raises:
        KeyringError: it would, as on a machine whose configuration is not that of the others; or a provider cannot be had.
    """
    for unusable in (provider for provider in recipients.apart(providers) if isinstance(provider, Unusable)):
        raise unusable.problem
    present = {recipient.name: recipient.shown for recipient in recipients_of(sealed)}
    if set(present) != {provider.name for provider in providers}:
        raise KeyringError(
            f"the keyring is sealed for {', '.join(present.values())}, and tokenizer.seal names others; "
            "correct the setting, or run lunacore keys reseal if it is right"
        )


def read_head(sealed: bytes) -> tuple[bytes, int]:
    """Id and serial that a sealed keyring claims; to be believed only once it is open.

    Raises:
        KeyringError: it is no keyring.
        IntegrityError: it is damaged, or of a later release.
    """
    return _read_head(FieldReader(sealed))


def _context(keyring_id: bytes) -> bytes:
    return keys.info("keyring", keyring_id)


def _encode_head(keyring_id: bytes, serial: int) -> bytes:
    return MAGIC + struct.pack(">BB", FORMAT_VERSION, SUITE) + keyring_id + struct.pack(">Q", serial)


def _read_head(reader: FieldReader) -> tuple[bytes, int]:
    magic, version, suite = reader.numbers(">4sBB")
    if magic != MAGIC:
        raise KeyringError("this is no keyring; check the setting tokenizer.keyring")
    if (version, suite) != (FORMAT_VERSION, SUITE):
        raise UnsupportedVersion(f"the keyring has format version {version} and suite {suite}: upgrade LunaCore")
    keyring_id = reader.take(ID_BYTES)
    (serial,) = reader.numbers(">Q")
    return keyring_id, serial


def _check_names(providers: Sequence[KeyProvider]) -> None:
    names = [provider.name for provider in recipients.apart(providers)]
    if not names:
        raise KeyringError("a keyring needs at least one key provider to seal it")
    if len({provider.name for provider in providers}) != len(providers):
        raise KeyringError("two key providers have the same name, so neither could tell its part from the other's")
    for name in names:
        if not 1 <= len(name.encode()) <= MAX_NAME_BYTES:
            raise KeyringError(f"the name of a key provider must have 1 to {MAX_NAME_BYTES} bytes")
        if name.startswith(recipients.PREFIX):
            raise KeyringError(f"the name of a key provider must not begin with {recipients.PREFIX}")


def _read_recipients(reader: FieldReader) -> dict[str, bytes]:
    entries = [_read_recipient(entry) for entry in reader.lp_list()]
    parts = dict(entries)
    if len(parts) != len(entries):
        raise IntegrityError("the keyring is sealed twice for key providers of one name")
    return parts


def _read_recipient(entry: bytes) -> tuple[str, bytes]:
    reader = FieldReader(entry)
    name, sealed = reader.text(), reader.lp()
    reader.finish()
    return name, sealed


def _sealed_by(provider: KeyProvider, body_key: bytes, context: bytes) -> bytes:
    try:
        return provider.seal(body_key, context)
    except StoreUnavailable as problem:
        raise StoreUnavailable(f"the keyring cannot be sealed by {provider.name}: {problem.message}") from problem
    except KeyringError as problem:
        raise KeyringError(f"the keyring cannot be sealed by {provider.name}: {problem.message}") from problem


def _checked_body_key(body_key: bytes) -> bytes:
    # A shorter key would be a valid one of a weaker cipher.
    if len(body_key) != keys.KEY_BYTES:
        raise KeyringError(f"the keyring's body key must have {keys.KEY_BYTES} bytes")
    return body_key


def _decode_key(entry: bytes) -> VersionedKey:
    reader = FieldReader(entry)
    purpose, version, active_from = reader.numbers(">BIQ")
    secret = reader.take(keys.KEY_BYTES)
    reader.finish()
    try:
        return VersionedKey(KeyPurpose(purpose), version, active_from, secret)
    except ValueError:
        raise UnsupportedVersion(f"the keyring holds a key of purpose {purpose}: upgrade LunaCore") from None
