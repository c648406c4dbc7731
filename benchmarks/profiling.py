"""Where the time of a request goes, seen by looking at it again and again (group ``profile``).

The parts of ``core`` are measured one by one, which leaves out the calls between them. Here a timer interrupts whole calls, and
counts for each part of the program how often it was the one at work. That costs next to nothing, so nothing is distorted.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import tokenizing
from benchmarks.figures import Book, Section, paragraphs
from benchmarks.processes import kept_to, two_cores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType

    from benchmarks.operations import Operation
    from benchmarks.surroundings import Surroundings

SHARE: Final = "% of the time"
TIME: Final = "µs/request"
ELSEWHERE: Final = "elsewhere"

_PERIOD: Final = 0.001
"""Seconds between two looks; no divisor of what a call takes."""
_CALLS: Final = 50
"""Between two looks at the clock."""

# The first that stands in the path of a source file. What stands under none, such as the standard library and generated
# methods, counts for whoever has called it.
_AREAS: Final = {
    "audit log: chain, write": ("lunacore/audit", "auditsinks/"),
    "access log": ("/logging/", "lunacore_http/logs.py"),
    "metrics": ("prometheus_client/", "lunacore_http/metrics.py"),
    "Falcon": ("/falcon/",),
    "SQLite: read grants and records": ("lunacore_backends/sqlite",),
    "signed URL, ticket": (
        "lunacore/sigv4.py",
        "lunacore/ssec.py",
        "lunacore/tickets.py",
        "gateway_tickets.py",
        "sealed_objects.py",
    ),
    "identity, session, browser's checks": (
        "lunacore_http/identity/",
        "lunacore_http/browser.py",
        "lunacore_http/cookies.py",
        "lunacore/sessions.py",
        "lunacore/identity.py",
    ),
    "JSON, envelope, request id": ("lunacore_http/",),
    "grants, rate limits": ("lunacore/grants.py", "lunacore/limits.py"),
    "keys, record: derive, open": (
        "lunacore/keys.py",
        "lunacore/records.py",
        "lunacore/fields.py",
        "lunacore/lookup.py",
        "lunacore/tokens.py",
        "lunacore/keyring",
    ),
    "the tokenizer's own steps": ("lunacore/", "lunacore_backends/"),
}
_METHOD: Final = paragraphs(
    """
Calls of /detokenize through the WSGI application, as in the group core: one after the other, in one thread, on one core, with
the stores of the embedded default. A timer interrupts them a thousand times in a second; what was at work then is counted, C
code for the Python that has called it. µs/request is that share of the mean time of a call.

HTTP itself is not in it: granian parses requests and writes answers in Rust, outside of Python.
"""
)


def measure(surroundings: Surroundings) -> list[Section]:
    """Run the group."""
    core = two_cores().load
    book = Book()
    with ExitStack() as stack:
        stack.enter_context(kept_to(core))
        operations = tokenizing.operations(stack, surroundings.folder("profile"))
        (operation,) = [one for one in operations if one.name == tokenizing.WSGI_DETOKENIZE]
        for number in surroundings.rounds():
            surroundings.say(f"round {number}")
            _note(book, operation, surroundings.scale.load_seconds)
    return [_section(book, surroundings, core)]


def _note(book: Book, operation: Operation, seconds: float) -> None:
    run = operation.prepare(_CALLS)
    run()
    calls, started = 0, time.perf_counter()
    with _sampling() as seen:
        while time.perf_counter() - started < seconds:
            run()
            calls += _CALLS
    mean = (time.perf_counter() - started) / calls * 1e6
    total = max(1, seen.total())
    for area in (*_AREAS, ELSEWHERE):
        share = seen[area] / total
        book.note(area, SHARE, 100 * share)
        book.note(area, TIME, mean * share)


@contextmanager
def _sampling() -> Iterator[Counter[str]]:
    """Count which area is at work, in the main thread, whenever the timer goes off."""
    seen: Counter[str] = Counter()
    known: dict[str, str | None] = {}

    def look(_signal: int, frame: FrameType | None) -> None:
        seen[_area_at(frame, known)] += 1

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _PERIOD, _PERIOD)
    try:
        yield seen
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _area_at(frame: FrameType | None, known: dict[str, str | None]) -> str:
    while frame is not None:
        name = frame.f_code.co_filename
        if name not in known:
            known[name] = area_of(name)
        area = known[name]
        if area is not None:
            return area
        frame = frame.f_back
    return ELSEWHERE


def area_of(file: str) -> str | None:
    """The area that a source file belongs to; None for one that works for whoever has called it."""
    path = Path(file).as_posix()
    return next((area for area, parts in _AREAS.items() if any(part in path for part in parts)), None)


def _section(book: Book, surroundings: Surroundings, core: int) -> Section:
    settings: Mapping[str, object] = {
        "rounds": surroundings.scale.rounds,
        "seconds_per_round": surroundings.scale.load_seconds,
        "period_seconds": _PERIOD,
        "core": core,
    }
    return Section(
        name="profile",
        title="Where the time of a /detokenize goes",
        method=_METHOD,
        settings=settings,
        figures=book.figures(),
    )
