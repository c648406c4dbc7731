"""The backfill: whatever happens in between, no value is lost, and no token ever stands for another value than its row's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from lunacore import tokens
from lunacore.errors import Conflict, RateLimited, StoreUnavailable, TokenNotFound, TooLarge
from lunacore.testing.faults import Crash
from lunacore_http.sdk.backfill import Backfill, Pace, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from lunacore.tokens import Token


class Table:
    """Rows in a dict; each write is whole or not at all, and ``between`` runs right before it, as another program would."""

    def __init__(self) -> None:
        self.rows: dict[int, list[str | None]] = {}
        self.between: Callable[[], None] = lambda: None
        self.written: Callable[[], None] = lambda: None

    def waiting(self, after: Hashable | None, limit: int) -> Sequence[Row]:
        return self._those(after, limit, has_token=False)

    def tokenized(self, after: Hashable | None, limit: int) -> Sequence[Row]:
        return self._those(after, limit, has_token=True)

    def count_waiting(self) -> int:
        return len(self._those(None, len(self.rows), has_token=False))

    def count_tokenized(self) -> int:
        return len(self._those(None, len(self.rows), has_token=True))

    def store(self, pairs: Sequence[tuple[Row, Token]]) -> Sequence[bool]:
        self.between()
        taken = [self._is(row) for row, _ in pairs]
        for (row, token), fits in zip(pairs, taken, strict=True):
            if fits:
                self.rows[self._key(row)][1] = token
        self.written()
        return taken

    def clear(self, rows: Sequence[Row]) -> Sequence[bool]:
        self.between()
        taken = [self._is(row) for row in rows]
        for row, fits in zip(rows, taken, strict=True):
            if fits:
                self.rows[self._key(row)][0] = None
        self.written()
        return taken

    def _is(self, row: Row) -> bool:
        return self.rows.get(self._key(row)) == [row.value, row.token]

    def _key(self, row: Row) -> int:
        assert isinstance(row.key, int)
        return row.key

    def _those(self, after: Hashable | None, limit: int, *, has_token: bool) -> list[Row]:
        assert after is None or isinstance(after, int)
        return [
            Row(key, value, token)
            for key, (value, token) in sorted(self.rows.items())
            if value and bool(token) is has_token and (after is None or key > after)
        ][:limit]


class Store:
    """Values in a dict, with a crash or a failure where one is due."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.failure: Callable[[], None] = lambda: None
        self.puts = 0

    def put(self, value: bytes) -> Token:
        self.failure()
        token = tokens.mint(os.urandom)
        self.values[token] = value
        self.puts += 1
        return token

    def get(self, token: str) -> bytes:
        self.failure()
        if token not in self.values:
            raise TokenNotFound
        return self.values[token]

    def delete(self, tokens: Sequence[str]) -> None:
        for token in tokens:
            del self.values[token]


def backfill(table: Table, store: Store, *, batch: int = 3) -> Backfill:
    pace = Pace(None, now=lambda: 0.0, sleep=lambda seconds: None)
    return Backfill(table, store, pace, batch=batch, parallel=1)


def nothing(count: int) -> None:
    """Nobody watches."""


VALUES = st.text("ab", min_size=1, max_size=2)


class Machine(RuleBasedStateMachine):
    """An application works on its table while backfills run, crash, and run again.

    The application is one from before the backfill (it writes the old column and knows nothing of tokens) and one from after
    (it reads the token, or else the old column). ``last`` is what was last written for each row, by whichever.
    """

    @initialize(values=st.lists(VALUES, max_size=8))
    def begin(self, values: list[str]) -> None:
        self.table, self.store = Table(), Store()
        self.last: dict[int, bytes] = {}
        for value in values:
            self.add(value)

    @rule(value=VALUES)
    def add(self, value: str) -> None:
        key = max(self.table.rows, default=0) + 1
        self.table.rows[key] = [value, None]
        self.last[key] = value.encode()

    @rule(place=st.integers(0, 20), value=VALUES)
    def change(self, place: int, value: str) -> None:
        """As an application from before does it, unless the row's value is gone from the old column."""
        self._write(place, value)

    @rule(place=st.integers(0, 20))
    def remove(self, place: int) -> None:
        if self.table.rows:
            key = sorted(self.table.rows)[place % len(self.table.rows)]
            del self.table.rows[key]
            del self.last[key]

    @rule(clear=st.booleans(), batch=st.integers(1, 4))
    def run(self, clear: bool, batch: int) -> None:
        self._run(clear, batch)

    @rule(clear=st.booleans(), batch=st.integers(1, 4), at=st.integers(0, 8))
    def run_and_crash_at_a_value(self, clear: bool, batch: int, at: int) -> None:
        left = at

        def failure() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Crash

        self.store.failure = failure
        self._run(clear, batch)

    @rule(clear=st.booleans(), batch=st.integers(1, 4), before=st.booleans(), at=st.integers(0, 3))
    def run_and_crash_at_a_write(self, clear: bool, batch: int, before: bool, at: int) -> None:
        left = at

        def crash() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Crash

        if before:
            self.table.between = crash
        else:
            self.table.written = crash
        self._run(clear, batch)

    @rule(clear=st.booleans(), batch=st.integers(1, 4), place=st.integers(0, 20), value=VALUES)
    def run_while_a_row_is_changed(self, clear: bool, batch: int, place: int, value: str) -> None:
        self.table.between = lambda: self._write(place, value)
        self._run(clear, batch)

    @rule(clear=st.booleans(), batch=st.integers(1, 4), at=st.integers(0, 8))
    def run_while_the_tokenizer_fails(self, clear: bool, batch: int, at: int) -> None:
        left = at

        def failure() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise StoreUnavailable("down")

        self.store.failure = failure
        self._run(clear, batch)

    @invariant()
    def no_value_is_lost(self) -> None:
        for key, (value, token) in self.table.rows.items():
            held = value.encode() if value is not None else self.store.values[token or ""]
            assert held == self.last[key], "what was last written is neither in the column nor behind its token"

    @invariant()
    def every_token_stands_for_a_value(self) -> None:
        for _, token in self.table.rows.values():
            assert token is None or token in self.store.values

    def _write(self, place: int, value: str) -> None:
        held = [key for key, (plain, _) in sorted(self.table.rows.items()) if plain is not None]
        if held:
            key = held[place % len(held)]
            self.table.rows[key][0] = value
            self.last[key] = value.encode()

    def _run(self, clear: bool, batch: int) -> None:
        work = backfill(self.table, self.store, batch=batch)
        waiting = self.table.count_waiting()
        try:
            if clear:
                work.clear(nothing)
            else:
                work.tokenize(nothing)
        except (Crash, StoreUnavailable):
            pass
        except Conflict:
            assert clear
            assert waiting > 0
        finally:
            self.table.between = self.table.written = self.store.failure = lambda: None


def test_no_value_is_lost_whatever_happens_in_between() -> None:
    run_state_machine_as_test(Machine)


def filled(count: int) -> tuple[Table, Store]:
    table = Table()
    table.rows = {key: [f"value {key}", None] for key in range(1, count + 1)}
    return table, Store()


def test_a_run_after_a_crash_does_at_most_one_batch_twice() -> None:
    for crash_at in range(10):
        table, store = filled(10)

        def failure(store: Store = store, crash_at: int = crash_at) -> None:
            if store.puts == crash_at:
                raise Crash

        store.failure = failure
        with pytest.raises(Crash):
            backfill(table, store).tokenize(nothing)
        store.failure = lambda: None
        backfill(table, store).tokenize(nothing)
        assert table.count_waiting() == 0
        assert store.puts <= 10 + 3


def test_the_old_column_is_cleared_only_when_every_row_has_a_token() -> None:
    table, store = filled(5)
    backfill(table, store).tokenize(nothing, limit=4)
    with pytest.raises(Conflict, match="1 rows have a value but no token"):
        backfill(table, store).clear(nothing)
    assert all(value for value, _ in table.rows.values())


def test_a_value_that_does_not_read_back_is_not_cleared() -> None:
    table, store = filled(3)
    backfill(table, store).tokenize(nothing)
    store.values[table.rows[1][1] or ""] = b"another"
    del store.values[table.rows[2][1] or ""]
    report = backfill(table, store).clear(nothing)
    assert (report.done, report.differing, [key for key, _ in report.problems]) == (1, (1,), [2])
    assert not report.complete
    assert [value for value, _ in table.rows.values()] == ["value 1", "value 2", None]


def test_a_row_that_changed_lets_go_of_the_value_put_away_for_it() -> None:
    table, store = filled(3)

    def change() -> None:
        table.rows[2][0] = "newer"

    table.between = change
    report = backfill(table, store).tokenize(nothing)
    assert (report.done, report.changed) == (2, 1)
    assert table.rows[2] == ["newer", None]
    assert sorted(store.values.values()) == [b"value 1", b"value 3"]


def test_what_a_failed_write_may_have_stored_is_not_deleted() -> None:
    table, store = filled(3)

    def fail() -> None:
        raise Crash

    table.written = fail
    with pytest.raises(Crash):
        backfill(table, store).tokenize(nothing)
    assert all(token in store.values for _, token in table.rows.values())


def test_one_bad_value_does_not_stop_the_others_and_is_named() -> None:
    table, store = filled(4)

    def too_large() -> None:
        if store.puts == 1 and "x" not in seen:
            seen.append("x")
            raise TooLarge("the value is too large")

    seen: list[str] = []
    store.failure = too_large
    report = backfill(table, store, batch=2).tokenize(nothing)
    assert report.done == 3
    assert report.problems == ((2, "the value is too large"),)


def test_what_succeeded_before_a_failure_is_kept() -> None:
    table, store = filled(4)

    def fail() -> None:
        if store.puts >= 2:
            raise StoreUnavailable("down")

    store.failure = fail
    with pytest.raises(StoreUnavailable):
        backfill(table, store, batch=4).tokenize(nothing)
    assert table.count_tokenized() == 2


def test_a_busy_tokenizer_is_waited_for_as_long_as_it_asks() -> None:
    table, store = filled(2)
    waited: list[float] = []

    def busy() -> None:
        if len(waited) < 3:
            raise RateLimited("too fast", retry_after=7)

    store.failure = busy
    pace = Pace(None, now=lambda: 0.0, sleep=waited.append)
    report = Backfill(table, store, pace, parallel=1).tokenize(nothing)
    assert report.done == 2
    assert waited == [7, 7, 7]


def test_the_pace_is_held() -> None:
    clock = [100.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    table, store = filled(10)
    pace = Pace(2, now=lambda: clock[0], sleep=sleep)
    Backfill(table, store, pace, batch=2, parallel=1).tokenize(nothing)
    assert clock[0] == 104.0


def test_no_repr_tells_a_value() -> None:
    assert "4111" not in repr(Row(1, "4111", "lunasec-4111"))
