"""Tickets for an S3 bucket: presigned URLs made by ``lunacore.sigv4``, which signs every header that the client must send.

Follows the Amazon S3 API Reference, PutObject and GetObject, for what the headers mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, frozen

from lunacore import ssec
from lunacore.errors import StoreUnavailable
from lunacore.sigv4 import Signer
from lunacore.stores import SignedRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lunacore.sigv4 import Credentials
    from lunacore_backends.s3.credentials import CredentialChain
    from lunacore_backends.s3.region import Region
    from lunacore_backends.s3.settings import Address, S3Settings


@frozen
class _Signing:
    """What depends on the credentials and the region alone."""

    signer: Signer
    address: Address
    scheme: str
    host: str


@define(eq=False)
class S3Tickets:
    """Signs uploads and downloads at the address that browsers use; safe to share between threads."""

    settings: S3Settings
    credentials: CredentialChain
    region: Region
    _signing: _Signing | None = field(default=None, init=False)

    @property
    def origin(self) -> str:
        """The origin of every URL."""
        return str(self.settings.public_address(self.region.name).origin)

    def upload(self, key: str, customer_key: bytes, *, now: int, ttl: int, size: int | None) -> SignedRequest:
        """A PUT, which where ``write_once`` holds can create the object and never replace it."""
        headers = self._headers(customer_key)
        if self.settings.write_once:
            headers["if-none-match"] = "*"
        if size is not None:
            headers["content-length"] = str(size)
        return self._sign("PUT", key, headers, now, ttl)

    def download(self, key: str, customer_key: bytes, *, now: int, ttl: int, etag: str) -> SignedRequest:
        """A GET; with ``etag`` it is answered only as long as the object has that ETag."""
        headers = self._headers(customer_key)
        if etag:
            headers["if-match"] = f'"{etag}"'
        return self._sign("GET", key, headers, now, ttl)

    def _headers(self, customer_key: bytes) -> dict[str, str]:
        return ssec.headers(customer_key) if self.settings.encrypts else {}

    def _sign(self, method: str, key: str, headers: Mapping[str, str], now: int, ttl: int) -> SignedRequest:
        active = self.credentials.active(now)
        lifetime = ttl if active.expires is None else min(ttl, active.expires - now)
        if lifetime <= 0:
            raise StoreUnavailable(
                f"{self.settings.setting}: the credentials for S3 have expired; renew them at their source"
            )
        signing = self._signing_with(active.credentials)
        headers = {"host": signing.host, **headers}
        url = signing.signer.presign(
            method,
            signing.host,
            signing.address.path(key),
            headers=headers,
            now=now,
            expires=lifetime,
            scheme=signing.scheme,
        )
        return SignedRequest(method=method, url=url, headers=headers, expires=now + lifetime)

    def _signing_with(self, credentials: Credentials) -> _Signing:
        signing = self._signing
        if signing is None or signing.signer.credentials is not credentials:
            region = self.region.name
            address = self.settings.public_address(region)
            signer = Signer(credentials=credentials, region=region)
            signing = self._signing = _Signing(signer, address, address.service.scheme, address.host)
        return signing
