"""What the gateway answers: errors in S3's XML form, listings, and headers that keep browsers from doing harm with a value.

Follows the Amazon S3 API Reference, "Error responses", "ListObjectsV2" and "CopyObject".
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from lunacore import errors, ssec
from lunacore.gateway_keys import BUCKET, REGION
from lunacore.sigv4 import SignatureError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from falcon import Request, Response

    from lunacore.errors import LunaCoreError
    from lunacore.stores import ObjectEntry

ALLOWED_METHODS: Final = "PUT, GET, HEAD"

_NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
_ALLOWED_HEADERS: Final = ", ".join([*ssec.headers(bytes(32)), "if-none-match", "if-match", "range", "content-type"])
_EXPOSED_HEADERS: Final = "ETag, Content-Range, Accept-Ranges"
_PREFLIGHT_SECONDS: Final = 600

# A value opened as a page must run nothing, be read by nobody and stay nowhere.
_SAFE_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Disposition": "attachment",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    # Requests of a foreign frame come in CORS mode, which this does not concern; it stops <img>, <script> and the like.
    "Cross-Origin-Resource-Policy": "same-origin",
}


class GatewayError(Exception):
    """A request that the gateway refuses.

    Attributes:
        code: S3's name of the error.
        status: the HTTP status that goes with it.
        message: for a person; holds nothing secret.
    """

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message


_OF_LUNACORE: Final[tuple[tuple[type[LunaCoreError], str, int], ...]] = (
    (errors.InvalidRequest, "InvalidRequest", 400),
    (errors.TokenNotFound, "NoSuchKey", 404),
    (errors.Conflict, "PreconditionFailed", 412),
    (errors.LengthRequired, "MissingContentLength", 411),
    (errors.TooLarge, "EntityTooLarge", 413),
    (errors.StoreUnavailable, "ServiceUnavailable", 503),
    (errors.UnsupportedVersion, "InternalError", 500),
    # The segments cannot tell another key from damage; S3 says AccessDenied to another key.
    (errors.IntegrityError, "AccessDenied", 403),
)


def put_error(resp: Response, error: GatewayError | SignatureError | LunaCoreError) -> None:
    """Make the response the error's."""
    code, status = _code_and_status(error)
    if isinstance(error, errors.StoreUnavailable):
        resp.set_header("Retry-After", str(error.retry_after))
    put_error_document(resp, code, status, error.message)


def put_error_document(resp: Response, code: str, status: int, message: str) -> None:
    """Make the response an error in S3's XML form."""
    resp.status = status
    resp.stream = None
    resp.delete_header("Content-Length")
    put_xml(resp, f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>")


def _code_and_status(error: GatewayError | SignatureError | LunaCoreError) -> tuple[str, int]:
    if isinstance(error, GatewayError | SignatureError):
        return error.code, error.status
    for kind, code, status in _OF_LUNACORE:
        if isinstance(error, kind):
            return code, status
    return "InternalError", 500


def put_xml(resp: Response, root: str) -> None:
    """Make ``root`` the response's document."""
    resp.content_type = "application/xml"
    resp.data = f'<?xml version="1.0" encoding="UTF-8"?>\n{root}'.encode()


def put_listing(resp: Response, entries: Sequence[ObjectEntry], max_keys: int, *, truncated: bool) -> None:
    """Make the response one page of ListObjectsV2."""
    following = f"<NextContinuationToken>{entries[-1].name.hex()}</NextContinuationToken>" if truncated else ""
    put_xml(
        resp,
        f'<ListBucketResult xmlns="{_NAMESPACE}"><Name>{BUCKET}</Name><Prefix></Prefix>'
        f"<KeyCount>{len(entries)}</KeyCount><MaxKeys>{max_keys}</MaxKeys>"
        f"<IsTruncated>{str(truncated).lower()}</IsTruncated>{following}"
        f"{''.join(_contents(entry) for entry in entries)}</ListBucketResult>",
    )


def _contents(entry: ObjectEntry) -> str:
    return (
        f"<Contents><Key>{entry.name.hex()}</Key><LastModified>{_iso(entry.modified)}</LastModified>"
        f"<Size>{entry.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def put_copied(resp: Response, etag: str, now: float) -> None:
    """Make the response the result of CopyObject."""
    put_xml(
        resp,
        f'<CopyObjectResult xmlns="{_NAMESPACE}"><LastModified>{_iso(now)}</LastModified>'
        f"<ETag>{escape(quoted(etag))}</ETag></CopyObjectResult>",
    )


def put_deleted(resp: Response, names: Iterable[bytes]) -> None:
    """Make the response the result of DeleteObjects, all of which succeeded."""
    deleted = "".join(f"<Deleted><Key>{name.hex()}</Key></Deleted>" for name in names)
    put_xml(resp, f'<DeleteResult xmlns="{_NAMESPACE}">{deleted}</DeleteResult>')


def put_location(resp: Response) -> None:
    """Make the response the result of GetBucketLocation."""
    put_xml(resp, f'<LocationConstraint xmlns="{_NAMESPACE}">{REGION}</LocationConstraint>')


def put_region(resp: Response) -> None:
    """Name the region in a header, as AWS does to anyone who asks with HeadBucket."""
    resp.set_header("x-amz-bucket-region", REGION)


def http_date(when: int) -> str:
    """A Unix second as it stands in headers: RFC 9110, section 5.6.7."""
    return formatdate(when, usegmt=True)


def quoted(etag: str) -> str:
    """An ETag as it stands in headers."""
    return f'"{etag}"'


def put_safe_headers(req: Request, resp: Response, allowed_origin: str) -> None:
    """Add what every answer of the gateway carries."""
    resp.set_headers(_SAFE_HEADERS)
    resp.content_type = "application/octet-stream"
    if not allowed_origin:
        return
    resp.append_header("Vary", "Origin")
    if req.get_header("Origin") == allowed_origin:
        resp.set_header("Access-Control-Allow-Origin", allowed_origin)
        resp.set_header("Access-Control-Expose-Headers", _EXPOSED_HEADERS)


def put_preflight(req: Request, resp: Response, allowed_origin: str) -> None:
    """Answer a CORS pre-flight request (Fetch Standard, "CORS-preflight fetch").

    Raises:
        GatewayError: another origin or method asks.
    """
    asked = req.get_header("Access-Control-Request-Method") or ""
    if not allowed_origin or req.get_header("Origin") != allowed_origin or asked not in ALLOWED_METHODS.split(", "):
        raise GatewayError("AccessForbidden", 403, "CORSResponse: This CORS request is not allowed")
    resp.set_header("Access-Control-Allow-Methods", ALLOWED_METHODS)
    resp.set_header("Access-Control-Allow-Headers", _ALLOWED_HEADERS)
    resp.set_header("Access-Control-Max-Age", str(_PREFLIGHT_SECONDS))
    resp.status = 204


def _iso(when: float) -> str:
    return datetime.fromtimestamp(int(when), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
