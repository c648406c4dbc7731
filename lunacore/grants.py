"""Grants: short-lived permissions of one session for one token, to store it or to read it.

A grant lies in an expiring store under HMAC(grant key, tenant ‖ session issuer ‖ session id ‖ type ‖ token), so the store tells
nothing about tokens or sessions. Its value carries a tag under a key that the store does not have, over the name as well: what
the store made up or moved is no grant. Two marks of a session are read beside its grants: *ended* voids all of them for good; the
*epoch* changes when all of a session's grants are revoked, and grants of an earlier epoch are void. Both outlive every grant that
they void (``docs/spec/grants.md``).
"""

from __future__ import annotations

import struct
from enum import StrEnum
from functools import lru_cache, reduce
from itertools import cycle
from operator import xor
from typing import TYPE_CHECKING, Final

from attrs import frozen

from lunacore import keys
from lunacore.errors import Conflict
from lunacore.keys import SharedMac
from lunacore.sessions import REMEMBERED
from lunacore.stores import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore.identity import Session
    from lunacore.keyring_source import KeyringSource, SessionKeys
    from lunacore.stores import ExpiringStore

EPOCH_BYTES: Final = 16
NO_EPOCH: Final = bytes(EPOCH_BYTES)

_TAGGED = struct.Struct(f">B{EPOCH_BYTES}sQ")
_GRANT = struct.Struct(f">B{EPOCH_BYTES}sQ{keys.ENTRY_TAG_BYTES}s")
_FORMAT_VERSION: Final = 2
_ENDED: Final = b"\x01"
_SLACK: Final = 60  # seconds by which marks outlive what they void, for clocks that differ


class GrantType(StrEnum):
    """What a grant permits; the values are those of the wire."""

    STORE = "store_token"
    READ = "read_token"


@frozen
class GrantLimits:
    """Lifetimes in seconds: of a grant by default, of a grant at most, and of a session at most."""

    default_ttl: int
    max_ttl: int
    max_session_ttl: int


class Grants:
    """Grants in an expiring store. ``now`` is passed to every call, in Unix seconds."""

    def __init__(
        self,
        store: ExpiringStore,
        keyring: KeyringSource,
        limits: GrantLimits,
        *,
        random: Callable[[int], bytes],
    ) -> None:
        self.store = store
        self._keyring = keyring
        self._random = random
        self.limits = limits

    def allow(
        self,
        session: Session,
        tokens: Sequence[bytes],
        types: Sequence[GrantType],
        *,
        now: int,
        expires: int,
    ) -> None:
        """Grant every type on every (canonical) token until the Unix second ``expires``.

        Raises:
            Conflict: the session has ended.
        """
        names = self._names(session)
        ended, epoch = _read_marks(self.store.get(names.marks, now))
        if ended:
            raise Conflict("the session has ended; let the user log in again and grant to the new session")
        tags, granted_in = names.active.tags, epoch or NO_EPOCH
        given = [names.active.grant(kind, token) for token in tokens for kind in types]
        self.store.put([Entry(name, _write_grant(tags, name, granted_in, expires), expires) for name in given], now)

    def expiries(self, session: Session, tokens: Sequence[bytes], kind: GrantType, *, now: int) -> list[int | None]:
        """For each (canonical) token, the Unix second at which its live grant ends; None where there is none."""
        names = self._names(session)
        wanted = [one.grant(kind, token) for token in tokens for one in names.versions]
        found = self.store.get([*names.marks, *wanted], now)
        marks, versions = len(names.marks), names.versions
        ended, epoch = _read_marks(found[:marks])
        if ended:
            return [None] * len(tokens)
        ends = [
            None if value is None else _read_grant(one.tags, name, value, epoch, now)
            for one, name, value in zip(cycle(versions), wanted, found[marks:], strict=False)
        ]
        return ends if len(versions) == 1 else _latest_of_each(ends, len(versions))

    def revoke(self, session: Session, tokens: Sequence[bytes]) -> None:
        """Void the session's grants of every type for these (canonical) tokens."""
        names = self._names(session)
        self.store.delete([one.grant(kind, token) for one in names.versions for token in tokens for kind in GrantType])

    def revoke_all(self, session: Session, *, now: int) -> None:
        """Void all grants that the session has; it may be granted new ones."""
        epoch = self._random(EPOCH_BYTES)
        expires = now + self.limits.max_ttl + _SLACK
        self.store.put([Entry(self._names(session).active.epoch(), epoch, expires)], now)

    def end(self, session: Session, *, now: int) -> None:
        """End the session: all its grants are void, and it can be given no new ones while it could have lived."""
        expires = now + max(self.limits.max_session_ttl, self.limits.max_ttl) + _SLACK
        self.store.put([Entry(self._names(session).active.ended(), _ENDED, expires)], now)

    def has_ended(self, session: Session, *, now: int) -> bool:
        """Whether the session was ended."""
        return _read_marks(self.store.get(self._names(session).marks, now))[0]

    def _names(self, session: Session) -> _SessionNames:
        return _names_of(session, self._keyring.session_keys())


class _SessionNames:
    """What the entries of a session are called in the store.

    ``versions`` are the names under each version of the grant key, the active one first; ``marks`` are all (ended, epoch).
    """

    __slots__ = ("active", "marks", "versions")

    def __init__(self, session: Session, keys_: Sequence[SessionKeys]) -> None:
        self.versions = tuple(_Names(one.grant, session, _tags_of(one.grant_tag)) for one in keys_)
        self.active = self.versions[0]
        self.marks = tuple(mark for one in self.versions for mark in one.marks)


class _Names:
    """The same under one version of the session key; ``tags`` makes the tags of what lies under these names."""

    __slots__ = ("_mac", "marks", "tags")

    def __init__(self, grant_key: bytes, session: Session, tags: SharedMac) -> None:
        self.tags = tags
        self._mac = SharedMac(grant_key, session.tenant.encode(), session.issuer.encode(), session.id.encode())
        self.marks = self._mac.of(b"ended"), self._mac.of(b"epoch")

    def grant(self, kind: GrantType, token: bytes) -> bytes:
        return self._mac.of(kind.encode(), token)

    def ended(self) -> bytes:
        return self.marks[0]

    def epoch(self) -> bytes:
        return self.marks[1]


_names_of = lru_cache(maxsize=REMEMBERED)(_SessionNames)


@lru_cache(maxsize=8)  # the session keys that are not retired: one, two or three while they rotate
def _tags_of(tag_key: bytes) -> SharedMac:
    return SharedMac(tag_key)


def _latest_of_each(ends: Sequence[int | None], width: int) -> list[int | None]:
    """What counts of the ``width`` values that each token may have, one under each version of the session key."""
    portions = (ends[at : at + width] for at in range(0, len(ends), width))
    return [max((expires for expires in portion if expires is not None), default=None) for portion in portions]


def _write_grant(tags: SharedMac, name: bytes, epoch: bytes, expires: int) -> bytes:
    tagged = _TAGGED.pack(_FORMAT_VERSION, epoch, expires)
    return tagged + keys.entry_tag(tags, name, tagged)


def _read_grant(tags: SharedMac, name: bytes, value: bytes, epoch: bytes | None, now: int) -> int | None:
    if len(value) != _GRANT.size:
        return None
    version, granted_in, expires, tag = _GRANT.unpack(value)
    if version != _FORMAT_VERSION or not keys.equal(keys.entry_tag(tags, name, value[: _TAGGED.size]), tag):
        return None
    if expires <= now or (epoch is not None and not keys.equal(granted_in, epoch)):
        return None
    return int(expires)


def _read_marks(found: Sequence[bytes | None]) -> tuple[bool, bytes | None]:
    """Marks come in pairs (ended, epoch), one for each version of the grant key.

    While the grant key rotates, processes may write epochs under different versions; combining them all lets each one count. An
    epoch of a size that the tokenizer never writes cannot be compared with that of any grant: the session counts as ended.
    """
    if found.count(None) == len(found):
        return False, None
    ended = any(value is not None for value in found[0::2])
    epochs = [value for value in found[1::2] if value is not None]
    if not epochs:
        return ended, None
    if any(len(epoch) != EPOCH_BYTES for epoch in epochs):
        return True, None
    combined = reduce(xor, (int.from_bytes(epoch, "big") for epoch in epochs))
    return ended, combined.to_bytes(EPOCH_BYTES, "big")
