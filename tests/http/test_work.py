"""Places to work at: as many as there are, each given back."""

from __future__ import annotations

from threading import Event, Thread

import pytest

from lunacore_http.work import Workplaces


def test_a_place_is_given_back_whatever_happens_at_it() -> None:
    places = Workplaces(2)

    def fail() -> None:
        with places, places:
            assert places.empty()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert places.qsize() == 2


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
    assert places.qsize() == 1
