"""A bucket under examination: requests whose refusals are answers to look at, not errors.

Requests are signed by ``lunacore.sigv4`` and by the clock that the examination is given, so that a wrong one shows.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import ssl
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, cast
from xml.etree import ElementTree as ET

from attrs import define, evolve, field, frozen
from minio.error import S3Error

from lunacore import ssec
from lunacore.sigv4 import Signer, encode_path, encode_query
from lunacore_backends.s3.client import S3Pool
from lunacore_backends.s3.tickets import S3Tickets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from urllib3 import PoolManager

    from lunacore.diagnosis import Circumstances
    from lunacore_backends.s3.credentials import CredentialChain
    from lunacore_backends.s3.failures import Failures
    from lunacore_backends.s3.region import Region
    from lunacore_backends.s3.settings import Address, S3Settings

CUSTOMER_KEY_HEADER: Final = "x-amz-server-side-encryption-customer-algorithm"
_TICKET_SECONDS: Final = 300
_DENIED: Final = frozenset({"AccessDenied", "AccessForbidden", "Forbidden"})
_LACKING: Final = frozenset({"NotImplemented", "MethodNotAllowed"})


@frozen
class Needs:
    """The rights that the credentials need, by what they are for.

    Attributes:
        objects: on the objects under the prefix.
        listing: on the bucket, limited to the prefix.
        bucket: on the bucket.
    """

    objects: tuple[str, ...]
    listing: tuple[str, ...]
    bucket: tuple[str, ...]


_CHANGE: Final = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion")
_LIST: Final = ("s3:ListBucket", "s3:ListBucketVersions")
VALUES: Final = Needs(
    (*_CHANGE, "s3:AbortMultipartUpload"), _LIST, ("s3:ListBucketMultipartUploads", "s3:GetBucketLocation")
)
RECORDS: Final = Needs(_CHANGE, _LIST, ("s3:GetBucketLocation",))


@frozen
class Answer:
    """What a service answered."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def fine(self) -> bool:
        """Whether the service did what it was asked for."""
        return 200 <= self.status < 300 and self.code == ""

    @property
    def code(self) -> str:
        """The code of the error that the service named, empty if it named none."""
        element = self.xml()
        return "" if element is None or not element.tag.endswith("Error") else element.findtext("{*}Code", "")

    @property
    def denied(self) -> bool:
        """Whether the credentials may not do it. The answer to a HEAD has no body to say so."""
        return self.code in _DENIED or (self.status in (401, 403) and not self.code)

    @property
    def unknown(self) -> bool:
        """Whether the service has no such call."""
        return self.code in _LACKING or self.status in (405, 501)

    def xml(self) -> ET.Element | None:
        """The body, None if it is no XML."""
        try:
            return ET.fromstring(self.body)  # noqa: S314 -- from the service, as minio-py reads all others
        except ET.ParseError:
            return None


@define(eq=False, slots=False)
class Bucket:
    """The bucket and how it is asked.

    Attributes:
        key: a customer key for scratch objects.
        needs: the rights that its use asks for.
        server: what the service calls itself, empty until it was asked.
    """

    settings: S3Settings
    credentials: CredentialChain = field(repr=False)
    region: Region
    pool: PoolManager = field(repr=False)
    failures: Failures
    circumstances: Circumstances
    key: bytes = field(repr=False)
    needs: Needs = VALUES
    server: str = ""

    @property
    def part(self) -> str:
        """The setting that findings are about."""
        return self.settings.setting

    @property
    def is_minio(self) -> bool:
        return self.server.startswith("MinIO")

    @property
    def now(self) -> int:
        return int(self.circumstances.now())

    @property
    def address(self) -> Address:
        return self.settings.address(self.region.name)

    @property
    def encryption(self) -> dict[str, str]:
        """The headers that every scratch object is written and read with."""
        return ssec.headers(self.key) if self.settings.encrypts else {}

    def scratch_key(self) -> str:
        """The key of an object that nobody has; stores leave it alone, as it is no name of theirs."""
        return f"{self.settings.prefix}lunacore-doctor-{self.circumstances.random(16).hex()}"

    def send(
        self,
        method: str,
        key: str = "",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        bucket: str = "",
    ) -> Answer:
        """Sign a request to this bucket, or another one, and send it.

        Raises:
            StoreUnavailable: no answer came.
        """
        address = evolve(self.address, bucket=bucket or self.settings.bucket)
        return self._send(method, address.host, address.path(key), query or {}, headers or {}, body)

    def buckets(self) -> Answer:
        """ListBuckets."""
        return self._send("GET", self.address.service.host, "/", {}, {}, b"")

    def ask_anyone(
        self, method: str, key: str = "", query: str = "", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """A request that is not signed. It goes to the bucket's endpoint, of any region if that is not known."""
        address = self.settings.address(self.settings.region or "us-east-1")
        return self._fetch(self.pool, method, f"{address.origin}{encode_path(address.path(key))}{query}", headers or {})

    def ask_public(self, method: str, url: str, headers: Mapping[str, str]) -> Answer:
        """A request to where browsers find the bucket."""
        return self._fetch(self._public_pool, method, url, headers)

    def use(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Use a ticket."""
        return self._fetch(self.pool, method, url, headers, body)

    def tickets(self, *, public: bool = False, write_once: bool = True) -> S3Tickets:
        """Tickets for the endpoint that this program reaches, or for the one that browsers do."""
        public_endpoint = self.settings.public_endpoint if public else None
        settings = evolve(self.settings, public_endpoint=public_endpoint, write_once=write_once)
        return S3Tickets(settings, self.credentials, self.region)

    def upload_request(self, key: str, *, public: bool = False, write_once: bool = True) -> tuple[str, dict[str, str]]:
        """URL and headers of an upload."""
        tickets = self.tickets(public=public, write_once=write_once)
        ticket = tickets.upload(key, self.key, now=self.now, ttl=_TICKET_SECONDS, size=None)
        return ticket.url, dict(ticket.headers)

    def download_request(self, key: str, *, public: bool = False, etag: str = "") -> tuple[str, dict[str, str]]:
        """URL and headers of a download, pinned to the ETag if there is one."""
        ticket = self.tickets(public=public).download(key, self.key, now=self.now, ttl=_TICKET_SECONDS, etag=etag)
        return ticket.url, dict(ticket.headers)

    def refusal(self, answer: Answer) -> tuple[str, str]:
        """What a refusal means, and what to do about it."""
        code = answer.code
        if not code:
            return (
                f"{self.settings.shown} answers with HTTP status {answer.status}, and not as S3 does",
                "check endpoint, and that no proxy answers in its place",
            )
        error = S3Error(cast("Any", None), code, "", None, None, None)
        return split(str(self.failures.from_answer(error)), self.part)

    def aws(self, call: str, option: str = "", value: object = None) -> str:
        """A command of the AWS command line that makes ``call``, a ``value`` in JSON."""
        words = ["aws", "s3api", call, "--bucket", self.settings.bucket]
        if option:
            words += [f"--{option}", json.dumps(value)]
        if self.settings.endpoint is not None:
            words += ["--endpoint-url", str(self.settings.endpoint)]
        return shlex.join(words)

    @cached_property
    def _public_pool(self) -> PoolManager:
        """Trusts the CA that ``ca`` names and those of the system, for browsers may trust either."""
        context = ssl.create_default_context()
        if own := b"".join(self.settings.ssl_context.get_ca_certs(binary_form=True)):
            context.load_verify_locations(cadata=own)
        return S3Pool(evolve(self.settings, ssl_context=context))

    def _send(  # noqa: PLR0917 -- the parts of a request, in the order in which they are written
        self, method: str, host: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Answer:
        scheme = self.address.service.scheme
        pairs: Sequence[tuple[str, str]] = list(query.items())
        if body:
            # Some calls on buckets demand it (S3 API Reference, PutBucketLifecycleConfiguration and others).
            headers = {
                **headers,
                "content-md5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
            }
        signer = Signer(credentials=self.credentials.active(self.now).credentials, region=self.region.name)
        signed = signer.authorize(
            method,
            host,
            path,
            query=pairs,
            headers=headers,
            payload_sha256=hashlib.sha256(body).hexdigest(),
            now=self.now,
            scheme=scheme,
        )
        url = f"{scheme}://{host}{encode_path(path)}{f'?{encode_query(pairs)}' if pairs else ''}"
        return self._fetch(self.pool, method, url, signed, body)

    def _fetch(self, pool: PoolManager, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        with self.failures.translated():
            answer = pool.urlopen(method, url, headers=dict(headers), body=body if method in ("PUT", "POST") else None)
            return Answer(answer.status, answer.headers, answer.data)


def split(failure: str, setting: str) -> tuple[str, str]:
    """Message and remedy of what a failure says."""
    message, _, remedy = failure.removeprefix(f"{setting}: ").partition("; ")
    return message, remedy or "see docs/reference/s3.md, and the log of the service"
