"""Sessions that the tokenizer made itself: its own cookie, read back into the user that it was made for."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from lunacore import session_cookies
from lunacore.errors import Unauthenticated
from lunacore.identity import Identity, Role
from lunacore_http.identity.remembered import Remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lunacore.config import IdentitySettings
    from lunacore.keyring_source import KeyringSource, SessionKeys

MAX_REMEMBERED: Final = 10_000


@frozen
class _Verified:
    """A user whose cookie was verified while these were the session keys."""

    identity: Identity
    expires: int
    keys: tuple[SessionKeys, ...] = field(repr=False)


def gives_sessions(settings: IdentitySettings) -> bool:
    """Whether browsers may be sent to this provider for a session."""
    return settings.kind == "application" and bool(settings.callback) and Role.USER in settings.roles


@frozen
class OwnSessions:
    """Reads session cookies.

    Attributes:
        cookie: the one name under which they count. A cookie of another name could be planted by a sibling domain.
        tenants: the tenant of every issuer that gives sessions; sessions of others are over.
        max_ttl: seconds after its issue at which a session ends at the latest, whatever its cookie says.
    """

    cookie: str
    tenants: Mapping[str, str]
    max_ttl: int
    keyring: KeyringSource = field(repr=False)
    now: Callable[[], float] = field(repr=False)
    remembered: Remembered[_Verified] = field(factory=lambda: Remembered(MAX_REMEMBERED), repr=False)

    def identify(self, text: str) -> Identity:
        """The user whom a session cookie was made for.

        A cookie that holds is remembered until it expires or the session keys change. Whether its session was ended is not for
        it to say: that is asked with every use of the session's grants.

        Raises:
            Unauthenticated: the cookie is not this tokenizer's or has expired, or its issuer gives no sessions any more.
        """
        name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), self.cookie
        verified = self.remembered.get(name)
        if verified is None or verified.keys is not self.keyring.session_keys() or verified.expires <= self.now():
            verified = self._verify(text)
            self.remembered.put(name, verified)
        return verified.identity

    def _verify(self, text: str) -> _Verified:
        now, keys = self.now(), self.keyring.session_keys()
        cookie = session_cookies.read(text, self.keyring, now=now)
        session = cookie.session
        if self.tenants.get(session.issuer) != session.tenant:
            raise Unauthenticated(
                "the issuer of the session is no identity provider with a callback any more; log in again"
            )
        expires = min(cookie.expires, cookie.issued + self.max_ttl)
        if expires <= now:
            raise Unauthenticated("the session is older than sessions.max_ttl allows; log in again")
        identity = Identity(session.tenant, session.issuer, Role.USER, session=session, expires=expires)
        return _Verified(identity, expires, keys)
