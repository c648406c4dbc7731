"""S3 objects on MinIO, over TLS with a private CA: the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from lunacore.errors import StoreUnavailable
from lunacore.testing.object_store import ObjectStoreContract, ObjectStoreMachine
from tests.servers.minio import write_certificates
from tests.servers.s3_stores import listed, new_prefix, store_of
from tests.servers.s3_suite import S3Suite, every_call

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lunacore.stores import ObjectStore
    from lunacore_backends.s3.objects import S3Objects
    from tests.servers.minio import MinIO

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("minio"), pytest.mark.usefixtures("s3_credentials")]


@pytest.fixture
def prefix() -> str:
    return new_prefix()


class TestContract(ObjectStoreContract):
    @pytest.fixture
    def store(self, minio: MinIO, prefix: str, monkeypatch: pytest.MonkeyPatch) -> S3Objects:
        # For the client that uses the tickets; the store trusts what its URL names.
        monkeypatch.setenv("SSL_CERT_FILE", str(minio.ca))
        return store_of(minio, prefix=prefix)

    @pytest.fixture
    def raw_bytes(self, minio: MinIO, prefix: str) -> Callable[[], bytes]:
        # MinIO empties its trash when it likes to; what is in there is sealed and without its name.
        return lambda: minio.at_rest(f"plain/{prefix}") + "\n".join(listed(minio, "plain", f"{prefix}/")).encode()


def test_any_sequence_of_calls(minio: MinIO) -> None:
    class Machine(ObjectStoreMachine):
        def make_store(self) -> ObjectStore:
            return store_of(minio)

    run_state_machine_as_test(Machine, settings=settings(max_examples=5, stateful_step_count=15))


class TestBeyondTheContract(S3Suite):
    @pytest.fixture
    def server(self, minio: MinIO) -> MinIO:
        return minio

    def test_an_unknown_ca(self, server: MinIO, name: bytes, key: bytes) -> None:
        store = store_of(server, ca="")
        for action in every_call(store, name, key).values():
            with pytest.raises(StoreUnavailable, match=r"certificate .* name the CA .*ca="):
                action()

    def test_another_ca(self, server: MinIO, name: bytes, key: bytes, tmp_path: Path) -> None:
        other = write_certificates(tmp_path / "other")
        with pytest.raises(StoreUnavailable, match="certificate"):
            store_of(server, ca=str(other)).probe()

    def test_another_region(self, server: MinIO, name: bytes, key: bytes) -> None:
        store = store_of(server, region="mars-east-1")
        for action in every_call(store, name, key).values():
            with pytest.raises(StoreUnavailable, match=r"another region; correct region="):
                action()
