"""One worker and several, on the embedded default and on stores of other projects (group ``workers``)."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from attrs import frozen

from benchmarks import load, serving, tokenizer_server
from benchmarks.figures import Book, Section, paragraphs
from benchmarks.processes import all_cores, two_cores
from benchmarks.serving import RATE, Subject
from benchmarks.stores import Embedded, available
from benchmarks.tokenizer_server import TokenizerServer, detokenize_request

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.figures import Ratio
    from benchmarks.processes import Cores
    from benchmarks.stores import Stores
    from benchmarks.surroundings import Surroundings

_LEAST_SHARE: Final = 0.5

_METHOD: Final = paragraphs(
    """
Each tokenizer, its stores and the load generator may use every core of the machine; one tokenizer is under load while the
others wait, and a round goes once through all. What wrk and the stores use is lost to the workers, so that on few cores
the gain of more workers ends early: CPU µs/request, which counts the tokenizer's processes alone, says how many cores a
rate needs.
"""
)


@frozen
class _Deployed:
    """A tokenizer with so many workers on some stores."""

    stores: Stores
    workers: int
    subject: Subject


def measure(surroundings: Surroundings) -> list[Section]:
    """Run the group.

    Raises:
        BenchmarkError: a server did not start, or a request failed.
    """
    cores = two_cores()
    with ExitStack() as stack:
        folder = surroundings.folder("workers")
        deployed = [
            _deploy(stack, surroundings, stores, workers, folder / f"{stores.key}-{workers}")
            for stores in available(stack, core=all_cores(), say=surroundings.say)
            for workers in surroundings.scale.workers
        ]
        serving.warm_up([one.subject for one in deployed], cores, surroundings.scale)
        book = Book()
        for number in surroundings.rounds():
            for one in deployed:
                surroundings.say(f"round {number}: {one.subject.name}")
                serving.put_under_load(book, one.subject, cores, surroundings.scale)
    return [_section(book, deployed, surroundings, cores)]


def _deploy(stack: ExitStack, surroundings: Surroundings, stores: Stores, workers: int, folder: Path) -> _Deployed:
    surroundings.say(f"{stores.name}: starting {_workers(workers)}")
    settings = stores.settings(folder / "data", f"workers_{workers}")
    server = TokenizerServer(folder, core=all_cores(), stores=settings, workers=workers)
    tokenizer = stack.enter_context(server)
    kept = serving.fill(tokenizer, surroundings.scale.tokens, surroundings.value)
    requests = [detokenize_request(headers, [token]) for headers, some in kept for token in some]
    serving.check_request(tokenizer, requests[0])
    file = load.write_requests(folder / "requests", requests, tokenizer.port)
    subject = Subject(f"{stores.name}, {_workers(workers)}", tokenizer.process, tokenizer.port, file, 1)
    return _Deployed(stores, workers, subject)


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def _section(book: Book, deployed: list[_Deployed], surroundings: Surroundings, cores: Cores) -> Section:
    scale = surroundings.scale
    return Section(
        name="workers",
        title="/detokenize with one worker and several",
        method=_METHOD,
        settings={
            "rounds": scale.rounds,
            "seconds_per_round": max(1, round(scale.load_seconds)),
            "connections": scale.connections,
            "cores": list(all_cores()),
            "load_core": cores.load,
            "tokens": scale.tokens,
            "tokenizer_settings": tokenizer_server.LIMITS,
        },
        figures=book.figures(),
        ratios=(*_between_stores(book, deployed), *_between_numbers(book, deployed)),
    )


def _between_stores(book: Book, deployed: list[_Deployed]) -> list[Ratio]:
    embedded = {one.workers: one.subject.name for one in deployed if one.stores.key == Embedded.key}
    return [
        book.ratio(
            f"{one.subject.name} ÷ {embedded[one.workers]}",
            (one.subject.name, RATE),
            (embedded[one.workers], RATE),
            at_least=_LEAST_SHARE,
        )
        for one in deployed
        if one.stores.key != Embedded.key
    ]


def _between_numbers(book: Book, deployed: list[_Deployed]) -> list[Ratio]:
    single = {one.stores.key: one.subject.name for one in deployed if one.workers == 1}
    return [
        book.ratio(f"{one.subject.name} ÷ 1 worker", (one.subject.name, RATE), (single[one.stores.key], RATE))
        for one in deployed
        if one.workers > 1
    ]
