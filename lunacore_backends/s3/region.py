"""The region of a bucket: what the URL says, or what the service says when it is first needed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from attrs import define, field
from minio.error import S3Error

from lunacore_backends.s3.client import S3Client

if TYPE_CHECKING:
    from urllib3 import PoolManager

    from lunacore_backends.s3.credentials import CredentialChain
    from lunacore_backends.s3.failures import Failures
    from lunacore_backends.s3.settings import S3Settings

# Answers for a bucket of any region, with the name of that region.
_ANY_REGION: Final = "us-east-1"


@define(eq=False)
class Region:
    """Finds the region once and remembers it; safe to share between threads."""

    settings: S3Settings
    credentials: CredentialChain
    pool: PoolManager
    failures: Failures
    _name: str = field(init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._name = self.settings.region

    @property
    def name(self) -> str:
        """The region's name.

        Raises:
            StoreUnavailable: it is not known yet and the service cannot be asked.
        """
        if self._name:
            return self._name
        with self._lock:
            if not self._name:
                self._name = self._ask()
            return self._name

    def _ask(self) -> str:
        with self.failures.translated():
            return self._from_head() or self._from_location()

    def _from_head(self) -> str:
        """AWS names the region to anyone, even where it refuses (S3 API Reference, HeadBucket)."""
        address = self.settings.address(_ANY_REGION)
        answer = self.pool.request("HEAD", f"{address.origin}{address.path('')}")
        return answer.headers.get("x-amz-bucket-region", "")

    def _from_location(self) -> str:
        client = S3Client(self.settings.address(_ANY_REGION), None, self.credentials, self.pool)
        try:
            return client.location()
        except S3Error as error:
            named = _region_in(error)
            if not named:
                raise
            return named


def _region_in(error: S3Error) -> str:
    """The region that an AuthorizationHeaderMalformed asks for, empty if it names none."""
    if error.code != "AuthorizationHeaderMalformed":
        return ""
    element = ET.fromstring(error.response.data.decode())  # noqa: S314 -- minio-py has read the same text already
    return element.findtext("{*}Region", "")
