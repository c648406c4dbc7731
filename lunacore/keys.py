"""Key derivation and sealing: HKDF-SHA256 (RFC 5869) and AES-256-GCM (NIST SP 800-38D), through ``cryptography``.

Every info string is ``lunacore/v1/<purpose>`` followed by length-prefixed context, so that no two purposes or contexts can ever
meet; ``docs/spec/keys.md`` lists them all. Root keys and lookup secrets are uniformly random and are used through Expand only.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from attrs import field, frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from lunacore.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
FINGERPRINT_BYTES: Final = 16
ENTRY_TAG_BYTES: Final = 16

_SHA256: Final = hashes.SHA256()
_INFO_PREFIX: Final = b"lunacore/v1/"
_FIRST_BLOCK: Final = b"\x01"  # what Expand appends for the first 32 bytes (RFC 5869, section 2.3)


def lp(*parts: bytes) -> bytes:
    """Length-prefix each part (4 bytes, big-endian) and join them: an encoding that can be read in one way only."""
    joined = b""
    for part in parts:  # few: for so many, adding beats joining
        joined += len(part).to_bytes(4, "big") + part
    return joined


def info(purpose: str, *context: bytes) -> bytes:
    """The HKDF info string of one purpose in one context."""
    return _INFO_PREFIX + purpose.encode("ascii") + lp(*context)


def extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract: 32 bytes."""
    return HKDF.extract(_SHA256, salt, secret)


def expand(key: bytes, purpose: str, *context: bytes, length: int = KEY_BYTES) -> bytes:
    """HKDF-Expand of a uniformly random ``key`` for one purpose: ``length`` bytes."""
    return HKDFExpand(_SHA256, length, info(purpose, *context)).derive(key)


def expand_each(key: bytes, infos: tuple[bytes, ...]) -> list[bytes]:
    """HKDF-Expand of ``key`` to 32 bytes for each info string: one block each (RFC 5869, section 2.3), the key set up once."""
    keyed = HMAC(key, _SHA256)
    blocks = []
    for one in infos:
        block = keyed.copy()
        block.update(one + _FIRST_BLOCK)
        blocks.append(block.finalize())
    return blocks


def mac(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 over the length-prefixed parts: 32 bytes."""
    return hmac.digest(key, lp(*parts), hashlib.sha256)


class SharedMac:
    """HMAC-SHA256 over length-prefixed parts of which the first are shared: what ``mac`` gives, at less cost for many."""

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes, *parts: bytes) -> None:
        self._keyed = HMAC(key, _SHA256)
        self._keyed.update(lp(*parts))

    def of(self, *parts: bytes) -> bytes:
        """``mac(key, *shared, *parts)``: 32 bytes."""
        rest = self._keyed.copy()
        rest.update(lp(*parts))
        return rest.finalize()


def entry_tag(tags: SharedMac, name: bytes, tagged: bytes) -> bytes:
    """What shows that a value in the expiring store is the tokenizer's: ``ENTRY_TAG_BYTES`` over its name and the rest of it.

    Whoever can write to the store sees the names that it is asked for, so a name alone shows nothing.
    """
    return tags.of(name, tagged)[:ENTRY_TAG_BYTES]


def equal(left: bytes, right: bytes) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(left, right)


def seal(key: bytes, plain: bytes, associated: bytes, random: Callable[[int], bytes]) -> bytes:
    """AES-256-GCM with a random nonce: nonce (12) ‖ ciphertext ‖ tag (16).

    The caller sees to it that one key seals few messages; here every key belongs to one record or one file.
    """
    nonce = random(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, associated)


def unseal(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    """Undo ``seal``.

    Raises:
        IntegrityError: if key, bytes or associated data are not those of ``seal``.
    """
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise IntegrityError("sealed data is cut short")
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
    except InvalidTag:
        raise IntegrityError("sealed data does not open: it was changed, or sealed under another key") from None


def tenant_key(lookup_secret: bytes, tenant: str) -> bytes:
    """The key that separates one tenant's tokens from all others' (32 bytes)."""
    return expand(lookup_secret, "tenant", tenant.encode())


_TOKEN_INFOS: Final = (info("record-name"), info("token-wrap"), info("commitment"), info("fingerprint"))
_RECORD_OUTER: Final = info("record-outer")


@frozen
class TokenKeys:
    """All that is derived from one token under one tenant key.

    Attributes:
        record_name: 32 bytes; where the record lies. Says nothing about the token without the lookup secret.
        wrap_key: 32 bytes; seals the inner part of the record.
        commitment: 32 bytes; stored in the record and compared before anything is opened.
        fingerprint: 16 bytes; names the token in logs.
    """

    record_name: bytes
    wrap_key: bytes = field(repr=False)
    commitment: bytes = field(repr=False)
    fingerprint: bytes


def token_keys(tenant_key: bytes, canonical_token: bytes) -> TokenKeys:
    """Derive everything that a token leads to."""
    prk = extract(tenant_key, canonical_token)
    record_name, wrap_key, commitment, fingerprint = expand_each(prk, _TOKEN_INFOS)
    return TokenKeys(record_name, wrap_key, commitment, fingerprint[:FINGERPRINT_BYTES])


def outer_key(root_key: bytes, record_name: bytes) -> bytes:
    """The key of one record's outer layer under one root key (32 bytes)."""
    block = _keyed(root_key).copy()
    block.update(_RECORD_OUTER + lp(record_name) + _FIRST_BLOCK)
    return block.finalize()


@lru_cache(maxsize=8)  # a keyring holds one root key, two or three while it rotates
def _keyed(root_key: bytes) -> HMAC:
    return HMAC(root_key, _SHA256)


def label_hash(lookup_secret: bytes, tenant: str, label: str) -> bytes:
    """What a record shows of a label (16 bytes): equal labels of a tenant are equal, and nothing more can be told."""
    return expand(lookup_secret, "label", tenant.encode(), label.encode(), length=16)
