"""The gateway: a small part of S3 in front of an object store that has no HTTP of its own.

``docs/reference/gateway.md`` says which part. It knows the gateway's signing keys and nothing else: who holds a ticket, and sends
the key that goes with it, may write one object once or read it. Values pass in bounded memory and are never written in the clear.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, Self, cast

import falcon

from lunacore import ssec
from lunacore.errors import Conflict, IntegrityError, LunaCoreError, TokenNotFound
from lunacore.gateway_keys import BUCKET
from lunacore.keys import KEY_BYTES
from lunacore.sigv4 import SignatureError
from lunacore.stores import DirectTransfer, ObjectStore
from lunacore_http import gateway_answers
from lunacore_http.gateway_answers import GatewayError, quoted
from lunacore_http.gateway_requests import (
    Doorkeeper,
    RequestBody,
    SignedCall,
    Span,
    check_conditions,
    copy_source,
    names_to_delete,
    object_name,
    require_write_once,
    span,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from falcon import Request, Response

    from lunacore.gateway_keys import GatewayKeys
    from lunacore.stores import Stat

_LOG: Final = logging.getLogger("lunacore.gateway")
_PIECE_BYTES: Final = 1 << 16
_MAX_KEYS: Final = 1000
_MAX_DELETE_BYTES: Final = 1 << 18
_LIST_PARAMETERS: Final = (
    "list-type",
    "max-keys",
    "start-after",
    "continuation-token",
    "prefix",
    "delimiter",
    "encoding-type",
    "fetch-owner",
)


class ServedObjects(ObjectStore, DirectTransfer, Protocol):
    """What the gateway serves: an object store that programs can transfer values with."""


def create_gateway(
    objects: ServedObjects,
    keys: GatewayKeys,
    *,
    now: Callable[[], float],
    max_size: int,
    public_url: str = "",
    allowed_origin: str = "",
) -> falcon.App[Request, Response]:
    """A WSGI application that is the gateway and nothing else.

    Args:
        objects: what to serve.
        keys: the credentials that signatures are checked against.
        now: Unix seconds.
        max_size: bytes that an upload may have.
        public_url: what clients address, if a proxy changes host or path on the way; else the request itself tells.
        allowed_origin: the one origin whose pages may use the gateway from a browser, if it is not the gateway's own.
    """
    app = falcon.App()
    add_gateway(app, objects, keys, now=now, max_size=max_size, public_url=public_url, allowed_origin=allowed_origin)
    app.add_error_handler(Exception, _answer_unexpected)
    app.add_error_handler(falcon.HTTPError, _answer_http_error)
    return app


def add_gateway(
    app: falcon.App[Request, Response],
    objects: ServedObjects,
    keys: GatewayKeys,
    *,
    now: Callable[[], float],
    max_size: int,
    public_url: str = "",
    allowed_origin: str = "",
) -> None:
    """Serve the gateway under ``/objects`` of an application; arguments as for ``create_gateway``."""
    doorkeeper = Doorkeeper(keys, now, public_url)
    bucket = BucketResource(objects, doorkeeper, allowed_origin)
    app.add_route(f"/{BUCKET}", bucket)
    app.add_route(f"/{BUCKET}/", bucket)
    app.add_route(f"/{BUCKET}/{{name}}", GatewayResource(objects, doorkeeper, max_size, allowed_origin))


class _Resource:
    def __init__(self, objects: ServedObjects, doorkeeper: Doorkeeper, allowed_origin: str) -> None:
        self._objects = objects
        self._doorkeeper = doorkeeper
        self._allowed_origin = allowed_origin

    def on_options(self, req: Request, resp: Response, **_: str) -> None:
        with self._answering(req, resp):
            gateway_answers.put_preflight(req, resp, self._allowed_origin)

    def on_post(self, req: Request, resp: Response, **_: str) -> None:
        with self._answering(req, resp):
            raise GatewayError("MethodNotAllowed", 405, "The specified method is not allowed against this resource")

    on_patch = on_post

    @contextmanager
    def _answering(self, req: Request, resp: Response) -> Iterator[None]:
        """Put refusals into S3's form, whatever the application around does with errors."""
        gateway_answers.put_safe_headers(req, resp, self._allowed_origin)
        try:
            yield
        except (GatewayError, SignatureError, LunaCoreError) as error:
            gateway_answers.put_error(resp, error)


class BucketResource(_Resource):
    """``/objects``: which objects there are, for programs that hold the gateway's keys."""

    on_put = _Resource.on_post
    on_delete = _Resource.on_post

    def on_head(self, req: Request, resp: Response) -> None:
        with self._answering(req, resp):
            gateway_answers.put_region(resp)
            self._admit(req)

    def on_get(self, req: Request, resp: Response) -> None:
        with self._answering(req, resp):
            query = self._admit(req, [*_LIST_PARAMETERS, "location"]).verified.query
            if "location" in query:
                gateway_answers.put_location(resp)
                return
            if query.get("list-type") != "2" or query.get("prefix") or query.get("delimiter", "/") not in ("", "/"):
                raise GatewayError("NotImplemented", 501, "Only ListObjectsV2 without prefix is implemented")
            after = query.get("continuation-token") or query.get("start-after") or ""
            limit = _max_keys(query.get("max-keys", str(_MAX_KEYS)))
            entries = self._objects.scan(object_name(after) if after else b"", limit + 1)
            truncated = 0 < limit < len(entries)
            gateway_answers.put_listing(resp, entries[:limit], limit, truncated=truncated)

    def on_post(self, req: Request, resp: Response, **_: str) -> None:
        if "delete" not in req.query_string.split("&") and "delete=" not in req.query_string.split("&"):
            super().on_post(req, resp)
            return
        with self._answering(req, resp):
            body = RequestBody(req)
            try:
                self._delete(req, resp, body)
            except (GatewayError, SignatureError, LunaCoreError):
                body.drain()
                raise

    def _delete(self, req: Request, resp: Response, body: RequestBody) -> None:
        call = self._doorkeeper.admit(req, ["delete"])
        call.require_header_signature()
        names, quiet = names_to_delete(body.whole(call, _MAX_DELETE_BYTES))
        self._objects.delete(names)
        gateway_answers.put_deleted(resp, [] if quiet else names)

    def _admit(self, req: Request, parameters: Sequence[str] = ()) -> SignedCall:
        call = self._doorkeeper.admit(req, parameters)
        call.require_header_signature()
        _refuse_body(call)
        return call


class GatewayResource(_Resource):
    """``/objects/{name}``: one object."""

    def __init__(self, objects: ServedObjects, doorkeeper: Doorkeeper, max_size: int, allowed_origin: str) -> None:
        super().__init__(objects, doorkeeper, allowed_origin)
        self._max_size = max_size

    def on_put(self, req: Request, resp: Response, name: str) -> None:
        with self._answering(req, resp):
            body = RequestBody(req)
            try:
                self._put(req, resp, object_name(name), body)
            except (GatewayError, SignatureError, LunaCoreError):
                body.drain()
                raise

    def on_get(self, req: Request, resp: Response, name: str) -> None:
        with self._answering(req, resp):
            self._read(req, resp, object_name(name), with_body=True)

    def on_head(self, req: Request, resp: Response, name: str) -> None:
        with self._answering(req, resp):
            self._read(req, resp, object_name(name), with_body=False)

    def on_post(self, req: Request, resp: Response, **_: str) -> None:
        if "upload" not in req.query_string:
            super().on_post(req, resp)
            return
        with self._answering(req, resp):
            raise GatewayError("NotImplemented", 501, "There are no multipart uploads; send the object in one PUT")

    def on_delete(self, req: Request, resp: Response, name: str) -> None:
        with self._answering(req, resp):
            call = self._doorkeeper.admit(req)
            call.require_header_signature()
            _refuse_body(call)
            self._objects.delete([object_name(name)])
            resp.status = 204

    def _put(self, req: Request, resp: Response, name: bytes, body: RequestBody) -> None:
        call = self._doorkeeper.admit(req)
        if "x-amz-copy-source" in call.headers:
            self._copy(call, resp, name)
            return
        require_write_once(call)
        key = ssec.key_from(call.headers)
        body.expect(call, self._max_size)
        if self._is_taken(name, key):
            raise Conflict("At least one of the pre-conditions you specified did not hold: the object exists already")
        stat = self._objects.write(name, key, cast("BinaryIO", body))
        resp.set_header("ETag", quoted(stat.etag))
        resp.set_header("x-amz-server-side-encryption-customer-algorithm", ssec.ALGORITHM)

    def _copy(self, call: SignedCall, resp: Response, name: bytes) -> None:
        call.require_header_signature()
        _refuse_body(call)
        if call.headers.get("if-none-match", "*") != "*":
            raise GatewayError("NotImplemented", 501, "If-None-Match can only be * here")
        source = copy_source(call.headers["x-amz-copy-source"])
        source_key = ssec.key_from(call.headers, copy_source=True)
        self._check_source(call, source, source_key)
        stat = self._objects.copy(source, source_key, name, ssec.key_from(call.headers))
        gateway_answers.put_copied(resp, stat.etag, self._doorkeeper.now())

    def _check_source(self, call: SignedCall, source: bytes, key: bytes) -> None:
        condition = call.headers.get("x-amz-copy-source-if-match")
        if condition is None:
            return
        stat = self._objects.stat(source, key)
        if stat is None:
            raise TokenNotFound("The specified key does not exist")
        check_conditions({"if-match": condition}, stat.etag)

    def _is_taken(self, name: bytes, key: bytes) -> bool:
        """Whether there is an object, so that an upload in vain is refused before it is read; the write itself is exclusive."""
        try:
            return self._objects.stat(name, key) is not None
        except IntegrityError:
            return True

    def _read(self, req: Request, resp: Response, name: bytes, *, with_body: bool) -> None:
        call = self._doorkeeper.admit(req)
        _refuse_body(call)
        stat = self._stat(call, name)
        check_conditions(call.headers, stat.etag)
        part = _part(call, resp, stat)
        if with_body and part.length:
            resp.stream = _ObjectStream.at(self._objects.open(name, ssec.key_from(call.headers)), part)

    def _stat(self, call: SignedCall, name: bytes) -> Stat:
        """What is there. As on S3, who sends no key learns whether there is anything at all, and nothing more."""
        if not ssec.names_a_key(call.headers) and not self._is_taken(name, bytes(KEY_BYTES)):
            raise TokenNotFound("The specified key does not exist")
        stat = self._objects.stat(name, ssec.key_from(call.headers))
        if stat is None:
            raise TokenNotFound("The specified key does not exist")
        return stat


class _ObjectStream:
    """Part of an object, piece by piece.

    A failure in the middle is raised to the server, which then closes the connection: fewer bytes than announced have been sent
    by then, so that no client can take them for the whole.
    """

    def __init__(self, source: BinaryIO, first: bytes, remaining: int) -> None:
        self._source = source
        self._next = first
        self._remaining = remaining

    @classmethod
    def at(cls, source: BinaryIO, part: Span) -> Self:
        """The stream of ``part``; it owns ``source``. The first piece is read at once, while errors still have an answer.

        Raises:
            GatewayError: the object is damaged there.
        """
        try:
            source.seek(part.start)
            first = source.read(min(part.length, _PIECE_BYTES))
        except IntegrityError:
            source.close()
            _LOG.error("an object is damaged; the gateway refuses it")
            raise GatewayError("InternalError", 500, "The object is damaged") from None
        except BaseException:
            source.close()
            raise
        return cls(source, first, part.length - len(first))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        piece, self._next = self._next, b""
        if piece:
            return piece
        if not self._remaining:
            self.close()
            raise StopIteration
        piece = self._read()
        self._remaining -= len(piece)
        return piece

    def close(self) -> None:
        self._source.close()

    def _read(self) -> bytes:
        try:
            return self._source.read(min(self._remaining, _PIECE_BYTES))
        except LunaCoreError as error:
            self.close()
            _LOG.error("a download was broken off: %s", error.name)
            raise


def _part(call: SignedCall, resp: Response, stat: Stat) -> Span:
    """Put everything but the body of a read into the response, and say what the body is."""
    try:
        part = span(call.headers, stat.size, stat.etag)
    except GatewayError:
        resp.set_header("Content-Range", f"bytes */{stat.size}")
        raise
    resp.set_header("ETag", quoted(stat.etag))
    if stat.modified:
        resp.set_header("Last-Modified", gateway_answers.http_date(stat.modified))
    resp.set_header("Accept-Ranges", "bytes")
    resp.set_header("x-amz-server-side-encryption-customer-algorithm", ssec.ALGORITHM)
    resp.content_type = "application/octet-stream"
    resp.content_length = part.length
    if part.partial:
        resp.status = 206
        resp.set_header("Content-Range", f"bytes {part.start}-{part.start + part.length - 1}/{stat.size}")
    return part


def _max_keys(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise GatewayError("InvalidArgument", 400, "max-keys must be a number")
    return min(int(text[:9]), _MAX_KEYS)


def _refuse_body(call: SignedCall) -> None:
    """See that a request without a body was signed as one and has none."""
    call.verified.check_payload(hashlib.sha256().digest())
    if call.headers.get("content-length", "0") != "0" or "transfer-encoding" in call.headers:
        raise GatewayError("InvalidRequest", 400, "This operation takes no body")


def _answer_http_error(req: Request, resp: Response, error: falcon.HTTPError, _: dict[str, str]) -> None:
    gateway_answers.put_safe_headers(req, resp, "")
    code = {404: "NoSuchBucket", 405: "MethodNotAllowed"}.get(error.status_code, "InvalidRequest")
    gateway_answers.put_error_document(resp, code, error.status_code, error.title or "The request is not understood")


def _answer_unexpected(req: Request, resp: Response, error: Exception, _: dict[str, str]) -> None:
    _LOG.error("unexpected error", exc_info=error)
    gateway_answers.put_safe_headers(req, resp, "")
    gateway_answers.put_error_document(resp, "InternalError", 500, "We encountered an internal error; please try again")
