"""Tokens: vectors, what the parser refuses, and that secrets never show."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunacore import keys, tokens
from lunacore.errors import InvalidToken
from lunacore.tokens import Token

VECTORS = Path(__file__).parent.parent / "vectors"
DOCUMENT = json.loads((VECTORS / "tokens.json").read_bytes())
INVALID = [pytest.param(vector, id=vector["name"]) for vector in DOCUMENT["invalid"]]


def test_the_generator_still_writes_the_vectors() -> None:
    generated = subprocess.run(
        [sys.executable, VECTORS / "generate_tokens.py"], check=True, capture_output=True, timeout=60
    )
    assert generated.stdout == (VECTORS / "tokens.json").read_bytes()


@pytest.mark.parametrize("vector", DOCUMENT["generate"])
def test_vectors(vector: dict[str, Any]) -> None:
    token = tokens.mint(lambda count: bytes.fromhex(vector["random"])[:count])
    parsed = tokens.parse(vector["token"])
    assert token == vector["token"]
    assert parsed.kind == vector["kind"]
    assert parsed.canonical.hex() == vector["canonical"]


@pytest.mark.parametrize("vector", INVALID)
def test_malformed_tokens_are_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken) as refusal:
        tokens.parse(vector["text"])
    assert refusal.value.field == "tokenId"
    assert refusal.value.__cause__ is None
    assert refusal.value.message == InvalidToken().message
    assert _layer(vector["text"]) == vector["layer"]


def _layer(text: str) -> str:
    """The first thing that is wrong with a text, from outside in; the kinds are left."""
    if len(text.encode()) > tokens.MAX_TOKEN_BYTES:
        return "length"
    return "kind" if text.isascii() else "ascii"


@given(st.text(max_size=300))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        tokens.parse(text)


@given(st.binary(min_size=16, max_size=16), st.integers(0, 127))
def test_every_random_bit_but_version_and_variant_counts(random: bytes, bit: int) -> None:
    flipped = (int.from_bytes(random, "big") ^ (1 << (127 - bit))).to_bytes(16, "big")
    fixed = bit in (48, 49, 50, 51, 64, 65)  # RFC 9562: version in octet 6, variant in octet 8
    assert (tokens.mint(lambda _: random) == tokens.mint(lambda _: flipped)) is fixed


def test_sixteen_bytes_are_drawn_once() -> None:
    drawn: list[int] = []

    def random(count: int) -> bytes:
        drawn.append(count)
        return bytes(range(count))

    tokens.mint(random)
    assert drawn == [16]


@given(st.binary(min_size=16, max_size=16))
def test_what_is_minted_parses_to_itself(random: bytes) -> None:
    token = tokens.mint(lambda _: random)
    assert tokens.parse(token).canonical.decode() == token
    assert len(token) == 44


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=16, max_size=16), st.integers(0, 127))
def test_the_first_eight_bytes_of_a_token_decide_nothing_by_themselves(secret: bytes, random: bytes, bit: int) -> None:
    """LunaDefend seeded its keys from the first eight bytes, which are the same in every token."""
    flipped = (int.from_bytes(random, "big") ^ (1 << (127 - bit))).to_bytes(16, "big")
    one, two = tokens.mint(lambda _: random), tokens.mint(lambda _: flipped)
    if one == two:
        return
    tenant_key = keys.tenant_key(secret, "default")
    left, right = (keys.token_keys(tenant_key, tokens.parse(token).canonical) for token in (one, two))
    assert left.record_name != right.record_name
    assert left.wrap_key != right.wrap_key
    assert left.commitment != right.commitment
    assert left.fingerprint != right.fingerprint


class TestToken:
    TOKEN = Token(DOCUMENT["generate"][0]["token"])

    def test_is_a_string(self) -> None:
        assert str(self.TOKEN) == self.TOKEN == DOCUMENT["generate"][0]["token"]
        assert json.dumps({"token": self.TOKEN}) == f'{{"token": "{self.TOKEN!s}"}}'

    def test_repr_is_redacted(self) -> None:
        shown = [repr(self.TOKEN), f"{self.TOKEN!r}", f"{self.TOKEN=}", repr([self.TOKEN]), repr({self.TOKEN: 1})]
        assert not any("lunasec" in text for text in shown)

    def test_copies_stay_redacted(self) -> None:
        for twin in (copy.deepcopy(self.TOKEN), pickle.loads(pickle.dumps(self.TOKEN))):
            assert isinstance(twin, Token)
            assert twin == self.TOKEN

    def test_parsed_tokens_are_redacted(self) -> None:
        assert "lunasec" not in repr(tokens.parse(self.TOKEN))
