"""What ``lunacore doctor`` says of auth proxies beside their keys: settings that are allowed, and that hardly anybody wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunacore.diagnosis import warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunacore.config import Config, IdentitySettings
    from lunacore.diagnosis import Finding

# What proxies send beside their JWT, in clear text that anybody could have written.
_UNSIGNED: Final = (
    "x-forwarded-user",
    "x-forwarded-email",
    "x-auth-request-user",
    "x-remote-user",
    "remote-user",
    "x-amzn-oidc-identity",
    "x-goog-authenticated-user-id",
    "x-goog-authenticated-user-email",
)
_AWS_KEYS: Final = ("public-keys.auth.elb.", "aws-elb-public-keys")


def proxy_hints(provider: IdentitySettings, config: Config) -> Iterator[Finding]:
    """Warnings about one provider; none for an application."""
    if provider.kind != "proxy":
        return
    part = f"identity[{provider.name}]"
    if not any(one.kind == "application" and one.tenant == provider.tenant for one in config.identity):
        yield warning(
            part,
            f"the tenant {provider.tenant!r} has no application, so nobody can grant anything to the proxy's users",
            f"add an [[identity]] of kind application with tenant = {provider.tenant!r}",
        )
    if not provider.cookie and provider.header.lower() in _UNSIGNED:
        yield warning(
            part, f"{provider.header} holds a name and no JWT, so every call is refused", "name the header with the JWT"
        )
    if any(one in provider.pem for one in _AWS_KEYS):
        yield from _load_balancer(part, provider)


def _load_balancer(part: str, provider: IdentitySettings) -> Iterator[Finding]:
    if not provider.signer:
        yield warning(
            part,
            "JWTs of AWS load balancers have no aud, so every call is refused",
            "set signer to the load balancer's ARN",
        )
    if not provider.allow_padding:
        yield warning(
            part, "JWTs of AWS load balancers are padded, so every call is refused", "set allow_padding = true"
        )
