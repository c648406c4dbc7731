"""``lunacore jwt``: a JWT of the local identity, to try calls out with."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from lunacore import durations
from lunacore.errors import ConfigError
from lunacore_http.command import configuration, local_identity
from lunacore_http.command.arguments import add_command
from lunacore_http.command.exits import Exit, UsageError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from lunacore_http.command.arguments import Commands

MAX_TTL: Final = 24 * 3600
"""Seconds that such a JWT may be valid at most."""


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = add_command(
        commands, "jwt", _jwt, "print a JWT of the local identity, which lunacore serve makes when none is configured"
    )
    parser.add_argument("--role", choices=("user", "application"), required=True, help="who the JWT is for")
    parser.add_argument("--session", metavar="ID", help="session of the user")
    parser.add_argument("--ttl", metavar="DURATION", default="15m", help="how long it is valid, at most 24h (15m)")
    parser.add_argument(
        "--audience", metavar="URL", help="public URL of the tokenizer that it is for; as configured if not given"
    )


def _jwt(arguments: argparse.Namespace) -> Exit:
    claims = _claims(arguments)
    config = configuration.load(arguments)
    if config.identity:
        raise ConfigError(
            "identity providers are configured, and JWTs are theirs to sign; "
            "lunacore jwt is for the local identity of a tokenizer without any"
        )
    key = _key(config.data_dir)
    print(_sign(claims | {"aud": arguments.audience or config.public_url}, key))
    return Exit.DONE


def _claims(arguments: argparse.Namespace) -> dict[str, object]:
    ttl = durations.parse(arguments.ttl, "--ttl")
    if not 0 < ttl <= MAX_TTL:
        raise UsageError("--ttl must be between 1s and 24h")
    if (arguments.role == "user") != bool(arguments.session):
        raise UsageError("--session goes with --role user, and with it only")
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": local_identity.ISSUER,
        "sub": arguments.role,
        "iat": now,
        "exp": now + ttl,
    }
    return claims | ({"session_id": arguments.session} if arguments.session else {})


def _key(directory: Path) -> Ed25519PrivateKey:
    try:
        return local_identity.read_key(directory)
    except OSError as problem:
        raise ConfigError(
            f"cannot read the signing key of the local identity in {directory}: {problem.strerror}; "
            "lunacore serve makes one. Is --data that of the server?"
        ) from problem


def _sign(claims: dict[str, object], key: Ed25519PrivateKey) -> str:
    import jwt  # noqa: PLC0415 - comes with the server, which the other commands do without

    return jwt.encode(claims, key, algorithm=local_identity.ALGORITHM, headers={"kid": local_identity.key_id(key)})
