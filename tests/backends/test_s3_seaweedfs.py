"""S3 objects on SeaweedFS, over plain HTTP on loopback: the contract, with customer keys and without."""

from __future__ import annotations

import hashlib
import io
import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from lunacore.errors import IntegrityError, StoreUnavailable
from lunacore.testing.object_store import ObjectStoreContract, ObjectStoreMachine, send
from tests.servers.s3_stores import listed, new_prefix, store_of
from tests.servers.s3_suite import S3Suite, every_call
from tests.servers.seaweedfs import READER, WRITER

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore.stores import ObjectStore
    from lunacore_backends.s3.objects import S3Objects
    from tests.servers.seaweedfs import SeaweedFS

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("seaweedfs"), pytest.mark.usefixtures("s3_credentials")]


@pytest.fixture
def prefix() -> str:
    return new_prefix()


@pytest.fixture
def raw_bytes(seaweedfs: SeaweedFS, prefix: str) -> Callable[[], bytes]:
    # Volumes are append-only, so what was deleted stays in them, sealed, until they are compacted.
    return lambda: seaweedfs.at_rest("plain") + "\n".join(listed(seaweedfs, "plain", prefix)).encode()


class TestContract(ObjectStoreContract):
    @pytest.fixture
    def store(self, seaweedfs: SeaweedFS, prefix: str) -> S3Objects:
        return store_of(seaweedfs, prefix=prefix)

    @pytest.fixture
    def raw_bytes(self, raw_bytes: Callable[[], bytes]) -> Callable[[], bytes]:
        return raw_bytes

    def test_the_etag_tells_nothing_of_the_value(self, store: ObjectStore, key: bytes) -> None:
        """On SeaweedFS it does, as docs/reference/s3.md says: it is the MD5 of what was uploaded."""
        name = os.urandom(32)
        assert self.upload(store, name, key, b"the same value").status == 200
        stat = store.stat(name, key)
        assert stat is not None
        assert stat.etag == hashlib.md5(b"the same value").hexdigest()


class TestContractWithoutEncryption(ObjectStoreContract):
    """No key goes to the store, so all that the contract says of another key does not apply."""

    @pytest.fixture
    def store(self, seaweedfs: SeaweedFS, prefix: str) -> S3Objects:
        return store_of(seaweedfs, prefix=prefix, encryption="none")

    @pytest.fixture
    def raw_bytes(self, raw_bytes: Callable[[], bytes]) -> Callable[[], bytes]:
        return raw_bytes

    test_no_download_without_the_key = None  # type: ignore[assignment]
    test_no_download_with_another_key = None  # type: ignore[assignment]
    test_stat_refuses_another_key = None  # type: ignore[assignment]
    test_nothing_at_rest_tells_value_or_key = None  # type: ignore[assignment]
    test_the_etag_tells_nothing_of_the_value = None  # type: ignore[assignment]
    test_copy = None  # type: ignore[assignment]
    test_copy_needs_the_object_and_its_key = None  # type: ignore[assignment]
    test_open_refuses_what_is_not_there_or_of_another_key = None  # type: ignore[assignment]
    test_no_upload_without_a_header = None  # type: ignore[assignment]
    test_a_ticket_says_what_it_is = None  # type: ignore[assignment]

    def test_no_key_goes_along(self, store: S3Objects, name: bytes, key: bytes) -> None:
        now = int(time.time())
        request = store.upload(name, key, now=now, ttl=60)
        assert set(request.headers) == {"host", "if-none-match"}
        assert 400 <= send(request, b"value", without=("if-none-match",)).status < 500
        assert send(request, b"value").status == 200
        assert set(store.download(name, key, now=now, ttl=60).headers) == {"host"}
        assert not store.takes_raw

    def test_copies_are_whole(self, store: S3Objects, name: bytes, key: bytes) -> None:
        other = os.urandom(32)
        assert self.upload(store, name, key, b"value").status == 200
        assert store.copy(name, key, other, key) == store.stat(other, key)
        assert self.download(store, other, key).body == b"value"


def test_any_sequence_of_calls(seaweedfs: SeaweedFS) -> None:
    class Machine(ObjectStoreMachine):
        def make_store(self) -> ObjectStore:
            return store_of(seaweedfs)

    run_state_machine_as_test(Machine, settings=settings(max_examples=5, stateful_step_count=15))


class TestBeyondTheContract(S3Suite):
    @pytest.fixture
    def server(self, seaweedfs: SeaweedFS) -> SeaweedFS:
        return seaweedfs

    def test_too_few_rights(
        self, server: SeaweedFS, store: S3Objects, prefix: str, name: bytes, key: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.write(name, key, io.BytesIO(b"value"))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER[0])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER[1])
        reader = store_of(server, prefix=prefix)
        assert reader.open(name, key).read() == b"value"
        with pytest.raises(IntegrityError):
            reader.open(name, os.urandom(32))
        for call in ("copy", "delete", "write", "write in parts"):
            with pytest.raises(StoreUnavailable, match=r"may not do this.*s3:PutObject") as raised:
                every_call(reader, name, key)[call]()
            assert READER[1] not in str(raised.value)
        assert store.stat(name, key) is not None

    def test_no_right_to_read_is_no_wrong_key(
        self, server: SeaweedFS, store: S3Objects, prefix: str, name: bytes, key: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.write(name, key, io.BytesIO(b"value"))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", WRITER[0])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", WRITER[1])
        writer = store_of(server, prefix=prefix)
        for call in ("stat", "open"):
            with pytest.raises(StoreUnavailable, match=r"may not do this.*s3:GetObject"):
                every_call(writer, name, key)[call]()
