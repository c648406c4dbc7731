"""The command line on PostgreSQL and Redis: what it shows of their URLs, what it finds, and that values come back."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lunacore.testing.database_servers import PostgreSQLServer, RedisServer
    from tests.command.running import Lunacore

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("postgresql")]


@pytest.fixture
def databases(postgresql: PostgreSQLServer, redis_server: RedisServer) -> dict[str, str]:
    name = f"command_{os.urandom(4).hex()}"
    return {
        "LUNACORE_TOKENIZER_RECORDS": postgresql.url(schema=name),
        "LUNACORE_TOKENIZER_GRANTS": redis_server.url(prefix=f"{name}:"),
    }


def test_values_come_back_and_doctor_finds_it_well(
    lunacore: Lunacore, databases: dict[str, str], redis_server: RedisServer, postgresql: PostgreSQLServer
) -> None:
    put = lunacore("put", "-", given=b"value", environ=databases)
    assert put.code == 0, put.err
    assert lunacore("get", "--reason", "a test", put.text.strip(), environ=databases).out == b"value"
    ended = lunacore("doctor", "--json", environ=databases)
    report = json.loads(ended.out)
    assert report["healthy"], report
    told = "\n".join(f"{one['part']}: {one['message']}" for one in report["findings"])
    for finding in (
        "tokenizer.records: can be reached",
        "tokenizer.records: commits wait for the disk (synchronous_commit on)",
        "tokenizer.grants: takes, gives back and removes what is written",
        "tokenizer.grants: the server evicts nothing",
        "tokenizer.grants: the server writes down what it acknowledges (AOF)",
    ):
        assert finding in told
    for said in (ended.text, ended.err):
        assert redis_server.password not in said
        assert postgresql.password not in said


def test_config_check_knows_the_urls_and_hides_what_is_secret(
    lunacore: Lunacore, databases: dict[str, str], redis_server: RedisServer, postgresql: PostgreSQLServer
) -> None:
    lunacore("put", "-", given=b"value", environ=databases)
    ended = lunacore("config", "check", "--open", environ=databases)
    assert ended.code == 0, ended.err
    assert f'records = "postgresql://127.0.0.1:{postgresql.port}/postgres"  # credentials' in ended.text
    assert f'grants = "redis://127.0.0.1:{redis_server.port}/0"  # credentials' in ended.text
    assert "only%20for%20tests" not in ended.text


def test_what_is_wrong_is_told_and_names_the_setting(lunacore: Lunacore, databases: dict[str, str]) -> None:
    wrong = {**databases, "LUNACORE_TOKENIZER_RECORDS": "postgresql://u:hunter2@127.0.0.1:1/db"}
    ended = lunacore("doctor", environ=wrong)
    assert ended.code == 1
    assert "tokenizer.records: database db at 127.0.0.1: nothing listens there" in ended.text
    assert "hunter2" not in ended.text + ended.err
    unknown = {**databases, "LUNACORE_TOKENIZER_GRANTS": "redis://:hunter2@127.0.0.1/0?ttl=1"}
    ended = lunacore("put", "-", given=b"value", environ=unknown)
    assert ended.code != 0
    assert "redis has no option 'ttl'" in ended.err
    assert "hunter2" not in ended.text + ended.err
