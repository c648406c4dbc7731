"""Outages, seen by HTTP clients: each is told as what it is, passes without a restart, and loses nothing.

A real tokenizer stands in front of real stores. Faults that no store of the tests shows by itself are put in by a proxy between the
two; full disks, locked databases, dead servers and expired credentials are real.
"""

from __future__ import annotations

import json
import re
import resource
import sqlite3
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.http.tokenizer_server import STRING, TokenizerServer
from tests.servers.faulty import CUT, as_it_is, faulty, refusal
from tests.servers.s3_server import ACCESS_KEY, SECRET_KEY, url
from tests.servers.s3_stores import new_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.faulty import Exchange
    from tests.servers.s3_server import S3Server
    from tests.servers.seaweedfs import SeaweedFS

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("s3_credentials")]

SESSION = "session-1"
VALUE = "Zażółć gęślą jaźń".encode()


def refused(answer: httpx.Response) -> str:
    """The message of an answer that must be a 503 ``storeUnavailable`` which says when to come back."""
    assert answer.status_code == 503, answer.text
    envelope = answer.json()
    error = envelope.pop("error")
    assert envelope == {"success": False, "data": {}}
    assert (error["name"], error["code"]) == ("storeUnavailable", "503")
    assert 0 < int(answer.headers["retry-after"]) <= 60
    assert "Traceback" not in error["message"]
    return str(error["message"])


class Client:
    """A browser and an application at one tokenizer."""

    def __init__(self, tokenizer: TokenizerServer, ca: Path | None = None) -> None:
        self.tokenizer = tokenizer
        trusted = ssl.create_default_context(cafile=str(ca)) if ca else True
        self._http = httpx.Client(verify=trusted, timeout=60)

    def close(self) -> None:
        self._http.close()

    def tokenize(self) -> httpx.Response:
        return self.tokenizer.post("/tokenize", {"metadata": STRING, "valueFormat": "raw"}, self.tokenizer.user)

    def detokenize(self, token: str) -> httpx.Response:
        return self.tokenizer.post("/detokenize", {"tokenId": token}, self.tokenizer.user)

    def verify(self, token: str) -> httpx.Response:
        return self._as_application("/grant/verify", token)

    def grant(self, token: str) -> httpx.Response:
        return self._as_application("/grant/set", token)

    def metadata(self, token: str) -> httpx.Response:
        return self.tokenizer.post("/metadata/get", {"tokenId": token}, self.tokenizer.application)

    def delete(self, token: str) -> httpx.Response:
        return self.tokenizer.post("/token/delete", {"tokenId": token}, self.tokenizer.application)

    def upload(self, ticket: dict[str, Any]) -> int:
        return self._http.put(ticket["uploadUrl"], headers=ticket["headers"], content=VALUE).status_code

    def put(self) -> str:
        """A token whose value is there and confirmed."""
        ticket = data(self.tokenize())
        assert self.upload(ticket) == 200
        assert data(self.verify(ticket["tokenId"])) == {"valid": True}
        return str(ticket["tokenId"])

    def get(self, ticket: dict[str, Any]) -> int:
        return self._http.get(ticket["downloadUrl"], headers=ticket["headers"]).status_code

    def read(self, token: str) -> bytes:
        ticket = data(self.detokenize(token))
        return self._http.get(ticket["downloadUrl"], headers=ticket["headers"]).raise_for_status().content

    def ready(self) -> httpx.Response:
        return httpx.get(f"{self.tokenizer.operations_url}/ready", timeout=60)

    def _as_application(self, path: str, token: str) -> httpx.Response:
        return self.tokenizer.post(path, {"sessionId": SESSION, "tokenId": token}, self.tokenizer.application)


def data(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


@contextmanager
def client_of(folder: Path, ca: Path | None = None, **tokenizer: str) -> Iterator[Client]:
    with TokenizerServer(folder, settings={"tokenizer": tokenizer}) as running, closing(Client(running, ca)) as client:
        yield client
        assert "internal_error" not in running.log
        assert "Traceback" not in running.log


class Faults:
    """What goes wrong at a store for now; nothing to begin with."""

    def __init__(self) -> None:
        self._answer: tuple[int, bytes] | None = None
        self._lost: Callable[[Exchange], bool] = lambda _: False
        self._awake = threading.Event()
        self._awake.set()

    @contextmanager
    def answering(self, status: int, body: bytes = b"") -> Iterator[None]:
        """The store does nothing, and answers this."""
        self._answer = (status, body)
        try:
            yield
        finally:
            self._answer = None

    @contextmanager
    def losing(self, which: Callable[[Exchange], bool]) -> Iterator[None]:
        """The store does what it is asked, but its answer to some calls never arrives."""
        self._lost = which
        try:
            yield
        finally:
            self._lost = lambda _: False

    @contextmanager
    def silent(self) -> Iterator[None]:
        """The store takes connections and answers nothing."""
        self._awake.clear()
        try:
            yield
        finally:
            self._awake.set()

    def refuse(self, method: str, path: str) -> tuple[int, bytes] | None:
        self._awake.wait(60)
        return self._answer

    def fault(self, exchange: Exchange) -> tuple[int, bytes]:
        return (CUT, b"") if self._lost(exchange) else as_it_is(exchange)


ANSWERS = {
    "busy": (503, refusal("SlowDown"), "overloaded or broken for now"),
    "broken": (500, refusal("InternalError"), "overloaded or broken for now"),
    "a proxy without a server": (502, b"<html>Bad Gateway</html>", r"HTTP status 502|\(502\)|does not speak S3"),
    "full": (507, refusal("XMinioStorageFull"), "the store is full; give it room or raise its quota"),
    "over its quota": (400, refusal("XMinioAdminBucketQuotaExceeded"), "the store is full"),
    "expired credentials": (400, refusal("ExpiredToken"), "the credentials have expired; renew them"),
    "withdrawn credentials": (403, refusal("InvalidAccessKeyId"), "check AWS_ACCESS_KEY_ID"),
    "withdrawn rights": (403, refusal("AccessDenied"), "the credentials may not do this"),
    "a wrong clock": (403, refusal("RequestTimeTooSkewed"), "the clocks of this host and of the service differ"),
    "no bucket": (404, refusal("NoSuchBucket"), "there is no such bucket"),
    "no answer": (CUT, b"", "the connection broke"),
}


# Objects in S3


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("seaweedfs", marks=pytest.mark.xdist_group("seaweedfs")),
        pytest.param("minio", marks=[pytest.mark.xdist_group("minio"), pytest.mark.long]),
    ],
)
def s3(request: pytest.FixtureRequest) -> S3Server:
    server: S3Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="module")
def faulty_objects(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Faults]]:
    """A tokenizer whose objects lie in an S3 server behind a proxy, which browsers use, too."""
    faults = Faults()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        with faulty(s3.endpoint, faults.fault, refuse=faults.refuse, ca=s3.ca) as endpoint:
            objects = url(s3, "plain", new_prefix(), endpoint=endpoint, timeout="1")
            with client_of(tmp_path_factory.mktemp("objects"), s3.ca, objects=objects) as client:
                yield client, faults


def check_objects_outage(client: Client, outage: Any, message: str) -> None:
    """Only what asks the object store is refused, and goes on as if nothing had been when the outage is over."""
    kept, unwanted = client.put(), client.put()
    with outage:
        # Tickets need no network.
        ticket = data(client.tokenize())
        data(client.detokenize(kept))
        assert re.search(message, refused(client.verify(ticket["tokenId"])))
        assert re.search(message, refused(client.ready()))
        # What was confirmed stays so, and what is erased is out of reach at once: its keys are. The sweep removes the object.
        assert data(client.verify(kept)) == {"valid": True}
        data(client.delete(unwanted))
        assert client.detokenize(unwanted).status_code == 403
        # What is only written down is done.
        data(client.grant(kept))
        data(client.metadata(kept))
    assert client.ready().status_code == 200
    assert data(client.verify(ticket["tokenId"])) == {"valid": False}
    assert client.upload(ticket) == 200
    assert data(client.verify(ticket["tokenId"])) == {"valid": True}
    assert client.read(kept) == client.read(ticket["tokenId"]) == VALUE
    data(client.delete(unwanted))
    assert client.metadata(unwanted).status_code == 404


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.long
def test_objects_refuse(faulty_objects: tuple[Client, Faults], kind: str) -> None:
    client, faults = faulty_objects
    status, body, message = ANSWERS[kind]
    check_objects_outage(client, faults.answering(status, body), message)


@pytest.mark.long
def test_objects_are_slow(faulty_objects: tuple[Client, Faults]) -> None:
    client, faults = faulty_objects
    check_objects_outage(client, faults.silent(), "no answer in 1 seconds; the service is overloaded")


@pytest.mark.long
def test_objects_are_slow_and_others_do_not_wait(faulty_objects: tuple[Client, Faults]) -> None:
    client, faults = faulty_objects
    kept, uploaded = client.put(), data(client.tokenize())
    assert client.upload(uploaded) == 200
    answers: list[httpx.Response] = []
    with faults.silent():
        verify = partial(client.verify, uploaded["tokenId"])
        waiting = [threading.Thread(target=lambda: answers.append(verify())) for _ in range(20)]
        for thread in waiting:
            thread.start()
        # More than the threads of the tokenizer wait for the store; calls that do not need it are answered meanwhile.
        data(client.detokenize(kept))
        data(client.tokenize())
        for thread in waiting:
            thread.join()
    assert len([refused(one) for one in answers]) == 20
    assert data(verify()) == {"valid": True}


@pytest.mark.long
def test_an_upload_that_the_store_refuses_can_be_repeated(faulty_objects: tuple[Client, Faults]) -> None:
    client, faults = faulty_objects
    ticket = data(client.tokenize())
    with faults.answering(507, refusal("XMinioStorageFull")):
        assert client.upload(ticket) == 507
    assert data(client.verify(ticket["tokenId"])) == {"valid": False}
    assert client.upload(ticket) == 200
    assert data(client.verify(ticket["tokenId"])) == {"valid": True}
    assert client.read(ticket["tokenId"]) == VALUE


def test_an_upload_whose_answer_is_lost_is_there(faulty_objects: tuple[Client, Faults]) -> None:
    client, faults = faulty_objects
    ticket = data(client.tokenize())
    with faults.losing(lambda exchange: exchange.method == "PUT"), pytest.raises(httpx.RemoteProtocolError):
        client.upload(ticket)
    assert client.upload(ticket) == 412
    assert data(client.verify(ticket["tokenId"])) == {"valid": True}
    assert client.read(ticket["tokenId"]) == VALUE


def test_a_deletion_whose_answer_is_lost_is_done(faulty_objects: tuple[Client, Faults]) -> None:
    client, faults = faulty_objects
    token = client.put()
    ticket = data(client.detokenize(token))
    with faults.losing(lambda exchange: exchange.method in ("POST", "DELETE")):
        data(client.delete(token))
    assert client.detokenize(token).status_code == 403
    assert client.get(ticket) in (404, 412)


@pytest.mark.long
@pytest.mark.xdist_group("seaweedfs")
def test_credentials_that_cannot_be_renewed(
    seaweedfs: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials of a program, as single sign-on has them: they expire, the program fails, and works again."""
    source = tmp_path / "credentials.json"

    def issue() -> None:
        # botocore renews what expires so soon whenever it is asked.
        expires = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
        made = {"Version": 1, "AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Expiration": expires}
        new = tmp_path / "new.json"
        new.write_text(json.dumps(made))
        new.replace(source)

    def until(client: Client, token: str, status: int) -> httpx.Response:
        # The tokenizer asks anew every ten seconds.
        deadline = time.monotonic() + 60
        while (answer := client.detokenize(token)).status_code != status:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        return answer

    issue()
    config = tmp_path / "aws"
    config.write_text(f"[default]\ncredential_process = cat {source}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with client_of(tmp_path, objects=url(seaweedfs, "plain", new_prefix())) as client:
        token, uploaded = client.put(), data(client.tokenize())
        assert client.upload(uploaded) == 200
        source.rename(tmp_path / "away")
        # No ticket is signed that could not be used.
        assert "credentials for S3 could not be had or renewed" in refused(until(client, token, 503))
        assert "could not be had or renewed" in refused(client.tokenize())
        assert "could not be had or renewed" in refused(client.verify(uploaded["tokenId"]))
        assert "could not be had or renewed" in refused(client.ready())
        assert SECRET_KEY not in client.tokenizer.log
        issue()
        until(client, token, 200)
        assert client.read(token) == VALUE
        assert data(client.verify(uploaded["tokenId"])) == {"valid": True}


# Records in S3


@pytest.fixture(scope="module")
def faulty_records(seaweedfs: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Faults]]:
    """A tokenizer whose records lie in an S3 server behind a proxy; its objects are local."""
    faults = Faults()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        with faulty(seaweedfs.endpoint, faults.fault, refuse=faults.refuse) as endpoint:
            records = url(seaweedfs, "plain", new_prefix(), endpoint=endpoint, timeout="1")
            with client_of(tmp_path_factory.mktemp("records"), records=records) as client:
                yield client, faults


def check_records_outage(client: Client, outage: Any, message: str) -> None:
    """Every call about a token is refused, none half done."""
    kept = client.put()
    with outage:
        for answer in (
            client.tokenize(),
            client.detokenize(kept),
            client.verify(kept),
            client.metadata(kept),
            client.delete(kept),
            client.ready(),
        ):
            assert re.search(message, refused(answer))
        assert httpx.get(f"{client.tokenizer.url}/health", timeout=60).status_code == 200
    assert client.ready().status_code == 200
    assert data(client.verify(kept)) == {"valid": True}
    assert client.read(kept) == VALUE
    assert client.read(client.put()) == VALUE
    data(client.delete(kept))


@pytest.mark.long
@pytest.mark.xdist_group("seaweedfs")
@pytest.mark.parametrize("kind", ANSWERS)
def test_records_refuse(faulty_records: tuple[Client, Faults], kind: str) -> None:
    client, faults = faulty_records
    status, body, message = ANSWERS[kind]
    check_records_outage(client, faults.answering(status, body), message)


@pytest.mark.long
@pytest.mark.xdist_group("seaweedfs")
def test_records_are_slow(faulty_records: tuple[Client, Faults]) -> None:
    client, faults = faulty_records
    check_records_outage(client, faults.silent(), "no answer in 1 seconds")


@pytest.mark.long
@pytest.mark.xdist_group("seaweedfs")
def test_a_record_whose_answer_is_lost_leaves_nothing_usable(faulty_records: tuple[Client, Faults]) -> None:
    client, faults = faulty_records
    with faults.losing(lambda exchange: exchange.method == "PUT"):
        refused(client.tokenize())
    token = client.put()
    with faults.losing(lambda exchange: exchange.method == "PUT"):
        # Whether it was switched to erasing is not known; a second call ends it, whichever it was.
        client.delete(token)
    data(client.delete(token))
    assert client.metadata(token).status_code == 404


# SQLite


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Somebody else writes and does not come to an end."""
    with closing(sqlite3.connect(database, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.execute("ROLLBACK")


@pytest.mark.long
@pytest.mark.parametrize("store", ["records", "grants"])
def test_a_locked_database(tmp_path: Path, store: str) -> None:
    with client_of(tmp_path) as client:
        kept = client.put()
        with locked(tmp_path / "data" / f"{store}.sqlite"):
            calls = [client.tokenize, partial(client.delete if store == "records" else client.grant, kept)]
            # Each waits for the other writer to end before it gives up.
            with ThreadPoolExecutor() as threads:
                answers = [*threads.map(lambda call: call(), calls)]
            for answer in answers:
                assert f"{store}: the database was locked" in refused(answer)
        assert client.read(kept) == VALUE
        assert client.read(client.put()) == VALUE


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "lunacore-tests", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system can be mounted by root only")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filling").open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 9, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def check_room_outage(client: Client, folder: Path, begin: Callable[[], None], end: Callable[[], None]) -> None:
    kept = [client.put() for _ in range(3)]
    ticket = data(client.tokenize())
    begin()
    told = [refused(client.tokenize()) for _ in range(5)]
    told += [refused(client.delete(kept[0])), refused(client.grant(kept[1]))]
    assert client.upload(ticket) == 503
    assert httpx.get(f"{client.tokenizer.url}/health", timeout=60).status_code == 200
    assert all("disk" in message or "audit" in message for message in told), told
    end()
    assert client.ready().status_code == 200
    assert [client.read(token) for token in kept] == [VALUE] * 3
    assert data(client.verify(ticket["tokenId"])) == {"valid": False}
    assert client.upload(ticket) == 200
    assert data(client.verify(ticket["tokenId"])) == {"valid": True}
    assert client.read(client.put()) == VALUE
    data(client.delete(kept[0]))
    # Whole lines, all of them.
    lines = (folder / "audit" / "audit.jsonl").read_bytes().splitlines()
    assert all(json.loads(line) for line in lines)
    for store in ("records", "grants"):
        with closing(sqlite3.connect(folder / f"{store}.sqlite")) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    folder = small_disk / "data"
    with client_of(tmp_path, data_dir=str(folder)) as client:
        check_room_outage(client, folder, lambda: fill(small_disk), (small_disk / "filling").unlink)


def processes_of(tokenizer: TokenizerServer) -> list[int]:
    assert tokenizer.process is not None
    pid = tokenizer.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


@pytest.mark.long
def test_files_that_may_not_grow(tmp_path: Path) -> None:
    folder = tmp_path / "data"

    with client_of(tmp_path) as client:

        def limit(size: int) -> None:
            for pid in processes_of(client.tokenizer):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        check_room_outage(client, folder, lambda: limit(1), lambda: limit(resource.RLIM_INFINITY))
