"""Calls to one S3 bucket: minio-py, and what it lacks.

minio-py 7 signs, sends and reads S3 requests well, but its public calls take neither ``If-None-Match`` nor a key for a CopyObject
over plain HTTP on loopback. So the calls here go through its ``_execute``, which is why its major version is pinned.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote
from xml.etree import ElementTree as ET

from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from urllib3 import PoolManager
from urllib3.util import Retry, Timeout

from lunacore_backends.s3.settings import Style

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from minio.credentials.providers import Provider
    from minio.datatypes import Object
    from urllib3 import BaseHTTPResponse

    from lunacore_backends.s3.settings import Address, S3Settings

_CONNECT_SECONDS: Final = 5.0
_CONNECTIONS: Final = 32
_BUSY: Final = (500, 502, 503, 504)
# No answer to a write leaves open whether it was done, so writes are repeated only where that makes no difference.
_REPEATABLE: Final = Retry(
    total=2,
    status_forcelist=_BUSY,
    allowed_methods=None,
    backoff_factor=0.1,
    raise_on_status=False,
    respect_retry_after_header=False,
)
_ONCE: Final = Retry(total=2, connect=2, read=False, status=0, other=0, backoff_factor=0.1)
_PART_NUMBER: Final = re.compile(r"[?&]partNumber=")

_UNKNOWN_CALL: Final = frozenset({"NotImplemented", "MethodNotAllowed"})


class S3Pool(PoolManager):
    """Connections to one service: with time limits, bounded repeats, and no redirects.

    A redirect would send the keys of objects to wherever it points. Bodies are handed on as they came, since who uploads an
    object may give it any ``Content-Encoding``.
    """

    def __init__(self, settings: S3Settings) -> None:
        super().__init__(
            maxsize=_CONNECTIONS,
            timeout=Timeout(connect=min(_CONNECT_SECONDS, settings.timeout), read=settings.timeout),
            ssl_context=settings.ssl_context,
        )

    def urlopen(self, method: str, url: str, redirect: bool = False, **options: Any) -> BaseHTTPResponse:  # type: ignore[override]  # noqa: ANN401, ARG002, FBT001, FBT002 -- urllib3's
        """As urllib3's, with the rules of this class."""
        repeatable = method in ("GET", "HEAD", "DELETE") or (method == "PUT" and _PART_NUMBER.search(url) is not None)
        options |= {"retries": _REPEATABLE if repeatable else _ONCE, "decode_content": False}
        return super().urlopen(method, url, redirect=False, **options)


class S3Client(Minio):
    """One bucket at one service, in one region.

    Keys of objects are whole, with the prefix. Every method raises what minio-py and urllib3 raise.
    """

    def __init__(self, address: Address, region: str | None, credentials: Provider, pool: PoolManager) -> None:
        super().__init__(
            address.service.host,
            secure=address.service.scheme == "https",
            region=region,
            credentials=credentials,
            http_client=pool,
        )
        self._bucket = address.bucket
        self._base_url.virtual_style_flag = address.style is Style.VIRTUAL

    def location(self) -> str:
        """The region of the bucket, by GetBucketLocation."""
        return self._get_region(self._bucket)

    def head(self, key: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Response headers of HeadObject."""
        return self._call("HEAD", key, headers=headers).headers

    def get(self, key: str, start: int, end: int, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """GetObject, bytes ``start`` to ``end`` without ``end``."""
        return self._call("GET", key, headers={**headers, "range": f"bytes={start}-{end - 1}"})

    def put(self, key: str, body: bytes, headers: Mapping[str, str]) -> Mapping[str, str]:
        """PutObject; response headers."""
        return self._call("PUT", key, body=body, headers=headers).headers

    def copy(self, key: str, new_key: str, headers: Mapping[str, str]) -> None:
        """CopyObject within the bucket."""
        _refuse_error(self._call("PUT", new_key, headers={**headers, **self._source(key)}))

    def begin_upload(self, key: str, headers: Mapping[str, str]) -> str:
        """CreateMultipartUpload; the upload's id."""
        return self._create_multipart_upload(self._bucket, key, cast("Any", dict(headers)))

    def put_part(self, key: str, upload: str, number: int, body: bytes, headers: Mapping[str, str]) -> str:
        """UploadPart; the part's ETag. ``number`` starts at 1."""
        return self._upload_part(self._bucket, key, body, cast("Any", dict(headers)), upload, number)

    def copy_part(self, key: str, new_key: str, upload: str, number: int, headers: Mapping[str, str]) -> str:
        """UploadPartCopy within the bucket; the part's ETag. ``headers`` hold the range."""
        query = {"partNumber": str(number), "uploadId": upload}
        answer = self._call("PUT", new_key, query=query, headers={**headers, **self._source(key)})
        return _refuse_error(answer).findtext("{*}ETag", "").strip('"')

    def complete_upload(self, key: str, upload: str, etags: Sequence[str], headers: Mapping[str, str]) -> None:
        """CompleteMultipartUpload."""
        root = ET.Element("CompleteMultipartUpload")
        for number, etag in enumerate(etags, start=1):
            part = ET.SubElement(root, "Part")
            ET.SubElement(part, "PartNumber").text = str(number)
            ET.SubElement(part, "ETag").text = f'"{etag}"'
        headers = {**headers, "content-type": "application/xml"}
        _refuse_error(self._call("POST", key, query={"uploadId": upload}, body=ET.tostring(root), headers=headers))

    def abort_upload(self, key: str, upload: str) -> None:
        """AbortMultipartUpload; an upload that is gone already is no error."""
        try:
            self._abort_multipart_upload(self._bucket, key, upload)
        except S3Error as error:
            if error.code != "NoSuchUpload":
                raise

    def uploads(self, key: str) -> list[str]:
        """Ids of the multipart uploads of this key that were never completed."""
        try:
            listed = self._list_multipart_uploads(self._bucket, prefix=key)
        except S3Error as error:
            if error.code in _UNKNOWN_CALL:
                return []
            raise
        return [upload.upload_id or "" for upload in listed.uploads if upload.object_name == key]

    def versions(self, key: str) -> list[str | None]:
        """Ids of all versions and delete markers of this key; None stands for the object where there are no versions."""
        try:
            listed = [*self._list_objects(self._bucket, prefix=key, include_version=True)]
        except S3Error as error:
            if error.code in _UNKNOWN_CALL:
                return [None]
            raise
        return [version.version_id for version in listed if version.object_name == key]

    def remove(self, versions: Sequence[tuple[str, str | None]]) -> None:
        """DeleteObjects, of keys and version ids."""
        targets = [DeleteObject(key, version) for key, version in versions]
        for failed in self.remove_objects(self._bucket, targets):
            if failed.code not in ("NoSuchKey", "NoSuchVersion"):
                raise S3Error(cast("Any", None), failed.code, failed.message, None, None, None)

    def listed(self, prefix: str, after: str, limit: int) -> Iterator[Object]:
        """ListObjectsV2: keys that begin with ``prefix`` and come after ``after``, pages of ``limit`` at most."""
        return self._list_objects(self._bucket, prefix=prefix, start_after=after or None, max_keys=limit)

    def _call(
        self,
        method: str,
        key: str,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> BaseHTTPResponse:
        return self._execute(
            method, self._bucket, key, body=body, headers=cast("Any", dict(headers)), query_params=cast("Any", query)
        )

    def _source(self, key: str) -> dict[str, str]:
        return {"x-amz-copy-source": quote(f"/{self._bucket}/{key}", safe="/-._~")}


def _refuse_error(answer: BaseHTTPResponse) -> ET.Element:
    """The XML of an answer; long calls are answered with 200 before they are done, and may say in the body that they failed."""
    element = ET.fromstring(answer.data.decode().strip())  # noqa: S314 -- from the service, as minio-py reads all others
    if element.tag.rpartition("}")[2] == "Error":
        raise S3Error.fromxml(answer)
    return element
