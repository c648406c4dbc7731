"""Servers of other projects for tests: one of each kind a run, started when a test first asks for it.

Tests that use one belong to one xdist group of its name, so that one worker owns it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lunacore.testing.database_servers import PostgreSQLServer, RedisServer
from tests.servers import aws_kms as aws_kms_server
from tests.servers import minio as minio_server
from tests.servers import oidc_provider as oidc_provider_server
from tests.servers import openbao as openbao_server
from tests.servers import seaweedfs as seaweedfs_server
from tests.servers.s3_server import make_buckets, use_access_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[seaweedfs_server.SeaweedFS]:
    """A running SeaweedFS."""
    if reason := seaweedfs_server.missing():
        pytest.skip(reason)
    with seaweedfs_server.SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as server:
        make_buckets(server)
        yield server


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[minio_server.MinIO]:
    """A running MinIO."""
    if reason := minio_server.missing():
        pytest.skip(reason)
    with minio_server.MinIO(tmp_path_factory.mktemp("minio")) as server:
        make_buckets(server)
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """PEM files for servers at 127.0.0.1: a certificate, its key, and the CA that signed it."""
    folder = tmp_path_factory.mktemp("certificates") / "here"
    ca = minio_server.write_certificates(folder)
    return folder / "public.crt", folder / "private.key", ca


@pytest.fixture(scope="session")
def postgresql(certificate: tuple[Path, Path, Path]) -> Iterator[PostgreSQLServer]:
    """A running PostgreSQL."""
    if reason := PostgreSQLServer.missing():
        pytest.skip(reason)
    with PostgreSQLServer("max_connections=200", certificate=certificate[:2], in_memory=True) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(certificate: tuple[Path, Path, Path]) -> Iterator[RedisServer]:
    """A running Redis."""
    if reason := RedisServer.missing():
        pytest.skip(reason)
    with RedisServer(certificate=certificate[:2], in_memory=True) as server:
        yield server


@pytest.fixture(scope="session")
def oidc_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[oidc_provider_server.OIDCProvider]:
    """A running OpenID provider."""
    if reason := oidc_provider_server.missing():
        pytest.skip(reason)
    with oidc_provider_server.OIDCProvider(tmp_path_factory.mktemp("oidc-provider")) as provider:
        yield provider


@pytest.fixture(scope="session")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openbao_server.OpenBao]:
    """A running OpenBao with a transit engine."""
    if reason := openbao_server.missing():
        pytest.skip(reason)
    with openbao_server.OpenBao(tmp_path_factory.mktemp("openbao")) as server:
        yield server


@pytest.fixture(scope="session")
def aws_kms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[aws_kms_server.AWSKMS]:
    """A running AWS KMS, as moto plays it."""
    if reason := aws_kms_server.missing():
        pytest.skip(reason)
    with aws_kms_server.AWSKMS(tmp_path_factory.mktemp("aws-kms")) as server:
        yield server


@pytest.fixture
def s3_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names the access key that may do all, and nothing of the developer's own."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    use_access_key(monkeypatch)
