"""The server from outside: real processes, real sockets, real signals."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client.parser import text_string_to_metric_families

from lunacore.config import Config
from lunacore.errors import ConfigError, KeyringError, StoreUnavailable
from lunacore.testing.servers import free_port
from lunacore_http.operator_listener import OperatorListener, parse_address
from lunacore_http.server import _run, serve
from lunacore_http.wiring import get_app
from tests.http.tokenizer_server import STRING, TokenizerServer, exchange, opened, sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VALUE = "4111 1111 1111 1111 € ü".encode()
WAIT_SECONDS = 30.0


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """A server has its process to itself and arranges logging and workers for it; other tests do so in their own way."""
    method = multiprocessing.get_start_method(allow_none=True)
    loggers = [logging.getLogger(name) for name in ("lunacore", "_granian", "granian.access")]
    before = [(one.level, one.propagate, list(one.handlers), list(one.filters)) for one in loggers]
    yield
    for one, (level, propagate, handlers, filters) in zip(loggers, before, strict=True):
        one.setLevel(level)
        one.propagate, one.handlers, one.filters = propagate, handlers, filters
    multiprocessing.set_start_method(method, force=True)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"1", id="byte", marks=pytest.mark.long),
        pytest.param(VALUE, id="text", marks=pytest.mark.long),
        pytest.param(os.urandom(3_000_000), id="megabytes"),
    ],
)
@pytest.mark.parametrize("form", ["raw", "sealed-v1"])
def test_a_value_from_hand_to_hand(server: TokenizerServer, form: str, value: bytes) -> None:
    writer, reader = server.user_of("writer"), server.user_of("reader")
    ticket = server.data("/tokenize", {"metadata": STRING, "valueFormat": form, "size": len(value)}, writer)
    sent = sealed(value, ticket) if form == "sealed-v1" else value
    assert httpx.put(ticket["uploadUrl"], headers=ticket["headers"], content=sent).status_code == 200
    token = ticket["tokenId"]
    stored = {"sessionId": "writer", "tokenId": token}
    assert server.data("/grant/verify", stored, server.application) == {"valid": True}

    assert server.post("/detokenize", {"tokenId": token}, reader).json()["error"]["name"] == "grantMissing"
    server.data("/grant/set", {"sessionId": "reader", "tokenId": token}, server.application)
    download = server.data("/detokenize", {"tokenId": token}, reader)
    received = httpx.get(download["downloadUrl"], headers=download["headers"])
    assert received.status_code == 200
    assert (opened(received.content, download) if form == "sealed-v1" else received.content) == value
    assert server.data("/token/delete", {"tokenId": token}, server.application) == {}
    assert httpx.get(download["downloadUrl"], headers=download["headers"]).status_code == 404


def test_the_documented_exchange(server: TokenizerServer) -> None:
    user = server.user
    ticket = server.data("/tokenize", {"metadata": STRING}, user)
    httpx.put(ticket["uploadUrl"], headers=ticket["headers"], content=VALUE).raise_for_status()
    body = json.dumps({"tokenId": ticket["tokenId"]}).encode()
    headers = {"accept": "application/json", "content-type": "application/json", **user}
    answer = httpx.post(f"{server.url}/detokenize", content=body, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.headers["lunasec-session-hash"]) == 64
    envelope = answer.json()
    assert list(envelope) == ["success", "error", "data"]
    assert envelope["success"] is True
    assert set(envelope["data"]) == {"downloadUrl", "headers"}
    value = httpx.get(envelope["data"]["downloadUrl"], headers=envelope["data"]["headers"])
    assert value.content == VALUE


def test_a_ticket_permits_one_thing(server: TokenizerServer) -> None:
    ticket = server.data("/tokenize", {"metadata": STRING}, server.user)
    put = {"headers": ticket["headers"], "content": VALUE}
    assert httpx.put(ticket["uploadUrl"], **put).status_code == 200
    assert httpx.put(ticket["uploadUrl"], **put).status_code == 412
    download = server.data("/detokenize", {"tokenId": ticket["tokenId"]}, server.user)
    assert httpx.put(download["downloadUrl"], headers=download["headers"], content=b"other").status_code == 403
    assert httpx.get(download["downloadUrl"]).status_code in (400, 403)
    assert httpx.get(ticket["uploadUrl"], headers=ticket["headers"]).status_code == 403


def request(server: TokenizerServer, body: bytes, *headers: str) -> bytes:
    credential = server.application["authorization"]
    head = [
        "POST /token/delete HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        f"Authorization: {credential}",
        "Content-Type: application/json",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def test_a_body_in_chunks_is_refused(server: TokenizerServer) -> None:
    answer = exchange(server.port, request(server, b"2\r\n{}\r\n0\r\n\r\n", "Transfer-Encoding: chunked"))
    assert answer.startswith(b"HTTP/1.1 411 ")
    assert b'"name":"lengthRequired"' in answer


def test_a_body_too_large_is_refused_unread(server: TokenizerServer) -> None:
    answer = exchange(server.port, request(server, b"", f"Content-Length: {2 << 20}"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"name":"tooLarge"' in answer


def test_an_unknown_caller_is_not_waited_for(server: TokenizerServer) -> None:
    head = f"POST /tokenize HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {1 << 19}\r\n"
    assert exchange(server.port, f"{head}Connection: close\r\n\r\n".encode()).startswith(b"HTTP/1.1 401 ")


def test_callers_that_stall_hold_nobody_up(server: TokenizerServer) -> None:
    ticket = server.data("/tokenize", {"metadata": STRING}, server.user)
    stalled = request(server, b"{", "Content-Length: 100")
    put = f"PUT {ticket['uploadUrl'].removeprefix(server.url)} HTTP/1.1\r\nContent-Length: 100\r\n"
    put += "".join(f"{name}: {sent}\r\n" for name, sent in ticket["headers"].items())
    with ExitStack() as stack:
        for sent in [stalled, f"{put}\r\n".encode()] * 20:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(sent)
        for _ in range(20):
            assert server.data("/detokenize", {"tokenId": ticket["tokenId"]}, server.user)


@pytest.mark.parametrize("length", ["-1", "x", "2, 3"])
def test_a_length_that_is_none(server: TokenizerServer, length: str) -> None:
    assert exchange(server.port, request(server, b"{}", f"Content-Length: {length}")).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("path", [b"/%ff", b"/%00", b"/\xc3\xa9", b"/..%2f..%2fetc/passwd", b"//", b"*"])
@pytest.mark.parametrize("method", [b"GET", b"OPTIONS", b"WEBSOCKET", b"WHATEVER"])
def test_odd_requests_are_refused_politely(server: TokenizerServer, method: bytes, path: bytes) -> None:
    answer = exchange(server.port, method + b" " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 4")


# The operator's listener


def metrics_of(server: TokenizerServer) -> str:
    answer = httpx.get(f"{server.operations_url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text


def metric_values(server: TokenizerServer) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(metrics_of(server))
    return {
        (one.labels["call"], one.labels["outcome"]): one.value
        for family in families
        for one in family.samples
        if one.name == "lunacore_calls_total"
    }


def workers_of(server: TokenizerServer) -> list[int]:
    assert server.process is not None
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in command_line(child)]


def command_line(pid: str) -> bytes:
    """That of a process, empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_metrics_add_up_over_workers(server: TokenizerServer) -> None:
    before = metric_values(server).get(("/health", "ok"), 0.0)
    # Each on a connection of its own, which the kernel gives to either worker.
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: httpx.get(f"{server.url}/health").status_code, range(60)))
    assert answers == [200] * 60
    assert len(workers_of(server)) == 2
    assert metric_values(server)["/health", "ok"] == before + 60


def test_the_operators_listener_is_apart(server: TokenizerServer) -> None:
    for path in ("/ready", "/metrics", "/openapi.json"):
        assert httpx.get(f"{server.url}{path}").status_code == 404
        assert httpx.get(f"{server.operations_url}{path}").status_code == 200
    assert httpx.post(f"{server.operations_url}/tokenize", json={}).status_code == 404
    assert httpx.get(f"{server.operations_url}/openapi.json").json()["openapi"] == "3.1.0"
    assert httpx.post(f"{server.operations_url}/ready").status_code == 405


def test_readiness_names_what_is_broken(tmp_path: Path) -> None:
    with TokenizerServer(tmp_path) as server:
        ready = httpx.get(f"{server.operations_url}/ready")
        assert ready.status_code == 200
        assert set(ready.json()["data"]["checks"].values()) == {"ok"}

        objects, away = tmp_path / "data" / "objects", tmp_path / "away"
        objects.rename(away)
        broken = httpx.get(f"{server.operations_url}/ready")
        assert broken.status_code == 503
        assert "retry-after" in broken.headers
        assert broken.json()["error"]["name"] == "storeUnavailable"
        assert "objects:" in broken.json()["error"]["message"]
        assert "records:" not in broken.json()["error"]["message"]
        assert httpx.get(f"{server.url}/health").status_code == 200

        shutil.rmtree(objects, ignore_errors=True)
        away.rename(objects)
        assert httpx.get(f"{server.operations_url}/ready").status_code == 200


def test_problems_of_workers_and_of_the_main_process_are_counted(tmp_path: Path) -> None:
    with TokenizerServer(tmp_path, settings={"sweep": {"every": "1s"}}) as server:
        token = server.data("/tokenize", {"metadata": STRING}, server.application)["tokenId"]
        with closing(sqlite3.connect(tmp_path / "data" / "records.sqlite", isolation_level=None)) as database:
            database.execute("UPDATE records SET body = substr(body, 1, 40)")
        answer = server.post("/metadata/get", {"tokenId": token}, server.application)
        assert answer.status_code == 500
        assert 'lunacore_problems_total{event="internal_error",logger="lunacore.errors"} 1.0' in metrics_of(server)
        with closing(sqlite3.connect(tmp_path / "data" / "grants.sqlite", isolation_level=None)) as database:
            database.execute("DROP TABLE entries")
        failed = 'lunacore_main_problems_total{event="sweep_failed",logger="lunacore.sweep"}'
        wait_for(lambda: failed in metrics_of(server))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", ":37767", ""])
def test_an_operators_address_needs_host_and_port(address: str) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer\.operations"):
        parse_address(address)


def test_an_operators_listener_on_ipv6() -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    port = free_port()
    listener = OperatorListener(f"[::1]:{port}", application)
    listener.start()
    try:
        assert httpx.get(f"http://[::1]:{port}/").text == "ok"
    finally:
        listener.stop()


# Starting and stopping


def test_a_request_in_flight_is_answered_before_the_end(tmp_path: Path) -> None:
    with TokenizerServer(tmp_path, workers=2) as server, ExitStack() as stack:
        ticket = server.data("/tokenize", {"metadata": STRING, "size": len(VALUE)}, server.user)
        call = json.dumps({"metadata": STRING}).encode()
        head = f"POST /tokenize HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {server.user['cookie']}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(call)}\r\n\r\n"
        path = ticket["uploadUrl"].removeprefix(server.url)
        put = f"PUT {path} HTTP/1.1\r\nContent-Length: {len(VALUE)}\r\n"
        put += "".join(f"{name}: {sent}\r\n" for name, sent in ticket["headers"].items() if name != "content-length")

        calling = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_SECONDS))
        calling.sendall(head.encode() + call[:5])
        uploading = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_SECONDS))
        uploading.sendall(put.encode() + b"\r\n" + VALUE[:5])
        # Both are being worked on when one that came later has been answered by each worker.
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: httpx.get(f"{server.url}/health"), range(20)))

        server.terminate()
        wait_for(lambda: not accepts(server.port))
        calling.sendall(call[5:])
        uploading.sendall(VALUE[5:])
        assert b"200 OK" in calling.recv(65536)
        assert b"200 OK" in uploading.recv(65536)
        assert server.process is not None
        assert server.process.wait(WAIT_SECONDS) == 0


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_an_interrupt_ends_it_clean(tmp_path: Path) -> None:
    with TokenizerServer(tmp_path, workers=2) as server:
        assert server.process is not None
        pids = [server.process.pid, *workers_of(server)]
        with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_SECONDS):
            # A terminal sends it to all of them at once.
            for pid in pids:
                os.kill(pid, signal.SIGINT)
            assert server.process.wait(WAIT_SECONDS) == 0
        assert "Traceback" not in server.log
        assert "level=ERROR" not in server.log


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with TokenizerServer(tmp_path) as server:
        (worker,) = workers_of(server)
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: bool(workers_of(server)) and workers_of(server) != [worker] and accepts(server.port))
        assert server.data("/tokenize", {"metadata": STRING}, server.user)["tokenId"]
        server.terminate()
        assert server.process is not None
        assert server.process.wait(WAIT_SECONDS) == 0


def test_workers_do_not_outlive_the_main_process(tmp_path: Path) -> None:
    with TokenizerServer(tmp_path, workers=2) as server:
        workers = workers_of(server)
        assert server.process is not None
        assert len(workers) == 2
        server.process.kill()
        server.process.wait()
        wait_for(lambda: not any(is_running(pid) for pid in workers))
        wait_for(lambda: not accepts(server.port))


def is_running(pid: int) -> bool:
    """Whether the process runs; one that has ended and that nobody has asked about yet does not."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0] != "Z"
        )
    except OSError:
        return False


class _Ended:
    """Stands for granian after its workers have ended: were they told to?"""

    def __init__(self, *, interrupt_signal: bool) -> None:
        self.interrupt_signal = interrupt_signal

    def serve(self, **_: Any) -> None:
        raise SystemExit(1)


def test_only_workers_that_nobody_stopped_are_a_failure() -> None:
    _run(cast("Any", _Ended(interrupt_signal=True)), get_app)
    with pytest.raises(StoreUnavailable, match="workers"):
        _run(cast("Any", _Ended(interrupt_signal=False)), get_app)


def config(directory: Path, **tokenizer: Any) -> Config:
    settings = {
        "port": free_port(),
        "operations": f"127.0.0.1:{free_port()}",
        "data_dir": str(directory / "data"),
        **tokenizer,
    }
    return Config.from_mapping({"tokenizer": settings}, {})


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with taken_port() as port, pytest.raises(ConfigError, match=r"tokenizer\.port"):
        serve(config(tmp_path, port=port))


def test_a_taken_operators_address_is_named(tmp_path: Path) -> None:
    with taken_port() as port, pytest.raises(ConfigError, match=r"tokenizer\.operations"):
        serve(config(tmp_path, operations=f"127.0.0.1:{port}"))


def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.write_text("no certificate")
    for path in (certificate, tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match=r"tokenizer\.tls_certificate"):
            serve(config(tmp_path, tls_certificate=str(path), tls_key=str(path)))


def test_a_missing_keyring_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match=r"tokenizer\.seal"):
        serve(config(tmp_path, keyring=(tmp_path / "missing").as_uri()))


def test_another_server_can_load_the_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "luna.toml"
    path.write_text(f'[tokenizer]\ndata_dir = "{tmp_path / "data"}"\n')
    monkeypatch.setenv("LUNACORE_CONFIG", str(path))
    monkeypatch.setattr("lunacore_http.wiring.REGISTRY", None)
    assert callable(get_app())
    assert (tmp_path / "data" / "keyring").exists()


def make_certificate(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def test_tls(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    settings = {"tokenizer": {"tls_certificate": str(certificate), "tls_key": str(key)}}
    with TokenizerServer(tmp_path, settings=settings) as server:
        server.url = server.url.replace("http:", "https:")
        trusting = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(verify=trusting) as client:
            answer = client.post(f"{server.url}/tokenize", json={"metadata": STRING}, headers=server.user)
            assert answer.status_code == 200
            assert "strict-transport-security" in answer.headers
            ticket = answer.json()["data"]
            assert ticket["uploadUrl"].startswith("https://")
            assert client.put(ticket["uploadUrl"], headers=ticket["headers"], content=VALUE).status_code == 200
        assert httpx.get(f"{server.operations_url}/ready").status_code == 200


def test_the_log_holds_no_secret(tmp_path: Path) -> None:
    with TokenizerServer(tmp_path) as server:
        user, application = server.user, server.application
        ticket = server.data("/tokenize", {"metadata": STRING}, user)
        httpx.put(ticket["uploadUrl"], headers=ticket["headers"], content=VALUE).raise_for_status()
        download = server.data("/detokenize", {"tokenId": ticket["tokenId"]}, user)
        httpx.get(download["downloadUrl"], headers=download["headers"]).raise_for_status()
        server.post("/grant/set", {"tokenId": ticket["tokenId"], "sessionId": 1}, application)
        httpx.get(f"{server.url}/{ticket['tokenId']}?{ticket['tokenId']}")
        server.terminate()
        assert server.process is not None
        server.process.wait(WAIT_SECONDS)
        keys = [sent for name, sent in ticket["headers"].items() if "key" in name]
        credentials = [user["cookie"].partition("=")[2], application["authorization"].partition(" ")[2]]
        for secret in (ticket["tokenId"], "session-1", VALUE.decode(), "X-Amz-Signature", *keys, *credentials):
            assert secret not in server.log
        assert "route=/detokenize status=200 outcome=ok" in server.log
