"""The keyring in S3, on SeaweedFS and on MinIO: the contract, one winner, services and places that are refused."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from lunacore import Config, canary, open_deployment
from lunacore.deployment import init_keyring
from lunacore.diagnosis import Circumstances, Severity
from lunacore.errors import ConfigError, KeyringError, StoreUnavailable
from lunacore.plugins import BackendURL, Surroundings, open_backend
from lunacore.testing.keyring_store import KeyringStoreContract, sealed_of
from lunacore.testing.record_store import race
from lunacore_backends.keyring_files import MAX_BYTES
from lunacore_backends.s3.keyring import S3Keyring, open_keyring
from tests.servers.faulty import faulty
from tests.servers.s3_server import SECRET_KEY, client, url
from tests.servers.s3_stores import listed, new_prefix
from tests.servers.seaweedfs import READER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lunacore.stores import KeyringStore
    from tests.servers.faulty import Exchange
    from tests.servers.s3_server import S3Server

pytestmark = pytest.mark.usefixtures("s3_credentials")

SETTING = "tokenizer.keyring"
SURROUNDINGS = Surroundings(SETTING, time.time, os.urandom)
SERVERS = [
    pytest.param("minio", marks=[pytest.mark.servers, pytest.mark.xdist_group("minio")]),
    pytest.param("seaweedfs", marks=[pytest.mark.servers, pytest.mark.xdist_group("seaweedfs"), pytest.mark.long]),
]


@pytest.fixture
def server(request: pytest.FixtureRequest) -> S3Server:
    running: S3Server = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def new_key() -> str:
    return f"{new_prefix()}/keyring"


def opened(server: S3Server, closing: ExitStack, key: str, bucket: str = "plain", **options: str) -> S3Keyring:
    store = open_keyring(BackendURL.parse(url(server, bucket, key, **options), SETTING), SURROUNDINGS)
    closing.callback(store.close)
    return store


def proven(server: S3Server, closing: ExitStack, key: str, bucket: str = "plain", **options: str) -> S3Keyring:
    """A store of a service that other tests prove."""
    store = opened(server, closing, key, bucket, **options)
    store._proved = True
    return store


class S3Contract(KeyringStoreContract):
    bucket = "plain"

    @pytest.fixture
    def server(self) -> S3Server:
        raise NotImplementedError

    @pytest.fixture
    def open_store(self, server: S3Server, closing: ExitStack) -> Callable[[], KeyringStore]:
        self._s3, self._key = client(server), new_key()
        return lambda: proven(server, closing, self._key, self.bucket)

    def peek(self, store: KeyringStore) -> bytes | None:
        if not self._s3.list_objects_v2(Bucket=self.bucket, Prefix=self._key).get("KeyCount"):
            return None
        content: bytes = self._s3.get_object(Bucket=self.bucket, Key=self._key)["Body"].read()
        return content


@pytest.mark.long
@pytest.mark.servers
@pytest.mark.xdist_group("seaweedfs")
class TestOnSeaweedFS(S3Contract):
    @pytest.fixture
    def server(self, seaweedfs: S3Server) -> S3Server:
        return seaweedfs


@pytest.mark.servers
@pytest.mark.xdist_group("minio")
class TestOnMinIO(S3Contract):
    @pytest.fixture
    def server(self, minio: S3Server) -> S3Server:
        return minio


@pytest.mark.long
@pytest.mark.servers
@pytest.mark.xdist_group("minio")
class TestOnMinIOWithVersions(TestOnMinIO):
    bucket = "versioned"


def config_of(server: S3Server, key: str, tmp_path: Path) -> Config:
    """The key file is made when it is missing, as an operator's first command has it."""
    seal = f"{(tmp_path / 'seal.key').as_uri()}?create=missing"
    keyring = url(server, "plain", key)
    return Config.from_mapping({"tokenizer": {"data_dir": str(tmp_path), "keyring": keyring, "seal": seal}}, {})


@pytest.mark.parametrize("server", SERVERS, indirect=True)
class TestOnBoth:
    def test_keys_init_makes_it_once_and_a_deployment_opens_with_it(self, server: S3Server, tmp_path: Path) -> None:
        key = new_key()
        init = config_of(server, key, tmp_path)
        made = init_keyring(init)
        assert listed(server, "plain", key) == [key]
        with pytest.raises(KeyringError, match="there is a keyring already"):
            init_keyring(init)
        deployment = open_deployment(init)
        try:
            assert deployment.keyring.keyring.id == made.id
            assert not canary.is_new(deployment.records)
        finally:
            deployment.close()

    def test_of_several_that_create_or_rotate_at_once_one_wins(self, server: S3Server, closing: ExitStack) -> None:
        key = new_key()
        stores = [proven(server, closing, key) for _ in range(3)]
        made = race(*(lambda store=store, n=n: store.replace(None, sealed_of(n)) for n, store in enumerate(stores)))
        assert sorted(made) == [False, False, True]
        present = stores[0].read()
        assert present == sealed_of(made.index(True))
        rotated = race(
            *(lambda store=store, n=n: store.replace(present, sealed_of(10 + n)) for n, store in enumerate(stores))
        )
        assert sorted(rotated) == [False, False, True]
        assert stores[1].read() == sealed_of(10 + rotated.index(True))

    def test_it_is_a_plain_object_that_any_client_restores(self, server: S3Server, closing: ExitStack) -> None:
        key = new_key()
        client(server).put_object(Bucket="plain", Key=key, Body=sealed_of(1))
        store = opened(server, closing, key)
        assert store.read() == sealed_of(1)
        assert store.replace(sealed_of(1), sealed_of(2))
        assert client(server).get_object(Bucket="plain", Key=key)["Body"].read() == sealed_of(2)
        assert listed(server, "plain", key) == [key]

    def test_a_version_that_was_replaced_is_gone(self, server: S3Server, closing: ExitStack) -> None:
        key = new_key()
        store = proven(server, closing, key, "versioned")
        assert store.replace(None, sealed_of(1))
        assert store.replace(sealed_of(1), sealed_of(2))
        assert listed(server, "versioned", key) == [key]

    def test_what_is_too_large_is_neither_read_nor_written(self, server: S3Server, closing: ExitStack) -> None:
        key = new_key()
        store = opened(server, closing, key)
        with pytest.raises(KeyringError, match="more than"):
            store.replace(None, bytes(MAX_BYTES + 1))
        assert store.read() is None
        client(server).put_object(Bucket="plain", Key=key, Body=bytes(MAX_BYTES + 1))
        with pytest.raises(KeyringError, match="it is no keyring"):
            store.read()

    def test_a_service_out_of_reach(self, server: S3Server, closing: ExitStack) -> None:
        store = proven(server, closing, new_key(), endpoint="https://127.0.0.1:1")
        for call in (store.read, store.probe, lambda: store.replace(None, sealed_of(1))):
            with pytest.raises(StoreUnavailable, match=rf"{SETTING}: bucket plain .*check endpoint") as raised:
                call()
            assert SECRET_KEY not in str(raised.value)

    def test_probe_misses_a_keyring_that_is_not_there(self, server: S3Server, closing: ExitStack) -> None:
        store = proven(server, closing, new_key())
        with pytest.raises(StoreUnavailable, match="there is no keyring"):
            store.probe()
        assert store.replace(None, sealed_of(1))
        store.probe()

    def test_diagnosis(self, server: S3Server, closing: ExitStack) -> None:
        store = opened(server, closing, new_key())
        found = store.diagnose(Circumstances("https://secure.example.com", time.time, os.urandom))
        assert [one.severity for one in found] == [Severity.OK] * len(found)
        for words in ("clock agrees", "knows the credentials", "nobody may read the keyring"):
            assert any(words in one.message for one in found)
        late = store.diagnose(Circumstances("https://secure.example.com", lambda: time.time() - 1000, os.urandom))
        assert any("1000 seconds behind" in one.message.replace("999", "1000") for one in late)


@pytest.mark.servers
@pytest.mark.xdist_group("seaweedfs")
class TestOnSeaweedFSAlone:
    def test_who_reads_only_needs_no_other_right(
        self, seaweedfs: S3Server, closing: ExitStack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = new_key()
        assert proven(seaweedfs, closing, key).replace(None, sealed_of(1))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER[0])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER[1])
        store = opened(seaweedfs, closing, key)
        assert store.read() == sealed_of(1)
        with pytest.raises(StoreUnavailable, match="may not do this"):
            store.replace(sealed_of(1), sealed_of(2))
        assert store.read() == sealed_of(1)

    @pytest.mark.parametrize("old", [None, sealed_of(1)], ids=["create", "swap"])
    def test_a_lost_answer_is_made_good(self, seaweedfs: S3Server, closing: ExitStack, old: bytes | None) -> None:
        """The write is done and the answer an error: the second try meets the first, and knows it."""
        key = new_key()
        lost: list[int] = []
        if old is not None:
            assert proven(seaweedfs, closing, key).replace(None, old)

        def losing(exchange: Exchange) -> tuple[int, bytes]:
            if exchange.method == "PUT" and not lost:
                lost.append(exchange.status)
                return 503, b"<Error><Code>SlowDown</Code></Error>"
            return exchange.status, exchange.answer

        with faulty(seaweedfs.endpoint, losing) as endpoint:
            store = proven(seaweedfs, closing, key, endpoint=endpoint)
            assert store.replace(old, sealed_of(2))
        assert lost == [200]
        assert proven(seaweedfs, closing, key).read() == sealed_of(2)

    def test_a_service_that_keeps_no_conditions_is_refused_before_anything_is_written(
        self, seaweedfs: S3Server, closing: ExitStack
    ) -> None:
        def careless(exchange: Exchange) -> tuple[int, bytes]:
            return (200, b"") if exchange.status == 412 else (exchange.status, exchange.answer)

        key = new_key()
        with faulty(seaweedfs.endpoint, careless) as endpoint:
            store = opened(seaweedfs, closing, key, endpoint=endpoint)
            with pytest.raises(ConfigError, match=r"cannot hold the keyring: .*or keep it in a file \(file:\)"):
                store.replace(None, sealed_of(1))
        assert listed(seaweedfs, "plain", key) == []


@pytest.mark.parametrize("text", ["s3://bucket", "s3://bucket/", "s3://bucket/keyrings/", "s3://bucket//"])
def test_a_url_that_names_no_object(text: str) -> None:
    with pytest.raises(ConfigError, match=rf"{SETTING}: name an object of the bucket, such as s3://bucket/keyring"):
        open_backend("keyring", text, SURROUNDINGS)


@pytest.mark.parametrize(
    ("options", "message"),
    [("endpoint=http://minio:9000", "endpoint is http"), ("encryption=none", "no option 'encryption'")],
)
def test_options_that_are_refused(options: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_backend("keyring", f"s3://bucket/keyring?{options}", SURROUNDINGS)


@pytest.mark.parametrize("text", ["sftp://user:secret@host/keyring", "gs://bucket/keyring", "local:///tmp/keyring"])
def test_file_systems_without_a_swap_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"file:///path.*records:.*s3://bucket/keyring") as raised:
        open_backend("keyring", text, SURROUNDINGS)
    assert "secret" not in str(raised.value)
