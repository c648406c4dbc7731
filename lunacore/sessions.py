"""What the tokenizer says of a session without naming it: the hash that locks a frame to it, and its fingerprint in logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunacore import keys
from lunacore.errors import SessionMismatch

if TYPE_CHECKING:
    from lunacore.identity import Session
    from lunacore.keyring_source import KeyringSource


def session_hash(session: Session, keyring: KeyringSource) -> str:
    """HMAC over tenant, issuer and session id, 64 hex digits: what ``lunasec-session-hash`` holds."""
    return _mac(keyring.session_keys()[0].session_hash, session).hex()


def check_session_hash(session: Session, sent: str, keyring: KeyringSource) -> None:
    """Compare a hash that a client sent, under every session key that is not retired.

    Raises:
        SessionMismatch: it is not this session's.
    """
    received = sent.encode("utf-8", "replace")
    expected = [_mac(keys_.session_hash, session).hex().encode() for keys_ in keyring.session_keys()]
    matches = [keys.equal(one, received) for one in expected]
    if not any(matches):
        raise SessionMismatch("lunasec-session-hash is not that of this session; reload the page")


def session_fingerprint(session: Session, keyring: KeyringSource) -> str:
    """What logs call the session: 32 hex digits."""
    return _mac(keyring.session_keys()[0].fingerprint, session)[: keys.FINGERPRINT_BYTES].hex()


def _mac(key: bytes, session: Session) -> bytes:
    return keys.mac(key, session.tenant.encode(), session.issuer.encode(), session.id.encode())
