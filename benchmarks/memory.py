"""Memory while large values pass, in the server's worker and in the library, and after many requests (group ``memory``)."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import load, serving
from benchmarks.bare_server import module_path
from benchmarks.figures import Book, Section, paragraphs
from benchmarks.processes import BenchmarkError, pinned, two_cores
from benchmarks.tickets import TicketClient
from benchmarks.tokenizer_server import LIMITS, TokenizerServer, detokenize_request
from benchmarks.transfer import label
from benchmarks.ways import Tickets

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.figures import Ratio
    from benchmarks.processes import Cores
    from benchmarks.surroundings import Surroundings

BEFORE: Final = "before MB"
UP: Final = "peak, upload MB"
DOWN: Final = "peak, download MB"
EARLY: Final = "after 1,000 requests"
RESIDENT: Final = "resident MB"
_MEGABYTE: Final = 1_000_000
_ROUNDS: Final = 3
_SMALL: Final = b"4111 1111 1111 1111"
_ALLOWED_GROWTH: Final = 1.2
_EARLY: Final = 1_000
_SPELL_SECONDS: Final = 2.0

_METHOD: Final = paragraphs(
    """
What the kernel says a process has resident at most (VmHWM), reset before the upload and before the download; MB are
10^6 bytes. Every figure is of a process that was started for it. Before: after one small value has gone both ways.

Server: the worker of the embedded default, through which a raw value passes on its way to the gateway's objects.
Library: a program that puts a file away and reads it again in pieces of 1 MiB.
"""
)


_LASTING: Final = paragraphs(
    """
What a worker of the embedded default has resident after its first thousand calls of /detokenize, and after many more, for
tokens of several sessions.
"""
)


def measure(surroundings: Surroundings) -> list[Section]:
    """Run the group."""
    cores = two_cores()
    folder = surroundings.folder("memory")
    return [_while_values_pass(surroundings, folder, cores), _after_many_requests(surroundings, folder / "many", cores)]


def _after_many_requests(surroundings: Surroundings, folder: Path, cores: Cores) -> Section:
    scale, book = surroundings.scale, Book()
    late = f"after {scale.memory_requests:,} requests"
    with TokenizerServer(folder, core=cores.server) as tokenizer:
        kept = serving.fill(tokenizer, scale.tokens, surroundings.value)
        requests = [detokenize_request(headers, [token]) for headers, some in kept for token in some]
        file = load.write_requests(folder / "requests", requests, tokenizer.port)
        answered = 0
        for subject, goal in ((EARLY, _EARLY), (late, scale.memory_requests)):
            surroundings.say(f"memory {subject}")
            while answered < goal:
                told = load.run(
                    file, tokenizer.port, core=cores.load, connections=scale.connections, seconds=_SPELL_SECONDS
                )
                answered += told.requests
            book.note(subject, RESIDENT, tokenizer.process.memory() / _MEGABYTE)
    growth = book.ratio(f"{late} ÷ {EARLY}", (late, RESIDENT), (EARLY, RESIDENT), at_most=_ALLOWED_GROWTH)
    return Section(
        name="memory.lasting",
        title="Memory of a worker after many requests",
        method=_LASTING,
        settings={"requests": scale.memory_requests, "tokens": scale.tokens, "connections": scale.connections},
        figures=book.figures(),
        ratios=(growth,),
    )


def _while_values_pass(surroundings: Surroundings, folder: Path, cores: Cores) -> Section:
    rounds = min(_ROUNDS, surroundings.scale.rounds)
    book = Book()
    for number in range(1, rounds + 1):
        for size in surroundings.scale.memory_sizes:
            surroundings.say(f"round {number}: {label(size)}")
            source = surroundings.value_file(folder / "value", size)
            here = folder / f"{number}-{size}"
            _note(book, _server_name(size), _server(here / "server", source, size, cores))
            _note(book, _library_name(size), _library(here / "library", source, cores))
    return _section(book, surroundings, rounds, cores)


def _note(book: Book, subject: str, found: dict[str, int]) -> None:
    for quantity in (BEFORE, UP, DOWN):
        book.note(subject, quantity, found[quantity] / _MEGABYTE)


def _server(folder: Path, source: Path, size: int, cores: Cores) -> dict[str, int]:
    with ExitStack() as stack:
        tokenizer = stack.enter_context(TokenizerServer(folder, core=cores.server))
        client = TicketClient()
        stack.callback(client.close)
        way = Tickets("raw", tokenizer, client, "raw")
        small = way.put(BytesIO(_SMALL), len(_SMALL))
        way.get(small, BytesIO())
        before = tokenizer.process.memory()
        tokenizer.process.reset_peak_memory()
        with source.open("rb") as value:
            kept = way.put(value, size)
        up = tokenizer.process.peak_memory()
        tokenizer.process.reset_peak_memory()
        with Path("/dev/null").open("wb") as sink:
            way.get(kept, sink)
        found = {BEFORE: before, UP: up, DOWN: tokenizer.process.peak_memory()}
        way.remove(kept)
    return found


def _library(folder: Path, source: Path, cores: Cores) -> dict[str, int]:
    command = [sys.executable, "-m", "benchmarks.library_memory", str(folder), str(source)]
    ended = subprocess.run(
        pinned(cores.server, command), capture_output=True, text=True, check=False, env=module_path()
    )
    if ended.returncode != 0:
        raise BenchmarkError(f"the library's program failed:\n{ended.stderr}")
    before, up, down = json.loads(ended.stdout)
    return {BEFORE: before, UP: up, DOWN: down}


def _server_name(size: int) -> str:
    return f"server's worker, {label(size)}"


def _library_name(size: int) -> str:
    return f"library, {label(size)}"


def _section(book: Book, surroundings: Surroundings, rounds: int, cores: Cores) -> Section:
    sizes = surroundings.scale.memory_sizes
    return Section(
        name="memory.values",
        title="Memory while large values pass",
        method=_METHOD,
        settings={
            "rounds": rounds,
            "sizes": list(sizes),
            "server_core": cores.server,
            "client_core": cores.load,
            "tokenizer_settings": LIMITS,
        },
        figures=book.figures(),
        ratios=tuple(
            _growth(book, name_of, quantity, sizes[0], sizes[-1])
            for name_of in (_server_name, _library_name)
            for quantity in (UP, DOWN)
        ),
    )


def _growth(book: Book, name_of: Callable[[int], str], quantity: str, small: int, large: int) -> Ratio:
    """Bounded memory is memory that does not grow with the value."""
    above, below = name_of(large), name_of(small)
    name = f"{quantity.removesuffix(' MB')}: {above} ÷ {label(small)}"
    return book.ratio(name, (above, quantity), (below, quantity), at_most=_ALLOWED_GROWTH)
