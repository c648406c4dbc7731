"""What the tokenizer keeps while a browser fetches its session from the application: states and used assertions.

A state is a random text that is given to one browser, for a session of one issuer. It holds for five minutes and is taken once.
An assertion's ``jti`` is taken once for each issuer. Both lie in the expiring store under keyed hashes, so the store tells
nothing that could be replayed. What lies there for a state carries a tag under a key that the store does not have, over the name
as well: what the store made up or moved is no state, so nobody's state becomes another browser's (``docs/spec/sessions.md``).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from lunacore import base64url, keys
from lunacore.errors import IntegrityError
from lunacore.fields import FieldReader
from lunacore.keys import SharedMac, lp
from lunacore.stores import Entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore.keyring_source import KeyringSource, SessionKeys
    from lunacore.stores import ExpiringStore

STATE_TTL: Final = 300
"""Seconds that a state holds, and with it the browser's cookie."""

_SECRET_BYTES: Final = 32
_FORMAT_VERSION: Final = 2
_SLACK: Final = 60  # seconds by which a used assertion is remembered beyond its end, for clocks that differ
_USED: Final = b"\x01"
_STATE: Final = b"session-state"
_ASSERTION: Final = b"session-assertion"


@frozen
class PendingSession:
    """A session that a browser is about to get.

    Attributes:
        issuer: who is to vouch for it.
        browser: hash of the cookie of the browser that asked (``browser_hash``).
        return_to: where that browser goes when it has its session.
    """

    issuer: str
    browser: bytes = field(repr=False)
    return_to: str


def new_secret(random: Callable[[int], bytes]) -> str:
    """A state, or what the cookie of a browser holds: 32 random bytes as 43 characters."""
    return base64url.encode(random(_SECRET_BYTES))


def is_secret(text: str) -> bool:
    """Whether a text has the form of ``new_secret``."""
    try:
        return len(base64url.decode(text)) == _SECRET_BYTES
    except ValueError:
        return False


def browser_hash(cookie: str) -> bytes:
    """What a state keeps of the browser's cookie: 32 bytes."""
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).digest()


class SessionStates:
    """States and used assertions in an expiring store. ``now`` is passed to every call, in Unix seconds."""

    def __init__(self, store: ExpiringStore, keyring: KeyringSource, *, random: Callable[[int], bytes]) -> None:
        self._store = store
        self._keyring = keyring
        self._random = random

    def issue(self, pending: PendingSession, *, now: int) -> str:
        """A new state for a browser; it holds for ``STATE_TTL`` seconds."""
        state, expires = new_secret(self._random), now + STATE_TTL
        active = self._keyring.session_keys()[0]
        name = _name(active, _STATE, state)
        self._store.put([Entry(name, _write(active.state_tag, name, pending, expires), expires)], now)
        return state

    def take(self, state: str, *, now: int) -> PendingSession | None:
        """What the state was issued for, once; None if it never was, was taken, or has expired.

        While session keys rotate it may lie under any of them, and counts under the key that it was issued under alone.
        """
        if not is_secret(state):
            return None
        found = [self._take(one, state, now) for one in self._keyring.session_keys()]
        return next((pending for pending in found if pending is not None), None)

    def use_assertion(self, issuer: str, identifier: str, *, expires: int, now: int) -> bool:
        """Note that an issuer's assertion was used, until past its end; False if it was used before.

        While session keys rotate, processes may see different ones as active. It is noted under every one, and was used if any
        says so: of two processes that use it at once, none wins twice.
        """
        names = [_name(one, _ASSERTION, issuer, identifier) for one in self._keyring.session_keys()]
        return all(self._store.put_if_absent(Entry(name, _USED, expires + _SLACK), now) for name in names)

    def _take(self, issued_under: SessionKeys, state: str, now: int) -> PendingSession | None:
        name = _name(issued_under, _STATE, state)
        value = self._store.take(name, now)
        return None if value is None else _read(issued_under.state_tag, name, value, now)


def _name(under: SessionKeys, purpose: bytes, *parts: str) -> bytes:
    return keys.mac(under.signing, purpose, *(part.encode() for part in parts))


def _write(tag_key: bytes, name: bytes, pending: PendingSession, expires: int) -> bytes:
    parts = lp(pending.issuer.encode(), pending.browser, pending.return_to.encode())
    tagged = bytes([_FORMAT_VERSION]) + expires.to_bytes(8, "big") + parts
    return tagged + keys.entry_tag(SharedMac(tag_key), name, tagged)


def _read(tag_key: bytes, name: bytes, value: bytes, now: int) -> PendingSession | None:
    """None for what this version did not write under this name, and for what the store should have dropped by now."""
    tagged, tag = value[: -keys.ENTRY_TAG_BYTES], value[-keys.ENTRY_TAG_BYTES :]
    if tagged[:1] != bytes([_FORMAT_VERSION]) or not keys.equal(keys.entry_tag(SharedMac(tag_key), name, tagged), tag):
        return None
    try:
        expires, pending = _decode(tagged)
    except IntegrityError:
        return None
    return pending if expires > now else None


def _decode(tagged: bytes) -> tuple[int, PendingSession]:
    fields = FieldReader(tagged)
    _, expires = fields.numbers(">BQ")
    pending = PendingSession(issuer=fields.text(), browser=fields.lp(), return_to=fields.text())
    fields.finish()
    return expires, pending
