"""Records and grants in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lunacore.errors import ConfigError, StoreUnavailable
from lunacore.plugins import BackendURL, Surroundings
from lunacore.stores import Entry
from lunacore.testing.expiring_store import ExpiringStoreContract
from lunacore.testing.faults import FailingGrants, FailingRecords, Fault, FaultPlan
from lunacore.testing.record_store import RecordStoreContract, make_record, name_of
from lunacore_backends.memory import MemoryGrants, MemoryRecords, _Row, open_grants, open_records

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore.records import Record
    from lunacore.stores import ExpiringStore, RecordStore

URL = BackendURL.parse("memory://", "tokenizer.records")
SURROUNDINGS = Surroundings(setting="tokenizer.records", now=lambda: 0.0, random=bytes)


class TestMemoryRecords(RecordStoreContract):
    @pytest.fixture
    def open_store(self) -> Callable[[], RecordStore]:
        return lambda: open_records(URL, SURROUNDINGS)

    def plant(
        self, store: RecordStore, record: Record, *, root_version: int, due: int, labels: Sequence[bytes]
    ) -> None:
        assert isinstance(store, MemoryRecords)
        store._rows[record.name] = _Row(record.body, root_version, due, frozenset(labels))

    def peek(self, store: RecordStore) -> dict[bytes, bytes]:
        assert isinstance(store, MemoryRecords)
        return {name: row.body for name, row in store._rows.items()}


class TestMemoryGrants(ExpiringStoreContract):
    @pytest.fixture
    def open_store(self) -> Callable[[], ExpiringStore]:
        return lambda: open_grants(URL, SURROUNDINGS)

    def peek(self, store: ExpiringStore) -> set[bytes]:
        assert isinstance(store, MemoryGrants)
        return set(store._slots)


@pytest.mark.parametrize("open_store", [open_records, open_grants])
@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://host", "tokenizer.records: memory:// takes neither host nor path"),
        ("memory:///path", "tokenizer.records: memory:// takes neither host nor path"),
        ("memory://?size=1", "tokenizer.records: memory has no option 'size'; it takes: none"),
    ],
)
def test_urls_that_say_more_are_refused(open_store: Callable[..., object], url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_store(BackendURL.parse(url, SURROUNDINGS.setting), SURROUNDINGS)


def test_every_open_makes_a_store_of_its_own() -> None:
    first, second = (open_records(URL, SURROUNDINGS) for _ in range(2))
    first.create([make_record(name_of(1))])
    assert second.scan() == []


def test_no_value_is_shown() -> None:
    store = MemoryGrants()
    store.put([Entry(b"key", b"secret value", 9)], 0)
    assert "secret" not in repr(store._slots)


def test_a_fault_before_a_call_leaves_the_store_as_it_was() -> None:
    store, plan = MemoryRecords(), FaultPlan(Fault("create", nth=2))
    failing = FailingRecords(store, plan)
    failing.create([make_record(name_of(1))])
    with pytest.raises(StoreUnavailable):
        failing.create([make_record(name_of(2))])
    failing.create([make_record(name_of(3))])
    assert {record.name for record in store.scan()} == {name_of(1), name_of(3)}
    assert plan.calls == ["create"] * 3


def test_a_fault_after_a_call_leaves_it_done() -> None:
    store = MemoryGrants()
    failing = FailingGrants(store, FaultPlan(Fault(nth=2, when="after")))
    assert failing.get([b"k"], 0) == [None]
    with pytest.raises(StoreUnavailable):
        failing.increment(b"k", 1, 9, 0)
    assert store.get([b"k"], 0) == [b"1"]


def test_an_action_may_slip_in_before_a_call() -> None:
    store, old = MemoryRecords(), make_record(name_of(1))
    store.create([old])
    plan = FaultPlan(Fault("replace", action=lambda: store.delete([old.name])))
    assert not FailingRecords(store, plan).replace(old, make_record(name_of(1), revision=2))
