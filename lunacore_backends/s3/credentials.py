"""Credentials for S3 from botocore's chain: environment, profiles, web identity, containers, EC2; renewed as they expire.

The order and the settings are those of the AWS SDKs ("AWS SDKs and Tools Reference Guide", standardized credential providers).
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Final

import botocore.session
from attrs import frozen
from minio.credentials.credentials import Credentials as MinioCredentials
from minio.credentials.providers import Provider

from lunacore.errors import StoreUnavailable
from lunacore.sigv4 import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable

# Asking botocore costs more than signing a ticket, and it renews credentials minutes before they expire.
_RECHECK_SECONDS: Final = 10


@frozen
class ActiveCredentials:
    """Credentials and the Unix second at which they expire, None for lasting ones."""

    credentials: Credentials
    expires: int | None
    recheck: float


class CredentialChain(Provider):
    """Finds credentials when they are first needed, remembers them and has them renewed; safe to share between threads.

    Args:
        setting: name of the setting that they are for, for messages.
        now: Unix seconds.
    """

    def __init__(self, setting: str, now: Callable[[], float]) -> None:
        self._setting = setting
        self._now = now
        self._session = botocore.session.get_session()
        self._lock = threading.Lock()
        self._active: ActiveCredentials | None = None

    def active(self, now: float) -> ActiveCredentials:
        """The credentials to sign with.

        Raises:
            StoreUnavailable: there are none, or those there are have expired and cannot be renewed.
        """
        active = self._active
        if active is not None and now < active.recheck:
            return active
        with self._lock:
            active = self._active = self._ask(now)
        return active

    def retrieve(self) -> MinioCredentials:
        """The same for minio-py."""
        credentials = self.active(self._now()).credentials
        return MinioCredentials(credentials.access_key, credentials.secret_key, credentials.session_token)

    def _ask(self, now: float) -> ActiveCredentials:
        try:
            source = self._session.get_credentials()
            found = None if source is None else source.get_frozen_credentials()
        except Exception as error:
            # Every provider raises errors of its own, and their texts may hold what a credential file holds.
            raise StoreUnavailable(
                f"{self._setting}: credentials for S3 could not be had or renewed ({type(error).__name__}); "
                "check the AWS_… variables, the profile or the web identity that they come from"
            ) from error
        if found is None or not found.access_key or not found.secret_key:
            raise StoreUnavailable(
                f"{self._setting}: there are no credentials for S3; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "or any other source that the AWS SDKs know"
            )
        expires = _expiry(source)
        return ActiveCredentials(
            credentials=Credentials(found.access_key, found.secret_key, found.token or None),
            expires=expires,
            recheck=math.inf if expires is None else now + _RECHECK_SECONDS,
        )


def _expiry(source: object) -> int | None:
    # botocore has no public name for it; without it a URL could outlive the credentials that it is signed with.
    expiry = getattr(source, "_expiry_time", None)
    return None if expiry is None else int(expiry.timestamp())
