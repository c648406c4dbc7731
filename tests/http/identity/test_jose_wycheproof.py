"""Wycheproof's JWS and JWK vectors; where LunaCore decides otherwise, the table says why."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lunacore.errors import Unauthenticated
from lunacore_http.identity import jwt
from lunacore_http.identity.jwk import parse_key_set

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = os.environ.get("LUNACORE_WYCHEPROOF", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="LUNACORE_WYCHEPROOF names no folder with Wycheproof's vectors")

SYMMETRIC = "symmetric algorithms are never accepted: whoever can verify could sign"
SYMMETRIC_AND_JUNK = "symmetric as well; and a character outside base64url is refused, wherever it stands"
LONGER_HASH = "of RSA and PSS only those with SHA-256 can be configured"
OTHER_CURVE = "of the NIST curves only P-256 can be configured"
NO_PAYLOAD = "an empty payload is no JWT, and is refused with the form"

# Vectors that Wycheproof calls valid and LunaCore refuses. None that it calls invalid is accepted.
REFUSED_THOUGH_VALID: dict[str, dict[int, str]] = {
    "json_web_signature_test.json": {
        **dict.fromkeys((1, 348, 352, 357, 358, 359, 376, 377), SYMMETRIC),
        **dict.fromkeys((372, 373), SYMMETRIC_AND_JUNK),
        **dict.fromkeys((*range(264, 272), *range(320, 324), *range(325, 329), 346, 350), LONGER_HASH),
        **dict.fromkeys((347, 351), OTHER_CURVE),
        **dict.fromkeys((259, 272), NO_PAYLOAD),
    },
    "json_web_key_test.json": dict.fromkeys((2, 13, 14, 15), SYMMETRIC),
}

# The vectors on base64url have symmetric keys, so their form is judged by itself. These two are the same text as the valid 357.
WELL_FORMED_THOUGH_INVALID = {367, 370}
MALFORMED_THOUGH_VALID = {372, 373}


def accepts(keys: list[Any], jws: object, *, allow_padding: bool) -> bool:
    key_set = parse_key_set(json.dumps({"keys": keys}).encode(), jwt.ALGORITHMS, "wycheproof")
    text = jws if isinstance(jws, str) else json.dumps(jws)
    try:
        unverified = jwt.parse(text, allow_padding=allow_padding)
        key = key_set.select(unverified.key_id, unverified.algorithm)
        if key is None:
            return False
        jwt.verify_signature(unverified, key)
    except Unauthenticated:
        return False
    return True


def vectors(file: str) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    groups = json.loads((Path(FOLDER) / file).read_text())["testGroups"]
    for group in groups:
        key = group.get("public") or group["private"]
        for vector in group["tests"]:
            yield key.get("keys", [key]), vector


@pytest.mark.parametrize("allow_padding", [False, True])
@pytest.mark.parametrize(("file", "count"), [("json_web_signature_test.json", 401), ("json_web_key_test.json", 26)])
def test_every_vector(file: str, count: int, allow_padding: bool) -> None:
    """Whoever allows padding lets no more vectors in than others do."""
    judged = {
        vector["tcId"]: (vector["result"], accepts(keys, vector["jws"], allow_padding=allow_padding))
        for keys, vector in vectors(file)
    }
    assert len(judged) == count
    assert [number for number, (result, accepted) in judged.items() if result == "invalid" and accepted] == []
    refused = {number for number, (result, accepted) in judged.items() if result == "valid" and not accepted}
    assert refused == set(REFUSED_THOUGH_VALID[file])
    assert any(accepted for _, accepted in judged.values())


def test_the_form_of_the_base64url_vectors() -> None:
    seen = 0
    for group in json.loads((Path(FOLDER) / "json_web_signature_test.json").read_text())["testGroups"]:
        for vector in group["tests"] if group["comment"] == "base64" else ():
            seen += 1
            number, valid = vector["tcId"], vector["result"] == "valid"
            expected = number in WELL_FORMED_THOUGH_INVALID or (valid and number not in MALFORMED_THOUGH_VALID)
            assert well_formed(vector["jws"]) is expected, number
    assert seen == 21


def well_formed(text: str) -> bool:
    try:
        jwt.parse(text)
    except Unauthenticated:
        return False
    return True
