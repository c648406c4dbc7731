"""The tokenizer's own session cookies: a session and its times, signed with the session key (``docs/spec/sessions.md``).

A cookie says which session a browser has, and until when. It is never encrypted: the browser that holds it may know its own
session. That a session was ended stands in its mark (``grants``), not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

from lunacore import base64url, keys
from lunacore.errors import IntegrityError, Unauthenticated
from lunacore.fields import FieldReader
from lunacore.identity import Session
from lunacore.keys import lp

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore.keyring_source import KeyringSource

PREFIX: Final = "ls1."
"""How a cookie of this version begins; a JWT never does."""

MAX_CHARACTERS: Final = 4096
"""Browsers keep no longer cookies (RFC 6265, section 6.1)."""

_PURPOSE: Final = b"session-cookie"
_MAC_BYTES: Final = 32
_TIME_BYTES: Final = 8
_RANDOM_BYTES: Final = 16


@frozen
class SessionCookie:
    """What a cookie says; ``issued`` and ``expires`` are Unix seconds."""

    session: Session
    issued: int
    expires: int


def write(cookie: SessionCookie, keyring: KeyringSource, *, random: Callable[[int], bytes]) -> str:
    """The cookie's value, signed under the active session key; no two are equal.

    Raises:
        Unauthenticated: tenant, issuer and session id are too long for a cookie.
    """
    text = sign(_encode(cookie, random(_RANDOM_BYTES)), keyring.session_keys()[0].signing)
    if len(text) > MAX_CHARACTERS:
        raise Unauthenticated(
            "the name of the session is too long for a cookie; its application must give a shorter one"
        )
    return text


def read(text: str, keyring: KeyringSource, *, now: float) -> SessionCookie:
    """What the cookie says, its signature verified under every session key that is not retired.

    Raises:
        Unauthenticated: it was not made by this tokenizer, or has expired.
    """
    body = _verified(text, [versions.signing for versions in keyring.session_keys()])
    if body is None:
        raise Unauthenticated("the session cookie is not one of this tokenizer; log in again")
    cookie = _decode(body)
    if cookie.expires <= now:
        raise Unauthenticated("the session has expired; log in again")
    return cookie


def sign(body: bytes, signing_key: bytes) -> str:
    """The text of a body: prefix, body and HMAC."""
    return f"{PREFIX}{base64url.encode(body)}.{base64url.encode(keys.mac(signing_key, _PURPOSE, body))}"


def _verified(text: str, signing_keys: list[bytes]) -> bytes | None:
    if len(text) > MAX_CHARACTERS or not text.startswith(PREFIX):
        return None
    body_text, _, mac_text = text[len(PREFIX) :].partition(".")
    try:
        body, mac = base64url.decode(body_text), base64url.decode(mac_text)
    except ValueError:
        return None
    if len(mac) != _MAC_BYTES:
        return None
    matches = [keys.equal(keys.mac(key, _PURPOSE, body), mac) for key in signing_keys]
    return body if any(matches) else None


def _encode(cookie: SessionCookie, random: bytes) -> bytes:
    session = cookie.session
    times = cookie.issued.to_bytes(_TIME_BYTES, "big") + cookie.expires.to_bytes(_TIME_BYTES, "big")
    return lp(session.tenant.encode(), session.issuer.encode(), session.id.encode()) + times + random


def _decode(body: bytes) -> SessionCookie:
    fields = FieldReader(body)
    try:
        session = Session(fields.text(), fields.text(), fields.text())
        issued, expires = fields.numbers(">QQ")
        fields.take(_RANDOM_BYTES)
        fields.finish()
    except IntegrityError:
        raise Unauthenticated("the session cookie is not one of this tokenizer; log in again") from None
    return SessionCookie(session, issued, expires)
