"""Server-side encryption with customer keys (SSE-C): the three headers that carry a key to an S3 store.

Follows the Amazon S3 User Guide, "Using server-side encryption with customer-provided keys (SSE-C)": the algorithm
``AES256``, the base64 of the 32-byte key, and the base64 of the key's MD5, which only guards against damage on the way.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from lunacore.errors import InvalidRequest
from lunacore.keys import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

ALGORITHM: Final = "AES256"

_OBJECT_PREFIX: Final = "x-amz-server-side-encryption"
_SOURCE_PREFIX: Final = "x-amz-copy-source-server-side-encryption"
_NAMES: Final = ("customer-algorithm", "customer-key", "customer-key-md5")
_OBJECT_NAMES: Final = tuple(f"{_OBJECT_PREFIX}-{name}" for name in _NAMES)
_SOURCE_NAMES: Final = tuple(f"{_SOURCE_PREFIX}-{name}" for name in _NAMES)


def headers(key: bytes, copy_source: bool = False) -> dict[str, str]:  # noqa: FBT001, FBT002 -- reads as a word at the call
    """The trio for ``key`` (32 bytes), names in lower case.

    With ``copy_source``, the trio that opens the source of a copy.

    Raises:
        ValueError: if the key is not 32 bytes.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"an SSE-C key is {KEY_BYTES} bytes, not {len(key)}")
    algorithm_name, key_name, md5_name = _SOURCE_NAMES if copy_source else _OBJECT_NAMES
    return {algorithm_name: ALGORITHM, key_name: _base64(key), md5_name: _base64(_md5(key))}


def key_from(headers: Mapping[str, str], copy_source: bool = False) -> bytes:  # noqa: FBT001, FBT002 -- as for ``headers``
    """The key (32 bytes) that a request's headers carry; names may be in any case.

    Raises:
        InvalidRequest: if one of the trio is missing or wrong, if key and MD5 do not belong together, or if the request
            asks for another encryption as well. ``field`` names the header.
    """
    sent = {name.lower(): value for name, value in headers.items()}
    algorithm_name, key_name, md5_name = _SOURCE_NAMES if copy_source else _OBJECT_NAMES
    _refuse_others(sent, (algorithm_name, key_name, md5_name), _SOURCE_PREFIX if copy_source else _OBJECT_PREFIX)
    if _required(sent, algorithm_name) != ALGORITHM:
        raise InvalidRequest(f"{algorithm_name} must be {ALGORITHM}", field=algorithm_name)
    key = _decoded(sent, key_name, KEY_BYTES)
    md5 = _decoded(sent, md5_name, hashlib.md5(usedforsecurity=False).digest_size)
    if not hmac.compare_digest(md5, _md5(key)):
        raise InvalidRequest(f"{md5_name} is not the MD5 of the key; send both as they were given", field=md5_name)
    return key


def names_a_key(headers: Mapping[str, str]) -> bool:
    """Whether a request with these headers, names in lower case, carries any part of a customer key."""
    return any(name in headers for name in _OBJECT_NAMES)


def _refuse_others(sent: Mapping[str, str], names: tuple[str, ...], prefix: str) -> None:
    for name in sorted(sent):
        if name.startswith(prefix) and name not in names:
            raise InvalidRequest(f"{name} cannot go with a customer key; leave it out", field=name)


def _required(sent: Mapping[str, str], name: str) -> str:
    value = sent.get(name)
    if value is None:
        raise InvalidRequest(f"{name} is missing; send every header of the ticket", field=name)
    return value.strip()


def _decoded(sent: Mapping[str, str], name: str, length: int) -> bytes:
    text = _required(sent, name)
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    # The second condition refuses stray bits after the last byte, which base64 would drop.
    if len(decoded) != length or _base64(decoded) != text:
        raise InvalidRequest(f"{name} must be the base64 of {length} bytes", field=name)
    return decoded


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()
