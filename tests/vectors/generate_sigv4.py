"""Write the vectors of Signature Version 4 to standard output.

    python tests/vectors/generate_sigv4.py > tests/vectors/sigv4.json

A second implementation of docs/spec/sigv4.md that imports nothing of LunaCore, so that vectors and code can disagree. It signs
whatever it is told, so that an invalid vector is wrong in one point only and its signature is right in all others.
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import json
import sys
import time
from typing import Any
from urllib.parse import quote

Vector = dict[str, Any]
Pairs = list[tuple[str, str]]

UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
NOW = 1_700_000_000
DAY = "20231114"
TIMESTAMP = "20231114T221320Z"
REGION = "us-east-1"
HOST = "files.example.com"
LASTING = {"access_key": "LUNAEXAMPLE", "secret_key": "luna/example+secret", "session_token": None}
TEMPORARY = {"access_key": "LUNATEMPORARY", "secret_key": "another/secret", "session_token": "token/+=é"}
AWS = {
    "access_key": "AKIAIOSFODNN7EXAMPLE",
    "secret_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "session_token": None,
}
AWS_HOST = "examplebucket.s3.amazonaws.com"
AWS_NOW = calendar.timegm((2013, 5, 24, 0, 0, 0))
TRIO = {
    "x-amz-server-side-encryption-customer-algorithm": "AES256",
    "x-amz-server-side-encryption-customer-key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "x-amz-server-side-encryption-customer-key-md5": "tP/LI3N87DFaSk0aoqYgzg==",
}


def encode(text: str) -> str:
    return quote(text, safe="-._~")


def joined(pairs: Pairs) -> str:
    return "&".join(f"{encode(name)}={encode(value)}" for name, value in pairs)


def signature_of(
    secret: str,
    scope: str,
    timestamp: str,
    method: str,
    path: str,
    pairs: Pairs,
    headers: dict[str, str],
    names: list[str],
    payload: str,
) -> str:
    query = "&".join("=".join(pair) for pair in sorted((encode(name), encode(value)) for name, value in pairs))
    lower = {name.lower(): value for name, value in headers.items()}
    lines = [f"{name}:{' '.join(lower.get(name, '').split())}" for name in names]
    canonical = "\n".join([method, quote(path, safe="/~"), query, *lines, "", ";".join(names), payload])
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    to_sign = f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def presigned_query(
    *,
    credentials: dict[str, Any] = LASTING,
    region: str = REGION,
    method: str = "GET",
    host: str = HOST,
    path: str = "/luna/object",
    query: Pairs | None = None,
    headers: dict[str, str] | None = None,
    now: int = NOW,
    expires: int | str = 60,
    names: list[str] | None = None,
    service: str = "s3",
    changed: dict[str, str | None] | None = None,
) -> str:
    """A presigned query; ``changed`` replaces (or, with None, drops) parameters before they are signed."""
    headers = {**(headers or {}), "host": host}
    names = sorted(name.lower() for name in headers) if names is None else names
    timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    scope = f"{timestamp[:8]}/{region}/{service}/aws4_request"
    parameters: dict[str, str | None] = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{credentials['access_key']}/{scope}",
        "X-Amz-Date": timestamp,
        "X-Amz-Expires": str(expires),
        "X-Amz-SignedHeaders": ";".join(names),
        "X-Amz-Security-Token": credentials["session_token"],
    }
    parameters.update(changed or {})
    pairs = [*(query or []), *((name, value) for name, value in parameters.items() if value is not None)]
    payload = headers.get("x-amz-content-sha256", UNSIGNED)
    signature = signature_of(credentials["secret_key"], scope, timestamp, method, path, pairs, headers, names, payload)
    return f"{joined(pairs)}&X-Amz-Signature={signature}"


def presign(name: str, **given: Any) -> Vector:
    case: Vector = {
        "credentials": LASTING,
        "region": REGION,
        "method": "GET",
        "scheme": "https",
        "host": HOST,
        "path": "/luna/object",
        "query": [],
        "headers": {},
        "now": NOW,
        "expires": 60,
    } | given
    scheme = case["scheme"]
    host_header = case["host"].lower().removesuffix({"https": ":443", "http": ":80"}[scheme])
    query = presigned_query(**{key: value for key, value in case.items() if key != "scheme"} | {"host": host_header})
    return {"name": name, **case, "url": f"{scheme}://{case['host']}{quote(case['path'], safe='/~')}?{query}"}


def authorized_headers(
    *,
    credentials: dict[str, Any] = LASTING,
    region: str = REGION,
    method: str = "GET",
    host: str = HOST,
    path: str = "/luna/object",
    query: Pairs | None = None,
    headers: dict[str, str] | None = None,
    payload_sha256: str = EMPTY_SHA256,
    now: int = NOW,
    names: list[str] | None = None,
    changed: dict[str, str | None] | None = None,
) -> dict[str, str]:
    timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    every: dict[str, str | None] = {
        **(headers or {}),
        "host": host,
        "x-amz-date": timestamp,
        "x-amz-content-sha256": payload_sha256,
        "x-amz-security-token": credentials["session_token"],
        **(changed or {}),
    }
    sent = {name.lower(): value for name, value in every.items() if value is not None}
    names = sorted(sent) if names is None else names
    scope = f"{timestamp[:8]}/{region}/s3/aws4_request"
    payload = sent.get("x-amz-content-sha256", "")
    signature = signature_of(
        credentials["secret_key"], scope, timestamp, method, path, query or [], sent, names, payload
    )
    sent["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials['access_key']}/{scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return sent


def authorize(name: str, **given: Any) -> Vector:
    case: Vector = {
        "credentials": LASTING,
        "region": REGION,
        "method": "GET",
        "host": HOST,
        "path": "/luna/object",
        "query": [],
        "headers": {},
        "payload_sha256": EMPTY_SHA256,
        "now": NOW,
    } | given
    return {"name": name, **case, "signed": authorized_headers(**case)}


def invalid(name: str, code: str, kind: str, query: str, headers: dict[str, str], **given: Any) -> Vector:
    return {
        "name": name,
        "code": code,
        "kind": kind,
        "credentials": given.get("credentials", LASTING),
        "region": REGION,
        "method": given.get("method", "GET"),
        "host": given.get("host", HOST),
        "path": given.get("path", "/luna/object"),
        "raw_query": query,
        "headers": headers,
        "now": given.get("now", NOW),
    }


PARAMETERS = "AuthorizationQueryParametersError"
NO_MATCH = "SignatureDoesNotMatch"


def invalid_presigned() -> list[Vector]:
    def case(name: str, code: str, query: str, headers: dict[str, str] | None = None, **given: Any) -> Vector:
        return invalid(name, code, "presigned", query, headers or {}, **given)

    good = presigned_query()
    sealed = presigned_query(headers=TRIO)
    temporary = presigned_query(credentials=TEMPORARY)
    scope = f"{DAY}/{REGION}/s3/aws4_request"
    access_key = LASTING["access_key"]

    def changed(**parameters: str | None) -> str:
        return presigned_query(changed={f"X-Amz-{name.replace('_', '-')}": text for name, text in parameters.items()})

    return [
        case("no signature at all", "AccessDenied", ""),
        case("another method", NO_MATCH, good, method="PUT"),
        case("another host", NO_MATCH, good, host="files.example.org"),
        case("another path", NO_MATCH, good, path="/luna/other"),
        case("a path with a dot segment is not its normal form", NO_MATCH, good, path="/luna/./object"),
        case("a path without its slash", NO_MATCH, good, path="luna/object"),
        case("a parameter added", NO_MATCH, good + "&versionId=1"),
        case("another secret key", NO_MATCH, good, credentials=LASTING | {"secret_key": "x"}),
        case("an unknown access key", "InvalidAccessKeyId", good, credentials=TEMPORARY),
        case("a signed header changed", NO_MATCH, sealed, TRIO | {next(iter(TRIO)): "AES128"}),
        case("a signed header left out", NO_MATCH, sealed, dict(list(TRIO.items())[:2])),
        case("an x-amz- header that was not signed", "AccessDenied", good, {"x-amz-acl": "public-read"}),
        case("the signature cut short", NO_MATCH, good[:-1]),
        case("the signature in upper case", NO_MATCH, good[:-64] + good[-64:].upper()),
        case("expired to the second", "AccessDenied", good, now=NOW + 60),
        case("signed beyond the clock skew", "AccessDenied", good, now=NOW - 901),
        case("expiry stretched", NO_MATCH, good.replace("Expires=60", "Expires=61")),
        case("time moved", NO_MATCH, good.replace(TIMESTAMP, "20231114T221321Z")),
        case("a life of no seconds", PARAMETERS, presigned_query(expires=0)),
        case("a life beyond a week", PARAMETERS, presigned_query(expires=604_801)),
        case("a negative life", PARAMETERS, presigned_query(expires=-1)),
        case("a life that is no number", PARAMETERS, presigned_query(expires="1e3")),
        case("no algorithm", PARAMETERS, changed(Algorithm=None)),
        case("another algorithm", PARAMETERS, changed(Algorithm="AWS4-HMAC-SHA1")),
        case("no credential", PARAMETERS, changed(Credential=None)),
        case("no date", PARAMETERS, changed(Date=None)),
        case("no expiry", PARAMETERS, changed(Expires=None)),
        case("no signed headers", PARAMETERS, changed(SignedHeaders=None)),
        case("no signature parameter", PARAMETERS, good.partition("&X-Amz-Signature")[0]),
        case("a credential without a scope", PARAMETERS, changed(Credential=access_key)),
        case("a credential without an access key", PARAMETERS, changed(Credential=f"/{scope}")),
        case("another region", PARAMETERS, presigned_query(region="eu-west-1")),
        case("another service", PARAMETERS, presigned_query(service="sqs")),
        case(
            "a scope of another day", PARAMETERS, changed(Credential=f"{access_key}/{scope}".replace(DAY, "20231113"))
        ),
        case("a date of another form", PARAMETERS, changed(Date="2023-11-14T22:13:20Z")),
        case("a date that does not exist", PARAMETERS, changed(Date="20231314T221320Z")),
        case("host not signed", PARAMETERS, presigned_query(names=["range"]), {"range": "bytes=0-1"}),
        case("signed headers not sorted", PARAMETERS, presigned_query(names=["range", "host"]), {"range": "bytes=0-1"}),
        case("a signed header named twice", PARAMETERS, presigned_query(names=["host", "host"])),
        case("a signed header in upper case", PARAMETERS, presigned_query(names=["Range", "host"]), {"range": "x"}),
        case("a parameter of the signature sent twice", PARAMETERS, good + "&X-Amz-Expires=60"),
        case("another parameter sent twice", "InvalidURI", presigned_query(query=[("a", "1"), ("a", "2")])),
        case("a parameter without a name", "InvalidURI", presigned_query(query=[("", "1")])),
        case("a bare plus", "InvalidURI", presigned_query(query=[("a", "+")]).replace("%2B", "+", 1)),
        case("a broken escape", "InvalidURI", good + "&a=%2"),
        case("a query that is not UTF-8", "InvalidURI", good + "&a=%FF"),
        case("an Authorization header as well", "InvalidArgument", good, {"authorization": "AWS4-HMAC-SHA256 x"}),
        case("a session token that is missing", "InvalidToken", good, credentials=LASTING | {"session_token": "x"}),
        case(
            "a session token of someone else", "InvalidToken", temporary, credentials=TEMPORARY | {"session_token": "x"}
        ),
        case("a session token of a lasting key", "InvalidToken", changed(Security_Token="x")),
        case(
            "a payload hash that is none",
            "InvalidArgument",
            presigned_query(headers={"x-amz-content-sha256": "x"}),
            {"x-amz-content-sha256": "x"},
        ),
    ]


def invalid_authorized() -> list[Vector]:
    good = authorized_headers()
    malformed = "AuthorizationHeaderMalformed"

    def case(name: str, code: str, headers: dict[str, str], query: str = "", **given: Any) -> Vector:
        return invalid(name, code, "authorized", query, headers, **given)

    def edited(old: str, new: str) -> dict[str, str]:
        return good | {"authorization": good["authorization"].replace(old, new)}

    def without(*names: str) -> dict[str, str]:
        return {name: value for name, value in good.items() if name not in names}

    partial = ["host", "x-amz-date"]
    return [
        case("header: no signature at all", "AccessDenied", without("authorization")),
        case("header: another method", NO_MATCH, good, method="PUT"),
        case("header: another path", NO_MATCH, good, path="/luna/other"),
        case("header: another query", NO_MATCH, good, "list-type=2"),
        case("header: another host", NO_MATCH, good, host="files.example.org"),
        case("header: another payload", NO_MATCH, good | {"x-amz-content-sha256": UNSIGNED}),
        case("header: time moved", NO_MATCH, good | {"x-amz-date": "20231114T221321Z"}),
        case("header: an unknown access key", "InvalidAccessKeyId", good, credentials=TEMPORARY),
        case("header: too late", "RequestTimeTooSkewed", good, now=NOW + 901),
        case("header: too early", "RequestTimeTooSkewed", good, now=NOW - 901),
        case("header: no date", "AccessDenied", without("x-amz-date")),
        case("header: a date of another form", malformed, good | {"x-amz-date": "Tue, 14 Nov 2023 22:13:20 GMT"}),
        case(
            "header: a payload hash that is none", "InvalidArgument", authorized_headers(payload_sha256="STREAMING-X")
        ),
        case("header: no payload hash", "InvalidRequest", authorized_headers(changed={"x-amz-content-sha256": None})),
        case("header: payload hash not signed", "AccessDenied", authorized_headers(names=partial)),
        case("header: host not signed", malformed, authorized_headers(names=["x-amz-content-sha256", "x-amz-date"])),
        case("header: another mechanism", "InvalidRequest", good | {"authorization": "AWS LUNAEXAMPLE:c2ln"}),
        case("header: no signature field", malformed, edited("Signature=", "Signatur=")),
        case("header: a field twice", malformed, good | {"authorization": good["authorization"] + ", Signature=x"}),
        case("header: another region", malformed, authorized_headers(region="eu-west-1")),
        case("header: another service", malformed, edited("/s3/", "/sqs/")),
        case("header: a presigned query as well", "InvalidArgument", good, presigned_query()),
        case(
            "header: a session token of a lasting key",
            "InvalidToken",
            authorized_headers(changed={"x-amz-security-token": "x"}),
        ),
        case(
            "header: a parameter sent twice",
            "InvalidURI",
            authorized_headers(query=[("a", "1"), ("a", "2")]),
            "a=1&a=2",
        ),
    ]


def main() -> None:
    upload = TRIO | {"content-length": "19", "if-none-match": "*"}
    aws = {"credentials": AWS, "host": AWS_HOST, "now": AWS_NOW}
    storage_class = {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}
    welcome = hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()
    vectors = {
        "format": "AWS Signature Version 4 as LunaCore uses it (docs/spec/sigv4.md)",
        "presign": [
            presign("AWS's worked example", **aws, path="/test.txt", expires=86_400),
            presign("plain download"),
            presign("download with a customer key", headers=TRIO),
            presign("upload with a customer key, a length and write-once", method="PUT", headers=upload),
            presign("temporary credentials", credentials=TEMPORARY, headers=TRIO),
            presign("a port that is not the default", scheme="http", host="localhost:9000"),
            presign("a default port is not signed", host="Files.Example.com:443"),
            presign("a path to encode", path="/luna/a b+c%25/../é//~$&?#'()*!"),
            presign("a query to encode and sort", query=[("b", "+ &=é/"), ("a-b", "1"), ("a", ""), ("Z", "~")]),
            presign("a header value with runs of white space", headers={"Range": "  bytes=0-1 ,\t 5-6 "}),
            presign("a body that is signed too", method="PUT", headers={"x-amz-content-sha256": EMPTY_SHA256}),
            presign("the first second of a day, the longest life", now=1_700_006_400, expires=604_800),
        ],
        "authorize": [
            authorize("AWS's example: GET object", **aws, path="/test.txt", headers={"Range": "bytes=0-9"}),
            authorize(
                "AWS's example: PUT object",
                **aws,
                method="PUT",
                path="/test$file.text",
                headers=storage_class,
                payload_sha256=welcome,
            ),
            authorize("AWS's example: GET bucket lifecycle", **aws, path="/", query=[("lifecycle", "")]),
            authorize("AWS's example: GET bucket", **aws, path="/", query=[("max-keys", "2"), ("prefix", "J")]),
            authorize("temporary credentials", credentials=TEMPORARY, headers=TRIO),
            authorize("a body that is not signed", method="PUT", payload_sha256=UNSIGNED),
        ],
        "invalid": [*invalid_presigned(), *invalid_authorized()],
    }
    json.dump(vectors, sys.stdout, indent=1, ensure_ascii=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
