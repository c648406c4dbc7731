"""What went wrong at an S3 service, in LunaCore's words: which setting it concerns and how to mend it.

Codes are those of the Amazon S3 API Reference, "Error Responses", and of MinIO. Messages hold neither credentials nor keys.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from attrs import frozen
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from lunacore.errors import Conflict, IntegrityError, StoreUnavailable, TokenNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunacore_backends.s3.settings import S3Settings

RIGHTS: Final = (
    "s3:GetObject, s3:PutObject, s3:DeleteObject, s3:DeleteObjectVersion, s3:AbortMultipartUpload on the objects and "
    "s3:ListBucket, s3:ListBucketVersions, s3:ListBucketMultipartUploads, s3:GetBucketLocation on the bucket"
)

_WRONG_CREDENTIALS = "the service does not know these credentials; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_EXPIRED = "the credentials have expired; renew them at their source"
_WRONG_REGION = "the bucket is of another region; correct region=, or leave it out to have it found out"
_FULL = "the store is full; give it room or raise its quota"
_BUSY = "the service is overloaded or broken for now"
_NEEDS_TLS = "the service takes keys of objects over TLS only; use an https endpoint that ends at the service itself"

_MENDS: Final = {
    "AccessDenied": f"the credentials may not do this, or the service refuses SSE-C for the bucket; allow {RIGHTS}",
    "AllAccessDisabled": "the service has disabled the bucket",
    "AuthorizationHeaderMalformed": _WRONG_REGION,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "IllegalLocationConstraintException": _WRONG_REGION,
    "InsecureSSECustomerRequest": _NEEDS_TLS,
    "InsufficientStorage": _FULL,
    "InternalError": _BUSY,
    "InvalidAccessKeyId": _WRONG_CREDENTIALS,
    "InvalidRegion": _WRONG_REGION,
    "InvalidToken": _EXPIRED,
    "NoSuchBucket": "there is no such bucket; create it, or correct the bucket in the URL",
    "NotImplemented": "the service lacks a call that is needed",
    "PermanentRedirect": _WRONG_REGION,
    "QuotaExceeded": _FULL,
    "Redirect": _WRONG_REGION,
    "RequestTimeTooSkewed": "the clocks of this host and of the service differ by too much; set them",
    "ServiceUnavailable": _BUSY,
    "SignatureDoesNotMatch": _WRONG_CREDENTIALS,
    "SlowDown": _BUSY,
    "TokenRefreshRequired": _EXPIRED,
    "XMinioAdminBucketQuotaExceeded": _FULL,
    "XMinioServerNotInitialized": _BUSY,
    "XMinioStorageFull": _FULL,
}
_TAKEN: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})


@frozen
class Failures:
    """Translates what calls to one service raise."""

    settings: S3Settings

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise LunaCore's errors in place of those of minio-py and urllib3.

        Raises:
            Conflict: the object exists already.
            TokenNotFound: there is no such object.
            StoreUnavailable: everything else.
        """
        try:
            yield
        except S3Error as error:
            raise self.from_answer(error) from error
        except HTTPError as error:
            raise self._unavailable(self._of_connection(error)) from error
        except ServerError as error:
            if error.status_code == 412:
                raise Conflict(_EXISTS) from error
            raise self._unavailable(f"the service answered with HTTP status {error.status_code}; {_BUSY}") from error
        except (InvalidResponseError, ET.ParseError, UnicodeDecodeError) as error:
            raise self._unavailable(
                "what answers there does not speak S3; check endpoint, and that no proxy answers in its place"
            ) from error
        except ValueError as error:
            # minio-py's, at a date that is not in UTC, say.
            raise self._unavailable(
                "the service's answer cannot be read; its dates must be in UTC (start SeaweedFS with TZ=UTC)"
            ) from error

    def from_answer(self, error: S3Error) -> Conflict | TokenNotFound | StoreUnavailable:
        """What an error that the service named means."""
        code = error.code or "an unnamed error"
        if code in _TAKEN:
            return Conflict(_EXISTS)
        if code in ("NoSuchKey", "NoSuchVersion"):
            return TokenNotFound("there is no such object")
        return self._unavailable(f"{_MENDS.get(code, 'the service refuses')} ({code})")

    def damaged(self, message: str) -> IntegrityError:
        """An object that is not what was written."""
        return IntegrityError(f"{self.settings.setting}: {message}")

    def _unavailable(self, message: str) -> StoreUnavailable:
        return StoreUnavailable(f"{self.settings.setting}: {self.settings.shown}: {message}")

    def _of_connection(self, error: HTTPError) -> str:
        cause: BaseException | None = error.reason if isinstance(error, MaxRetryError) else error
        if isinstance(cause, SSLError):
            return (
                "the certificate of the service cannot be trusted; name the CA that signed it with ca=, "
                "and use the host name that it is for"
            )
        if isinstance(cause, NameResolutionError):
            return "the host name of endpoint cannot be resolved; check endpoint"
        if isinstance(cause, NewConnectionError):
            return "nothing listens there; check endpoint, and that the service runs"
        if isinstance(cause, ConnectTimeoutError):
            return "no connection could be made in time; check endpoint, firewall and network"
        if isinstance(cause, ReadTimeoutError):
            return f"no answer in {self.settings.timeout:g} seconds; the service is overloaded, or timeout= too short"
        return f"the connection broke ({type(cause).__name__})"


_EXISTS: Final = "the object exists already; it is written once"
