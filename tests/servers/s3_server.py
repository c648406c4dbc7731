"""What the S3 servers of the tests have in common, and an S3 client that shares no code with LunaCore."""

from __future__ import annotations

import http.client
import os
import ssl
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

import botocore.session
from botocore.config import Config

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ACCESS_KEY = "lunacore-tests"
SECRET_KEY = "only for tests 0123456789"
BUCKETS = ("plain", "versioned")
# What comes after the bucket in the host of a virtual-style URL.
DOMAIN = "s3.example.com"
# The contents of two objects that are always there: "ready", and "ready-under-a-key" under a customer key.
READY = bytes(100_000)


class S3Server(Protocol):
    """A running S3 server that everything in ``ACCESS_KEY``'s hands is allowed on."""

    @property
    def endpoint(self) -> str:
        """Scheme, host and port."""
        ...

    @property
    def ca(self) -> Path | None:
        """The CA of its certificate, None without TLS."""
        ...

    @property
    def region(self) -> str:
        """The region that it demands in signatures."""
        ...

    def start(self) -> None:
        """Start again after ``stop``, at the same port and with the same data."""
        ...

    def stop(self) -> None:
        """End the process."""
        ...

    def pause(self) -> None:
        """Let it answer nothing until ``resume``."""
        ...

    def resume(self) -> None:
        """Undo ``pause``."""
        ...

    def at_rest(self, bucket: str) -> bytes:
        """All that its disk holds of a bucket, file names and contents."""
        ...


def url(server: S3Server, bucket: str, prefix: str = "", **options: str) -> str:
    """The setting ``objects`` for a bucket of the server; an option that is empty is left out."""
    known = {"endpoint": server.endpoint, "region": server.region, "ca": str(server.ca or "")} | options
    query = urlencode({name: value for name, value in known.items() if value})
    return f"s3://{bucket}{'/' if prefix else ''}{prefix}?{query}"


def client(server: S3Server, **credentials: str) -> Any:
    """A botocore client with all rights."""
    return botocore.session.get_session().create_client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=server.region,
        aws_access_key_id=credentials.get("access_key", ACCESS_KEY),
        aws_secret_access_key=credentials.get("secret_key", SECRET_KEY),
        verify=str(server.ca) if server.ca else None,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}),
    )


def make_buckets(server: S3Server) -> None:
    """Create the ``BUCKETS``, of which the one named so keeps versions, and the objects that are always there."""
    s3 = client(server)
    for bucket in BUCKETS:
        _create(server, bucket)
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(
        Bucket="plain", Key="ready-under-a-key", Body=READY, SSECustomerAlgorithm="AES256", SSECustomerKey=bytes(32)
    )
    s3.put_object(Bucket="plain", Key="ready", Body=READY)


def new_bucket(server: S3Server, **options: Any) -> str:
    """The name of a bucket that was just made."""
    name = f"test-{os.urandom(4).hex()}"
    _create(server, name, **options)
    return name


def _create(server: S3Server, bucket: str, **options: Any) -> None:
    # AWS, and servers that do as it does, want the region told, unless it is their first.
    if server.region != "us-east-1":
        options["CreateBucketConfiguration"] = {"LocationConstraint": server.region}
    client(server).create_bucket(Bucket=bucket, **options)


def use_access_key(monkeypatch: pytest.MonkeyPatch, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY) -> None:
    """Have LunaCore use this one from now on, by default the one that may do all."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret_key)


def answers(endpoint: str, path: str, ca: Path | None = None) -> bool:
    """Whether a GET of ``path`` is answered with 200."""
    scheme, _, host = endpoint.partition("://")
    if scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, timeout=5, context=ssl.create_default_context(cafile=ca)
        )
    else:
        connection = http.client.HTTPConnection(host, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def everything(root: Path, part: str) -> bytes:
    """Names and contents of the files under ``root`` whose path below it holds ``part``."""
    found = []
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).as_posix()
        if part in inside and path.is_file():
            found += [inside.encode(), path.read_bytes()]
    return b"\n".join(found)
