"""The application's signing keys: read from PEM, named by their thumbprints (RFC 7638), published as a JWK Set (RFC 7517).

Several keys may be current at once. The first signs; all are published, so that a key can be published before it signs and for
as long as what it signed is about.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import jwt as pyjwt
from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from lunacore.errors import ConfigError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PrivateKey: TypeAlias = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
PEM: TypeAlias = str | bytes
"""One or several private keys in PEM."""

KeySource: TypeAlias = "PEM | Sequence[PEM] | Path | Callable[[], PEM | Sequence[PEM]]"
"""PEM itself, a file of it, or a function that gives it."""

MIN_RSA_BITS: Final = 2048
ASK_AGAIN: Final = 300.0
"""Seconds after which a function is asked for its keys again."""
ASK_AGAIN_AFTER_FAILURE: Final = 10.0

_LOOK_AGAIN: Final = 1.0
"""Seconds after which a file is looked at again."""
_MAX_FILE_BYTES: Final = 64 * 1024
_COORDINATE_BYTES: Final = 32
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_NOT_A_KEY: Final = (b"EC PARAMETERS",)
# id-RSASSA-PSS, 1.2.840.113549.1.1.10 (RFC 8017): the key says of itself that it is for PSS alone.
_PSS: Final = bytes.fromhex("06092a864886f70d01010a")
_PSS_WITHIN: Final = 40
_log: Final = logging.getLogger("lunacore.sdk")


@frozen
class SigningKey:
    """A private key, and how it signs.

    Attributes:
        algorithm: RS256, PS256, ES256 or EdDSA; the key decides.
        id: its RFC 7638 thumbprint.
        public: the public key as JWK members.
    """

    private: PrivateKey = field(repr=False, eq=False)
    algorithm: str
    id: str
    public: Mapping[str, str] = field(repr=False)

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A JWT of these claims."""
        return pyjwt.encode(dict(claims), self.private, algorithm=self.algorithm, headers={"kid": self.id})

    def jwk(self) -> dict[str, str]:
        """The public key as it is published."""
        return {**self.public, "kid": self.id, "alg": self.algorithm, "use": "sig"}


def read_keys(pem: PEM | Sequence[PEM]) -> tuple[SigningKey, ...]:
    """The private keys in PEM, in order.

    Raises:
        ConfigError: there is none, or one that cannot sign for LunaCore. No message holds any of it.
    """
    texts = (pem,) if isinstance(pem, str | bytes) else tuple(pem)
    keys = [_read_key(kind, block) for text in texts for kind, block in _blocks(text)]
    if not keys:
        raise ConfigError(
            'signing_key holds no private key in PEM ("-----BEGIN PRIVATE KEY-----"); for a file pass a Path'
        )
    return tuple({key.id: key for key in keys}.values())


def key_set(keys: Sequence[SigningKey]) -> dict[str, list[dict[str, str]]]:
    """The JWK Set of all of the keys."""
    return {"keys": [key.jwk() for key in keys]}


class SigningKeys:
    """The keys that are current now; safe to use from several threads.

    A file is read again when it changes, a function is asked again after ``ASK_AGAIN`` seconds. What cannot be had or read then
    leaves the keys as they were, and is logged.

    Args:
        source: where the keys come from.
        now: a clock in seconds.

    Raises:
        ConfigError: PEM or file hold no usable key. A function is not asked before its keys are needed.
    """

    def __init__(self, source: KeySource, *, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = Lock()
        self._keys: tuple[SigningKey, ...] = ()
        self._look_again_at = float("-inf")
        self._seen: object = None
        self._look: Callable[[], None] | None = None
        if isinstance(source, Path):
            self._file = source
            self._look = self._look_at_file
            self._keys = read_keys(_read_file(source))
            self._seen = _state(source)
        elif callable(source):
            self._function = source
            self._look = self._ask_function
        else:
            self._keys = read_keys(source)

    def current(self) -> tuple[SigningKey, ...]:
        """The keys, the one that signs first.

        Raises:
            StoreUnavailable: a function never gave any yet.
        """
        if self._look is not None and self._now() >= self._look_again_at:
            with self._lock:
                if self._now() >= self._look_again_at:
                    self._look()
        if not self._keys:
            raise StoreUnavailable("the application's signing key cannot be had now; the log says why")
        return self._keys

    def are_at_hand(self) -> bool:
        """Whether ``current`` answers without asking a function, which may take its time."""
        return self._look != self._ask_function or self._now() < self._look_again_at

    def __repr__(self) -> str:
        return f"<SigningKeys {[key.id for key in self._keys]}>"

    def _look_at_file(self) -> None:
        self._look_again_at = self._now() + _LOOK_AGAIN
        try:
            state = _state(self._file)
            if state == self._seen:
                return
            self._keys = read_keys(_read_file(self._file))
            # What was seen before it was read: a change in between is seen next time.
            self._seen = state
        except (OSError, ConfigError) as problem:
            _log.warning("the signing key's file changed and cannot be used, the keys before it stay: %s", problem)

    def _ask_function(self) -> None:
        try:
            self._keys = read_keys(self._function())
            self._look_again_at = self._now() + ASK_AGAIN
        except Exception as problem:  # noqa: BLE001 - it is the application's function, and may fail in any way
            self._look_again_at = self._now() + ASK_AGAIN_AFTER_FAILURE
            # Its text might hold a key.
            _log.warning(
                "the function that gives the signing key failed (%s); the keys before it stay", type(problem).__name__
            )


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as problem:
        raise ConfigError(f"the signing key's file {path} cannot be read: {problem.strerror}") from None
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigError(f"the signing key's file {path} is no key: it has more than {_MAX_FILE_BYTES} bytes")
    return content


def _blocks(pem: PEM) -> list[tuple[bytes, bytes]]:
    raw = pem.encode("utf-8", "surrogateescape") if isinstance(pem, str) else pem
    return [(match[1], match[0]) for match in _BLOCK.finditer(raw) if match[1] not in _NOT_A_KEY]


def _read_key(kind: bytes, block: bytes) -> SigningKey:
    if kind == b"ENCRYPTED PRIVATE KEY" or b"ENCRYPTED" in block.partition(b"\n\n")[0]:
        raise ConfigError("signing_key is encrypted; keep it in a secret store instead, and pass it plain")
    if not kind.endswith(b"PRIVATE KEY"):
        raise ConfigError("signing_key must hold private keys only; leave certificates and public keys out")
    try:
        private = load_pem_private_key(block + b"\n", password=None)
    except Exception:  # noqa: BLE001 - cryptography has many; none is told, since it may repeat the key
        private = None
    if private is None:
        raise ConfigError("signing_key holds a private key that cannot be read; is it whole?")
    if isinstance(private, RSAPrivateKey):
        return _rsa(private, block)
    if isinstance(private, EllipticCurvePrivateKey) and isinstance(private.curve, SECP256R1):
        return _p256(private)
    if isinstance(private, Ed25519PrivateKey):
        point = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return _signing_key(private, "EdDSA", {"crv": "Ed25519", "kty": "OKP", "x": _base64url(point)})
    raise ConfigError("signing_key must be RSA, P-256 or Ed25519")


def _rsa(private: RSAPrivateKey, block: bytes) -> SigningKey:
    if private.key_size < MIN_RSA_BITS:
        raise ConfigError(f"signing_key has {private.key_size} bits; an RSA key must have {MIN_RSA_BITS} or more")
    numbers = private.public_key().public_numbers()
    public = {"e": _number(numbers.e), "kty": "RSA", "n": _number(numbers.n)}
    return _signing_key(private, "PS256" if _is_for_pss(block) else "RS256", public)


def _p256(private: EllipticCurvePrivateKey) -> SigningKey:
    numbers = private.public_key().public_numbers()
    x, y = (_base64url(one.to_bytes(_COORDINATE_BYTES, "big")) for one in (numbers.x, numbers.y))
    return _signing_key(private, "ES256", {"crv": "P-256", "kty": "EC", "x": x, "y": y})


def _signing_key(private: PrivateKey, algorithm: str, public: Mapping[str, str]) -> SigningKey:
    # RFC 7638, section 3: the required members alone, in the order of their names, without white space.
    required = json.dumps(dict(public), sort_keys=True, separators=(",", ":")).encode("ascii")
    return SigningKey(private, algorithm, _base64url(hashlib.sha256(required).digest()), public)


def _is_for_pss(block: bytes) -> bool:
    body = b"".join(line for line in block.splitlines() if not line.startswith(b"-----"))
    return _PSS in base64.b64decode(body)[:_PSS_WITHIN]


def _number(number: int) -> str:
    return _base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
