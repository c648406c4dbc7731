"""One GET of a URL that holds keys, guarded against a URL that leads elsewhere than it should, and bounded in size and time."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

import httpx
from attrs import field, frozen

from lunacore.errors import ConfigError
from lunacore_http.identity.jwk import MAX_SET_BYTES, KeySetError

if TYPE_CHECKING:
    from collections.abc import Callable

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

FETCH_SECONDS: Final = 5

KEY_ID: Final = "{kid}"
"""What stands for the key id in a URL of single keys."""

# Buckets say 403 to whoever may not list them.
_NOTHING_THERE: Final = (httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND, httpx.codes.GONE)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class KeyNotPublished(KeySetError):
    """The URL answers that there is nothing there."""


@frozen
class Fetch:
    """One GET of a URL that holds keys: no redirects, no proxies, 64 KiB, five seconds in all, and an allowed peer.

    The peer is judged by the address that the connection really has, before anything is sent: what a name resolves to at some
    other moment does not matter.

    Attributes:
        trust: makes the TLS context; called once for each fetch, so that renewed certificates count.
    """

    url: str
    private_addresses: bool
    trust: Callable[[], ssl.SSLContext] = field(repr=False)

    def __call__(self) -> bytes:
        """The body.

        Raises:
            KeySetError: saying why there is none.
        """
        try:
            return asyncio.run(self._get())
        except TimeoutError:
            raise KeySetError(f"{self.url} did not answer within {FETCH_SECONDS} seconds") from None
        except httpx.HTTPError as problem:
            raise KeySetError(f"{self.url} cannot be reached: {str(problem) or type(problem).__name__}") from None
        except (OSError, ValueError) as problem:
            raise KeySetError(f"{self.url} cannot be fetched: {problem}") from None

    async def _get(self) -> bytes:
        async with (
            asyncio.timeout(FETCH_SECONDS),
            httpx.AsyncClient(verify=self.trust(), trust_env=False, follow_redirects=False, timeout=None) as client,  # noqa: S113 - the line above
            client.stream(
                "GET",
                self.url,
                headers={
                    "accept": "application/json, application/x-pem-file, */*;q=0.5",
                    "accept-encoding": "identity",
                },
                extensions={"trace": self._judge_peer},
            ) as answer,
        ):
            if answer.status_code in _NOTHING_THERE:
                raise KeyNotPublished(f"{self.url} answered {answer.status_code}")
            if answer.status_code != httpx.codes.OK:
                hint = "; redirects are not followed, name the last URL" if answer.is_redirect else ""
                raise KeySetError(f"{self.url} answered {answer.status_code}{hint}")
            if "content-encoding" in answer.headers:
                raise KeySetError(f"{self.url} answered with a content-encoding, which was not asked for")
            return await self._body(answer)

    async def _body(self, answer: httpx.Response) -> bytes:
        body = bytearray()
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) > MAX_SET_BYTES:
                raise KeySetError(f"{self.url} answered with more than {MAX_SET_BYTES} bytes")
        return bytes(body)

    async def _judge_peer(self, event: str, details: dict[str, Any]) -> None:
        if event != "connection.connect_tcp.complete":
            return
        stream = details["return_value"]
        peer = ipaddress.ip_address(stream.get_extra_info("server_addr")[0].partition("%")[0])
        problem = peer_problem(self.url, peer, private_addresses=self.private_addresses)
        if problem is not None:
            await stream.aclose()
            raise KeySetError(problem)


def peer_problem(url: str, peer: Address, *, private_addresses: bool) -> str | None:
    """Why keys may not be fetched from this address, or None.

    A URL that names loopback leads to loopback. Otherwise the address must be a public one or, with ``private_addresses``, any
    but multicast, unspecified and link-local ones, among which clouds keep their metadata servers.
    """
    peer = _embedded(peer)
    if _names_loopback(url):
        return None if peer.is_loopback else f"{url} leads to {peer}, which is not a loopback address"
    if peer.is_multicast or peer.is_unspecified or peer.is_link_local:
        return f"{url} leads to {peer}, from which keys are never fetched"
    if private_addresses or peer.is_global:
        return None
    return f"{url} leads to the private address {peer}; if that is right, set private_addresses = true"


def _embedded(peer: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if not isinstance(peer, ipaddress.IPv6Address):
        return peer
    if peer in _NAT64:
        return ipaddress.IPv4Address(int(peer) & 0xFFFFFFFF)
    teredo = peer.teredo
    return peer.ipv4_mapped or peer.sixtofour or (teredo[1] if teredo else None) or peer


def _names_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_url(name: str, url: str) -> str:
    """The URL of a JWK Set, if keys of the provider ``name`` may be fetched from such a one.

    Raises:
        ConfigError: they may not.
    """
    setting = f"identity[{name}].jwks"
    _check_url(setting, url)
    if "{" in url:
        raise ConfigError(
            f"{setting} holds a placeholder; where there is one PEM for each kid, use pem in place of jwks"
        )
    return url


def checked_template(name: str, template: str) -> str:
    """The URL of single keys, ``{kid}`` once in its path, if keys of the provider ``name`` may be fetched from such ones.

    Raises:
        ConfigError: they may not.
    """
    setting = f"identity[{name}].pem"
    example = template.replace(KEY_ID, "kid")
    _check_url(setting, example)
    if KEY_ID not in urlsplit(template).path or template.count("{") != 1:
        raise ConfigError(f"{setting} must hold {KEY_ID} once, in its path: https://keys.example.com/{KEY_ID}")
    return template


def _check_url(setting: str, url: str) -> None:
    try:
        host, parts = httpx.URL(url).host, urlsplit(url)
    except (httpx.InvalidURL, ValueError):
        raise ConfigError(f"{setting} is no URL that could be fetched") from None
    if parts.scheme not in ("http", "https") or not host or not parts.hostname:
        raise ConfigError(f"{setting} must be a URL such as https://app.example.com/.lunasec/jwks.json, or file:///…")
    if parts.username is not None or parts.fragment:
        raise ConfigError(f"{setting} must hold neither a user name nor a fragment")
    if parts.scheme == "http" and not _names_loopback(url):
        raise ConfigError(f"{setting} must start with https:// unless it names a loopback address")


def trusted_certificates(name: str, ca: str) -> Callable[[], ssl.SSLContext]:
    """What makes TLS contexts that trust the PEM file ``ca``, or the system's certificates if it is empty.

    Raises:
        ConfigError: the file cannot be read, or holds no certificates.
    """

    def context() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=ca or None)

    try:
        context()
    except (OSError, ssl.SSLError):
        raise ConfigError(f"identity[{name}].jwks_ca must name a readable PEM file of certificates") from None
    return context
