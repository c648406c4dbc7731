"""Records and grants in SQLite: the contracts, and what only a file on a disk can suffer."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from lunacore.errors import ConfigError, StoreUnavailable
from lunacore.plugins import BackendURL, Surroundings
from lunacore.stores import Entry
from lunacore.testing.expiring_store import ExpiringStoreContract
from lunacore.testing.record_store import RecordStoreContract, label_of, make_record, name_of
from lunacore_backends.sqlite import SQLiteGrants, SQLiteRecords, open_grants, open_records
from tests.backends import sqlite_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lunacore.records import Record
    from lunacore.stores import ExpiringStore, RecordStore

WORKER = Path(__file__).with_name("sqlite_worker.py")
PROCESSES = 4
NOW = 1_700_000_000
SURROUNDINGS = Surroundings(setting="tokenizer.records", now=lambda: 0.0, random=bytes)


def path_in(store: Any) -> Path:
    path = store._database._path
    assert isinstance(path, Path)
    return path


def raw(path: Path) -> closing[sqlite3.Connection]:
    """A connection of its own, behind the store's back."""
    return closing(sqlite3.connect(path, isolation_level=None))


class TestSQLiteRecords(RecordStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Iterator[Callable[[], RecordStore]]:
        opened: list[SQLiteRecords] = []
        numbers = count()

        def open_one() -> SQLiteRecords:
            opened.append(SQLiteRecords(tmp_path / f"records{next(numbers)}.sqlite", busy_timeout=60))
            return opened[-1]

        yield open_one
        for store in opened:
            store.close()

    def plant(
        self, store: RecordStore, record: Record, *, root_version: int, due: int, labels: Sequence[bytes]
    ) -> None:
        with raw(path_in(store)) as connection:
            connection.execute("INSERT INTO records VALUES (?, ?, ?, ?)", (record.name, root_version, due, record.body))
            connection.executemany("INSERT INTO labels VALUES (?, ?)", [(label, record.name) for label in labels])

    def peek(self, store: RecordStore) -> dict[bytes, bytes]:
        with raw(path_in(store)) as connection:
            return dict(connection.execute("SELECT name, body FROM records").fetchall())


class TestSQLiteGrants(ExpiringStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Iterator[Callable[[], ExpiringStore]]:
        opened: list[SQLiteGrants] = []
        numbers = count()

        def open_one() -> SQLiteGrants:
            opened.append(SQLiteGrants(tmp_path / f"grants{next(numbers)}.sqlite", busy_timeout=60))
            return opened[-1]

        yield open_one
        for store in opened:
            store.close()

    def peek(self, store: ExpiringStore) -> set[bytes]:
        with raw(path_in(store)) as connection:
            return {key for (key,) in connection.execute("SELECT key FROM entries")}


@pytest.fixture
def records(tmp_path: Path) -> Iterator[SQLiteRecords]:
    store = SQLiteRecords(tmp_path / "records.sqlite", setting="tokenizer.records", busy_timeout=0.05)
    yield store
    store.close()


@pytest.fixture
def grants(tmp_path: Path) -> Iterator[SQLiteGrants]:
    store = SQLiteGrants(tmp_path / "grants.sqlite", setting="tokenizer.grants", busy_timeout=0.05)
    yield store
    store.close()


# URLs


def url(text: str) -> BackendURL:
    return BackendURL.parse(text, SURROUNDINGS.setting)


def test_urls_name_an_absolute_path(tmp_path: Path) -> None:
    open_records(url(f"sqlite://{tmp_path}/a%20b/records.sqlite"), SURROUNDINGS).close()
    assert (tmp_path / "a b" / "records.sqlite").is_file()
    open_grants(url(f"sqlite://{tmp_path}/grants.sqlite"), SURROUNDINGS).close()
    assert (tmp_path / "grants.sqlite").is_file()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sqlite://host/path", "tokenizer.records: sqlite takes no host"),
        ("sqlite://relative", "tokenizer.records: sqlite takes no host"),
        ("sqlite:relative", "tokenizer.records: sqlite needs the absolute path of a file"),
        ("sqlite://", "tokenizer.records: sqlite needs the absolute path of a file"),
        ("sqlite:///directory/", "tokenizer.records: sqlite needs the absolute path of a file"),
        ("sqlite:///nul%00byte", "tokenizer.records: sqlite needs the absolute path of a file"),
        ("sqlite:///path?mode=ro", "tokenizer.records: sqlite has no option 'mode'"),
    ],
)
@pytest.mark.parametrize("open_store", [open_records, open_grants])
def test_other_urls_are_refused(open_store: Callable[..., object], text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_store(url(text), SURROUNDINGS)


def test_characters_that_mean_something_in_uris_stay_in_the_path(tmp_path: Path) -> None:
    path = tmp_path / "a?b#c%41"
    store = SQLiteRecords(path)
    store.close()
    assert path.is_file()


# Files


def test_files_and_directories_are_the_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = SQLiteRecords(tmp_path / "new" / "deep" / "records.sqlite")
    finally:
        os.umask(before)
    store.create([make_record(name_of(1))])
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").rglob("*")}
    store.close()
    private = 0o600
    assert modes == {
        "deep": 0o700,
        "records.sqlite": private,
        "records.sqlite-wal": private,
        "records.sqlite-shm": private,
        "records.sqlite-turn": private,
    }
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_contents_survive_closing(tmp_path: Path) -> None:
    record = make_record(name_of(1), labels=[label_of(1)])
    for opening in range(3):
        store = SQLiteRecords(tmp_path / "records.sqlite")
        if not opening:
            store.create([record])
        assert store.scan(label=label_of(1)) == [record]
        store.close()


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^records: .* is a directory; name a file in it"):
        SQLiteRecords(tmp_path)


def test_a_file_in_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"^records: .* cannot be used: "):
        SQLiteRecords(tmp_path / "file" / "records.sqlite")


def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    path.write_bytes(b"something else entirely\n" * 100)
    with pytest.raises(ConfigError, match=r"^records: .* is no SQLite database; name another file"):
        SQLiteRecords(path)
    assert path.read_bytes() == b"something else entirely\n" * 100


@pytest.mark.parametrize("mark", ["PRAGMA application_id = 77", "PRAGMA user_version = 3", "CREATE TABLE other (x)"])
def test_a_database_of_another_application_is_refused_and_left_alone(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "records.sqlite"
    with raw(path) as connection:
        connection.execute(mark)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="is a database for something else than LunaCore's records"):
        SQLiteRecords(path)
    assert path.read_bytes() == before


def test_grants_are_not_taken_for_records(grants: SQLiteGrants) -> None:
    with pytest.raises(ConfigError, match="something else than LunaCore's records"):
        SQLiteRecords(path_in(grants))


@pytest.mark.parametrize(("version", "message"), [(2, "knows 1: upgrade LunaCore"), (0, "unknown schema version 0")])
def test_other_schema_versions_are_refused(records: SQLiteRecords, version: int, message: str) -> None:
    records.close()
    with raw(path_in(records)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(ConfigError, match=message):
        SQLiteRecords(path_in(records))


def test_an_empty_file_left_by_a_crash_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    path.touch()
    store = SQLiteRecords(path)
    store.create([make_record(name_of(1))])
    store.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_read_only_file_is_refused() -> None:
    """By a process without a superuser's rights, which are above permissions."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "records.sqlite"
        SQLiteRecords(path).close()
        path.chmod(0o444)
        Path(directory).chmod(0o755)
        child = os.fork()
        if child == 0:
            os._exit(_refusal_of_unprivileged(path))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _refusal_of_unprivileged(path: Path) -> int:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        SQLiteRecords(path)
    except ConfigError as error:
        return 0 if "must be readable and writable for the user with the number" in error.message else 3
    return 4


# Failing disks and locked files


def limit_pages(store: Any, more: int) -> None:
    """Let the database grow by so many pages only, on the one connection that a single thread uses."""
    database = store._database
    connection = database._borrow()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + more}").fetchone()
    database._give_back(connection)


def test_a_full_disk_leaves_nothing_half_written(records: SQLiteRecords) -> None:
    first = make_record(name_of(1), labels=[label_of(1)])
    records.create([first])
    limit_pages(records, 3)
    many = [make_record(name_of(number), labels=[label_of(1)], sealed=b"s" * 900) for number in range(2, 50)]
    with pytest.raises(StoreUnavailable, match=r"^tokenizer\.records: the disk is full"):
        records.create(many)
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        records.replace(first, make_record(name_of(2), sealed=b"s" * 100_000))
    assert records.scan() == records.scan(label=label_of(1)) == [first]
    limit_pages(records, 1000)
    records.create(many)
    assert len(records.scan(label=label_of(1))) == 49


def test_grants_on_a_full_disk(grants: SQLiteGrants) -> None:
    limit_pages(grants, 3)
    with pytest.raises(StoreUnavailable, match=r"^tokenizer\.grants: the disk is full"):
        grants.put([Entry(b"%d" % number, b"v" * 900, NOW + 9) for number in range(50)], NOW)
    assert grants.get([b"0", b"49"], NOW) == [None, None]


def test_a_lock_held_elsewhere_is_waited_for_no_longer_than_allowed(records: SQLiteRecords) -> None:
    record = make_record(name_of(1))
    with raw(path_in(records)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match=r"^tokenizer\.records: the database was locked for 0\.05 s"):
            records.create([record])
        assert records.get([record.name]) == [None]
        other.execute("ROLLBACK")
    records.create([record])


def test_a_writer_in_the_same_process_is_waited_for_no_longer_than_allowed(grants: SQLiteGrants) -> None:
    failures: list[StoreUnavailable] = []

    def put() -> None:
        try:
            grants.put([Entry(b"k", b"", NOW + 9)], NOW)
        except StoreUnavailable as error:
            failures.append(error)

    with grants._database.transaction():
        thread = threading.Thread(target=put)
        thread.start()
        thread.join()
    assert "tokenizer.grants: the database was locked" in failures[0].message
    put()
    assert len(failures) == 1


def test_a_transaction_has_the_write_lock_from_its_start(records: SQLiteRecords) -> None:
    with raw(path_in(records)) as other, records._database.transaction():
        other.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")


def test_damage_is_reported_as_such(records: SQLiteRecords) -> None:
    records.create([make_record(name_of(number), sealed=b"s" * 900) for number in range(50)])
    records.close()
    path = path_in(records)
    contents = bytearray(path.read_bytes())
    contents[4096:] = b"\xa5" * (len(contents) - 4096)
    path.write_bytes(contents)
    damaged = SQLiteRecords(path)
    with pytest.raises(StoreUnavailable, match="the database is damaged"):
        damaged.get([name_of(1)])
    damaged.close()


def test_the_probe_finds_a_file_that_was_replaced(records: SQLiteRecords) -> None:
    records.probe()
    path_in(records).rename(path_in(records).with_name("elsewhere"))
    with pytest.raises(StoreUnavailable, match="moved, removed or replaced"):
        records.probe()


def test_a_file_that_has_gone_is_not_made_anew(records: SQLiteRecords) -> None:
    path_in(records).unlink()
    records._database.drop_idle_connections()
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        records.create([make_record(name_of(1))])
    assert not path_in(records).exists()


def test_mistakes_of_the_program_are_not_called_an_outage(records: SQLiteRecords) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        records._database.query("SELECT * FROM missing", ())


# Life of a store


def test_a_closed_store_refuses_calls(records: SQLiteRecords, grants: SQLiteGrants) -> None:
    for store in (records, grants):
        store.close()
        store.close()
        with pytest.raises(StoreUnavailable, match="the store was closed"):
            store.probe()
    with pytest.raises(StoreUnavailable, match="the store was closed"):
        records.create([make_record(name_of(1))])


def test_a_connection_in_use_is_closed_when_its_call_ends(records: SQLiteRecords) -> None:
    with records._database.snapshot() as connection:
        records.close()
        connection.execute("SELECT 1")
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_threads_that_come_and_go_leave_no_connections(records: SQLiteRecords) -> None:
    for _ in range(20):
        thread = threading.Thread(target=records.scan)
        thread.start()
        thread.join()
    assert len(records._database._idle) == 1


def test_records_are_synced_fully_and_grants_normally(records: SQLiteRecords, grants: SQLiteGrants) -> None:
    for store, level in ((records, 2), (grants, 1)):
        with store._database.transaction() as connection:
            settings = {
                name: connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("synchronous", "journal_mode", "secure_delete", "trusted_schema")
            }
        assert settings == {"synchronous": level, "journal_mode": "wal", "secure_delete": 1, "trusted_schema": 0}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_carries_no_connection_over(records: SQLiteRecords) -> None:
    records.create([make_record(name_of(1))])
    child = os.fork()
    if child == 0:
        idle = len(records._database._idle)
        records.create([make_record(name_of(2))])
        os._exit(idle)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    records.create([make_record(name_of(3))])
    assert len(records.scan()) == 3


def test_what_was_erased_is_not_in_the_file_any_more(records: SQLiteRecords, grants: SQLiteGrants) -> None:
    marks = [b"marker of record %03d " % number * 100 for number in range(50)]
    kept, *erased = [make_record(name_of(number), sealed=mark) for number, mark in enumerate(marks)]
    records.create([kept, *erased])
    grants.put([Entry(b"%d" % number, mark, NOW + 9) for number, mark in enumerate(marks)], NOW)
    for store in (records, grants):
        store._database._empty_log()
        assert b"marker of record 007" in path_in(store).read_bytes()
    records.delete([record.name for record in erased])
    assert grants.sweep(NOW + 9) == 50
    records.close()
    grants.close()
    assert path_in(records).read_bytes().count(b"marker of record") == kept.body.count(b"marker of record")
    assert b"marker" not in path_in(grants).read_bytes()
    assert {path.suffix for path in path_in(records).parent.iterdir()} == {".sqlite", ".sqlite-turn"}


# Cost


@contextmanager
def counting_steps(store: SQLiteRecords) -> Iterator[list[int]]:
    """Count the virtual machine's steps in the block, which no busy machine changes."""
    steps = [0]

    def step() -> int:
        steps[0] += 1
        return 0

    database = store._database
    connection = database._borrow()
    connection.set_progress_handler(step, 1)
    database._give_back(connection)
    yield steps
    connection.set_progress_handler(None, 1)


def test_a_page_costs_the_same_however_many_records_there_are(tmp_path: Path) -> None:
    def cost(size: int, ask: Callable[[SQLiteRecords], object]) -> int:
        store = SQLiteRecords(tmp_path / f"{size}.sqlite")
        if not store.scan(limit=1):
            records = [
                make_record(
                    name_of(at),
                    root_version=1 if at < 20 else 2 + at % 2,
                    due=5 if at < 20 else 0,
                    labels=[label_of(at % 2)],
                )
                for at in range(size)
            ]
            store.create(records)
        with counting_steps(store) as steps:
            ask(store)
        store.close()
        return steps[0]

    asked: list[Callable[[SQLiteRecords], object]] = [
        lambda store: store.get([name_of(9)]),
        lambda store: store.get([name_of(9), name_of(10), name_of(5000)]),
        lambda store: store.scan(after=b"\x40", limit=10),
        lambda store: store.scan(after=b"\x40", limit=10, root_below=4),
        lambda store: store.scan(limit=10, root_below=2),
        lambda store: store.scan(limit=10, due_before=6),
        lambda store: store.scan(after=b"\x40", limit=10, label=label_of(1)),
        lambda store: store.scan(limit=10, root_below=1),
    ]
    for ask in asked:
        assert cost(4000, ask) <= 1.2 * cost(400, ask) + 5


# Several processes


@contextmanager
def worker(task: str, directory: Path, *numbers: int) -> Iterator[subprocess.Popen[bytes]]:
    """Another process, waiting for its start; killed at the end if it still runs."""
    command = [sys.executable, str(WORKER), task, str(directory), *map(str, numbers)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert stream(process.stdout).readline() == b"ready\n"
            yield process
        finally:
            process.kill()


def stream(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def start(process: subprocess.Popen[bytes]) -> None:
    stream(process.stdin).write(b"\n")
    stream(process.stdin).flush()


def run_together(task: str, directory: Path, *numbers: int) -> list[bytes]:
    """Start the task in several processes at once; what each wrote."""
    with (
        worker(task, directory, 0, *numbers) as first,
        worker(task, directory, 1, *numbers) as second,
        worker(task, directory, 2, *numbers) as third,
        worker(task, directory, 3, *numbers) as fourth,
    ):
        processes = [first, second, third, fourth]
        for process in processes:
            start(process)
        outputs = [process.communicate()[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * PROCESSES
    return outputs


@pytest.mark.long
def test_processes_may_create_a_database_at_once(tmp_path: Path) -> None:
    run_together("open_many", tmp_path, 8)
    for number in range(8):
        records = SQLiteRecords(tmp_path / "new" / f"records{number}.sqlite")
        grants = SQLiteGrants(tmp_path / "new" / f"grants{number}.sqlite")
        assert len(records.scan()) == PROCESSES
        assert grants.get([b"%d" % process for process in range(PROCESSES)], NOW) == [b""] * PROCESSES
        records.close()
        grants.close()


def test_processes_race_and_each_race_has_one_winner(tmp_path: Path) -> None:
    records, grants = SQLiteRecords(tmp_path / "records.sqlite"), SQLiteGrants(tmp_path / "grants.sqlite")
    records.create([make_record(name_of(1000), revision=0)])
    shared, turns = 20, 15
    grants.put([Entry(b"take %d" % number, b"once", NOW + 9) for number in range(shared)], NOW)
    won = [json.loads(output) for output in run_together("race", tmp_path)]
    for prize in ("created", "put", "taken"):
        assert sorted(number for wins in won for number in wins[prize]) == list(range(shared))
    for process, wins in enumerate(won):
        created = records.get([name_of(number) for number in wins["created"]])
        assert all(record is not None and record.header.revision == process for record in created)
        put = grants.get([b"put %d" % number for number in wins["put"]], NOW)
        assert all(value == b"%d" % process for value in put)
    assert sorted(number for wins in won for number in wins["counts"]) == list(range(1, PROCESSES * turns + 1))
    (counted,) = records.get([name_of(1000)])
    assert counted is not None
    assert counted.header.revision == PROCESSES * turns
    records.close()
    grants.close()


def test_a_process_that_writes_without_pause_does_not_keep_others_out(tmp_path: Path) -> None:
    records, counted = SQLiteRecords(tmp_path / "records.sqlite", busy_timeout=60), tmp_path / "count"
    with worker("hog", tmp_path) as other:
        start(other)
        assert stream(other.stdout).readline() == b"writing\n"
        for _ in range(10):
            before = counted.stat().st_size
            with records._database.transaction():
                others_turns = counted.stat().st_size - before
            assert others_turns <= 5
    records.close()


def test_without_the_file_of_turns_writers_go_on(tmp_path: Path) -> None:
    records = SQLiteRecords(tmp_path / "records.sqlite")
    (tmp_path / "records.sqlite-turn").unlink()
    records.create([make_record(name_of(1))])
    assert len(records.scan()) == 1
    records.close()


def test_a_turn_is_waited_for_no_longer_than_allowed(records: SQLiteRecords) -> None:
    with records._database._turns.turn(0), pytest.raises(StoreUnavailable, match="the database was locked for"):
        records.create([make_record(name_of(1))])
    records.create([make_record(name_of(1))])


# Crashes


def crash_series(directory: Path, kills: int, seed: int) -> None:
    """Kill a writer again and again, and look each time at what it was told is done."""
    rng = random.Random(seed)
    start_at = 0
    for _ in range(kills):
        acknowledged = acknowledged_before_kill(directory, start_at, rng)
        start_at = 1 + check_after_crash(directory, start_at, acknowledged)


def acknowledged_before_kill(directory: Path, start_at: int, rng: random.Random) -> set[str]:
    with worker("write", directory, start_at) as process:
        start(process)
        output = stream(process.stdout)
        lines = [output.readline() for _ in range(rng.randrange(1, 40))]
        # Spend a little while, so that the writer is somewhere in the midst of a call.
        sum(range(rng.randrange(100_000)))
        process.kill()
        # A line may be cut off by the kill; its call had returned all the same.
        lines += output.readlines()
    return {line.decode().strip() for line in lines if line.endswith(b"\n")}


def check_after_crash(directory: Path, start_at: int, acknowledged: set[str]) -> int:
    """Every acknowledged change is there, and the one after the last wholly or not at all; the last batch begun."""
    assert acknowledged
    last = max(int(line.split()[1]) for line in acknowledged)
    store = SQLiteRecords(directory / "records.sqlite")
    with raw(directory / "records.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    for number in range(start_at, last + 2):
        created = sqlite_worker.batch(number)
        renamed = [*created[1:], sqlite_worker.successor(number)]
        # The states that a batch goes through; acknowledgements name the earliest that it can be in.
        states: list[list[Record]] = [[], created, renamed] + [[]] * (number % 2)
        done = sum(f"{step} {number}" in acknowledged for step in ("create", "replace", "delete"))
        found = sorted(store.scan(label=label_of(number)), key=lambda record: record.name)
        possible = [sorted(state, key=lambda record: record.name) for state in states[done : done + 2]]
        assert found in possible
        names = [record.name for record in (*created, sqlite_worker.successor(number))]
        assert sorted(filter(None, store.get(names)), key=lambda record: record.name) == found
        newest_may_change = number >= last
        assert newest_may_change or len(states) == done + 1
    store.close()
    return last + 1


@pytest.mark.long
def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    crash_series(tmp_path, kills=5, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 6))
def test_a_writer_killed_again_and_again(tmp_path: Path, seed: int) -> None:
    crash_series(tmp_path, kills=25, seed=seed)
