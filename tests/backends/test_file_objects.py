"""Objects on a local disk: the contract, the layout, crashes, faults and hostile files."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import pytest

from lunacore.errors import ConfigError, Conflict, IntegrityError, StoreUnavailable
from lunacore.gateway_keys import FixedGatewayKeys
from lunacore.plugins import BackendURL, Surroundings
from lunacore.sigv4 import Credentials
from lunacore.testing.object_store import ObjectStoreContract, ObjectStoreMachine, bytes_of
from lunacore.testing.servers import WSGIProcess
from lunacore_backends import file_objects
from lunacore_backends.file_objects import FileMedium, open_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lunacore_backends.sealed_objects import SealedObjects

CREDENTIALS = Credentials(access_key="lunacore-gateway-1", secret_key="only for tests")
NAME, KEY = bytes(range(32)), bytes(range(100, 132))
HEX = NAME.hex()
MEMORY_DISK = Path("/dev/shm")
PROJECT = str(Path(__file__).parents[2])


def opened(root: Path, gateway_url: str = "") -> SealedObjects:
    surroundings = Surroundings(
        setting="objects",
        now=time.time,
        random=os.urandom,
        gateway_url=gateway_url,
        gateway_keys=FixedGatewayKeys([CREDENTIALS]),
    )
    return open_objects(BackendURL.parse(root.as_uri(), "objects"), surroundings)


def everything(root: Path) -> bytes:
    return b"\n".join(
        os.fsencode(path) + (path.read_bytes() if path.is_file() else b"") for path in sorted(root.rglob("*"))
    )


def files(root: Path) -> list[Path]:
    return sorted(path.relative_to(root) for path in root.rglob("*") if not path.is_dir())


@pytest.fixture(scope="session")
def gateway_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway") / "objects"


@pytest.fixture(scope="session")
def gateway_url(gateway_directory: Path) -> Iterator[str]:
    application = Path(PROJECT, "tests", "http", "gateway_application.py")
    environment = {"GATEWAY_OBJECTS": gateway_directory.as_uri(), "PYTHONPATH": PROJECT}
    with WSGIProcess(application, environment=environment, threads=16) as server:
        yield server.url


class TestContract(ObjectStoreContract):
    @pytest.fixture
    def store(self, gateway_directory: Path, gateway_url: str) -> Iterator[SealedObjects]:
        yield opened(gateway_directory, gateway_url)
        for path in gateway_directory.glob("??"):
            shutil.rmtree(path)

    @pytest.fixture
    def raw_bytes(self, gateway_directory: Path) -> Callable[[], bytes]:
        return lambda: everything(gateway_directory)


class FileMachine(ObjectStoreMachine):
    def make_store(self) -> SealedObjects:
        # Thousands of small writes: on a disk most of the time would go into fsync.
        self.root = tempfile.TemporaryDirectory(dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None)
        return opened(Path(self.root.name) / "objects")

    def teardown(self) -> None:
        self.root.cleanup()


TestMachine = FileMachine.TestCase


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "objects"


@pytest.fixture
def store(root: Path) -> SealedObjects:
    return opened(root)


def write(store: SealedObjects, value: bytes = b"value", name: bytes = NAME) -> None:
    store.write(name, KEY, io.BytesIO(value))


def test_the_layout_is_that_of_the_reference(store: SealedObjects, root: Path) -> None:
    write(store)
    assert files(root) == [Path(HEX[:2], HEX[2:4], HEX)]
    assert (root / ".incoming").is_dir()
    assert (root / HEX[:2] / HEX[2:4] / HEX).stat().st_size == 40 + 5 + 16


def test_nobody_else_may_look(store: SealedObjects, root: Path) -> None:
    write(store)
    for path in (root, *root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_two_processes_worth_of_stores_share_a_directory(store: SealedObjects, root: Path) -> None:
    other = opened(root)
    write(store)
    with pytest.raises(Conflict):
        write(other, b"second")
    assert other.open(NAME, KEY).read() == b"value"


def test_without_a_gateway_there_are_no_tickets(store: SealedObjects) -> None:
    assert store.origin == ""
    with pytest.raises(ConfigError, match="public_url"):
        store.upload(NAME, KEY, now=0, ttl=60)


@pytest.mark.parametrize("url", ["file://host/path", "file:relative", "file:///path?mode=fast"])
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="objects"):
        open_objects(BackendURL.parse(url, "objects"), Surroundings("objects", time.time, os.urandom))


class Zeros:
    """A source of many zero bytes."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int) -> bytes:
        size = min(size, self.left)
        self.left -= size
        return bytes(size)


def test_memory_is_bounded_whatever_the_size(store: SealedObjects) -> None:
    size = 32 << 20
    tracemalloc.start()
    try:
        store.write(NAME, KEY, cast("BinaryIO", Zeros(size)))
        with store.open(NAME, KEY) as file:
            assert sum(map(len, iter(lambda: file.read(1 << 16), b""))) == size
        store.copy(NAME, KEY, bytes(32), KEY)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


# damage and hostile files


@pytest.mark.parametrize("size", [5, 200_000])
def test_every_cut_is_found_before_anything_is_read(store: SealedObjects, root: Path, size: int) -> None:
    write(store, bytes_of(size))
    path = root / files(root)[0]
    whole = path.read_bytes()
    for cut in (0, 1, 39, 40, 55, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(IntegrityError):
            store.stat(NAME, KEY)
        with pytest.raises(IntegrityError):
            store.open(NAME, KEY)
    path.write_bytes(whole + b"x")
    with pytest.raises(IntegrityError):
        store.open(NAME, KEY)
    assert [entry.name for entry in store.scan()] == [NAME]


def test_damage_in_the_middle_is_found_where_it_is_read(store: SealedObjects, root: Path) -> None:
    write(store, bytes_of(200_000))
    path = root / files(root)[0]
    damaged = bytearray(path.read_bytes())
    damaged[70_000] ^= 1
    path.write_bytes(damaged)
    with store.open(NAME, KEY) as file:
        assert file.read(65_536) == bytes_of(200_000)[:65_536]
        with pytest.raises(IntegrityError):
            file.read(1)
    with pytest.raises(IntegrityError):
        store.copy(NAME, KEY, bytes(32), KEY)
    assert [entry.name for entry in store.scan()] == [NAME]
    assert list((root / ".incoming").iterdir()) == []


def test_a_symbolic_link_is_no_object(store: SealedObjects, root: Path, tmp_path: Path) -> None:
    write(store)
    path = root / files(root)[0]
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(IntegrityError, match="symbolic link"):
        store.open(NAME, KEY)
    with pytest.raises(Conflict):
        write(store)
    store.delete([NAME])
    assert elsewhere.exists()
    assert not path.is_symlink()


def test_a_linked_directory_is_not_entered(store: SealedObjects, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / HEX[:2]).symlink_to(outside)
    with pytest.raises(StoreUnavailable, match="symbolic link"):
        write(store)
    with pytest.raises(StoreUnavailable, match="symbolic link"):
        store.delete([NAME])
    assert list(outside.iterdir()) == []


def test_a_fifo_does_not_block(store: SealedObjects, root: Path) -> None:
    write(store)
    path = root / files(root)[0]
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(IntegrityError, match="regular"):
        store.stat(NAME, KEY)


def test_foreign_files_are_not_listed(store: SealedObjects, root: Path) -> None:
    write(store)
    for foreign in ("README", "zz", ".hidden", "00/README", "00/01/README", f"00/01/{HEX.upper()}"):
        path = root / foreign
        path.parent.mkdir(exist_ok=True)
        path.write_text("foreign")
    assert [entry.name for entry in store.scan()] == [NAME]


# faults


@pytest.mark.parametrize("call", ["write", "stat", "open", "delete", "scan", "probe"])
def test_a_disk_that_is_gone_is_no_empty_store(store: SealedObjects, root: Path, call: str) -> None:
    write(store)
    calls: dict[str, Callable[[], object]] = {
        "write": lambda: write(store, name=bytes(32)),
        "stat": lambda: store.stat(NAME, KEY),
        "open": lambda: store.open(NAME, KEY),
        "delete": lambda: store.delete([NAME]),
        "scan": store.scan,
        "probe": store.probe,
    }
    aside = root.with_name("aside")
    root.rename(aside)
    with pytest.raises(StoreUnavailable, match="mounted"):
        calls[call]()
    root.mkdir()  # an empty mount point
    with pytest.raises(StoreUnavailable, match="mounted"):
        calls[call]()
    assert list(root.iterdir()) == []


LIMITED = """
import io, os, resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from lunacore_backends import file_objects
from lunacore_backends.file_objects import FileMedium
from lunacore_backends.sealed_objects import SealedObjects

resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = SealedObjects(FileMedium(Path(sys.argv[2]), os.urandom), None, os.urandom)
store.write(bytes.fromhex(sys.argv[3]), bytes.fromhex(sys.argv[4]), io.BytesIO(bytes(int(sys.argv[5]))))
"""


def limited_write(root: Path, size: int) -> str:
    """Write in a process that may have no file larger than a megabyte; return what it said."""
    arguments = [sys.executable, "-c", LIMITED, PROJECT, str(root), HEX, KEY.hex(), str(size)]
    return subprocess.run(arguments, capture_output=True, check=False, text=True).stderr


def test_a_disk_that_refuses_leaves_nothing(store: SealedObjects, root: Path) -> None:
    assert "StoreUnavailable: objects: the file would be larger" in limited_write(root, 3_000_000)
    assert files(root) == []
    assert store.stat(NAME, KEY) is None
    assert limited_write(root, 3_000) == ""
    assert store.open(NAME, KEY).read() == bytes(3_000)


@pytest.mark.parametrize(("number", "says"), [(errno.ENOSPC, "full"), (errno.EIO, "disk"), (errno.EACCES, "denied")])
def test_what_the_system_says_is_told(number: int, says: str) -> None:
    assert says in file_objects._unavailable(OSError(number, "raw text of the system")).message


# crashes and leftovers

WRITER = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from lunacore_backends import file_objects
from lunacore_backends.file_objects import FileMedium
from lunacore_backends.sealed_objects import SealedObjects

class Slow:
    left = 40
    def read(self, size):
        if not self.left:
            return b""
        self.left -= 1
        print(self.left, flush=True)
        return bytes([self.left]) * size

store = SealedObjects(FileMedium(Path(sys.argv[2]), os.urandom), None, os.urandom)
store.write(bytes.fromhex(sys.argv[3]), bytes.fromhex(sys.argv[4]), Slow())
print("done", flush=True)
"""


@pytest.mark.parametrize("after", [0, 1, 9, 20, 38, 39, 40])
def test_kill_leaves_nothing_or_all(store: SealedObjects, root: Path, after: int) -> None:
    arguments = [sys.executable, "-c", WRITER, PROJECT, str(root), HEX, KEY.hex()]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(after):
            writer.stdout.readline()
        writer.kill()
        writer.wait()
    if store.stat(NAME, KEY) is None:
        assert [path for path in files(root) if path.parts[0] != ".incoming"] == []
        write(store, b"again")
        assert store.open(NAME, KEY).read() == b"again"
    else:
        expected = b"".join(bytes([left]) * 65_536 for left in reversed(range(40)))
        assert store.open(NAME, KEY).read() == expected
    store.delete([NAME])
    assert files(root) == []


class Interrupting:
    """A source that does something to the store in the middle of a write."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action
        self.left = 10

    def read(self, size: int) -> bytes:
        self.left -= 1
        if self.left == 5:
            self.action()
        return bytes(size) if self.left > 0 else b""


def test_a_delete_wins_over_a_write_under_way(store: SealedObjects, root: Path) -> None:
    source = cast("BinaryIO", Interrupting(lambda: store.delete([NAME])))
    with pytest.raises(Conflict, match="deleted"):
        store.write(NAME, KEY, source)
    assert files(root) == []


def test_a_delete_of_others_lets_a_write_be(store: SealedObjects, root: Path) -> None:
    source = cast("BinaryIO", Interrupting(lambda: store.delete([bytes(32)])))
    store.write(NAME, KEY, source)
    assert len(files(root)) == 1


def test_old_leftovers_are_swept_and_young_ones_stay(store: SealedObjects, root: Path) -> None:
    incoming = root / ".incoming"
    old, young, foreign = (incoming / f"{HEX}.{'0' * 32}", incoming / f"{HEX}.{'1' * 32}", incoming / "README")
    for path in (old, young, foreign):
        path.write_bytes(b"x")
    for path in (old, foreign):
        os.utime(path, (1_000_000, 1_000_000))
    assert FileMedium(root, os.urandom).sweep_incoming(older_than=1_000_001) == 1
    assert sorted(incoming.iterdir()) == sorted([young, foreign])
    os.utime(young, (1_000_000, 1_000_000))
    opened(root)
    assert list(incoming.iterdir()) == [foreign]


def test_a_listing_reads_no_more_than_it_must(store: SealedObjects, root: Path) -> None:
    for first in range(64):
        write(store, name=bytes([first]) * 32)
    # What comes later is never looked at, nor what comes before.
    for first in (0, 63):
        shutil.rmtree(root / f"{first:02x}")
        (root / f"{first:02x}").write_text("no directory")
    names = [entry.name for entry in store.scan(bytes([9]) * 32, 5)]
    assert names == [bytes([first]) * 32 for first in range(10, 15)]
