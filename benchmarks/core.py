"""Operations in one process: what the parts of a request cost (group ``core``)."""

from __future__ import annotations

import gc
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from benchmarks import jwts, presigning, tokenizing
from benchmarks.figures import Book, Section, paragraphs
from benchmarks.processes import kept_to, two_cores

if TYPE_CHECKING:
    from benchmarks.operations import Operation
    from benchmarks.surroundings import Surroundings

QUANTITY: Final = "µs"

_METHOD: Final = paragraphs(
    """
Each operation is called in a loop, in one thread, on one core; a figure is the mean time of one call in a round. A
round goes once through all operations. Python's garbage collector stays on, as in the server. Batches are given per
token.

Stores are those of the embedded default: SQLite records (written to disk before a call returns) and grants, the audit
log as a file. A WSGI call is everything that happens between granian and the stores: Falcon, identity, the browser's
checks, JSON, metrics and access log.

Presigning: LunaCore and botocore sign the SSE-C headers along; minio-py cannot, and signs the URL only.
"""
)


def measure(surroundings: Surroundings) -> list[Section]:
    """Run the group."""
    core = two_cores().load
    with ExitStack() as stack:
        stack.enter_context(kept_to(core))
        surroundings.say("preparing")
        folder = surroundings.folder("core")
        operations = [
            *tokenizing.operations(stack, folder),
            *presigning.operations(),
            *jwts.operations(folder),
        ]
        counts = [_calibrate(one, surroundings.scale.core_seconds) for one in operations]
        book = Book()
        for number in surroundings.rounds():
            surroundings.say(f"round {number}")
            for operation, count in zip(operations, counts, strict=True):
                book.note(operation.name, QUANTITY, _seconds(operation, count) * 1e6 / operation.tokens)
    return [_section(book, surroundings, core)]


def _calibrate(operation: Operation, seconds: float) -> int:
    """How often to call it, so that it takes about ``seconds``."""
    count = 1
    while count < operation.limit:
        taken = _seconds(operation, count) * count
        if taken >= seconds / 4:
            wanted = int(seconds / (taken / count))
            return max(1, min(wanted, operation.limit))
        count *= 4
    return operation.limit


def _seconds(operation: Operation, count: int) -> float:
    """The mean time of one of ``count`` calls."""
    run = operation.prepare(count)
    gc.collect()
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) / count


def _section(book: Book, surroundings: Surroundings, core: int) -> Section:
    return Section(
        name="core",
        title="Operations in one process",
        method=_METHOD,
        settings={
            "rounds": surroundings.scale.rounds,
            "seconds_per_round": surroundings.scale.core_seconds,
            "core": core,
            "batch": tokenizing.BATCH,
        },
        figures=book.figures(),
        ratios=(
            book.ratio("presign: botocore ÷ LunaCore", *_of(presigning.BOTOCORE, presigning.LUNACORE)),
            book.ratio("presign: minio-py ÷ LunaCore", *_of(presigning.MINIO, presigning.LUNACORE)),
            book.ratio(
                "detokenize: single ÷ token of a batch", *_of(tokenizing.DETOKENIZE, tokenizing.DETOKENIZE_BATCH)
            ),
            book.ratio("tokenize: single ÷ token of a batch", *_of(tokenizing.TOKENIZE, tokenizing.TOKENIZE_BATCH)),
            book.ratio("WSGI call: /detokenize ÷ bare Falcon", *_of(tokenizing.WSGI_DETOKENIZE, tokenizing.WSGI_BARE)),
        ),
    )


def _of(above: str, below: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (above, QUANTITY), (below, QUANTITY)
