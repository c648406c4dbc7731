"""JWTs (RFC 7519) as RFC 8725 wants them verified: strict form, pinned algorithms, every claim required and judged.

Signatures are verified by PyJWT. What PyJWT takes more liberally than LunaCore wants is checked here: padding, header parameters
that bring their own key, duplicate members, types of claims. The clock is passed in. No message holds any part of a JWT.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from typing import TYPE_CHECKING, Final, NoReturn

import jwt as pyjwt
from attrs import field, frozen

from lunacore.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lunacore_http.identity.jwk import Key

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
"""All that can be configured; symmetric algorithms and ``none`` are not among them."""

MAX_BYTES: Final = 8 * 1024
LEEWAY: Final = 30
"""Seconds by which an issuer's clock may run ahead. An expiry is not stretched: a session ends when its JWT does."""

MAX_SESSION_ID: Final = 256

# What would bring its own key, change what is signed, or wrap another token. ``crit`` is here because LunaCore implements none.
_REFUSED_PARAMETERS: Final = ("jku", "jwk", "x5u", "x5c", "crit", "b64", "cty", "zip")
_TYPES: Final = ("jwt", "at+jwt", "application/jwt", "application/at+jwt")
_PART: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_JWS: Final = pyjwt.PyJWS(algorithms=ALGORITHMS)


@frozen
class UnverifiedJWT:
    """A JWT in its strict form whose signature is not verified yet: its key id may choose a key, no more.

    Attributes:
        signed: the bytes that the signature is over.
        payload: what was signed; the claims, if it is a JWT at all.
        signer: the header parameter of that name, which AWS load balancers write.
        padded: some part of it has ``=`` at its end.
    """

    algorithm: str
    key_id: str | None
    signed: bytes = field(repr=False)
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    signer: object = None
    padded: bool = False


@frozen
class Lifetime:
    """When a JWT was issued and when it ends, in Unix seconds, rounded down."""

    issued: int
    ends: int


def parse(text: str, *, allow_padding: bool = False) -> UnverifiedJWT:
    """Take a JWT in compact form apart, without verifying anything.

    With ``allow_padding`` its parts may be padded with ``=`` to a multiple of four characters; what is signed is then the padded
    text.

    Raises:
        Unauthenticated: it is too long, malformed, or its header holds what is never accepted.
    """
    if len(text) > MAX_BYTES:
        raise Unauthenticated(f"the JWT is longer than {MAX_BYTES} bytes; put less into it")
    parts = text.split(".")
    if len(parts) != 3:
        _malformed()
    padded = allow_padding and "=" in text
    header, payload, signature = (decode_base64url(_without_padding(part) if padded else part) for part in parts)
    members = _object(header)
    _check_header(members)
    return UnverifiedJWT(
        algorithm=_required_text(members, "alg"),
        key_id=_required_text(members, "kid") if "kid" in members else None,
        signed=text.rpartition(".")[0].encode("ascii"),
        payload=payload,
        signature=signature,
        signer=members.get("signer"),
        padded=padded,
    )


def unverified_claims(unverified: UnverifiedJWT) -> Mapping[str, object]:
    """The claims; until the signature is verified, ``iss`` may choose the provider, and nothing else is to be believed.

    Raises:
        Unauthenticated: the payload is no JSON object.
    """
    return _object(unverified.payload)


def verify_signature(unverified: UnverifiedJWT, key: Key) -> None:
    """Verify the signature with ``key``, which the caller took from the provider that the JWT names.

    Raises:
        Unauthenticated: it does not hold, or the key is not for that algorithm.
    """
    if unverified.algorithm not in key.algorithms:
        raise Unauthenticated("the JWT's key is not for its algorithm; get a new JWT")
    try:
        # Not PyJWT's decode: that refuses padding since 2.14, and took it before. The form is judged by parse alone.
        algorithm = _JWS.get_algorithm_by_name(unverified.algorithm)
        holds = algorithm.verify(unverified.signed, key.public, unverified.signature)
    except pyjwt.PyJWTError:
        holds = False
    if not holds:
        raise Unauthenticated("the signature of the JWT does not hold; get a new JWT")


def check_claims(
    claims: Mapping[str, object], *, issuer: str, audience: str | None, now: float, issued_required: bool = True
) -> Lifetime:
    """Judge the claims that every JWT has; ``sub`` and the session are the provider's business.

    Args:
        claims: of a JWT whose signature holds.
        issuer: what ``iss`` must be.
        audience: what ``aud`` must be; None for a JWT that is tied to its receiver in another way.
        now: Unix seconds.
        issued_required: whether ``iat`` must be there; without it the JWT counts as issued now.

    Raises:
        Unauthenticated: a claim is missing or of another type; another issuer or audience; expired or not valid yet.
    """
    if issuer_of(claims) != issuer:
        raise Unauthenticated("the issuer of the JWT is another one than that of its key; get a new JWT")
    if audience is not None:
        _check_audience(claims, audience)
    issued = time_of(claims, "iat") if issued_required or "iat" in claims else now
    ends = time_of(claims, "exp")
    starts = time_of(claims, "nbf") if "nbf" in claims else issued
    if ends <= now:
        raise Unauthenticated("the JWT has expired; get a new one")
    if max(issued, starts) > now + LEEWAY:
        raise Unauthenticated("the JWT is not valid yet; compare the clocks of its issuer and of the tokenizer")
    return Lifetime(issued=math.floor(issued), ends=math.floor(ends))


def _check_audience(claims: Mapping[str, object], audience: str) -> None:
    if "aud" not in claims:
        _missing("aud")
    # A list that names others as well is refused: one JWT would then be good for several places, a session and an assertion.
    if not made_out_to(claims, audience):
        raise Unauthenticated(f"the JWT is made out to another audience; its aud must be {audience} alone")


def made_out_to(claims: Mapping[str, object], audience: str) -> bool:
    """Whether ``aud`` names this audience, as text or as a list, and no other."""
    return claims.get("aud") in (audience, [audience])


def issuer_of(claims: Mapping[str, object]) -> str:
    """The ``iss`` claim.

    Raises:
        Unauthenticated: it is missing or no text.
    """
    return _required_text(claims, "iss")


def subject_of(claims: Mapping[str, object]) -> str:
    """The ``sub`` claim.

    Raises:
        Unauthenticated: it is missing or no text.
    """
    return _required_text(claims, "sub")


def session_id_of(claims: Mapping[str, object], claim: str) -> str:
    """A session id: 1 to 256 printable characters.

    Raises:
        Unauthenticated: the claim is missing or something else.
    """
    if claim not in claims:
        _missing(claim)
    given = claims[claim]
    if not isinstance(given, str) or not 0 < len(given) <= MAX_SESSION_ID or not given.isprintable():
        raise Unauthenticated(f"{claim} of the JWT must be text of 1 to {MAX_SESSION_ID} printable characters")
    return given


def time_of(claims: Mapping[str, object], name: str) -> float:
    """A claim that is a NumericDate (RFC 7519, section 2): seconds, perhaps with a fraction.

    Raises:
        Unauthenticated: it is missing or something else.
    """
    if name not in claims:
        _missing(name)
    given = claims[name]
    if not isinstance(given, int | float) or isinstance(given, bool) or not 0 <= given < 2**53:
        raise Unauthenticated(f"{name} of the JWT must be a time in Unix seconds; get a new JWT")
    return given


def decode_base64url(part: str) -> bytes:
    """Decode base64url without padding (RFC 7515, appendix C) in its one canonical spelling.

    Raises:
        Unauthenticated: empty, padded, other characters, or unused bits that are not zero.
    """
    if not _PART.fullmatch(part):
        _malformed()
    try:
        decoded = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        _malformed()
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode("ascii") != part:
        _malformed()
    return decoded


def _without_padding(part: str) -> str:
    bare = part.rstrip("=")
    if bare != part and (len(part) % 4 or len(part) - len(bare) > 2):
        _malformed()
    return bare


def strict_json(raw: bytes) -> object:
    """Read JSON as UTF-8, without duplicate members, NaN or Infinity.

    Raises:
        ValueError: it is something else.
    """
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _object(raw: bytes) -> dict[str, object]:
    try:
        given = strict_json(raw)
    except ValueError:
        _malformed()
    if not isinstance(given, dict):
        _malformed()
    return given


def _check_header(header: Mapping[str, object]) -> None:
    for parameter in _REFUSED_PARAMETERS:
        if parameter in header:
            raise Unauthenticated(f"the header of the JWT holds {parameter}, which is never accepted; leave it out")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise Unauthenticated("the typ of the JWT is that of another sort of token; it must be JWT")


def _required_text(members: Mapping[str, object], name: str) -> str:
    if name not in members:
        _missing(name)
    given = members[name]
    if not isinstance(given, str) or not given:
        raise Unauthenticated(f"{name} of the JWT must be text; get a new JWT")
    return given


def _missing(name: str) -> NoReturn:
    raise Unauthenticated(f"the JWT has no {name}; its issuer must put it in")


def _malformed() -> NoReturn:
    raise Unauthenticated("the credential is not a well-formed JWT; send it exactly as it was issued")
