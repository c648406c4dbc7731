"""AWS Signature Version 4 for S3: presigned URLs, signed headers, and the verifying side of both.

Pure functions of their arguments: no I/O, and time is passed in as whole Unix seconds. ``docs/spec/sigv4.md`` has the
exact form. It follows these pages of the Amazon S3 API Reference:

* "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)" (sigv4-query-string-auth)
* "Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk"
  (sig-v4-header-based-auth)
* "Error Responses" (ErrorResponses), for the codes that the verifying side raises

and, where those pages are silent, what botocore sends. The canonical request that is signed::

    method
    path                     UTF-8, percent-encoded once, "/" kept, "." and ".." segments kept
    query                    percent-encoded name=value pairs, sorted, without X-Amz-Signature
    name:value               of each signed header: lower-case, trimmed, runs of white space made one space, sorted
    (empty line)
    name;name                of the signed headers
    payload hash             hex SHA-256 of the body, or UNSIGNED-PAYLOAD
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import quote, unquote_to_bytes

from attrs import define, field, frozen
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

ALGORITHM: Final = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
MAX_EXPIRES: Final = 604_800
CLOCK_SKEW: Final = 900

# Proxies and tracing add, change or drop these on the way, so a signature over them would not survive; botocore's list.
NEVER_SIGNED: Final = frozenset(
    {
        "baggage",
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-amzn-trace-id",
    }
)

_REQUIRED_PARAMETERS: Final = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)
_AUTH_PARAMETERS: Final = frozenset({*_REQUIRED_PARAMETERS, "X-Amz-Security-Token"})
_SET_BY_AUTHORIZE: Final = frozenset(
    {"authorization", "host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"}
)
_AUTHORIZATION_FIELDS: Final = ("Credential", "SignedHeaders", "Signature")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_DAY_SECONDS: Final = 86_400
_TERMINATOR: Final = "aws4_request"
_TWO_DIGITS: Final = tuple(f"{number:02}" for number in range(60))
_CONTENT_SHA256: Final = "x-amz-content-sha256"

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+", re.ASCII)
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(:[0-9]{1,5})?", re.ASCII)
_PLAIN_PATH: Final = re.compile(r"/[A-Za-z0-9/._~-]*", re.ASCII)
_HEX_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TIMESTAMP: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_BAD_QUERY: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|[^!-~]|\+", re.ASCII)


class SignatureError(Exception):
    """A request whose signature does not authorise it; answered in S3's XML form.

    No ``LunaCoreError``: the answer goes to S3 clients, in S3's words.

    Attributes:
        code: S3's name of the error.
        status: the HTTP status that goes with it.
        message: for a person; holds nothing of the request but header and parameter names.
    """

    code: ClassVar[str] = "AccessDenied"
    status: ClassVar[int] = 403

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class AccessDenied(SignatureError):
    """The request is not signed, or not signed enough."""


class RequestExpired(AccessDenied):
    """The presigned URL has lived its time."""

    def __init__(self, message: str = "Request has expired") -> None:
        super().__init__(message)


class RequestNotYetValid(AccessDenied):
    """The presigned URL was signed for a later time than the clock skew allows."""

    def __init__(self, message: str = "Request is not valid yet") -> None:
        super().__init__(message)


class SignatureDoesNotMatch(SignatureError):
    """The signature is not of this request under this key."""

    code = "SignatureDoesNotMatch"

    def __init__(
        self, message: str = "The request signature does not match; check the secret key and send what was signed"
    ) -> None:
        super().__init__(message)


class InvalidAccessKeyId(SignatureError):
    """Nobody has this access key."""

    code = "InvalidAccessKeyId"


class InvalidSecurityToken(SignatureError):
    """The session token is missing, not expected, or another one."""

    code = "InvalidToken"
    status = 400


class RequestTimeTooSkewed(SignatureError):
    """The time that a header-signed request states is too far from the server's."""

    code = "RequestTimeTooSkewed"


class AuthorizationQueryParametersError(SignatureError):
    """A query parameter of the signature is missing or malformed."""

    code = "AuthorizationQueryParametersError"
    status = 400


class AuthorizationHeaderMalformed(SignatureError):
    """The ``Authorization`` header is malformed."""

    code = "AuthorizationHeaderMalformed"
    status = 400


class InvalidURI(SignatureError):
    """The query string cannot be read in one way only."""

    code = "InvalidURI"
    status = 400


class InvalidArgument(SignatureError):
    """The request carries two signatures, or a header that cannot be right."""

    code = "InvalidArgument"
    status = 400


class UnsupportedRequest(SignatureError):
    """The request is signed in a way that is not supported, or lacks a header that the signature needs."""

    code = "InvalidRequest"
    status = 400


class ContentSHA256Mismatch(SignatureError):
    """The body is not the one that was signed."""

    code = "XAmzContentSHA256Mismatch"
    status = 400

    def __init__(
        self, message: str = "The SHA-256 of the body is not the x-amz-content-sha256 that was signed"
    ) -> None:
        super().__init__(message)


@frozen
class Credentials:
    """An S3 access key.

    Attributes:
        access_key: the public name of the key.
        secret_key: the secret that signs.
        session_token: goes with temporary credentials; None for lasting ones.
    """

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@frozen
class SigningKey:
    """The key of one day, region and service, and what depends on nothing else.

    Attributes:
        day: days since 1970-01-01, UTC.
        date: the day as ``YYYYMMDD``.
        scope: ``date/region/service/aws4_request``.
        credential: access key and scope, percent-encoded for a query.
    """

    day: int
    date: str
    scope: str
    credential: str
    _keyed: HMAC = field(repr=False)

    def timestamp(self, now: int) -> str:
        """``now`` (Unix seconds within this day) as ``YYYYMMDDTHHMMSSZ``."""
        second = now - self.day * _DAY_SECONDS
        return f"{self.date}T{_TWO_DIGITS[second // 3600]}{_TWO_DIGITS[second // 60 % 60]}{_TWO_DIGITS[second % 60]}Z"

    def sign(self, timestamp: str, canonical_request: str) -> str:
        """The signature of a canonical request: 64 hex digits."""
        digest = hashlib.sha256(canonical_request.encode()).hexdigest()
        # A copy has the key's block already hashed; that is half the cost of the HMAC.
        keyed = self._keyed.copy()
        keyed.update(f"{ALGORITHM}\n{timestamp}\n{self.scope}\n{digest}".encode())
        return keyed.finalize().hex()


def signing_key(credentials: Credentials, region: str, service: str, now: int) -> SigningKey:
    """Derive the signing key of the day that ``now`` (Unix seconds) falls into."""
    day = now // _DAY_SECONDS
    date = datetime.fromtimestamp(day * _DAY_SECONDS, UTC).strftime("%Y%m%d")
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (date, region, service, _TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    scope = f"{date}/{region}/{service}/{_TERMINATOR}"
    return SigningKey(
        day=day,
        date=date,
        scope=scope,
        credential=_encode(f"{credentials.access_key}/{scope}"),
        keyed=HMAC(key, SHA256()),
    )


@define(eq=False)
class Signer:
    """Signs requests with one access key, for one region and service; safe to share between threads.

    The day's signing key is kept, so that presigning derives nothing.
    """

    credentials: Credentials
    region: str
    service: str = "s3"
    _key: SigningKey | None = field(default=None, init=False, repr=False)
    _security_token: str = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        token = self.credentials.session_token
        self._security_token = "" if token is None else f"&X-Amz-Security-Token={_encode(token)}"

    def presign(
        self,
        method: str,
        host: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str],
        now: int,
        expires: int,
        scheme: str = "https",
    ) -> str:
        """Make a URL that authorises one request with exactly these headers.

        Args:
            method: the HTTP method.
            host: ``name`` or ``name:port``; it is always signed, without the scheme's default port.
            path: not yet percent-encoded; starts with ``/``.
            query: decoded name and value pairs; no name twice.
            headers: signed all of them, but for those in ``NEVER_SIGNED``; the client must send them as they are here.
                With ``x-amz-content-sha256`` among them, the body is signed too.
            now: Unix seconds from which on the URL is valid.
            expires: how many seconds it stays valid, 1 to 604,800.
            scheme: ``https`` or ``http``.

        Raises:
            ValueError: if an argument cannot be signed; the message names it.
        """
        if not 0 < expires <= MAX_EXPIRES:
            raise ValueError(f"expires must be 1 to {MAX_EXPIRES} seconds, not {expires}")
        key = self._key_of(now)
        timestamp = key.timestamp(now)
        host_header = _host_header(scheme, host)
        layout = _header_layout(tuple(headers))
        target = encode_path(path)
        head = (
            f"X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={key.credential}"
            f"&X-Amz-Date={timestamp}&X-Amz-Expires={expires}"
        )
        tail = f"&X-Amz-SignedHeaders={layout.signed_encoded}"
        # The token sorts before SignedHeaders when it is signed, but botocore sends it after.
        canonical_query, sent_query = f"{head}{self._security_token}{tail}", f"{head}{tail}{self._security_token}"
        if query:
            pairs = _encode_pairs(query)
            canonical_query = "&".join(sorted([*pairs, *canonical_query.split("&")], key=_pair_order))
            sent_query = f"{'&'.join(pairs)}&{sent_query}"
        canonical = (
            f"{method.upper()}\n{target}\n{canonical_query}\n{layout.canonical(headers, host_header)}\n\n"
            f"{layout.signed}\n{layout.payload_hash(headers)}"
        )
        return f"{scheme}://{host}{target}?{sent_query}&X-Amz-Signature={key.sign(timestamp, canonical)}"

    def authorize(
        self,
        method: str,
        host: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str],
        payload_sha256: str,
        now: int,
        scheme: str = "https",
    ) -> dict[str, str]:
        """Sign a request by headers, to be sent at once.

        Args:
            method: the HTTP method.
            host: as for ``presign``.
            path: not yet percent-encoded; starts with ``/``. Send it as ``encode_path`` makes it.
            query: decoded name and value pairs; no name twice. Send them as ``encode_query`` makes them.
            headers: signed all of them, but for those in ``NEVER_SIGNED``. What an earlier call added is replaced.
            payload_sha256: hex SHA-256 of the body, or ``UNSIGNED_PAYLOAD``.
            now: Unix seconds.
            scheme: ``https`` or ``http``.

        Returns:
            All headers to send, names in lower case: those given, ``host``, ``x-amz-date``, ``x-amz-content-sha256``,
            ``x-amz-security-token`` if there is a session token, and ``authorization``.

        Raises:
            ValueError: if an argument cannot be signed; the message names it.
        """
        if not _is_payload_hash(payload_sha256):
            raise ValueError("payload_sha256 must be 64 lower-case hex digits or UNSIGNED-PAYLOAD")
        key = self._key_of(now)
        timestamp = key.timestamp(now)
        _header_layout(tuple(headers))  # refuses names that differ in case only, before they are merged
        signed = {name.lower(): value for name, value in headers.items() if name.lower() not in _SET_BY_AUTHORIZE}
        signed["host"] = _host_header(scheme, host)
        signed["x-amz-date"] = timestamp
        signed[_CONTENT_SHA256] = payload_sha256
        if self.credentials.session_token is not None:
            signed["x-amz-security-token"] = self.credentials.session_token
        layout = _header_layout(tuple(signed))
        canonical = (
            f"{method.upper()}\n{encode_path(path)}\n{_canonical_query(query)}\n"
            f"{layout.canonical(signed, signed['host'])}\n\n{layout.signed}\n{payload_sha256}"
        )
        signed["authorization"] = (
            f"{ALGORITHM} Credential={self.credentials.access_key}/{key.scope}, "
            f"SignedHeaders={layout.signed}, Signature={key.sign(timestamp, canonical)}"
        )
        return signed

    def _key_of(self, now: int) -> SigningKey:
        key = self._key
        if key is None or key.day != now // _DAY_SECONDS:
            key = self._key = signing_key(self.credentials, self.region, self.service, now)
        return key


def encode_path(path: str) -> str:
    """Percent-encode a path as it is signed: UTF-8, once, ``/`` and RFC 3986's unreserved characters kept.

    Raises:
        ValueError: if it does not start with ``/``.
    """
    if _PLAIN_PATH.fullmatch(path):
        return path
    if not path.startswith("/"):
        raise ValueError("path must start with /")
    return quote(path, safe="/-._~")


def encode_query(query: Sequence[tuple[str, str]]) -> str:
    """Percent-encode name and value pairs as they are signed, in the order given."""
    return "&".join(_encode_pairs(query))


@frozen
class VerifiedRequest:
    """What a valid signature says.

    Attributes:
        access_key: whose key signed.
        signed_headers: names, in lower case; other headers may have been put in by anyone.
        expires_at: Unix seconds from which on the same request is refused.
        payload_sha256: of the body that was signed (64 hex digits), or None if any body may come.
        query: the signed query, decoded, without the parameters of the signature. Read parameters from here, not
            from the request, so that there is one reading of them.
    """

    access_key: str
    signed_headers: tuple[str, ...]
    expires_at: int
    payload_sha256: str | None
    query: Mapping[str, str] = field(repr=False)

    def check_payload(self, sha256: bytes) -> None:
        """Compare the digest (32 bytes) of the body that came with the one that was signed, if any was.

        Raises:
            ContentSHA256Mismatch: if it is another body.
        """
        if self.payload_sha256 is not None and not hmac.compare_digest(sha256.hex(), self.payload_sha256):
            raise ContentSHA256Mismatch


def verify_presigned(
    method: str,
    host: str,
    path: str,
    raw_query: str,
    headers: Mapping[str, str],
    *,
    credentials_of: Callable[[str], Credentials | None],
    region: str,
    now: int,
    max_expires: int = MAX_EXPIRES,
    clock_skew: int = CLOCK_SKEW,
) -> VerifiedRequest:
    """Check a presigned request to S3.

    Args:
        method: as it came.
        host: the host that clients address, with its port unless it is the scheme's default. Stands for the
            ``host`` header.
        path: percent-decoded once, as UTF-8.
        raw_query: as it came, not decoded, without the ``?``.
        headers: all that came, names in any case, values decoded as UTF-8.
        credentials_of: maps an access key to its credentials, or to None.
        region: what the URL must have been signed for.
        now: Unix seconds.
        max_expires: the longest life of a URL that is accepted, in seconds.
        clock_skew: how far ahead the signer's clock may be, in seconds. A URL is never accepted after its expiry.

    Raises:
        SignatureError: a subclass of it, for the client.
    """
    sent = _lower_case(headers)
    if "authorization" in sent:
        raise InvalidArgument("Only one auth mechanism allowed: a presigned URL or an Authorization header")
    parameters = _parse_query(raw_query)
    claim, expires = _presigned_claim(parameters, region, max_expires)
    payload_hash = sent.get(_CONTENT_SHA256, UNSIGNED_PAYLOAD)
    query = [(name, value) for name, value in parameters.items() if name != "X-Amz-Signature"]
    _check_signature(
        claim,
        credentials_of,
        method=method,
        host=host,
        path=path,
        query=query,
        sent=sent,
        payload_hash=payload_hash,
    )
    if claim.signed_at > now + clock_skew:
        raise RequestNotYetValid
    if now >= claim.signed_at + expires:
        raise RequestExpired
    return _verified(claim, claim.signed_at + expires, payload_hash, parameters)


def verify_authorized(
    method: str,
    host: str,
    path: str,
    raw_query: str,
    headers: Mapping[str, str],
    *,
    credentials_of: Callable[[str], Credentials | None],
    region: str,
    now: int,
    clock_skew: int = CLOCK_SKEW,
) -> VerifiedRequest:
    """Check a request to S3 that is signed by its ``Authorization`` header.

    The arguments are those of ``verify_presigned``; the clocks may differ by ``clock_skew`` seconds either way.
    The result's ``check_payload`` must be called once the body has been read.

    Raises:
        SignatureError: a subclass of it, for the client.
    """
    sent = _lower_case(headers)
    parameters = _parse_query(raw_query)
    if "authorization" in sent and not _AUTH_PARAMETERS.isdisjoint(parameters):
        raise InvalidArgument("Only one auth mechanism allowed: a presigned URL or an Authorization header")
    claim = _header_claim(sent, region)
    payload_hash = sent.get(_CONTENT_SHA256)
    if payload_hash is None:
        raise UnsupportedRequest("Missing required header for this request: x-amz-content-sha256")
    _check_signature(
        claim,
        credentials_of,
        method=method,
        host=host,
        path=path,
        query=parameters.items(),
        sent=sent,
        payload_hash=payload_hash,
    )
    if abs(now - claim.signed_at) > clock_skew:
        raise RequestTimeTooSkewed("The difference between the request time and the server's time is too large")
    return _verified(claim, claim.signed_at + clock_skew + 1, payload_hash, parameters)


def _encode(text: str) -> str:
    return quote(text, safe="-._~")


def _encode_pairs(query: Sequence[tuple[str, str]]) -> list[str]:
    names = {name for name, _ in query}
    if len(names) < len(query):
        raise ValueError("query holds a name twice")
    if not _AUTH_PARAMETERS.isdisjoint(names):
        raise ValueError("query holds a parameter of the signature itself")
    return [f"{_encode(name)}={_encode(value)}" for name, value in query]


def _pair_order(pair: str) -> tuple[str, str]:
    # By name first: in whole pairs "a-b=" would sort before "a=".
    name, _, value = pair.partition("=")
    return name, value


def _canonical_query(query: Sequence[tuple[str, str]]) -> str:
    return "&".join(sorted(_encode_pairs(query), key=_pair_order))


@lru_cache(maxsize=64)
def _host_header(scheme: str, host: str) -> str:
    """What a client sends as ``host``: lower-case, without the scheme's default port."""
    port = _DEFAULT_PORTS.get(scheme)
    if port is None:
        raise ValueError(f"scheme must be https or http, not {scheme!r}")
    if _HOST.fullmatch(host) is None:
        raise ValueError(f"host must be a name or name:port, not {host!r}")
    return host.lower().removesuffix(port)


@frozen
class _HeaderLayout:
    """Everything about a set of signed headers that does not depend on their values.

    ``order`` pairs each name in lower case with the name as it was given; ``host`` is the
    given name of that header, if any.
    """

    order: tuple[tuple[str, str], ...]
    host: str | None
    signed: str
    signed_encoded: str
    content_sha256: str | None

    def canonical(self, headers: Mapping[str, str], host: str) -> str:
        if self.host is not None and headers[self.host] != host:
            raise ValueError("headers name another host than the URL")
        return "\n".join(
            [f"{name}:{host if name == 'host' else ' '.join(headers[given].split())}" for name, given in self.order]
        )

    def payload_hash(self, headers: Mapping[str, str]) -> str:
        if self.content_sha256 is None:
            return UNSIGNED_PAYLOAD
        payload_hash = headers[self.content_sha256]
        if not _is_payload_hash(payload_hash):
            raise ValueError("x-amz-content-sha256 must be 64 lower-case hex digits or UNSIGNED-PAYLOAD")
        return payload_hash


@lru_cache(maxsize=256)
def _header_layout(names: tuple[str, ...]) -> _HeaderLayout:
    given: dict[str, str] = {}
    for name in names:
        lower = name.lower()
        if _HEADER_NAME.fullmatch(lower) is None:
            raise ValueError(f"headers: {name!r} is no header name")
        if lower in given:
            raise ValueError(f"headers name {lower} twice")
        given[lower] = name
    order = sorted(({"host": "host"} | given).items())
    order = [(lower, name) for lower, name in order if lower not in NEVER_SIGNED]
    signed = ";".join(lower for lower, _ in order)
    return _HeaderLayout(
        order=tuple(order),
        host=given.get("host"),
        signed=signed,
        signed_encoded=_encode(signed),
        content_sha256=given.get(_CONTENT_SHA256),
    )


def _is_payload_hash(text: str) -> bool:
    return text == UNSIGNED_PAYLOAD or _HEX_SHA256.fullmatch(text) is not None


@frozen
class _Claim:
    """What a request says about its own signature."""

    access_key: str
    timestamp: str
    signed_at: int
    region: str
    signed_headers: tuple[str, ...]
    signature: str = field(repr=False)
    security_token: str | None = field(repr=False)


def _lower_case(headers: Mapping[str, str]) -> dict[str, str]:
    lower = {name.lower(): value for name, value in headers.items()}
    if len(lower) < len(headers):
        raise InvalidArgument("A header was sent twice")
    return lower


def _parse_query(raw_query: str) -> dict[str, str]:
    """Decode a query that can be read in one way only.

    A bare ``+`` is refused: some read it as a space, some as itself, and both would have the same signature.
    """
    if _BAD_QUERY.search(raw_query):
        raise InvalidURI("The query string is not percent-encoded as RFC 3986 has it; write a space %20 and a plus %2B")
    parameters: dict[str, str] = {}
    for pair in raw_query.split("&") if raw_query else ():
        name, value = _decode_pair(pair)
        if name in parameters:
            _refuse_duplicate(name)
        parameters[name] = value
    return parameters


def _decode_pair(pair: str) -> tuple[str, str]:
    name, _, value = pair.partition("=")
    if not name:
        raise InvalidURI("The query string holds a parameter without a name")
    try:
        return unquote_to_bytes(name).decode(), unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise InvalidURI("The query string is not UTF-8") from None


def _refuse_duplicate(name: str) -> None:
    if name.lower().startswith("x-amz-"):
        raise AuthorizationQueryParametersError("A query parameter of the signature was sent twice")
    raise InvalidURI("A query parameter was sent twice")


def _presigned_claim(parameters: Mapping[str, str], region: str, max_expires: int) -> tuple[_Claim, int]:
    """The claim of a presigned URL, and its life in seconds."""
    if _AUTH_PARAMETERS.isdisjoint(parameters):
        raise AccessDenied("The request is not signed")
    missing = [name for name in _REQUIRED_PARAMETERS if name not in parameters]
    if missing:
        raise AuthorizationQueryParametersError(f"Query-string authentication requires {', '.join(missing)}")
    if parameters["X-Amz-Algorithm"] != ALGORITHM:
        raise AuthorizationQueryParametersError(f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    claim = _claim(
        credential=parameters["X-Amz-Credential"],
        timestamp=parameters["X-Amz-Date"],
        signed_headers=parameters["X-Amz-SignedHeaders"],
        signature=parameters["X-Amz-Signature"],
        security_token=parameters.get("X-Amz-Security-Token"),
        region=region,
        malformed=AuthorizationQueryParametersError,
    )
    expires = parameters["X-Amz-Expires"]
    if _SECONDS.fullmatch(expires) is None or not 0 < int(expires) <= max_expires:
        raise AuthorizationQueryParametersError(f"X-Amz-Expires must be 1 to {max_expires} seconds")
    return claim, int(expires)


def _header_claim(sent: Mapping[str, str], region: str) -> _Claim:
    authorization = sent.get("authorization")
    if authorization is None:
        raise AccessDenied("The request is not signed")
    algorithm, _, rest = authorization.strip().partition(" ")
    if algorithm != ALGORITHM:
        raise UnsupportedRequest(f"The authorization mechanism is not supported; use {ALGORITHM}")
    timestamp = sent.get("x-amz-date")
    if timestamp is None:
        raise AccessDenied("AWS authentication requires a valid x-amz-date header")
    fields = _authorization_fields(rest)
    return _claim(
        credential=fields["Credential"],
        timestamp=timestamp,
        signed_headers=fields["SignedHeaders"],
        signature=fields["Signature"],
        security_token=sent.get("x-amz-security-token"),
        region=region,
        malformed=AuthorizationHeaderMalformed,
    )


def _authorization_fields(text: str) -> dict[str, str]:
    pairs = [part.strip().partition("=") for part in text.split(",")]
    if sorted(name for name, _, _ in pairs) != sorted(_AUTHORIZATION_FIELDS):
        raise AuthorizationHeaderMalformed(f"Authorization must hold {', '.join(_AUTHORIZATION_FIELDS)}, each once")
    return {name: value for name, _, value in pairs}


def _claim(
    *,
    credential: str,
    timestamp: str,
    signed_headers: str,
    signature: str,
    security_token: str | None,
    region: str,
    malformed: type[SignatureError],
) -> _Claim:
    access_key, *scope = credential.rsplit("/", 4)
    if not access_key or len(scope) != 4:
        raise malformed("The credential must be access-key/date/region/s3/aws4_request")
    if scope[1] != region:
        raise malformed(f"The credential names the wrong region; expecting '{region}'")
    if scope[2:] != ["s3", _TERMINATOR]:
        raise malformed("The credential must end in /s3/aws4_request")
    signed_at = _parse_timestamp(timestamp)
    if signed_at is None:
        raise malformed("The date must be in the ISO 8601 form YYYYMMDDTHHMMSSZ")
    if scope[0] != timestamp[:8]:
        raise malformed("The credential's date is not the date of the request")
    return _Claim(
        access_key=access_key,
        timestamp=timestamp,
        signed_at=signed_at,
        region=region,
        signed_headers=_parse_signed_headers(signed_headers, malformed),
        signature=signature,
        security_token=security_token,
    )


def _parse_timestamp(text: str) -> int | None:
    """Unix seconds, or None."""
    if _TIMESTAMP.fullmatch(text) is None:
        return None
    try:
        return int(datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


def _parse_signed_headers(text: str, malformed: type[SignatureError]) -> tuple[str, ...]:
    names = text.split(";")
    if not all(_HEADER_NAME.fullmatch(name) for name in names) or names != sorted(set(names)):
        raise malformed("SignedHeaders must be lower-case header names, sorted, each once")
    if "host" not in names:
        raise malformed("SignedHeaders must hold host")
    return tuple(names)


def _check_signature(
    claim: _Claim,
    credentials_of: Callable[[str], Credentials | None],
    *,
    method: str,
    host: str,
    path: str,
    query: Iterable[tuple[str, str]],
    sent: Mapping[str, str],
    payload_hash: str,
) -> None:
    """Everything that presigned and header-signed requests have in common; times excepted."""
    unsigned = sorted(name for name in sent if name.startswith("x-amz-") and name not in claim.signed_headers)
    if unsigned:
        raise AccessDenied("There were headers present in the request which were not signed: " + ", ".join(unsigned))
    if not _is_payload_hash(payload_hash):
        raise InvalidArgument("x-amz-content-sha256 must be UNSIGNED-PAYLOAD or a SHA-256 as 64 lower-case hex digits")
    credentials = credentials_of(claim.access_key)
    if credentials is None:
        raise InvalidAccessKeyId("The access key is not known here")
    _check_security_token(claim, credentials)
    values = {**sent, "host": host.lower()}
    if any(name not in values for name in claim.signed_headers):
        raise SignatureDoesNotMatch("A header that was signed was not sent")
    expected = _expected_signature(
        claim, credentials, method=method, path=path, query=query, values=values, payload_hash=payload_hash
    )
    if not hmac.compare_digest(expected.encode(), claim.signature.encode("utf-8", "replace")):
        raise SignatureDoesNotMatch


def _check_security_token(claim: _Claim, credentials: Credentials) -> None:
    expected, sent = credentials.session_token, claim.security_token
    if expected is None and sent is None:
        return
    if expected is None or sent is None or not hmac.compare_digest(expected.encode(), sent.encode("utf-8", "replace")):
        raise InvalidSecurityToken("The security token is missing, or is not that of the access key")


def _expected_signature(
    claim: _Claim,
    credentials: Credentials,
    *,
    method: str,
    path: str,
    query: Iterable[tuple[str, str]],
    values: Mapping[str, str],
    payload_hash: str,
) -> str:
    pairs = sorted((_encode(name), _encode(value)) for name, value in query)
    lines = [f"{name}:{' '.join(values[name].split())}" for name in claim.signed_headers]
    key = signing_key(credentials, claim.region, "s3", claim.signed_at)
    try:
        canonical = "\n".join(
            [
                method,
                encode_path(path),
                "&".join(f"{name}={value}" for name, value in pairs),
                *lines,
                "",
                ";".join(claim.signed_headers),
                payload_hash,
            ]
        )
        return key.sign(claim.timestamp, canonical)
    except ValueError:
        # A path without its slash, or text that is no UTF-8: nothing that anyone could have signed.
        raise SignatureDoesNotMatch from None


def _verified(claim: _Claim, expires_at: int, payload_hash: str, parameters: Mapping[str, str]) -> VerifiedRequest:
    return VerifiedRequest(
        access_key=claim.access_key,
        signed_headers=claim.signed_headers,
        expires_at=expires_at,
        payload_sha256=None if payload_hash == UNSIGNED_PAYLOAD else payload_hash,
        query={name: value for name, value in parameters.items() if name not in _AUTH_PARAMETERS},
    )
