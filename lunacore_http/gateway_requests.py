"""What the gateway makes of a request before it touches an object: signature, key, body, range and conditions.

Follows the Amazon S3 API Reference ("PutObject", "GetObject", "Checking object integrity") and RFC 9110, sections 13 and 14.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import zlib
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree as ET

from attrs import define, field, frozen

from lunacore import sigv4, ssec
from lunacore.errors import LengthRequired, TooLarge
from lunacore.gateway_keys import BUCKET, REGION
from lunacore_http.gateway_answers import GatewayError, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from falcon import Request

    from lunacore.gateway_keys import GatewayKeys
    from lunacore.sigv4 import VerifiedRequest

NAME_BYTES: Final = 32
MAX_DELETIONS: Final = 1000
"""Objects that one DeleteObjects may name."""

_NAME: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_RANGE: Final = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", re.ASCII)
_COPY_SOURCE: Final = re.compile(rf"/?{BUCKET}/([0-9a-f]{{64}})", re.ASCII)
# A body up to this size is read to its end even if it is refused, so that the client gets to read why.
_DRAIN_BYTES: Final = 1 << 20
_PIECE_BYTES: Final = 1 << 16

_KNOWN_HEADERS: Final = frozenset(
    {
        *ssec.headers(bytes(NAME_BYTES)),
        *ssec.headers(bytes(NAME_BYTES), copy_source=True),
        "x-amz-checksum-crc32",
        "x-amz-checksum-mode",
        "x-amz-checksum-sha1",
        "x-amz-checksum-sha256",
        "x-amz-content-sha256",
        "x-amz-copy-source",
        "x-amz-copy-source-if-match",
        "x-amz-date",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-security-token",
        "x-amz-user-agent",
    }
)
# SDKs name the operation in it, for logs.
_KNOWN_PARAMETERS: Final = frozenset({"x-id"})


@frozen
class SignedCall:
    """A request whose signature holds.

    Attributes:
        headers: all that came, names in lower case; those starting with ``x-amz-`` are signed, every one.
        verified: what the signature says.
        by_header: whether an ``Authorization`` header signs it rather than a presigned URL.
    """

    headers: dict[str, str] = field(repr=False)
    verified: VerifiedRequest
    by_header: bool

    def require_header_signature(self) -> None:
        """Refuse a presigned URL: tickets are for reading and writing one object, and nothing else.

        Raises:
            GatewayError: it is one.
        """
        if not self.by_header:
            raise GatewayError("AccessDenied", 403, "This operation must be signed by an Authorization header")


@frozen
class Doorkeeper:
    """Lets in who holds the gateway's keys, or a URL that was presigned with them.

    Attributes:
        keys: the credentials that signatures are checked against.
        now: Unix seconds.
        public_url: what clients address, if a proxy changes host or path on the way; empty if none does.
    """

    keys: GatewayKeys
    now: Callable[[], float]
    public_url: str = ""

    def admit(self, req: Request, parameters: Iterable[str] = ()) -> SignedCall:
        """Check the signature, and that the request asks for nothing that the gateway would have to ignore.

        Args:
            req: the request.
            parameters: names that the query may hold.

        Raises:
            SignatureError: the signature does not hold.
            GatewayError: something is asked for that the gateway does not do.
        """
        # Some servers give an absent Content-Length or Content-Type as an empty one.
        headers = {
            name.lower(): value for name, value in req.headers.items() if value or not name.startswith("CONTENT-")
        }
        by_header = "authorization" in headers
        verify = sigv4.verify_authorized if by_header else sigv4.verify_presigned
        host, path = self._address(req)
        verified = verify(
            req.method,
            host,
            path,
            req.query_string,
            headers,
            credentials_of=self.keys.of,
            region=REGION,
            now=int(self.now()),
        )
        _refuse_unknown(headers, verified.query, {*_KNOWN_PARAMETERS, *parameters})
        return SignedCall(headers, verified, by_header)

    def _address(self, req: Request) -> tuple[str, str]:
        path = req.env.get("SCRIPT_NAME", "") + req.env["PATH_INFO"]
        if not self.public_url:
            return req.netloc, path
        public = urlsplit(self.public_url)
        host = public.netloc.removesuffix({"http": ":80", "https": ":443"}.get(public.scheme, ""))
        return host, public.path.rstrip("/") + path


def _refuse_unknown(headers: Iterable[str], query: Iterable[str], parameters: set[str]) -> None:
    for name in headers:
        if name.startswith("x-amz-") and name not in _KNOWN_HEADERS:
            raise GatewayError("NotImplemented", 501, f"The header {name} asks for something that is not implemented")
    for name in query:
        if name not in parameters:
            raise GatewayError("NotImplemented", 501, "A query parameter asks for something that is not implemented")


def object_name(text: str) -> bytes:
    """The 32 bytes that 64 lower-case hex digits stand for.

    Raises:
        GatewayError: it is no such name.
    """
    if _NAME.fullmatch(text) is None:
        raise GatewayError("InvalidArgument", 400, "An object's name is 64 lower-case hex digits")
    return bytes.fromhex(text)


def copy_source(text: str) -> bytes:
    """The name in an ``x-amz-copy-source`` header.

    Raises:
        GatewayError: it names no object here.
    """
    match = _COPY_SOURCE.fullmatch(unquote(text))
    if match is None:
        raise GatewayError("InvalidArgument", 400, f"x-amz-copy-source must be /{BUCKET}/ and 64 lower-case hex digits")
    return bytes.fromhex(match[1])


def names_to_delete(document: bytes) -> tuple[list[bytes], bool]:
    """The names in the body of DeleteObjects, and whether only failures are to be told.

    Raises:
        GatewayError: it is no such body.
    """
    malformed = GatewayError("MalformedXML", 400, "The XML you provided was not well-formed")
    # Entities could make much of little.
    if b"<!" in document:
        raise malformed
    try:
        root = ET.fromstring(document)  # noqa: S314 - no document type, hence no entities
    except ET.ParseError:
        raise malformed from None
    objects = root.findall("{*}Object")
    if root.tag.rpartition("}")[2] != "Delete" or not 0 < len(objects) <= MAX_DELETIONS:
        raise malformed
    if any(one.find("{*}VersionId") is not None for one in objects):
        raise GatewayError("NotImplemented", 501, "There are no versions here")
    names = [object_name(one.findtext("{*}Key", "")) for one in objects]
    return names, root.findtext("{*}Quiet", "").strip() == "true"


def require_write_once(call: SignedCall) -> None:
    """See that an upload ticket is one that never replaces; the gateway would not replace anyway, but other stores would.

    Raises:
        GatewayError: it is not.
    """
    if call.headers.get("if-none-match", "*") != "*":
        raise GatewayError("NotImplemented", 501, "If-None-Match can only be * here")
    if not call.by_header and "if-none-match" not in call.verified.signed_headers:
        raise GatewayError(
            "AccessDenied", 403, "A presigned upload must have If-None-Match: * among its signed headers"
        )


class RequestBody:
    """The body of an upload, to be read by an object store: exactly as long as declared, or no store gets its end.

    Attributes:
        length: bytes that the client declared, None if it declared none.
    """

    def __init__(self, req: Request) -> None:
        self.length = req.content_length
        self._stream = req.stream
        self._remaining = req.content_length or 0
        self._checks: tuple[_Check, ...] = ()

    def expect(self, call: SignedCall, max_size: int) -> None:
        """Set what the body must meet; without this nothing can be read.

        Raises:
            LengthRequired: no length was declared.
            TooLarge: it is more than ``max_size`` bytes.
            GatewayError: the client sends a digest that cannot be right.
        """
        if self.length is None:
            raise LengthRequired("You must provide the Content-Length HTTP header")
        if self.length > max_size:
            raise TooLarge(f"Your proposed upload exceeds the maximum allowed size of {max_size} bytes")
        if "aws-chunked" in call.headers.get("content-encoding", ""):
            raise GatewayError("NotImplemented", 501, "Signed chunks are not implemented; send the plain body")
        self._checks = tuple(_checks(call))

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes, none at the end.

        Raises:
            GatewayError: the body ended early, or is not what its digests say.
        """
        wanted = self._remaining if size < 0 else min(size, self._remaining)
        data = self._read(wanted) if wanted else b""
        if wanted and not data:
            raise GatewayError(
                "IncompleteBody", 400, "You did not provide the number of bytes specified by Content-Length"
            )
        self._remaining -= len(data)
        for check in self._checks:
            check.update(data)
        if not self._remaining:
            self._finish()
        return data

    def whole(self, call: SignedCall, max_size: int) -> bytes:
        """All of a small body, checked.

        Raises:
            LengthRequired: no length was declared.
            TooLarge: it is more than ``max_size`` bytes.
            GatewayError: it ended early, or is not what its digests say.
        """
        self.expect(call, max_size)
        pieces = [self.read(self._remaining)]
        while pieces[-1] and self._remaining:
            pieces.append(self.read(self._remaining))
        return b"".join(pieces)

    def drain(self) -> None:
        """Read a small rest away, so that the client has sent all and reads the answer."""
        if self._remaining > _DRAIN_BYTES:
            return
        while self._remaining:
            data = self._read(min(self._remaining, _PIECE_BYTES))
            self._remaining = self._remaining - len(data) if data else 0

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except OSError:
            # The connection broke.
            return b""

    def _finish(self) -> None:
        checks, self._checks = self._checks, ()
        for check in checks:
            check.finish()


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class _Crc32:
    """CRC-32 with the interface of ``hashlib``."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


@define
class _Check:
    """One digest of the body, and what it must be."""

    digest: _Digest
    accept: Callable[[bytes], None]

    def update(self, data: bytes) -> None:
        self.digest.update(data)

    def finish(self) -> None:
        self.accept(self.digest.digest())


_DIGESTS: Final[dict[str, Callable[[], _Digest]]] = {
    "content-md5": lambda: hashlib.md5(usedforsecurity=False),
    "x-amz-checksum-crc32": _Crc32,
    "x-amz-checksum-sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "x-amz-checksum-sha256": hashlib.sha256,
}


def _checks(call: SignedCall) -> Iterable[_Check]:
    if call.verified.payload_sha256 is not None:
        yield _Check(hashlib.sha256(), call.verified.check_payload)
    for name, digest in _DIGESTS.items():
        if name in call.headers:
            yield _Check(digest(), _accepting(name, call.headers[name]))


def _accepting(name: str, text: str) -> Callable[[bytes], None]:
    try:
        expected = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise GatewayError("InvalidDigest", 400, f"The {name} you specified is not base64") from None

    def accept(digest: bytes) -> None:
        if not hmac.compare_digest(digest, expected):
            raise GatewayError("BadDigest", 400, f"The {name} you specified did not match what was received")

    return accept


@frozen
class Span:
    """The part of an object that an answer holds; ``partial`` if a range asked for it."""

    start: int
    length: int
    partial: bool


def span(headers: dict[str, str], size: int, etag: str) -> Span:
    """What ``Range`` asks for, of an object of ``size`` bytes: RFC 9110, section 14.

    Several ranges at once, other units and malformed ranges are answered with the whole object, as S3 does.

    Raises:
        GatewayError: the range lies outside the object.
    """
    match = _RANGE.fullmatch(headers.get("range", "").strip())
    if match is None or headers.get("if-range", quoted(etag)) != quoted(etag):
        return Span(0, size, partial=False)
    first, last, suffix = match.groups()
    if first is None:
        start, end = max(0, size - int(suffix)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return Span(0, size, partial=False)
    if start >= end:
        raise GatewayError("InvalidRange", 416, "The requested range is not satisfiable")
    return Span(start, end - start, partial=True)


def check_conditions(headers: dict[str, str], etag: str) -> None:
    """``If-Match`` and ``If-None-Match`` of a read: RFC 9110, section 13.

    Raises:
        GatewayError: with status 412 or 304.
    """
    if "if-match" in headers and not _names(headers["if-match"], etag):
        raise GatewayError("PreconditionFailed", 412, "The object is not the one that If-Match names")
    if "if-none-match" in headers and _names(headers["if-none-match"], etag):
        raise GatewayError("NotModified", 304, "The object is the one that If-None-Match names")


def _names(condition: str, etag: str) -> bool:
    # SDKs send ETags without their quotes, too.
    return any(one.strip() in ("*", quoted(etag), etag) for one in condition.split(","))
