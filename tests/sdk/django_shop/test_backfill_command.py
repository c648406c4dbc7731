"""``manage.py lunacore_backfill``: over a real database and a real tokenizer, also while the process is killed."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import override_settings

from lunacore import tokens
from lunacore.errors import TokenNotFound
from lunacore_http.sdk.django import luna
from lunacore_http.sdk.django.column import ColumnRows
from tests.sdk.django_shop.shop.models import Customer, Scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunacore_http.sdk.testing import EmbeddedTokenizer

pytestmark = pytest.mark.xdist_group("lunacore_tokenizer")

ROOT = Path(__file__).parents[3]
START_SECONDS = 60.0


@pytest.fixture
def wired(reading_tokenizer: EmbeddedTokenizer, database: None) -> Iterator[EmbeddedTokenizer]:
    with override_settings(LUNACORE=reading_tokenizer.django_settings):
        yield reading_tokenizer


def run(*arguments: str) -> str:
    told = io.StringIO()
    call_command("lunacore_backfill", *arguments, stdout=told)
    return told.getvalue()


def customers(count: int) -> None:
    Customer.objects.bulk_create(Customer(name=f"c{i}", card=f"4111 {i:04}") for i in range(count))


def test_a_column_is_tokenized_verified_and_cleared(wired: EmbeddedTokenizer) -> None:
    customers(7)
    Customer.objects.create(name="without a card")
    assert "7 rows wait for a token, 0 have one" in run("shop.Customer.card", "--dry-run")
    assert Customer.objects.filter(card_token__isnull=False).count() == 0
    assert run("shop.Customer.card", "--batch", "3", "--limit", "2") == "2 rows tokenized.\n"
    assert run("shop.Customer.card", "--batch", "3") == "5 rows tokenized.\n"
    assert run("shop.Customer.card") == "0 rows tokenized.\n"
    for customer in Customer.objects.exclude(card=""):
        assert customer.card_token is not None
        assert wired.read(customer.card_token) == customer.card.encode()
    assert run("shop.Customer.card", "--verify") == "7 rows verified.\n"
    assert Customer.objects.exclude(card="").count() == 7
    assert run("shop.Customer.card", "--clear", "--batch", "3") == "7 rows verified.\n7 rows cleared.\n"
    assert Customer.objects.exclude(card="").count() == 0
    assert Customer.objects.filter(card_token__isnull=False).count() == 7
    assert run("shop.Customer.card", "--clear") == "0 rows verified.\n0 rows cleared.\n"


def test_bytes_are_put_away_as_they_are_and_a_column_that_may_be_null_becomes_null(wired: EmbeddedTokenizer) -> None:
    content = bytes(range(256)) * 20
    Scan.objects.create(content=content)
    run("shop.Scan.content")
    stored = Scan.objects.get()
    assert wired.read(stored.content_token) == content
    run("shop.Scan.content", "--clear")
    assert Scan.objects.get().content is None


def test_nothing_is_cleared_while_a_row_has_no_token_or_another_value(wired: EmbeddedTokenizer) -> None:
    customers(3)
    run("shop.Customer.card", "--limit", "2")
    with pytest.raises(CommandError, match=r"1 rows have a value but no token.*Nothing was cleared"):
        run("shop.Customer.card", "--clear")
    run("shop.Customer.card")
    changed = Customer.objects.order_by("pk")[1]
    Customer.objects.filter(pk=changed.pk).update(card="5500 0000")
    with pytest.raises(CommandError, match=rf"1 rows hold another value than their token stands for \({changed.pk}\)"):
        run("shop.Customer.card", "--clear")
    assert Customer.objects.exclude(card="").count() == 3
    luna.delete(changed.card_token)
    with pytest.raises(CommandError, match=f"row {changed.pk}: there is no such token"):
        run("shop.Customer.card", "--verify")


def test_an_application_that_may_not_read_clears_nothing(tokenizer: EmbeddedTokenizer, database: None) -> None:
    customers(2)
    run("shop.Customer.card")
    with pytest.raises(CommandError, match="may_read = true"):
        run("shop.Customer.card", "--clear")
    assert Customer.objects.exclude(card="").count() == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["shop.Customer.nothing"], "has no field nothing"),
        (["shop.Nothing.card"], "names no field of a model"),
        (["card"], "names no field of a model"),
        (["shop.Customer.card", "--to", "name"], "no TokenField name: it has card_token"),
        (["shop.Customer.name"], "no TokenField name_token: it has card_token"),
        (["shop.Customer.card_token"], "holds tokens already"),
        (["shop.Member.name", "--to", "ssn"], "must be null=True"),
        (["shop.Scan.number", "--to", "content_token"], "neither text nor bytes"),
        (["shop.Scan.code", "--to", "content_token", "--clear"], "unique and may not be null"),
        (["shop.Customer.card", "--batch", "0"], "batch"),
    ],
)
def test_a_mistake_is_told_before_anything_is_done(database: None, arguments: list[str], told: str) -> None:
    with pytest.raises(CommandError, match=told):
        run(*arguments)


def test_a_tokenizer_that_is_down_is_told_and_costs_nothing(database: None) -> None:
    customers(1)
    down = {**settings.LUNACORE, "INTERNAL_URL": "http://127.0.0.1:9", "RETRIES": 0}
    with override_settings(LUNACORE=down), pytest.raises(CommandError, match="run it again to go on"):
        run("shop.Customer.card")
    assert Customer.objects.get().card == "4111 0000"


def test_a_row_that_changed_since_it_was_read_is_neither_tokenized_nor_cleared(database: None) -> None:
    customers(2)
    rows = ColumnRows(Customer, "card", "card_token", database="default")
    first, second = rows.waiting(None, 10)
    Customer.objects.filter(pk=first.key).update(card="newer")
    minted = [tokens.mint(os.urandom) for _ in range(2)]
    assert rows.store([(first, minted[0]), (second, minted[1])]) == [False, True]
    assert rows.store([(second, minted[0])]) == [False]
    assert Customer.objects.get(pk=first.key).card_token is None
    assert Customer.objects.get(pk=second.key).card_token == minted[1]
    (read,) = rows.tokenized(None, 10)
    Customer.objects.filter(pk=read.key).update(card="newer too")
    assert rows.clear([read]) == [False]
    (read,) = rows.tokenized(None, 10)
    Customer.objects.filter(pk=read.key).update(card_token=minted[0])
    assert rows.clear([read]) == [False]
    Customer.objects.filter(pk=read.key).delete()
    assert rows.clear([read]) == [False]


class Project:
    """The Django project in processes of its own, on a database in a file."""

    def __init__(self, directory: Path, tokenizer: EmbeddedTokenizer) -> None:
        self.path = directory / "shop.sqlite"
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.sdk.django_shop.settings",
            "SHOP_DATABASE": str(self.path),
            "SHOP_LUNACORE": json.dumps(tokenizer.django_settings),
            "PYTHONPATH": str(ROOT),
        }

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "django", *arguments]
        return subprocess.Popen(command, env=self.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *arguments: str) -> bytes:
        with self.start(*arguments) as process:
            told, wrong = process.communicate(timeout=START_SECONDS)
        assert process.returncode == 0, wrong.decode()
        return told

    def rows(self, sql: str, *parameters: object) -> list[Any]:
        connection = sqlite3.connect(self.path, timeout=30)
        try:
            with connection:
                return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()

    def fill(self, count: int) -> None:
        connection = sqlite3.connect(self.path, timeout=30)
        cards = [(f"4111 {place:04}",) for place in range(count)]
        with connection:
            connection.executemany("INSERT INTO shop_customer (name, card) VALUES ('c', ?)", cards)
        connection.close()

    def count(self, where: str) -> int:
        return int(self.rows(f"SELECT count(*) FROM shop_customer WHERE {where}")[0][0])


def kill_once(process: subprocess.Popen[bytes], project: Project, condition: str, at_least: int) -> None:
    """Kill the process without warning as soon as so many rows fit the condition."""
    deadline = time.monotonic() + START_SECONDS
    with process:
        while process.poll() is None and project.count(condition) < at_least:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.mark.long
@pytest.mark.parametrize(("kills", "count"), [(1, 60), (6, 300)])
def test_a_backfill_that_is_killed_goes_on_where_it_was(
    tmp_path: Path, reading_tokenizer: EmbeddedTokenizer, kills: int, count: int
) -> None:
    project = Project(tmp_path, reading_tokenizer)
    project.run("migrate", "--run-syncdb", "--verbosity", "0")
    project.fill(count)
    tokenize = ("lunacore_backfill", "shop.Customer.card", "--batch", "5")
    for kill in range(1, kills + 1):
        kill_once(project.start(*tokenize), project, "card_token IS NOT NULL", count * kill // (kills + 2))
    done = project.count("card_token IS NOT NULL")
    assert 0 < done < count, "the kill came too late to show anything"
    assert project.run(*tokenize) == f"{count - done} rows tokenized.\n".encode()
    expected = {place + 1: f"4111 {place:04}" for place in range(count)}
    assert dict(project.rows("SELECT id, card FROM shop_customer")) == expected

    clear = (*tokenize, "--clear")
    for kill in range(1, kills + 1):
        kill_once(project.start(*clear), project, "card = ''", count * kill // (kills + 2))
    for key, card, token in project.rows("SELECT id, card, card_token FROM shop_customer"):
        assert (card or reading_tokenizer.read(token).decode()) == expected[key]
    project.run(*clear)
    assert project.count("card = ''") == count
    for key, token in project.rows("SELECT id, card_token FROM shop_customer"):
        assert reading_tokenizer.read(token).decode() == expected[key]
    with pytest.raises(TokenNotFound):
        reading_tokenizer.read(tokens.mint(os.urandom))
