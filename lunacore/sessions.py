"""What the tokenizer says of a session without naming it: the hash that locks a frame to it, and its fingerprint in logs."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from lunacore import keys
from lunacore.errors import SessionMismatch

if TYPE_CHECKING:
    from lunacore.identity import Session
    from lunacore.keyring_source import KeyringSource, SessionKeys

REMEMBERED: Final = 4096
"""Sessions, the most recently used ones, of which a process keeps what it derived (decision 0028)."""


def session_hash(session: Session, keyring: KeyringSource) -> str:
    """HMAC over tenant, issuer and session id, 64 hex digits: what ``lunasec-session-hash`` holds."""
    return _told_of(session, keyring.session_keys()).hash


def check_session_hash(session: Session, sent: str, keyring: KeyringSource) -> None:
    """Compare a hash that a client sent, under every session key that is not retired.

    Raises:
        SessionMismatch: it is not this session's.
    """
    received = sent.encode("utf-8", "replace")
    matches = [keys.equal(one, received) for one in _told_of(session, keyring.session_keys()).hashes]
    if not any(matches):
        raise SessionMismatch("lunasec-session-hash is not that of this session; reload the page")


def session_fingerprint(session: Session, keyring: KeyringSource) -> str:
    """What logs call the session: 32 hex digits."""
    return _told_of(session, keyring.session_keys()).fingerprint


@frozen
class _Told:
    """What is told of one session; ``hashes`` are those under every session key, in hex digits."""

    hash: str
    hashes: tuple[bytes, ...] = field(repr=False)
    fingerprint: str


@lru_cache(maxsize=REMEMBERED)
def _told_of(session: Session, versions: tuple[SessionKeys, ...]) -> _Told:
    who = session.tenant.encode(), session.issuer.encode(), session.id.encode()
    hashes = [keys.mac(one.session_hash, *who).hex() for one in versions]
    return _Told(
        hash=hashes[0],
        hashes=tuple(one.encode() for one in hashes),
        fingerprint=keys.mac(versions[0].fingerprint, *who)[: keys.FINGERPRINT_BYTES].hex(),
    )
