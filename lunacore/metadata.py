"""Metadata: what a client may say about a value, sealed with the keys and returned as it was given."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from lunacore.errors import InvalidRequest, TooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_METADATA_BYTES: Final = 4096
MAX_METADATA_DEPTH: Final = 32  # far from what would exhaust the stack of whoever reads it

_MEMBERS: Final = ("dataType", "customFields", "createdAt", "fileinfo")
_FILE_MEMBERS: Final = ("filename", "type", "lastModified")
_DATA_TYPES: Final = ("string", "file")


def encode(metadata: Mapping[str, Any]) -> bytes:
    """Check metadata and encode it as JSON: at most 4096 bytes of UTF-8.

    Raises:
        InvalidRequest: naming the member that is unknown, missing or of the wrong type.
        TooLarge: past 4096 bytes.
    """
    _check(metadata)
    if _is_deeper(metadata, MAX_METADATA_DEPTH):
        raise InvalidRequest(f"metadata may be nested {MAX_METADATA_DEPTH} deep at most", field="metadata")
    try:
        encoded = json.dumps(metadata, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise InvalidRequest("metadata must hold only what JSON can say", field="metadata") from None
    if len(encoded) > MAX_METADATA_BYTES:
        raise TooLarge(f"metadata has {len(encoded)} bytes; at most {MAX_METADATA_BYTES} are kept")
    return encoded


def decode(encoded: bytes) -> dict[str, Any]:
    """What ``encode`` was given."""
    decoded: dict[str, Any] = json.loads(encoded)
    return decoded


def _check(metadata: Mapping[str, Any]) -> None:
    _refuse_unknown(metadata, _MEMBERS, "metadata")
    if metadata.get("dataType") not in _DATA_TYPES:
        raise InvalidRequest('metadata.dataType must be "string" or "file"', field="metadata.dataType")
    _expect(metadata, "createdAt", (str, int, float), "a string or a number", "metadata")
    _expect(metadata, "customFields", (dict,), "an object", "metadata")
    _expect(metadata, "fileinfo", (dict,), "an object", "metadata")
    if "fileinfo" in metadata:
        _check_file(metadata["fileinfo"])


def _check_file(fileinfo: Mapping[str, Any]) -> None:
    _refuse_unknown(fileinfo, _FILE_MEMBERS, "metadata.fileinfo")
    if not isinstance(fileinfo.get("filename"), str):
        raise InvalidRequest("metadata.fileinfo.filename must be a string", field="metadata.fileinfo.filename")
    _expect(fileinfo, "type", (str,), "a string", "metadata.fileinfo")
    _expect(fileinfo, "lastModified", (str, int, float), "a string or a number", "metadata.fileinfo")


def _is_deeper(part: object, depth: int) -> bool:
    if isinstance(part, dict):
        part = list(part.values())
    if not isinstance(part, list | tuple):
        return False
    return depth == 0 or any(_is_deeper(inner, depth - 1) for inner in part)


def _refuse_unknown(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in given:
        if name not in known:
            raise InvalidRequest(
                f"{where}.{name} is unknown; {where} may hold {', '.join(known)}", field=f"{where}.{name}"
            )


def _expect(given: Mapping[str, Any], name: str, types: tuple[type, ...], what: str, where: str) -> None:
    if name not in given:
        return
    if isinstance(given[name], bool) or not isinstance(given[name], types):
        raise InvalidRequest(f"{where}.{name} must be {what}", field=f"{where}.{name}")
