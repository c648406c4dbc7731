"""The keyring as a record of the record store."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from lunacore.errors import ConfigError, IntegrityError, UnsupportedVersion
from lunacore.plugins import BackendURL, Surroundings, open_backend
from lunacore.records import Record, RecordType
from lunacore.testing.keyring_store import KeyringStoreContract, sealed_of
from lunacore.testing.record_store import make_record
from lunacore_backends.keyring_records import RECORD_NAME, KeyringRecord, decode, encode
from lunacore_backends.memory import MemoryRecords
from lunacore_backends.sqlite import SQLiteRecords

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lunacore.stores import KeyringStore, RecordStore

SETTING = "tokenizer.keyring"
HEADER = bytes.fromhex("4c435243 01 01 03 02 00000000 ffffffff 0000000000000000 0000000000000000 00")


def surroundings(records: RecordStore | None) -> Surroundings:
    return Surroundings(setting=SETTING, now=lambda: 0.0, random=os.urandom, records=records)


class OverRecords(KeyringStoreContract):
    @pytest.fixture
    def records(self) -> RecordStore:
        raise NotImplementedError

    @pytest.fixture
    def open_store(self, records: RecordStore) -> Callable[[], KeyringStore]:
        return lambda: open_backend("keyring", "records:", surroundings(records))

    def peek(self, store: KeyringStore) -> bytes | None:
        assert isinstance(store, KeyringRecord)
        (record,) = store._records.get([hashlib.sha256(b"lunacore/v1/keyring-record").digest()])
        if record is None:
            return None
        assert record.body.startswith(HEADER + bytes(32))
        return record.body[len(HEADER) + 32 :]


class TestOverMemory(OverRecords):
    @pytest.fixture
    def records(self) -> RecordStore:
        return MemoryRecords()


class TestOverSQLite(OverRecords):
    @pytest.fixture
    def records(self, tmp_path: Path) -> RecordStore:
        return SQLiteRecords(tmp_path / "records.sqlite")


def test_neither_rewrap_nor_sweep_selects_it() -> None:
    records = MemoryRecords()
    assert KeyringRecord(records).replace(None, sealed_of(1))
    assert records.scan(root_below=2**32 - 1) == []
    assert records.scan(due_before=2**63) == []
    (found,) = records.scan()
    assert found.header.record_type is RecordType.KEYRING


def test_every_other_record_at_its_name_is_refused() -> None:
    body = encode(sealed_of(1)).body
    assert decode(Record(RECORD_NAME, body)) == sealed_of(1)
    for at in range(len(HEADER) + 32):
        changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        with pytest.raises(IntegrityError):
            decode(Record(RECORD_NAME, changed))
    with pytest.raises(IntegrityError, match="holds no keyring"):
        decode(make_record(RECORD_NAME))
    with pytest.raises(UnsupportedVersion):
        decode(Record(RECORD_NAME, body[:4] + b"\x02" + body[5:]))


def test_a_foreign_record_is_not_overwritten() -> None:
    records = MemoryRecords()
    foreign = make_record(RECORD_NAME)
    records.create([foreign])
    store = KeyringRecord(records)
    with pytest.raises(IntegrityError):
        store.read()
    assert not store.replace(None, sealed_of(1))
    assert records.get([RECORD_NAME]) == [foreign]


def test_probe_reaches_the_record_store(tmp_path: Path) -> None:
    KeyringRecord(SQLiteRecords(tmp_path / "records.sqlite")).probe()
    KeyringRecord(MemoryRecords()).probe()


def test_needs_a_record_store() -> None:
    with pytest.raises(ConfigError, match=rf"^{SETTING}: records: needs a record store"):
        open_backend("keyring", "records:", surroundings(None))


@pytest.mark.parametrize("url", ["records:///path", "records://host", "records:?x=1"])
def test_takes_nothing_else(url: str) -> None:
    assert BackendURL.parse(url, SETTING).scheme == "records"
    with pytest.raises(ConfigError, match=rf"^{SETTING}: "):
        open_backend("keyring", url, surroundings(MemoryRecords()))
