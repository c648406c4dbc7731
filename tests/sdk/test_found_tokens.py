from __future__ import annotations

import json
from collections import OrderedDict, UserDict, deque
from dataclasses import dataclass
from enum import Enum
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from attrs import define
from django.conf import settings as django_settings
from django.http import QueryDict
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict
from starlette.datastructures import FormData, QueryParams
from werkzeug.datastructures import CombinedMultiDict, ImmutableMultiDict, MultiDict

from lunacore.errors import InvalidRequest, TooLarge
from lunacore.tokens import Token, parse
from lunacore_http.sdk import find_tokens
from lunacore_http.sdk.found_tokens import MAX_DEPTH

TOKENS = st.uuids(version=4).map(lambda one: f"lunasec-{one}")
A, B, C = (f"lunasec-{UUID(int=number, version=4)}" for number in (1, 2, 3))


@define
class Slotted:
    value: Any


@dataclass
class Plain:
    value: Any


@dataclass(slots=True)
class PlainSlotted:
    value: Any


class Colour(Enum):
    HELD = A


class Model(BaseModel):
    model_config = ConfigDict(extra="allow")
    value: Any


CONTAINERS: list[Any] = [
    lambda part: [part],
    lambda part: (part, 1),
    lambda part: {"key": part},
    lambda part: OrderedDict(key=part),
    lambda part: UserDict(key=part),
    lambda part: deque([part]),
    lambda part: {"key": part}.values(),
    Slotted,
    Plain,
    PlainSlotted,
    lambda part: Model(value=part),
    lambda part: Model.model_validate({"value": 1, "other": part}),
    lambda part: SimpleNamespace(value=part),
    lambda part: MultiDict([("a", 1), ("a", part), ("a", 2)]),
    lambda part: CombinedMultiDict([ImmutableMultiDict([("a", part)])]),
]


@given(data=st.data())
def test_every_token_is_found_wherever_it_stands(data: st.DataObject) -> None:
    wanted = data.draw(st.lists(TOKENS, min_size=1, max_size=5, unique=True))
    parts: list[Any] = []
    for token in wanted:
        part: Any = data.draw(
            st.sampled_from([token, f"a{token}b", token.encode(), bytearray(token.encode()), f'{{"x": "{token}"}}'])
        )
        for container in data.draw(st.lists(st.sampled_from(CONTAINERS), max_size=6)):
            part = container(part)
        parts.append(part)
    found = find_tokens(parts)
    assert sorted(found) == sorted(wanted)
    assert all(isinstance(one, Token) for one in found)
    for one in found:
        parse(one)


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.floats(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_document_without_tokens_has_none(document: Any) -> None:
    assert find_tokens(document) == ()


def test_keys_sets_enums_and_text_count() -> None:
    assert find_tokens({A: 1}) == (A,)
    assert set(find_tokens({frozenset([A]), B})) == {A, B}
    assert find_tokens([Colour.HELD]) == (A,)
    assert find_tokens(f"{A}{B}, {A}") == (A, B)
    assert find_tokens(json.dumps([A, {"b": B}])) == (A, B)


def test_every_value_of_a_form_field_counts() -> None:
    """One name sent twice: what a framework shows first must not hide the other."""
    if not django_settings.configured:
        django_settings.configure()
    query = f"a={A}&a={B}&a=x"
    for form in (
        QueryDict(query),
        FormData([("a", A), ("a", B), ("a", "x")]),
        QueryParams(query),
        MultiDict([("a", A), ("a", B), ("a", "x")]),
    ):
        assert find_tokens(form) == (A, B)


def test_cycles_end() -> None:
    document: dict[str, Any] = {"token": A}
    document["again"] = [document]
    plain = Plain(document)
    document["plain"] = plain
    assert find_tokens(plain) == (A,)


def test_too_deep_is_refused_not_passed_over() -> None:
    document: Any = A
    for _ in range(MAX_DEPTH - 1):
        document = [document]
    assert find_tokens(document) == (A,)
    with pytest.raises(TooLarge):
        find_tokens([document])


def test_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lunacore_http.sdk.found_tokens.MAX_PARTS", 100)
    find_tokens([1] * 99)
    with pytest.raises(TooLarge):
        find_tokens([1] * 100)


def test_iterators_are_refused_not_used_up() -> None:
    pieces = iter([A])
    with pytest.raises(InvalidRequest, match="iterator"):
        find_tokens({"stream": pieces})
    assert list(pieces) == [A]
    with pytest.raises(InvalidRequest):
        find_tokens(one for one in [A])


def test_what_is_no_token_is_left() -> None:
    for text in (A.upper(), A[:-1], A.replace("-4", "-1"), "lunasec-", A.replace("lunasec", "lunasek")):
        assert find_tokens(text) == ()
