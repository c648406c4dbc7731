"""How speed holds up as records grow in number: ``/detokenize`` beside a thousand and beside millions (group ``growth``)."""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from attrs import frozen

from benchmarks import load, serving, tokenizer_server
from benchmarks.figures import Book, Section, paragraphs
from benchmarks.processes import BenchmarkError, two_cores
from benchmarks.serving import RATE, Subject
from benchmarks.stores import available
from benchmarks.tokenizer_server import TokenizerServer, detokenize_request
from lunacore.records import Record, RecordState, RecordType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.processes import Cores
    from benchmarks.stores import Stores
    from benchmarks.surroundings import Surroundings
    from lunacore.stores import RecordStore

_BATCH: Final = 5_000
_NAME_BYTES: Final = 32
SIZE: Final = "bytes/record"

_METHOD: Final = paragraphs(
    """
A tokenizer for each number of records, with one worker, all on the same core; one is under load while the others wait
for requests, and a round goes once through all. Each holds tokens of values that were uploaded and verified, as in the
group http, which are the ones that are read; the rest are records of the same form and size under random names, which
nobody asks for. PostgreSQL and Redis run on the core of the load generator. bytes/record is what the store takes up of
its disk for each, indexes and free room included.
"""
)


@frozen
class _Filled:
    """A tokenizer whose record store holds so many records, and what to ask it."""

    stores: Stores
    count: int
    subject: Subject
    size: int


def measure(surroundings: Surroundings) -> list[Section]:
    """Run the group.

    Raises:
        BenchmarkError: a server did not start, or a request failed.
    """
    cores = two_cores()
    with ExitStack() as stack:
        folder = surroundings.folder("growth")
        filled = [
            _fill(stack, surroundings, stores, count, cores, folder / f"{stores.key}-{count}")
            for stores in available(stack, core=cores.load, say=surroundings.say)
            for count in surroundings.scale.records
        ]
        subjects = [one.subject for one in filled]
        serving.warm_up(subjects, cores, surroundings.scale)
        book = Book()
        for number in surroundings.rounds():
            for one in filled:
                surroundings.say(f"round {number}: {one.subject.name}")
                serving.put_under_load(book, one.subject, cores, surroundings.scale)
                book.note(one.subject.name, SIZE, one.size / one.count)
    return [_section(book, filled, surroundings, cores)]


def subject_name(stores: str, count: int) -> str:
    """What so many records on some stores are called in the table."""
    return f"{stores}, {count:,} records"


def named(subject: str) -> tuple[str, int]:
    """The stores and the number of records that a subject is named for."""
    stores, records = subject.split(", ", 1)
    return stores, int(records.removesuffix(" records").replace(",", ""))


def _fill(
    stack: ExitStack, surroundings: Surroundings, stores: Stores, count: int, cores: Cores, folder: Path
) -> _Filled:
    surroundings.say(f"{stores.name}: filling in {count:,} records")
    settings = stores.settings(folder / "data", f"growth_{count}")
    tokenizer = stack.enter_context(TokenizerServer(folder, core=cores.server, stores=settings))
    tokens = min(surroundings.scale.tokens, count)
    kept = serving.fill(tokenizer, tokens, surroundings.value)
    with stores.records(folder / "data", f"growth_{count}") as records:
        _add(records, count - tokens, random.Random(surroundings.seed))
    requests = [detokenize_request(headers, [token]) for headers, some in kept for token in some]
    serving.check_request(tokenizer, requests[0])
    file = load.write_requests(folder / "requests", requests, tokenizer.port)
    subject = Subject(subject_name(stores.name, count), tokenizer.process, tokenizer.port, file, 1)
    return _Filled(stores, count, subject, stores.record_bytes(folder / "data", f"growth_{count}"))


def _add(records: RecordStore, count: int, randomness: random.Random) -> None:
    like = next(_stored(records), None)
    if like is None:
        raise BenchmarkError("the record store holds no record of a value that was verified")
    for start in range(0, count, _BATCH):
        amount = min(_BATCH, count - start)
        records.create([Record(randomness.randbytes(_NAME_BYTES), like.body) for _ in range(amount)])


def _stored(records: RecordStore) -> Iterator[Record]:
    for record in records.scan(limit=1000):
        header = record.header
        if header.record_type is RecordType.TOKEN and header.state is RecordState.STORED:
            yield record


def _section(book: Book, filled: list[_Filled], surroundings: Surroundings, cores: Cores) -> Section:
    scale = surroundings.scale
    ratios = []
    for name in dict.fromkeys(one.stores.name for one in filled):
        of_store = sorted((one for one in filled if one.stores.name == name), key=lambda one: one.count)
        fewest, most = of_store[0], of_store[-1]
        label = f"{name}: {most.count:,} records ÷ {fewest.count:,}"
        ratios.append(book.ratio(label, (most.subject.name, RATE), (fewest.subject.name, RATE), at_least=0.8))
    return Section(
        name="growth",
        title="/detokenize as records grow in number",
        method=_METHOD,
        settings={
            "rounds": scale.rounds,
            "seconds_per_round": max(1, round(scale.load_seconds)),
            "connections": scale.connections,
            "records": list(scale.records),
            "server_core": cores.server,
            "load_core": cores.load,
            "tokens_read": scale.tokens,
            "tokenizer_settings": tokenizer_server.LIMITS,
        },
        figures=book.figures(),
        ratios=tuple(ratios),
    )
