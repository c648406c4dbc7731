"""Grants, states, marks and counters in Redis or Valkey: one string each, which Redis removes by itself.

A value is kept behind the Unix second from which it is gone, 8 bytes. That second and the caller's ``now`` decide, so all
tokenizers see the same whatever Redis's clock says. Redis's own expiry only makes room: it is set as a time from now on, a
little longer than the entry lives.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, Self

from attrs import frozen
from redis.exceptions import NoScriptError

from lunacore_backends import counters
from lunacore_backends.redis_grants import diagnosis, safety
from lunacore_backends.redis_grants.client import RedisClient
from lunacore_backends.redis_grants.settings import RedisSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunacore.diagnosis import Circumstances, Finding
    from lunacore.plugins import BackendURL, Surroundings
    from lunacore.stores import Entry

SLACK: Final = 60
"""Seconds by which Redis keeps an entry beyond its life, for tokenizers whose clocks are behind."""

_EXPIRY_BYTES: Final = 8
# Lua's numbers are exact up to here.
_MAX_EXPIRY: Final = 2**53 - 1
# Redis adds the present to it, and takes no more than 63 bits.
_MAX_MILLISECONDS: Final = 10**15

_EXPIRY_IN_LUA: Final = """
local function expiry(held)
  local seconds = 0
  for at = 1, 8 do seconds = seconds * 256 + string.byte(held, at) end
  return seconds
end
"""


@frozen
class Script:
    """A script that the server runs with nobody between; known to it by the SHA-1 of its text."""

    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> Self:
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


PUT: Final = Script.of("""
for at = 1, #KEYS do redis.call('SET', KEYS[at], ARGV[2 * at - 1], 'PX', ARGV[2 * at]) end
""")
PUT_IF_ABSENT: Final = Script.of(
    _EXPIRY_IN_LUA
    + """
local held = redis.call('GET', KEYS[1])
if held and expiry(held) > tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
)
# Redis adds by itself, since Lua's numbers are not exact in 64 bits. What it cannot add to is put back and returned.
INCREMENT: Final = Script.of(
    _EXPIRY_IN_LUA
    + """
local held = redis.call('GET', KEYS[1])
if not held or expiry(held) <= tonumber(ARGV[3]) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return {1, string.sub(ARGV[1], 9)}
end
local count = string.sub(held, 9)
if count ~= '0' and not string.match(count, '^-?[1-9][0-9]*$') then return {0, count} end
redis.call('SET', KEYS[1], count, 'KEEPTTL')
if type(redis.pcall('INCRBY', KEYS[1], ARGV[4])) == 'table' then
  redis.call('SET', KEYS[1], held, 'KEEPTTL')
  return {0, count}
end
local sum = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], string.sub(held, 1, 8) .. sum, 'KEEPTTL')
return {1, sum}
"""
)


def open_grants(url: BackendURL, surroundings: Surroundings) -> RedisGrants:
    """Open ``redis://host/0`` as an expiring store, once it is known that the server keeps what it is given.

    Raises:
        ConfigError: the URL is wrong, or the server would drop entries before their time.
        StoreUnavailable: the server cannot be reached.
    """
    settings = RedisSettings.from_url(url, surroundings)
    client = RedisClient(settings)
    try:
        safety.refuse_forgetful(client)
    except BaseException:
        client.close()
        raise
    return RedisGrants(client)


class RedisGrants:
    """An ``ExpiringStore`` in Redis. Counters read as ``lunacore_backends.counters`` says."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._prefix = client.settings.prefix

    def put(self, entries: Sequence[Entry], now: int) -> None:
        keys = [self._prefix + entry.key for entry in entries]
        values = [part for entry in entries for part in _packed(entry.value, entry.expires, now)]
        if len(keys) == 1:
            packed, milliseconds = values
            self._client.call("SET", keys[0], packed, "PX", milliseconds, repeatable=True)
        elif keys:
            self._run(PUT, keys, *values, repeatable=True)

    def put_if_absent(self, entry: Entry, now: int) -> bool:
        packed = _packed(entry.value, entry.expires, now)
        return bool(self._run(PUT_IF_ABSENT, [self._prefix + entry.key], *packed, now))

    def get(self, keys: Sequence[bytes], now: int) -> list[bytes | None]:
        if not keys:
            return []
        held = self._client.call("MGET", *[self._prefix + key for key in keys], repeatable=True)
        return [_live(value, now) for value in held]

    def take(self, key: bytes, now: int) -> bytes | None:
        return _live(self._client.call("GETDEL", self._prefix + key), now)

    def increment(self, key: bytes, by: int, expires: int, now: int) -> int:
        first = counters.encode(counters.add(None, by))
        added, count = self._run(INCREMENT, [self._prefix + key], *_packed(first, expires, now), now, by)
        # It says what is wrong with a count that Redis would not add to.
        return int(count) if added else counters.add(count, by)

    def delete(self, keys: Sequence[bytes]) -> None:
        if keys:
            self._client.call("DEL", *[self._prefix + key for key in keys], repeatable=True)

    def sweep(self, now: int, limit: int = 10_000) -> int:  # noqa: ARG002 - Redis removes by itself what has expired
        return 0

    def probe(self) -> None:
        # A key that is never there: unlike PING, it also fails where the user may not read.
        self._client.call("GET", self._prefix + b"probe", repeatable=True)

    def diagnose(self, circumstances: Circumstances) -> Sequence[Finding]:
        return diagnosis.examine(self._client, circumstances)

    def close(self) -> None:
        """Close the connections; calls after that raise ``StoreUnavailable``."""
        self._client.close()

    def _run(self, script: Script, keys: Sequence[bytes], *values: bytes | int, repeatable: bool = False) -> Any:  # noqa: ANN401 - the script's
        arguments = (len(keys), *keys, *values)
        try:
            return self._client.call("EVALSHA", script.sha, *arguments, repeatable=repeatable)
        except NoScriptError:
            # A server that was restarted has forgotten it; it has not run, so it may run now.
            return self._client.call("EVAL", script.text, *arguments, repeatable=repeatable)


def _packed(value: bytes, expires: int, now: int) -> tuple[bytes, int]:
    """An entry's value as Redis holds it, and for how many milliseconds: from now on, since its clock may not be the caller's."""
    held = min(max(expires, 0), _MAX_EXPIRY).to_bytes(_EXPIRY_BYTES, "big") + value
    return held, min(max((expires - now + SLACK) * 1000, 1), _MAX_MILLISECONDS)


def _live(held: bytes | None, now: int) -> bytes | None:
    if held is None or int.from_bytes(held[:_EXPIRY_BYTES], "big") <= now:
        return None
    return held[_EXPIRY_BYTES:]
