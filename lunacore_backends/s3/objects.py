"""Objects in an S3 bucket: ``s3://bucket/prefix?endpoint=…``. The service encrypts each under its own key (SSE-C).

Tickets are signed here, without any network. Calls of this program go to ``endpoint`` and carry the key of the object in their
headers; where the service ignores that key, or names another encryption, the object is refused. An object's name on the wire is
the prefix and 64 lower-case hex digits.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from minio.error import S3Error, ServerError

from lunacore import ssec
from lunacore.errors import Conflict, IntegrityError, StoreUnavailable, TokenNotFound
from lunacore.keys import KEY_BYTES
from lunacore.stores import ObjectEntry, Stat
from lunacore_backends.s3 import diagnosis
from lunacore_backends.s3.checks.bucket import Bucket
from lunacore_backends.s3.client import S3Client, S3Pool
from lunacore_backends.s3.credentials import CredentialChain
from lunacore_backends.s3.failures import Failures
from lunacore_backends.s3.reading import FIRST_BYTES, S3File
from lunacore_backends.s3.region import Region
from lunacore_backends.s3.settings import S3Settings
from lunacore_backends.s3.tickets import S3Tickets
from lunacore_backends.s3.writing import S3Writing, part_bytes_for, read_full

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from minio.datatypes import Object
    from urllib3 import BaseHTTPResponse

    from lunacore.diagnosis import Circumstances, Finding
    from lunacore.plugins import BackendURL, Surroundings
    from lunacore.stores import SignedRequest

# One CopyObject of more would take longer than an answer may.
COPY_BYTES: Final = 64 << 20
_HEX_NAME: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)", re.ASCII)
_ALGORITHM_HEADER: Final = "x-amz-server-side-encryption-customer-algorithm"
# How services refuse a key that is missing or does not belong to the object, other than by denying access.
_KEY_REFUSED: Final = frozenset({"InvalidRequest", "InvalidArgument"})
_OTHER_KEY: Final = "the object was written under another key"
_DELETE_BATCH: Final = 1000
_LIST_PAGE: Final = 1000


def open_objects(url: BackendURL, surroundings: Surroundings) -> S3Objects:
    """The object store in the bucket that the URL names. Nothing is asked of the service yet.

    Raises:
        ConfigError: an option of the URL is unknown or wrong.
    """
    settings = S3Settings.from_url(url, surroundings.setting)
    return S3Objects(settings, CredentialChain(surroundings.setting, surroundings.now))


class S3Objects:
    """An ``ObjectStore`` with ``DirectTransfer`` and ``Probe`` over an S3 bucket.

    Args:
        settings: which bucket, and how to use it.
        credentials: who signs.
        copy_bytes: objects larger than this are copied in parts of this size.
    """

    def __init__(self, settings: S3Settings, credentials: CredentialChain, *, copy_bytes: int = COPY_BYTES) -> None:
        self._settings = settings
        self._credentials = credentials
        self._copy_bytes = copy_bytes
        self._pool = S3Pool(settings)
        self._failures = Failures(settings)
        self._region = Region(settings, credentials, self._pool, self._failures)
        self._tickets = S3Tickets(settings, credentials, self._region)
        self._opened: S3Client | None = None
        self._lock = threading.Lock()

    @property
    def origin(self) -> str:
        """Origin of the bucket for browsers."""
        return self._tickets.origin

    @property
    def takes_raw(self) -> bool:
        return self._settings.encrypts

    def upload(self, name: bytes, key: bytes, *, now: int, ttl: int, size: int | None = None) -> SignedRequest:
        """As the interface says; it expires no later than the credentials that sign it."""
        return self._tickets.upload(self._key(name), key, now=now, ttl=ttl, size=size)

    def download(self, name: bytes, key: bytes, *, now: int, ttl: int, etag: str = "") -> SignedRequest:
        """As the interface says; it expires no later than the credentials that sign it."""
        return self._tickets.download(self._key(name), key, now=now, ttl=ttl, etag=etag)

    def stat(self, name: bytes, key: bytes) -> Stat | None:
        with self._failures.translated():
            try:
                headers = self._client.head(self._key(name), self._encryption(key))
            except (S3Error, ServerError):
                # The answer to a HEAD has no body to say what is wrong; that to a GET has.
                return self._explained(name, key)
        self._refuse_other_encryption(headers)
        if not headers.get("content-length", "").isdecimal():
            return self._explained(name, key)
        return Stat(int(headers["content-length"]), _etag(headers))

    def copy(self, name: bytes, key: bytes, new_name: bytes, new_key: bytes) -> Stat:
        """Whole or nothing, and of one version of the source.

        Where the service ignores ``If-None-Match`` on a copy (MinIO), two copies to one name at the same moment may both succeed.
        """
        source = self.stat(name, key)
        if source is None:
            raise TokenNotFound("there is no such object")
        self._refuse_taken(new_name)
        seals = self._encryption(new_key)
        if source.size <= self._copy_bytes:
            headers = {**self._copy_source(key, source.etag), **seals, **self._precondition}
            with self._failures.translated():
                self._client.copy(self._key(name), self._key(new_name), headers)
        elif not self._copy_parts(name, source, self._copy_source(key, source.etag), new_name, seals):
            with self.open(name, key) as file:
                return self.write(new_name, new_key, file)
        copied = self.stat(new_name, new_key)
        if copied is None:
            raise StoreUnavailable(f"{self._settings.setting}: the copy of an object is gone again")
        return copied

    def delete(self, names: Sequence[bytes]) -> None:
        keys = [self._key(name) for name in dict.fromkeys(names)]
        with self._failures.translated():
            for key in keys:
                for upload in self._client.uploads(key):
                    self._client.abort_upload(key, upload)
            versions = [(key, version) for key in keys for version in self._client.versions(key)]
            for start in range(0, len(versions), _DELETE_BATCH):
                self._client.remove(versions[start : start + _DELETE_BATCH])

    def scan(self, after: bytes = b"", limit: int = 1000) -> list[ObjectEntry]:
        """As the interface says; keys under the prefix that are no names of objects are left out."""
        prefix = self._settings.prefix
        with self._failures.translated():
            page = max(1, min(limit, _LIST_PAGE))
            listed = self._client.listed(prefix, self._key(after) if after else "", page)
            entries = (_entry(found, prefix) for found in listed)
            return list(islice((entry for entry in entries if entry is not None), max(0, limit)))

    def write(self, name: bytes, key: bytes, source: BinaryIO) -> Stat:
        part_bytes = part_bytes_for(source)
        first = read_full(source, part_bytes)
        with self._conflict_told(name):
            if len(first) < part_bytes:
                return self._put(name, key, first)
            # The precondition would refuse it only once all of it is there.
            self._refuse_taken(name)
            writing = S3Writing(self._client, self._failures, part_bytes)
            writing.upload(self._key(name), first, source, self._encryption(key), self._precondition)
            return self._confirmed(name, key)

    def open(self, name: bytes, key: bytes) -> BinaryIO:
        try:
            size, etag, first = self._beginning(name, key)
        except _NoBytesError:
            stat = self.stat(name, key)
            if stat is None:
                raise TokenNotFound("there is no such object") from None
            size, etag, first = stat.size, stat.etag, b""

        def fetch(start: int, end: int) -> bytes:
            headers = {**self._encryption(key), "if-match": f'"{etag}"'}
            return self._range(name, start, end, headers)[2]

        return cast("BinaryIO", S3File(size, first, fetch))

    def probe(self) -> None:
        """List one object at most; that takes the network, the credentials, the bucket and the right to list."""
        with self._failures.translated():
            next(iter(self._client.listed(self._settings.prefix, "", 1)), None)

    def diagnose(self, circumstances: Circumstances) -> list[Finding]:
        """Look at service, credentials and bucket closely; scratch objects are written under the prefix and removed again."""
        bucket = Bucket(
            settings=self._settings,
            credentials=self._credentials,
            region=self._region,
            pool=self._pool,
            failures=self._failures,
            circumstances=circumstances,
            key=circumstances.random(KEY_BYTES),
        )
        return diagnosis.examine(bucket)

    @property
    def _client(self) -> S3Client:
        if self._opened is None:
            with self._lock:
                region = self._region.name
                self._opened = S3Client(self._settings.address(region), region, self._credentials, self._pool)
        return self._opened

    @property
    def _precondition(self) -> dict[str, str]:
        return {"if-none-match": "*"} if self._settings.write_once else {}

    def _key(self, name: bytes) -> str:
        return self._settings.prefix + name.hex()

    def _encryption(self, key: bytes) -> dict[str, str]:
        return ssec.headers(key) if self._settings.encrypts else {}

    def _copy_source(self, key: bytes, etag: str) -> dict[str, str]:
        opens = ssec.headers(key, copy_source=True) if self._settings.encrypts else {}
        return {**opens, "x-amz-copy-source-if-match": f'"{etag}"'}

    def _copy_parts(
        self, name: bytes, source: Stat, opens: Mapping[str, str], new_name: bytes, seals: Mapping[str, str]
    ) -> bool:
        """Copy within the service, in parts; False if it has no such call for objects under customer keys (SeaweedFS)."""
        writing = S3Writing(self._client, self._failures, self._copy_bytes)
        try:
            writing.copy(
                self._key(name),
                self._key(new_name),
                size=source.size,
                source_headers=opens,
                headers=seals,
                precondition=self._precondition,
            )
        except StoreUnavailable as error:
            if isinstance(error.__cause__, S3Error) and error.__cause__.code == "NotImplemented":
                return False
            raise
        return True

    def _put(self, name: bytes, key: bytes, body: bytes) -> Stat:
        if not self._settings.write_once:
            self._refuse_taken(name)
        with self._failures.translated():
            headers = self._client.put(self._key(name), body, {**self._encryption(key), **self._precondition})
        if self._settings.encrypts and _ALGORITHM_HEADER not in headers:
            return self._confirmed(name, key)
        return Stat(len(body), _etag(headers))

    def _confirmed(self, name: bytes, key: bytes) -> Stat:
        """What is there after a write; it is taken away again if the service did not encrypt it."""
        try:
            written = self.stat(name, key)
        except IntegrityError as error:
            self.delete([name])
            raise StoreUnavailable(
                f"{self._settings.setting}: {self._settings.shown}: the service ignores the keys of objects (SSE-C); "
                "use encryption=none, with which values are sealed before they go there"
            ) from error
        if written is None:
            raise Conflict("the object was deleted while it was written")
        return written

    def _beginning(self, name: bytes, key: bytes) -> tuple[int, str, bytes]:
        """Size, ETag and first bytes of the object."""
        return self._range(name, 0, FIRST_BYTES, self._encryption(key))

    def _range(self, name: bytes, start: int, end: int, headers: Mapping[str, str]) -> tuple[int, str, bytes]:
        with self._failures.translated():
            try:
                answer = self._client.get(self._key(name), start, end, headers)
            except S3Error as error:
                raise self._refusal(name, error) from error
            body = answer.data
        self._refuse_other_encryption(answer.headers)
        size = _whole_size(answer)
        if len(body) != min(end, size) - start:
            raise StoreUnavailable(
                f"{self._settings.setting}: the service sent fewer or more bytes than were asked for"
            )
        return size, _etag(answer.headers), body

    def _explained(self, name: bytes, key: bytes) -> Stat | None:
        """What a HEAD that failed means, learned from a GET of one byte."""
        try:
            size, etag, _ = self._range(name, 0, 1, self._encryption(key))
        except TokenNotFound:
            return None
        except _NoBytesError:
            # Only a HEAD with the right key gets so far as to find out that there are none.
            raise self._failures.damaged(_OTHER_KEY) from None
        return Stat(size, etag)

    def _refusal(self, name: bytes, error: S3Error) -> Exception:
        """What the refusal of a GET means."""
        if error.code == "InvalidRange":
            return _NoBytesError()
        if error.code == "PreconditionFailed":
            return self._failures.damaged("the object was replaced while it was read")
        if self._settings.encrypts and error.code in _KEY_REFUSED:
            return self._failures.damaged("the object is not encrypted as the store was told to encrypt it")
        if self._settings.encrypts and error.code == "AccessDenied" and self._asks_for_a_key(name):
            return self._failures.damaged(_OTHER_KEY)
        return self._failures.from_answer(error)

    def _asks_for_a_key(self, name: bytes) -> bool:
        """Whether the object can be reached but for the key; services answer alike to a wrong key and to missing rights."""
        try:
            self._client.get(self._key(name), 0, 1, {})
        except S3Error as error:
            return error.code in _KEY_REFUSED
        return False

    @contextmanager
    def _conflict_told(self, name: bytes) -> Iterator[None]:
        """Raise Conflict where a write was refused since it has not the key of the object that stands in its place (MinIO)."""
        try:
            yield
        except StoreUnavailable as error:
            if isinstance(error.__cause__, S3Error) and error.__cause__.code in {"AccessDenied", *_KEY_REFUSED}:
                self._refuse_taken(name)
            raise

    def _refuse_taken(self, name: bytes) -> None:
        """Raise Conflict if there is an object of this name, under whatever key."""
        with self._failures.translated():
            try:
                self._client.get(self._key(name), 0, 1, {})
            except S3Error as error:
                if error.code == "NoSuchKey":
                    return
                if error.code != "InvalidRange" and error.code not in _KEY_REFUSED:
                    raise
        raise Conflict("the object exists already; it is written once")

    def _refuse_other_encryption(self, headers: Mapping[str, str]) -> None:
        if self._settings.encrypts and _ALGORITHM_HEADER not in headers:
            raise self._failures.damaged("the object is not encrypted under its key; does the service ignore SSE-C?")


class _NoBytesError(Exception):
    """A range of an object that has no bytes."""


def _etag(headers: Mapping[str, str]) -> str:
    return headers.get("etag", "").strip('"')


def _whole_size(answer: BaseHTTPResponse) -> int:
    """Size of the whole object, of which ``answer`` is a part."""
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    return int(found[3]) if found else len(answer.data)


def _entry(found: Object, prefix: str) -> ObjectEntry | None:
    hex_name = (found.object_name or "").removeprefix(prefix)
    if not _HEX_NAME.fullmatch(hex_name) or found.last_modified is None:
        return None
    return ObjectEntry(bytes.fromhex(hex_name), found.size or 0, int(found.last_modified.timestamp()))
