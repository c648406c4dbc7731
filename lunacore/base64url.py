"""base64url without padding (RFC 4648, section 5) in its one canonical spelling: what cookies and URLs hold."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def encode(raw: bytes) -> str:
    """The text of ``raw``."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """The bytes of a text.

    Raises:
        ValueError: it is empty, padded, has other characters, or its unused bits are not zero.
    """
    if not _ALPHABET.fullmatch(text):
        raise ValueError("not base64url")
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("not base64url") from None
    if encode(raw) != text:
        raise ValueError("not the canonical spelling")
    return raw
