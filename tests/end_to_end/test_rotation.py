"""Keys change under load: a server of several workers goes on through it, and no request fails.

The commands are run as an operator runs them. The rewrap is killed in the middle, and the server is never restarted.
"""

from __future__ import annotations

import base64
import io
import os
import random
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

import httpx
import pytest

import lunacore
from lunacore import canary, key_use, keys, records
from lunacore import keyring as keyrings
from lunacore.config import Config
from lunacore.deployment import Opening
from lunacore.errors import IntegrityError
from lunacore.identity import Call, operator
from lunacore.keyring import KeyPurpose
from lunacore.records import RecordType
from lunacore.segments import OpenedSegments, Purpose
from lunacore.tickets import NewValue
from tests.command.running import PROGRAM
from tests.http.tokenizer_server import STRING, TokenizerServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lunacore.deployment import Deployment
    from lunacore.keyring import Keyring
    from lunacore.records import Record

RELOAD = 2
RECORDS = 3000
VALUES = 100
CLIENTS = 3
SECONDS = 120.0

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


class Traffic:
    """Clients that tokenize, upload, verify, grant, detokenize, read, and delete a few, until they are told to stop."""

    def __init__(self, server: TokenizerServer, known: dict[str, bytes]) -> None:
        self.server = server
        self.values = dict(known)
        self.failures: list[str] = []
        self.requests = 0
        self._stop = Event()
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(CLIENTS)

    def __enter__(self) -> Self:
        self._running = [self._pool.submit(self._run, number) for number in range(CLIENTS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for one in self._running:
            one.result()

    def _run(self, number: int) -> None:
        chance = random.Random(number)
        session = f"session-{number}"
        with httpx.Client(timeout=60) as http:
            while not self._stop.is_set():
                token = self._put(http, session, b"value %d" % chance.getrandbits(64))
                for one in (token, *chance.sample(sorted(self.values), 4)):
                    self._read(http, session, one)
                if chance.random() < 0.2:
                    with self._lock:
                        del self.values[token]
                    self._call(http, "/token/delete", {"tokenId": token}, self.server.application)

    def _put(self, http: httpx.Client, session: str, value: bytes) -> str:
        ticket = self._call(http, "/tokenize", {"metadata": STRING, "valueFormat": "raw"}, self.server.user_of(session))
        self._check(http.put(ticket["uploadUrl"], headers=ticket["headers"], content=value))
        body = {"sessionId": session, "tokenId": ticket["tokenId"]}
        if self._call(http, "/grant/verify", body, self.server.application) != {"valid": True}:
            self.failures.append("a grant that was just given is not valid")
        with self._lock:
            self.values[ticket["tokenId"]] = value
        return str(ticket["tokenId"])

    def _read(self, http: httpx.Client, session: str, token: str) -> None:
        expected = self.values.get(token)
        if expected is None:
            return  # another client has deleted it
        body = {"sessionId": session, "tokenId": token}
        answer = http.post(f"{self.server.url}/grant/set", json=body, headers=self.server.application)
        if token not in self.values:
            return
        self._check(answer)
        ticket = self._call(http, "/detokenize", {"tokenId": token}, self.server.user_of(session), token)
        if ticket is None:
            return
        found = http.get(ticket["downloadUrl"], headers=ticket["headers"])
        if token in self.values and (found.status_code, opened(found.content, ticket)) != (200, expected):
            self.failures.append(f"reading answered {found.status_code}")

    def _call(self, http: httpx.Client, path: str, body: Any, headers: dict[str, str], token: str = "") -> Any:
        answer = http.post(f"{self.server.url}{path}", json=body, headers=headers)
        if token and token not in self.values:
            return None
        self._check(answer)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def _check(self, answer: httpx.Response) -> None:
        self.requests += 1
        if answer.status_code != 200:
            self.failures.append(f"{answer.request.url.path} answered {answer.status_code}: {answer.text}")


def opened(content: bytes, ticket: dict[str, Any]) -> bytes:
    """The value as it was put, which the vault seals."""
    if "valueKey" not in ticket:
        return content
    key = base64.b64decode(ticket["valueKey"])
    return OpenedSegments(cast("BinaryIO", io.BytesIO(content)), key, Purpose.VALUE).read()


class Operator:
    """Runs ``lunacore keys …`` on the data directory of a server."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._environ = {**os.environ, "LUNACORE_KEYS_RELOAD_PERIOD": str(RELOAD)}

    def keys(self, *arguments: str) -> str:
        ended = subprocess.run(
            self._command(arguments), env=self._environ, capture_output=True, text=True, check=False, timeout=300
        )
        assert (ended.returncode, ended.stderr) == (0, ""), ended
        return ended.stdout

    def refused(self, *arguments: str) -> str:
        ended = subprocess.run(
            self._command(arguments), env=self._environ, capture_output=True, text=True, check=False, timeout=300
        )
        assert ended.returncode in (1, 4), ended
        return ended.stderr

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(self._command(arguments), env=self._environ, stdout=subprocess.PIPE, text=True)

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [str(PROGRAM), "--data", str(self.data), "keys", *arguments]


def fill(data: Path) -> dict[str, bytes]:
    """Values and, since only their number counts, tokens without values."""
    with lunacore.open_vault(data) as vault:
        for _ in range(RECORDS // 500):
            vault.deployment.tokenizer.issue(Call(operator("default")), [NewValue()] * 500)
        values = [b"before %d" % number for number in range(VALUES)]
        return {vault.put(value): value for value in values}


def stored_keyring(deployment: Deployment) -> Keyring:
    sealed = deployment.keyring_store.read()
    assert sealed is not None
    return keyrings.unseal(sealed, deployment.key_providers)


def tokens_records(deployment: Deployment) -> Iterator[Record]:
    return (one for one in key_use.every(deployment.records) if one.header.record_type is RecordType.TOKEN)


def opens_with(secret: bytes, record: Record) -> bool:
    _, _, sealed = records.split(record.body)
    try:
        keys.unseal(keys.outer_key(secret, record.name), sealed, record.body[: -len(sealed)])
    except IntegrityError:
        return False
    return True


def workers_of(process: subprocess.Popen[bytes]) -> set[int]:
    ended = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True)
    return {int(line) for line in ended.stdout.split()}


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_keys_change_under_load_and_no_request_fails(tmp_path: Path) -> None:
    data = tmp_path / "data"
    known = fill(data)
    shutil.copytree(data, tmp_path / "before")
    settings = {
        "keys": {"reload_period": RELOAD},
        "limits": {"session_reads": 0, "application_reads": 0},
        "tickets": {"upload_ttl": 60, "download_ttl": 60},
    }
    keeper = Operator(data)
    with TokenizerServer(tmp_path, workers=2, settings=settings) as server, Traffic(server, known) as traffic:
        assert server.process is not None
        workers = workers_of(server.process)
        with lunacore.open_vault(Config.from_mapping({"tokenizer": {"data_dir": str(data)}, **settings}, {})) as vault:
            deployment = vault.deployment
            old = stored_keyring(deployment).of_version(KeyPurpose.ROOT, 1).secret
            wait_for(lambda: traffic.requests > 50)

            keeper.keys("rotate", "--wait")
            keeper.refused("retire", "root", "1")
            kill_the_rewrap_in_the_middle(keeper, deployment)
            keeper.keys("rotate", "--purpose", "lookup")
            keeper.keys("rewrap", "--rate", "2000")
            for purpose in ("session", "gateway", "audit"):
                keeper.keys("rotate", "--purpose", purpose, "--wait")
            assert "records sealed anew" in keeper.keys("rewrap")
            keeper.keys("retire", "root", "1", "--wait")
            assert "still lie under version 1" in keeper.refused("retire", "lookup", "1")

            before = traffic.requests
            wait_for(lambda: traffic.requests > before + 100)
            assert workers_of(server.process) == workers
            check_all_is_new(deployment, old)
        assert "Traceback" not in server.log

    assert traffic.failures == []
    move_the_rest(keeper, data, traffic.values)
    restored_by_mistake(tmp_path)


def kill_the_rewrap_in_the_middle(keeper: Operator, deployment: Deployment) -> None:
    """With SIGKILL, once a third is done; what it was at is whole."""
    total = key_use.needing_root(deployment.records, 1)
    rewrap = keeper.begin("rewrap", "--rate", "500")
    try:
        wait_for(lambda: key_use.needing_root(deployment.records, 1) < total * 2 // 3)
    finally:
        rewrap.send_signal(signal.SIGKILL)
        rewrap.communicate()
    assert rewrap.returncode == -signal.SIGKILL
    assert 0 < key_use.needing_root(deployment.records, 1) < total
    for record in tokens_records(deployment):
        deployment.tokenizer.lookup.open(record)


def check_all_is_new(deployment: Deployment, old_root: bytes) -> None:
    """Every record stands under the new root, those that the workers have just made too, and the old one opens none."""
    found = list(tokens_records(deployment))
    assert len(found) > RECORDS + VALUES
    assert {one.header.root_version for one in found} == {2}
    assert not any(opens_with(old_root, one) for one in found)
    (tie,) = deployment.records.get([canary.NAME])
    assert tie is not None
    assert tie.header.root_version == 2


def move_the_rest(keeper: Operator, data: Path, values: dict[str, bytes]) -> None:
    """Every token that anybody still has is readable; the lookup secret goes when all of them were presented."""
    with lunacore.open_vault(data) as vault:
        for token, value in values.items():
            assert vault.get(token) == value
        left = key_use.count(vault.deployment.records).lookups[1]
        unpresented = [one for one in tokens_records(vault.deployment) if one.header.lookup_version == 1]
        assert len(unpresented) == left
        vault.deployment.records.delete([one.name for one in unpresented])
    assert "retired" in keeper.keys("retire", "lookup", "1", "--wait")
    with lunacore.open_vault(data) as vault:
        for token, value in values.items():
            assert vault.get(token) == value


def restored_by_mistake(folder: Path) -> None:
    """The keyring of before is refused with the records of now; with the records of before it is as good as ever."""
    opening = Opening(
        Config.from_mapping({"tokenizer": {"data_dir": str(folder / "before")}}, {}), time.time, os.urandom
    )
    opening.records().close()  # type: ignore[attr-defined]
    shutil.copy(folder / "before" / "keyring", folder / "data" / "keyring")
    assert "restore the newest keyring" in Operator(folder / "data").refused("list")
    Operator(folder / "before").keys("list")
