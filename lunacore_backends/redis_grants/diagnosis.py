"""The checkup of a Redis server behind ``lunacore doctor``: version, TLS, credentials, eviction, persistence, memory, clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunacore.diagnosis import ok, problem, warning
from lunacore.errors import LunaCoreError
from lunacore_backends import clocks
from lunacore_backends.redis_grants.safety import ServerState, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunacore.diagnosis import Circumstances, Finding
    from lunacore_backends.redis_grants.client import RedisClient
    from lunacore_backends.redis_grants.settings import RedisSettings

_NEARLY_FULL: Final = 0.8
_REVIVES: Final = "an evicted mark would revive a session that was ended"


def examine(client: RedisClient, circumstances: Circumstances) -> list[Finding]:
    """All findings about the server."""
    settings = client.settings
    findings: list[Finding] = [*_transport(settings)]
    try:
        findings.append(_clock(client, circumstances))
        state = state_of(client)
        findings += _server(settings.setting, state)
        findings += _memory(settings.setting, state)
        findings += _persistence(settings, state)
    except LunaCoreError as failure:
        findings.append(
            warning(
                settings.setting, failure.message, "let the user ask for INFO and TIME, and look at the server's log"
            )
        )
    return findings


def _transport(settings: RedisSettings) -> Iterator[Finding]:
    part = settings.setting
    if settings.tls:
        yield ok(part, "the connection is encrypted, and the server's certificate checked")
    elif settings.over_network:
        yield problem(
            part,
            "the connection to another machine is not encrypted: whoever is on the way reads the password and changes grants",
            "set up TLS at the server and write rediss://",
        )
    else:
        yield ok(part, "the server is on this machine")
    if settings.over_network and not (settings.password or settings.password_file):
        yield problem(
            part,
            "the server lets everyone on the network in without a password",
            "give LunaCore a user of its own (ACL SETUSER), and take the default user's rights away",
        )


def _server(part: str, state: ServerState) -> Iterator[Finding]:
    yield ok(part, f"Redis {state.version}")
    if state.role not in ("master", ""):
        yield problem(part, f"the server is a {state.role}, which takes no writes", "name the primary")


def _memory(part: str, state: ServerState) -> Iterator[Finding]:
    if state.may_evict:
        yield problem(
            part,
            f"the server evicts entries when its memory is full (maxmemory-policy {state.eviction}): {_REVIVES}",
            "set maxmemory-policy noeviction",
        )
    elif state.eviction not in ("noeviction", ""):
        yield warning(
            part,
            f"maxmemory-policy is {state.eviction}, which would evict entries as soon as maxmemory is set: {_REVIVES}",
            "set maxmemory-policy noeviction",
        )
    else:
        yield ok(part, "the server evicts nothing")
    if state.evicted:
        yield problem(
            part,
            f"the server has evicted {state.evicted} entries since it started: {_REVIVES}",
            "set maxmemory-policy noeviction, give it memory of its own, and let users log in again",
        )
    if state.maxmemory and state.used_memory > _NEARLY_FULL * state.maxmemory:
        yield warning(
            part,
            f"{100 * state.used_memory // state.maxmemory} % of maxmemory are in use; when it is full, no grant can be given",
            "raise maxmemory",
        )


def _persistence(settings: RedisSettings, state: ServerState) -> Iterator[Finding]:
    part = settings.setting
    if not state.aof:
        finding = problem if settings.must_persist else warning
        yield finding(
            part,
            "the server does not write down what it acknowledges (appendonly no): a restart loses grants, and revives sessions "
            "that were ended",
            "set appendonly yes, with appendfsync everysec or always",
        )
    elif not state.aof_healthy:
        yield problem(part, "the server could not write to its append-only file", "see its log and its disk")
    else:
        yield ok(part, "the server writes down what it acknowledges (AOF)")


def _clock(client: RedisClient, circumstances: Circumstances) -> Finding:
    before = circumstances.now()
    seconds, microseconds = client.call("TIME", repeatable=True)
    theirs = int(seconds) + int(microseconds) / 1e6
    return clocks.compared(client.settings.setting, theirs, before=before, after=circumstances.now())
