"""The audit log on streams and by syslog: the contract, real sockets, and what happens when nobody listens."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from lunacore.errors import AuditUnavailable, ConfigError
from lunacore.plugins import Surroundings, open_backend
from lunacore.testing.audit_sink import AuditSinkContract, make_event, mappings
from lunacore_backends.auditsinks.streams import StreamAudit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lunacore.audit import AuditEvent
    from lunacore.stores import AuditSink

SETTING = "tokenizer.audit"
MESSAGE = re.compile(
    rb"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (\S+) lunacore (\d+) ([a-z.]+) - (\{.*\})", re.DOTALL
)


def open_at(url: str) -> Any:
    return open_backend("audit", url, Surroundings(SETTING, lambda: 0.0, os.urandom))


def write_at(url: str, events: list[AuditEvent]) -> None:
    with closing(open_at(url)) as sink:
        sink.write(events)


def event_of(message: bytes) -> dict[str, Any]:
    found = MESSAGE.fullmatch(message)
    assert found is not None, message
    event: dict[str, Any] = json.loads(found[6])
    return event


class TestStream(AuditSinkContract):
    @pytest.fixture
    def open_sink(self, tmp_path: Path) -> Iterator[Callable[[], AuditSink]]:
        self.path = tmp_path / "stream"
        opened = []

        def open_one() -> AuditSink:
            opened.append(os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT))
            return StreamAudit(opened[-1], SETTING)

        yield open_one
        for descriptor in opened:
            os.close(descriptor)

    def recorded(self, sink: AuditSink) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_bytes().splitlines()]


class TestStreams:
    @pytest.mark.parametrize("name", ["stdout", "stderr"])
    def test_the_entry_points_lead_to_the_streams_of_the_process(self, name: str) -> None:
        program = (
            "from lunacore.plugins import *; from lunacore.testing.audit_sink import make_event\n"
            f"open_backend('audit', '{name}:', Surroundings('s', None, None)).write([make_event(1)])"
        )
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
        assert json.loads(getattr(ended, name)) == mappings([make_event(1)])[0]

    def test_a_batch_that_was_cut_off_goes_on_where_it_was(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        sink = StreamAudit(writing, SETTING)
        events = [make_event(number, reason="x" * 1000) for number in range(200)]
        with pytest.raises(AuditUnavailable, match="nothing is released"):
            sink.write(events)
        content = b""
        while True:
            content += os.read(reading, 1 << 20)
            try:
                sink.write(events)
                break
            except AuditUnavailable:
                continue
        os.close(writing)
        while piece := os.read(reading, 1 << 20):
            content += piece
        os.close(reading)
        assert content == b"".join(event.to_line() for event in events)

    def test_a_reader_that_went_away(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        with pytest.raises(AuditUnavailable):
            StreamAudit(writing, SETTING).write([make_event(1)])
        os.close(writing)

    def test_a_closed_stream(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        os.close(writing)
        with pytest.raises(AuditUnavailable):
            StreamAudit(writing, SETTING).probe()


class LocalSyslog:
    """A datagram socket as ``/dev/log`` is one, read as a syslog daemon reads it."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(0.2)
        self.messages: list[bytes] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.messages.append(self.socket.recv(1 << 20))
            except TimeoutError:
                continue

    def settled(self, count: int) -> list[bytes]:
        """The messages, when ``count`` have come."""
        while len(self.messages) < count:
            self._thread.join(0.01)
        return list(self.messages)

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self.socket.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[tuple[str, LocalSyslog]]:
    listener = LocalSyslog(tmp_path / "log")
    yield f"syslog://{tmp_path}/log", listener
    listener.close()


class TestLocalSyslog:
    def test_messages_are_those_of_rfc_5424(self, local: tuple[str, LocalSyslog]) -> None:
        url, listener = local
        refused = make_event(2)
        events = [make_event(1), evolve(refused, outcome="grantMissing")]
        write_at(url, events)
        messages = listener.settled(2)
        assert [event_of(message) for message in messages] == mappings(events)
        first, second = (MESSAGE.fullmatch(message) for message in messages)
        assert first is not None
        assert second is not None
        assert (first[1], second[1]) == (b"110", b"108")  # log audit; informational, warning
        assert first[2] == b"2023-11-14T22:13:21.250000Z"
        assert first[4] == str(os.getpid()).encode()
        assert first[5] == b"detokenize"

    def test_another_facility(self, local: tuple[str, LocalSyslog]) -> None:
        url, listener = local
        write_at(f"{url}?facility=local3", [make_event(1)])
        assert listener.settled(1)[0].startswith(b"<158>1 ")

    def test_threads(self, local: tuple[str, LocalSyslog]) -> None:
        url, listener = local
        sink = open_at(url)
        threads = [threading.Thread(target=sink.write, args=([make_event(number)],)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sink.close()
        numbers = {event_of(message)["detail"]["number"] for message in listener.settled(8)}
        assert numbers == set(range(8))

    def test_nobody_listens(self, tmp_path: Path) -> None:
        with pytest.raises(AuditUnavailable, match="nothing is released"):
            open_at(f"syslog://{tmp_path}/log")

    def test_a_daemon_that_is_started_anew(self, tmp_path: Path) -> None:
        first = LocalSyslog(tmp_path / "log")
        sink = open_at(f"syslog://{tmp_path}/log")
        sink.write([make_event(1)])
        first.settled(1)
        first.close()
        (tmp_path / "log").unlink()
        events = [make_event(2), make_event(3)]
        with pytest.raises(AuditUnavailable):
            sink.write(events)
        second = LocalSyslog(tmp_path / "log")
        sink.write(events)
        assert [event_of(message) for message in second.settled(2)] == mappings(events)
        second.close()
        sink.close()


class StreamSyslog:
    """A TCP or TLS server that takes messages by octet counting, for a number of connections."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self._context = context

    def take(self) -> tuple[socket.socket, Any]:
        """The next connection, and its messages."""
        connection, _ = self.server.accept()
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True)
        return connection, self._messages(connection)

    @staticmethod
    def _messages(connection: socket.socket) -> Iterator[bytes]:
        source = connection.makefile("rb")
        while count := source.read(1):
            while not count.endswith(b" "):
                count += source.read(1)
            yield source.read(int(count))


class TestSyslogServers:
    def test_tcp(self) -> None:
        listener = StreamSyslog()
        sink = open_at(f"syslog://127.0.0.1:{listener.port}")
        connection, messages = listener.take()
        events = [make_event(number, reason="ü" * number) for number in range(3)]
        sink.write(events)
        assert [event_of(next(messages)) for _ in range(3)] == mappings(events)
        # The server closes the connection, as at a restart; the next write makes another.
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()
        sink.write([make_event(9)])
        connection, messages = listener.take()
        assert event_of(next(messages)) == mappings([make_event(9)])[0]
        sink.close()
        connection.close()
        listener.server.close()
        with pytest.raises(AuditUnavailable):
            sink.write([make_event(10)])

    def test_udp(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.settimeout(60)
            write_at(f"syslog://127.0.0.1:{listener.getsockname()[1]}?transport=udp", [make_event(1)])
            assert event_of(listener.recv(1 << 16)) == mappings([make_event(1)])[0]

    def test_tls_with_a_ca_of_ones_own(self, certificate: tuple[Path, Path, Path]) -> None:
        chain, key, ca = certificate
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        listener = StreamSyslog(context)
        received: list[bytes] = []

        def serve() -> None:
            for attempt in range(2):
                try:
                    connection, messages = listener.take()
                except OSError:
                    continue  # the client that does not trust it
                received.append(next(messages))
                connection.close()
                assert attempt

        server = threading.Thread(target=serve)
        server.start()
        with pytest.raises(AuditUnavailable, match="certificate"):
            open_at(f"syslog://127.0.0.1:{listener.port}?transport=tls")
        sink = open_at(f"syslog://127.0.0.1:{listener.port}?transport=tls&ca={ca}")
        sink.write([make_event(1)])
        server.join(60)
        sink.close()
        listener.server.close()
        assert [event_of(message) for message in received] == mappings([make_event(1)])


@pytest.mark.parametrize(
    "url",
    [
        *(
            "stdout://x",
            "stdout:/x",
            "stderr:?a=b",
            "syslog:",
            "syslog:///",
            "syslog://host/path",
            "syslog://host:port",
        ),
        *("syslog://host?transport=http", "syslog:///dev/log?transport=tcp", "syslog:///dev/log?facility=kern"),
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=SETTING):
        open_at(url)
