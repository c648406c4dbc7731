"""What was verified, remembered within bounds."""

from __future__ import annotations

from threading import Lock
from typing import Generic, TypeVar

V = TypeVar("V")


class Remembered(Generic[V]):
    """What holds, by the SHA-256 of its JWT and the place that came from: the most recently used ones.

    Two dicts of half the size each: when the young one is full it becomes the old one, and what the old one held is forgotten
    unless it was used meanwhile. Reading takes no lock.
    """

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._lock = Lock()
        self._young: dict[tuple[bytes, str], V] = {}
        self._old: dict[tuple[bytes, str], V] = {}

    def get(self, name: tuple[bytes, str]) -> V | None:
        found = self._young.get(name)
        if found is not None:
            return found
        found = self._old.get(name)
        if found is not None:
            self.put(name, found)
        return found

    def put(self, name: tuple[bytes, str], verified: V) -> None:
        with self._lock:
            if len(self._young) >= self._half and name not in self._young:
                self._old, self._young = self._young, {}
            self._young[name] = verified

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
