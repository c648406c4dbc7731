"""Grants in a real Redis: the contract, and what only a server on a network, which forgets by itself, can suffer."""

from __future__ import annotations

import os
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest
import redis
from attrs import evolve

from lunacore.diagnosis import Circumstances, Severity
from lunacore.errors import ConfigError, StoreUnavailable
from lunacore.plugins import BackendURL, Surroundings
from lunacore.stores import Entry
from lunacore.testing.expiring_store import ExpiringStoreContract
from lunacore_backends.redis_grants.grants import SLACK, RedisGrants, open_grants
from lunacore_backends.redis_grants.settings import RedisSettings
from tests.servers.losing_proxy import LosingProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lunacore.stores import ExpiringStore
    from lunacore.testing.database_servers import RedisServer

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("redis")]

NOW = 1_700_000_000
SURROUNDINGS = Surroundings(setting="tokenizer.grants", now=time.time, random=os.urandom)
CIRCUMSTANCES = Circumstances("https://secure.example.com", time.time, os.urandom)
SECRET = "hunter2"


def parsed(text: str) -> BackendURL:
    return BackendURL.parse(text, SURROUNDINGS.setting)


def with_options(url: str, **options: str) -> str:
    return f"{url}?{urlencode(options)}"


def new_prefix() -> str:
    return f"test-{os.urandom(6).hex()}:"


@pytest.fixture
def raw(redis_server: RedisServer) -> Iterator[Any]:
    """A client of its own, behind the stores' back."""
    with redis.Redis(port=redis_server.port, password=redis_server.password) as client:
        yield client


@pytest.fixture
def opened(redis_server: RedisServer) -> Iterator[Callable[..., RedisGrants]]:
    """Opens stores, each with a prefix of its own unless one is given, and closes them at the end."""
    stores: list[RedisGrants] = []

    def open_one(**options: str) -> RedisGrants:
        options = {"prefix": new_prefix(), "timeout": "60", "pool_timeout": "60"} | options
        stores.append(open_grants(parsed(with_options(redis_server.url(), **options)), SURROUNDINGS))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


# Lets seconds pass for all keys that begin with ARGV[1].
_PASS_TIME = """
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  redis.call('PEXPIRE', key, redis.call('PTTL', key) - ARGV[2] * 1000)
end
"""


class TestRedisGrants(ExpiringStoreContract):
    """Redis's clock is not waited for: what it holds is brought nearer to its end."""

    sweeps = False

    @pytest.fixture
    def open_store(self, opened: Callable[..., RedisGrants], raw: Any) -> Callable[[], ExpiringStore]:
        self.raw = raw
        self.prefix = new_prefix()

        def open_one() -> RedisGrants:
            for key in raw.keys(f"{self.prefix}*"):
                raw.delete(key)
            return opened(prefix=self.prefix)

        return open_one

    def advance(self, now: int, seconds: int) -> int:
        self.raw.eval(_PASS_TIME, 0, self.prefix, seconds)
        return now + seconds

    def peek(self, store: ExpiringStore) -> set[bytes]:
        """Without what Redis keeps only for tokenizers whose clocks are behind."""
        held = self.raw.keys(f"{self.prefix}*")
        prefix = self.prefix.encode()
        return {bytes(key).removeprefix(prefix) for key in held if self.raw.pttl(key) > SLACK * 1000}


@pytest.fixture
def grants(opened: Callable[..., RedisGrants]) -> RedisGrants:
    return opened()


def everything_said(error: BaseException | None) -> str:
    """An error's text and that of all that led to it."""
    said = ""
    while error is not None:
        said += f"{error!r} {error} "
        error = error.__cause__ or error.__context__
    return said


# URLs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("redis://:hunter2@", "is no URL of Redis"),
        ("redis://u:hunter2@h:port/0", "is no URL of Redis"),
        ("redis://:hunter2@h/zero", "goes the number of the database"),
        ("redis://:hunter2@h/0?db=1", "redis has no option 'db'; it takes: prefix, pool"),
        ("redis://:hunter2@h/0?prefix={x}", "prefix must be"),
        ("redis://:hunter2@h/0?pool=many", "pool must be a number from 1 to 1000"),
        ("redis://:hunter2@h/0?timeout=0", "timeout must be a number of seconds up to 300"),
        ("redis://:hunter2@h/0?persistence=none", "persistence must be required or unchecked"),
        ("redis://:hunter2@h/0?ca=/x", "are for TLS; write rediss://"),
        ("redis://:hunter2@h/0?password_file=/x", "has a password and password_file; keep one"),
        ("rediss://:hunter2@h/0?ca=/nowhere", "the file that ca names cannot be read"),
        ("rediss://:hunter2@h/0?key=/nowhere", "key goes with certificate"),
        ("rediss://:hunter2@h/0?certificate=/nowhere", "the files of certificate and key cannot be used"),
    ],
)
def test_other_urls_are_refused_without_their_secrets(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        open_grants(parsed(text), SURROUNDINGS)
    assert refusal.value.message.startswith("tokenizer.grants")
    assert SECRET not in everything_said(refusal.value)


def test_settings_have_bounds_and_hide_the_password() -> None:
    found = RedisSettings.from_url(parsed("redis://user:hunter%2F2@cache.example.com"), SURROUNDINGS)
    assert (found.user, found.password, found.port, found.database) == ("user", "hunter/2", 6379, 0)
    assert found.pool == SURROUNDINGS.threads + 2
    assert found.over_network
    assert "hunter" not in repr(found)


# Credentials and TLS


def test_a_wrong_password_is_told_as_such_and_not_shown(redis_server: RedisServer) -> None:
    with pytest.raises(StoreUnavailable, match="the server refuses user and password") as refusal:
        open_grants(parsed(redis_server.url(password=SECRET)), SURROUNDINGS)
    assert SECRET not in everything_said(refusal.value)
    with pytest.raises(StoreUnavailable, match="the server wants a password"):
        open_grants(parsed(f"redis://127.0.0.1:{redis_server.port}"), SURROUNDINGS)


def test_a_password_file_is_read_anew_for_each_connection(redis_server: RedisServer, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{redis_server.password}\n")
    url = f"redis://127.0.0.1:{redis_server.port}/0?prefix={new_prefix()}&password_file={file}"
    with closing(open_grants(parsed(url), SURROUNDINGS)) as store:
        file.write_text("another")
        store.probe()
        store._client._pool.disconnect()
        with pytest.raises(StoreUnavailable, match="refuses user and password"):
            store.probe()
        file.unlink()
        with pytest.raises(StoreUnavailable, match="the file that password_file names cannot be read"):
            store.probe()
        file.write_text(redis_server.password)
        store.probe()


def test_the_certificate_of_the_server_is_checked(
    redis_server: RedisServer, certificate: tuple[Path, Path, Path]
) -> None:
    secret = quote(redis_server.password, safe="")
    url = f"rediss://:{secret}@127.0.0.1:{redis_server.tls_port}/0"
    with closing(open_grants(parsed(f"{url}?ca={certificate[2]}&prefix={new_prefix()}"), SURROUNDINGS)) as store:
        store.put([Entry(b"k", b"v", NOW + 9)], NOW)
        assert store.get([b"k"], NOW) == [b"v"]
    with pytest.raises(StoreUnavailable, match="certificate cannot be trusted; name the CA"):
        open_grants(parsed(url), SURROUNDINGS)


def test_a_user_with_the_least_rights_can_work(redis_server: RedisServer, raw: Any) -> None:
    user, prefix = f"user{os.urandom(4).hex()}", new_prefix()
    # As the documentation says.
    allowed = "+get +set +mget +del +getdel +incrby +eval +evalsha +info +time +client|setname"
    raw.execute_command("ACL", "SETUSER", user, "on", ">p", f"~{prefix}*", *allowed.split())
    url = with_options(redis_server.url(user=user, password="p"), prefix=prefix)
    with closing(open_grants(parsed(url), SURROUNDINGS)) as store:
        store.put([Entry(b"a", b"v", NOW + 9), Entry(b"b", b"v", NOW + 9)], NOW)
        assert store.put_if_absent(Entry(b"c", b"v", NOW + 9), NOW)
        assert store.take(b"a", NOW) == b"v"
        assert store.increment(b"n", 2, NOW + 9, NOW) + store.increment(b"n", 3, NOW + 9, NOW) == 7
        store.delete([b"b"])
        store.probe()
        assert all(one.severity is Severity.OK for one in store.diagnose(CIRCUMSTANCES))
    raw.execute_command("ACL", "SETUSER", user, "-info")
    with pytest.raises(ConfigError, match="the user may not ask for INFO"):
        open_grants(parsed(url), SURROUNDINGS)
    with closing(open_grants(parsed(f"{url}&persistence=unchecked"), SURROUNDINGS)) as store:
        store.probe()
        raw.execute_command("ACL", "SETUSER", user, "-get", "-mget")
        with pytest.raises(StoreUnavailable, match="the user may not do this"):
            store.probe()
    raw.execute_command("ACL", "DELUSER", user)


# Servers that forget


@contextmanager
def configured(raw: Any, **settings: str) -> Iterator[None]:
    """The server is told these settings for a while."""
    before = {name: raw.config_get(name)[name] for name in settings}
    for name, value in settings.items():
        raw.config_set(name, value)
    try:
        yield
    finally:
        for name, value in reversed(before.items()):
            raw.config_set(name, value)
        # Until the file is written anew, the server does not let itself be ended.
        while raw.info("persistence")["aof_rewrite_in_progress"] or raw.info("persistence")["aof_rewrite_scheduled"]:
            pass


def test_a_server_that_evicts_is_refused(opened: Callable[..., RedisGrants], raw: Any) -> None:
    with configured(raw, **{"maxmemory": "100mb", "maxmemory-policy": "volatile-lru"}):
        with pytest.raises(
            ConfigError, match=r"would revive a session that was ended\. Set maxmemory-policy noeviction"
        ):
            opened()
        with pytest.raises(ConfigError, match="Set maxmemory-policy noeviction"):
            opened(persistence="unchecked")
    with configured(raw, **{"maxmemory": "100mb", "maxmemory-policy": "noeviction"}):
        opened()


def test_a_server_without_append_only_file_is_refused_unless_told_otherwise(
    opened: Callable[..., RedisGrants], raw: Any
) -> None:
    with configured(raw, appendonly="no"):
        with pytest.raises(ConfigError, match=r"a restart would revive sessions that were ended\. Set appendonly yes"):
            opened()
        opened(persistence="unchecked").probe()


def test_a_killed_server_comes_back_with_what_it_acknowledged(
    opened: Callable[..., RedisGrants], redis_server: RedisServer, raw: Any
) -> None:
    store = opened()
    # With everysec, it may acknowledge what it has not handed to the system yet.
    raw.config_set("appendfsync", "always")
    store.put([Entry(b"mark", b"ended", NOW + 3600)], NOW)
    store.increment(b"n", 5, NOW + 3600, NOW)
    redis_server.kill()
    try:
        for call in (lambda: store.get([b"mark"], NOW), lambda: store.take(b"mark", NOW), store.probe):
            with pytest.raises(StoreUnavailable, match="nothing listens there; check the URL"):
                call()
    finally:
        redis_server.start()
    # At once: no call is lost to a connection that broke meanwhile, nor to scripts that the server has forgotten.
    assert store.increment(b"n", 1, NOW + 3600, NOW) == 6
    assert store.get([b"mark"], NOW) == [b"ended"]
    assert store.put_if_absent(Entry(b"mark", b"", NOW + 3600), NOW) is False


# Time


def test_the_clock_of_the_server_does_not_matter(grants: RedisGrants, raw: Any) -> None:
    """Times long past and far ahead of Redis's own clock: what decides is the caller's ``now``."""
    for now in (1_000, NOW, 4_000_000_000):
        grants.put([Entry(b"a", b"v", now + 10)], now)
        assert grants.get([b"a"], now + 9) == [b"v"]
        assert grants.get([b"a"], now + 10) == [None]
        kept = raw.pttl(grants._client.settings.prefix + b"a")
        assert (10 + SLACK - 5) * 1000 < kept <= (10 + SLACK) * 1000


def test_counting_on_leaves_no_entry_without_an_end(grants: RedisGrants, raw: Any) -> None:
    for by in (2, 3):
        grants.increment(b"n", by, NOW + 9, NOW)
        assert 0 < raw.pttl(grants._client.settings.prefix + b"n") <= (9 + SLACK) * 1000
    with pytest.raises(ValueError, match="64 bits"):
        grants.increment(b"n", 2**63 - 1, NOW + 9, NOW)
    assert 0 < raw.pttl(grants._client.settings.prefix + b"n") <= (9 + SLACK) * 1000


def test_what_has_expired_is_invisible_though_redis_still_holds_it(grants: RedisGrants, raw: Any) -> None:
    grants.put([Entry(b"a", b"v", NOW + 1), Entry(b"b", b"v", NOW + 1)], NOW)
    later = NOW + 1
    assert raw.exists(grants._client.settings.prefix + b"a") == 1
    assert grants.get([b"a"], later) == [None]
    assert grants.take(b"a", later) is None
    assert grants.put_if_absent(Entry(b"b", b"new", later + 9), later)
    assert grants.get([b"b"], later) == [b"new"]
    grants.increment(b"n", 5, NOW + 1, NOW)
    assert grants.increment(b"n", 1, later + 9, later) == 1


# Outages


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[LosingProxy]:
    with LosingProxy(redis_server.port) as proxy:
        yield proxy


def through(proxy: LosingProxy, server: RedisServer, **options: str) -> RedisGrants:
    url = with_options(server.url(port=proxy.port), prefix=new_prefix(), **options)
    return open_grants(parsed(url), SURROUNDINGS)


def test_what_may_be_repeated_is_repeated_and_nothing_else(proxy: LosingProxy, redis_server: RedisServer) -> None:
    key = b"the key of an entry"
    with closing(through(proxy, redis_server)) as store:
        lost: list[bytes] = []

        def lose_one(sent: bytes) -> bool:
            if key not in sent or lost:
                return False
            lost.append(sent)
            return True

        proxy.lose_answers = lose_one
        store.put([Entry(key, b"v", NOW + 9)], NOW)
        assert lost
        lost.clear()
        assert store.get([key], NOW) == [b"v"]
        assert lost
        lost.clear()
        # It was taken, by nobody; a second attempt could take what another has put there since.
        with pytest.raises(StoreUnavailable, match="the connection broke"):
            store.take(key, NOW)
        assert store.get([key], NOW) == [None]
        store.increment(key, 1, NOW + 9, NOW)
        lost.clear()
        with pytest.raises(StoreUnavailable, match="the connection broke"):
            store.increment(key, 1, NOW + 9, NOW)
        assert store.increment(key, 0, NOW + 9, NOW) == 2


def test_connections_cut_while_idle_are_replaced_unnoticed(proxy: LosingProxy, redis_server: RedisServer) -> None:
    with closing(through(proxy, redis_server)) as store:
        store.put([Entry(b"k", b"v", NOW + 9)], NOW)
        proxy.cut()
        assert store.take(b"k", NOW) == b"v"


def test_a_server_that_hangs_is_waited_for_no_longer_than_allowed(
    opened: Callable[..., RedisGrants], redis_server: RedisServer
) -> None:
    store = opened(timeout="0.5", connect_timeout="0.5")
    redis_server.pause()
    try:
        with pytest.raises(StoreUnavailable, match=r"no answer in 0\.5 seconds"):
            store.probe()
        with pytest.raises(StoreUnavailable, match=r"no answer in 0\.5 seconds"):
            store.take(b"k", NOW)
    finally:
        redis_server.resume()
    assert store.get([b"k"], NOW) == [None]


def test_connections_are_no_more_than_allowed(opened: Callable[..., RedisGrants]) -> None:
    store = opened(pool="1", pool_timeout="0.05")
    pool: Any = store._client._pool
    held = pool.get_connection()
    with pytest.raises(StoreUnavailable, match=r"all 1 connections were in use for 0\.05 seconds; raise pool") as full:
        store.probe()
    assert full.value.retry_after == 1
    pool.release(held)
    store.probe()


def test_a_full_memory_is_told_as_such_and_takes_nothing_away(grants: RedisGrants, raw: Any) -> None:
    grants.put([Entry(b"mark", b"ended", NOW + 99)], NOW)
    with configured(raw, maxmemory="1"):
        entries = [Entry(b"%d" % number, b"v" * 100, NOW + 99) for number in range(10)]
        for call in (
            lambda: grants.put(entries, NOW),
            lambda: grants.put(entries[:1], NOW),
            lambda: grants.increment(b"n", 1, NOW + 9, NOW),
        ):
            with pytest.raises(StoreUnavailable, match="the server's memory is full; raise maxmemory"):
                call()
        assert grants.get([b"mark", b"0"], NOW) == [b"ended", None]
    grants.put(entries, NOW)


def test_a_replica_is_told_as_such(grants: RedisGrants, raw: Any) -> None:
    raw.replicaof("127.0.0.1", 1)
    try:
        with pytest.raises(StoreUnavailable, match=r"it is a replica|a replica that has lost its primary"):
            grants.put([Entry(b"k", b"", NOW + 9)], NOW)
        assert any("slave" in one.message for one in grants.diagnose(CIRCUMSTANCES))
    finally:
        raw.replicaof("NO", "ONE")
    grants.put([Entry(b"k", b"", NOW + 9)], NOW)


def test_a_closed_store_refuses_calls(grants: RedisGrants) -> None:
    grants.close()
    grants.close()
    with pytest.raises(StoreUnavailable, match="the store was closed"):
        grants.probe()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_carries_no_connection_over(grants: RedisGrants) -> None:
    grants.increment(b"n", 1, NOW + 9, NOW)
    child = os.fork()
    if child == 0:
        count = 0
        try:
            count = grants.increment(b"n", 1, NOW + 9, NOW)
        finally:
            os._exit(count)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert grants.increment(b"n", 1, NOW + 9, NOW) == 3


# Diagnosis


def test_diagnosis(opened: Callable[..., RedisGrants], raw: Any) -> None:
    store = opened(persistence="unchecked")
    findings = store.diagnose(CIRCUMSTANCES)
    assert [one.severity for one in findings] == [Severity.OK] * len(findings)
    assert {"the server evicts nothing", "the server's clock agrees with this machine's"} <= {
        one.message for one in findings
    }
    store._client.settings = evolve(store._client.settings, host="cache.example.com", password="")
    late = evolve(CIRCUMSTANCES, now=lambda: time.time() + 100)
    with configured(raw, **{"appendonly": "no", "maxmemory": "4gb", "maxmemory-policy": "allkeys-lru"}):
        wrong = {one.message: one for one in store.diagnose(late) if one.severity is not Severity.OK}
    said = "\n".join(wrong)
    for message in (
        "is not encrypted",
        "lets everyone on the network in without a password",
        "100 seconds apart",
        "(maxmemory-policy allkeys-lru)",
        "revives sessions that were ended",
    ):
        assert message in said
    assert all(one.remedy for one in wrong.values())
