"""One-use assertions: JWTs by which an application gives a browser its session, at ``/session/create`` and nowhere else.

An assertion passes through the browser's address bar, so it is worth little: it is made out to ``/session/create`` alone, holds
for a minute, names the state that the tokenizer gave to this very browser, and counts once (``docs/spec/sessions.md``). The
signature is verified before the claims are judged here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from lunacore import keys
from lunacore.errors import Unauthenticated
from lunacore.identity import Role, Session
from lunacore_http.identity import jwt

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH: Final = "/session/create"
MAX_AGE: Final = 60
"""Seconds between issue and expiry at most."""

MIN_IDENTIFIER: Final = 16
"""Characters of a ``jti`` at least, so that no two assertions share one by accident."""


@frozen
class Assertion:
    """What an application says of one browser's session.

    Attributes:
        session: whose it is.
        session_ends: Unix second until which it may last.
        identifier: the assertion's own name; counts once.
        ends: Unix second at which the assertion ends.
    """

    session: Session
    session_ends: int
    identifier: str = field(repr=False)
    ends: int


def judge(
    claims: Mapping[str, object], *, tenant: str, issuer: str, audience: str, nonce: str, now: float
) -> Assertion:
    """Judge the claims of an assertion whose signature holds.

    Args:
        claims: all of them.
        tenant: that of the issuer.
        issuer: who was asked for the session.
        audience: the URL of ``/session/create``.
        nonce: the state that came with it.
        now: Unix seconds.

    Raises:
        Unauthenticated: it is no assertion, or one for someone else or of another time.
    """
    lifetime = jwt.check_claims(claims, issuer=issuer, audience=audience, now=now)
    if lifetime.ends - lifetime.issued > MAX_AGE:
        raise Unauthenticated(f"the assertion may hold for {MAX_AGE} seconds at most; its exp is too far from its iat")
    if jwt.subject_of(claims) != Role.USER.value:
        raise Unauthenticated("sub of the assertion must be user; other roles have no sessions")
    sent = claims.get("nonce")
    if not isinstance(sent, str) or not keys.equal(sent.encode("utf-8", "replace"), nonce.encode()):
        raise Unauthenticated("nonce of the assertion must be the state that the application was given")
    identifier = jwt.session_id_of(claims, "jti")
    if len(identifier) < MIN_IDENTIFIER:
        raise Unauthenticated(f"jti of the assertion must have {MIN_IDENTIFIER} characters or more, at random")
    session_ends = math.floor(jwt.time_of(claims, "session_exp"))
    if session_ends <= now:
        raise Unauthenticated("session_exp of the assertion is over; log in again")
    return Assertion(
        session=Session(tenant, issuer, jwt.session_id_of(claims, "session_id")),
        session_ends=session_ends,
        identifier=identifier,
        ends=lifetime.ends,
    )
