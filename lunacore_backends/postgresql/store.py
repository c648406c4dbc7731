"""What the two stores in PostgreSQL share: how they open, close and are examined."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from lunacore_backends.postgresql import diagnosis, schema
from lunacore_backends.postgresql.connections import Connections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunacore.diagnosis import Circumstances, Finding
    from lunacore_backends.postgresql.schema import Layout
    from lunacore_backends.postgresql.settings import PostgreSQLSettings


class PostgreSQLStore:
    """Tables of one layout; a commit waits for the disk where they are ``durable``."""

    layout: ClassVar[Layout]
    durable: ClassVar[bool]

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @classmethod
    def open(cls, settings: PostgreSQLSettings) -> Self:
        """Connect, and bring the tables to this release's version.

        Raises:
            ConfigError: the schema cannot be used.
            StoreUnavailable: the server cannot be reached.
        """
        connections = Connections(settings, durable=cls.durable)
        try:
            schema.prepare(connections, cls.layout)
        except BaseException:
            connections.close()
            raise
        return cls(connections)

    def probe(self) -> None:
        self._connections.probe()

    def diagnose(self, circumstances: Circumstances) -> Sequence[Finding]:
        return diagnosis.examine(self._connections, self.layout, circumstances)

    def close(self) -> None:
        """Close the connections; calls after that raise ``StoreUnavailable``."""
        self._connections.close()
