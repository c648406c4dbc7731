"""What the other processes do in the tests of SQLite; started as a script, told what to do by its arguments.

A line on standard output says what is done: it is written when the store's call has returned.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lunacore.errors import Conflict
from lunacore.stores import Entry
from lunacore.testing.record_store import label_of, make_record, name_of
from lunacore_backends.sqlite import SQLiteGrants, SQLiteRecords

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore.records import Record
    from lunacore.stores import RecordStore

SHARED_NAMES = 20
TURNS = 15
NOW = 1_700_000_000
# Seconds to wait for locks: a busy machine must not fail a test.
PATIENCE = 60
HOLD = 0.02


def say(line: str) -> None:
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


def open_many(directory: Path, worker: int, count: int) -> None:
    """Open the same new files as the other processes at the same moment, and use each at once."""
    for number in range(count):
        records = SQLiteRecords(directory / "new" / f"records{number}.sqlite", busy_timeout=PATIENCE)
        grants = SQLiteGrants(directory / "new" / f"grants{number}.sqlite", busy_timeout=PATIENCE)
        records.create([make_record(name_of(worker))])
        grants.put([Entry(b"%d" % worker, b"", NOW + 9)], NOW)
        records.close()
        grants.close()


def race(directory: Path, worker: int) -> None:
    """Race the other processes for names, keys and counts; say what was won."""
    records = SQLiteRecords(directory / "records.sqlite", busy_timeout=PATIENCE)
    grants = SQLiteGrants(directory / "grants.sqlite", busy_timeout=PATIENCE)
    won: dict[str, list[int]] = {"created": [], "put": [], "taken": [], "counts": []}
    for number in range(SHARED_NAMES):
        try:
            records.create([make_record(name_of(number), revision=worker)])
            won["created"].append(number)
        except Conflict:
            pass
        if grants.put_if_absent(Entry(b"put %d" % number, b"%d" % worker, NOW + 9), NOW):
            won["put"].append(number)
        if grants.take(b"take %d" % number, NOW) is not None:
            won["taken"].append(number)
    for _ in range(TURNS):
        won["counts"].append(grants.increment(b"count", 1, NOW + 9, NOW))
        while not add_one(records):
            pass
    records.close()
    grants.close()
    say(json.dumps(won))


def add_one(records: SQLiteRecords) -> bool:
    (old,) = records.get([name_of(1000)])
    assert old is not None
    return records.replace(old, make_record(old.name, revision=old.header.revision + 1))


def batch(number: int) -> list[Record]:
    """Three records that are created together."""
    return [
        make_record(name_of(10 * number + at), labels=[label_of(number)], due=number + 1, sealed=b"s" * 900)
        for at in range(3)
    ]


def successor(number: int) -> Record:
    """What the first of a batch is renamed to."""
    return make_record(name_of(10 * number + 5), labels=[label_of(number)], root_version=2, revision=2)


def write(directory: Path, start: int) -> None:
    write_on(SQLiteRecords(directory / "records.sqlite"), start)


def write_on(records: RecordStore, start: int) -> None:
    """Create, rename and delete, without end."""
    for number in itertools.count(start):
        created = batch(number)
        records.create(created)
        say(f"create {number}")
        assert records.replace(created[0], successor(number))
        say(f"replace {number}")
        if number % 2:
            records.delete([record.name for record in (*created, successor(number))])
            say(f"delete {number}")


def hog(directory: Path) -> None:
    """Write without a pause in between, each time for as long as a slow disk takes, until killed; a byte counts each time."""
    records = SQLiteRecords(directory / "records.sqlite")
    count = os.open(directory / "count", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for number in itertools.count():
        with records._database.transaction():
            os.write(count, b".")
            time.sleep(HOLD)
        if number == 0:
            say("writing")


def main() -> None:
    task, directory, *numbers = sys.argv[1:]
    say("ready")
    sys.stdin.readline()
    tasks: dict[str, Callable[..., None]] = {"open_many": open_many, "race": race, "write": write, "hog": hog}
    tasks[task](Path(directory), *map(int, numbers))


if __name__ == "__main__":
    main()
