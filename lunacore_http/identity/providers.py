"""Who calls: the credential of a request is found, its provider chosen by issuer, its JWT verified once and then remembered.

Where a credential is looked for, in this order: ``Authorization``, the headers and then the cookies of auth proxies, the
tokenizer's own session cookie, the cookies of direct providers.
The first that is there is the one that counts; if it does not hold, the others are not tried.
"""

from __future__ import annotations

import hashlib
from itertools import chain
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from lunacore import session_cookies
from lunacore.errors import InvalidRequest, StoreUnavailable, Unauthenticated
from lunacore.identity import Identity, Role, Session
from lunacore_http.cookies import session_cookie_name
from lunacore_http.identity import assertions, jwt, proxies
from lunacore_http.identity.own_sessions import OwnSessions, gives_sessions
from lunacore_http.identity.remembered import Remembered
from lunacore_http.identity.settings import by_issuer, open_provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lunacore.config import IdentitySettings
    from lunacore.keyring_source import KeyringSource
    from lunacore_http.identity.assertions import Assertion
    from lunacore_http.identity.jwk import Key
    from lunacore_http.identity.jwks import KeySource, Start
    from lunacore_http.identity.jwt import Lifetime, UnverifiedJWT
    from lunacore_http.identity.settings import Provider

MAX_REMEMBERED: Final = 10_000
COOKIES: Final = ("__Host-access_token", "access_token")
"""Where a direct provider's user JWT may be. The first cannot be planted by a sibling domain, so it goes first."""

_AUTHORIZATION: Final = "authorization"
_COOKIE: Final = "cookie"
_OWN_SESSION: Final = "session cookie"
_SESSION_CLAIM: Final = "session_id"
_BEARER: Final = "bearer "
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
class _Verified:
    """A caller whose JWT holds until the Unix second ``ends``, as long as its key is published."""

    caller: Caller
    keys: KeySource
    key: Key
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
        keyring: KeyringSource | None = None,
    ) -> None:
        """Check the settings; nothing is fetched yet.

        Args:
            settings: one for each provider.
            public_url: the audience of every provider that names none.
            max_session_ttl: seconds after its issue at which a user's JWT ends at the latest. Marks of ended sessions are kept
                that long, so a session must not outlive them.
            now: the clock, in Unix seconds.
            start: runs a fetch of keys beside the request that asked for it; a thread of its own unless told otherwise.
            keyring: verifies the tokenizer's own session cookies; without it none is taken.

        Raises:
            ConfigError: naming the setting that is wrong.
        """
        self._now = now
        self._max_session_ttl = max_session_ttl
        self._providers = by_issuer([open_provider(one, public_url, now, start) for one in settings])
        behind = [one for one in settings if one.kind == "proxy"]
        self._proxy_headers = tuple(dict.fromkeys(one.header.lower() for one in behind if not one.cookie))
        self._proxy_cookies = tuple(dict.fromkeys(one.cookie for one in behind if one.cookie))
        self._allow_padding = any(one.allow_padding for one in behind)
        self._takes_cookies = any(one.direct for one in settings)
        self._remembered: Remembered[_Verified] = Remembered(MAX_REMEMBERED)
        self._assertion_audience = public_url + assertions.PATH
        self._applications = {one.settings.issuer: one for one in self._all() if gives_sessions(one.settings)}
        self._own_sessions: OwnSessions | None = None
        if keyring is not None and self._applications:
            tenants = {issuer: one.settings.tenant for issuer, one in self._applications.items()}
            self._own_sessions = OwnSessions(
                session_cookie_name(public_url), tenants, max_ttl=max_session_ttl, keyring=keyring, now=now
            )

    def identify(self, presented: Presented) -> Caller:
        """Who sent the request.

        Raises:
            Unauthenticated: there is no credential, or it does not hold; the message says what to do.
            StoreUnavailable: the keys to verify it with cannot be had now.
        """
        text, place = self._find(presented)
        if place == _OWN_SESSION and self._own_sessions is not None:
            return Caller(self._own_sessions.identify(text), by_cookie=True)
        name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), place
        verified = self._remembered.get(name)
        if verified is None or not self._still_holds(verified):
            verified = self._verify(text, place)
            self._remembered.put(name, verified)
        return verified.caller

    def application(self, name: str | None) -> IdentitySettings:
        """The application that gives sessions: by name, or the default one.

        Raises:
            InvalidRequest: there is no such one.
        """
        asked = [one.settings for one in self._applications.values()]
        found = [one for one in asked if (one.default if name is None else one.name == name)]
        if not found:
            wanted = "provider is missing, and no identity provider with a callback is the default"
            unknown = "provider must name an identity provider that has a callback"
            raise InvalidRequest(wanted if name is None else unknown, field="provider")
        return found[0]

    def assertion(self, text: str, *, issuer: str, nonce: str) -> Assertion:
        """Verify a one-use assertion of the application ``issuer``, made for the state ``nonce``; that it was not used before is
        for the caller to see.

        Raises:
            Unauthenticated: it does not hold; the message says what to do.
            StoreUnavailable: the keys to verify it with cannot be had now.
        """
        unverified = jwt.parse(text)
        claims = jwt.unverified_claims(unverified)
        provider = self._applications.get(issuer)
        if provider is None or jwt.issuer_of(claims) != issuer:
            raise Unauthenticated("the assertion is not of the identity provider that was asked for the session")
        jwt.verify_signature(unverified, _key(provider, unverified))
        return assertions.judge(
            claims,
            tenant=provider.settings.tenant,
            issuer=issuer,
            audience=self._assertion_audience,
            nonce=nonce,
            now=self._now(),
        )

    def knows(self, tenant: str, issuer: str) -> bool:
        """Whether a provider of that tenant is configured with this issuer."""
        return any(one.settings.tenant == tenant for one in self._providers.get(issuer, ()))

    def prepare(self) -> None:
        """Begin to fetch every provider's keys, without waiting; for a process that is about to serve requests."""
        for provider in self._all():
            provider.keys.prepare()

    def probe(self) -> None:
        """Look whether every provider's JWTs can be verified; where no keys were ever obtained, try once more and wait.

        Raises:
            StoreUnavailable: naming the providers whose keys cannot be had, each with its reason; for operators.
        """
        self.prepare()
        problems = [f"{one.settings.name} ({problem})" for one in self._all() if (problem := one.keys.problem())]
        if problems:
            raise StoreUnavailable(f"the keys of identity providers cannot be had: {', '.join(problems)}")

    def _find(self, presented: Presented) -> tuple[str, str]:
        """A JWT and the place it came from: ``authorization``, ``cookie``, another header in lower case, a proxy's cookie."""
        bearer = self._bearer(presented.authorization)
        if bearer is not None:
            return bearer, _AUTHORIZATION
        for name in self._proxy_headers:
            sent = presented.header(name) if name != _AUTHORIZATION else None
            if sent:
                return _without_scheme(sent), name
        for name in self._proxy_cookies:
            sent = presented.cookies.get(name)
            if sent:
                return sent, proxies.cookie_place(name)
        own = self._own_sessions
        if own is not None and presented.cookies.get(own.cookie, "").startswith(session_cookies.PREFIX):
            return presented.cookies[own.cookie], _OWN_SESSION
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
        return self._now() < verified.ends and verified.keys.holds(verified.key)

    def _verify(self, text: str, place: str) -> _Verified:
        unverified = jwt.parse(text, allow_padding=self._allow_padding)
        claims = jwt.unverified_claims(unverified)
        provider = self._provider_of(claims, unverified)
        settings = provider.settings
        proxies.check_form(settings, unverified)
        key = _key(provider, unverified)
        jwt.verify_signature(unverified, key)
        lifetime = self._lifetime(provider, claims)
        identity = self._identity(settings, claims, lifetime)
        caller = _admit(settings, identity, place)
        return _Verified(caller, provider.keys, key, identity.expires or lifetime.ends)

    def _all(self) -> Iterator[Provider]:
        return chain.from_iterable(self._providers.values())

    def _provider_of(self, claims: Mapping[str, object], unverified: UnverifiedJWT) -> Provider:
        """The provider whose JWT this claims to be; if its issuer has several, the one that it is for."""
        candidates = self._providers.get(jwt.issuer_of(claims))
        if candidates is None:
            raise Unauthenticated("the issuer of the JWT is no identity provider of this tokenizer; check iss")
        meant = (one for one in candidates if proxies.is_meant(one.settings, one.audience, claims, unverified))
        return next(meant, candidates[0])

    def _lifetime(self, provider: Provider, claims: Mapping[str, object]) -> Lifetime:
        settings, now = provider.settings, self._now()
        lifetime = jwt.check_claims(
            claims, issuer=settings.issuer, audience=provider.audience, now=now, issued_required=not settings.signer
        )
        if "iat" not in claims and lifetime.ends > now + self._max_session_ttl:
            raise Unauthenticated(
                "the JWT has no iat, and lasts longer than sessions.max_ttl; get one that ends sooner"
            )
        return lifetime

    def _identity(self, settings: IdentitySettings, claims: Mapping[str, object], lifetime: Lifetime) -> Identity:
        role = _role(settings, claims)
        if role is not Role.USER:
            may_read = settings.may_read and role is Role.APPLICATION
            return Identity(tenant=settings.tenant, issuer=settings.issuer, role=role, may_read=may_read)
        expires = min(lifetime.ends, lifetime.issued + self._max_session_ttl)
        if expires <= self._now():
            raise Unauthenticated("the session is older than sessions.max_ttl allows; log in again")
        session_id = _session_id(settings, claims)
        session = Session(settings.tenant, settings.issuer, session_id)
        return Identity(settings.tenant, settings.issuer, role, session=session, expires=expires)


def _session_id(settings: IdentitySettings, claims: Mapping[str, object]) -> str:
    if settings.kind == "proxy":
        return proxies.session_id_of(settings, claims)
    return jwt.session_id_of(claims, _SESSION_CLAIM)


def _without_scheme(sent: str) -> str:
    return sent[len(_BEARER) :].strip(" ") if sent[: len(_BEARER)].lower() == _BEARER else sent


def _key(provider: Provider, unverified: UnverifiedJWT) -> Key:
    if unverified.algorithm not in provider.settings.algorithms:
        raise Unauthenticated("the JWT is signed with an algorithm that its issuer may not use; see algorithms")
    key = provider.keys.find(unverified.key_id, unverified.algorithm)
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
        if place != proxies.place_of(settings):
            raise Unauthenticated(
                "a proxy's JWT counts only in the place where the proxy puts it; go through the proxy"
            )
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
