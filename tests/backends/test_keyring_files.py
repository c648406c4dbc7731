"""The keyring in a local file and in memory: the contract, other processes, crashes, full disks, permissions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from lunacore.errors import ConfigError, KeyringError, StoreUnavailable
from lunacore.plugins import BackendURL, Surroundings, open_backend
from lunacore.testing.keyring_store import KeyringStoreContract, number_of, sealed_of
from lunacore_backends.keyring_files import MAX_BYTES, KeyringFile, MemoryKeyring, open_keyring, open_memory_keyring
from lunacore_backends.local_files import written_beside

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore.stores import KeyringStore

SETTING = "tokenizer.keyring"
SURROUNDINGS = Surroundings(setting=SETTING, now=lambda: 0.0, random=os.urandom)
WORKER = Path(__file__).with_name("local_files_worker.py")


def start(task: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), task, json.dumps([str(argument) for argument in arguments])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def open_at(path: Path) -> KeyringFile:
    return open_keyring(BackendURL.parse(path.as_uri(), SETTING), SURROUNDINGS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring"


class TestKeyringFile(KeyringStoreContract):
    @pytest.fixture
    def open_store(self, path: Path) -> Callable[[], KeyringStore]:
        return lambda: open_at(path)

    def peek(self, store: KeyringStore) -> bytes | None:
        path = cast("KeyringFile", store).path
        return path.read_bytes() if path.exists() else None


class TestMemoryKeyring(KeyringStoreContract):
    @pytest.fixture
    def open_store(self) -> Callable[[], KeyringStore]:
        store = open_memory_keyring(BackendURL.parse("memory://", SETTING), SURROUNDINGS)
        return lambda: store

    def peek(self, store: KeyringStore) -> bytes | None:
        return cast("MemoryKeyring", store)._sealed


def test_the_entry_points_lead_here(path: Path) -> None:
    assert isinstance(open_backend("keyring", path.as_uri(), SURROUNDINGS), KeyringFile)
    assert isinstance(open_backend("keyring", "memory://", SURROUNDINGS), MemoryKeyring)


def test_no_swap_is_lost_between_processes(path: Path) -> None:
    workers = [start("count", path, 30) for _ in range(3)]
    for worker in workers:
        worker.communicate(timeout=60)
        assert worker.returncode == 0
    assert number_of(path.read_bytes()) == 3 * 30 - 1


@pytest.mark.long
def test_a_killed_writer_leaves_a_whole_keyring_and_no_lock(path: Path) -> None:
    seen = -1
    for round_number in range(4):
        worker = start("count_until_killed", path)
        assert worker.stdout is not None
        for _ in range(3 + round_number * 4):
            seen = int(worker.stdout.readline())
        worker.send_signal(signal.SIGKILL)
        rest, _ = worker.communicate(timeout=60)
        seen = int(rest.split()[-1]) if rest.split() else seen
        content = path.read_bytes()
        # One more swap than was told of may have happened, none fewer.
        assert content in (sealed_of(seen), sealed_of(seen + 1))
        seen = number_of(content)
    assert open_at(path).replace(sealed_of(seen), sealed_of(0))
    assert sorted(entry.name for entry in path.parent.iterdir()) == [".keyring.lock", "keyring"]


def test_what_a_killed_writer_left_is_removed(path: Path) -> None:
    store = open_at(path)
    assert store.replace(None, sealed_of(1))
    # As after a crash between link and unlink: a second name of the keyring itself.
    path.with_name(".keyring.abc.new").hardlink_to(path)
    path.with_name(".other.abc.new").write_bytes(b"not ours")
    assert store.replace(sealed_of(1), sealed_of(2))
    assert store.read() == sealed_of(2)
    assert sorted(entry.name for entry in path.parent.iterdir()) == [".keyring.lock", ".other.abc.new", "keyring"]


def test_a_first_keyring_does_not_replace_one_that_came_without_the_lock(path: Path) -> None:
    # A restore from a backup, say, between the comparison and the write.
    store = open_at(path)
    path.write_bytes(sealed_of(1))
    with written_beside(path, sealed_of(2)) as temporary:
        assert not store._link(temporary)
    assert path.read_bytes() == sealed_of(1)
    path.unlink()
    with written_beside(path, sealed_of(2)) as temporary:
        assert store._link(temporary)
    assert path.read_bytes() == sealed_of(2)


def test_a_full_disk_leaves_the_old_keyring(path: Path) -> None:
    assert open_at(path).replace(None, sealed_of(1))
    worker = start("keyring_on_full_disk", path)
    said, _ = worker.communicate(timeout=60)
    assert said.splitlines() == [f"{SETTING}: cannot write the keyring {path}: File too large", "True"]
    assert path.read_bytes() == sealed_of(3)
    assert sorted(entry.name for entry in path.parent.iterdir()) == [".keyring.lock", "keyring"]


def test_files_are_the_owners_alone(path: Path) -> None:
    previous = os.umask(0)
    try:
        store = open_at(path)
        assert store.replace(None, sealed_of(1))
        assert store.replace(sealed_of(1), sealed_of(2))
    finally:
        os.umask(previous)
    assert {entry.name: entry.stat().st_mode & 0o777 for entry in path.parent.iterdir()} == {
        "keyring": 0o600,
        ".keyring.lock": 0o600,
    }


def test_what_root_writes_belongs_to_the_owner_of_the_directory(tmp_path: Path) -> None:
    # Only root can give files away; for anyone else all of them are their own.
    owner = 12_345 if os.geteuid() == 0 else os.geteuid()
    directory = tmp_path / "service"
    directory.mkdir()
    os.chown(directory, owner, -1)
    store = open_at(directory / "keyring")
    assert store.replace(None, sealed_of(1))
    assert store.replace(sealed_of(1), sealed_of(2))
    assert {entry.stat().st_uid for entry in directory.iterdir()} == {owner}


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_refuses_a_keyring_that_others_can_write(path: Path, mode: int) -> None:
    store = open_at(path)
    assert store.replace(None, sealed_of(1))
    path.chmod(mode)
    for call in (store.read, store.probe, lambda: store.replace(sealed_of(1), sealed_of(2))):
        with pytest.raises(KeyringError, match=rf"^{SETTING}: .*; run: chmod 600 {path}$"):
            call()
    assert path.read_bytes() == sealed_of(1)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_sealed_keyring_may_be_read_by_others(path: Path, mode: int) -> None:
    store = open_at(path)
    assert store.replace(None, sealed_of(1))
    path.chmod(mode)
    assert store.read() == sealed_of(1)


def test_a_symbolic_link_stays_one(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    store = open_at(link)
    assert store.replace(None, sealed_of(1))
    assert store.replace(sealed_of(1), sealed_of(2))
    assert link.is_symlink()
    assert path.read_bytes() == sealed_of(2)


def test_a_missing_directory_is_told_of(tmp_path: Path) -> None:
    store = open_at(tmp_path / "missing" / "keyring")
    assert store.read() is None
    with pytest.raises(StoreUnavailable, match=rf"^{SETTING}: cannot write the keyring .*: No such file or directory$"):
        store.replace(None, sealed_of(1))


def test_a_path_through_a_file_is_told_of(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(StoreUnavailable, match=r"cannot read the keyring .*: Not a directory"):
        open_at(path / "keyring").read()


def test_refuses_a_fifo_without_waiting_for_it(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(KeyringError, match="is not a regular file"):
        open_at(path).read()


def test_refuses_what_is_too_large_to_be_a_keyring(path: Path) -> None:
    store = open_at(path)
    with pytest.raises(KeyringError, match="more than 1048576 bytes"):
        store.replace(None, bytes(MAX_BYTES + 1))
    path.write_bytes(bytes(MAX_BYTES + 1))
    with pytest.raises(KeyringError, match=r"holds more than 1048576 bytes; is it the right file\?"):
        store.read()


def test_probe_tells_of_a_missing_keyring(path: Path) -> None:
    store = open_at(path)
    with pytest.raises(StoreUnavailable, match="there is no keyring at"):
        store.probe()
    assert store.replace(None, sealed_of(1))
    store.probe()


def test_a_directory_is_no_keyring(tmp_path: Path) -> None:
    for url in (tmp_path.as_uri(), f"{tmp_path.as_uri()}/new/"):
        with pytest.raises(ConfigError, match=rf"^{SETTING}: .* is a directory; name a file in it"):
            open_keyring(BackendURL.parse(url, SETTING), SURROUNDINGS)


@pytest.mark.parametrize("url", ["file://etc/keyring", "file:keyring", "file:///x%00y"])
def test_refuses_what_is_no_absolute_path(url: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{SETTING} must name an absolute path, with three slashes"):
        open_keyring(BackendURL.parse(url, SETTING), SURROUNDINGS)


@pytest.mark.parametrize("url", ["file:///x?mode=1", "memory://?x=1", "memory://host", "memory:///path"])
def test_refuses_urls_with_too_much_in_them(url: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{SETTING}: "):
        open_backend("keyring", url, SURROUNDINGS)
