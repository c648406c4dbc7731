"""The gateway's key file: the credentials that a gateway on its own checks signatures with, and nothing else.

JSON, UTF-8, for its owner alone, the active credentials first:
``{"format": "lunacore-gateway-v1", "credentials": [{"accessKey": "…", "secretKey": "…"}, …]}``.
Readers refuse other formats and unknown members.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from lunacore.errors import ConfigError, KeyringError
from lunacore.gateway_keys import FixedGatewayKeys
from lunacore.sigv4 import Credentials
from lunacore_backends import local_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FORMAT: Final = "lunacore-gateway-v1"
SETTING: Final = "gateway.key"

_MAX_BYTES: Final = 1 << 16


def encode(credentials: Sequence[Credentials]) -> bytes:
    """The file's content."""
    members = [{"accessKey": one.access_key, "secretKey": one.secret_key} for one in credentials]
    return json.dumps({"format": FORMAT, "credentials": members}, indent=2).encode("utf-8") + b"\n"


def read(path: Path) -> FixedGatewayKeys:
    """The credentials in a file.

    Raises:
        ConfigError: there is no such file, or it cannot be read.
        KeyringError: it is open to others, or is no gateway key file.
    """
    try:
        content = local_files.read_guarded(path, SETTING, refuse=local_files.OPEN_TO_OTHERS, limit=_MAX_BYTES)
    except OSError as problem:
        raise ConfigError(
            f"{SETTING}: cannot read {path}: {problem.strerror}; make it with lunacore keys export-gateway"
        ) from problem
    try:
        return FixedGatewayKeys(_decode(json.loads(content)))
    except (ValueError, KeyError, TypeError):
        raise KeyringError(
            f"{SETTING}: {path} is no gateway key file; make one with lunacore keys export-gateway"
        ) from None


def _decode(content: Any) -> tuple[Credentials, ...]:  # noqa: ANN401 - whatever JSON holds
    if content["format"] != FORMAT or set(content) != {"format", "credentials"} or not content["credentials"]:
        raise ValueError
    return tuple(_decode_one(one) for one in content["credentials"])


def _decode_one(content: Any) -> Credentials:  # noqa: ANN401 - whatever JSON holds
    access_key, secret_key = content["accessKey"], content["secretKey"]
    if set(content) != {"accessKey", "secretKey"} or not isinstance(access_key, str) or not isinstance(secret_key, str):
        raise ValueError
    return Credentials(access_key=access_key, secret_key=secret_key)
