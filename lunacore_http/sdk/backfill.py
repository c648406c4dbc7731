"""Backfill: put the values of an existing column away for tokens, while the application goes on working.

The rows themselves say what is left to do: one with a value and no token waits. So a run that was interrupted is resumed by
starting it again, and there is no state beside the table that could disagree with it. The order of steps is what keeps values:

1. the value is uploaded, and the tokenizer confirms that it is there;
2. the token is written to the row, if the row still holds that very value and no token (compare-and-swap);
3. much later, as a step of its own, each value is read back, compared, and only then removed from the old column, if the row
   still holds that very value and token.

A crash between 1 and 2 leaves uploaded values, of one batch at most, whose tokens nobody has: they can never be opened.

Nothing here knows a framework: ``Rows`` is what a table must be able to do.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar

from attrs import evolve, field, frozen

from lunacore.errors import (
    Conflict,
    IntegrityError,
    InvalidRequest,
    LunaCoreError,
    RateLimited,
    TokenNotFound,
    TooLarge,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunacore.tokens import Token

R = TypeVar("R")

Advance: TypeAlias = Callable[[int], object]
"""Told of rows as they are done with, for a progress bar."""

_OF_ONE_ROW: Final = (InvalidRequest, TooLarge, TokenNotFound, IntegrityError)
"""Errors that are about one row's value; the rest of the table can still be worked on."""

_PATIENCE: Final = 100
"""How often a value is tried again that the tokenizer turned away for being too fast."""


@frozen
class Row:
    """One row: its key, what the old column holds, and its token if it has one."""

    key: Hashable
    value: str | bytes = field(repr=False)
    token: str | None = field(default=None, repr=False)

    @property
    def content(self) -> bytes:
        """The bytes that are put away: text as UTF-8."""
        return self.value.encode() if isinstance(self.value, str) else self.value


class Rows(Protocol):
    """A table with the old column and the column of tokens.

    A row whose old column is null or empty has nothing to put away and appears nowhere.
    """

    def waiting(self, after: Hashable | None, limit: int) -> Sequence[Row]:
        """Rows without a token whose key is greater than ``after``, in the order of their keys."""
        ...

    def tokenized(self, after: Hashable | None, limit: int) -> Sequence[Row]:
        """Rows with a token whose key is greater than ``after``, in the order of their keys."""
        ...

    def count_waiting(self) -> int:
        """How many rows have no token."""
        ...

    def count_tokenized(self) -> int:
        """How many rows have both."""
        ...

    def store(self, pairs: Sequence[tuple[Row, Token]]) -> Sequence[bool]:
        """Durably write tokens, each if its row still holds the very value and no token; False where it does not."""
        ...

    def clear(self, rows: Sequence[Row]) -> Sequence[bool]:
        """Durably empty the old column, each if its row still holds the very value and token; False where it does not."""
        ...


class Values(Protocol):
    """Where values are put away: ``Application.values`` with ``Application.delete``."""

    def put(self, value: bytes) -> Token:
        """Upload a value and have the tokenizer confirm that it is there."""
        ...

    def get(self, token: str) -> bytes:
        """Read a value back."""
        ...

    def delete(self, tokens: Sequence[str]) -> None:
        """Erase values."""
        ...


class Pace:
    """Holds work down to ``rate`` rows a second, None for no limit."""

    def __init__(self, rate: float | None, *, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._rate = rate
        self._now = now
        self.sleep = sleep
        self._started: float | None = None
        self._taken = 0

    def take(self, count: int) -> None:
        """Wait until ``count`` more rows are due."""
        if self._rate is None:
            return
        if self._started is None:
            self._started = self._now()
        wait = self._started + self._taken / self._rate - self._now()
        self._taken += count
        if wait > 0:
            self.sleep(wait)


@frozen
class Report:
    """What came of a run.

    Attributes:
        done: rows tokenized, verified or cleared.
        changed: rows that someone else changed meanwhile; they are as that other left them.
        differing: keys of rows whose token stands for another value than the old column holds.
        problems: why single rows could not be done, by key.
    """

    done: int = 0
    changed: int = 0
    differing: tuple[Hashable, ...] = ()
    problems: tuple[tuple[Hashable, str], ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is left that a person must look at."""
        return not (self.changed or self.differing or self.problems)

    def __add__(self, other: Report) -> Report:
        return Report(
            self.done + other.done,
            self.changed + other.changed,
            self.differing + other.differing,
            self.problems + other.problems,
        )


@frozen
class Backfill:
    """The backfill of one column.

    Attributes:
        rows: the table.
        values: where its values go.
        pace: how fast.
        batch: rows that are read and written at once, and so at most done twice after a crash.
        parallel: values on their way at once.
    """

    rows: Rows
    values: Values
    pace: Pace
    batch: int = 100
    parallel: int = 4

    def tokenize(self, advance: Advance, *, limit: int | None = None) -> Report:
        """Give every waiting row a token, ``limit`` rows at most.

        Raises:
            LunaCoreError: the tokenizer or a store fails; what was done is kept, and the next run goes on from there.
        """
        return self._over(self.rows.waiting, self._tokenize, advance, limit)

    def verify(self, advance: Advance) -> Report:
        """Read the value of every token back and compare it with the old column. Nothing is changed.

        Raises:
            RoleForbidden: the application may not read values.
            LunaCoreError: the tokenizer or a store fails.
        """
        return self._over(self.rows.tokenized, lambda batch: self._verified(batch)[1], advance)

    def clear(self, advance: Advance) -> Report:
        """Empty the old column of every row, each value once more read back and compared right before.

        Raises:
            Conflict: rows wait for a token; nothing was cleared.
            RoleForbidden: the application may not read values; nothing was cleared.
            LunaCoreError: the tokenizer or a store fails; the next run goes on from there.
        """
        waiting = self.rows.count_waiting()
        if waiting:
            raise Conflict(f"{waiting} rows have a value but no token; tokenize them before you clear the column")
        return self._over(self.rows.tokenized, self._clear, advance)

    def _over(
        self,
        read: Callable[[Hashable | None, int], Sequence[Row]],
        work: Callable[[Sequence[Row]], Report],
        advance: Advance,
        limit: int | None = None,
    ) -> Report:
        report = Report()
        for batch in self._batches(read, limit):
            self.pace.take(len(batch))
            report += work(batch)
            advance(len(batch))
        return report

    def _batches(
        self, read: Callable[[Hashable | None, int], Sequence[Row]], limit: int | None
    ) -> Iterator[Sequence[Row]]:
        """Every row once, by key: one that cannot be done must not be met again and again."""
        after: Hashable | None = None
        left = limit
        while left is None or left > 0:
            batch = read(after, self.batch if left is None else min(self.batch, left))
            if not batch:
                return
            yield batch
            after = batch[-1].key
            left = None if left is None else left - len(batch)

    def _tokenize(self, batch: Sequence[Row]) -> Report:
        put = self._each(lambda row: self.values.put(row.content), batch)
        pairs = [(row, token) for row, token in zip(batch, put, strict=True) if not isinstance(token, LunaCoreError)]
        stored = self.rows.store(pairs)
        # Only a row that surely took no token lets go of it. Where the write itself failed, nobody knows, and the value stays.
        superfluous = [token for (_, token), taken in zip(pairs, stored, strict=True) if not taken]
        if superfluous:
            self.values.delete(superfluous)
        _raise_what_stops(put)
        return evolve(_problems(batch, put), done=sum(stored), changed=len(superfluous))

    def _verified(self, batch: Sequence[Row]) -> tuple[Sequence[Row], Report]:
        """The rows whose token stands for what the old column holds, and what is to say of the batch."""
        read = self._each(lambda row: self.values.get(row.token or ""), batch)
        _raise_what_stops(read)
        report = _problems(batch, read)
        known = [(row, value) for row, value in zip(batch, read, strict=True) if not isinstance(value, LunaCoreError)]
        same = [row for row, value in known if hmac.compare_digest(value, row.content)]
        differing = tuple(row.key for row, value in known if not hmac.compare_digest(value, row.content))
        return same, evolve(report, done=len(same), differing=differing)

    def _clear(self, batch: Sequence[Row]) -> Report:
        same, report = self._verified(batch)
        cleared = sum(self.rows.clear(same))
        return evolve(report, done=cleared, changed=len(same) - cleared)

    def _each(self, work: Callable[[Row], R], batch: Sequence[Row]) -> list[R | LunaCoreError]:
        """``work`` for each row, several at once; an error stands in its row's place."""
        with ThreadPoolExecutor(self.parallel) as threads:
            return list(threads.map(lambda row: self._patiently(work, row), batch))

    def _patiently(self, work: Callable[[Row], R], row: Row) -> R | LunaCoreError:
        """Wait as long as the tokenizer asks for."""
        for _ in range(_PATIENCE):
            try:
                return work(row)
            except RateLimited as limited:
                problem: LunaCoreError = limited
                self.pace.sleep(limited.retry_after)
            except LunaCoreError as other:
                return other
        return problem


def _problems(batch: Sequence[Row], outcomes: Sequence[object]) -> Report:
    """What is wrong with single rows."""
    return Report(
        problems=tuple(
            (row.key, outcome.message)
            for row, outcome in zip(batch, outcomes, strict=True)
            if isinstance(outcome, _OF_ONE_ROW)
        )
    )


def _raise_what_stops(outcomes: Sequence[object]) -> None:
    """Raise the first error that is about more than one row."""
    for outcome in outcomes:
        if isinstance(outcome, LunaCoreError) and not isinstance(outcome, _OF_ONE_ROW):
            raise outcome
