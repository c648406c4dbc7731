"""Places to work at: how many requests a worker process works on at once."""

from __future__ import annotations

from queue import SimpleQueue


class Workplaces(SimpleQueue[None]):
    """As many places as ``count``; ``with`` takes one, waiting for it where none is free, and gives it back.

    A queue of places does what a semaphore does, and the one that Python makes in C costs a fraction of ``threading``'s.
    """

    def __init__(self, count: int) -> None:
        for _ in range(count):
            self.put(None)

    def __enter__(self) -> None:
        self.get()

    def __exit__(self, *_: object) -> None:
        self.put(None)
