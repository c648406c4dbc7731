"""Object stores over the S3 servers of the tests, each with a prefix of its own."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from lunacore.plugins import BackendURL, Surroundings
from lunacore_backends.s3 import objects
from tests.servers.s3_server import client, url

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore_backends.s3.objects import S3Objects
    from tests.servers.s3_server import S3Server


def new_prefix() -> str:
    """A prefix that nobody has used."""
    return f"test/{os.urandom(6).hex()}"


def opened(text: str, now: Callable[[], float] = time.time) -> S3Objects:
    """The object store that a URL names."""
    return objects.open_objects(BackendURL.parse(text, "objects"), Surroundings("objects", now, os.urandom))


def store_of(server: S3Server, bucket: str = "plain", prefix: str | None = None, **options: str) -> S3Objects:
    """An object store at a server, empty unless a prefix is given."""
    return opened(url(server, bucket, new_prefix() if prefix is None else prefix, **options))


def listed(server: S3Server, bucket: str, prefix: str) -> list[str]:
    """What there is under a prefix, as another client sees it: objects, versions, delete markers, unfinished uploads."""
    s3 = client(server)
    versions = s3.list_object_versions(Bucket=bucket, Prefix=prefix)
    found = [*versions.get("Versions", []), *versions.get("DeleteMarkers", [])]
    # MinIO lists unfinished uploads by whole names only.
    uploads = s3.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", [])
    return [entry["Key"] for entry in [*found, *uploads]]
