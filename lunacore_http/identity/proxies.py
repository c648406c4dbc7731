"""Auth proxies: what is particular to identity providers of kind ``proxy``.

A proxy logs users in and passes their requests on with a signed JWT in a header or a cookie. Only the signature counts: anybody
can send a header. A proxy yields users only; its ``sub`` is a user's name and never a role.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

from lunacore.config import IdentitySettings
from lunacore.errors import ConfigError, Unauthenticated
from lunacore.identity import Role
from lunacore_http.identity import jwt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lunacore_http.identity.jwt import UnverifiedJWT

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9-]+", re.ASCII)
_NOT_FOR_JWTS: Final = ("cookie", "host", "origin", "referer", "content-type", "content-length")
# RFC 6265, section 4.1.1.
_COOKIE_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~A-Za-z0-9-]+", re.ASCII)
_OWN_COOKIES: Final = re.compile(r"(__Host-)?(access_token|lunasec_\w+)")
_FOR_PROXIES: Final = ("pem", "signer", "header", "cookie", "session_claim", "allow_padding")
_DEFAULTS: Final = {one.name: one.default for one in attrs.fields(IdentitySettings)}


def check_settings(settings: IdentitySettings) -> None:
    """See that the settings fit the provider's kind.

    Raises:
        ConfigError: naming the setting that does not.
    """
    where = f"identity[{settings.name}]"
    if settings.kind == "proxy":
        _check_proxy(where, settings)
        return
    for name in _FOR_PROXIES:
        if getattr(settings, name) != _DEFAULTS[name]:
            raise ConfigError(f"{where}.{name} is for proxies; an application has no such setting")


def place_of(settings: IdentitySettings) -> str:
    """Where the proxy puts its JWT: the header's name in lower case, or what ``cookie_place`` says."""
    return cookie_place(settings.cookie) if settings.cookie else settings.header.lower()


def cookie_place(name: str) -> str:
    """The cookie of that name, as a place that no header can be."""
    return f"cookie {name}"


def session_id_of(settings: IdentitySettings, claims: Mapping[str, object]) -> str:
    """The session id: the first of the configured claims that is there.

    Raises:
        Unauthenticated: none is there, or the first that is there holds no session id; no other is tried then.
    """
    for claim in settings.session_claim:
        if claim in claims:
            return jwt.session_id_of(claims, claim)
    named = " or ".join(settings.session_claim)
    raise Unauthenticated(f"the JWT has no {named}; its issuer must put it in, or session_claim name another claim")


def is_meant(
    settings: IdentitySettings, audience: str | None, claims: Mapping[str, object], unverified: UnverifiedJWT
) -> bool:
    """Whether a JWT of the provider's issuer says that it is for this provider, where an issuer has several."""
    if audience is not None and not jwt.made_out_to(claims, audience):
        return False
    return not settings.signer or unverified.signer == settings.signer


def check_form(settings: IdentitySettings, unverified: UnverifiedJWT) -> None:
    """Judge what only some providers' JWTs may or must have. The signer is signed with the rest, so it is only as good as that.

    Raises:
        Unauthenticated: it is padded though it must not be, or names another signer than the provider's.
    """
    if unverified.padded and not settings.allow_padding:
        raise Unauthenticated("the JWT is padded with =, which its issuer must leave out")
    if settings.signer and unverified.signer != settings.signer:
        raise Unauthenticated("the JWT is signed by another load balancer than the one configured; check signer")


def _check_proxy(where: str, settings: IdentitySettings) -> None:
    if settings.direct or settings.may_read or settings.callback or settings.default:
        raise ConfigError(f"{where} is a proxy: direct, may_read, callback and default are for applications")
    if Role.USER not in settings.roles:
        raise ConfigError(f"{where}.roles must hold user: a proxy yields users only")
    if settings.cookie:
        _check_cookie(where, settings)
    elif not _HEADER_NAME.fullmatch(settings.header) or settings.header.lower() in _NOT_FOR_JWTS:
        raise ConfigError(f"{where}.header must name a header that holds the proxy's JWT")
    if not settings.session_claim or not all(settings.session_claim):
        raise ConfigError(f"{where}.session_claim must not be empty")


def _check_cookie(where: str, settings: IdentitySettings) -> None:
    if settings.header != _DEFAULTS["header"]:
        raise ConfigError(f"{where} has both header and cookie; the proxy's JWT is taken from one place only")
    if not _COOKIE_NAME.fullmatch(settings.cookie):
        raise ConfigError(f"{where}.cookie must be a cookie's name")
    if _OWN_COOKIES.fullmatch(settings.cookie):
        raise ConfigError(
            f"{where}.cookie must not be a cookie of the tokenizer itself; let the proxy name its cookie otherwise"
        )
