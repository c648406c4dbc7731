"""The contract of ``ExpiringStore``: a suite to subclass, and a state machine that checks a store against a dict.

A backend's tests are a subclass with one fixture and a probe that reads the medium behind the store's back. A medium that
expires by a clock of its own overrides ``start`` and ``advance``, so that the suite's time is the medium's::

    class TestMyGrants(ExpiringStoreContract):
        @pytest.fixture
        def open_store(self): ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from lunacore.stores import Entry
from lunacore.testing.record_store import THREADS, close_if_possible, race

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore.stores import ExpiringStore

# Few keys, so that calls meet; also such as other media might take for text, a pattern or a prefix.
KEYS = (b"a", b"b", b"a\0", b"\xff\xfe", b"*", b"x" * 64)

keys = st.sampled_from(KEYS)
values = st.sampled_from([b"", b"\0", b"not a count", b"\xff" * 9, b"v" * 3000])
lifetimes = st.integers(-1, 4)


class ExpiringMachine(RuleBasedStateMachine):
    """Does the same to a store and to a dict, and compares."""

    def open(self) -> ExpiringStore:
        """An empty store for one example."""
        raise NotImplementedError

    def start(self) -> int:
        """The time at which an example begins, in Unix seconds."""
        raise NotImplementedError

    def advance(self, now: int, seconds: int) -> int:
        """Let seconds pass; the new time."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.store = self.open()
        self.now = self.start()
        self.model: dict[bytes, tuple[bytes, int]] = {}

    def teardown(self) -> None:
        close_if_possible(self.store)

    @rule(seconds=st.integers(0, 2))
    def time_passes(self, seconds: int) -> None:
        self.now = self.advance(self.now, seconds)

    @rule(puts=st.lists(st.tuples(keys, values, lifetimes), max_size=3))
    def put(self, puts: list[tuple[bytes, bytes, int]]) -> None:
        entries = [Entry(key, value, self.now + lifetime) for key, value, lifetime in puts]
        self.store.put(entries, self.now)
        for entry in entries:
            self.model[entry.key] = (entry.value, entry.expires)

    @rule(key=keys, value=values, lifetime=lifetimes)
    def put_if_absent(self, key: bytes, value: bytes, lifetime: int) -> None:
        entry = Entry(key, value, self.now + lifetime)
        absent = self._live(key) is None
        assert self.store.put_if_absent(entry, self.now) is absent
        if absent:
            self.model[key] = (value, entry.expires)

    @rule(wanted=st.lists(keys, max_size=8))
    def get(self, wanted: list[bytes]) -> None:
        assert self.store.get(wanted, self.now) == [self._live(key) for key in wanted]

    @rule(key=keys)
    def take(self, key: bytes) -> None:
        assert self.store.take(key, self.now) == self._live(key)
        self.model.pop(key, None)

    @rule(key=keys, by=st.integers(-3, 3), lifetime=lifetimes)
    def increment(self, key: bytes, by: int, lifetime: int) -> None:
        present = self._live(key)
        if present is not None and not present.lstrip(b"-").isdigit():
            with pytest.raises(ValueError, match="no counter"):
                self.store.increment(key, by, self.now + lifetime, self.now)
            return
        count = int(present or b"0") + by
        expires = self.now + lifetime if present is None else self.model[key][1]
        assert self.store.increment(key, by, self.now + lifetime, self.now) == count
        self.model[key] = (b"%d" % count, expires)

    @rule(deleted=st.lists(keys, max_size=3))
    def delete(self, deleted: list[bytes]) -> None:
        self.store.delete(deleted)
        for key in deleted:
            self.model.pop(key, None)

    @rule(limit=st.integers(0, 3))
    def sweep(self, limit: int) -> None:
        assert 0 <= self.store.sweep(self.now, limit) <= limit

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert self.store.get(KEYS, self.now) == [self._live(key) for key in KEYS]

    def _live(self, key: bytes) -> bytes | None:
        value, expires = self.model.get(key, (b"", 0))
        return value if expires > self.now else None


def expiring_machine(
    open_store: Callable[[], ExpiringStore], start: Callable[[], int], advance: Callable[[int, int], int]
) -> type[RuleBasedStateMachine]:
    """A state machine for the stores that ``open_store`` makes; each example begins with an empty one.

    Args:
        open_store: makes an empty store.
        start: the time at which an example begins, in Unix seconds.
        advance: lets seconds pass, given the time and how many; returns the new time.
    """

    class OpenedExpiringMachine(ExpiringMachine):
        def open(self) -> ExpiringStore:
            return open_store()

        def start(self) -> int:
            return start()

        def advance(self, now: int, seconds: int) -> int:
            return advance(now, seconds)

    return OpenedExpiringMachine


class ExpiringStoreContract:
    """What every expiring store must do. Subclasses give ``open_store`` and ``peek``.

    Attributes:
        sweeps: whether entries stay in the medium until ``sweep``; False where the medium expires them by itself.
    """

    sweeps = True

    @pytest.fixture
    def open_store(self) -> Callable[[], ExpiringStore]:
        """A function that makes an empty store at each call."""
        raise NotImplementedError

    def peek(self, store: ExpiringStore) -> set[bytes]:
        """The keys in the medium, read behind the store's back; expired ones may be among them."""
        raise NotImplementedError

    def start(self) -> int:
        """The time at which a test begins, in Unix seconds."""
        return 1_700_000_000

    def advance(self, now: int, seconds: int) -> int:
        """Let seconds pass; the new time."""
        return now + seconds

    @pytest.fixture
    def store(self, open_store: Callable[[], ExpiringStore]) -> ExpiringStore:
        return open_store()

    @pytest.fixture
    def now(self) -> int:
        return self.start()

    def test_state_machine(self, open_store: Callable[[], ExpiringStore]) -> None:
        run_state_machine_as_test(expiring_machine(open_store, self.start, self.advance))

    def test_put_writes_to_the_medium(self, store: ExpiringStore, now: int) -> None:
        store.put([Entry(b"a", b"1", now + 10), Entry(b"b", b"2", now + 10)], now)
        assert self.peek(store) == {b"a", b"b"}

    def test_put_replaces_value_and_expiry(self, store: ExpiringStore, now: int) -> None:
        store.put([Entry(b"a", b"old", now + 1)], now)
        store.put([Entry(b"a", b"new", now + 10)], now)
        later = self.advance(now, 2)
        assert store.get([b"a"], later) == [b"new"]

    def test_put_may_shorten_a_life(self, store: ExpiringStore, now: int) -> None:
        store.put([Entry(b"a", b"old", now + 100)], now)
        store.put([Entry(b"a", b"new", now + 1)], now)
        assert store.get([b"a"], self.advance(now, 2)) == [None]

    def test_put_of_a_key_twice_keeps_the_last(self, store: ExpiringStore, now: int) -> None:
        store.put([Entry(b"a", b"first", now + 9), Entry(b"a", b"last", now + 9)], now)
        assert store.get([b"a"], now) == [b"last"]

    def test_put_of_an_expired_entry_removes_what_stood_there(self, store: ExpiringStore, now: int) -> None:
        store.put([Entry(b"a", b"old", now + 9)], now)
        store.put([Entry(b"a", b"new", now)], now)
        assert store.get([b"a"], now) == [None]

    def test_an_entry_is_gone_from_its_second_on(self, store: ExpiringStore, now: int) -> None:
        store.put([Entry(b"a", b"1", now + 3)], now)
        before = self.advance(now, 2)
        assert store.get([b"a"], before) == [b"1"]
        at = self.advance(before, 1)
        assert store.get([b"a"], at) == [None]
        assert store.take(b"a", at) is None
        assert store.put_if_absent(Entry(b"a", b"2", at + 9), at)

    def test_far_expiry(self, store: ExpiringStore, now: int) -> None:
        store.put([Entry(b"a", b"1", now + 100 * 366 * 86400)], now)
        assert store.get([b"a"], now) == [b"1"]

    @pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 9, 1200])
    def test_get_keeps_order_gaps_and_repeats(self, store: ExpiringStore, now: int, count: int) -> None:
        store.put([Entry(b"%d" % number, b"v%d" % number, now + 9) for number in range(0, count, 2)], now)
        order = list(reversed(range(count))) * 2
        wanted = [b"%d" % number for number in order]
        assert store.get(wanted, now) == [b"v%d" % number if number % 2 == 0 else None for number in order]

    def test_put_if_absent_leaves_the_present(self, store: ExpiringStore, now: int) -> None:
        assert store.put_if_absent(Entry(b"a", b"first", now + 2), now)
        assert not store.put_if_absent(Entry(b"a", b"second", now + 100), now)
        assert store.get([b"a"], now) == [b"first"]
        assert store.get([b"a"], self.advance(now, 2)) == [None]

    def test_take_removes(self, store: ExpiringStore, now: int) -> None:
        store.put([Entry(b"a", b"1", now + 9), Entry(b"b", b"", now + 9)], now)
        assert store.take(b"a", now) == b"1"
        assert store.take(b"a", now) is None
        assert store.take(b"b", now) == b""
        assert self.peek(store) == set()

    def test_increment_counts_and_keeps_its_expiry(self, store: ExpiringStore, now: int) -> None:
        assert store.increment(b"n", 1, now + 3, now) == 1
        assert store.increment(b"n", 5, now + 100, now) == 6
        assert store.increment(b"n", -10, now + 100, now) == -4
        assert store.get([b"n"], now) == [b"-4"]
        later = self.advance(now, 3)
        assert store.get([b"n"], later) == [None]
        assert store.increment(b"n", 2, later + 9, later) == 2

    def test_increment_by_zero_reads(self, store: ExpiringStore, now: int) -> None:
        assert store.increment(b"n", 0, now + 9, now) == 0
        assert store.get([b"n"], now) == [b"0"]

    def test_counters_are_64_bits_wide_and_do_not_wrap(self, store: ExpiringStore, now: int) -> None:
        assert store.increment(b"n", 2**63 - 1, now + 9, now) == 2**63 - 1
        with pytest.raises(ValueError, match="64 bits"):
            store.increment(b"n", 1, now + 9, now)
        assert store.get([b"n"], now) == [b"%d" % (2**63 - 1)]
        assert store.increment(b"m", -(2**63), now + 9, now) == -(2**63)

    def test_increment_refuses_what_is_no_counter(self, store: ExpiringStore, now: int) -> None:
        store.put([Entry(b"a", b"grant", now + 9)], now)
        with pytest.raises(ValueError, match="no counter"):
            store.increment(b"a", 1, now + 9, now)
        assert store.get([b"a"], now) == [b"grant"]

    def test_delete_is_idempotent(self, store: ExpiringStore, now: int) -> None:
        store.put([Entry(b"a", b"1", now + 9), Entry(b"b", b"2", now + 9)], now)
        store.delete([b"a", b"c", b"a"])
        store.delete([b"a"])
        store.delete([])
        assert self.peek(store) == {b"b"}

    def test_sweep_removes_expired_entries_alone(self, store: ExpiringStore, now: int) -> None:
        store.put([Entry(b"old%d" % number, b"", now + 1) for number in range(1200)], now)
        store.put([Entry(b"young", b"1", now + 100)], now)
        later = self.advance(now, 1)
        assert store.sweep(later) == (1200 if self.sweeps else 0)
        assert self.peek(store) == {b"young"}
        assert store.get([b"young"], later) == [b"1"]

    def test_sweep_takes_the_oldest_first(self, store: ExpiringStore, now: int) -> None:
        for number in (4, 2, 5, 1, 3):
            store.put([Entry(b"%d" % number, b"", now + number)], now)
        later = self.advance(now, 5)
        assert store.sweep(later, 2) == (2 if self.sweeps else 0)
        assert self.peek(store) == ({b"3", b"4", b"5"} if self.sweeps else set())

    def test_racing_puts_if_absent_have_one_winner(self, store: ExpiringStore, now: int) -> None:
        for round_ in range(5):
            key = b"key %d" % round_
            entries = [Entry(key, b"%d" % thread, now + 99) for thread in range(THREADS)]
            won = race(*(lambda entry=entry: store.put_if_absent(entry, now) for entry in entries))
            assert sorted(won) == [False] * (THREADS - 1) + [True]
            assert store.get([key], now) == [entries[won.index(True)].value]

    def test_racing_takes_have_one_winner(self, store: ExpiringStore, now: int) -> None:
        for round_ in range(5):
            key = b"key %d" % round_
            store.put([Entry(key, b"once", now + 99)], now)
            taken = race(*[lambda key=key: store.take(key, now)] * THREADS)
            assert taken.count(b"once") == 1
            assert taken.count(None) == THREADS - 1

    def test_no_increment_is_lost(self, store: ExpiringStore, now: int) -> None:
        turns = 10

        def count_up() -> list[int]:
            return [store.increment(b"n", 1, now + 99, now) for _ in range(turns)]

        counts = [count for thread in race(*[count_up] * THREADS) for count in thread]
        assert sorted(counts) == list(range(1, turns * THREADS + 1))
        assert store.get([b"n"], now) == [b"%d" % (turns * THREADS)]
