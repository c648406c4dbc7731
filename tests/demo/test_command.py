"""``lunacore demo`` as a program: how it starts, how it ends, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.command.running import Lunacore
from tests.demo.running import PATIENCE, Person, RunningDemo

if TYPE_CHECKING:
    from pathlib import Path


def _require_free(ports: tuple[int, ...]) -> None:
    for port in ports:
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


def _await_end(*processes: int) -> None:
    """Wait for processes that are not this one's children (pidfd_open)."""
    for process in processes:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(process)
            try:
                assert select.select([descriptor], [], [], PATIENCE)[0], f"process {process} goes on"
            finally:
                os.close(descriptor)


@pytest.mark.long
def test_it_serves_until_ctrl_c_goes_on_where_it_was_and_leaves_nothing_when_killed(tmp_path: Path) -> None:
    demo = RunningDemo(tmp_path)
    with demo:
        assert demo.url in demo.said
        assert demo.tokenizer_url in demo.said
        with Person(demo) as person:
            person.sign_up("ada")
        _calls_with_the_local_identity(demo)
        # As a terminal does it.
        os.killpg(demo.process.pid, signal.SIGINT)
        assert demo.process.wait(PATIENCE) == 0
        assert demo.errors() == ""
    _require_free(demo.ports)
    assert "Traceback" not in demo.logs()
    again = RunningDemo(tmp_path)
    with again:
        with Person(again) as person:
            assert person.log_in("ada").status_code == 303
        children = again.children()
        again.process.kill()
        _await_end(*children)
    _require_free(again.ports)


def _calls_with_the_local_identity(demo: RunningDemo) -> None:
    """What README shows with curl."""
    jwt = demo.lunacore.ok("jwt", "--role", "user", "--session", "s1", environ=demo.environ).decode().strip()
    answer = httpx.post(
        f"http://localhost:{demo.tokenizer_port}/tokenize",
        json={"metadata": {"dataType": "string"}},
        headers={"cookie": f"access_token={jwt}"},
        timeout=PATIENCE,
    )
    assert answer.status_code == 200
    assert answer.json()["data"]["uploadUrl"].startswith(f"{demo.tokenizer_url}/objects/")


@pytest.mark.long
def test_the_end_of_one_process_ends_all(tmp_path: Path) -> None:
    demo = RunningDemo(tmp_path)
    with demo:
        children = demo.children()
        assert len(children) == 2
        os.kill(children[1], signal.SIGKILL)
        assert demo.process.wait(PATIENCE) == 5
        assert re.fullmatch(r"lunacore: the demo's tokenizer has ended; .*/tokenizer\.log says why\n", demo.errors())
        _await_end(*children)
    _require_free(demo.ports)


@pytest.mark.parametrize(
    ("place", "setting"), [(0, "--port"), (1, "LUNACORE_TOKENIZER_PORT"), (2, "LUNACORE_TOKENIZER_OPERATIONS")]
)
def test_a_taken_port_is_named(tmp_path: Path, place: int, setting: str) -> None:
    demo = RunningDemo(tmp_path)
    port = demo.ports[place]
    with socket.create_server(("127.0.0.1", port)):
        ended = demo.lunacore(*demo.arguments, environ=demo.environ)
    assert (ended.code, ended.out) == (3, b"")
    assert f"port {port} on 127.0.0.1" in ended.err
    assert setting in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    "setting", ["TOKENIZER_PUBLIC_URL=https://luna.example.com", "TOKENIZER_HOST=0.0.0.0", "IDENTITY="]
)
def test_settings_of_others_are_refused(tmp_path: Path, setting: str) -> None:
    name, _, value = setting.partition("=")
    jwks = tmp_path / "jwks.json"
    jwks.write_text('{"keys": []}')
    value = value or json.dumps([{"name": "a", "kind": "application", "issuer": "i", "jwks": jwks.as_uri()}])
    lunacore = Lunacore(tmp_path)
    ended = lunacore("demo", environ={f"LUNACORE_{name}": value})
    assert ended.code == 3
    assert "leave" in ended.err
    assert not lunacore.data.exists()


def test_an_object_store_that_is_wrong_is_told_at_the_start(tmp_path: Path) -> None:
    demo = RunningDemo(tmp_path)
    ended = demo.lunacore(*demo.arguments, "--objects", "nonsense://x", environ=demo.environ)
    assert ended.code == 3
    assert "tokenizer.objects" in ended.err
    assert ended.err.count("\n") == 1
