"""Records and grants in a real PostgreSQL: the contracts, and what only a server on a network can suffer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from attrs import evolve

from lunacore.diagnosis import Circumstances, Finding, Severity
from lunacore.errors import ConfigError, StoreUnavailable
from lunacore.plugins import BackendURL, Surroundings
from lunacore.stores import Entry
from lunacore.testing.expiring_store import ExpiringStoreContract
from lunacore.testing.record_store import RecordStoreContract, label_of, make_record, name_of, race
from lunacore_backends.postgresql import records as statements
from lunacore_backends.postgresql.grants import PostgreSQLGrants, open_grants
from lunacore_backends.postgresql.records import PostgreSQLRecords, open_records
from lunacore_backends.postgresql.settings import PostgreSQLSettings
from tests.backends import sqlite_worker
from tests.servers.losing_proxy import LosingProxy
from tests.servers.minio import write_certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lunacore.records import Record
    from lunacore.stores import ExpiringStore, RecordStore
    from lunacore.testing.database_servers import PostgreSQLServer

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("postgresql")]

NOW = 1_700_000_000
SURROUNDINGS = Surroundings(setting="tokenizer.records", now=time.time, random=os.urandom)
CIRCUMSTANCES = Circumstances("https://secure.example.com", time.time, os.urandom)
SECRET = "hunter2"


def parsed(text: str) -> BackendURL:
    return BackendURL.parse(text, SURROUNDINGS.setting)


def schema_of(store: Any) -> str:
    schema = store._connections.settings.schema
    assert isinstance(schema, str)
    return schema


@pytest.fixture
def raw(postgresql: PostgreSQLServer) -> Iterator[psycopg.Connection[Any]]:
    """A connection of its own, behind the stores' back."""
    with psycopg.connect(postgresql.url(), autocommit=True) as connection:
        yield connection


class Schemas:
    """Opens stores, each alone in a schema; schemas of closed stores are emptied and used again, since making them takes long."""

    def __init__(self, server: PostgreSQLServer) -> None:
        self._server = server
        self._opened: list[tuple[str, Any]] = []
        self._kinds: dict[str, str] = {}

    def open(self, open_store: Callable[..., Any], **options: Any) -> Any:
        options = {"lock_timeout": "60", "timeout": "60"} | options
        if "schema" not in options:
            options["schema"] = self._free(f"{open_store.__name__} {options.get('partitions')}")
        store = open_store(parsed(self._server.url(**options)), SURROUNDINGS)
        self._opened.append((options["schema"], store))
        return store

    def new(self) -> str:
        return f"test_{os.urandom(6).hex()}"

    def close(self) -> None:
        for _, store in self._opened:
            store.close()

    def _free(self, kind: str) -> str:
        for schema, of_kind in self._kinds.items():
            if of_kind == kind and all(store._connections._closed for name, store in self._opened if name == schema):
                with psycopg.connect(self._server.url(), autocommit=True) as raw:
                    raw.execute(f"DELETE FROM {schema}.{'entries' if 'grants' in kind else 'records'}")
                self._opened = [one for one in self._opened if one[0] != schema]
                return schema
        schema = self.new()
        self._kinds[schema] = kind
        return schema


@pytest.fixture(scope="module")
def schemas(postgresql: PostgreSQLServer) -> Iterator[Schemas]:
    with closing(Schemas(postgresql)) as schemas:
        yield schemas


@pytest.fixture
def opened(schemas: Schemas) -> Iterator[Callable[..., Any]]:
    """Opens stores and closes them at the end."""
    yield schemas.open
    schemas.close()


class TestPostgreSQLRecords(RecordStoreContract):
    partitions = "0"

    @pytest.fixture
    def open_store(self, opened: Callable[..., Any], raw: psycopg.Connection[Any]) -> Callable[[], RecordStore]:
        self.raw = raw
        return lambda: opened(open_records, partitions=self.partitions)

    def plant(
        self, store: RecordStore, record: Record, *, root_version: int, due: int, labels: Sequence[bytes]
    ) -> None:
        schema = schema_of(store)
        row = (record.name, root_version, due, record.body)
        self.raw.execute(f"INSERT INTO {schema}.records VALUES (%s, %s, %s, %s)", row)
        for label in labels:
            self.raw.execute(f"INSERT INTO {schema}.labels VALUES (%s, %s)", (label, record.name))

    def peek(self, store: RecordStore) -> dict[bytes, bytes]:
        return dict(self.raw.execute(f"SELECT name, body FROM {schema_of(store)}.records").fetchall())


@pytest.mark.long
class TestPartitionedPostgreSQLRecords(TestPostgreSQLRecords):
    partitions = "3"


class TestPostgreSQLGrants(ExpiringStoreContract):
    partitions = "0"

    @pytest.fixture
    def open_store(self, opened: Callable[..., Any], raw: psycopg.Connection[Any]) -> Callable[[], ExpiringStore]:
        self.raw = raw
        return lambda: opened(open_grants, partitions=self.partitions)

    def peek(self, store: ExpiringStore) -> set[bytes]:
        return {key for (key,) in self.raw.execute(f"SELECT key FROM {schema_of(store)}.entries")}


@pytest.mark.long
class TestPartitionedPostgreSQLGrants(TestPostgreSQLGrants):
    partitions = "3"


@pytest.fixture
def records(opened: Callable[..., Any]) -> PostgreSQLRecords:
    store: PostgreSQLRecords = opened(open_records)
    return store


@pytest.fixture
def grants(opened: Callable[..., Any]) -> PostgreSQLGrants:
    store: PostgreSQLGrants = opened(open_grants)
    return store


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
        ("postgresql://u:hunter2@h/db?sslmod=require", "has no option 'sslmod'; it takes schema, pool"),
        ("postgresql://u:hunter2@h/db?replication=true", "has no option 'replication'"),
        ("postgresql://u:hunter2@h/db?schema=Luna", "schema must be up to 63 lower-case letters"),
        ("postgresql://u:hunter2@h/db?schema=pg_luna", "not beginning with a digit or pg_"),
        ("postgresql://u:hunter2@h/db?schema=a;b", "schema must be"),
        ("postgresql://u:hunter2@h/db?pool=0", "pool must be a number from 1 to 1000"),
        ("postgresql://u:hunter2@h/db?timeout=soon", "timeout must be a number of seconds up to 300"),
        ("postgresql://u:hunter2@h/db?lock_timeout=0", "lock_timeout must be a number of seconds"),
        ("postgresql://u:hunter2@h/db?partitions=-1", "partitions must be a number from 0"),
        ("postgresql://u:hunter2@h/db?password_file=/x", "has a password and password_file; keep one"),
        ("postgresql://u:%zzhunter2@h/db", "is no URL of PostgreSQL"),
        ("postgresql://u@h:hunter2/db", "refuses|cannot|is no URL|nothing listens|broke"),
    ],
)
@pytest.mark.parametrize("open_store", [open_records, open_grants])
def test_other_urls_are_refused_without_their_secrets(open_store: Callable[..., Any], text: str, message: str) -> None:
    with pytest.raises((ConfigError, StoreUnavailable), match=message) as refusal:
        open_store(parsed(text), SURROUNDINGS)
    assert refusal.value.message.startswith("tokenizer.records")
    assert SECRET not in everything_said(refusal.value)


def settings(text: str) -> PostgreSQLSettings:
    return PostgreSQLSettings.from_url(parsed(text), SURROUNDINGS)


@pytest.mark.parametrize(
    ("text", "sslmode", "over_network"),
    [
        ("postgresql://u@db.example.com/luna", "require", True),
        ("postgresql://u@10.0.0.1,127.0.0.1/luna", "require", True),
        ("postgresql://u@db.example.com/luna?sslmode=verify-full", "verify-full", True),
        ("postgresql://u@db.example.com/luna?sslmode=disable", "disable", True),
        ("postgresql://u@127.0.0.1/luna", "allow", False),
        ("postgresql://u@[::1]:5433/luna", "allow", False),
        ("postgresql:///luna?host=/run/postgresql", "allow", False),
    ],
)
def test_a_network_is_crossed_encrypted_unless_told_otherwise(text: str, sslmode: str, over_network: bool) -> None:
    found = settings(text)
    assert (found.parameters["sslmode"], found.over_network) == (sslmode, over_network)


def test_settings_have_bounds_and_hide_the_password() -> None:
    found = settings("postgresql://u:hunter2@db.example.com/luna")
    assert found.pool == SURROUNDINGS.threads + 2
    assert found.parameters["connect_timeout"] == "3"
    assert found.parameters["target_session_attrs"] == "read-write"
    assert settings("postgresql://u@h/d?connect_timeout=9&pool=3").parameters["connect_timeout"] == "9"
    assert SECRET not in repr(found)


# Credentials and TLS


def test_a_wrong_password_is_told_as_such_and_not_shown(postgresql: PostgreSQLServer) -> None:
    with pytest.raises(StoreUnavailable, match="the server refuses the password") as refusal:
        open_records(parsed(postgresql.url(password=SECRET)), SURROUNDINGS)
    assert SECRET not in everything_said(refusal.value)


def test_an_unknown_database_is_told_as_such(postgresql: PostgreSQLServer) -> None:
    with pytest.raises(StoreUnavailable, match="there is no such database"):
        open_records(parsed(postgresql.url().replace("/postgres", "/nowhere")), SURROUNDINGS)


def test_a_password_file_is_read_anew_for_each_connection(
    postgresql: PostgreSQLServer, schemas: Schemas, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(f"{postgresql.password}\n")
    url = f"postgresql://{postgresql.user}@127.0.0.1:{postgresql.port}/postgres?schema={schemas.new()}&password_file={file}"
    with closing(open_records(parsed(url), SURROUNDINGS)) as store:
        file.write_text("another")
        store.probe()
        store._connections.drop_idle()
        with pytest.raises(StoreUnavailable, match="refuses the password"):
            store.probe()
        file.unlink()
        with pytest.raises(StoreUnavailable, match="the file that password_file names cannot be read"):
            store.probe()
        file.write_text(postgresql.password)
        store.probe()


def test_the_certificate_of_the_server_is_checked(
    opened: Callable[..., Any], certificate: tuple[Path, Path, Path], postgresql: PostgreSQLServer, tmp_path: Path
) -> None:
    store = opened(open_records, sslmode="verify-full", sslrootcert=str(certificate[2]))
    assert store._connections.rows("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [(True,)]
    other = tmp_path / "other"
    write_certificates(other)
    url = postgresql.url(sslmode="verify-full", sslrootcert=str(other / "ca.pem"))
    with pytest.raises(StoreUnavailable, match=r"certificate cannot be trusted; name the CA .* sslrootcert="):
        open_records(parsed(url), SURROUNDINGS)


# Schema


def test_stores_may_make_their_schema_at_the_same_moment(opened: Callable[..., Any], schemas: Schemas) -> None:
    schema = schemas.new()
    stores = race(*[partial(opened, open_records, schema=schema), partial(opened, open_grants, schema=schema)] * 3)
    for number, store in enumerate(stores[::2]):
        store.create([make_record(name_of(number))])
    assert len(stores[0].scan()) == 3
    for store in stores[1::2]:
        assert store.increment(b"n", 1, NOW + 9, NOW) > 0


@pytest.mark.parametrize("part", ["records", "grants"])
def test_a_newer_schema_is_refused_and_left_alone(
    opened: Callable[..., Any], schemas: Schemas, raw: psycopg.Connection[Any], part: str
) -> None:
    schema = schemas.new()
    opener = open_records if part == "records" else open_grants
    opened(opener, schema=schema).close()
    raw.execute(f"INSERT INTO {schema}.migrations VALUES ('{part}', 2)")
    with pytest.raises(ConfigError, match=f"has version 2 of the {part}, and this release knows 1: upgrade LunaCore"):
        opened(opener, schema=schema)


def test_tables_of_something_else_are_refused_and_left_alone(
    opened: Callable[..., Any], schemas: Schemas, raw: psycopg.Connection[Any]
) -> None:
    schema = schemas.new()
    raw.execute(f"CREATE SCHEMA {schema}")
    raw.execute(f"CREATE TABLE {schema}.records (x int)")
    with pytest.raises(ConfigError, match="has tables of something else; name another with schema="):
        opened(open_records, schema=schema)
    assert raw.execute("SELECT to_regclass(%s)", [f"{schema}.migrations"]).fetchall() == [(None,)]


def test_a_user_with_the_least_rights_can_work_and_one_with_none_is_told(
    opened: Callable[..., Any], schemas: Schemas, raw: psycopg.Connection[Any], postgresql: PostgreSQLServer
) -> None:
    schema = schemas.new()
    role = f"role_{os.urandom(6).hex()}"
    raw.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
    url = parsed(postgresql.url(user=role, password="p", schema=schema))
    with pytest.raises(StoreUnavailable, match="the user may not use the schema or its tables"):
        open_records(url, SURROUNDINGS)
    opened(open_records, schema=schema)
    opened(open_grants, schema=schema)
    with pytest.raises((ConfigError, StoreUnavailable), match=r"may not|grant it USAGE"):
        open_records(url, SURROUNDINGS)
    # As the documentation says.
    raw.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    raw.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}")
    with closing(open_records(url, SURROUNDINGS)) as store, closing(open_grants(url, SURROUNDINGS)) as grants:
        old = make_record(name_of(1), labels=[label_of(1)])
        store.create([old])
        assert store.replace(old, make_record(name_of(2), labels=[label_of(2)]))
        store.delete([name_of(2)])
        grants.put([Entry(b"k", b"v", NOW + 9)], NOW)
        assert grants.sweep(NOW + 9) == 1


def test_labels_go_with_their_records(records: PostgreSQLRecords, raw: psycopg.Connection[Any]) -> None:
    old = make_record(name_of(1), labels=[label_of(1), label_of(2)])
    records.create([old])
    assert records.replace(old, make_record(name_of(2), labels=[label_of(2), label_of(3)]))
    query = f"SELECT label, name FROM {schema_of(records)}.labels"
    assert set(raw.execute(query)) == {(label_of(2), name_of(2)), (label_of(3), name_of(2))}
    records.delete([name_of(2)])
    assert raw.execute(query).fetchall() == []


# Sessions


def test_commits_of_records_wait_for_the_disk_whatever_the_server_says(
    postgresql: PostgreSQLServer, schemas: Schemas, raw: psycopg.Connection[Any]
) -> None:
    def session(store: Any) -> Any:
        names = ("synchronous_commit", "statement_timeout", "lock_timeout", "search_path")
        return [store._connections.rows(f"SELECT current_setting('{name}')")[0][0] for name in names]

    schema = schemas.new()
    url = parsed(postgresql.url(schema=schema, options="-c synchronous_commit=off", timeout="7", lock_timeout="2"))
    with closing(open_records(url, SURROUNDINGS)) as records, closing(open_grants(url, SURROUNDINGS)) as grants:
        assert session(records) == ["on", "7s", "2s", ""]
        assert session(grants) == ["off", "7s", "2s", ""]
    applied = parsed(postgresql.url(schema=schema, options="-c synchronous_commit=remote_apply"))
    with closing(open_records(applied, SURROUNDINGS)) as records:
        assert session(records)[0] == "remote_apply"


def test_a_closed_store_refuses_calls(records: PostgreSQLRecords, grants: PostgreSQLGrants) -> None:
    for store in (records, grants):
        store.probe()
        store.close()
        store.close()
        with pytest.raises(StoreUnavailable, match="the store was closed"):
            store.probe()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_carries_no_connection_over(records: PostgreSQLRecords) -> None:
    records.create([make_record(name_of(1))])
    child = os.fork()
    if child == 0:
        idle = len(records._connections._idle)
        with suppress(BaseException):
            records.create([make_record(name_of(2))])
        os._exit(idle)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    records.create([make_record(name_of(3))])
    assert len(records.scan()) == 3


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_does_not_wait_for_calls_of_its_parent(opened: Callable[..., Any]) -> None:
    store = opened(open_records, pool="1", pool_timeout="0.05")
    with store._connections._lent():
        child = os.fork()
        if child == 0:
            outcome = 1
            with suppress(BaseException):
                store.probe()
                outcome = 0
            os._exit(outcome)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.probe()


def test_connections_are_as_many_as_calls_at_once_and_no_more(opened: Callable[..., Any]) -> None:
    store = opened(open_records, pool="2", pool_timeout="0.05")
    for _ in range(20):
        store.probe()
    assert len(store._connections._idle) == 1
    with (
        store._connections._lent(),
        store._connections._lent(),
        pytest.raises(StoreUnavailable, match=r"all 2 connections were in use for 0\.05 seconds; raise pool") as full,
    ):
        store.probe()
    assert full.value.retry_after == 1
    store.probe()


def test_old_connections_are_replaced(records: PostgreSQLRecords) -> None:
    records.probe()
    (connection,) = records._connections._idle
    connection.born -= 3600
    records.probe()
    (another,) = records._connections._idle
    assert connection.closed
    assert not another.closed


# Outages


def test_a_lock_held_elsewhere_is_waited_for_no_longer_than_allowed(
    opened: Callable[..., Any], postgresql: PostgreSQLServer
) -> None:
    store = opened(open_records, lock_timeout="0.05")
    old, new = make_record(name_of(1)), make_record(name_of(1), revision=2)
    store.create([old])
    with psycopg.connect(postgresql.url()) as other:
        other.execute(f"SELECT 1 FROM {schema_of(store)}.records FOR UPDATE")
        with pytest.raises(StoreUnavailable, match="a row was locked for longer than lock_timeout"):
            store.replace(old, new)
        assert store.get([name_of(1)]) == [old]
        other.rollback()
    assert store.replace(old, new)


@pytest.mark.parametrize(
    ("state", "message", "retry_after"),
    [
        ("53100", "the server's disk is full; nothing was written. Make room", 5),
        ("53200", "the server ran out of memory", 5),
        ("25006", "the server takes no writes; it is a standby", 5),
        ("57014", "a statement took longer than timeout", 5),
        ("58030", "the server's disk failed", 5),
        ("XX001", "the server reports damage", 5),
        ("42501", "grant it USAGE, SELECT, INSERT, UPDATE and DELETE", 5),
        ("40001", "too many writers changed the same rows", 1),
        ("57P01", "the server is shutting down", 1),
    ],
)
def test_what_the_server_refuses_for_is_told_and_passes(
    records: PostgreSQLRecords, raw: psycopg.Connection[Any], state: str, message: str, retry_after: int
) -> None:
    """The server itself raises, as it would; nothing is written, and the store goes on when it is over."""
    schema = schema_of(records)
    raw.execute(
        f"CREATE OR REPLACE FUNCTION {schema}.fail() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION 'says hunter2' USING ERRCODE = '{state}'; END $$"
    )
    raw.execute(f"CREATE TRIGGER fail BEFORE INSERT ON {schema}.records EXECUTE FUNCTION {schema}.fail()")
    record = make_record(name_of(1), labels=[label_of(1)])
    try:
        with pytest.raises(StoreUnavailable, match=message) as outage:
            records.create([record])
    finally:
        raw.execute(f"DROP TRIGGER fail ON {schema}.records")
    assert outage.value.retry_after == retry_after
    assert SECRET not in outage.value.message
    assert records.scan() == []
    records.create([record])


def test_mistakes_of_the_program_are_not_called_an_outage(records: PostgreSQLRecords) -> None:
    with pytest.raises(psycopg.errors.SyntaxError):
        records._connections.rows("SELEC 1")
    records.probe()


def test_a_dropped_table_is_told_as_such(records: PostgreSQLRecords, raw: psycopg.Connection[Any]) -> None:
    raw.execute(f"ALTER TABLE {schema_of(records)}.records RENAME TO gone")
    try:
        with pytest.raises(StoreUnavailable, match="a table is gone"):
            records.get([name_of(1)])
    finally:
        raw.execute(f"ALTER TABLE {schema_of(records)}.gone RENAME TO records")
    assert records.get([name_of(1)]) == [None]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_server_that_comes_back_is_used_again(
    records: PostgreSQLRecords, grants: PostgreSQLGrants, postgresql: PostgreSQLServer, how: str
) -> None:
    record = make_record(name_of(1))
    records.create([record])
    grants.put([Entry(b"k", b"v", NOW + 9)], NOW)
    getattr(postgresql, how)()
    try:
        for call in (lambda: records.get([record.name]), lambda: grants.get([b"k"], NOW), records.probe, grants.probe):
            with pytest.raises(StoreUnavailable, match="nothing listens there; check the URL"):
                call()
    finally:
        postgresql.start()
    # At once: no call is lost to a connection that broke meanwhile.
    assert records.replace(record, make_record(name_of(1), revision=2))
    assert grants.take(b"k", NOW) in ((b"v",) if how == "stop" else (b"v", None))


def test_a_server_that_hangs_is_waited_for_no_longer_than_allowed(
    opened: Callable[..., Any], postgresql: PostgreSQLServer
) -> None:
    store = opened(open_records, timeout="0.5", connect_timeout="2")
    store.probe()
    postgresql.pause()
    try:
        with pytest.raises(StoreUnavailable, match=r"no answer in 0\.5 seconds"):
            store.get([name_of(1)])
        for _ in range(100):
            # One waits for a connection; those that come after it do not wait again.
            with pytest.raises(StoreUnavailable, match="no connection could be made in time"):
                store.get([name_of(1)])
    finally:
        postgresql.resume()
    store._connections._silent_until = 0.0
    assert store.get([name_of(1)]) == [None]


@pytest.fixture
def proxy(postgresql: PostgreSQLServer) -> Iterator[LosingProxy]:
    with LosingProxy(postgresql.port) as proxy:
        yield proxy


def through(proxy: LosingProxy, open_store: Callable[..., Any], postgresql: PostgreSQLServer, schema: str) -> Any:
    url = postgresql.url(port=proxy.port, schema=schema, sslmode="disable")
    return open_store(parsed(url), SURROUNDINGS)


def test_a_connection_cut_in_the_midst_of_a_commit_leaves_all_or_nothing(
    proxy: LosingProxy, postgresql: PostgreSQLServer, schemas: Schemas
) -> None:
    """The answer is lost: what was asked is done, the caller is told of an outage, and it is not done twice."""
    mark = b"mark of the batch" * 5
    with closing(through(proxy, open_records, postgresql, schemas.new())) as store:
        kept = make_record(name_of(0))
        store.create([kept])
        batch = [make_record(name_of(number), labels=[label_of(1)], sealed=mark) for number in (1, 2)]
        proxy.lose_answers = lambda sent: mark in sent
        with pytest.raises(StoreUnavailable, match="the connection broke"):
            store.create(batch)
        with pytest.raises(StoreUnavailable, match="the connection broke"):
            store.replace(kept, make_record(name_of(3), sealed=mark))
        proxy.lose_answers = lambda _: False
        found = {record.name for record in store.scan()}
        assert found == {name_of(1), name_of(2), name_of(3)}
        assert store.scan(label=label_of(1)) == sorted(batch, key=lambda record: record.name)


def test_what_may_be_repeated_is_repeated(proxy: LosingProxy, postgresql: PostgreSQLServer, schemas: Schemas) -> None:
    schema, key = schemas.new(), b"the key of an entry"
    with closing(through(proxy, open_grants, postgresql, schema)) as store:
        lost: list[bytes] = []

        def lose_one(sent: bytes) -> bool:
            if key not in sent or lost:
                return False
            lost.append(sent)
            return True

        proxy.lose_answers = lose_one
        store.put([Entry(key, b"v", NOW + 9)], NOW)
        lost.clear()
        assert store.get([key], NOW) == [b"v"]
        assert len(lost) == 1
        lost.clear()
        # A second one could take what the first put there.
        with pytest.raises(StoreUnavailable, match="the connection broke"):
            store.take(key, NOW)
        assert store.get([key], NOW) == [None]
        lost.clear()
        with pytest.raises(StoreUnavailable, match="the connection broke"):
            store.increment(key, 1, NOW + 9, NOW)
        assert store.increment(key, 0, NOW + 9, NOW) == 1


def test_connections_cut_while_idle_are_replaced_unnoticed(
    proxy: LosingProxy, postgresql: PostgreSQLServer, schemas: Schemas
) -> None:
    with closing(through(proxy, open_records, postgresql, schemas.new())) as store:
        store.create([make_record(name_of(1))])
        proxy.cut()
        store.create([make_record(name_of(2))])
        assert len(store.scan()) == 2


# Cost


def test_every_page_is_read_by_an_index(records: PostgreSQLRecords, raw: psycopg.Connection[Any]) -> None:
    """However many records there are: none of the queries looks at all of them."""
    made = [
        make_record(
            name_of(at),
            root_version=1 + (at >= 20),
            due=5 if at < 20 else 0,
            labels=[label_of(at % 2)],
            sealed=b"s" * 200,
        )
        for at in range(4000)
    ]
    records.create(made)
    schema = schema_of(records)
    raw.execute(f"ANALYZE {schema}.records")
    raw.execute(f"ANALYZE {schema}.labels")
    asked: list[tuple[str, list[object]]] = [
        (statements._GET_ONE, [name_of(1)]),
        (statements._GET, [[name_of(1), name_of(2)]]),
        (statements._SCANS[False, False, False], [b"\x40", 10]),
        (statements._SCANS[True, False, False], [b"\x40", 10, 2]),
        (statements._SCANS[False, True, False], [b"\x40", 10, 6]),
        (statements._SCANS[False, False, True], [b"\x40", 10, label_of(1)]),
        (statements._SCANS[True, True, True], [b"\x40", 10, label_of(1), 6, 2]),
    ]
    for sql, parameters in asked:
        lines = records._connections.rows(f"EXPLAIN (ANALYZE, TIMING OFF) {sql}", parameters)
        plan = "\n".join(line for (line,) in lines)
        assert "Seq Scan" not in plan, plan
        read = [int(rows) for rows in re.findall(r"actual rows=(\d+)", plan)]
        # Twenty are due and of an old version; their entries may be there twice.
        assert max(read) <= 60, plan


# Diagnosis


def said(findings: Sequence[Finding], severity: Severity) -> str:
    assert all(one.part == "tokenizer.records" for one in findings)
    assert all(one.remedy for one in findings if one.severity is not Severity.OK)
    return "\n".join(one.message for one in findings if one.severity is severity)


def test_diagnosis_of_a_healthy_server(records: PostgreSQLRecords, grants: PostgreSQLGrants) -> None:
    findings = records.diagnose(CIRCUMSTANCES)
    assert said(findings, Severity.PROBLEM) == ""
    for message in ("PostgreSQL 1", "commits wait for the disk (synchronous_commit on)", "the server's clock agrees"):
        assert message in said(findings, Severity.OK)
    assert "superuser" in said(findings, Severity.WARNING)
    assert "commits of grants do not wait" in said(grants.diagnose(CIRCUMSTANCES), Severity.OK)


def test_diagnosis_finds_what_is_wrong(opened: Callable[..., Any], postgresql: PostgreSQLServer) -> None:
    store = opened(open_records, pool="150", sslmode="disable")
    store._connections.settings = evolve(store._connections.settings, over_network=True)
    wrong_clock = evolve(CIRCUMSTANCES, now=lambda: time.time() - 100)
    findings = store.diagnose(wrong_clock)
    assert "is not encrypted" in said(findings, Severity.PROBLEM)
    assert "100 seconds apart" in said(findings, Severity.WARNING)
    assert "of 200 connections are in use; each process and store takes up to 150" in said(findings, Severity.WARNING)
    store._connections.rows("SELECT set_config('synchronous_commit', 'local', false)")
    assert "commits do not wait" in said(store.diagnose(CIRCUMSTANCES), Severity.PROBLEM)
    store.close()
    assert "the store was closed" in said(store.diagnose(CIRCUMSTANCES), Severity.PROBLEM)


# Crashes


@contextmanager
def writer(url: str, start_at: int) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that writes until it is killed, and says what is done."""
    command = [sys.executable, "-m", "tests.backends.postgresql_worker", url, str(start_at)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as process:
        try:
            yield process
        finally:
            process.kill()


def acknowledged_before_kill(url: str, start_at: int, lines: int) -> set[str]:
    with writer(url, start_at) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        told += process.stdout.readlines()
    return {line.decode().strip() for line in told if line.endswith(b"\n")}


def check_after_crash(store: PostgreSQLRecords, start_at: int, acknowledged: set[str]) -> int:
    """Every acknowledged change is there, and the one after the last wholly or not at all; the last batch begun."""
    last = max(int(line.split()[1]) for line in acknowledged)
    for number in range(start_at, last + 2):
        created = sqlite_worker.batch(number)
        renamed = [*created[1:], sqlite_worker.successor(number)]
        states: list[list[Record]] = [[], created, renamed] + [[]] * (number % 2)
        done = sum(f"{step} {number}" in acknowledged for step in ("create", "replace", "delete"))
        found = store.scan(label=label_of(number))
        assert found in [sorted(state, key=lambda record: record.name) for state in states[done : done + 2]]
    return last + 2


def test_a_killed_writer_loses_nothing_that_was_acknowledged(
    records: PostgreSQLRecords, postgresql: PostgreSQLServer
) -> None:
    start_at = 0
    for lines in (3, 14):
        acknowledged = acknowledged_before_kill(postgresql.url(schema=schema_of(records)), start_at, lines)
        # What the killed writer had sent is still being done, until its connection is gone.
        until_alone(records)
        start_at = check_after_crash(records, start_at, acknowledged)


def until_alone(store: PostgreSQLRecords) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lunacore-writer'"
    while store._connections.rows(query) != [(0,)]:
        pass


@pytest.mark.parametrize("rounds", [1, pytest.param(5, marks=pytest.mark.long)])
def test_a_killed_server_loses_nothing_that_was_acknowledged(
    records: PostgreSQLRecords, postgresql: PostgreSQLServer, rounds: int
) -> None:
    start_at = 0
    for _ in range(rounds):
        with writer(postgresql.url(schema=schema_of(records)), start_at) as process:
            assert process.stdout is not None
            told = [process.stdout.readline() for _ in range(12)]
            postgresql.kill()
            told += process.stdout.readlines()
            assert process.wait(60) == 3
        postgresql.start()
        start_at = check_after_crash(records, start_at, {line.decode().strip() for line in told})
