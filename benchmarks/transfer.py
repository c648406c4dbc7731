"""Whole values, end to end: from a file to where they are kept, and back to a file (group ``transfer``)."""

from __future__ import annotations

import time
from contextlib import ExitStack
from statistics import median
from typing import TYPE_CHECKING, Final

from benchmarks import s3_servers
from benchmarks.figures import Book, Section, paragraphs
from benchmarks.processes import BenchmarkError, Cores, kept_to, two_cores
from benchmarks.tickets import TicketClient
from benchmarks.tokenizer_server import LIMITS, TokenizerServer
from benchmarks.ways import Direct, FileCopy, Library, Tickets
from lunacore.vault import open_vault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.figures import Ratio
    from benchmarks.s3_servers import S3Server
    from benchmarks.surroundings import Surroundings
    from benchmarks.ways import Way

UPLOAD: Final = "upload"
DOWNLOAD: Final = "download"
_MEGABYTE: Final = 1_000_000
_REPEATS: Final = 30
_UNITS: Final = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"), (1, "B"))

_METHOD: Final = paragraphs(
    """
A value goes from a file to where it is kept, then back into a file; what arrives is compared with what was sent. One
value at a time, from one client in Python on one core, servers on the other. A figure is the median of the repetitions
in a round; a round goes once through all ways. Sizes are in units of 1000. The page cache holds everything, so this is
the cost of the programs, plus one sync to the disk where a store makes it: file copy, library and gateway do.

Raw: the store is given the value, and encrypts it under the object's key (SSE-C). Sealed: the client seals the value
first, as LunaCore's own clients do, and the store encrypts it once more. Each includes its call of the tokenizer, as
the frame makes it; connections are kept open.

botocore alone: put_object and get_object with SSE-C straight to the same server, with botocore's defaults, which add a
checksum of the value and over plain HTTP a hash. SeaweedFS is reached by HTTP; MinIO by TLS, without which it takes no
customer keys.
"""
)


def measure(surroundings: Surroundings) -> list[Section]:
    """Run the group.

    Raises:
        BenchmarkError: a value did not come back as it was.
    """
    cores = two_cores()
    with ExitStack() as stack:
        stack.enter_context(kept_to(cores.load))
        folder = surroundings.folder("transfer")
        ways = list(_ways(stack, surroundings, folder, cores))
        books = {UPLOAD: Book(), DOWNLOAD: Book()}
        for number in surroundings.rounds():
            for size in surroundings.scale.sizes:
                source = surroundings.value_file(folder / "value", size)
                for way in ways:
                    surroundings.say(f"round {number}: {label(size)}, {way.name}")
                    _carry(books, way, source, size, surroundings.scale.transfer_seconds)
    missing = [reason for reason in s3_servers.available().values() if reason]
    names = [way.name for way in ways]
    return [_section(direction, book, names, surroundings, cores, missing) for direction, book in books.items()]


def label(size: int) -> str:
    """A size for people, in units of 1000."""
    unit, name = next((unit, name) for unit, name in _UNITS if size >= unit)
    return f"{size / unit:g} {name}"


def quantity(size: int) -> str:
    """What is told of a size: the time for small values, the rate for large ones."""
    return f"{label(size)}: {'MB/s' if size >= _MEGABYTE else 'ms'}"


def _ways(stack: ExitStack, surroundings: Surroundings, folder: Path, cores: Cores) -> Iterator[Way]:
    copies = folder / "copies"
    copies.mkdir()
    yield FileCopy(copies)
    yield Library(stack.enter_context(open_vault(folder / "library")))
    yield from _tickets("gateway", stack, TokenizerServer(folder / "gateway", core=cores.server))
    for name, reason in s3_servers.available().items():
        if reason:
            surroundings.say(f"without {name}: {reason}")
            continue
        server = stack.enter_context(s3_servers.start(name, folder / name, core=cores.server))
        yield Direct(server)
        yield from _s3_tickets(stack, folder / f"tokenizer-{name}", server, cores)


def _s3_tickets(stack: ExitStack, folder: Path, server: S3Server, cores: Cores) -> Iterator[Way]:
    tokenizer = TokenizerServer(
        folder,
        core=cores.server,
        objects=s3_servers.objects_setting(server),
        environment=s3_servers.credentials(server),
    )
    yield from _tickets(server.name, stack, tokenizer, server.ca)


def _tickets(name: str, stack: ExitStack, tokenizer: TokenizerServer, ca: Path | None = None) -> Iterator[Way]:
    stack.enter_context(tokenizer)
    client = TicketClient(ca)
    stack.callback(client.close)
    for form, value_format in (("raw", "raw"), ("sealed", "sealed-v1")):
        yield Tickets(f"{name}: LunaCore, {form}", tokenizer, client, value_format)


def _carry(books: Mapping[str, Book], way: Way, source: Path, size: int, seconds: float) -> None:
    """Carry a value there and back until ``seconds`` have passed, and note the medians."""
    there: list[float] = []
    back: list[float] = []
    received = source.with_name("received")
    ends = time.monotonic() + seconds
    while not there or (len(there) < _REPEATS and time.monotonic() < ends):
        started = time.perf_counter()
        with source.open("rb") as value:
            kept = way.put(value, size)
        arrived = time.perf_counter()
        with received.open("wb") as sink:
            way.get(kept, sink)
        back.append(time.perf_counter() - arrived)
        there.append(arrived - started)
        way.remove(kept)
    if not _same(source, received):
        raise BenchmarkError(f"{way.name}: a value of {label(size)} came back as another")
    books[UPLOAD].note(way.name, quantity(size), _amount(size, median(there)))
    books[DOWNLOAD].note(way.name, quantity(size), _amount(size, median(back)))


def _same(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        while piece := left.read(_MEGABYTE):
            if piece != right.read(_MEGABYTE):
                return False
    return True


def _amount(size: int, seconds: float) -> float:
    return size / seconds / _MEGABYTE if size >= _MEGABYTE else seconds * 1e3


def _section(
    direction: str, book: Book, names: Sequence[str], surroundings: Surroundings, cores: Cores, missing: Sequence[str]
) -> Section:
    scale = surroundings.scale
    return Section(
        name=f"transfer.{direction}",
        title=f"Whole values, end to end: {direction}",
        method=_METHOD,
        settings={
            "rounds": scale.rounds,
            "repetitions": f"up to {_REPEATS} within {scale.transfer_seconds} s",
            "sizes": list(scale.sizes),
            "server_core": cores.server,
            "client_core": cores.load,
            "cores_are_apart": cores.are_apart,
            "left_out": list(missing),
            "tokenizer_settings": LIMITS,
        },
        figures=book.figures(),
        ratios=tuple(_ratios(book, names, scale.sizes[-1])),
    )


def _ratios(book: Book, names: Sequence[str], size: int) -> Iterator[Ratio]:
    """LunaCore's ways to a store beside the plain way to it, for the largest value."""
    plain = {"gateway": FileCopy.name, "LunaCore library": FileCopy.name}
    plain |= {name: f"{name}: botocore alone" for name in s3_servers.available()}
    for name in names:
        other = plain.get(name.partition(":")[0])
        if other in (None, name):
            continue
        above, below = (name, other) if size >= _MEGABYTE else (other, name)
        yield book.ratio(f"speed at {label(size)}: {name} ÷ {other}", (above, quantity(size)), (below, quantity(size)))
