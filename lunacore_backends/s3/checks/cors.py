"""Whether browsers may use tickets: a pre-flight as the Secure Frame's browser sends it, to where the frame sends it.

Follows the Fetch Standard, "CORS-preflight request", and the Amazon S3 API Reference, PutBucketCors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from lunacore.diagnosis import Repair, ok, problem, warning
from lunacore.errors import StoreUnavailable
from lunacore_backends.s3.checks.bucket import split
from lunacore_backends.s3.checks.configuration import add_rule, change

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lunacore.diagnosis import Finding
    from lunacore_backends.s3.checks.bucket import Answer, Bucket
    from lunacore_backends.s3.checks.scratch import Scratch

_METHODS: Final = ("GET", "PUT", "HEAD")
_MAX_AGE: Final = 3600
# Browsers set these themselves, so no pre-flight asks for them.
_OF_THE_BROWSER: Final = frozenset({"host", "content-length"})
_ALLOWED_HEADERS: Final = (
    "content-type",
    "if-match",
    "if-none-match",
    "range",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
)
# Tickets to read confirmed values sign if-match, which has to be allowed.
_ETAG: Final = "00000000000000000000000000000000"
_ELSEWHERE: Final = "https://lunacore-doctor.invalid"


def examine(bucket: Bucket, scratch: Scratch) -> Iterator[Finding]:
    """Send pre-flights for an upload and a download, and a download, from the origin of the frame and from another one."""
    origin = _origin_of(bucket.circumstances.origin)
    key = scratch.key()
    upload = bucket.upload_request(key, public=True, write_once=bucket.settings.write_once)
    download = bucket.download_request(key, public=True)
    pinned = bucket.download_request(key, public=True, etag=_ETAG)
    if _origin_of(upload[0]) == origin:
        yield ok(bucket.part, "the frame and the bucket share an origin, so browsers need no CORS rule")
        return
    try:
        faults = [*_faults(bucket, "PUT", *upload, origin), *_faults(bucket, "GET", *pinned, origin)]
        elsewhere = _preflight(bucket, "GET", *pinned, _ELSEWHERE)
        written = bucket.send("PUT", key, headers=bucket.encryption, body=b"lunacore doctor; this may be deleted")
        shown = bucket.ask_public("GET", download[0], {**download[1], "origin": origin})
    except StoreUnavailable as failure:
        yield _unreachable(bucket, _origin_of(upload[0]), failure)
        return
    if faults:
        yield _missing(bucket, origin, "; ".join(dict.fromkeys(faults)))
        return
    if _header(elsewhere, "access-control-allow-origin") in ("*", _ELSEWHERE):
        yield _too_open(bucket, origin)
    else:
        yield ok(bucket.part, f"browsers may use tickets from {origin} (pre-flights for PUT and GET)")
    exposed = _listed(shown, "access-control-expose-headers")
    if written.fine and not exposed & {"etag", "*"}:
        yield warning(
            bucket.part, "the frame may not see the ETag of what it uploads: it is not exposed", _remedy(bucket, origin)
        )


def _faults(bucket: Bucket, method: str, url: str, headers: Mapping[str, str], origin: str) -> Iterator[str]:
    """What a browser would refuse."""
    answer = _preflight(bucket, method, url, headers, origin)
    allowed = _header(answer, "access-control-allow-origin")
    if not 200 <= answer.status < 300 or not allowed:
        yield f"the pre-flight from {origin} is refused"
        return
    if allowed not in ("*", origin):
        yield f"another origin is allowed ({allowed}), and not {origin}"
    # GET is allowed by the standard without being named.
    if method != "GET" and not _listed(answer, "access-control-allow-methods") & {method.lower(), "*"}:
        yield f"the method {method} is not allowed"
    permitted = _listed(answer, "access-control-allow-headers")
    if "*" not in permitted and (refused := _asked(headers) - permitted):
        yield f"headers are not allowed: {', '.join(sorted(refused))}"


def _preflight(bucket: Bucket, method: str, url: str, headers: Mapping[str, str], origin: str) -> Answer:
    sent = {"origin": origin, "access-control-request-method": method}
    if asked := _asked(headers):
        sent["access-control-request-headers"] = ",".join(sorted(asked))
    return bucket.ask_public("OPTIONS", url, sent)


def _missing(bucket: Bucket, origin: str, faults: str) -> Finding:
    return problem(
        bucket.part,
        f"browsers may not use tickets (CORS): {faults}",
        _remedy(bucket, origin),
        None if bucket.is_minio else _repair(bucket, origin),
    )


def _too_open(bucket: Bucket, origin: str) -> Finding:
    # One more rule narrows nothing where a rule lets everyone in; where there is none, the service does so itself.
    is_default = bucket.send("GET", query={"cors": ""}).code == "NoSuchCORSConfiguration"
    return warning(
        bucket.part,
        f"browsers may use tickets from {origin}, but also from every other origin (CORS)",
        _remedy(bucket, origin),
        _repair(bucket, origin) if is_default and not bucket.is_minio else None,
    )


def _repair(bucket: Bucket, origin: str) -> Repair:
    return Repair(
        f"{bucket.settings.shown}: add a CORS rule for exactly {origin}: {', '.join(_METHODS)} with the signed headers, "
        "ETag exposed",
        lambda: change(bucket, "cors", lambda present: add_rule(present, "CORSConfiguration", _rule(origin))),
    )


def _remedy(bucket: Bucket, origin: str) -> str:
    if bucket.is_minio:
        return (
            f"MinIO has no CORS rules of buckets; set MINIO_API_CORS_ALLOW_ORIGIN={origin} in its environment and restart "
            f"it, or: mc admin config set ALIAS api cors_allow_origin={origin}"
        )
    rule = {
        "AllowedOrigins": [origin],
        "AllowedMethods": _METHODS,
        "AllowedHeaders": _ALLOWED_HEADERS,
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": _MAX_AGE,
    }
    command = bucket.aws("put-bucket-cors", "cors-configuration", {"CORSRules": [rule]})
    return f"{command} (this replaces the rules that are there; --fix adds to them)"


def _unreachable(bucket: Bucket, where: str, failure: StoreUnavailable) -> Finding:
    reason = split(str(failure), bucket.part)[0].rpartition(": ")[2]
    if bucket.settings.public_endpoint is None:
        return problem(
            bucket.part, f"pre-flights get no answer: {reason}", "run the checkup again; see the service's log"
        )
    return warning(
        bucket.part,
        f"public_endpoint cannot be reached from here, so what browsers may do there is not known: {reason}",
        "check public_endpoint; if only browsers' networks reach it, try there: "
        f"curl -i -X OPTIONS -H 'Origin: {bucket.circumstances.origin}' -H 'Access-Control-Request-Method: PUT' "
        f"{where}/{bucket.settings.bucket}/",
    )


def _rule(origin: str) -> str:
    rule = ET.Element("CORSRule")
    ET.SubElement(rule, "AllowedOrigin").text = origin
    for method in _METHODS:
        ET.SubElement(rule, "AllowedMethod").text = method
    for name in _ALLOWED_HEADERS:
        ET.SubElement(rule, "AllowedHeader").text = name
    ET.SubElement(rule, "ExposeHeader").text = "ETag"
    ET.SubElement(rule, "MaxAgeSeconds").text = str(_MAX_AGE)
    return ET.tostring(rule, encoding="unicode")


def _asked(headers: Mapping[str, str]) -> set[str]:
    return {name.lower() for name in headers} - _OF_THE_BROWSER


def _header(answer: Answer, name: str) -> str:
    return answer.headers.get(name, "")


def _listed(answer: Answer, name: str) -> set[str]:
    return {one.strip().lower() for one in _header(answer, name).split(",")}


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
