"""The server's sweeper: what is due goes, what fails is told and tried again, and it ends when told."""

from __future__ import annotations

import io
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from lunacore.errors import StoreUnavailable
from lunacore.identity import Call, operator
from lunacore.stores import DirectTransfer
from lunacore.sweeping import Sweeper
from lunacore.testing.deployment import START, Clock, application, open_in_memory
from lunacore.tickets import Access, NewValue
from lunacore_http.metrics import SweepMetrics, exposition
from lunacore_http.sweeper import BackgroundSweeper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunacore.deployment import Deployment

WAIT_SECONDS = 30.0


class Sweeping:
    def __init__(self) -> None:
        self.clock = Clock()
        self.deployment: Deployment = open_in_memory(self.clock, {"sweep": {"unverified_after": "1h"}})
        self.registry = CollectorRegistry()
        parts = self.deployment
        self.sweeper = Sweeper(parts.tokenizer.eraser, parts.grants, parts.audit, parts.now)

    def background(self, sweeper: Any = None, every: int = 3600) -> BackgroundSweeper:
        return BackgroundSweeper(sweeper or self.sweeper, SweepMetrics(self.registry), every)

    def counted(self) -> dict[str, float]:
        families = text_string_to_metric_families(exposition(self.registry).decode())
        return {f"{one.name}{''.join(one.labels.values())}": one.value for family in families for one in family.samples}


@pytest.fixture
def sweeping() -> Iterator[Sweeping]:
    made = Sweeping()
    yield made
    made.deployment.close()


def test_what_nobody_confirmed_is_erased_and_counted(sweeping: Sweeping) -> None:
    tokenizer = sweeping.deployment.tokenizer
    tokenizer.tokenize(application(), [NewValue(), NewValue()])
    background = sweeping.background()
    background.sweep()
    assert "lunacore_swept_records_totalerased" not in sweeping.counted()
    sweeping.clock.advance(24 * 3600)
    background.sweep()
    counted = sweeping.counted()
    assert counted["lunacore_swept_records_totalerased"] == 2
    assert counted["lunacore_sweeps_totalok"] == 2
    assert counted["lunacore_last_sweep_timestamp_seconds"] == START + 24 * 3600
    assert not sweeping.sweeper.due()


def test_an_upload_that_may_still_be_verified_is_spared_and_counted_so(sweeping: Sweeping) -> None:
    sweeping.deployment.close()
    sweeping.deployment = parts = open_in_memory(sweeping.clock)
    sweeping.sweeper = Sweeper(parts.tokenizer.eraser, parts.grants, parts.audit, parts.now)
    (access,) = parts.tokenizer.issue(Call(operator("default")), [NewValue()])
    assert isinstance(access, Access)
    assert isinstance(parts.objects, DirectTransfer)
    parts.objects.write(access.object_name, access.store_key, io.BytesIO(b"a value"))
    sweeping.clock.advance(24 * 3600)
    sweeping.background().sweep()
    assert sweeping.counted()["lunacore_swept_records_totalspared"] == 1
    assert not sweeping.sweeper.due()


class _Unreachable:
    def sweep(self, now: int, limit: int = 10_000) -> int:
        raise StoreUnavailable("the grants cannot be reached")


def test_a_store_that_is_away_is_told_and_tried_again(sweeping: Sweeping, caplog: pytest.LogCaptureFixture) -> None:
    broken: Any = _Unreachable()
    background = sweeping.background(evolve(sweeping.sweeper, grants=broken))
    background.sweep()
    background.sweep()
    assert sweeping.counted()["lunacore_sweeps_totalstoreUnavailable"] == 2
    assert "the grants cannot be reached" in caplog.text


class _Counting:
    """Tells when the third sweep has begun."""

    def __init__(self, sweeper: Sweeper) -> None:
        self._sweeper = sweeper
        self.third = Event()
        self._count = 0

    def sweep_records(self, call: Any) -> Any:
        self._count += 1
        if self._count == 1:
            raise ValueError("a bug in a backend")
        if self._count == 3:
            self.third.set()
        return self._sweeper.sweep_records(call)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sweeper, name)


def test_it_goes_on_until_it_is_stopped_whatever_fails(sweeping: Sweeping) -> None:
    counting = _Counting(sweeping.sweeper)
    background = sweeping.background(counting, every=0)
    background.start()
    assert counting.third.wait(WAIT_SECONDS)
    background.stop()
    counted = sweeping.counted()
    assert counted["lunacore_sweeps_totalinternalError"] == 1
    background.stop()
    assert sweeping.counted()["lunacore_sweeps_totalok"] == counted["lunacore_sweeps_totalok"]
