"""S3 objects with the gateway as their service, by its standard settings: the contract of object stores."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lunacore.errors import Conflict, IntegrityError, StoreUnavailable, TokenNotFound
from lunacore.gateway_keys import BUCKET, REGION
from lunacore.testing.object_store import ObjectStoreContract, direct
from lunacore.testing.servers import WSGIProcess
from lunacore_backends.s3.writing import PART_BYTES
from tests.http import gateway_application
from tests.servers.s3_stores import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lunacore.stores import ObjectStore
    from lunacore_backends.s3.objects import S3Objects

# One worker runs them all, and so makes what they share once.
pytestmark = pytest.mark.xdist_group("s3_gateway")

APPLICATION = Path(gateway_application.__file__ or "")


@pytest.fixture(scope="module")
def gateway_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway") / "objects"


@pytest.fixture(scope="module")
def gateway(gateway_directory: Path) -> Iterator[WSGIProcess]:
    environment = {"GATEWAY_OBJECTS": gateway_directory.as_uri(), "PYTHONPATH": str(APPLICATION.parents[2])}
    with WSGIProcess(APPLICATION, environment=environment, threads=16) as server:
        yield server


@pytest.fixture
def store(
    gateway: WSGIProcess, gateway_directory: Path, s3_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[S3Objects]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", gateway_application.CREDENTIALS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", gateway_application.CREDENTIALS.secret_key)
    store = opened(f"s3://{BUCKET}?endpoint={gateway.url}")
    yield store
    # The gateway has one bucket and no prefixes, so tests follow each other in it.
    store.delete([entry.name for entry in store.scan()])
    assert store.scan() == []


class TestContract(ObjectStoreContract):
    @pytest.fixture
    def store(self, store: S3Objects) -> S3Objects:
        return store

    @pytest.fixture
    def raw_bytes(self, gateway_directory: Path) -> Callable[[], bytes]:
        def read() -> bytes:
            found = sorted(path for path in gateway_directory.rglob("*") if path.is_file())
            return b"\n".join(part for path in found for part in (path.name.encode(), path.read_bytes()))

        return read

    def test_a_source_that_fails_leaves_nothing(
        self, store: ObjectStore, name: bytes, key: bytes, raw_bytes: Callable[[], bytes]
    ) -> None:
        """As the contract has it, but of a source whose length is not past that of one PUT: there are no multipart uploads."""

        class Failing(io.RawIOBase):
            left = 5

            def read(self, size: int = -1) -> bytes:
                self.left -= 1
                if not self.left:
                    raise OSError("the source broke")
                return bytes(min(size, 1000))

        source: Any = Failing()
        with pytest.raises(OSError, match="the source broke"):
            direct(store).write(name, key, source)
        assert store.stat(name, key) is None
        assert store.scan() == []
        assert name.hex().encode() not in raw_bytes()


def test_what_needs_a_multipart_upload_is_refused_whole(store: S3Objects) -> None:
    name = os.urandom(32)
    with pytest.raises(StoreUnavailable, match="lacks a call that is needed"):
        store.write(name, bytes(32), io.BytesIO(bytes(PART_BYTES + 1)))
    assert store.stat(name, bytes(32)) is None


def test_the_region_is_found_out(store: S3Objects) -> None:
    assert f"%2F{REGION}%2Fs3%2F" in store.upload(os.urandom(32), bytes(32), now=0, ttl=60).url


def test_a_copy_is_of_what_was_looked_at(store: S3Objects) -> None:
    name, key, other = os.urandom(32), os.urandom(32), os.urandom(32)
    store.write(name, key, io.BytesIO(b"value"))
    assert store.copy(name, key, other, bytes(32)).size == 5
    with store.open(other, bytes(32)) as file:
        assert file.read() == b"value"
    with pytest.raises(Conflict):
        store.copy(name, key, other, key)
    with pytest.raises(TokenNotFound):
        store.copy(os.urandom(32), key, os.urandom(32), key)
    with pytest.raises(IntegrityError):
        store.copy(name, bytes(32), os.urandom(32), key)


def test_many_are_deleted_at_once(store: S3Objects) -> None:
    names = [os.urandom(32) for _ in range(20)]
    for name in names[:10]:
        store.write(name, bytes(32), io.BytesIO(b"value"))
    store.delete(names)
    assert store.scan() == []
