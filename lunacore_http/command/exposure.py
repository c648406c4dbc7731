"""What of a deployment others can reach, judged from its settings alone."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lunacore.diagnosis import ok, problem, warning
from lunacore_http.command.local_identity import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunacore.config import Config
    from lunacore.diagnosis import Finding


def examine(config: Config) -> Iterator[Finding]:
    """Look at addresses, TLS and who may call."""
    yield from _public_url(config)
    yield from _listeners(config)
    yield from _applications(config)


def _public_url(config: Config) -> Iterator[Finding]:
    parts = urlsplit(config.public_url)
    local = is_loopback(parts.hostname or "")
    if parts.scheme == "http" and not local:
        yield problem(
            "tokenizer.public_url",
            f"{config.public_url} is plain HTTP on an address that others reach: tokens, keys and sessions pass in the clear",
            "set tls_certificate and tls_key, or put a TLS proxy in front, and make public_url an https:// URL",
        )
    elif local and not is_loopback(config.tokenizer.host):
        yield problem(
            "tokenizer.public_url",
            f"{config.public_url} leads every browser to its own machine, while tokenizer.host is {config.tokenizer.host}",
            "set public_url to the URL that browsers reach the tokenizer at",
        )
    else:
        yield ok("tokenizer.public_url", config.public_url)
    if parts.path:
        yield problem(
            "tokenizer.public_url", "it has a path, but the frame needs an origin of its own", "remove the path"
        )


def _listeners(config: Config) -> Iterator[Finding]:
    settings = config.tokenizer
    if not is_loopback(settings.host) and not settings.tls_certificate:
        yield warning(
            "tokenizer.host",
            f"{settings.host} takes plain HTTP from other machines",
            "let only your TLS proxy reach it, or set tls_certificate and tls_key",
        )
    operations = settings.operations.rpartition(":")[0]
    if operations and not is_loopback(operations):
        yield warning(
            "tokenizer.operations",
            f"{settings.operations} shows readiness and metrics to other machines, without asking who they are",
            "let only your monitoring reach it, or listen on 127.0.0.1",
        )


def _applications(config: Config) -> Iterator[Finding]:
    if not config.identity and not is_loopback(config.tokenizer.host):
        yield problem(
            "identity", "no application is configured, so lunacore serve refuses this address", "add an [[identity]]"
        )
    elif not config.identity:
        yield warning(
            "identity",
            "no application is configured; lunacore serve will make a local identity, which is for trying out",
            "add an [[identity]] before others use it",
        )
    for origin in config.frame.app_origins:
        parts = urlsplit(origin)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            yield warning(
                "frame.app_origins",
                f"{origin} is plain HTTP: whoever sits on the way can change the page that embeds the frame",
                "serve the application by https",
            )
