"""Small objects of an S3 bucket that are written under conditions, on s3fs: records, the keyring, audit segments.

``If-None-Match: *`` creates and ``If-Match`` swaps (Amazon S3 User Guide, "Prevent object overwrites with conditional writes").
Nothing is cached, and every answer is that of the service. All calls are coroutines of fsspec's loop; ``run`` runs one from any
thread.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import aiohttp
from attrs import evolve, field, frozen
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ReadTimeoutError,
    SSLError,
)
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync
from minio.error import S3Error
from s3fs import S3FileSystem

from lunacore.errors import ConfigError, StoreUnavailable
from lunacore_backends.s3.client import S3Pool
from lunacore_backends.s3.credentials import CredentialChain
from lunacore_backends.s3.failures import Failures
from lunacore_backends.s3.region import Region
from lunacore_backends.s3.settings import S3Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from lunacore.plugins import BackendURL, Surroundings

Item = TypeVar("Item")
Result = TypeVar("Result")

RIGHTS: Final = (
    "s3:GetObject, s3:PutObject, s3:DeleteObject, s3:DeleteObjectVersion on the objects and "
    "s3:ListBucket, s3:ListBucketVersions on the bucket"
)

# Requests of one call that are under way at once, and connections of all calls together.
_AT_ONCE: Final = 16
_CONNECTIONS: Final = 64
_CONNECT_SECONDS: Final = 5.0
# Repeating is safe for every call here: writes are conditional, and say by their content whose they are.
_ATTEMPTS: Final = 3
_FIRST_PAUSE_SECONDS: Final = 0.1
_DELETE_BATCH: Final = 1000
_OPTIONS: Final = ("endpoint", "region", "ca", "style", "timeout")
_WRITE: Final = "lunacore-write"

_ABSENT: Final = frozenset({"NoSuchKey", "NoSuchVersion", "404"})
_REFUSED: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412"})
_BUSY: Final = frozenset(
    {"InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "500", "502", "503", "504"}
)
_ERRORS: Final = (BotoCoreError, ClientError, aiohttp.ClientError, OSError)


class Answered(StoreUnavailable):
    """The service refused; ``code`` is its error's."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class _Passing(StoreUnavailable):
    """May be over in a moment."""


# The first that fits counts.
_CONNECTION_FAILURES: Final[Sequence[tuple[tuple[type[BaseException], ...], type[StoreUnavailable], str]]] = (
    (
        (SSLError, aiohttp.ClientSSLError),
        StoreUnavailable,
        (
            "the certificate of the service cannot be trusted; name the CA that signed it with ca=, "
            "and use the host name that it is for"
        ),
    ),
    (
        (EndpointConnectionError,),
        _Passing,
        "nothing can be reached there; check endpoint, that its name resolves, and that the service runs",
    ),
    ((ConnectTimeoutError,), _Passing, "no connection could be made in time; check endpoint, firewall and network"),
    (
        (ReadTimeoutError, TimeoutError),
        _Passing,
        "no answer in {timeout:g} seconds; the service is overloaded, or timeout= too short",
    ),
    ((HTTPClientError, aiohttp.ClientError, ConnectionError), _Passing, "the connection broke ({name})"),
    (
        (NoCredentialsError,),
        StoreUnavailable,
        (
            "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or any other source that the AWS SDKs know"
        ),
    ),
    ((ResponseParserError,), StoreUnavailable, "what answers there does not speak S3; check endpoint"),
)


@frozen
class Stored:
    """An object as it was read.

    Attributes:
        version: empty where the bucket keeps no versions.
        write: what its writer called the write, empty if it gave none.
    """

    data: bytes = field(repr=False)
    etag: str
    version: str
    write: str = ""


@frozen
class Page:
    """Part of a listing: keys in ascending order, and whether there are more."""

    keys: Sequence[str]
    goes_on: bool


def settings_of(url: BackendURL, setting: str) -> S3Settings:
    """What a URL says of a bucket for small objects: without the options that are for values.

    Raises:
        ConfigError: an option is unknown or wrong.
    """
    url.refuse_unknown_options(setting, *_OPTIONS)
    # No customer key travels with a small object, so what the settings demand for such keys is not asked.
    settings = S3Settings.from_url(evolve(url, options={**url.options, "encryption": "none"}), setting)
    if settings.endpoint is not None and not settings.endpoint.keeps_secrets:
        raise ConfigError(
            f"{setting}: endpoint is http, so whoever is on the way could answer with what was there before; use https"
        )
    return settings


def connect(url: BackendURL, surroundings: Surroundings) -> ConditionalObjects:
    """The objects of the bucket that a URL names; its region is asked for if the URL does not say.

    Raises:
        ConfigError: an option of the URL is unknown or wrong.
        StoreUnavailable: the service cannot be asked for the region.
    """
    settings = settings_of(url, surroundings.setting)
    credentials = CredentialChain(surroundings.setting, surroundings.now)
    region = Region(settings, credentials, S3Pool(settings), Failures(settings)).name
    return ConditionalObjects(settings, region, url.options.get("ca", ""))


async def in_parallel(work: Callable[[Item], Awaitable[Result]], items: Iterable[Item]) -> list[Result]:
    """Do the work for each item, some at once; the results in the order of the items.

    After a failure nothing more is begun, what is under way is waited for, and the first failure is raised.
    """
    todo = list(items)
    numbers = iter(range(len(todo)))
    results: dict[int, Result] = {}
    failures: list[Exception] = []

    async def worker() -> None:
        for number in numbers:
            try:
                results[number] = await work(todo[number])
            except Exception as failure:  # noqa: BLE001 -- raised below
                failures.append(failure)
            if failures:
                return

    await asyncio.gather(*(worker() for _ in range(min(_AT_ONCE, len(todo)))))
    if failures:
        raise failures[0]
    return [results[number] for number in range(len(todo))]


class ConditionalObjects:
    """The objects of one bucket; keys are whole, with the prefix. Every call raises ``StoreUnavailable``.

    Args:
        settings: which bucket, and how to reach it.
        region: of the bucket.
        ca: file of the CA that signed the service's certificate, empty for those of the system.
    """

    def __init__(self, settings: S3Settings, region: str, ca: str) -> None:
        self.settings = settings
        self._failures = Failures(settings)
        self._closed = False
        self._files = S3FileSystem(
            endpoint_url=str(settings.address(region).service),
            client_kwargs={
                "region_name": region,
                "verify": ca or ssl.get_default_verify_paths().cafile or True,
            },
            config_kwargs={
                "connect_timeout": min(_CONNECT_SECONDS, settings.timeout),
                "read_timeout": settings.timeout,
                "max_pool_connections": _CONNECTIONS,
                "proxies": {},
                "retries": {"total_max_attempts": 1},
                "s3": {"addressing_style": settings.style.value},
                "signature_version": "s3v4",
                # Other services than AWS do not all know the newer checksums.
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            },
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        # s3fs would repeat by itself, and for other reasons.
        self._files.retries = 1

    def run(self, work: Callable[..., Awaitable[Result]], *arguments: object) -> Result:
        """Run a coroutine on fsspec's loop, and wait for it."""
        if self._closed:
            raise StoreUnavailable(f"{self.settings.setting}: the store is closed")
        return cast("Result", sync(self._files.loop, work, *arguments))

    def close(self) -> None:
        """Close the connections; calls after that raise ``StoreUnavailable``."""
        if self._closed:
            return
        self._closed = True
        creator = getattr(self._files, "_s3creator", None)
        if creator is not None:
            sync(self._files.loop, creator.__aexit__, None, None, None)

    async def read(self, key: str) -> Stored | None:
        """The object, None if there is none."""
        return await self._repeated(self._read, key)

    async def create(self, key: str, data: bytes, write: str = "") -> bool:
        """Write the object if there is none; say whether it was written.

        ``write``, in ASCII, is kept beside the data, so that the writer knows its own write again if the answer is lost.
        """
        return await self._put(key, data, write, {"IfNoneMatch": "*"}) is not None

    async def swap(self, key: str, data: bytes, old: Stored, write: str = "") -> bool:
        """Write the object if it is still ``old``, and remove the version ``old``; say whether it was written."""
        version = await self._put(key, data, write, {"IfMatch": old.etag})
        if version is None:
            return False
        # Where versioning is suspended, both are called "null", and the old one is gone already.
        if old.version and version and old.version != version:
            await self._remove_replaced(key, old.version)
        return True

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove the objects, and all their versions where the bucket keeps them; absent ones are no error."""
        marked: list[str] = []
        for start in range(0, len(keys), _DELETE_BATCH):
            deleted = await self._delete([{"Key": key} for key in keys[start : start + _DELETE_BATCH]])
            marked += [entry["Key"] for entry in deleted if entry.get("DeleteMarker")]
        await in_parallel(self._remove_versions, marked)

    async def page(self, prefix: str, after: str, limit: int) -> Page:
        """Up to ``limit`` keys with the prefix that come after ``after``."""
        query = {"Prefix": prefix, "MaxKeys": limit} | ({"StartAfter": after} if after else {})
        answer = await self._repeated(self._call, "list_objects_v2", query)
        return Page([entry["Key"] for entry in answer.get("Contents", [])], bool(answer.get("IsTruncated")))

    async def _read(self, key: str) -> Stored | None:
        try:
            answer = await self._call("get_object", {"Key": key})
        except Answered as answered:
            if answered.code in _ABSENT:
                return None
            raise
        try:
            async with answer["Body"] as body:
                data = await body.read()
        except _ERRORS as error:
            raise self._translated(error) from error
        write = answer.get("Metadata", {}).get(_WRITE, "")
        return Stored(data, answer["ETag"], answer.get("VersionId", ""), write)

    async def _put(self, key: str, data: bytes, write: str, condition: Mapping[str, str]) -> str | None:
        """The version that was written, empty where the bucket keeps none; None where the condition did not hold."""
        metadata = {"Metadata": {_WRITE: write}} if write else {}
        try:
            answer = await self._repeated(self._call, "put_object", {"Key": key, "Body": data, **metadata, **condition})
        except Answered as answered:
            if answered.code in _REFUSED or answered.code in _ABSENT:
                return None
            raise
        return str(answer.get("VersionId", ""))

    async def _remove_replaced(self, key: str, version: str) -> None:
        try:
            await self._delete([{"Key": key, "VersionId": version}])
        except StoreUnavailable:
            return  # the swap is done; removing the object removes this version too

    async def _remove_versions(self, key: str) -> None:
        versions, markers = await self._versions(key)
        # Without its marker the object would be back until its last version is gone.
        for found in (versions, markers):
            for start in range(0, len(found), _DELETE_BATCH):
                await self._delete(found[start : start + _DELETE_BATCH])

    async def _versions(self, key: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        versions: list[dict[str, str]] = []
        markers: list[dict[str, str]] = []
        query: dict[str, Any] = {"Prefix": key}
        while True:
            answer = await self._repeated(self._call, "list_object_versions", query)
            for part, found in (("Versions", versions), ("DeleteMarkers", markers)):
                entries = [entry for entry in answer.get(part, []) if entry["Key"] == key]
                found += [{"Key": key, "VersionId": entry["VersionId"]} for entry in entries]
            if not answer.get("IsTruncated"):
                return versions, markers
            query = {
                "Prefix": key,
                "KeyMarker": answer["NextKeyMarker"],
                "VersionIdMarker": answer.get("NextVersionIdMarker", ""),
            }

    async def _delete(self, targets: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
        answer = await self._repeated(self._call, "delete_objects", {"Delete": {"Objects": targets}})
        for failed in answer.get("Errors", []):
            if failed.get("Code") not in _ABSENT:
                raise self._answered(str(failed.get("Code")))
        return cast("list[dict[str, Any]]", answer.get("Deleted", []))

    async def _repeated(self, work: Callable[..., Awaitable[Result]], *arguments: object) -> Result:
        pause = _FIRST_PAUSE_SECONDS
        for _ in range(_ATTEMPTS - 1):
            try:
                return await work(*arguments)
            except _Passing:
                await asyncio.sleep(pause)
                pause *= 2
        return await work(*arguments)

    async def _call(self, method: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- botocore's answers
        try:
            return await self._files._call_s3(method, Bucket=self.settings.bucket, **arguments)  # noqa: SLF001 -- the async side of s3fs's call_s3
        except _ERRORS as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> StoreUnavailable:
        # s3fs turns many answers into errors of Python and keeps botocore's as the cause.
        cause = error.__cause__ if isinstance(error.__cause__, ClientError) else error
        if isinstance(cause, ClientError):
            return self._answered(str(cause.response.get("Error", {}).get("Code", "")))
        return self._of_connection(cause)

    def _answered(self, code: str) -> StoreUnavailable:
        if code in _BUSY:
            return _Passing(self._said(f"the service is overloaded or broken for now ({code})"))
        if code == "AccessDenied":
            return Answered(self._said(f"the credentials may not do this; allow {RIGHTS} ({code})"), code)
        told = self._failures.from_answer(S3Error(cast("Any", None), code, None, None, None, None))
        return Answered(told.message, code)

    def _of_connection(self, error: BaseException) -> StoreUnavailable:
        for kinds, kind, message in _CONNECTION_FAILURES:
            if isinstance(error, kinds):
                return kind(self._said(message.format(name=type(error).__name__, timeout=self.settings.timeout)))
        # Texts of other errors may hold what a credential file holds.
        return StoreUnavailable(
            self._said(f"the call could not be made ({type(error).__name__}); check endpoint and credentials")
        )

    def _said(self, message: str) -> str:
        return f"{self.settings.setting}: {self.settings.shown}: {message}"
