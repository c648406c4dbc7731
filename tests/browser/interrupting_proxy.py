"""A TCP proxy that cuts connections where it is told to, for transfers that are interrupted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.servers.tcp_proxy import PIECE_BYTES, TCPProxy

if TYPE_CHECKING:
    import socket

_HEAD = re.compile(rb"(?:GET|PUT) /objects/.*?\r\n\r\n", re.DOTALL)


class InterruptingProxy(TCPProxy):
    """Interrupts transfers.

    Attributes:
        cut_down: after so many bytes to the browser the connection is cut, once for each number, in order.
        cut_up: the same for bytes from the browser.
        heads: the requests for objects, without their bodies.
    """

    def __init__(self, server_port: int) -> None:
        super().__init__(server_port)
        self.cut_down: list[int] = []
        self.cut_up: list[int] = []
        self.heads: list[str] = []

    @property
    def ranges(self) -> list[str]:
        """What the requests for objects asked for: a range, or nothing."""
        found = [re.search(r"^range: *(\S+)", head, re.IGNORECASE | re.MULTILINE) for head in self.heads]
        return [one[1] if one else "" for one in found]

    def forget(self) -> None:
        """Cut nothing any more, and begin anew to note requests."""
        self.cut_down.clear()
        self.cut_up.clear()
        self.heads.clear()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        passed = 0
        while piece := client.recv(PIECE_BYTES):
            self.heads += [head.decode("latin-1") for head in _HEAD.findall(piece)]
            passed += len(piece)
            if _is_due(self.cut_up, passed):
                return
            server.sendall(piece)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        passed = 0
        while piece := server.recv(PIECE_BYTES):
            passed += len(piece)
            if _is_due(self.cut_down, passed):
                return
            client.sendall(piece)


def _is_due(cuts: list[int], passed: int) -> bool:
    """Whether the next cut is reached; it is used up then."""
    if not cuts or passed < cuts[0]:
        return False
    del cuts[0]
    return True
