"""Passwords: scrypt (RFC 7914) with a setting of OWASP's Password Storage Cheat Sheet: 32 MiB, three times."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Final

MIN_LENGTH: Final = 8
MAX_LENGTH: Final = 200

_SALT_BYTES: Final = 16
_COST: Final = {"n": 1 << 15, "r": 8, "p": 3, "maxmem": 64 << 20, "dklen": 32}
NOBODYS: Final = bytes(_SALT_BYTES + 32)
"""A hash that no password has; checking against it takes as long as against any other."""


def hashed(password: str) -> bytes:
    """Salt and hash, to be kept."""
    salt = os.urandom(_SALT_BYTES)
    return salt + _hash(password, salt)


def matches(password: str, kept: bytes) -> bool:
    """Whether a password is the one that ``kept`` was made of."""
    return hmac.compare_digest(_hash(password, kept[:_SALT_BYTES]), kept[_SALT_BYTES:])


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, **_COST)
