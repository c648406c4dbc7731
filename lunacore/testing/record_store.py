"""The contract of ``RecordStore``: a suite to subclass, and a state machine that checks a store against a dict.

A backend's tests are a subclass with one fixture and two probes that reach the medium behind the store's back, so that a
wrong write cannot hide behind a matching wrong read::

    class TestMyRecords(RecordStoreContract):
        @pytest.fixture
        def open_store(self): ...
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import pytest
from attrs import field, frozen
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from lunacore.errors import Conflict, StoreUnavailable, UnsupportedVersion
from lunacore.records import FORMAT_VERSION, LABEL_HASH_BYTES, Header, Record, RecordState, RecordType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lunacore.stores import RecordStore

THREADS: Final = 8

# Commitment, nonce, tag: what a body needs behind its header at least, in bytes.
_SEALED_BYTES: Final = 32 + 12 + 16


def name_of(number: int) -> bytes:
    """A record's name, 32 bytes; the order of names is not that of numbers."""
    return hashlib.sha256(b"name %d" % number).digest()


def label_of(number: int) -> bytes:
    """A label's hash, 16 bytes."""
    return hashlib.sha256(b"label %d" % number).digest()[:LABEL_HASH_BYTES]


def make_record(
    name: bytes,
    *,
    root_version: int = 1,
    due: int = 0,
    labels: Iterable[bytes] = (),
    revision: int = 1,
    sealed: bytes = b"",
) -> Record:
    """A record with a true header; what is behind the header opens with no key."""
    header = Header(
        record_type=RecordType.TOKEN,
        state=RecordState.STORED,
        lookup_version=1,
        root_version=root_version,
        revision=revision,
        due=due,
        labels=tuple(sorted(labels)),
    )
    return Record(name, header.encode() + sealed.ljust(_SEALED_BYTES, b"\0"))


def from_later_release(record: Record) -> Record:
    """The same record in a format version that this release does not know."""
    body = bytearray(record.body)
    body[4] = FORMAT_VERSION + 1
    return Record(record.name, bytes(body))


@frozen
class Conditions:
    """One set of arguments of ``scan``."""

    after: bytes = b""
    limit: int = 1000
    root_below: int | None = None
    due_before: int | None = None
    label: bytes | None = field(default=None)

    def ask(self, store: RecordStore) -> list[Record]:
        return store.scan(
            after=self.after,
            limit=self.limit,
            root_below=self.root_below,
            due_before=self.due_before,
            label=self.label,
        )

    def expected(self, model: dict[bytes, Record]) -> list[Record]:
        """What a store with the records of ``model`` must answer."""
        return [model[name] for name in sorted(model) if name > self.after and self._met_by(model[name])][: self.limit]

    def _met_by(self, record: Record) -> bool:
        header = record.header
        if self.root_below is not None and header.root_version >= self.root_below:
            return False
        if self.due_before is not None and not 0 < header.due < self.due_before:
            return False
        return self.label is None or self.label in header.labels


# Few of each, so that calls meet.
names = st.integers(0, 7).map(name_of)
labels = st.integers(0, 2).map(label_of)
records = st.builds(
    make_record,
    names,
    root_version=st.integers(0, 4) | st.just(2**32 - 1),
    due=st.integers(0, 5) | st.just(2**62),
    labels=st.sets(labels),
    revision=st.integers(0, 3),
    sealed=st.sampled_from([b"", b"\0" * 61, b"\xff" * 61, b"x" * 5000]),
)
conditions = st.builds(
    Conditions,
    after=st.just(b"") | names | st.binary(max_size=33),
    limit=st.integers(0, 9),
    root_below=st.none() | st.integers(0, 5),
    due_before=st.none() | st.integers(0, 6) | st.just(2**64),
    label=st.none() | labels,
)


class RecordMachine(RuleBasedStateMachine):
    """Does the same to a store and to a dict, and compares."""

    renames = True

    def open(self) -> RecordStore:
        """An empty store for one example."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.store = self.open()
        self.model: dict[bytes, Record] = {}

    def teardown(self) -> None:
        close_if_possible(self.store)

    @rule(created=st.lists(records, max_size=3))
    def create(self, created: list[Record]) -> None:
        added = {record.name: record for record in created}
        if len(added) < len(created) or added.keys() & self.model.keys():
            with pytest.raises(Conflict):
                self.store.create(created)
            return
        self.store.create(created)
        self.model.update(added)

    @rule(old=records, new=records)
    def replace_unseen(self, old: Record, new: Record) -> None:
        self._replace(old, new)

    @rule(name=names, new=records)
    def replace_present(self, name: bytes, new: Record) -> None:
        if name in self.model:
            self._replace(self.model[name], new)

    @rule(deleted=st.lists(names, max_size=3))
    def delete(self, deleted: list[bytes]) -> None:
        self.store.delete(deleted)
        for name in deleted:
            self.model.pop(name, None)

    @rule(wanted=st.lists(names, max_size=10))
    def get(self, wanted: list[bytes]) -> None:
        assert self.store.get(wanted) == [self.model.get(name) for name in wanted]

    @rule(asked=conditions)
    def scan(self, asked: Conditions) -> None:
        assert asked.ask(self.store) == asked.expected(self.model)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert self.store.scan() == [self.model[name] for name in sorted(self.model)]

    def _replace(self, old: Record, new: Record) -> None:
        if new.name != old.name and not self.renames:
            with pytest.raises(StoreUnavailable):
                self.store.replace(old, new)
            return
        if self.model.get(old.name) != old:
            assert not self.store.replace(old, new)
            return
        if new.name != old.name and new.name in self.model:
            with pytest.raises(Conflict):
                self.store.replace(old, new)
            return
        assert self.store.replace(old, new)
        del self.model[old.name]
        self.model[new.name] = new


def record_machine(open_store: Callable[[], RecordStore], *, renames: bool = True) -> type[RuleBasedStateMachine]:
    """A state machine for the stores that ``open_store`` makes; each example begins with an empty one.

    ``renames`` says whether ``replace`` of such a store may change the name.
    """

    class OpenedRecordMachine(RecordMachine):
        def open(self) -> RecordStore:
            return open_store()

    OpenedRecordMachine.renames = renames
    return OpenedRecordMachine


def close_if_possible(store: object) -> None:
    """Close a store that can be closed."""
    close = getattr(store, "close", None)
    if close is not None:
        close()


def race(*calls: Callable[[], Any]) -> list[Any]:
    """Run the calls in as many threads, started together; what each returned, or the ``Conflict`` that it raised."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the call returns
        gate.wait()
        try:
            return call()
        except Conflict as conflict:
            return conflict

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


class RecordStoreContract:
    """What every record store must do. Subclasses give ``open_store``, ``plant`` and ``peek``.

    For a store that cannot rename in one step ``renames`` is False, here and in the store itself. It must then refuse every
    ``replace`` that changes the name with ``StoreUnavailable``, whatever it holds, and cannot offer rotation of the lookup
    secret.
    """

    renames = True

    @pytest.fixture
    def open_store(self) -> Callable[[], RecordStore]:
        """A function that makes an empty store at each call."""
        raise NotImplementedError

    def plant(
        self, store: RecordStore, record: Record, *, root_version: int, due: int, labels: Sequence[bytes]
    ) -> None:
        """Write a record behind the store's back, with index columns that say what is given here."""
        raise NotImplementedError

    def peek(self, store: RecordStore) -> dict[bytes, bytes]:
        """Names and bodies in the medium, read behind the store's back."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, open_store: Callable[[], RecordStore]) -> RecordStore:
        return open_store()

    def test_tells_whether_it_renames(self, store: RecordStore) -> None:
        assert store.renames is self.renames

    def test_state_machine(self, open_store: Callable[[], RecordStore]) -> None:
        run_state_machine_as_test(record_machine(open_store, renames=self.renames))

    def test_create_writes_to_the_medium(self, store: RecordStore) -> None:
        first, second = make_record(name_of(1)), make_record(name_of(2), labels=[label_of(1)])
        store.create([first, second])
        assert self.peek(store) == {first.name: first.body, second.name: second.body}

    def test_create_nothing(self, store: RecordStore) -> None:
        store.create([])
        assert self.peek(store) == {}

    def test_create_with_a_taken_name_adds_none(self, store: RecordStore) -> None:
        taken = make_record(name_of(2))
        store.create([taken])
        batch = [make_record(name_of(number), revision=2, labels=[label_of(1)]) for number in (1, 2, 3)]
        with pytest.raises(Conflict):
            store.create(batch)
        assert self.peek(store) == {taken.name: taken.body}
        assert store.scan(label=label_of(1)) == []

    def test_create_with_a_name_twice_adds_none(self, store: RecordStore) -> None:
        with pytest.raises(Conflict):
            store.create([make_record(name_of(1)), make_record(name_of(1))])
        assert self.peek(store) == {}

    def test_create_refuses_formats_that_it_cannot_index(self, store: RecordStore) -> None:
        with pytest.raises(UnsupportedVersion):
            store.create([make_record(name_of(1)), from_later_release(make_record(name_of(2)))])
        assert self.peek(store) == {}

    def test_get_reads_the_medium(self, store: RecordStore) -> None:
        record = make_record(name_of(1), root_version=3, due=7)
        self.plant(store, record, root_version=3, due=7, labels=())
        assert store.get([record.name]) == [record]

    @pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 9, 1200])
    def test_get_keeps_order_gaps_and_repeats(self, store: RecordStore, count: int) -> None:
        present = [make_record(name_of(number)) for number in range(0, count, 2)]
        store.create(present)
        wanted = [name_of(number) for number in reversed(range(count))] * 2
        by_name = {record.name: record for record in present}
        assert store.get(wanted) == [by_name.get(name) for name in wanted]

    def test_replace_compares_the_whole_body(self, store: RecordStore) -> None:
        record = make_record(name_of(1), sealed=b"\1" * 80)
        store.create([record])
        new = make_record(name_of(1), revision=2)
        last_byte_differs = Record(record.name, record.body[:-1] + b"\2")
        for old in (last_byte_differs, Record(record.name, record.body[:-1]), Record(record.name, record.body + b"\0")):
            assert not store.replace(old, new)
        assert self.peek(store) == {record.name: record.body}

    def test_replace_writes_to_the_medium(self, store: RecordStore) -> None:
        old, new = make_record(name_of(1)), make_record(name_of(1), revision=2, sealed=b"new" * 40)
        store.create([old])
        assert store.replace(old, new)
        assert self.peek(store) == {new.name: new.body}

    def test_replace_of_an_absent_record_fails(self, store: RecordStore) -> None:
        record = make_record(name_of(1))
        assert not store.replace(record, make_record(name_of(1), revision=2))
        assert not store.replace(record, record)
        assert self.peek(store) == {}

    def test_replace_by_itself_succeeds(self, store: RecordStore) -> None:
        record = make_record(name_of(1), labels=[label_of(1)])
        store.create([record])
        assert store.replace(record, record)
        assert store.scan(label=label_of(1)) == [record]

    def test_replace_may_rename(self, store: RecordStore) -> None:
        old = make_record(name_of(1), labels=[label_of(1)], due=5)
        new = make_record(name_of(2), labels=[label_of(1), label_of(2)], due=6)
        store.create([old])
        if not self.renames:
            self.assert_rename_refused(store, old, new)
            return
        assert store.replace(old, new)
        assert self.peek(store) == {new.name: new.body}
        assert store.scan(label=label_of(1)) == store.scan(label=label_of(2)) == store.scan(due_before=7) == [new]

    def test_replace_does_not_rename_onto_another(self, store: RecordStore) -> None:
        old, other = make_record(name_of(1), labels=[label_of(1)]), make_record(name_of(2))
        store.create([old, other])
        if not self.renames:
            self.assert_rename_refused(store, old, make_record(other.name, revision=2))
            return
        with pytest.raises(Conflict):
            store.replace(old, make_record(other.name, revision=2))
        assert self.peek(store) == {old.name: old.body, other.name: other.body}
        assert store.scan(label=label_of(1)) == [old]

    def test_replace_of_an_absent_record_by_a_present_name_fails(self, store: RecordStore) -> None:
        other = make_record(name_of(2))
        store.create([other])
        if not self.renames:
            self.assert_rename_refused(store, make_record(name_of(1)), make_record(other.name, revision=2))
            return
        assert not store.replace(make_record(name_of(1)), make_record(other.name, revision=2))
        assert self.peek(store) == {other.name: other.body}

    def test_indexes_follow_replace_and_delete(self, store: RecordStore) -> None:
        old = make_record(name_of(1), root_version=1, due=5, labels=[label_of(1), label_of(2)])
        new = make_record(name_of(1), root_version=2, due=0, labels=[label_of(2)], revision=2)
        store.create([old])
        assert store.replace(old, new)
        assert store.scan(root_below=2) == store.scan(due_before=100) == store.scan(label=label_of(1)) == []
        assert store.scan(root_below=3) == store.scan(label=label_of(2)) == [new]
        store.delete([new.name])
        assert store.scan(root_below=3) == store.scan(label=label_of(2)) == []
        store.create([make_record(name_of(1))])
        assert store.scan(label=label_of(2)) == []

    def test_delete_is_idempotent(self, store: RecordStore) -> None:
        kept, gone = make_record(name_of(1)), make_record(name_of(2))
        store.create([kept, gone])
        store.delete([gone.name, name_of(3), gone.name])
        store.delete([gone.name])
        store.delete([])
        assert self.peek(store) == {kept.name: kept.body}

    def test_delete_many(self, store: RecordStore) -> None:
        present = [make_record(name_of(number)) for number in range(1200)]
        store.create(present)
        store.delete([record.name for record in present[1:]])
        assert self.peek(store) == {present[0].name: present[0].body}

    def test_scan_pages_through_all(self, store: RecordStore) -> None:
        present = [make_record(name_of(number), root_version=number % 3, due=number % 2) for number in range(50)]
        store.create(present)
        for asked in (Conditions(limit=7), Conditions(limit=7, root_below=2), Conditions(limit=7, due_before=2)):
            every = Conditions(root_below=asked.root_below, due_before=asked.due_before)
            assert _all_pages(store, asked) == every.expected({record.name: record for record in present})

    def test_scan_orders_by_bytes(self, store: RecordStore) -> None:
        low, high = b"\x00" * 31 + b"\x01", b"\xff" + b"\x00" * 31
        middle = b"\x7f\xff" + b"\x00" * 30
        store.create([make_record(name) for name in (high, low, middle)])
        assert [record.name for record in store.scan()] == [low, middle, high]
        assert [record.name for record in store.scan(after=b"\x7f")] == [middle, high]

    def test_scan_limit_defaults_to_a_thousand(self, store: RecordStore) -> None:
        store.create([make_record(name_of(number)) for number in range(1001)])
        assert len(store.scan()) == 1000

    def test_scan_by_due_knows_never_and_the_far_future(self, store: RecordStore) -> None:
        never, far, soon = (make_record(name_of(at), due=due) for at, due in enumerate((0, 2**64 - 1, 10)))
        store.create([never, far, soon])
        assert store.scan(due_before=10) == []
        assert store.scan(due_before=11) == store.scan(due_before=2**62) == [soon]

    def test_records_of_later_releases_are_kept(self, store: RecordStore) -> None:
        strange = from_later_release(make_record(name_of(1), sealed=b"later" * 50))
        self.plant(store, strange, root_version=3, due=9, labels=[label_of(1)])
        assert store.get([strange.name, name_of(2)]) == [strange, None]
        found = (store.scan(), store.scan(root_below=4), store.scan(due_before=10), store.scan(label=label_of(1)))
        assert found == ([strange],) * 4
        assert store.scan(root_below=3) == store.scan(due_before=9) == store.scan(label=label_of(2)) == []
        assert self.peek(store) == {strange.name: strange.body}

    def test_records_of_later_releases_can_be_deleted(self, store: RecordStore) -> None:
        strange = from_later_release(make_record(name_of(1)))
        self.plant(store, strange, root_version=3, due=9, labels=[label_of(1)])
        store.delete([strange.name])
        assert self.peek(store) == {}
        assert store.scan(label=label_of(1)) == []

    def test_racing_creates_have_one_winner(self, store: RecordStore) -> None:
        for round_ in range(5):
            rivals = [make_record(name_of(round_), revision=thread) for thread in range(THREADS)]
            extras = [make_record(name_of(1000 + round_ * THREADS + thread)) for thread in range(THREADS)]
            pairs = list(zip(extras, rivals, strict=True))
            outcomes = race(*(lambda pair=pair: store.create(pair) for pair in pairs))
            assert sum(not isinstance(outcome, Conflict) for outcome in outcomes) == 1
            winner = next(at for at, outcome in enumerate(outcomes) if not isinstance(outcome, Conflict))
            assert store.get([rivals[0].name]) == [rivals[winner]]
            extras_kept = [extra for extra in store.get([extra.name for extra in extras]) if extra is not None]
            assert extras_kept == [extras[winner]]

    def test_racing_replaces_have_one_winner(self, store: RecordStore) -> None:
        present = make_record(name_of(1), revision=0)
        store.create([present])
        for round_ in range(1, 6):
            old = present
            rivals = [
                make_record(old.name, revision=round_, sealed=b"%d" % thread * 100, labels=[label_of(thread)])
                for thread in range(THREADS)
            ]
            won = race(*(lambda old=old, new=new: store.replace(old, new) for new in rivals))
            assert sorted(won) == [False] * (THREADS - 1) + [True]
            present = rivals[won.index(True)]
            assert store.get([old.name]) == [present]
            labelled = [bool(store.scan(label=label_of(thread))) for thread in range(THREADS)]
            assert labelled == won

    def test_racing_renames_onto_one_name_have_one_winner(self, store: RecordStore) -> None:
        olds = [make_record(name_of(number)) for number in range(THREADS)]
        store.create(olds)
        target = name_of(99)
        if not self.renames:
            self.assert_rename_refused(store, olds[0], make_record(target))
            return
        outcomes = race(
            *(
                lambda at=at, old=old: store.replace(old, make_record(target, revision=at))
                for at, old in enumerate(olds)
            )
        )
        assert outcomes.count(True) == 1
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == THREADS - 1
        left = [old for old, outcome in zip(olds, outcomes, strict=True) if outcome is not True]
        expected = {record.name: record.body for record in (*left, make_record(target, revision=outcomes.index(True)))}
        assert self.peek(store) == expected

    def test_no_replace_is_lost(self, store: RecordStore) -> None:
        """Threads that each add 1 to the revision until it took: the sum is right."""
        name, turns = name_of(1), 10
        store.create([make_record(name, revision=0)])

        def count_up() -> None:
            for _ in range(turns):
                while not self._add_one(store, name):
                    pass

        race(*[count_up] * THREADS)
        (record,) = store.get([name])
        assert record is not None
        assert record.header.revision == turns * THREADS

    def assert_rename_refused(self, store: RecordStore, old: Record, new: Record) -> None:
        """The store does not rename: it says so, and nothing has changed."""
        before = self.peek(store)
        with pytest.raises(StoreUnavailable):
            store.replace(old, new)
        assert self.peek(store) == before

    @staticmethod
    def _add_one(store: RecordStore, name: bytes) -> bool:
        (old,) = store.get([name])
        assert old is not None
        return store.replace(old, make_record(name, revision=old.header.revision + 1))


def _all_pages(store: RecordStore, asked: Conditions) -> list[Record]:
    found: list[Record] = []
    while True:
        page = Conditions(
            after=found[-1].name if found else b"",
            limit=asked.limit,
            root_below=asked.root_below,
            due_before=asked.due_before,
        ).ask(store)
        assert len(page) <= asked.limit
        if not page:
            return found
        found += page
