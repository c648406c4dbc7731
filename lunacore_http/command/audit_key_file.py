"""The public audit keys in a file, with which an auditor verifies logs without any secret: JSON, or PEM (RFC 7468)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from lunacore.errors import IntegrityError
from lunacore.signing import PUBLIC_KEY_BYTES, PublicKeys, VerificationKey
from lunacore_http.command import input_file
from lunacore_http.command.exits import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FORMAT: Final = "LunaCore audit keys"
VERSION: Final = 1
_MAX_BYTES: Final = 1024 * 1024
_PEM: Final = re.compile(
    r"^audit key version (\d{1,9})\n(-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=\n]+-----END PUBLIC KEY-----)",
    re.MULTILINE,
)


def to_json(keyring_id: bytes, known: Sequence[VerificationKey]) -> str:
    """The keys as a JSON document; ``public`` is the raw key of 32 bytes in hexadecimal."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "keyring": keyring_id.hex(),
        "keys": [{"version": key.version, "algorithm": "Ed25519", "public": key.public.hex()} for key in known],
    }
    return json.dumps(document, indent=2) + "\n"


def to_pem(known: Sequence[VerificationKey]) -> str:
    """The keys one after another, each with its version on a line before it."""
    return "".join(f"audit key version {key.version}\n{_pem(key)}" for key in known)


def read(path: Path) -> PublicKeys:
    """The keys of one file in either form.

    Raises:
        CommandFailed: it cannot be read, or holds no audit keys.
    """
    try:
        text = input_file.content(path, limit=_MAX_BYTES).decode("ascii")
    except UnicodeDecodeError:
        raise _refusal(path) from None
    known = _from_pem(text) or _from_json(text, path)
    try:
        return PublicKeys(()).joined(known)
    except IntegrityError as problem:
        raise CommandFailed(f"{path}: {problem.message}") from problem


def _pem(key: VerificationKey) -> str:
    public = Ed25519PublicKey.from_public_bytes(key.public)
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def _from_pem(text: str) -> list[VerificationKey]:
    known = []
    for version, pem in _PEM.findall(text):
        try:
            key = load_pem_public_key(pem.encode("ascii"))
        except ValueError:
            continue
        if isinstance(key, Ed25519PublicKey):
            known.append(VerificationKey(int(version), key.public_bytes(Encoding.Raw, PublicFormat.Raw)))
    return known


def _from_json(text: str, path: Path) -> list[VerificationKey]:
    try:
        document: Any = json.loads(text)
        if (document["format"], document["version"]) != (FORMAT, VERSION):
            raise _refusal(path)
        known = [VerificationKey(int(key["version"]), bytes.fromhex(key["public"])) for key in document["keys"]]
    except (ValueError, KeyError, TypeError):
        raise _refusal(path) from None
    if not known or any(len(key.public) != PUBLIC_KEY_BYTES for key in known):
        raise _refusal(path)
    return known


def _refusal(path: Path) -> CommandFailed:
    return CommandFailed(f"{path} holds no audit keys; make it with lunacore audit keys")
