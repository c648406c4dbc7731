"""The contract of ``KeyringStore``: a suite to subclass.

A backend's tests are a subclass with one fixture and one probe that reaches the medium behind the store's back::

    class TestMyKeyringStore(KeyringStoreContract):
        @pytest.fixture
        def open_store(self): ...

        def peek(self, store): ...
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore.stores import KeyringStore

THREADS: Final = 6
TURNS: Final = 12

# No sealed keyring is shorter than this, and a store may rely on it.
_SEALED_BYTES: Final = 64


def sealed_of(number: int) -> bytes:
    """Bytes that stand for a sealed keyring; ``number_of`` tells the number again."""
    return b"%d" % number + b"\xff\x00\n\r" * (_SEALED_BYTES // 4)


def number_of(sealed: bytes) -> int:
    """The number that ``sealed_of`` was given."""
    return int(sealed.partition(b"\xff")[0])


def count_up(store: KeyringStore, turns: int) -> None:
    """Add 1 to the stored number as often, by compare-and-swap alone."""
    for _ in range(turns):
        swapped = False
        while not swapped:
            old = store.read()
            swapped = store.replace(old, sealed_of(0 if old is None else number_of(old) + 1))


class KeyringStoreContract:
    """What every ``KeyringStore`` must do."""

    @pytest.fixture
    def open_store(self) -> Callable[[], KeyringStore]:
        """Opens the same medium, empty at first, as often as it is called."""
        raise NotImplementedError

    def peek(self, store: KeyringStore) -> bytes | None:
        """What the medium holds, read in another way than the store's."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, open_store: Callable[[], KeyringStore]) -> KeyringStore:
        return open_store()

    def test_reads_none_where_there_is_no_keyring(self, store: KeyringStore) -> None:
        assert store.read() is None

    def test_holds_what_was_written(self, store: KeyringStore) -> None:
        assert store.replace(None, sealed_of(1))
        assert store.read() == sealed_of(1)
        assert self.peek(store) == sealed_of(1)

    @pytest.mark.parametrize("size", [_SEALED_BYTES, 4096, 65_536])
    def test_holds_every_byte_of_a_keyring(self, store: KeyringStore, size: int) -> None:
        sealed = (bytes(range(256)) * (size // 256 + 1))[:size]
        assert store.replace(None, sealed)
        assert store.read() == sealed

    def test_every_opening_sees_the_same_keyring(self, open_store: Callable[[], KeyringStore]) -> None:
        one, other = open_store(), open_store()
        assert one.replace(None, sealed_of(1))
        assert other.read() == sealed_of(1)
        assert other.replace(sealed_of(1), sealed_of(2))
        assert one.read() == sealed_of(2)
        assert open_store().read() == sealed_of(2)

    def test_replaces_only_what_the_caller_has_seen(self, store: KeyringStore) -> None:
        present = None
        values = [None, sealed_of(1), sealed_of(2), sealed_of(3)]
        for old, new in [*itertools.product(values, values[1:])] * 3:
            assert new is not None
            assert store.replace(old, new) is (old == present)
            present = new if old == present else present
            assert store.read() == present
            assert self.peek(store) == present

    def test_an_empty_place_is_not_an_empty_keyring(self, store: KeyringStore) -> None:
        assert store.replace(None, sealed_of(1))
        assert not store.replace(None, sealed_of(1))
        assert self.peek(store) == sealed_of(1)

    def test_no_swap_is_lost_between_threads(self, open_store: Callable[[], KeyringStore]) -> None:
        stores = [open_store() for _ in range(THREADS)]
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(count_up, stores, [TURNS] * THREADS))
        peeked = self.peek(stores[0])
        assert peeked is not None
        assert number_of(peeked) == THREADS * TURNS - 1
