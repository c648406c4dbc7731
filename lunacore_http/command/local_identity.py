"""The local identity: an application of one's own, for trying LunaCore out where no identity provider is configured.

Its signing key (Ed25519, PKCS #8) lies in the data directory as ``application.key``, for its owner alone; the JWKS (RFC 7517,
RFC 8037) beside it names the public part. Whoever can read the key can grant any token to any session, so it is never used but
on a loopback address.
"""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from lunacore import loopback
from lunacore.config import IdentitySettings
from lunacore.errors import ConfigError, KeyringError, StoreUnavailable
from lunacore_backends import local_files

if TYPE_CHECKING:
    from pathlib import Path

    from lunacore.config import Config

NAME: Final = "local"
ISSUER: Final = "lunacore:local"
KEY_FILE: Final = "application.key"
JWKS_FILE: Final = "application.jwks.json"
ALGORITHM: Final = "EdDSA"

_MAX_BYTES: Final = 4096
_SETTING: Final = "local identity"


def with_local_identity(config: Config) -> Config:
    """The configuration with the local identity, whose key is made where it is missing.

    Raises:
        ConfigError: the tokenizer is not on a loopback address.
        KeyringError: the key cannot be used.
        StoreUnavailable: the data directory cannot be written.
    """
    _require_loopback(config)
    directory = config.data_dir
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create_key(directory / KEY_FILE)
        key = read_key(directory)
        _write_jwks(directory / JWKS_FILE, key)
    except OSError as problem:
        raise StoreUnavailable(
            f"tokenizer.data_dir: cannot keep the local identity in {directory}: {problem.strerror}"
        ) from problem
    return evolve(config, identity=(_settings(directory),))


def read_key(directory: Path) -> Ed25519PrivateKey:
    """The signing key.

    Raises:
        FileNotFoundError: there is none.
        KeyringError: it is open to others, or is no such key.
    """
    path = directory / KEY_FILE
    content = local_files.read_guarded(path, _SETTING, refuse=local_files.OPEN_TO_OTHERS, limit=_MAX_BYTES)
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyringError(f"{_SETTING}: {path} is no Ed25519 key; remove it, and lunacore serve makes a new one")
    return key


def key_id(key: Ed25519PrivateKey) -> str:
    """The ``kid``: the key's thumbprint (RFC 7638)."""
    members = json.dumps(_public_members(key), sort_keys=True, separators=(",", ":"))
    return _base64url(hashlib.sha256(members.encode("ascii")).digest())


def is_loopback(host: str) -> bool:
    """Whether a host name or address, as operators write it, leads to this very machine."""
    return loopback.is_loopback(host.lower().rstrip(".").removeprefix("[").removesuffix("]"))


def _require_loopback(config: Config) -> None:
    if not is_loopback(config.tokenizer.host):
        raise ConfigError(
            f"tokenizer.host is {config.tokenizer.host}, which others can reach, but no application is configured; "
            "name yours in [[identity]], or set tokenizer.host to 127.0.0.1"
        )
    if not is_loopback(urlsplit(config.public_url).hostname or ""):
        raise ConfigError(
            f"tokenizer.public_url is {config.public_url}, which others can reach, but no application is configured; "
            "name yours in [[identity]], or leave tokenizer.public_url out"
        )


def _create_key(path: Path) -> None:
    if path.exists():
        return
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # Another process may be first; its key is as good, and nothing is overwritten.
    with suppress(FileExistsError), local_files.written_beside(path, pem) as temporary:
        path.hardlink_to(temporary)
    local_files.sync_directory(path.parent)


def _write_jwks(path: Path, key: Ed25519PrivateKey) -> None:
    member = {**_public_members(key), "kid": key_id(key), "alg": ALGORITHM, "use": "sig"}
    content = json.dumps({"keys": [member]}, indent=2).encode("ascii") + b"\n"
    with suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return
    with local_files.written_beside(path, content) as temporary:
        temporary.replace(path)


def _public_members(key: Ed25519PrivateKey) -> dict[str, str]:
    point = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"crv": "Ed25519", "kty": "OKP", "x": _base64url(point)}


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _settings(directory: Path) -> IdentitySettings:
    return IdentitySettings(
        name=NAME,
        kind="application",
        issuer=ISSUER,
        jwks=(directory / JWKS_FILE).as_uri(),
        algorithms=(ALGORITHM,),
        roles=("user", "application"),
        default=True,
        direct=True,
    )
