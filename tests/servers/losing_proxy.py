"""A TCP proxy between a store and its server that loses connections, or the answers on them, when told to."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from tests.servers.tcp_proxy import PIECE_BYTES, TCPProxy

if TYPE_CHECKING:
    from collections.abc import Callable


class LosingProxy(TCPProxy):
    """Loses answers.

    Attributes:
        lose_answers: while it says so of what a client has sent, the server gets that and ends it, and then the connection is cut:
            the answer is lost.
    """

    def __init__(self, server_port: int) -> None:
        super().__init__(server_port)
        self.lose_answers: Callable[[bytes], bool] = lambda _: False
        self._losing: set[socket.socket] = set()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        while sent := client.recv(PIECE_BYTES):
            if self.lose_answers(sent):
                self._losing.add(server)
                server.sendall(sent)
                # The server ends the statement before it finds out that nobody listens. Only then may the client learn of the cut:
                # what it does next would else come before the statement.
                server.shutdown(socket.SHUT_WR)
                while server.recv(PIECE_BYTES):
                    pass
                return
            server.sendall(sent)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        while piece := server.recv(PIECE_BYTES):
            if server not in self._losing:
                client.sendall(piece)
