"""Presigned URLs together with customer keys (SSE-C), against SeaweedFS, MinIO and the gateway: what is granted and what is not.

Each case signs a request for a new object, sends it, perhaps changed, and looks at the answer and at what is there afterwards.
Whatever the answer, a refused request has changed nothing and told nothing, and a granted one has done what was signed.
Where servers differ, the table says how and why.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import os
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from attrs import field, frozen

from lunacore import ssec
from lunacore.gateway_keys import REGION
from lunacore.sigv4 import Credentials, Signer
from lunacore.testing.servers import WSGIProcess
from tests.servers.s3_server import ACCESS_KEY, READY, SECRET_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.servers.minio import MinIO
    from tests.servers.seaweedfs import SeaweedFS

pytestmark = pytest.mark.servers

GATEWAY_CREDENTIALS = Credentials(access_key="lunacore-gateway-1", secret_key="only for tests")
ALGORITHM = "x-amz-server-side-encryption-customer-algorithm"
KEY = "x-amz-server-side-encryption-customer-key"
MD5 = "x-amz-server-side-encryption-customer-key-md5"
TRIO = (ALGORITHM, KEY, MD5)
VALUE = b"4111 1111 1111 1111, to be kept from sight"
OTHER_KEY = bytes(range(32))
OTHER = ssec.headers(OTHER_KEY)
ONCE = {"if-none-match": "*"}
REFUSED = range(400, 500)
FORBIDDEN = (400, 403)
"""Wrong is wrong: some servers first look at the signature (403), some first at the header (400)."""


@frozen
class Case:
    """One request.

    Attributes:
        name: of the case.
        method: the method that is signed.
        expected: the statuses that may be answered.
        there: whether an object with ``VALUE`` lies there already.
        signed: headers that are signed besides host and the key's trio; None takes one away.
        sent: changes to the headers when they are sent; None leaves one out.
        sent_method: another method to send with.
        query: added to the URL after it was signed.
        replace: text of the URL that is changed after it was signed, and what to.
        moved: the URL is changed to name another object.
        body: what a PUT sends.
        chunked: send the body in chunks, without its length.
        later: seconds between now and the time of signing.
        lives: seconds that the URL is valid.
        prefix: what stands before the 64 hex digits of the object's name.
        signer: other credentials or another region.
        answer: what a GET that is granted answers with.
        leaves: what single servers hold afterwards where it is not what was sent.
        differs: statuses of single servers; the comment in the table says why.
    """

    name: str
    method: str
    expected: tuple[int, ...] | range
    there: bool = False
    signed: Mapping[str, str | None] = field(factory=dict)
    sent: Mapping[str, str | None] = field(factory=dict)
    sent_method: str = ""
    query: str = ""
    replace: tuple[str, str] = ("", "")
    moved: bool = False
    body: bytes = VALUE
    chunked: bool = False
    later: int = 0
    lives: int = 60
    prefix: str = ""
    signer: Mapping[str, str] = field(factory=dict)
    answer: bytes = VALUE
    leaves: Mapping[str, bytes] = field(factory=dict)
    differs: Mapping[str, tuple[int, ...] | range] = field(factory=dict)


def put(name: str, *expected: int, **more: object) -> Case:
    more.setdefault("signed", ONCE)
    return Case(name, "PUT", expected or REFUSED, **more)  # type: ignore[arg-type]


def get(name: str, *expected: int, **more: object) -> Case:
    more.setdefault("there", True)
    return Case(name, "GET", expected or REFUSED, **more)  # type: ignore[arg-type]


def without(*names: str) -> dict[str, None]:
    return dict.fromkeys(names)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def md5(data: bytes) -> str:
    return b64(hashlib.md5(data).digest())


CASES = [
    # method
    put("put", 200),
    get("get", 200),
    Case("head", "HEAD", (200,), there=True),
    put("put sent as get", 403, sent_method="GET", there=True),
    put("put sent as head", 403, sent_method="HEAD", there=True),
    put("put sent as delete", 403, sent_method="DELETE", there=True),
    put("put sent as post", 400, 403, 405, sent_method="POST"),
    get("get sent as put", 403, sent_method="PUT", there=False),
    get("get sent as put, over an object", 403, sent_method="PUT"),
    get("get sent as delete", 403, sent_method="DELETE"),
    get("get sent as head", 403, sent_method="HEAD"),
    get("get of nothing", 404, there=False),
    # a signed header is missing
    put("put without algorithm", *FORBIDDEN, sent=without(ALGORITHM)),
    put("put without key", *FORBIDDEN, sent=without(KEY)),
    put("put without md5", *FORBIDDEN, sent=without(MD5)),
    put("put without the trio", *FORBIDDEN, sent=without(*TRIO)),
    put("put without if-none-match", *FORBIDDEN, sent=without("if-none-match")),
    put("put without if-none-match, over an object", *FORBIDDEN, sent=without("if-none-match"), there=True),
    get("get without algorithm", *FORBIDDEN, sent=without(ALGORITHM)),
    get("get without key", *FORBIDDEN, sent=without(KEY)),
    get("get without md5", *FORBIDDEN, sent=without(MD5)),
    get("get without the trio", *FORBIDDEN, sent=without(*TRIO)),
    # a signed header is another
    put("put with another key", *FORBIDDEN, sent={KEY: OTHER[KEY]}),
    put("put with another trio", 403, sent=OTHER),
    put("put with another md5", *FORBIDDEN, sent={MD5: OTHER[MD5]}),
    put("put with another algorithm", *FORBIDDEN, sent={ALGORITHM: "AES128"}),
    put("put with a key that is no base64", *FORBIDDEN, sent={KEY: "!" * 44}),
    put("put with another host", 403, sent={"host": "elsewhere.example.com"}),
    get("get with another key", *FORBIDDEN, sent={KEY: OTHER[KEY]}),
    get("get with another trio", *FORBIDDEN, sent=OTHER),
    get("get with another md5", *FORBIDDEN, sent={MD5: OTHER[MD5]}),
    get("get with another host", 403, sent={"host": "elsewhere.example.com"}),
    # signed, but no key that holds
    put("signed: another md5", 400, signed={**ONCE, MD5: OTHER[MD5]}),
    put("signed: key of 16 bytes", 400, signed={**ONCE, KEY: b64(bytes(16)), MD5: md5(bytes(16))}),
    put("signed: algorithm AES128", 400, signed={**ONCE, ALGORITHM: "AES128"}),
    put("signed: no algorithm", 400, signed={**ONCE, ALGORITHM: None}),
    put("signed: no key", 400, signed={**ONCE, KEY: None}),
    put("signed: no md5", 400, signed={**ONCE, MD5: None}),
    put(
        "signed: key and another encryption",
        400,
        signed={**ONCE, "x-amz-server-side-encryption": "AES256"},
        # SeaweedFS fails on it, and the gateway has no other encryption.
        differs={"seaweedfs": (500,), "gateway": (501,)},
    ),
    get("signed: get with another key", 403, signed=OTHER),
    get("signed: get without any key", 400, signed=without(*TRIO)),
    get("signed: get without md5", 400, signed=without(MD5)),
    get("signed: get of nothing with another key", 404, signed=OTHER, there=False),
    # more than was signed
    put("extra content-type", 200, sent={"content-type": "image/png"}),
    # MinIO answers 400 where a header that it knows to need a signature has none.
    put("extra metadata", 403, sent={"x-amz-meta-note": "text"}, differs={"minio": (400,)}),
    # MinIO has no ACLs and overlooks it.
    put("extra acl", 403, sent={"x-amz-acl": "public-read"}, differs={"minio": (200,)}),
    put("extra encryption", *FORBIDDEN, sent={"x-amz-server-side-encryption": "AES256"}),
    # MinIO copies from a source that nobody signed, if the signer may read it and no customer key is needed for it. So the
    # tokenizer's credentials may reach nothing but its own objects, each of which has its key: docs/reference/s3.md.
    put(
        "extra copy source",
        *FORBIDDEN,
        sent={"x-amz-copy-source": "/plain/ready"},
        differs={"minio": (200,)},
        leaves={"minio": READY},
    ),
    put(
        "extra copy source under a key",
        *FORBIDDEN,
        sent={"x-amz-copy-source": "/plain/ready-under-a-key"},
    ),
    # MinIO reads the body, as that of another call, before it looks at the signature.
    put("extra query", 403, query="&tagging=", differs={"minio": (500,)}),
    put("extra query of a part", 403, query="&partNumber=1&uploadId=1"),
    get("extra query of the answer", 403, query="&response-content-type=text/html"),
    get("extra query of a version", 403, query="&versionId=null"),
    get("the trio unsigned", 403, signed=without(*TRIO), sent=OTHER),
    get("extra range", 206, sent={"range": "bytes=5-8"}, answer=VALUE[5:9]),
    # time
    put("put expired", 403, later=-120),
    get("get expired", 403, later=-120),
    put("put expired, expiry raised", 403, later=-120, replace=("X-Amz-Expires=60", "X-Amz-Expires=600")),
    put("put with expiry raised", 403, replace=("X-Amz-Expires=60", "X-Amz-Expires=61")),
    put("put that lives over a week", *FORBIDDEN, replace=("X-Amz-Expires=60", "X-Amz-Expires=604801")),
    put("put signed by a clock a minute fast", 200, later=60),
    # SeaweedFS looks at the end of a URL's life only.
    put("put signed by a clock an hour fast", 403, later=3600, differs={"seaweedfs": (200,)}),
    get("get signed by a clock an hour fast", 403, later=3600, differs={"seaweedfs": (200,)}),
    get("get signed by a clock a minute slow", 200, later=-60, lives=120),
    # signature
    put("another signature", 403, replace=("X-Amz-Signature=", "X-Amz-Signature=0")),
    put("another secret", 403, signer={"secret_key": "another secret"}),
    put("another access key", 403, signer={"access_key": "another"}),
    # SeaweedFS has no region and takes any.
    put("another region", *FORBIDDEN, signer={"region": "mars-east-1"}, differs={"seaweedfs": (200,)}),
    get("another region for get", *FORBIDDEN, signer={"region": "mars-east-1"}, differs={"seaweedfs": (200,)}),
    # length
    put("length as signed", 200, signed={**ONCE, "content-length": str(len(VALUE))}),
    put("shorter than signed", *FORBIDDEN, signed={**ONCE, "content-length": str(len(VALUE))}, body=VALUE[:-1]),
    put("longer than signed", *FORBIDDEN, signed={**ONCE, "content-length": str(len(VALUE))}, body=VALUE + b"!"),
    put("nothing, as signed", 200, signed={**ONCE, "content-length": "0"}, body=b""),
    put("nothing, where no length was signed", 200, body=b""),
    put("chunks where a length was signed", signed={**ONCE, "content-length": str(len(VALUE))}, chunked=True),
    # SeaweedFS needs no length.
    put("chunks", 411, chunked=True, differs={"seaweedfs": (200,)}),
    # precondition
    put("put over an object", 412, there=True),
    put("put over an object under another key", 403, 412, there=True, signed={**ONCE, **OTHER}),
    put("if-none-match with another value", 403, sent={"if-none-match": '"0"'}, there=True),
    get("if-match with another etag", 412, signed={"if-match": '"00000000000000000000000000000000"'}),
    get(
        "if-match left out",
        *FORBIDDEN,
        signed={"if-match": '"00000000000000000000000000000000"'},
        sent=without("if-match"),
    ),
    # names
    # The gateway knows names of 64 hex digits alone.
    put("unicode name", 200, prefix="Ümläut/日本語/", differs={"gateway": (404,)}),
    put("name with spaces and signs", 200, prefix="a b+c&d=e?f#g%20/", differs={"gateway": (404,)}),
    put("long name", 200, prefix=f"{'n' * 200}/" * 4, differs={"gateway": (404,)}),
    put("put of another object", 403, moved=True),
    get("get of another object", 403, moved=True),
    # range
    get("first byte", 206, signed={"range": "bytes=0-0"}, answer=VALUE[:1]),
    get("last bytes", 206, signed={"range": "bytes=-4"}, answer=VALUE[-4:]),
    get("to the end", 206, signed={"range": "bytes=10-"}, answer=VALUE[10:]),
    get("past the end", 206, signed={"range": "bytes=10-9999"}, answer=VALUE[10:]),
    get("behind the end", 416, signed={"range": "bytes=9999-"}),
    get("another range than was signed", 403, signed={"range": "bytes=0-0"}, sent={"range": "bytes=0-9"}),
    get("range under another key", 403, signed={**OTHER, "range": "bytes=0-9"}),
]


@frozen
class Server:
    """One of the three, and how to sign for it."""

    kind: str
    endpoint: str
    bucket: str
    region: str
    credentials: Credentials
    ca: Path | None = None

    def sign(self, case: Case, method: str, path: str, headers: Mapping[str, str]) -> str:
        credentials = Credentials(
            case.signer.get("access_key", self.credentials.access_key),
            case.signer.get("secret_key", self.credentials.secret_key),
        )
        signer = Signer(credentials=credentials, region=case.signer.get("region", self.region))
        scheme, _, host = self.endpoint.partition("://")
        now = int(time.time()) + case.later
        return signer.presign(method, host, path, headers=headers, now=now, expires=case.lives, scheme=scheme)

    def send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None, *, chunked: bool = False
    ) -> tuple[int, bytes]:
        host = urlsplit(self.endpoint).netloc
        context = ssl.create_default_context(cafile=self.ca) if self.ca else None
        connection = (
            http.client.HTTPSConnection(host, context=context, timeout=30)
            if context
            else http.client.HTTPConnection(host, timeout=30)
        )
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if chunked:
                connection.putheader("transfer-encoding", "chunked")
            elif body is not None and "content-length" not in headers:
                connection.putheader("content-length", str(len(body)))
            # A server may answer and close before it has read all that it refuses.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.endheaders(iter([body or b""]) if chunked else body, encode_chunked=chunked)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WSGIProcess]:
    application = Path(__file__).parents[1] / "http" / "gateway_application.py"
    objects = tmp_path_factory.mktemp("gateway") / "objects"
    environment = {"GATEWAY_OBJECTS": objects.as_uri(), "PYTHONPATH": str(Path(__file__).parents[2])}
    with WSGIProcess(application, environment=environment) as server:
        yield server


@pytest.fixture(
    params=[pytest.param(kind, marks=pytest.mark.xdist_group(kind)) for kind in ("seaweedfs", "minio", "gateway")]
)
def server(request: pytest.FixtureRequest) -> Server:
    if request.param == "gateway":
        gateway: WSGIProcess = request.getfixturevalue("gateway")
        return Server("gateway", gateway.url, "objects", REGION, GATEWAY_CREDENTIALS)
    found: SeaweedFS | MinIO = request.getfixturevalue(request.param)
    credentials = Credentials(ACCESS_KEY, SECRET_KEY)
    return Server(request.param, found.endpoint, "plain", found.region, credentials, found.ca)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_presigned_with_a_customer_key(server: Server, case: Case) -> None:
    key = os.urandom(32)
    path = f"/{server.bucket}/{case.prefix}{os.urandom(32).hex()}"
    host = urlsplit(server.endpoint).netloc
    if case.there:
        plain = Case("", "PUT", (200,))
        headers = {"host": host, **ssec.headers(key), **ONCE}
        assert server.send("PUT", target(server.sign(plain, "PUT", path, headers)), headers, VALUE)[0] == 200

    signed = merged({"host": host, **ssec.headers(key)}, case.signed)
    url = server.sign(case, case.method, path, signed) + case.query
    if case.replace[0]:
        assert case.replace[0] in url
        url = url.replace(*case.replace)
    if case.moved:
        url = url.replace(path, f"{path[:-1]}{'0' if path[-1] != '0' else '1'}")
    method = case.sent_method or case.method
    sent = merged(signed, case.sent)
    if "content-length" in signed and (case.chunked or len(case.body) != int(signed["content-length"])):
        del sent["content-length"]
    body = case.body if method == "PUT" else None
    status, answer = server.send(method, target(url), sent, body, chunked=case.chunked)

    assert status in case.differs.get(server.kind, case.expected), answer
    if status < 300 and method == "GET":
        assert answer == case.answer
    if status >= 300:
        assert VALUE[:9] not in answer
    written = status < 300 and method == "PUT"
    left = case.body if written else VALUE if case.there else None
    assert value_at(server, path, key) == case.leaves.get(server.kind, left)


def merged(headers: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    both = {**headers, **changes}
    return {name: value for name, value in both.items() if value is not None}


def target(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def value_at(server: Server, path: str, key: bytes) -> bytes | None:
    """What lies there under the key, None if there is nothing."""
    headers = {"host": urlsplit(server.endpoint).netloc, **ssec.headers(key)}
    status, body = server.send("GET", target(server.sign(Case("", "GET", ()), "GET", path, headers)), headers)
    if status == 404:
        return None
    assert status == 200, body
    return body
