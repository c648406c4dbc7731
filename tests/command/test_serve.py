"""``lunacore serve`` and ``lunacore gateway``, as running programs."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from lunacore import Config, NewValue, open_deployment
from lunacore.identity import Call, operator
from lunacore.outcomes import only
from tests.command.running import GET, PROGRAM, TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.command.running import Lunacore

ENDING = "Ctrl-C ends it.\n"
ROUND_TRIP = re.compile(r"^\($.*?^\)$", re.MULTILINE | re.DOTALL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _addresses() -> dict[str, str]:
    return {
        "LUNACORE_TOKENIZER_PORT": str(_free_port()),
        "LUNACORE_TOKENIZER_OPERATIONS": f"127.0.0.1:{_free_port()}",
        "LUNACORE_GATEWAY_PORT": str(_free_port()),
    }


@contextmanager
def _running(
    lunacore: Lunacore, log: Path, environ: dict[str, str], command: str, last_line: str = "\n)\n"
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running program, and what it said when it was ready."""
    with log.open("w") as errors:
        program = subprocess.Popen(
            [PROGRAM, command],
            cwd=lunacore.directory,
            env=lunacore.environ(environ),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    assert program.stdout is not None
    said = ""
    while not said.endswith(last_line):
        line = program.stdout.readline()
        assert line, log.read_text()
        said += line
    try:
        yield program, said
    finally:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.stdout.close()
        program.wait()


def test_the_printed_round_trip_works_as_pasted_and_ctrl_c_ends_it(lunacore: Lunacore, tmp_path: Path) -> None:
    environ, log = _addresses(), tmp_path / "serve.log"
    with _running(lunacore, log, environ, "serve") as (program, said):
        assert f"http://127.0.0.1:{environ['LUNACORE_TOKENIZER_PORT']}\n" in said
        assert f"http://{environ['LUNACORE_TOKENIZER_OPERATIONS']}" in said
        pasted = ROUND_TRIP.search(said)
        assert pasted is not None
        # From anywhere, and without the server's environment.
        (tmp_path / "elsewhere").mkdir()
        ended = subprocess.run(
            ["bash"],
            input=pasted[0],
            capture_output=True,
            text=True,
            cwd=tmp_path / "elsewhere",
            env=lunacore.environ(),
            check=False,
        )
        lines = ended.stdout.splitlines()
        assert (ended.returncode, ended.stderr) == (0, "")
        assert lines[-1] == "4111 1111 1111 1111"
        assert [json.loads(line)["data"] for line in lines[:-1] if line] == [{"valid": True}, {}]
        # As a terminal does it: the workers get the signal too.
        os.killpg(program.pid, signal.SIGINT)
        assert program.wait(60) == 0
    logged = log.read_text()
    assert "Traceback" not in logged
    assert "4111 1111" not in logged + lunacore.audit()
    assert TOKEN.search((logged + lunacore.audit()).encode()) is None
    assert "eyJ" not in logged + said


def test_a_value_that_was_put_is_there_for_a_server_and_the_other_way_round(lunacore: Lunacore, tmp_path: Path) -> None:
    token = lunacore.put(b"value")
    with _running(lunacore, tmp_path / "serve.log", _addresses(), "serve") as (program, _):
        assert lunacore.ok(*GET, token) == b"value"
        other = lunacore.put(b"meanwhile")
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 0
    assert lunacore.ok(*GET, other) == b"meanwhile"


@pytest.mark.parametrize("setting", ["HOST=0.0.0.0", "HOST=::", "PUBLIC_URL=https://luna.example.com"])
def test_without_an_application_only_loopback_is_served(lunacore: Lunacore, setting: str) -> None:
    name, _, value = setting.partition("=")
    ended = lunacore("serve", environ=_addresses() | {f"LUNACORE_TOKENIZER_{name}": value})
    assert ended.code == 3
    assert f"tokenizer.{name.lower()} is {value}" in ended.err
    assert "[[identity]]" in ended.err
    assert not lunacore.data.exists()


def test_with_an_application_no_local_identity_is_made(lunacore: Lunacore, tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    provider = {"name": "app", "kind": "application", "issuer": "i", "jwks": (tmp_path / "jwks.json").as_uri()}
    environ = _addresses() | {"LUNACORE_IDENTITY": json.dumps([provider])}
    with _running(lunacore, tmp_path / "serve.log", environ, "serve", ENDING) as (_, said):
        assert "paste" not in said
    assert not (lunacore.data / "application.key").exists()


def test_a_taken_address_is_named(lunacore: Lunacore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = lunacore("serve", environ=_addresses() | {"LUNACORE_TOKENIZER_OPERATIONS": address})
    assert ended.code == 3
    assert "tokenizer.operations: cannot listen" in ended.err
    assert ended.out == b""


def test_a_gateway_on_its_own_serves_tickets_with_its_key_alone(lunacore: Lunacore, tmp_path: Path) -> None:
    lunacore.ok("keys", "init")
    lunacore.ok("keys", "export-gateway", "gateway.key")
    # The gateway's own machine: no keyring, no records.
    environ = _addresses() | {
        "LUNACORE_GATEWAY_KEY": "gateway.key",
        "LUNACORE_TOKENIZER_DATA_DIR": "gateway-data",
        "LUNACORE_TOKENIZER_OBJECTS": f"file://{tmp_path}/objects",
    }
    with _running(lunacore, tmp_path / "gateway.log", environ, "gateway", ENDING) as (program, said):
        url = f"http://127.0.0.1:{environ['LUNACORE_GATEWAY_PORT']}"
        assert f"{url}/objects" in said
        _send_through(lunacore, url, tmp_path)
        program.send_signal(signal.SIGINT)
        assert program.wait(60) == 0
    assert not (tmp_path / "gateway-data").exists()
    assert "Traceback" not in (tmp_path / "gateway.log").read_text()


def _send_through(lunacore: Lunacore, url: str, tmp_path: Path) -> None:
    given = {
        "tokenizer": {"data_dir": str(lunacore.data), "objects": f"file://{tmp_path}/objects"},
        "gateway": {"public_url": url},
    }
    deployment = open_deployment(Config.from_mapping(given, {}))
    call = Call(operator("default"))
    up = only(deployment.tokenizer.tokenize(call, [NewValue()]))
    assert _request(up.request.method, up.request.url, dict(up.request.headers), b"sealed")[0] == 200
    assert _request(up.request.method, up.request.url, {}, b"without its headers")[0] == 403
    down = only(deployment.tokenizer.detokenize(call, [up.token]))
    assert _request(down.request.method, down.request.url, dict(down.request.headers)) == (200, b"sealed")
    deployment.close()


def _request(method: str, url: str, headers: dict[str, str], body: bytes | None = None) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    connection.request(method, f"{parts.path}?{parts.query}", body=body, headers=headers)
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_gateway_without_objects_is_refused_and_makes_none(lunacore: Lunacore, tmp_path: Path) -> None:
    lunacore.ok("keys", "init")
    lunacore.ok("keys", "export-gateway", "gateway.key")
    environ = _addresses() | {"LUNACORE_GATEWAY_KEY": "gateway.key", "LUNACORE_TOKENIZER_DATA_DIR": "gateway-data"}
    ended = lunacore("gateway", environ=environ)
    assert (ended.code, ended.out) == (3, b"")
    assert "tokenizer.objects is missing; name the folder" in ended.err
    assert not (tmp_path / "gateway-data").exists()


@pytest.mark.long
def test_a_gateway_without_or_with_a_wrong_key_is_refused(lunacore: Lunacore) -> None:
    ended = lunacore("gateway")
    assert ended.code == 3
    assert "gateway.key is missing" in ended.err
    ended = lunacore("gateway", environ={"LUNACORE_GATEWAY_KEY": "nowhere"})
    assert ended.code == 3
    assert "lunacore keys export-gateway" in ended.err
    path = lunacore.directory / "gateway.key"
    path.touch(mode=0o600)
    for content in ("", "{}", "[]", '{"format": "lunacore-gateway-v2", "credentials": []}'):
        path.write_text(content)
        ended = lunacore("gateway", environ={"LUNACORE_GATEWAY_KEY": "gateway.key"})
        assert ended.code == 4
        assert "is no gateway key file" in ended.err
    path.chmod(0o644)
    ended = lunacore("gateway", environ={"LUNACORE_GATEWAY_KEY": "gateway.key"})
    assert ended.code == 4
    assert "chmod 600" in ended.err
