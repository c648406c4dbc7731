"""Servers in threads of this process, for what a test must look into, or tell what to answer."""

from __future__ import annotations

import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from tests.servers.startable import Startable

if TYPE_CHECKING:
    from http.server import HTTPServer
    from wsgiref.types import WSGIApplication


class ServedInThread(Startable):
    """A server that serves in a thread; it takes connections as soon as it is made.

    Attributes:
        port: where it listens.
    """

    def __init__(self, server: HTTPServer) -> None:
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        self.port = server.server_port

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def wsgi_server(application: WSGIApplication, port: int = 0) -> WSGIServer:
    """A server on 127.0.0.1 with a thread for each request, which says nothing of them."""
    return make_server("127.0.0.1", port, application, _ThreadingServer, _QuietHandler)


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass
