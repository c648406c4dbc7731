"""The operator's listener: a small HTTP server in a thread of the main process (``docs/decisions`` says why there)."""

from __future__ import annotations

import logging
import socket
import socketserver
from threading import Thread
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast
from urllib.parse import urlsplit
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

from lunacore.errors import ConfigError

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

_LOG: Final = logging.getLogger("lunacore.operations")
_REQUEST_SECONDS: Final = 10.0
_SETTING: Final = "tokenizer.operations"


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # A listener that is restarted must not wait for old connections to be forgotten.
    allow_reuse_address = True

    def server_bind(self) -> None:
        # The base class would look the host's name up, which may take long and is of no use.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - the base class's
        _LOG.debug("event=connection_broken")


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Answer(ServerHandler):
    server_software = "LunaCore"


class _Handler(WSGIRequestHandler):
    timeout = _REQUEST_SECONDS

    def handle(self) -> None:
        """As the base class does, but without standard error and this process's environment in the request."""
        self.raw_requestline = self.rfile.readline(65537)
        if len(self.raw_requestline) > 65536:
            self.requestline = self.request_version = self.command = ""
            self.send_error(414)
            return
        if not self.parse_request():
            return
        handler = _Answer(
            cast("BinaryIO", self.rfile),
            cast("BinaryIO", self.wfile),
            self.get_stderr(),
            self.get_environ(),
            multithread=True,
        )
        handler.os_environ = {}
        handler.request_handler = self  # type: ignore[attr-defined]  # for log_request
        server = self.server
        if isinstance(server, WSGIServer):
            handler.run(server.get_app())  # type: ignore[arg-type]  # typeshed's Optional

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the base class's; the application logs
        pass


class OperatorListener:
    """Serves an application from ``start`` to ``stop``. The address is bound at once.

    Args:
        address: ``host:port``; IPv6 hosts in brackets.
        app: what to serve.

    Raises:
        ConfigError: the address is no such address, or is taken.
    """

    def __init__(self, address: str, app: WSGIApplication) -> None:
        host, port = parse_address(address)
        server = _Server6 if ":" in host else _Server
        try:
            self._server = server((host, port), _Handler)
        except OSError as problem:
            raise ConfigError(f"{_SETTING}: cannot listen on {address}: {problem.strerror}") from None
        self._server.set_app(app)
        self._thread = Thread(target=self._server.serve_forever, name="lunacore-operations", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more, and free the address."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of ``host:port``.

    Raises:
        ConfigError: it is no such address.
    """
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or port is None:
        raise ConfigError(f"{_SETTING} must be an address such as 127.0.0.1:37767")
    return host, port
