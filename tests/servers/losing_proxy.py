"""A TCP proxy between a store and its server that loses connections, or the answers on them, when told to."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from tests.servers.tcp_proxy import PIECE_BYTES, TCPProxy, break_off

if TYPE_CHECKING:
    from collections.abc import Callable


class LosingProxy(TCPProxy):
    """Loses answers.

    Attributes:
        lose_answers: while it says so of what a client has sent, the server gets that, and then the connection is cut: the answer
            is lost.
    """

    def __init__(self, server_port: int) -> None:
        super().__init__(server_port)
        self.lose_answers: Callable[[bytes], bool] = lambda _: False

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        while sent := client.recv(PIECE_BYTES):
            lost = self.lose_answers(sent)
            if lost:
                # Nothing comes back from here on; the client learns of it by the cut alone.
                break_off(client)
            server.sendall(sent)
            if lost:
                # The server ends the statement before it finds out that nobody listens.
                server.shutdown(socket.SHUT_WR)
                while server.recv(PIECE_BYTES):
                    pass
                return
