"""A TCP proxy that cuts connections where it is told to, for transfers that are interrupted."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from typing import Self

_PIECE_BYTES = 1 << 16
_HEAD = re.compile(rb"(?:GET|PUT) /objects/.*?\r\n\r\n", re.DOTALL)


class InterruptingProxy:
    """Passes on what it gets to ``port`` of 127.0.0.1, and what comes back.

    Attributes:
        port: where it listens.
        cut_down: after so many bytes to the browser the connection is cut, once for each number, in order.
        cut_up: the same for bytes from the browser.
        heads: the requests for objects, without their bodies.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut_down: list[int] = []
        self.cut_up: list[int] = []
        self.heads: list[str] = []
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []

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

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()
        for thread in self._threads:
            thread.join()

    def cut_all(self) -> None:
        """Cut all connections that are open."""
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _start(self, run: object, *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments)  # type: ignore[arg-type]  # a function of this class
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    near.close()
                    continue
                self._open += [near, far]
                self._start(self._carry, near, far, True)
                self._start(self._carry, far, near, False)

    def _carry(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        cuts = self.cut_up if up else self.cut_down
        passed = 0
        with suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                if up:
                    self.heads += [head.decode("latin-1") for head in _HEAD.findall(piece)]
                passed += len(piece)
                if cuts and passed >= cuts[0]:
                    del cuts[0]
                    break
                sink.sendall(piece)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        source.close()
