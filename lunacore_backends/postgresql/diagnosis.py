"""The checkup of a PostgreSQL server behind ``lunacore doctor``: version, TLS, durability, rights, connections, clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

from lunacore.diagnosis import ok, problem, warning
from lunacore.errors import LunaCoreError
from lunacore_backends import clocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunacore.diagnosis import Circumstances, Finding
    from lunacore_backends.postgresql.connections import Connections
    from lunacore_backends.postgresql.schema import Layout

_WEAK_TLS: Final = ("allow", "prefer", "require")

_STATE: Final = """
    SELECT current_setting('server_version'), coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),
        current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
        current_setting('max_connections')::bigint, (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
        (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
        extract(epoch FROM clock_timestamp())::float8
"""


@frozen
class _State:
    """What a server says of itself."""

    version: str
    tls: bool
    fsync: str
    full_page_writes: str
    synchronous_commit: str
    max_connections: int
    connected: int
    superuser: bool
    clock: float


def examine(connections: Connections, layout: Layout, circumstances: Circumstances) -> list[Finding]:
    """All findings about the server of one store."""
    part = connections.settings.setting
    findings: list[Finding] = []
    try:
        before = circumstances.now()
        (row,) = connections.rows(_STATE, repeatable=True)
        after = circumstances.now()
        state = _State(*row)
        findings.append(
            ok(part, f"PostgreSQL {state.version}, schema {connections.settings.schema} at {layout.version}")
        )
        findings += _transport(part, connections, state)
        findings += _durability(part, layout, state)
        findings += _rights(part, state)
        findings += _room(part, connections, state)
        findings.append(clocks.compared(part, state.clock, before=before, after=after))
    except LunaCoreError as failure:
        findings.append(problem(part, failure.message, "see the server's log"))
    return findings


def _transport(part: str, connections: Connections, state: _State) -> Iterator[Finding]:
    if not connections.settings.over_network:
        yield ok(part, "the server is on this machine")
    elif not state.tls:
        yield problem(
            part,
            "the connection to another machine is not encrypted: whoever is on the way reads and changes what passes",
            "set up TLS at the server and say sslmode=verify-full&sslrootcert=FILE",
        )
    elif connections.settings.parameters.get("sslmode") in _WEAK_TLS:
        yield warning(
            part,
            "the connection is encrypted, but it is not looked at whose certificate the server has",
            "say sslmode=verify-full&sslrootcert=FILE",
        )
    else:
        yield ok(part, "the connection is encrypted, and the server's certificate checked")


def _durability(part: str, layout: Layout, state: _State) -> Iterator[Finding]:
    if state.fsync != "on" or state.full_page_writes != "on":
        yield problem(
            part,
            f"the server may lose or damage everything in a power failure: fsync is {state.fsync}, full_page_writes "
            f"{state.full_page_writes}",
            "set both on in postgresql.conf",
        )
    if layout.part == "grants":
        yield ok(part, "commits of grants do not wait for the disk; a crash of the server may take the last moments")
    elif state.synchronous_commit in ("on", "remote_apply"):
        yield ok(part, f"commits wait for the disk (synchronous_commit {state.synchronous_commit})")
    else:
        yield problem(
            part,
            f"commits do not wait for the disk (synchronous_commit {state.synchronous_commit})",
            "take synchronous_commit off the role and the database, and let no proxy change it",
        )


def _rights(part: str, state: _State) -> Iterator[Finding]:
    if state.superuser:
        yield warning(
            part,
            "the user is a superuser of the server",
            "give LunaCore a role of its own that may only use its schema",
        )


def _room(part: str, connections: Connections, state: _State) -> Iterator[Finding]:
    pool, most = connections.settings.pool, state.max_connections
    message = f"{state.connected} of {most} connections are in use; each process and store takes up to {pool} here"
    if state.connected + 2 * pool > most:
        yield warning(part, message, "raise max_connections, or lower tokenizer.threads or pool")
    else:
        yield ok(part, message)
