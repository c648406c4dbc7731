"""Rate limits: never exceeded by any number of processes, whole batches, and a new minute."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunacore.errors import IntegrityError, RateLimited
from lunacore.limits import WINDOW, RateLimit
from lunacore.stores import Entry
from lunacore_backends.memory import MemoryGrants

NOW = 1_800_000_000
ONE = ("default", "issuer", "one")
TWO = ("default", "issuer", "two")


def limit_on(store: MemoryGrants, limit: int) -> RateLimit:
    return RateLimit(store, limit, key=lambda: bytes(32), setting="limits.session_reads")


def taken(limit: RateLimit, count: int, now: int = NOW, subject: tuple[str, ...] = ONE) -> int:
    try:
        limit.take(subject, count, now=now)
    except RateLimited:
        return 0
    return count


@given(
    st.integers(1, 100),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 20)), max_size=60),
)
def test_several_processes_never_exceed_it(limit: int, calls: list[tuple[int, int, int]]) -> None:
    store = MemoryGrants()
    processes = [limit_on(store, limit) for _ in range(3)]
    counts: dict[int, int] = {}
    now = NOW
    for process, count, pause in calls:
        now += pause
        counts[now // WINDOW] = counts.get(now // WINDOW, 0) + taken(processes[process], count, now)
    assert all(count <= limit for count in counts.values())


def test_one_process_gets_all_of_it() -> None:
    limit = limit_on(MemoryGrants(), 100)
    assert sum(taken(limit, 1) for _ in range(150)) == 100


def test_threads_never_exceed_it() -> None:
    store = MemoryGrants()
    limits = [limit_on(store, 500), limit_on(store, 500)]
    barrier = Barrier(8)

    def work(worker: int) -> int:
        barrier.wait()
        return sum(taken(limits[worker % 2], 1 + at % 3) for at in range(200))

    with ThreadPoolExecutor(8) as pool:
        total = sum(pool.map(work, range(8)))
    assert 400 < total <= 500


def test_threads_at_the_turn_of_a_minute_never_exceed_it() -> None:
    """Calls that started in the old minute arrive between those of the new one."""
    limit = limit_on(MemoryGrants(), 10)
    old, new = NOW - NOW % WINDOW + WINDOW - 1, NOW - NOW % WINDOW + WINDOW
    counts = {old: 0, new: 0}
    for moment in (old, new, old, new) * 10:
        counts[moment] += taken(limit, 1, moment)
    assert max(counts.values()) <= 10


def test_a_batch_passes_whole_or_not_at_all() -> None:
    limit = limit_on(MemoryGrants(), 10)
    assert taken(limit, 8) == 8
    assert taken(limit, 3) == 0
    assert taken(limit, 2) == 2
    assert taken(limit, 1) == 0
    assert taken(limit, 0) == 0


def test_subjects_do_not_share() -> None:
    limit = limit_on(MemoryGrants(), 10)
    assert [taken(limit, 10, subject=subject) for subject in (ONE, TWO, ONE)] == [10, 10, 0]


def test_the_error_says_when_and_what() -> None:
    limit = limit_on(MemoryGrants(), 10)
    with pytest.raises(RateLimited, match=r"raise limits\.session_reads") as refusal:
        limit.take(ONE, 11, now=NOW - NOW % WINDOW + 59)
    assert refusal.value.retry_after == 1


class Forged(MemoryGrants):
    """A store in which somebody wrote under the name of every counter."""

    def __init__(self, value: bytes) -> None:
        super().__init__()
        self.value = value

    def increment(self, key: bytes, by: int, expires: int, now: int) -> int:
        self.put_if_absent(Entry(key, self.value, expires), now)
        return super().increment(key, by, expires, now)


@pytest.mark.parametrize("value", [b"-1", b"-1000000", b"", b"many", b"1.5", str(2**63 - 1).encode()])
def test_a_counter_that_others_wrote_lifts_no_limit(value: bytes) -> None:
    limit = limit_on(Forged(value), 10)
    with pytest.raises(IntegrityError, match="other than LunaCore"):
        limit.take(ONE, 1, now=NOW)
    allowed = 0
    for _ in range(30):
        with suppress(IntegrityError):
            allowed += taken(limit, 1)
    assert allowed <= 10


def test_a_counter_that_others_wrote_counts_as_what_it_says() -> None:
    assert taken(limit_on(Forged(b"9"), 10), 1) == 1
    assert taken(limit_on(Forged(b"10"), 10), 1) == 0


def test_zero_is_no_limit() -> None:
    assert taken(limit_on(MemoryGrants(), 0), 10**9) == 10**9
