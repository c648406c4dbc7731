"""The server's sweeper: one thread of the main process that erases what is due, every ``sweep.every`` seconds."""

from __future__ import annotations

import logging
from collections import Counter
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from lunacore.deployment import DEFAULT_TENANT
from lunacore.errors import LunaCoreError
from lunacore.identity import Call, operator

if TYPE_CHECKING:
    from lunacore.erasure import Swept
    from lunacore.sweeping import Sweeper
    from lunacore_http.metrics import SweepMetrics

_LOG: Final = logging.getLogger("lunacore.sweep")
_REASON: Final = "sweep.every"
_STOP_SECONDS: Final = 30.0


class BackgroundSweeper:
    """Sweeps every ``every`` seconds from ``start`` to ``stop``; what it could not do now is left to the next time."""

    def __init__(self, sweeper: Sweeper, metrics: SweepMetrics, every: int) -> None:
        self._sweeper = sweeper
        self._metrics = metrics
        self._every = every
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="lunacore-sweeper", daemon=True)

    def start(self) -> None:
        """Begin; the first sweep is at once, since a server that was down has something to catch up on."""
        self._thread.start()

    def stop(self) -> None:
        """End after the record at hand."""
        self._stopping.set()
        self._thread.join(_STOP_SECONDS)

    def sweep(self) -> None:
        """Sweep once; whatever goes wrong is logged and counted."""
        outcome = "ok"
        try:
            done = self._sweep_records()
            grants = self._sweeper.sweep_grants()
            self._metrics.grants(grants)
            if done or grants:
                told = " ".join(f"{name}={count}" for name, count in sorted(done.items()))
                _LOG.info("event=swept grants=%d %s", grants, told)
        except LunaCoreError as problem:
            outcome = problem.name
            _LOG.error('event=sweep_failed error=%s message="%s"', problem.name, problem.message)
        except Exception as problem:  # noqa: BLE001 - the thread must outlive whatever a backend raises
            outcome = "internalError"
            _LOG.error("event=sweep_failed error=%s", type(problem).__qualname__)
        self._metrics.swept(outcome, self._sweeper.now())

    def _sweep_records(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for swept in self._sweeper.sweep_records(Call(operator(DEFAULT_TENANT), reason=_REASON)):
            outcome = _outcome(swept)
            counts[outcome] += 1
            self._metrics.record(outcome)
            if self._stopping.is_set():
                break
        return counts

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.sweep()
            self._stopping.wait(self._every)


def _outcome(swept: Swept) -> str:
    if swept.problem:
        return "failed"
    if swept.spared:
        return "spared"
    if swept.tidied:
        return "tidied"
    return "erased" if swept.done else "later"
