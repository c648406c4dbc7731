"""Who calls: the credential of a request is found, its provider chosen by issuer, its JWT verified once and then remembered.

Where a credential is looked for, in this order: ``Authorization``, the headers of auth proxies, the cookies of direct providers.
The first that is there is the one that counts; if it does not hold, the others are not tried.
"""

from __future__ import annotations

import hashlib
import re
from threading import Lock
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from lunacore.errors import ConfigError, StoreUnavailable, Unauthenticated
from lunacore.identity import Identity, Role, Session
from lunacore_http.identity import jwt
from lunacore_http.identity.jwks import open_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lunacore.config import IdentitySettings
    from lunacore_http.identity.jwk import Key
    from lunacore_http.identity.jwks import KeySource, Start
    from lunacore_http.identity.jwt import Lifetime, UnverifiedJWT

MAX_REMEMBERED: Final = 10_000
COOKIES: Final = ("__Host-access_token", "access_token")
"""Where a direct provider's user JWT may be. The first cannot be planted by a sibling domain, so it goes first."""

_AUTHORIZATION: Final = "authorization"
_COOKIE: Final = "cookie"
_SESSION_CLAIM: Final = "session_id"
_BEARER: Final = "bearer "
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9-]+", re.ASCII)
_NOT_FOR_JWTS: Final = ("cookie", "host", "origin", "referer", "content-type", "content-length")
_FROM_JWT: Final = (Role.USER, Role.APPLICATION, Role.DEVELOPER)


@frozen
class Presented:
    """What one request carries.

    Attributes:
        authorization: the ``Authorization`` header.
        cookies: cookies by name.
        header: any other header by name; None if it was not sent.
    """

    authorization: str | None = field(repr=False)
    cookies: Mapping[str, str] = field(repr=False)
    header: Callable[[str], str | None] = field(repr=False)


@frozen
class Caller:
    """Who sent a request.

    Attributes:
        by_cookie: the credential came in a cookie, or from a proxy that goes by one, so that a browser adds it without being
            asked: the browser rules apply.
    """

    identity: Identity
    by_cookie: bool


@frozen
class _Provider:
    settings: IdentitySettings
    audience: str
    keys: KeySource


@frozen
class _Verified:
    """A caller whose JWT holds until the Unix second ``ends``, as long as the key with this fingerprint is published."""

    caller: Caller
    keys: KeySource
    key_fingerprint: bytes = field(repr=False)
    ends: int


class Identities:
    """The configured identity providers; safe to use from several threads."""

    def __init__(
        self,
        settings: Sequence[IdentitySettings],
        *,
        public_url: str,
        max_session_ttl: int,
        now: Callable[[], float],
        start: Start | None = None,
    ) -> None:
        """Check the settings; nothing is fetched yet.

        Args:
            settings: one for each provider.
            public_url: the audience of every provider that names none.
            max_session_ttl: seconds after its issue at which a user's JWT ends at the latest. Marks of ended sessions are kept
                that long, so a session must not outlive them.
            now: the clock, in Unix seconds.
            start: runs a fetch of keys beside the request that asked for it; a thread of its own unless told otherwise.

        Raises:
            ConfigError: naming the setting that is wrong.
        """
        self._now = now
        self._max_session_ttl = max_session_ttl
        self._providers = {one.issuer: _provider(one, public_url, now, start) for one in settings}
        if len(self._providers) != len(settings):
            raise ConfigError("two identity providers have the same issuer; an issuer belongs to one")
        self._proxy_headers = tuple(dict.fromkeys(one.header.lower() for one in settings if one.kind == "proxy"))
        self._takes_cookies = any(one.direct for one in settings)
        self._remembered = _Remembered(MAX_REMEMBERED)

    def identify(self, presented: Presented) -> Caller:
        """Who sent the request.

        Raises:
            Unauthenticated: there is no credential, or it does not hold; the message says what to do.
            StoreUnavailable: the keys to verify it with cannot be had now.
        """
        text, place = self._find(presented)
        name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), place
        verified = self._remembered.get(name)
        if verified is None or not self._still_holds(verified):
            verified = self._verify(text, place)
            self._remembered.put(name, verified)
        return verified.caller

    def knows(self, tenant: str, issuer: str) -> bool:
        """Whether a provider of that tenant is configured with this issuer."""
        provider = self._providers.get(issuer)
        return provider is not None and provider.settings.tenant == tenant

    def prepare(self) -> None:
        """Begin to fetch every provider's keys, without waiting; for a process that is about to serve requests."""
        for provider in self._providers.values():
            provider.keys.prepare()

    def probe(self) -> None:
        """Look whether every provider's JWTs can be verified; where no keys were ever obtained, try once more and wait.

        Raises:
            StoreUnavailable: naming the providers whose keys cannot be had, each with its reason; for operators.
        """
        self.prepare()
        problems = [
            f"{one.settings.name} ({problem})" for one in self._providers.values() if (problem := one.keys.problem())
        ]
        if problems:
            raise StoreUnavailable(f"the keys of identity providers cannot be had: {', '.join(problems)}")

    def _find(self, presented: Presented) -> tuple[str, str]:
        """A JWT and the place it came from: ``authorization``, ``cookie``, or another header's name in lower case."""
        bearer = self._bearer(presented.authorization)
        if bearer is not None:
            return bearer, _AUTHORIZATION
        for name in self._proxy_headers:
            sent = presented.header(name) if name != _AUTHORIZATION else None
            if sent:
                return _without_scheme(sent), name
        for name in COOKIES if self._takes_cookies else ():
            sent = presented.cookies.get(name)
            if sent:
                return sent, _COOKIE
        raise Unauthenticated("no credential was sent; send a JWT as Authorization: Bearer, or log in")

    def _bearer(self, authorization: str | None) -> str | None:
        """The JWT in ``Authorization``; other schemes, such as Basic for a server in front, are nobody's here."""
        if not authorization:
            return None
        if authorization[: len(_BEARER)].lower() == _BEARER:
            return authorization[len(_BEARER) :].strip(" ")
        bare = " " not in authorization and _AUTHORIZATION in self._proxy_headers
        return authorization if bare else None

    def _still_holds(self, verified: _Verified) -> bool:
        return self._now() < verified.ends and verified.key_fingerprint in verified.keys.current().fingerprints

    def _verify(self, text: str, place: str) -> _Verified:
        unverified = jwt.parse(text)
        claims = jwt.unverified_claims(unverified)
        provider = self._providers.get(jwt.issuer_of(claims))
        if provider is None:
            raise Unauthenticated("the issuer of the JWT is no identity provider of this tokenizer; check iss")
        key = _key(provider, unverified)
        jwt.verify_signature(unverified, key)
        settings = provider.settings
        lifetime = jwt.check_claims(claims, issuer=settings.issuer, audience=provider.audience, now=self._now())
        identity = self._identity(settings, claims, lifetime)
        caller = _admit(settings, identity, place)
        return _Verified(caller, provider.keys, key.fingerprint, identity.expires or lifetime.ends)

    def _identity(self, settings: IdentitySettings, claims: Mapping[str, object], lifetime: Lifetime) -> Identity:
        role = _role(settings, claims)
        if role is not Role.USER:
            may_read = settings.may_read and role is Role.APPLICATION
            return Identity(tenant=settings.tenant, issuer=settings.issuer, role=role, may_read=may_read)
        expires = min(lifetime.ends, lifetime.issued + self._max_session_ttl)
        if expires <= self._now():
            raise Unauthenticated("the session is older than sessions.max_ttl allows; log in again")
        session_id = jwt.session_id_of(claims, settings.session_claim if settings.kind == "proxy" else _SESSION_CLAIM)
        session = Session(settings.tenant, settings.issuer, session_id)
        return Identity(settings.tenant, settings.issuer, role, session=session, expires=expires)


class _Remembered:
    """Callers by the SHA-256 of their JWT and the place it came from, the most recently used ones.

    Two dicts of half the size each: when the young one is full it becomes the old one, and what the old one held is forgotten
    unless it was used meanwhile. Reading takes no lock.
    """

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._lock = Lock()
        self._young: dict[tuple[bytes, str], _Verified] = {}
        self._old: dict[tuple[bytes, str], _Verified] = {}

    def get(self, name: tuple[bytes, str]) -> _Verified | None:
        found = self._young.get(name)
        if found is not None:
            return found
        found = self._old.get(name)
        if found is not None:
            self.put(name, found)
        return found

    def put(self, name: tuple[bytes, str], verified: _Verified) -> None:
        with self._lock:
            if len(self._young) >= self._half and name not in self._young:
                self._old, self._young = self._young, {}
            self._young[name] = verified

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


def _provider(settings: IdentitySettings, public_url: str, now: Callable[[], float], start: Start | None) -> _Provider:
    _check_settings(settings)
    keys = open_keys(
        settings.name,
        settings.jwks,
        settings.algorithms,
        private_addresses=settings.private_addresses,
        ca=settings.jwks_ca,
        now=now,
        start=start,
    )
    return _Provider(settings, settings.audience or public_url, keys)


def _check_settings(settings: IdentitySettings) -> None:
    where = f"identity[{settings.name}]"
    for name in ("name", "issuer", "tenant", "algorithms"):
        if not getattr(settings, name):
            raise ConfigError(f"{where}.{name} must not be empty")
    if settings.kind != "proxy":
        return
    if settings.direct or settings.may_read or settings.callback or settings.default:
        raise ConfigError(f"{where} is a proxy: direct, may_read, callback and default are for applications")
    if Role.USER not in settings.roles:
        raise ConfigError(f"{where}.roles must hold user: a proxy yields users only")
    if not _HEADER_NAME.fullmatch(settings.header) or settings.header.lower() in _NOT_FOR_JWTS:
        raise ConfigError(f"{where}.header must name a header that holds the proxy's JWT")
    if not settings.session_claim:
        raise ConfigError(f"{where}.session_claim must not be empty")


def _without_scheme(sent: str) -> str:
    return sent[len(_BEARER) :].strip(" ") if sent[: len(_BEARER)].lower() == _BEARER else sent


def _key(provider: _Provider, unverified: UnverifiedJWT) -> Key:
    if unverified.algorithm not in provider.settings.algorithms:
        raise Unauthenticated("the JWT is signed with an algorithm that its issuer may not use; see algorithms")
    key = provider.keys.current().select(unverified.key_id, unverified.algorithm)
    if key is None:
        key = provider.keys.renewed().select(unverified.key_id, unverified.algorithm)
    if key is None:
        raise Unauthenticated("the JWT is signed with a key that its issuer does not publish; get a new JWT")
    return key


def _role(settings: IdentitySettings, claims: Mapping[str, object]) -> Role:
    """The role in ``sub``; a proxy's ``sub`` is the user's name and says nothing of a role."""
    subject = jwt.subject_of(claims)
    if settings.kind == "proxy":
        return Role.USER
    for role in _FROM_JWT:
        if subject == role.value and subject in settings.roles:
            return role
    raise Unauthenticated("sub of the JWT must be a role that its issuer may vouch for; see roles of the provider")


def _admit(settings: IdentitySettings, identity: Identity, place: str) -> Caller:
    """Let a verified credential count where it was found, or not.

    Raises:
        Unauthenticated: the provider's JWTs are not taken from there.
    """
    if settings.kind == "proxy":
        if place != settings.header.lower():
            raise Unauthenticated("a proxy's JWT counts only in the header that the proxy sets; go through the proxy")
        # A browser's request gets this JWT from the proxy without being asked, just as it would send a cookie.
        return Caller(identity, by_cookie=True)
    if place not in (_AUTHORIZATION, _COOKIE):
        raise Unauthenticated("an application's JWT counts only as Authorization: Bearer")
    if identity.role is not Role.USER and place == _COOKIE:
        raise Unauthenticated("an application sends its JWT as Authorization: Bearer, not as a cookie")
    if identity.role is Role.USER and not settings.direct:
        raise Unauthenticated(
            "user JWTs of this application are not taken as they are; let the tokenizer make a session"
        )
    return Caller(identity, by_cookie=place == _COOKIE)
