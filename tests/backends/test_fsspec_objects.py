"""Objects on fsspec's file systems: the contract in memory and on disk, and what a foreign file system may do wrong."""

from __future__ import annotations

import io
import os
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from lunacore.errors import ConfigError, Conflict, StoreUnavailable
from lunacore.gateway_keys import FixedGatewayKeys
from lunacore.plugins import BackendURL, Surroundings
from lunacore.sigv4 import Credentials
from lunacore.testing.object_store import ObjectStoreContract, ObjectStoreMachine, bytes_of
from lunacore.testing.servers import free_port
from lunacore_backends.fsspec_objects import FsspecMedium, open_objects
from lunacore_backends.sealed_objects import SealedObjects
from lunacore_http.gateway import create_gateway
from tests.servers.threads import ServedInThread, wsgi_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEYS = FixedGatewayKeys([Credentials(access_key="lunacore-gateway-1", secret_key="only for tests")])
NAME, KEY = bytes(range(32)), bytes(range(100, 132))


def opened(url: str, gateway_url: str = "") -> SealedObjects:
    surroundings = Surroundings("objects", time.time, os.urandom, gateway_url, KEYS)
    return open_objects(BackendURL.parse(url, "objects"), surroundings)


@contextmanager
def served(url: str) -> Iterator[SealedObjects]:
    """A store whose tickets a server in this process honours: memory cannot be shared with another."""
    port = free_port()
    store = opened(url, f"http://127.0.0.1:{port}")
    app = create_gateway(store, KEYS, now=time.time, max_size=64 << 20)
    with ServedInThread(wsgi_server(app, port)):
        yield store


class TestMemoryContract(ObjectStoreContract):
    @pytest.fixture
    def store(self) -> Iterator[SealedObjects]:
        with served("memory://contract/objects") as store:
            yield store
        MemoryFileSystem().rm("/contract", recursive=True)

    @pytest.fixture
    def raw_bytes(self) -> Callable[[], bytes]:
        return lambda: b"\n".join(
            path.encode() + file.getvalue()
            for path, file in MemoryFileSystem.store.items()
            if path.startswith("/contract/")
        )


class TestLocalContract(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SealedObjects]:
        with served(f"local://{tmp_path}/objects") as store:
            yield store

    @pytest.fixture
    def raw_bytes(self, tmp_path: Path) -> Callable[[], bytes]:
        return lambda: b"\n".join(
            os.fsencode(path) + (path.read_bytes() if path.is_file() else b"") for path in tmp_path.rglob("*")
        )


class MemoryMachine(ObjectStoreMachine):
    def make_store(self) -> SealedObjects:
        return opened("memory://")


TestMachine = MemoryMachine.TestCase


def test_every_memory_store_is_its_own() -> None:
    one, other = opened("memory://"), opened("memory://")
    one.write(NAME, KEY, io.BytesIO(b"value"))
    assert other.stat(NAME, KEY) is None
    assert other.scan() == []


def test_a_named_memory_store_is_shared() -> None:
    one, other = opened("memory:///shared"), opened("memory:///shared")
    one.write(NAME, KEY, io.BytesIO(b"value"))
    assert other.open(NAME, KEY).read() == b"value"
    MemoryFileSystem().rm("/shared", recursive=True)


def test_every_reader_has_a_position_of_its_own() -> None:
    store = opened("memory://")
    store.write(NAME, KEY, io.BytesIO(b"value"))
    with store._medium.open(NAME.hex()) as one, store._medium.open(NAME.hex()) as other:
        one.seek(0, io.SEEK_END)
        assert other.read(4) == b"LCSG"
        assert one.read() == b""


def test_a_deleted_object_can_be_read_to_its_end() -> None:
    store = opened("memory://")
    store.write(NAME, KEY, io.BytesIO(bytes_of(200_000)))
    with store.open(NAME, KEY) as file:
        store.delete([NAME])
        assert file.read() == bytes_of(200_000)


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ConfigError, match="nosuchscheme://host/path"):
        opened("nosuchscheme://user:secret@host/path")


def test_a_missing_package_is_named() -> None:
    fsspec.register_implementation("needsmore", "no_such_package.module.FileSystem", errtxt="install it")
    with pytest.raises(ConfigError, match="not installed"):
        opened("needsmore://host/path")


class Faulty(LocalFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A local file system that fails in one method, as a broken connection would."""

    cachable = False
    fails: str = ""

    def __getattribute__(self, name: str) -> Any:
        if name == object.__getattribute__(self, "fails"):
            raise ConnectionError("host, user and perhaps a password")
        return super().__getattribute__(name)


@pytest.mark.parametrize("method", ["open", "mv", "info", "makedirs"])
def test_a_failing_file_system_leaves_no_object(tmp_path: Path, method: str) -> None:
    file_system = Faulty()
    medium = FsspecMedium(file_system, str(tmp_path), os.urandom)
    medium.prepare()
    store = SealedObjects(medium, None, os.urandom)
    file_system.fails = method
    with pytest.raises(StoreUnavailable) as caught:
        store.write(NAME, KEY, io.BytesIO(b"value"))
    assert "password" not in caught.value.message
    file_system.fails = ""
    assert store.stat(NAME, KEY) is None
    store.delete([NAME])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("method", ["open", "ls", "info"])
def test_what_cannot_be_reached_is_not_absent(tmp_path: Path, method: str) -> None:
    file_system = Faulty()
    medium = FsspecMedium(file_system, str(tmp_path), os.urandom)
    medium.prepare()
    store = SealedObjects(medium, None, os.urandom)
    store.write(NAME, KEY, io.BytesIO(b"value"))
    file_system.fails = method
    calls: dict[str, Callable[[], object]] = {
        "open": lambda: store.stat(NAME, KEY),
        "ls": store.scan,
        "info": store.probe,
    }
    with pytest.raises(StoreUnavailable):
        calls[method]()


def test_a_root_that_is_gone_is_no_empty_store(tmp_path: Path) -> None:
    store = opened(f"local://{tmp_path}/objects")
    store.write(NAME, KEY, io.BytesIO(b"value"))
    shutil.move(tmp_path / "objects", tmp_path / "aside")
    with pytest.raises(StoreUnavailable):
        store.probe()
    with pytest.raises(StoreUnavailable):
        store.scan()
    with pytest.raises(StoreUnavailable):
        store.delete([NAME])


def test_what_a_killed_write_left_goes_with_the_object(tmp_path: Path) -> None:
    store = opened(f"local://{tmp_path}")
    left = tmp_path / ".incoming" / f"{NAME.hex()}.{'0' * 32}"
    left.write_bytes(b"left")
    store.delete([bytes(32)])
    assert left.exists()
    store.delete([NAME])
    assert not left.exists()


def test_a_write_never_replaces() -> None:
    store = opened("memory://")
    store.write(NAME, KEY, io.BytesIO(b"first"))
    with pytest.raises(Conflict):
        store.write(NAME, KEY, io.BytesIO(b"second"))
    assert store.open(NAME, KEY).read() == b"first"
