"""Several tokenizers on one PostgreSQL, one Redis and one object store, as behind a load balancer.

What one does the others see; one may be killed or added at any time; stores may go and come back, and nobody need restart anything.
"""

from __future__ import annotations

import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from lunacore.config import Config
from lunacore.deployment import init_keyring, open_deployment
from tests.end_to_end.wholeness import check_nothing_half_written
from tests.http.tokenizer_server import STRING, Issuer, TokenizerServer
from tests.servers.s3_server import ACCESS_KEY, SECRET_KEY
from tests.servers.s3_server import url as s3_url
from tests.servers.s3_stores import new_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lunacore.testing.database_servers import PostgreSQLServer, RedisServer
    from tests.servers.seaweedfs import SeaweedFS

pytestmark = [
    pytest.mark.servers,
    pytest.mark.xdist_group("seaweedfs"),
    pytest.mark.usefixtures("s3_credentials"),
]

# What browsers see: the load balancer. It is the audience of every JWT, whichever tokenizer gets it.
PUBLIC_URL = "http://localhost:37766"
RECOVERY_SECONDS = 60


class Fleet:
    """Tokenizers that share everything but their machine: data directory, port, audit file."""

    def __init__(self, folder: Path, records: str, grants: str, objects: str) -> None:
        self.folder = folder
        self.issuer = Issuer(folder)
        self.stores = {
            "public_url": PUBLIC_URL,
            "records": records,
            "grants": grants,
            "objects": objects,
            "keyring": "records:",
            "seal": (folder / "seal.key").as_uri(),
        }
        # One client: making one takes longer than most calls.
        self.http = httpx.Client(timeout=60)
        self._count = 0
        made = {**self.stores, "seal": f"{self.stores['seal']}?create=missing", "data_dir": str(folder / "first")}
        init_keyring(Config.from_mapping({"tokenizer": made}, {}))

    def member(self) -> TokenizerServer:
        """One more, not started yet."""
        self._count += 1
        directory = self.folder / f"machine{self._count}"
        directory.mkdir()
        server = TokenizerServer(directory, settings={"tokenizer": self.stores})
        server.config["identity"] = [self.issuer.settings]
        return server

    def config(self) -> Config:
        return Config.from_mapping({"tokenizer": {**self.stores, "data_dir": str(self.folder / "looker")}}, {})

    def user(self, session: str = "session-1") -> dict[str, str]:
        return {"cookie": f"access_token={self.issuer.user(PUBLIC_URL, session)}"}

    @property
    def application(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.issuer.application(PUBLIC_URL)}"}

    def post(self, at: TokenizerServer, path: str, body: Any, headers: dict[str, str]) -> httpx.Response:
        return self.http.post(f"{at.url}{path}", json=body, headers=headers)

    def data(self, at: TokenizerServer, path: str, body: Any, headers: dict[str, str]) -> Any:
        answer = self.post(at, path, body, headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def tokenize(self, at: TokenizerServer, session: str = "session-1") -> Any:
        return self.data(at, "/tokenize", {"metadata": STRING, "valueFormat": "raw"}, self.user(session))

    def verify(self, at: TokenizerServer, token: str, session: str = "session-1") -> Any:
        return self.data(at, "/grant/verify", {"sessionId": session, "tokenId": token}, self.application)

    def put(self, at: TokenizerServer, value: bytes, then_at: TokenizerServer | None = None) -> str:
        """A token whose value is there and confirmed."""
        ticket = self.tokenize(at)
        self.http.put(ticket["uploadUrl"], headers=ticket["headers"], content=value).raise_for_status()
        assert self.verify(then_at or at, ticket["tokenId"]) == {"valid": True}
        return str(ticket["tokenId"])

    def detokenize(self, at: TokenizerServer, token: str, session: str = "session-1") -> httpx.Response:
        return self.post(at, "/detokenize", {"tokenId": token}, self.user(session))

    def read(self, at: TokenizerServer, token: str, session: str = "session-1") -> bytes:
        answer = self.detokenize(at, token, session)
        assert answer.status_code == 200, answer.text
        ticket = answer.json()["data"]
        return self.http.get(ticket["downloadUrl"], headers=ticket["headers"]).raise_for_status().content


@pytest.fixture(scope="module")
def fleet(
    postgresql: PostgreSQLServer,
    redis_server: RedisServer,
    seaweedfs: SeaweedFS,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleet]:
    name = f"fleet_{os.urandom(4).hex()}"
    folder = tmp_path_factory.mktemp("fleet")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        fleet = Fleet(
            folder,
            postgresql.url(schema=name, timeout="2", connect_timeout="2"),
            redis_server.url(prefix=f"{name}:", timeout="2"),
            s3_url(seaweedfs, "plain", new_prefix()),
        )
        with fleet.http:
            yield fleet


@pytest.fixture(scope="module")
def pair(fleet: Fleet) -> Iterator[tuple[TokenizerServer, TokenizerServer]]:
    """Two that run."""
    with ExitStack() as stack:
        # Each takes its time to start.
        with ThreadPoolExecutor(2) as threads:
            first, second = threads.map(stack.enter_context, (fleet.member(), fleet.member()))
        yield first, second
        for one in (first, second):
            assert "internal_error" not in one.log
            assert "Traceback" not in one.log


@pytest.mark.long
def test_what_one_grants_the_other_honours(fleet: Fleet, pair: tuple[TokenizerServer, TokenizerServer]) -> None:
    first, second = pair
    token = fleet.put(first, b"value", then_at=second)
    assert fleet.read(second, token) == b"value"
    assert fleet.detokenize(second, token, "session-2").status_code == 403
    fleet.data(first, "/grant/set", {"sessionId": "session-2", "tokenId": token}, fleet.application)
    assert fleet.read(second, token, "session-2") == b"value"
    fleet.data(second, "/grant/revoke", {"sessionId": "session-2"}, fleet.application)
    assert fleet.detokenize(first, token, "session-2").status_code == 403


def test_a_session_that_one_ends_is_ended_for_the_other(
    fleet: Fleet, pair: tuple[TokenizerServer, TokenizerServer]
) -> None:
    first, second = pair
    session = f"session-{os.urandom(4).hex()}"
    token = fleet.put(first, b"value")
    fleet.data(first, "/grant/set", {"sessionId": session, "tokenId": token}, fleet.application)
    assert fleet.read(second, token, session) == b"value"
    fleet.data(first, "/session/end", {"sessionId": session}, fleet.application)
    assert fleet.detokenize(second, token, session).status_code in (401, 403)
    granted = fleet.post(second, "/grant/set", {"sessionId": session, "tokenId": token}, fleet.application)
    assert granted.status_code == 409


def test_a_token_that_one_erases_is_gone_for_the_other(
    fleet: Fleet, pair: tuple[TokenizerServer, TokenizerServer]
) -> None:
    first, second = pair
    token = fleet.put(first, b"value")
    fleet.data(first, "/token/delete", {"tokenId": token}, fleet.application)
    assert fleet.detokenize(second, token).status_code == 403


# Outages


def refused(answer: httpx.Response) -> str:
    """The message of an answer that must be a 503 which says when to come back."""
    assert answer.status_code == 503, answer.text
    assert answer.json()["error"]["name"] == "storeUnavailable"
    assert 0 < int(answer.headers["retry-after"]) <= 60
    return str(answer.json()["error"]["message"])


def ready(server: TokenizerServer) -> httpx.Response:
    return httpx.get(f"{server.operations_url}/ready", timeout=60)


def await_ready(server: TokenizerServer) -> None:
    deadline = time.monotonic() + RECOVERY_SECONDS
    while (answer := ready(server)).status_code != 200:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)


@contextmanager
def stopped(server: PostgreSQLServer | RedisServer) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def killed(server: PostgreSQLServer | RedisServer) -> Iterator[None]:
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextmanager
def paused(server: PostgreSQLServer | RedisServer) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


OUTAGES = {
    "stopped": (stopped, "nothing listens there"),
    "killed": (killed, "nothing listens there"),
    # A connection that is there gets no answer; none that is new can be made.
    "paused": (paused, "no answer in 2 seconds|no connection could be made in time|all [0-9]+ connections"),
}


@pytest.mark.parametrize(
    "how", ["stopped", *(pytest.param(how, marks=pytest.mark.long) for how in ("killed", "paused"))]
)
def test_postgresql_goes_and_comes_back(
    fleet: Fleet, pair: tuple[TokenizerServer, TokenizerServer], postgresql: PostgreSQLServer, how: str
) -> None:
    outage, message = OUTAGES[how]
    first, second = pair
    token = fleet.put(first, b"value")
    with outage(postgresql):
        body = {"metadata": STRING, "valueFormat": "raw"}
        # Each server is asked more than it has threads, so that none waits behind another without end.
        calls: list[Callable[[], httpx.Response]] = [
            *[partial(fleet.detokenize, at, token) for at in pair] * 12,
            *[partial(fleet.post, at, "/tokenize", body, fleet.user()) for at in pair],
        ]
        for answer in at_once(calls):
            assert re.search(message, refused(answer))
        for server in pair:
            assert re.search(f"records: tokenizer.records: .*({message})", refused(ready(server)))
            assert httpx.get(f"{server.url}/health", timeout=60).status_code == 200
    for server in pair:
        await_ready(server)
    assert fleet.read(second, token) == b"value"
    assert fleet.read(first, fleet.put(second, b"another")) == b"another"


@pytest.mark.parametrize(
    "how", ["stopped", *(pytest.param(how, marks=pytest.mark.long) for how in ("killed", "paused"))]
)
def test_redis_goes_and_comes_back(
    fleet: Fleet, pair: tuple[TokenizerServer, TokenizerServer], redis_server: RedisServer, how: str
) -> None:
    outage, message = OUTAGES[how]
    first, second = pair
    token = fleet.put(first, b"value")
    ended = f"session-{os.urandom(4).hex()}"
    fleet.data(first, "/session/end", {"sessionId": ended}, fleet.application)
    with outage(redis_server):
        for answer in at_once([partial(fleet.detokenize, at, token) for at in pair] * 12):
            assert re.search(message, refused(answer))
        for server in pair:
            assert re.search(f"grants: tokenizer.grants: .*({message})", refused(ready(server)))
    for server in pair:
        await_ready(server)
    # What Redis had acknowledged it still has, unless it was killed in the second that it may lose.
    if how != "killed":
        assert fleet.read(second, token) == b"value"
        answer = fleet.post(second, "/grant/set", {"sessionId": ended, "tokenId": token}, fleet.application)
        assert answer.status_code == 409
    assert fleet.read(first, fleet.put(second, b"another")) == b"another"


def at_once(calls: Sequence[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(calls)) as threads:
        return [*threads.map(lambda call: call(), calls)]


# One dies, one is added


class Load:
    """Threads that put values away at whichever tokenizer answers; what was acknowledged is kept."""

    def __init__(self, fleet: Fleet, servers: list[TokenizerServer], threads: int) -> None:
        self.fleet = fleet
        self.servers = servers
        self.acknowledged: dict[str, bytes] = {}
        self.by_server: dict[int, int] = {}
        self.wrong: list[str] = []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        while not self._stopping.is_set():
            number += 1
            server = self.servers[number % len(self.servers)]
            value = os.urandom(32)
            try:
                token = self.fleet.put(server, value)
            except httpx.TransportError:
                # The killed one; a load balancer would ask another.
                continue
            except Exception as error:
                self.wrong.append(repr(error))
                return
            self.acknowledged[token] = value
            self.by_server[server.port] = self.by_server.get(server.port, 0) + 1

    def until(self, server: TokenizerServer, count: int) -> None:
        """Wait until a server has done so much more."""
        wanted = self.by_server.get(server.port, 0) + count
        pause = threading.Event()
        while self.by_server.get(server.port, 0) < wanted and not self.wrong:
            pause.wait(0.05)


def kill(server: TokenizerServer) -> None:
    assert server.process is not None
    pid = server.process.pid
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    for one in (pid, *children):
        with suppress(ProcessLookupError):
            os.kill(one, 9)


@pytest.mark.long
def test_one_is_killed_and_one_is_added_under_load(fleet: Fleet) -> None:
    with ExitStack() as stack:
        doomed, steady = (stack.enter_context(fleet.member()) for _ in range(2))
        load = Load(fleet, [doomed, steady], threads=2)
        load.start()
        try:
            load.until(doomed, 5)
            kill(doomed)
            load.until(steady, 5)
            added = stack.enter_context(fleet.member())
            load.servers = [steady, added]
            load.until(added, 5)
        finally:
            load.stop()
        assert load.wrong == []
        with ThreadPoolExecutor(4) as threads:
            values = [*threads.map(lambda token: fleet.read(added, token), load.acknowledged)]
        assert values == [*load.acknowledged.values()]
        with closing(open_deployment(fleet.config())) as deployment:
            check_nothing_half_written(deployment, len(load.acknowledged))
