"""A TCP proxy for tests that want to see what passes on connections, hold it back or break them."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    Way = Callable[[socket.socket, socket.socket], None]

PIECE_BYTES: Final = 1 << 16


class TCPProxy:
    """Passes bytes on between clients and a server of 127.0.0.1, as a context manager.

    ``_up`` and ``_down`` are for a subclass to override: each runs in a thread for every connection, and when one of them returns
    or a socket fails, the connection is broken at both ends.

    Attributes:
        port: where it listens.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        # Closing a socket does not wake a thread that waits on it.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def cut(self) -> None:
        """Break all connections."""
        for one in list(self._open):
            break_off(one)

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on what the client sends."""
        while piece := client.recv(PIECE_BYTES):
            server.sendall(piece)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on what the server answers."""
        while piece := server.recv(PIECE_BYTES):
            client.sendall(piece)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                client.close()
                continue
            self._open |= {client, server}
            self._start(self._connect, client, server)

    def _connect(self, client: socket.socket, server: socket.socket) -> None:
        with client, server:
            up = self._start(_carry, self._up, client, server)
            _carry(self._down, client, server)
            # Only then may their numbers be given to other sockets.
            up.join()
            self._open -= {client, server}

    def _start(self, run: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread


def _carry(way: Way, client: socket.socket, server: socket.socket) -> None:
    with suppress(OSError):
        way(client, server)
    break_off(client)
    break_off(server)


def break_off(one: socket.socket) -> None:
    """End a connection in both directions, also for whoever waits on it."""
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
