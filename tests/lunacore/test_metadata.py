"""Metadata: kept as it was given, or refused with the member to blame."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunacore import metadata
from lunacore.errors import InvalidRequest, TooLarge

FILE = {"filename": "passport.pdf"}


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(depth):
        inner = {"x": inner}
    return inner


@pytest.mark.parametrize(
    "given",
    [
        {"dataType": "string"},
        {"dataType": "file", "fileinfo": FILE},
        {"dataType": "file", "fileinfo": {**FILE, "type": "application/pdf", "lastModified": 1_700_000_000_000}},
        {"dataType": "string", "createdAt": "2024-01-01T00:00:00Z", "customFields": {"ä": ["x", 1, None, {"y": 0.5}]}},
        {"dataType": "string", "createdAt": 1.5, "customFields": {}},
    ],
)
def test_comes_back_as_it_was_given(given: dict[str, Any]) -> None:
    assert metadata.decode(metadata.encode(given)) == given


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "metadata.dataType"),
        ({"dataType": None}, "metadata.dataType"),
        ({"dataType": "blob"}, "metadata.dataType"),
        ({"dataType": ["string"]}, "metadata.dataType"),
        ({"datatype": "string"}, "metadata.datatype"),
        ({"dataType": "string", "x": 1}, "metadata.x"),
        ({"dataType": "string", "createdAt": True}, "metadata.createdAt"),
        ({"dataType": "string", "createdAt": []}, "metadata.createdAt"),
        ({"dataType": "string", "customFields": []}, "metadata.customFields"),
        ({"dataType": "string", "customFields": None}, "metadata.customFields"),
        ({"dataType": "file", "fileinfo": "x"}, "metadata.fileinfo"),
        ({"dataType": "file", "fileinfo": {}}, "metadata.fileinfo.filename"),
        ({"dataType": "file", "fileinfo": {"filename": 1}}, "metadata.fileinfo.filename"),
        ({"dataType": "file", "fileinfo": {**FILE, "size": 1}}, "metadata.fileinfo.size"),
        ({"dataType": "file", "fileinfo": {**FILE, "type": 1}}, "metadata.fileinfo.type"),
        ({"dataType": "file", "fileinfo": {**FILE, "lastModified": False}}, "metadata.fileinfo.lastModified"),
        ({"dataType": "string", "customFields": {"x": b"bytes"}}, "metadata"),
        ({"dataType": "string", "customFields": {"x": float("nan")}}, "metadata"),
        ({"dataType": "string", "customFields": {"x": float("inf")}}, "metadata"),
        ({"dataType": "string", "customFields": {"x": "\ud800"}}, "metadata"),
        ({"dataType": "string", "customFields": {("x",): 1}}, "metadata"),
        ({"dataType": "string", "customFields": nested(32)}, "metadata"),
        ({"dataType": "string", "customFields": nested(100_000)}, "metadata"),
    ],
)
def test_the_member_to_blame_is_named(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        metadata.encode(given)
    assert refusal.value.field == field


def test_nesting_has_an_exact_limit() -> None:
    assert metadata.encode({"dataType": "string", "customFields": nested(30)})


@pytest.mark.parametrize("character", ["x", "ä", "\U0001f600"])
def test_at_most_4096_bytes(character: str) -> None:
    width = len(character.encode())
    room = 4096 - len(metadata.encode({"dataType": "string", "createdAt": ""}))
    count = room // width
    fitting = {"dataType": "string", "createdAt": character * count + "x" * (room - count * width)}
    assert len(metadata.encode(fitting)) == 4096
    with pytest.raises(TooLarge, match="4097 bytes; at most 4096"):
        metadata.encode({**fitting, "createdAt": fitting["createdAt"] + "x"})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_any_json_comes_back_or_is_refused(fields: dict[str, Any]) -> None:
    given: dict[str, Any] = {"dataType": "string", "customFields": fields}
    try:
        encoded = metadata.encode(given)
    except TooLarge:
        return
    assert metadata.decode(encoded) == given
