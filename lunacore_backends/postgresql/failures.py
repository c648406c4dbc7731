"""What went wrong at a PostgreSQL server, in LunaCore's words: which setting it concerns and how to mend it.

Conditions are told apart by SQLSTATE (PostgreSQL documentation, "PostgreSQL Error Codes"). What a server says is not passed on,
since it may quote what it was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg
from attrs import frozen

from lunacore.errors import StoreUnavailable

if TYPE_CHECKING:
    from lunacore_backends.postgresql.settings import PostgreSQLSettings

UNIQUE_VIOLATION: Final = "23505"
# The server has undone the statement, and asks that it be tried again.
TRY_AGAIN: Final = frozenset({"40001", "40P01"})
# The server will not become able to write while this connection lasts.
READ_ONLY: Final = "25006"

_NO_CONNECTION = (
    "no connection could be made in time; check the URL, firewall and network, and that the server does not hang"
)
_RIGHTS = "the user may not use the schema or its tables; grant it USAGE, SELECT, INSERT, UPDATE and DELETE"
_BUSY: Final = 1
_EXPLANATIONS: Final = {
    "25006": "the server takes no writes; it is a standby, or default_transaction_read_only is set",
    "28000": "the server does not let this user in from here; check user, pg_hba.conf and sslmode",
    "28P01": "the server refuses the password; check it",
    "3D000": "there is no such database; create it, or correct the URL",
    "3F000": "the schema is gone; restore it from a backup",
    "40001": "too many writers changed the same rows at once",
    "40P01": "too many writers changed the same rows at once",
    "42501": _RIGHTS,
    "42P01": "a table is gone; restore it from a backup, or restart LunaCore where there was nothing in it",
    "42703": "a table is not LunaCore's; name another schema",
    "53100": "the server's disk is full; nothing was written. Make room",
    "53200": "the server ran out of memory",
    "53300": "the server takes no more connections; raise max_connections, or lower pool",
    "55P03": "a row was locked for longer than lock_timeout; see pg_stat_activity for what holds it",
    "57014": "a statement took longer than timeout; the server is overloaded, or timeout too short",
    "57P01": "the server is shutting down",
    "57P02": "the server crashed and recovers",
    "57P03": "the server is starting up or recovers",
    "57P05": "the server closed the connection",
}
_CLASSES: Final = {
    "08": "the connection broke",
    "28": _EXPLANATIONS["28000"],
    "53": "the server lacks room, memory or connections",
    "57": "the server stopped the statement",
    "58": "the server's disk failed to read or write; check it and the server's log",
    "XX": "the server reports damage or a fault of its own; see its log",
}
_RETRY_SOON: Final = frozenset({"40001", "40P01", "53300", "55P03", "57P01", "57P02", "57P03"})


@frozen
class Failures:
    """Translates what calls to one server raise."""

    settings: PostgreSQLSettings

    def explained(self, error: psycopg.Error) -> StoreUnavailable | None:
        """The error to raise instead; None for what is a mistake of this program."""
        state = error.sqlstate
        if state is None:
            return self._of_connection(error) if isinstance(error, psycopg.OperationalError) else None
        explanation = _EXPLANATIONS.get(state) or _CLASSES.get(state[:2])
        if explanation is None:
            return None
        return self.unavailable(explanation, retry_after=_BUSY if state in _RETRY_SOON else 5)

    def unavailable(self, message: str, retry_after: int = 5) -> StoreUnavailable:
        """An outage."""
        return StoreUnavailable(f"{self.settings.setting}: {self.settings.shown}: {message}", retry_after=retry_after)

    def unanswered(self) -> StoreUnavailable:
        """The server was silent."""
        return self.unavailable(f"no answer in {self.settings.timeout:g} seconds; the server hangs or is out of reach")

    def read_only(self) -> StoreUnavailable:
        """The server would take no writes."""
        return self.unavailable(_EXPLANATIONS[READ_ONLY])

    def no_connection_made(self) -> StoreUnavailable:
        """The server lets those who connect wait."""
        return self.unavailable(_NO_CONNECTION)

    def no_connection_free(self) -> StoreUnavailable:
        """Other calls had all connections."""
        return self.unavailable(
            f"all {self.settings.pool} connections were in use for {self.settings.pool_timeout:g} seconds; "
            "raise pool, or find out what is slow",
            retry_after=_BUSY,
        )

    def _of_connection(self, error: psycopg.OperationalError) -> StoreUnavailable:
        """There is no code for what happens before or without the server, so libpq's text decides which hint helps."""
        text = str(error)
        for sign, explanation in _SIGNS.items():
            if sign in text:
                return self.unavailable(explanation)
        return self.unavailable("the connection broke")


# In this order: a text may hold several.
_SIGNS: Final = {
    "password authentication failed": _EXPLANATIONS["28P01"],
    "no password supplied": "the server wants a password; put it into the URL, PGPASSWORD, PGPASSFILE or password_file",
    "no pg_hba.conf entry": _EXPLANATIONS["28000"],
    "authentication failed": _EXPLANATIONS["28000"],
    "role ": "there is no such user, or it may not log in; check the URL",
    "too many clients": _EXPLANATIONS["53300"],
    "remaining connection slots": _EXPLANATIONS["53300"],
    "starting up": _EXPLANATIONS["57P03"],
    "shutting down": _EXPLANATIONS["57P01"],
    "recovery mode": _EXPLANATIONS["57P03"],
    "not accepting connections": _EXPLANATIONS["57P03"],
    "server does not support SSL": "the server offers no TLS; set it up there, or say sslmode=disable where the network is "
    "yours alone",
    "certificate verify failed": "the server's certificate cannot be trusted; name the CA that signed it with sslrootcert=",
    "does not match host name": "the server's certificate is for another host name; use the one that it is for",
    "root certificate file": "the file of sslrootcert cannot be read, and sslmode wants one",
    "SSL": "TLS could not be agreed on; check sslmode, sslrootcert, sslcert and sslkey",
    "session is read-only": _EXPLANATIONS["25006"],
    "does not exist": _EXPLANATIONS["3D000"],
    "could not translate host name": "the host name cannot be resolved; check the URL",
    "failed to resolve host": "the host name cannot be resolved; check the URL",
    "Connection refused": "nothing listens there; check the URL, and that the server runs",
    "No such file or directory": "there is no such socket; check the URL, and that the server runs",
    "timed out": _NO_CONNECTION,
}
