"""Places to work at: how many requests a worker process works on at once."""

from __future__ import annotations

from collections import deque
from threading import Lock


class Workplaces:
    """As many places as ``count``; ``with`` takes one, waiting for it where none is free, and gives it back.

    Whoever has waited longest is next. With a semaphore, a thread that has just given its place back would take it again for its
    next request, before the one that it has woken runs at all, and under load some requests would wait for many others.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[Lock] = deque()
        self._lock = Lock()

    @property
    def free(self) -> int:
        """Places that nobody has."""
        return self._free

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    def __enter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = Lock()
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()  # until the place is handed over

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1
