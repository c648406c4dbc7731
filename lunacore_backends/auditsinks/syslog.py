"""The audit log by syslog: RFC 5424 messages to a local socket (``syslog:///dev/log``) or a server (``syslog://host:514``).

The message is the event's line. To a server it goes over TCP with octet counting (RFC 6587, section 3.4.1), over TLS (RFC 5425),
or, if one asks for it, by UDP (RFC 5426). No syslog transport is answered: what is sent is not proven to be kept.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from attrs import frozen

from lunacore.audit import ALLOWED
from lunacore.audit_chain import ChainedEvent
from lunacore.errors import AuditUnavailable, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore.audit import AuditEvent
    from lunacore.plugins import BackendURL, Surroundings

TIMEOUT: Final = 10.0
"""Seconds that connecting and each send may take."""

_PORTS: Final = {"tcp": 514, "udp": 514, "tls": 6514}
_FACILITIES: Final = {
    "user": 1,
    "daemon": 3,
    "auth": 4,
    "authpriv": 10,
    "audit": 13,
    **{f"local{number}": 16 + number for number in range(8)},
}
_INFORMATIONAL: Final = 6
_WARNING: Final = 4
_APPLICATION: Final = "lunacore"


def open_audit(url: BackendURL, surroundings: Surroundings) -> SyslogAudit:
    """The sink of a ``syslog:`` URL; options: ``transport`` (``tcp``, ``tls``, ``udp``), ``facility``, ``ca``.

    Raises:
        ConfigError: the URL is wrong.
        AuditUnavailable: the socket or server cannot be reached.
    """
    setting = surroundings.setting
    url.refuse_unknown_options(setting, "transport", "facility", "ca")
    facility = url.options.get("facility", "audit")
    if facility not in _FACILITIES:
        raise ConfigError(f"{setting}: facility must be one of {', '.join(_FACILITIES)}")
    sink = SyslogAudit(_address(url, setting), _FACILITIES[facility], setting)
    sink.probe()
    return sink


@frozen
class Address:
    """Where messages go: the path of a local socket, or host and port by one transport."""

    transport: str
    host: str = ""
    port: int = 0
    path: str = ""
    ca: str = ""

    @property
    def is_stream(self) -> bool:
        return self.transport in ("tcp", "tls")

    def connect(self) -> socket.socket:
        """A connected socket."""
        if self.transport == "local":
            local = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            return _connected(local, lambda: local.connect(self.path))
        if self.transport == "udp":
            family, kind, protocol, _, place = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_DGRAM)[0]
            remote = socket.socket(family, kind, protocol)
            return _connected(remote, lambda: remote.connect(place))
        stream = socket.create_connection((self.host, self.port), timeout=TIMEOUT)
        if self.transport == "tcp":
            return stream
        context = ssl.create_default_context(cafile=self.ca or None)
        try:
            return context.wrap_socket(stream, server_hostname=self.host)
        except OSError:
            stream.close()
            raise


class SyslogAudit:
    """A ``LineSink`` that sends each event as one message; a batch that failed goes on behind what was sent of it."""

    def __init__(self, address: Address, facility: int, setting: str) -> None:
        self._address = address
        self._facility = facility
        self._setting = setting
        self._lock = Lock()
        self._socket: socket.socket | None = None
        self._process = 0
        self._unsure: tuple[bytes, ...] = ()
        self._sent = 0

    def write(self, events: Sequence[AuditEvent | ChainedEvent]) -> None:
        lines = tuple([event.to_line() for event in events])
        with self._lock:
            if lines != self._unsure:
                self._unsure, self._sent = lines, 0
            try:
                for event, line in list(zip(events, lines, strict=True))[self._sent :]:
                    self._send(self._message(event, line[:-1]))
                    self._sent += 1
            except OSError as problem:
                raise self._failed(problem) from problem
            self._unsure = ()

    def probe(self) -> None:
        with self._lock:
            try:
                self._connection()
            except OSError as problem:
                raise self._failed(problem) from problem

    def close(self) -> None:
        """Close the connection; the next write makes another."""
        with self._lock:
            self._forget()

    def _send(self, message: bytes) -> None:
        connection = self._connection()
        if self._address.is_stream:
            connection.sendall(b"%d %b" % (len(message), message))
        else:
            connection.send(message)

    def _message(self, event: AuditEvent | ChainedEvent, line: bytes) -> bytes:
        told = event.event if isinstance(event, ChainedEvent) else event
        severity = _INFORMATIONAL if told.outcome == ALLOWED else _WARNING
        time = datetime.fromtimestamp(told.time, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        head = f"<{self._facility * 8 + severity}>1 {time} {_host()} {_APPLICATION} {os.getpid()} {told.action.value[:32]} - "
        return head.encode("ascii") + line

    def _connection(self) -> socket.socket:
        # A forked process must not share a stream with its parent; and a stream that the server closed would swallow a message.
        if self._socket is not None and (self._process != os.getpid() or self._was_closed(self._socket)):
            self._forget()
        if self._socket is None:
            self._socket, self._process = self._address.connect(), os.getpid()
            self._socket.settimeout(TIMEOUT)
        return self._socket

    def _was_closed(self, connection: socket.socket) -> bool:
        if self._address.transport != "tcp":
            return False
        connection.setblocking(False)
        try:
            return connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            connection.settimeout(TIMEOUT)

    def _failed(self, problem: OSError) -> AuditUnavailable:
        self._forget()
        return AuditUnavailable(
            f"{self._setting}: cannot send the audit log by syslog: {problem.strerror or problem}; "
            "nothing is released until it can be sent"
        )

    def _forget(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
        self._socket = None


def _address(url: BackendURL, setting: str) -> Address:
    if not url.host:
        if not url.path or url.path == "/" or "transport" in url.options:
            raise ConfigError(f"{setting} must be syslog:///dev/log or syslog://host:514")
        return Address("local", path=url.path)
    transport = url.options.get("transport", "tcp")
    if transport not in _PORTS:
        raise ConfigError(f"{setting}: transport must be one of {', '.join(_PORTS)}")
    if url.path.strip("/"):
        raise ConfigError(f"{setting}: there is a path behind the host")
    try:
        parts = urlsplit(f"//{url.host}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ConfigError(f"{setting} must be syslog:///dev/log or syslog://host:514")
    return Address(transport, host, port or _PORTS[transport], ca=url.options.get("ca", ""))


def _connected(made: socket.socket, connect: Callable[[], None]) -> socket.socket:
    try:
        connect()
    except OSError:
        made.close()
        raise
    return made


def _host() -> str:
    """HOSTNAME of RFC 5424, section 6.2.4: printable ASCII, ``-`` for none."""
    return "".join(character for character in socket.gethostname() if "!" <= character <= "~")[:255] or "-"
