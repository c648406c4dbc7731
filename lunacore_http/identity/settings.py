"""From the settings of identity providers to providers that can be asked; what makes no sense is refused here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from lunacore.errors import ConfigError
from lunacore_http.cookies import names_loopback
from lunacore_http.identity import assertions, proxies
from lunacore_http.identity.jwks import open_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lunacore.config import IdentitySettings
    from lunacore_http.identity.jwks import KeySource, Start


@frozen
class Provider:
    """One identity provider.

    Attributes:
        audience: the ``aud`` of its JWTs; None if they have a ``signer`` in its place.
    """

    settings: IdentitySettings
    audience: str | None
    keys: KeySource


def open_provider(
    settings: IdentitySettings, public_url: str, now: Callable[[], float], start: Start | None
) -> Provider:
    """The provider that the settings describe; nothing is fetched yet. Arguments as for ``Identities``.

    Raises:
        ConfigError: naming the setting that is wrong.
    """
    _check_settings(settings)
    _check_callback(settings, public_url)
    keys = _key_source(settings, now, start)
    audience = settings.audience or (None if settings.signer else public_url)
    return Provider(settings, audience, keys)


def _key_source(settings: IdentitySettings, now: Callable[[], float], start: Start | None) -> KeySource:
    options: Any = {
        "private_addresses": settings.private_addresses,
        "ca": settings.jwks_ca,
        "now": now,
        "start": start,
    }
    if settings.pem:
        from lunacore_http.identity.pems import open_pems  # noqa: PLC0415 - loads httpx, which files of keys do without

        return open_pems(settings.name, settings.pem, settings.algorithms, **options)
    return open_keys(settings.name, settings.jwks, settings.algorithms, **options)


def by_issuer(providers: Sequence[Provider]) -> Mapping[str, Sequence[Provider]]:
    """The providers by issuer, each issuer's in the order of their settings.

    Raises:
        ConfigError: two of them cannot be told apart by their JWTs.
    """
    by_issuer: dict[str, list[Provider]] = {}
    for one in providers:
        others = by_issuer.setdefault(one.settings.issuer, [])
        if any("application" in (one.settings.kind, other.settings.kind) for other in others):
            raise ConfigError("two identity providers have the same issuer; an application's belongs to it alone")
        if any((one.audience, one.settings.signer) == (other.audience, other.settings.signer) for other in others):
            raise ConfigError("two proxies have the same issuer, audience and signer; nothing tells their JWTs apart")
        others.append(one)
    return by_issuer


def _check_settings(settings: IdentitySettings) -> None:
    where = f"identity[{settings.name}]"
    for name in ("name", "issuer", "tenant", "algorithms"):
        if not getattr(settings, name):
            raise ConfigError(f"{where}.{name} must not be empty")
    if settings.jwks and settings.pem:
        raise ConfigError(f"{where} must have its keys either in jwks or in pem")
    proxies.check_settings(settings)


def _check_callback(settings: IdentitySettings, public_url: str) -> None:
    where = f"identity[{settings.name}]"
    if settings.audience == public_url + assertions.PATH:
        raise ConfigError(f"{where}.audience is that of one-use assertions, which must be good for nothing else")
    if settings.callback.startswith("http:") and not names_loopback(settings.callback):
        raise ConfigError(f"{where}.callback must start with https:// unless it names this machine (localhost)")
