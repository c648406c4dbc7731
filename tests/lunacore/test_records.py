"""Records: vectors, every byte of them protected, and nothing that opens under a wrong name, tenant, version or generation."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from lunacore import errors, keys, records, tokens
from lunacore.errors import IntegrityError, UnknownKeyVersion, UnsupportedVersion
from lunacore.records import (
    Contents,
    Header,
    OperatorFields,
    Placement,
    Record,
    RecordState,
    RecordType,
    ValueFormat,
)
from lunacore.tokens import TokenKind

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = Path(__file__).parent.parent / "vectors"
DOCUMENT = json.loads((VECTORS / "records.json").read_bytes())
VALID = [pytest.param(vector, id=vector["name"]) for vector in DOCUMENT["generate"]]
ALIVE = [pytest.param(vector, id=vector["name"]) for vector in DOCUMENT["generate"] if vector["state"] != "erasing"]
INVALID = [pytest.param(vector, id=vector["name"]) for vector in DOCUMENT["invalid"]]
LOOKUP_VERSION = DOCUMENT["lookup"]["version"]
LOOKUP = bytes.fromhex(DOCUMENT["lookup"]["secret"])
ROOT_VERSION = DOCUMENT["root"]["version"]
ROOT = bytes.fromhex(DOCUMENT["root"]["key"])
TOKEN = DOCUMENT["token"]


def root_key_of(version: int) -> bytes:
    if version != ROOT_VERSION:
        raise UnknownKeyVersion("root", version)
    return ROOT


def keys_of(tenant: str, token: str = TOKEN, lookup: bytes = LOOKUP) -> keys.TokenKeys:
    return keys.token_keys(keys.tenant_key(lookup, tenant), tokens.parse(token).canonical)


def open_whole(record: Record, *, tenant: str, token: str, lookup_version: int = LOOKUP_VERSION) -> Contents:
    """What a reader does, layer by layer."""
    opened = records.open_record(record, root_key_of)
    derived = keys_of(tenant, token)
    records.check_commitment(opened, derived)
    return records.open_contents(
        opened.fields.placement, derived, kind=TokenKind.UUID4, tenant=tenant, lookup_version=lookup_version
    )


def refusing_layer(record: Record, *, tenant: str, token: str) -> str:
    """The first layer that refuses, found by taking the steps one by one."""
    derived = keys_of(tenant, token)
    steps: list[tuple[str, Callable[[], object]]] = [
        ("header", lambda: records.split(record.body)),
        ("type", lambda: _require(record.header.record_type is RecordType.TOKEN)),
        ("root", lambda: root_key_of(record.header.root_version)),
        ("outer", lambda: _unseal_outer(record)),
        ("operator-fields", lambda: OperatorFields.decode(_unseal_outer(record))),
        ("commitment", lambda: records.check_commitment(records.open_record(record, root_key_of), derived)),
        ("inner", lambda: _unseal_inner(record, derived, tenant)),
        ("contents", lambda: Contents.decode(_unseal_inner(record, derived, tenant))),
    ]
    for layer, step in steps:
        try:
            step()
        except IntegrityError:
            return layer
    return "none"


def _require(holds: bool) -> None:
    if not holds:
        raise IntegrityError("")


def _unseal_outer(record: Record) -> bytes:
    _, _, sealed = records.split(record.body)
    return keys.unseal(keys.outer_key(ROOT, record.name), sealed, record.body[: -len(sealed)])


def _unseal_inner(record: Record, derived: keys.TokenKeys, tenant: str) -> bytes:
    placement = records.open_record(record, root_key_of).fields.placement
    associated = struct.pack(">4sBBBII", b"LCRC", 1, 1, 1, LOOKUP_VERSION, placement.generation)
    associated += record.name + keys.lp(tenant.encode())
    return keys.unseal(derived.wrap_key, placement.inner, associated)


def record_of(vector: dict[str, Any]) -> Record:
    return Record(bytes.fromhex(vector["record_name"]), bytes.fromhex(vector["body"]))


def test_the_generator_still_writes_the_vectors() -> None:
    generated = subprocess.run(
        [sys.executable, VECTORS / "generate_records.py"], check=True, capture_output=True, timeout=60
    )
    assert generated.stdout == (VECTORS / "records.json").read_bytes()


@pytest.mark.parametrize("vector", VALID)
def test_valid_records_read_as_the_vectors_say(vector: dict[str, Any]) -> None:
    record = record_of(vector)
    opened = records.open_record(record, root_key_of)
    fields = opened.fields
    assert record.name == keys_of(vector["tenant"]).record_name
    assert opened.header.state is RecordState[vector["state"].upper()]
    assert opened.header.labels == tuple(
        sorted(keys.label_hash(LOOKUP, vector["tenant"], label) for label in vector["labels"])
    )
    for name in ("revision", "due"):
        assert getattr(opened.header, name) == vector[name]
    for name in ("tenant", "session_issuer", "created", "upload_until", "expires", "size", "etag"):
        assert getattr(fields, name) == vector[name]
    assert fields.value_format.wire_name == vector["value_format"]
    assert fields.placement.generation == vector["generation"]
    assert fields.placement.object_name.hex() == vector["object_name"]
    assert [name.hex() for name in fields.leftover] == vector["leftover"]
    assert (fields.following is not None) is vector["following"]


@pytest.mark.parametrize("vector", ALIVE)
def test_valid_contents_read_as_the_vectors_say(vector: dict[str, Any]) -> None:
    contents = open_whole(record_of(vector), tenant=vector["tenant"], token=TOKEN)
    assert contents.store_key.hex() == vector["store_key"]
    assert contents.value_key.hex() == vector["value_key"]
    assert contents.metadata == vector["metadata"].encode()
    assert list(contents.labels) == vector["labels"]


@pytest.mark.parametrize("vector", VALID)
def test_decoding_and_encoding_is_the_identity(vector: dict[str, Any]) -> None:
    record = record_of(vector)
    opened = records.open_record(record, root_key_of)
    assert opened.header.encode().hex() == vector["header"]
    assert opened.fields.encode().hex() == vector["operator_fields"]
    sealed = records.seal_record(
        opened.header,
        opened.fields,
        name=record.name,
        commitment=opened.commitment,
        root_key=ROOT,
        random=lambda _: bytes.fromhex(vector["outer_nonce"]),
    )
    assert sealed == record


@pytest.mark.parametrize("vector", ALIVE)
def test_inner_seals_are_made_byte_for_byte(vector: dict[str, Any]) -> None:
    record = record_of(vector)
    contents = open_whole(record, tenant=vector["tenant"], token=TOKEN)
    inner = records.seal_contents(
        contents,
        keys_of(vector["tenant"]),
        kind=TokenKind.UUID4,
        tenant=vector["tenant"],
        lookup_version=LOOKUP_VERSION,
        generation=vector["generation"],
        random=lambda _: bytes.fromhex(vector["inner_nonce"]),
    )
    assert inner == records.open_record(record, root_key_of).fields.placement.inner


@pytest.mark.parametrize("vector", INVALID)
def test_invalid_records_are_refused_by_the_layer_named(vector: dict[str, Any]) -> None:
    record = record_of(vector)
    with pytest.raises(IntegrityError) as refusal:
        open_whole(record, tenant=vector["tenant"], token=vector["token"])
    assert type(refusal.value) is getattr(errors, vector["error"])
    assert refusing_layer(record, tenant=vector["tenant"], token=vector["token"]) == vector["layer"]


@pytest.mark.parametrize("name", ["stored", "labels", "leftovers"])
@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_every_changed_byte_is_refused_without_any_token(name: str, mask: int) -> None:
    vector = next(one for one in DOCUMENT["generate"] if one["name"] == name)
    record = record_of(vector)
    for at in range(len(record.body)):
        changed = record.body[:at] + bytes([record.body[at] ^ mask]) + record.body[at + 1 :]
        with pytest.raises(IntegrityError):
            records.open_record(Record(record.name, changed), root_key_of)


@pytest.mark.parametrize("name", ["pending", "labels"])
def test_every_cut_is_refused(name: str) -> None:
    vector = next(one for one in DOCUMENT["generate"] if one["name"] == name)
    record = record_of(vector)
    for end in range(len(record.body)):
        with pytest.raises(IntegrityError):
            records.open_record(Record(record.name, record.body[:end]), root_key_of)


@pytest.mark.parametrize("at", [4, 5])
@pytest.mark.parametrize("number", [0, 2, 3, 255])
def test_unknown_versions_and_suites_are_told_apart_from_damage(at: int, number: int) -> None:
    record = record_of(DOCUMENT["generate"][0])
    changed = record.body[:at] + bytes([number]) + record.body[at + 1 :]
    with pytest.raises(UnsupportedVersion, match="upgrade LunaCore"):
        records.split(changed)


def test_an_older_revision_still_opens() -> None:
    """Putting an old copy of a record back is found by the audit log, not prevented."""
    record = record_of(DOCUMENT["generate"][0])
    opened = records.open_record(record, root_key_of)
    newer = records.seal_record(
        evolve(opened.header, revision=2, state=RecordState.STORED),
        opened.fields,
        name=record.name,
        commitment=opened.commitment,
        root_key=ROOT,
        random=bytes,
    )
    assert records.open_record(newer, root_key_of).header.revision == 2
    assert records.open_record(record, root_key_of).header.revision == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"tenant": "other"},
        {"lookup_version": LOOKUP_VERSION + 1},
        {"token_keys": keys_of("other")},
        {"token_keys": keys_of("default", lookup=bytes(32))},
        {"token_keys": keys_of("default", TOKEN[:-1] + "e")},
        {"token_keys": evolve(keys_of("default"), record_name=bytes(32))},
        {"token_keys": evolve(keys_of("default"), wrap_key=bytes(32))},
    ],
    ids=["tenant", "lookup-version", "tenant-keys", "lookup-secret", "token", "name", "wrap-key"],
)
def test_contents_are_bound_to_where_they_belong(wrong: dict[str, Any]) -> None:
    placement = records.open_record(record_of(DOCUMENT["generate"][0]), root_key_of).fields.placement
    right: dict[str, Any] = {
        "token_keys": keys_of("default"),
        "kind": TokenKind.UUID4,
        "tenant": "default",
        "lookup_version": LOOKUP_VERSION,
    }
    assert records.open_contents(placement, **right).store_key
    with pytest.raises(IntegrityError):
        records.open_contents(placement, **(right | wrong))
    with pytest.raises(IntegrityError):
        records.open_contents(evolve(placement, generation=2), **right)


def test_another_root_key_opens_nothing() -> None:
    with pytest.raises(IntegrityError):
        records.open_record(record_of(DOCUMENT["generate"][0]), lambda _: bytes(32))


def test_erased_fields_hold_no_key() -> None:
    vector = next(one for one in DOCUMENT["generate"] if one["name"] == "re-keying")
    fields = records.open_record(record_of(vector), root_key_of).fields
    assert fields.following is not None
    erased = fields.erased()
    assert erased.placement.inner == b""
    assert erased.following is not None
    assert erased.following.inner == b""
    assert erased.object_names == fields.object_names
    assert len(fields.object_names) == 2
    for inner in (fields.placement.inner, fields.following.inner):
        assert inner not in erased.encode()


U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
HEADERS = st.builds(
    Header,
    record_type=st.sampled_from(RecordType),
    state=st.sampled_from(RecordState),
    lookup_version=U32,
    root_version=U32,
    revision=U64,
    due=U64,
    labels=st.lists(st.binary(min_size=16, max_size=16), max_size=255, unique=True).map(
        lambda found: tuple(sorted(found))
    ),
)
PLACEMENTS = st.builds(
    Placement, object_name=st.binary(min_size=32, max_size=32), generation=U32, inner=st.binary(max_size=200)
)
FIELDS = st.builds(
    OperatorFields,
    tenant=st.text(max_size=30),
    session_issuer=st.text(max_size=30),
    placement=PLACEMENTS,
    value_format=st.sampled_from(ValueFormat),
    created=U64,
    upload_until=U64,
    expires=U64,
    size=st.none() | st.integers(0, 2**64 - 2),
    etag=st.text(max_size=30),
    following=st.none() | PLACEMENTS,
    leftover=st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(tuple),
)
CONTENTS = st.builds(
    Contents,
    store_key=st.binary(min_size=32, max_size=32),
    value_key=st.binary(min_size=32, max_size=32),
    metadata=st.binary(max_size=200),
    labels=st.lists(st.text(max_size=20), max_size=4).map(tuple),
)


@given(HEADERS, st.binary(min_size=32, max_size=32), st.binary(min_size=28, max_size=100))
def test_headers_come_back(header: Header, commitment: bytes, sealed: bytes) -> None:
    assert records.split(header.encode() + commitment + sealed) == (header, commitment, sealed)


@given(FIELDS)
def test_operator_fields_come_back(fields: OperatorFields) -> None:
    assert OperatorFields.decode(fields.encode()) == fields


@given(CONTENTS)
def test_contents_come_back(contents: Contents) -> None:
    assert Contents.decode(contents.encode()) == contents


@given(st.binary(max_size=300))
def test_noise_is_refused_and_nothing_else_happens(noise: bytes) -> None:
    for read in (records.split, OperatorFields.decode, Contents.decode):
        try:
            read(noise)
        except IntegrityError:
            continue
        assert read is Contents.decode  # noise of a fitting length may pass for keys: only the seal tells
