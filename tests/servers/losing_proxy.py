"""A TCP proxy between a store and its server that loses connections, or what passes on them, when told to."""

from __future__ import annotations

import contextlib
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 65536


class LosingProxy:
    """Passes bytes on between clients and a server of 127.0.0.1, as a context manager.

    Attributes:
        lose_answers: while it says so of what a client has sent, the server gets that, and then the connection is cut: the answer
            is lost.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.lose_answers: Callable[[bytes], bool] = lambda _: False
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._silent = threading.Event()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        # Closing a socket does not wake a thread that waits on it.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def cut(self) -> None:
        """Break all connections."""
        for one in list(self._open):
            _break(one)

    def swallow(self) -> None:
        """From now on, let answers of the server vanish; connections stay."""
        self._silent.set()

    def hand_on(self) -> None:
        """Undo ``swallow``; what vanished is gone."""
        self._silent.clear()

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
            self._start(partial(self._forward, client, server))
            self._start(partial(self._backward, client, server))

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while sent := client.recv(_CHUNK):
                lost = self.lose_answers(sent)
                if lost:
                    # Nothing comes back from here on; the client learns of it by the cut alone.
                    _break(client)
                server.sendall(sent)
                if lost:
                    # The server ends the statement before it finds out that nobody listens.
                    server.shutdown(socket.SHUT_WR)
                    while server.recv(_CHUNK):
                        pass
                    break
        self._end(client, server)

    def _backward(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while answered := server.recv(_CHUNK):
                if not self._silent.is_set():
                    client.sendall(answered)
        self._end(client, server)

    def _end(self, *sockets: socket.socket) -> None:
        for one in sockets:
            _break(one)
            self._open.discard(one)
            one.close()

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()


def _break(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
