"""Servers of other projects for tests: one of each kind a run, started when a test first asks for it.

Tests that use one belong to one xdist group of its name, so that one worker owns it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers import minio as minio_server
from tests.servers import oidc_provider as oidc_provider_server
from tests.servers import seaweedfs as seaweedfs_server
from tests.servers.s3_server import ACCESS_KEY, SECRET_KEY, make_buckets

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[seaweedfs_server.SeaweedFS]:
    """A running SeaweedFS."""
    if reason := seaweedfs_server.missing():
        pytest.skip(reason)
    server = seaweedfs_server.SeaweedFS(tmp_path_factory.mktemp("seaweedfs"))
    server.start()
    try:
        make_buckets(server)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[minio_server.MinIO]:
    """A running MinIO."""
    if reason := minio_server.missing():
        pytest.skip(reason)
    server = minio_server.MinIO(tmp_path_factory.mktemp("minio"))
    server.start()
    try:
        make_buckets(server)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def oidc_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[oidc_provider_server.OIDCProvider]:
    """A running OpenID provider."""
    if reason := oidc_provider_server.missing():
        pytest.skip(reason)
    provider = oidc_provider_server.OIDCProvider(tmp_path_factory.mktemp("oidc-provider"))
    provider.start()
    try:
        yield provider
    finally:
        provider.stop()


@pytest.fixture
def s3_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names the access key that may do all, and nothing of the developer's own."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
