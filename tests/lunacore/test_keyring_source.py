"""The keyring in a running process: reloads, staged keys, and what it refuses to take up."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

import pytest
from attrs import astuple

from lunacore import keyring as keyrings
from lunacore.errors import KeyringError, StoreUnavailable
from lunacore.keyring import KeyPurpose, Keyring
from lunacore.keyring_source import RELOAD_PERIOD, STAGING_PERIOD, KeyringSource
from lunacore.testing.deployment import START, Clock
from lunacore_backends.keyproviders.local import KeyFile
from lunacore_backends.keyring_files import MemoryKeyring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE = 30
"""Seconds after which a thread hangs."""

PROVIDER = KeyFile(bytes(range(32)), "tokenizer.seal", os.urandom)


class CountingStore(MemoryKeyring):
    """Counts its reads, and can be told to fail at them, or to hang."""

    reads = 0
    failure: Exception | None = None
    hang: Callable[[], object] = staticmethod(lambda: None)

    def read(self) -> bytes | None:
        self.reads += 1
        self.hang()
        if self.failure is not None:
            raise self.failure
        return super().read()

    @contextmanager
    def held(self) -> Iterator[Event]:
        """Hold reads back within the context; gives what is set when one has come."""
        reached, released = Event(), Event()

        def hang() -> None:
            reached.set()
            released.wait(DEADLINE)

        self.hang = hang
        try:
            yield reached
        finally:
            released.set()

    def put(self, keyring: Keyring) -> None:
        self._sealed = keyrings.seal(keyring, [PROVIDER], random=os.urandom)


@pytest.fixture
def keyring() -> Keyring:
    return keyrings.create(now=START - 1000, random=os.urandom)


@pytest.fixture
def store(keyring: Keyring) -> CountingStore:
    store = CountingStore()
    store.put(keyring)
    return store


@pytest.fixture
def open_source(store: CountingStore) -> Callable[[Clock], KeyringSource]:
    return lambda clock: KeyringSource(store, [PROVIDER], now=clock)


@pytest.fixture
def source(open_source: Callable[[Clock], KeyringSource], clock: Clock) -> KeyringSource:
    return open_source(clock)


def stage(keyring: Keyring, purpose: KeyPurpose, active_from: int) -> Keyring:
    return keyring.stage(purpose, active_from=active_from, random=os.urandom)


def test_without_a_keyring_it_says_what_to_do() -> None:
    with pytest.raises(KeyringError, match="lunacore keys init"):
        KeyringSource(MemoryKeyring(), [PROVIDER], now=Clock())


class TestReloading:
    def test_is_done_once_a_period(self, source: KeyringSource, store: CountingStore, clock: Clock) -> None:
        for _ in range(2):
            clock.advance(RELOAD_PERIOD - 1)
            before = store.reads
            _ = source.keyring
            assert store.reads == before
            clock.advance(1)
            for _ in range(3):
                _ = source.keyring
            assert store.reads == before + 1

    def test_takes_up_a_newer_keyring(
        self, source: KeyringSource, store: CountingStore, clock: Clock, keyring: Keyring
    ) -> None:
        store.put(stage(keyring, KeyPurpose.ROOT, START + STAGING_PERIOD))
        assert source.keyring.serial == 1
        clock.advance(RELOAD_PERIOD)
        assert source.keyring.serial == 2

    def test_takes_up_the_same_keyring_sealed_anew(
        self, source: KeyringSource, store: CountingStore, clock: Clock, keyring: Keyring
    ) -> None:
        store.put(keyring)
        clock.advance(RELOAD_PERIOD)
        assert source.keyring == keyring
        assert source.problem is None

    def test_a_clock_that_is_set_back_does_not_stop_it(
        self, source: KeyringSource, store: CountingStore, clock: Clock, keyring: Keyring
    ) -> None:
        clock.advance(10 * 365 * 86_400)
        _ = source.keyring
        clock.seconds = START
        store.put(stage(keyring, KeyPurpose.ROOT, START))
        assert source.keyring.serial == 2

    def test_refuses_an_older_keyring(
        self, source: KeyringSource, store: CountingStore, clock: Clock, keyring: Keyring
    ) -> None:
        newer = stage(keyring, KeyPurpose.ROOT, START)
        store.put(newer)
        clock.advance(RELOAD_PERIOD)
        assert source.keyring == newer
        store.put(keyring)
        clock.advance(RELOAD_PERIOD)
        assert source.keyring == newer
        assert source.problem is not None
        assert "older" in source.problem

    def test_refuses_a_foreign_keyring(self, source: KeyringSource, store: CountingStore, clock: Clock) -> None:
        loaded = source.keyring
        foreign = keyrings.create(now=START, random=os.urandom)
        store.put(stage(foreign, KeyPurpose.ROOT, START))
        clock.advance(RELOAD_PERIOD)
        assert source.keyring == loaded
        assert source.problem is not None
        assert "foreign" in source.problem

    def test_keeps_nobody_else_waiting(
        self, source: KeyringSource, store: CountingStore, clock: Clock, keyring: Keyring
    ) -> None:
        newer = stage(keyring, KeyPurpose.ROOT, START + STAGING_PERIOD)
        store.put(newer)
        clock.advance(RELOAD_PERIOD)
        with ThreadPoolExecutor(2) as threads, store.held() as reached:
            reloading = threads.submit(lambda: source.keyring)
            assert reached.wait(DEADLINE)
            assert threads.submit(lambda: source.keyring).result(DEADLINE) == keyring
        assert reloading.result() == newer

    def test_keeps_others_waiting_once_their_keys_are_no_longer_the_active_ones(
        self, source: KeyringSource, store: CountingStore, clock: Clock, keyring: Keyring
    ) -> None:
        store.put(stage(keyring, KeyPurpose.ROOT, START + STAGING_PERIOD))
        clock.advance(RELOAD_PERIOD)
        assert source.active_root()[0] == 1
        clock.advance(STAGING_PERIOD)
        with ThreadPoolExecutor(2) as threads:
            with store.held() as reached:
                roots = [threads.submit(source.active_root)]
                assert reached.wait(DEADLINE)
                roots.append(threads.submit(source.active_root))
            assert [root.result()[0] for root in roots] == [2, 2]

    @pytest.mark.parametrize("failure", [StoreUnavailable("the disk is gone"), KeyringError("not readable")])
    def test_what_cannot_be_read_leaves_the_loaded_one_and_says_so(
        self, source: KeyringSource, store: CountingStore, clock: Clock, failure: Exception
    ) -> None:
        loaded = source.keyring
        store.failure = failure
        clock.advance(RELOAD_PERIOD)
        assert source.keyring == loaded
        assert source.problem == str(failure)
        store.failure = None
        assert source.problem == str(failure)
        clock.advance(RELOAD_PERIOD)
        assert source.keyring == loaded
        assert source.problem is None

    def test_what_is_damaged_or_gone_leaves_the_loaded_one(
        self, source: KeyringSource, store: CountingStore, clock: Clock
    ) -> None:
        loaded, good = source.keyring, store._sealed
        assert good is not None
        for stored in (b"", good[:-1], good[:-1] + bytes([good[-1] ^ 1]), b"LCKR\x02" + good[5:], None):
            store._sealed = stored
            clock.advance(RELOAD_PERIOD)
            assert source.keyring == loaded
            assert source.problem


class TestRootKeys:
    def test_an_unknown_version_reloads_at_once(
        self, source: KeyringSource, store: CountingStore, keyring: Keyring
    ) -> None:
        newer = stage(keyring, KeyPurpose.ROOT, START + STAGING_PERIOD)
        store.put(newer)
        assert source.root_key(2) == newer.of_version(KeyPurpose.ROOT, 2).secret

    def test_a_version_that_nobody_has_is_no_damage_and_keeps_nobody_busy(
        self, source: KeyringSource, store: CountingStore, clock: Clock
    ) -> None:
        before = store.reads
        for _ in range(10):
            with pytest.raises(StoreUnavailable, match="restore the newest keyring"):
                source.root_key(9)
        assert store.reads == before + 1
        clock.advance(1)
        with pytest.raises(StoreUnavailable):
            source.root_key(9)
        assert store.reads == before + 2

    def test_a_staged_root_becomes_active_by_time(
        self, source: KeyringSource, store: CountingStore, clock: Clock, keyring: Keyring
    ) -> None:
        store.put(stage(keyring, KeyPurpose.ROOT, START + STAGING_PERIOD))
        for _ in range(STAGING_PERIOD // RELOAD_PERIOD):
            assert source.active_root()[0] == 1
            clock.advance(RELOAD_PERIOD)
        assert source.active_root()[0] == 2
        assert source.root_key(1) != source.root_key(2)

    @pytest.mark.parametrize("skew", [-RELOAD_PERIOD, -30, 0, 30, RELOAD_PERIOD])
    def test_when_one_process_uses_a_new_root_all_others_have_it(
        self, open_source: Callable[[Clock], KeyringSource], store: CountingStore, keyring: Keyring, skew: int
    ) -> None:
        clocks = [Clock(START + 5), Clock(START + 5 + skew)]
        sources = [open_source(clock) for clock in clocks]
        store.put(stage(keyring, KeyPurpose.ROOT, START + 6 + STAGING_PERIOD))
        for _ in range(2 * STAGING_PERIOD):
            for clock in clocks:
                clock.advance(1)
            used = [source.active_root()[0] for source in sources]
            reads = store.reads
            for version in used:
                for source in sources:
                    source.root_key(version)
            assert store.reads == reads, "a process had to look for a root that another already used"
        assert used == [2, 2]


class TestGatewayKeys:
    def test_an_unknown_access_key_reloads_at_once(
        self, source: KeyringSource, store: CountingStore, keyring: Keyring
    ) -> None:
        assert source.of("lunacore-gateway-2") is None
        store.put(stage(keyring, KeyPurpose.GATEWAY, START))
        assert source.of("lunacore-gateway-2") is None  # looked just now
        source._now.advance(1)  # type: ignore[attr-defined]
        found = source.of("lunacore-gateway-2")
        assert found is not None
        assert found == source.active(START)
        assert found != source.of("lunacore-gateway-1")

    def test_a_staged_key_is_known_and_not_used(
        self, source: KeyringSource, store: CountingStore, clock: Clock, keyring: Keyring
    ) -> None:
        store.put(stage(keyring, KeyPurpose.GATEWAY, START + 1000))
        clock.advance(RELOAD_PERIOD)
        assert source.active(clock()).access_key == "lunacore-gateway-1"
        assert source.of("lunacore-gateway-2") is not None


def test_derived_keys_follow_the_keyring(
    source: KeyringSource, store: CountingStore, clock: Clock, keyring: Keyring
) -> None:
    before = source.tenant_key("default"), source.session_keys(), source.label_hash("default", "x", 1)
    newer = stage(stage(keyring, KeyPurpose.LOOKUP, START + 100), KeyPurpose.SESSION, START + 100)
    store.put(newer)
    clock.advance(RELOAD_PERIOD)
    assert source.older_lookup_versions(1) == [2]
    assert [keys.version for keys in source.session_keys()] == [1, 2]
    clock.advance(RELOAD_PERIOD)
    assert source.tenant_key("default")[0] == 2
    assert source.tenant_key("default") != before[0]
    assert source.tenant_key("default", 1) == before[0]
    assert [keys.version for keys in source.session_keys()] == [2, 1]
    assert astuple(source.session_keys()[1]) == astuple(before[1][0])
    assert source.label_hash("default", "x", 1) == before[2] != source.label_hash("default", "x", 2)


def test_a_retired_key_is_gone(source: KeyringSource, store: CountingStore, clock: Clock, keyring: Keyring) -> None:
    store.put(stage(keyring, KeyPurpose.SESSION, START).without(KeyPurpose.SESSION, 1))
    clock.advance(RELOAD_PERIOD)
    assert [keys.version for keys in source.session_keys()] == [2]
