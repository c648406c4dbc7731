"""Requests over HTTP: ``/detokenize`` and ``/tokenize``, beside the floor and OpenBao's transit engine (group ``http``).

Every server on one and the same core, the load generator on the other, rounds interleaved.
"""

from __future__ import annotations

from contextlib import ExitStack
from io import BytesIO
from typing import TYPE_CHECKING, Final, TypeVar

import httpx
from attrs import frozen

from benchmarks import load, tokenizer_server
from benchmarks.bare_server import PATH as ECHO
from benchmarks.bare_server import BareServer
from benchmarks.fernet_server import FernetServer, read_request, write_request
from benchmarks.figures import Book, Section, paragraphs
from benchmarks.load import Request
from benchmarks.openbao import OpenBao
from benchmarks.processes import BenchmarkError, Server, two_cores
from benchmarks.tickets import TicketClient
from benchmarks.tokenizer_server import TokenizerServer, detokenize_request, tokenize_request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.figures import Ratio, Scale
    from benchmarks.processes import Cores
    from benchmarks.surroundings import Surroundings

T = TypeVar("T")

BATCH: Final = 100
IN_BATCHES: Final = f", {BATCH} a batch"
VALUE_BYTES: Final = 19
"""As many as a card number with its spaces has."""

RATE: Final = "requests/s"
TOKENS: Final = "tokens/s"
MEDIAN: Final = "p50 ms"
TAIL: Final = "p99 ms"
PROCESSOR: Final = "CPU µs/request"
FLOOR: Final = "bare Falcon: parse and echo"
DETOKENIZE: Final = "LunaCore /detokenize"
TOKENIZE: Final = "LunaCore /tokenize"
FEW_THREADS: Final = 2
DETOKENIZE_FEW: Final = f"{DETOKENIZE}, {FEW_THREADS} threads"
DECRYPT: Final = "OpenBao transit/decrypt"
ENCRYPT: Final = "OpenBao transit/encrypt"
COLUMN_READ: Final = "Fernet column: read"
COLUMN_WRITE: Final = "Fernet column: write"

_SESSIONS: Final = 50
_METHOD: Final = paragraphs(
    """
Each server runs on one core, the same for all, and wrk on another; while one is under load the others wait for
requests. A round goes once through all subjects. wrk is a closed loop, so p50 and p99 are those of a server that is
fully used.

LunaCore: the embedded default (SQLite records and grants, objects as files, audit log on), one worker, rate limits on
but out of reach. Requests come as the Secure Frame sends them: cookie, session hash, Sec-Fetch-Site. Tokens to read are
those of values that were uploaded and verified; each /tokenize writes its record to disk before it answers.

As many requests are worked on at once as tokenizer.threads says, 8 by default; one more tokenizer has 2.

Floor: a Falcon handler that parses the same requests and echoes them with msgspec, on the same granian with the same
options.

OpenBao: transit in development mode, which keeps everything in memory and writes no audit log. decrypt and encrypt
carry the value itself; LunaCore's calls hand out tickets, and the value goes to the object store and not through the
tokenizer.

Fernet column: a Falcon handler that encrypts into a column of SQLite and decrypts from it, on the same server. The
application holds the key and sees every value; there are no grants, no sessions and no audit log.
"""
)


@frozen
class Subject:
    """Who is put under load, and with what. ``tokens`` is how many each request is about."""

    name: str
    server: Server
    port: int
    requests: Path
    tokens: int


def measure(surroundings: Surroundings) -> list[Section]:
    """Run the group.

    Raises:
        BenchmarkError: a server did not start, or a request failed.
    """
    cores = two_cores()
    with ExitStack() as stack:
        subjects = _subjects(stack, surroundings, cores)
        surroundings.say("warming up")
        warm_up(subjects, cores, surroundings.scale)
        book = Book()
        for number in surroundings.rounds():
            for subject in subjects:
                surroundings.say(f"round {number}: {subject.name}")
                put_under_load(book, subject, cores, surroundings.scale)
    return [_section(book, surroundings, cores)]


def batch_of(name: str) -> str:
    """What a subject is called where its requests are batches."""
    return f"{name}{IN_BATCHES}"


def _subjects(stack: ExitStack, surroundings: Surroundings, cores: Cores) -> list[Subject]:
    folder = surroundings.folder("http")
    tokenizer = stack.enter_context(TokenizerServer(folder / "tokenizer", core=cores.server))
    bare = stack.enter_context(BareServer(folder / "bare", core=cores.server))
    bao = stack.enter_context(OpenBao(folder / "openbao", core=cores.server))
    column = stack.enter_context(FernetServer(folder / "fernet", core=cores.server))
    surroundings.say(f"putting {surroundings.scale.tokens} values away")
    kept = fill(tokenizer, surroundings.scale.tokens, surroundings.value)
    values = [surroundings.value(VALUE_BYTES) for _ in range(surroundings.scale.tokens)]
    ciphertexts = [one for some in _parts(values, BATCH) for one in bao.encrypt(some)]
    bao.check_decrypts(ciphertexts[0], values[0])

    def subject(name: str, server: Server, port: int, requests: Sequence[Request], tokens: int) -> Subject:
        file = folder / f"{len(list(folder.glob('*.requests')))}.requests"
        return Subject(name, server, port, load.write_requests(file, requests, port), tokens)

    found: list[Subject] = []
    for size in (1, BATCH):
        name = batch_of if size > 1 else str
        detokenize = [detokenize_request(headers, some) for headers, tokens in kept for some in _parts(tokens, size)]
        tokenize = [tokenize_request(headers, size) for headers, _ in kept]
        echo = [Request(ECHO, one.headers, one.body) for one in detokenize]
        check_request(tokenizer, detokenize[0])
        check_request(tokenizer, tokenize[0])
        found += [
            subject(name(FLOOR), bare.process, bare.port, echo, size),
            subject(name(DETOKENIZE), tokenizer.process, tokenizer.port, detokenize, size),
            subject(name(TOKENIZE), tokenizer.process, tokenizer.port, tokenize, size),
            subject(
                name(DECRYPT),
                bao.process,
                bao.port,
                [bao.decrypt_request(some) for some in _parts(ciphertexts, size)],
                size,
            ),
            subject(
                name(ENCRYPT), bao.process, bao.port, [bao.encrypt_request(some) for some in _parts(values, size)], size
            ),
        ]
    few = stack.enter_context(TokenizerServer(folder / "few", core=cores.server, stores={"threads": FEW_THREADS}))
    kept_by_few = fill(few, surroundings.scale.tokens, surroundings.value)
    singles = [detokenize_request(headers, [token]) for headers, tokens in kept_by_few for token in tokens]
    texts = [one.hex()[:VALUE_BYTES] for one in values]
    rows = column.write(texts)
    return [
        *found,
        subject(DETOKENIZE_FEW, few.process, few.port, singles, 1),
        subject(COLUMN_READ, column.process, column.port, [read_request(one) for one in rows], 1),
        subject(COLUMN_WRITE, column.process, column.port, [write_request(one) for one in texts], 1),
    ]


def fill(
    tokenizer: TokenizerServer, count: int, value: Callable[[int], bytes]
) -> list[tuple[Mapping[str, str], list[str]]]:
    """Put values away as frame and application do together; headers of each session and the tokens that it may read."""
    sessions = max(1, min(_SESSIONS, count // BATCH))
    return [_fill_session(tokenizer, f"session-{number}", count // sessions, value) for number in range(sessions)]


def _fill_session(
    tokenizer: TokenizerServer, session: str, count: int, value: Callable[[int], bytes]
) -> tuple[Mapping[str, str], list[str]]:
    headers = tokenizer.frame(session)
    tokens: list[str] = []
    client = TicketClient()
    while len(tokens) < count:
        size = min(BATCH, count - len(tokens))
        answered = tokenizer.data("/tokenize", {"items": [tokenizer_server.new_token()] * size}, headers)
        tickets = [one["data"] for one in answered["items"]]
        for ticket in tickets:
            client.upload(ticket, BytesIO(value(VALUE_BYTES)), VALUE_BYTES)
        new = [ticket["tokenId"] for ticket in tickets]
        told = tokenizer.data("/grant/verify", {"sessionId": session, "tokenIds": new}, tokenizer.application)
        if not all(one["data"]["valid"] for one in told["items"]):
            raise BenchmarkError("a value that was uploaded is not there")
        tokens += new
    client.close()
    return headers, tokens


def _parts(things: Sequence[T], size: int) -> list[Sequence[T]]:
    return [things[at : at + size] for at in range(0, len(things) - size + 1, size)]


def check_request(tokenizer: TokenizerServer, request: Request) -> None:
    """See that a request succeeds with every item of its batch, of which a status tells nothing."""
    answer = httpx.post(
        f"{tokenizer.url}{request.path}",
        content=request.body,
        headers={"content-type": "application/json", **request.headers},
        timeout=60,
    )
    tokenizer_server.check(request.path, answer)


def warm_up(subjects: Sequence[Subject], cores: Cores, scale: Scale) -> None:
    """Let every subject load what it loads at the first requests."""
    if scale.load_seconds < 1:
        return
    for subject in subjects:
        load.run(subject.requests, subject.port, core=cores.load, connections=scale.connections, seconds=1)


def put_under_load(book: Book, subject: Subject, cores: Cores, scale: Scale) -> None:
    """One round of one subject."""
    before = subject.server.cpu_seconds()
    told = load.run(
        subject.requests, subject.port, core=cores.load, connections=scale.connections, seconds=scale.load_seconds
    )
    used = subject.server.cpu_seconds() - before
    book.note(subject.name, RATE, told.requests_per_second)
    book.note(subject.name, TOKENS, told.requests_per_second * subject.tokens)
    book.note(subject.name, MEDIAN, told.p50 * 1e3)
    book.note(subject.name, TAIL, told.p99 * 1e3)
    book.note(subject.name, PROCESSOR, used / told.requests * 1e6)


def _section(book: Book, surroundings: Surroundings, cores: Cores) -> Section:
    scale = surroundings.scale
    return Section(
        name="http",
        title="Requests over HTTP, each server on one core",
        method=_METHOD,
        settings={
            "rounds": scale.rounds,
            "seconds_per_round": max(1, round(scale.load_seconds)),
            "connections": scale.connections,
            "server_core": cores.server,
            "load_core": cores.load,
            "cores_are_apart": cores.are_apart,
            "tokens": scale.tokens,
            "value_bytes": VALUE_BYTES,
            "batch": BATCH,
            "tokenizer_settings": tokenizer_server.LIMITS,
        },
        figures=book.figures(),
        ratios=_ratios(book),
    )


def _ratios(book: Book) -> tuple[Ratio, ...]:
    def rate(name: str, above: str, below: str, quantity: str = RATE, at_least: float | None = None) -> Ratio:
        return book.ratio(name, (above, quantity), (below, quantity), at_least=at_least)

    return (
        rate("/detokenize ÷ bare Falcon", DETOKENIZE, FLOOR, at_least=0.35),
        rate("/detokenize ÷ OpenBao decrypt", DETOKENIZE, DECRYPT, at_least=2.5),
        rate("/tokenize ÷ OpenBao encrypt", TOKENIZE, ENCRYPT),
        rate("/detokenize ÷ Fernet column: read", DETOKENIZE, COLUMN_READ),
        rate("/tokenize ÷ Fernet column: write", TOKENIZE, COLUMN_WRITE),
        book.ratio("p99 of /detokenize ÷ p99 of bare Falcon", (DETOKENIZE, TAIL), (FLOOR, TAIL), at_most=3.0),
        book.ratio("p99 of /detokenize: 2 threads ÷ 8", (DETOKENIZE_FEW, TAIL), (DETOKENIZE, TAIL)),
        rate("/detokenize: tokens/s in batches ÷ singles", batch_of(DETOKENIZE), DETOKENIZE, TOKENS, at_least=3.0),
        rate("/tokenize: tokens/s in batches ÷ singles", batch_of(TOKENIZE), TOKENIZE, TOKENS),
        rate("batches: /detokenize ÷ OpenBao decrypt", batch_of(DETOKENIZE), batch_of(DECRYPT)),
        rate("batches: /tokenize ÷ OpenBao encrypt", batch_of(TOKENIZE), batch_of(ENCRYPT)),
    )
