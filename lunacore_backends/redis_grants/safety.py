"""Whether a Redis server keeps what it acknowledged. Some that are set up as caches do not, and what they drop may be a mark.

The mark of an ended session, and that of revoked grants, void grants that lie in the same store. If Redis evicts a mark, or
restarts from an older snapshot, what the mark had voided is valid again. So such servers are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from lunacore.errors import ConfigError, StoreUnavailable

if TYPE_CHECKING:
    from lunacore_backends.redis_grants.client import RedisClient

OLDEST_SERVER: Final = (6, 2)
"""The oldest version that is supported: GETDEL came with it."""

_NO_EVICTION: Final = "noeviction"


@frozen
class ServerState:
    """What a server says of itself (``INFO``); fields that it does not tell are empty or 0."""

    version: str
    mode: str
    eviction: str
    maxmemory: int
    used_memory: int
    evicted: int
    aof: bool
    aof_healthy: bool
    role: str

    @property
    def may_evict(self) -> bool:
        return self.maxmemory > 0 and self.eviction not in (_NO_EVICTION, "")

    @property
    def is_too_old(self) -> bool:
        numbers = [int(part) for part in self.version.split(".")[:2] if part.isdigit()]
        return len(numbers) == len(OLDEST_SERVER) and tuple(numbers) < OLDEST_SERVER

    @property
    def is_cluster(self) -> bool:
        return self.mode == "cluster"


def state_of(client: RedisClient) -> ServerState:
    """Ask the server.

    Raises:
        StoreUnavailable: it cannot be reached, or does not let this user ask.
    """
    told: dict[str, Any] = client.call("INFO", repeatable=True)
    return ServerState(
        version=str(told.get("redis_version", "")),
        mode=str(told.get("redis_mode", "")),
        eviction=str(told.get("maxmemory_policy", "")),
        maxmemory=int(told.get("maxmemory", 0)),
        used_memory=int(told.get("used_memory", 0)),
        evicted=int(told.get("evicted_keys", 0)),
        aof=told.get("aof_enabled") == 1,
        aof_healthy=told.get("aof_last_write_status", "ok") == "ok",
        role=str(told.get("role", "")),
    )


def refuse_forgetful(client: RedisClient) -> None:
    """Refuse a server that is not fit.

    Raises:
        ConfigError: it is too old, a cluster, evicts, or does not persist though ``persistence`` is required.
        StoreUnavailable: it cannot be reached.
    """
    settings = client.settings
    try:
        state = state_of(client)
    except StoreUnavailable as refusal:
        if "NOPERM" not in str(refusal.__cause__) and "may not do this" not in refusal.message:
            raise
        if settings.must_persist:
            raise ConfigError(
                f"{settings.setting}: {settings.shown}: the user may not ask for INFO, which tells whether the server keeps "
                "what it is given; allow it, or say persistence=unchecked and see to it yourself"
            ) from None
        return
    if state.is_too_old:
        raise ConfigError(f"{settings.setting}: {settings.shown}: Redis 6.2 or newer is needed, or Valkey")
    if state.is_cluster:
        raise ConfigError(
            f"{settings.setting}: {settings.shown}: clusters are not supported; use one server with replicas"
        )
    if state.may_evict:
        raise ConfigError(
            f"{settings.setting}: {settings.shown}: the server evicts entries when its memory is full (maxmemory-policy "
            f"{state.eviction}); an evicted mark would revive a session that was ended. Set maxmemory-policy noeviction"
        )
    if settings.must_persist and not state.aof:
        raise ConfigError(
            f"{settings.setting}: {settings.shown}: the server does not write down what it acknowledges (appendonly no), so a "
            "restart would revive sessions that were ended. Set appendonly yes, or say persistence=unchecked if replicas or "
            "the service see to it"
        )
