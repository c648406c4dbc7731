"""Places to work at: as many as there are, each given back."""

from __future__ import annotations

import time
from threading import Event, Thread

import pytest

from lunacore_http.work import Workplaces


def test_a_place_is_given_back_whatever_happens_at_it() -> None:
    places = Workplaces(2)

    def fail() -> None:
        with places, places:
            assert places.free == 0
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert places.free == 2


def test_who_finds_no_place_waits_for_one() -> None:
    places, came, worked = Workplaces(1), Event(), Event()

    def work() -> None:
        came.set()
        with places:
            worked.set()

    with places:
        waiting = Thread(target=work)
        waiting.start()
        assert came.wait(10)
        assert not worked.is_set()
    assert worked.wait(10)
    waiting.join(10)
    assert places.free == 1


def test_whoever_has_waited_longest_is_next() -> None:
    """Nobody is overtaken, not even by the thread that gives its place back and asks for another at once."""
    places, served = Workplaces(1), list[str]()

    def work(name: str) -> None:
        with places:
            served.append(name)

    threads = [Thread(target=work, args=(name,)) for name in ("first", "second", "third")]
    with places:
        for waiting, thread in enumerate(threads, start=1):
            thread.start()
            while places.waiting < waiting:
                time.sleep(0.001)
    work("the one that had it before")
    for thread in threads:
        thread.join()
    assert served == ["first", "second", "third", "the one that had it before"]
