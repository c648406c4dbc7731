"""Public keys as providers publish them: JWK and JWK Set (RFC 7517, RFC 7518, RFC 8037), or PEM (RFC 7468), read strictly.

Keys that count are RSA of 2048 to 8192 bits, P-256 and Ed25519, for the algorithms that the provider may use. ``use``,
``key_ops`` and ``alg`` of a key are obeyed. Every other key is ignored. So is one that comes with its secret part, since whoever
reads the set could sign with it, and so are all keys that share a ``kid``, since nothing says which of them is meant.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from typing import TYPE_CHECKING, Final, TypeAlias

from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from lunacore.errors import Unauthenticated
from lunacore_http.identity.jwt import decode_base64url, strict_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
MAX_SET_BYTES: Final = 64 * 1024

_PRIVATE_MEMBERS: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_PEM: Final = re.compile(rb"\s*-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----\s*")
_log: Final = logging.getLogger("lunacore.identity")


class KeySetError(Exception):
    """A set of keys cannot be had; the text says why, for operators."""


@frozen
class Key:
    """One public key, and what it may verify.

    Attributes:
        fingerprint: SHA-256 over everything that decides what it verifies, 32 bytes; equal keys have equal ones.
    """

    id: str | None
    algorithms: frozenset[str]
    public: PublicKey = field(eq=False, repr=False)
    fingerprint: bytes = field(repr=False)


@frozen
class KeySet:
    """The usable keys of one provider."""

    keys: tuple[Key, ...]
    fingerprints: frozenset[bytes] = field(repr=False)

    def select(self, key_id: str | None, algorithm: str) -> Key | None:
        """The one key for this key id and algorithm; without a key id, the only one for the algorithm."""
        fitting = [key for key in self.keys if algorithm in key.algorithms and (key_id is None or key.id == key_id)]
        return fitting[0] if len(fitting) == 1 else None


def parse_key_set(raw: bytes, allowed: Sequence[str], name: str) -> KeySet:
    """Read a JWK Set, leaving out the keys that do not count; what is left out is logged under the provider's ``name``.

    Raises:
        KeySetError: it is no JWK Set at all.
    """
    try:
        given = strict_json(raw)
    except ValueError:
        raise KeySetError("it is not JSON, or has a member twice") from None
    members = given.get("keys") if isinstance(given, dict) else None
    if not isinstance(members, list):
        raise KeySetError('it is not a JWK Set: it must be {"keys": [...]}')
    usable = [key for member in members if (key := _usable(member, allowed, name)) is not None]
    return _key_set(_without_shared_ids(usable, name))


def parse_pem(raw: bytes, key_id: str, allowed: Sequence[str]) -> KeySet:
    """Read one public key in PEM (``PUBLIC KEY``), published for ``key_id``.

    Raises:
        KeySetError: it is no such key, or none that may be used.
    """
    if not _PEM.fullmatch(raw):
        raise KeySetError("it is not one PUBLIC KEY in PEM")
    try:
        public = serialization.load_pem_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        raise KeySetError("it is not a public key that can be read") from None
    kept, fitting = _judged(public)
    algorithms = frozenset(name for name in fitting if name in allowed)
    if not algorithms:
        raise KeySetError("it fits no algorithm that the provider may use")
    return _key_set([Key(key_id, algorithms, kept, _fingerprint(key_id, algorithms, kept))])


NO_KEYS: Final = KeySet(keys=(), fingerprints=frozenset())


def _judged(public: object) -> tuple[PublicKey, tuple[str, ...]]:
    match public:
        case RSAPublicKey():
            return _judged_rsa(public), ("RS256", "PS256")
        case EllipticCurvePublicKey() if isinstance(public.curve, SECP256R1):
            return public, ("ES256",)
        case Ed25519PublicKey():
            return public, ("EdDSA",)
    raise KeySetError("it is none of RSA, P-256 and Ed25519")


def _key_set(keys: Iterable[Key]) -> KeySet:
    kept = tuple(keys)
    return KeySet(keys=kept, fingerprints=frozenset(key.fingerprint for key in kept))


def _without_shared_ids(keys: Sequence[Key], name: str) -> list[Key]:
    counts = Counter(key.id for key in keys if key.id is not None)
    shared = [key_id for key_id, count in counts.items() if count > 1]
    for key_id in shared:
        _log.warning("identity provider %s: several keys have the kid %r; all of them are ignored", name, key_id)
    return [key for key in keys if key.id not in shared]


def _usable(member: object, allowed: Sequence[str], name: str) -> Key | None:
    try:
        return _key(member, allowed)
    except KeySetError as problem:
        key_id = member.get("kid") if isinstance(member, dict) else None
        _log.warning("identity provider %s: the key with the kid %r is ignored: %s", name, key_id, problem)
        return None


def _key(jwk: object, allowed: Sequence[str]) -> Key:
    if not isinstance(jwk, dict):
        raise KeySetError("it is not a JSON object")
    private = [member for member in _PRIVATE_MEMBERS if member in jwk]
    if private:
        raise KeySetError("it comes with its secret part; publish public keys only, and replace this one")
    if jwk.get("use", "sig") != "sig":
        raise KeySetError("its use is not sig")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise KeySetError("its key_ops do not hold verify")
    key_id = jwk.get("kid")
    if key_id is not None and (not isinstance(key_id, str) or not key_id):
        raise KeySetError("its kid is not text")
    public, fitting = _public_key(jwk)
    algorithms = frozenset(name for name in fitting if name in allowed and jwk.get("alg", name) == name)
    if not algorithms:
        raise KeySetError("it fits no algorithm that the provider may use")
    return Key(id=key_id, algorithms=algorithms, public=public, fingerprint=_fingerprint(key_id, algorithms, public))


def _public_key(jwk: dict[str, object]) -> tuple[PublicKey, tuple[str, ...]]:
    """The key itself, and the algorithms that a key of its kind can verify."""
    kind = (jwk.get("kty"), jwk.get("crv"))
    try:
        match kind:
            case ("RSA", None):
                return _rsa(jwk), ("RS256", "PS256")
            case ("EC", "P-256"):
                _check_numbers(jwk, "x", "y")
                ec_key = ECAlgorithm.from_jwk(jwk)
                assert isinstance(ec_key, EllipticCurvePublicKey)
                return ec_key, ("ES256",)
            case ("OKP", "Ed25519"):
                _check_numbers(jwk, "x")
                okp_key = OKPAlgorithm.from_jwk(jwk)
                assert isinstance(okp_key, Ed25519PublicKey)
                return okp_key, ("EdDSA",)
    except (PyJWTError, ValueError):
        raise KeySetError("its numbers are not those of a key") from None
    raise KeySetError("its kty and crv are none of RSA, P-256 and Ed25519")


def _rsa(jwk: dict[str, object]) -> RSAPublicKey:
    _check_numbers(jwk, "n", "e")
    key = RSAAlgorithm.from_jwk(jwk)
    assert isinstance(key, RSAPublicKey)
    return _judged_rsa(key)


def _judged_rsa(key: RSAPublicKey) -> RSAPublicKey:
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise KeySetError(f"it has {key.key_size} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted")
    numbers = key.public_numbers()
    # FIPS 186-5, appendix A.1.1; an exponent of 1 would let everybody sign.
    if numbers.e % 2 == 0 or not 2**16 < numbers.e < 2**256:
        raise KeySetError("its public exponent is not odd and between 2^16 and 2^256")
    if _is_roca(numbers.n):
        raise KeySetError("it was made by a generator whose keys can be factored (ROCA, CVE-2017-15361); replace it")
    return key


def _check_numbers(jwk: dict[str, object], *names: str) -> None:
    for name in names:
        number = jwk.get(name)
        if not isinstance(number, str):
            raise KeySetError(f"its {name} is missing")
        try:
            decode_base64url(number)
        except Unauthenticated:
            raise KeySetError(f"its {name} is not base64url") from None


def _fingerprint(key_id: str | None, algorithms: frozenset[str], public: PublicKey) -> bytes:
    encoded = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    named = repr((key_id, sorted(algorithms))).encode("utf-8", "surrogatepass")
    return hashlib.sha256(named + b"\0" + encoded).digest()


_ROCA_PRIMES: Final = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
_ROCA_RESIDUES: Final = {prime: frozenset(pow(65537, power, prime) for power in range(prime)) for prime in _ROCA_PRIMES}


def _is_roca(modulus: int) -> bool:
    """Whether the modulus bears the mark of the flawed generator (Nemec et al., "The Return of Coppersmith's Attack", 2017)."""
    return all(modulus % prime in residues for prime, residues in _ROCA_RESIDUES.items())
