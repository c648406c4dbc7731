"""What every server of the tests can do: run from ``start`` to ``stop``, or in a block."""

from __future__ import annotations

from typing import Self


class Startable:
    """A context manager by its ``start`` and ``stop``, which subclasses have."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and return when the server answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """End; what is on disk stays."""
        raise NotImplementedError
