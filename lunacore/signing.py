"""Signatures of the tokenizer: Ed25519 (RFC 8032) under keys that are expanded from the keyring's audit secrets.

What is signed is always ``lp("lunacore/v1/signed", purpose, message)``, so that a signature made for one purpose can never pass
for one of another (``docs/spec/keys.md``). Public keys verify without the keyring, which is what auditors are given.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lunacore import keys
from lunacore.errors import IntegrityError, UnknownKeyVersion

if TYPE_CHECKING:
    from collections.abc import Iterable

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_DOMAIN: Final = b"lunacore/v1/signed"


class VerificationKeys(Protocol):
    """Where public keys are found by their version: a keyring, or a file that was exported from one."""

    def verification_key(self, version: int) -> VerificationKey:
        """The public key of a version.

        Raises:
            UnknownKeyVersion: there is none.
        """
        ...


@frozen
class VerificationKey:
    """The public part of one audit key: its version in the keyring, and 32 bytes (RFC 8032, section 5.1.5)."""

    version: int
    public: bytes = field(repr=False)

    def verify(self, purpose: str, message: bytes, signature: bytes) -> None:
        """See that ``signature`` (64 bytes) was made by this key for this purpose and message.

        Raises:
            IntegrityError: it was not.
        """
        try:
            _public_key(self.public).verify(signature, signed_message(purpose, message))
        except (InvalidSignature, ValueError):
            raise IntegrityError(f"the signature does not hold under audit key version {self.version}") from None


@frozen
class AuditSigner:
    """One audit key, ready to sign."""

    version: int
    _key: Ed25519PrivateKey = field(repr=False, alias="key")

    @property
    def verification_key(self) -> VerificationKey:
        return VerificationKey(self.version, self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, purpose: str, message: bytes) -> bytes:
        """The signature of a message for one purpose: 64 bytes, the same whenever it is made."""
        return self._key.sign(signed_message(purpose, message))


@frozen
class PublicKeys:
    """Public keys by version (``VerificationKeys``), without any keyring."""

    known: tuple[VerificationKey, ...]

    def verification_key(self, version: int) -> VerificationKey:
        for key in self.known:
            if key.version == version:
                return key
        raise UnknownKeyVersion("audit", version)

    def joined(self, others: Iterable[VerificationKey]) -> PublicKeys:
        """These keys and others.

        Raises:
            IntegrityError: two keys of one version differ.
        """
        by_version = {key.version: key for key in self.known}
        for key in others:
            if by_version.setdefault(key.version, key) != key:
                raise IntegrityError(f"there are two different audit keys of version {key.version}")
        return PublicKeys(tuple(by_version[version] for version in sorted(by_version)))


def signer(version: int, secret: bytes) -> AuditSigner:
    """The signer of an audit secret (32 uniformly random bytes) of the keyring."""
    return AuditSigner(version, Ed25519PrivateKey.from_private_bytes(keys.expand(secret, "audit-signing")))


def signed_message(purpose: str, message: bytes) -> bytes:
    """What Ed25519 signs of a message."""
    return keys.lp(_DOMAIN, purpose.encode("ascii"), message)


@lru_cache(maxsize=8)
def _public_key(raw: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(raw)
