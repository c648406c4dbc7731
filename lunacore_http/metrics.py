"""Metrics for Prometheus (``docs/reference/operations.md`` lists them).

Workers write theirs to files of one directory, which prometheus_client maps into memory, and the process with the operator's
listener adds them up; so the numbers are right whatever the number of workers. No label holds anything that a client sent.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

from attrs import frozen
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from lunacore.errors import AuditUnavailable
from lunacore.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lunacore.audit import AuditEvent
    from lunacore.stores import AuditSink

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_EVENT: Final = re.compile(r"event=([a-z_]+)", re.ASCII)
_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class CallMetrics:
    """What one worker counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter("lunacore_calls", "Answers by call and outcome.", ("call", "outcome"), registry=registry)
        self._seconds = Histogram(
            "lunacore_call_seconds", "Time to the answer.", ("call",), buckets=_SECONDS, registry=registry
        )
        self._events = Counter(
            "lunacore_audit_events", "Audit events written, one a token.", ("action", "outcome"), registry=registry
        )
        self._failures = Counter(
            "lunacore_audit_failures", "Writes to the audit log that failed; nothing was released.", registry=registry
        )
        # Finding a labelled child costs more than counting; there are few of them, since labels hold fixed names only.
        self._counted: dict[tuple[str, str], Counter] = {}
        self._timed: dict[str, Histogram] = {}
        self._audited: dict[tuple[str, str], Counter] = {}

    def answered(self, call: str, outcome: str, seconds: float) -> None:
        """Count one answer."""
        counter = self._counted.get((call, outcome))
        if counter is None:
            counter = self._counted[call, outcome] = self._calls.labels(call, outcome)
        counter.inc()
        histogram = self._timed.get(call)
        if histogram is None:
            histogram = self._timed[call] = self._seconds.labels(call)
        histogram.observe(seconds)

    def audited(self, events: Sequence[AuditEvent]) -> None:
        """Count events that were written."""
        for event in events:
            labels = event.action, event.outcome
            counter = self._audited.get(labels)
            if counter is None:
                counter = self._audited[labels] = self._events.labels(event.action.value, event.outcome)
            counter.inc()

    def audit_failed(self) -> None:
        """Count a write that failed."""
        self._failures.inc()


@frozen
class CountedAudit:
    """An audit sink that counts what another one writes."""

    sink: AuditSink
    metrics: CallMetrics

    def write(self, events: Sequence[AuditEvent]) -> None:
        """As the other sink does."""
        try:
            self.sink.write(events)
        except AuditUnavailable:
            self.metrics.audit_failed()
            raise
        self.metrics.audited(events)


class CountedProblems(logging.Handler):
    """Counts what a process logs as warnings and errors, so that an alarm needs no look into logs.

    ``event`` is what a line names itself, and ``-`` where it does not.
    """

    def __init__(self, registry: CollectorRegistry, *, namespace: str = "lunacore") -> None:
        super().__init__(logging.WARNING)
        self._problems = Counter(
            f"{namespace}_problems", "Warnings and errors in the log.", ("logger", "event"), registry=registry
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Count one. Only the template is looked at: what stands in its places is never a label."""
        named = _EVENT.match(str(record.msg))
        try:
            self._problems.labels(record.name, named[1] if named else "-").inc()
        except Exception:  # noqa: BLE001 - as logging's own handlers: a log that cannot be kept stops no call
            self.handleError(record)

    def listen(self) -> None:
        """Begin with what is logged from now on."""
        logging.getLogger("lunacore").addHandler(self)


class SweepMetrics:
    """What the sweeper counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._sweeps = Counter("lunacore_sweeps", "Sweeps by outcome.", ("outcome",), registry=registry)
        self._records = Counter(
            "lunacore_swept_records", "Records that were due, by outcome.", ("outcome",), registry=registry
        )
        self._grants = Counter("lunacore_swept_grants", "Expired grants that were removed.", registry=registry)
        self._last = Gauge("lunacore_last_sweep_timestamp_seconds", "When the last sweep ended.", registry=registry)

    def record(self, outcome: str) -> None:
        """Count a record that was due."""
        self._records.labels(outcome).inc()

    def grants(self, count: int) -> None:
        """Count expired grants that were removed."""
        self._grants.inc(count)

    def swept(self, outcome: str, at: float) -> None:
        """Count a sweep."""
        self._sweeps.labels(outcome).inc()
        self._last.set(at)


def operator_registry(directory: Path | None) -> CollectorRegistry:
    """The registry of the process with the operator's listener; with ``directory`` it adds up what workers write there."""
    registry = CollectorRegistry()
    PlatformCollector(registry=registry)
    ProcessCollector(namespace="lunacore_main", registry=registry)
    Gauge("lunacore_info", "The release that runs.", ("version",), registry=registry).labels(__version__).set(1)
    if directory is not None:
        MultiProcessCollector(registry, path=str(directory))  # type: ignore[no-untyped-call]  # prometheus_client's
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """The metrics of ``registry`` as text."""
    return generate_latest(registry)
