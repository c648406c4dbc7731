"""The contract of ``AuditSink``: a suite to subclass.

A backend's tests are a subclass with one fixture and one probe that reads the medium behind the sink's back::

    class TestMySink(AuditSinkContract):
        @pytest.fixture
        def open_sink(self): ...

        def recorded(self, sink): ...
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lunacore.audit import Action, AuditEvent
from lunacore.audit_chain import Chain
from lunacore.identity import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lunacore.stores import AuditSink, LineSink

THREADS: Final = 6
BATCHES: Final = 20


def make_event(number: int, *, writer: int = 0, reason: str = "") -> AuditEvent:
    """An event that can be told from others by its details."""
    return AuditEvent(
        time=1_700_000_000.25 + number,
        action=Action.DETOKENIZE,
        outcome="allowed",
        tenant="default",
        role=Role.USER,
        issuer="https://app.example.com",
        reason=reason,
        detail={"number": number, "writer": writer},
    )


def make_batch(batch: int, *, writer: int) -> list[AuditEvent]:
    """A batch of one to five events, of different lengths."""
    return [make_event(batch * 10 + step, writer=writer, reason="x" * 97 * step) for step in range(batch % 5 + 1)]


def batches_of(writer: int) -> list[list[AuditEvent]]:
    """What one of several writers is to write."""
    return [make_batch(batch, writer=writer) for batch in range(BATCHES)]


def mappings(events: Iterable[AuditEvent]) -> list[dict[str, Any]]:
    """What a sink should hold of the events."""
    return [json.loads(event.to_line()) for event in events]


def assert_whole_batches(recorded: Sequence[dict[str, Any]], writers: Sequence[int]) -> None:
    """Every writer's events are all there, in the order written, and no batch has another's events within it."""
    for writer in writers:
        written = [event for batch in batches_of(writer) for event in batch]
        assert [entry for entry in recorded if entry["detail"]["writer"] == writer] == mappings(written)
    places = {(entry["detail"]["writer"], entry["detail"]["number"]): at for at, entry in enumerate(recorded)}
    for writer in writers:
        for batch in batches_of(writer):
            first = places[writer, batch[0].detail["number"]]
            assert [places[writer, event.detail["number"]] - first for event in batch] == list(range(len(batch)))


hostile_texts = st.text(st.characters() | st.sampled_from('\n\r\0\x1b\x7f\x85\u2028"\\{}'), max_size=40)


class AuditSinkContract:
    """What every ``AuditSink`` must do."""

    @pytest.fixture
    def open_sink(self) -> Callable[[], AuditSink]:
        """Opens the same medium, empty at first, as often as it is called."""
        raise NotImplementedError

    def recorded(self, sink: AuditSink) -> list[dict[str, Any]]:
        """The events that the medium holds, in order, as JSON objects; read in another way than the sink's."""
        raise NotImplementedError

    @pytest.fixture
    def sink(self, open_sink: Callable[[], AuditSink]) -> AuditSink:
        return open_sink()

    def test_keeps_events_in_the_order_written(self, sink: AuditSink) -> None:
        events = [make_event(number) for number in range(5)]
        sink.write(events[:1])
        sink.write(events[1:4])
        sink.write(events[4:])
        assert self.recorded(sink) == mappings(events)

    def test_an_event_is_there_when_the_call_returns(self, sink: AuditSink) -> None:
        for number in range(3):
            sink.write([make_event(number)])
            assert len(self.recorded(sink)) == number + 1

    def test_lines_of_a_chain_are_written_as_they_are(self, sink: AuditSink) -> None:
        chain = Chain("0123456789abcdef" * 2)
        entries = [chain.append(make_event(number)) for number in range(3)]
        cast("LineSink", sink).write(entries[:1])
        cast("LineSink", sink).write(entries[1:])
        assert self.recorded(sink) == [json.loads(entry.line) for entry in entries]

    def test_writing_nothing_writes_nothing(self, sink: AuditSink) -> None:
        sink.write([])
        assert self.recorded(sink) == []

    def test_keeps_what_is_there_when_it_is_opened_again(self, open_sink: Callable[[], AuditSink]) -> None:
        one, other = open_sink(), open_sink()
        one.write([make_event(1)])
        other.write([make_event(2)])
        one.write([make_event(3)])
        assert self.recorded(open_sink()) == mappings(make_event(number) for number in (1, 2, 3))

    # One sink may take the events of all examples, and several subclasses may run them.
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors])
    @given(issuer=hostile_texts, reason=hostile_texts, detail=hostile_texts)
    def test_no_text_can_forge_an_event(self, sink: AuditSink, issuer: str, reason: str, detail: str) -> None:
        before = len(self.recorded(sink))
        event = AuditEvent(
            time=0,
            action=Action.SWEEP,
            outcome="allowed",
            tenant="default",
            role=Role.OPERATOR,
            issuer=issuer,
            reason=reason,
            detail={"text": detail},
        )
        sink.write([event])
        assert self.recorded(sink)[before:] == mappings([event])

    def test_threads_do_not_tear_each_others_batches(self, open_sink: Callable[[], AuditSink]) -> None:
        shared, own = open_sink(), open_sink()

        def write(writer: int) -> None:
            for batch in batches_of(writer):
                (shared if writer % 2 else own).write(batch)

        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(write, range(THREADS)))
        assert_whole_batches(self.recorded(shared), range(THREADS))
