"""Tickets for objects that LunaCore's own gateway serves: presigned URLs, made without any network.

The URLs are those of S3 in path style, ``{gateway_url}/objects/<name as 64 hex digits>``, signed with AWS Signature Version 4
(see ``lunacore.sigv4``). The key of the object goes along as signed SSE-C headers, so that the URL alone is of no use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lunacore import ssec
from lunacore.errors import ConfigError
from lunacore.gateway_keys import BUCKET, REGION
from lunacore.sigv4 import Signer
from lunacore.stores import SignedRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lunacore.gateway_keys import GatewayKeys

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class GatewayTickets:
    """Signs uploads and downloads for one gateway; safe to share between threads.

    Args:
        gateway_url: base URL of the gateway, ``http`` or ``https``, with or without a path.
        keys: its credentials.
        setting: what to call the URL in error messages.

    Raises:
        ConfigError: ``gateway_url`` is no such URL.
    """

    def __init__(self, gateway_url: str, keys: GatewayKeys, *, setting: str = "gateway_url") -> None:
        parts = urlsplit(gateway_url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise ConfigError(f"{setting} must be a URL such as https://secure.example.com, without user or query")
        self._scheme = parts.scheme
        self._host = parts.netloc.lower().removesuffix(_DEFAULT_PORTS[parts.scheme])
        self._prefix = f"{parts.path.rstrip('/')}/{BUCKET}/"
        self._keys = keys
        self._signer: Signer | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port of the gateway, as browsers write it."""
        return f"{self._scheme}://{self._host}"

    def upload(self, name: bytes, key: bytes, *, now: int, ttl: int, size: int | None) -> SignedRequest:
        """A PUT that can create the object and never replace it; of ``size`` bytes exactly where given."""
        headers = self._headers(key) | {"if-none-match": "*"}
        if size is not None:
            headers["content-length"] = str(size)
        return self._sign("PUT", name, headers, now, ttl)

    def download(self, name: bytes, key: bytes, *, now: int, ttl: int, etag: str) -> SignedRequest:
        """A GET; with ``etag`` it is answered only as long as the object has that ETag."""
        headers = self._headers(key)
        if etag:
            headers["if-match"] = f'"{etag}"'
        return self._sign("GET", name, headers, now, ttl)

    def _headers(self, key: bytes) -> dict[str, str]:
        return {"host": self._host, **ssec.headers(key)}

    def _sign(self, method: str, name: bytes, headers: Mapping[str, str], now: int, ttl: int) -> SignedRequest:
        url = self._active_signer(now).presign(
            method, self._host, self._prefix + name.hex(), headers=headers, now=now, expires=ttl, scheme=self._scheme
        )
        return SignedRequest(method=method, url=url, headers=headers, expires=now + ttl)

    def _active_signer(self, now: int) -> Signer:
        credentials = self._keys.active(now)
        signer = self._signer
        if signer is None or signer.credentials is not credentials:
            signer = self._signer = Signer(credentials=credentials, region=REGION)
        return signer
