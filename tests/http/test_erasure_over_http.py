"""``ttl`` and ``labels`` on tokenize, labels that are given later, and the erasure of a label, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lunacore import receipts
from lunacore.outcomes import unrefused
from tests.http.conftest import Tokenizer
from tests.http.tokenizer_server import STRING

if TYPE_CHECKING:
    from pathlib import Path

ALICE = "alice@example.com"


def tokenize(tokenizer: Tokenizer, **more: Any) -> str:
    token: str = tokenizer.data("/tokenize", {"metadata": STRING, **more}, tokenizer.application)["tokenId"]
    return token


def delete_label(tokenizer: Tokenizer, label: str = ALICE) -> Any:
    return tokenizer.data("/label/delete", {"label": label}, tokenizer.application)


def known(tokenizer: Tokenizer, token: str) -> bool:
    answer = tokenizer.send("/metadata/get", {"tokenId": token}, tokenizer.application)
    return bool(answer.json["success"])


def test_a_label_is_erased_and_a_receipt_given(tokenizer: Tokenizer) -> None:
    hers = [tokenize(tokenizer, labels=[ALICE]), tokenize(tokenizer, labels=["bob", ALICE])]
    kept = tokenize(tokenizer, labels=["bob"])
    done = delete_label(tokenizer)
    assert (done["erased"], done["complete"]) == (2, True)
    receipt = receipts.verify(done["receipt"], tokenizer.deployment.keyring)
    assert receipt.told["counts"]["erased"] == 2
    assert receipt.told["selection"]["by"] == "label"
    assert ALICE not in done["receipt"]
    assert [known(tokenizer, token) for token in [*hers, kept]] == [False, False, True]
    assert delete_label(tokenizer)["erased"] == 0


def test_what_a_browser_tokenized_is_labelled_and_erased(tokenizer: Tokenizer) -> None:
    hers, others = [tokenizer.data("/tokenize", {"metadata": STRING}, tokenizer.user())["tokenId"] for _ in range(2)]
    for _ in range(2):
        assert tokenizer.data("/token/label", {"tokenId": hers, "labels": [ALICE]}, tokenizer.application) == {}
    batch = tokenizer.data("/token/label", {"tokenIds": [hers, "no token"], "labels": ["b"]}, tokenizer.application)
    assert [one["success"] for one in batch["items"]] == [True, False]
    assert delete_label(tokenizer)["erased"] == 1
    assert [known(tokenizer, token) for token in (hers, others)] == [False, True]
    status, name = tokenizer.refusal("/token/label", {"tokenId": hers, "labels": ["b"]}, tokenizer.application)[:2]
    assert (status, name) == (404, "tokenNotFound")


def test_a_user_gives_no_labels(shared_tokenizer: Tokenizer) -> None:
    tokenizer = shared_tokenizer
    token = tokenizer.data("/tokenize", {"metadata": STRING}, tokenizer.user())["tokenId"]
    body = {"tokenId": token, "labels": ["hers"]}
    assert tokenizer.refusal("/token/label", body, tokenizer.user())[:2] == (403, "roleForbidden")


def test_many_are_erased_in_portions(tokenizer: Tokenizer) -> None:
    items = [{"metadata": STRING, "labels": [ALICE]}] * 130
    tokenizer.data("/tokenize", {"items": items}, tokenizer.application)
    done = [delete_label(tokenizer) for _ in range(2)]
    assert [(one["erased"], one["complete"]) for one in done] == [(100, False), (30, True)]


def test_a_ttl_is_kept(tokenizer: Tokenizer) -> None:
    tokens = [tokenize(tokenizer, ttl=ttl) for ttl in ("30d", "1h30m", 90)]
    lookup = tokenizer.deployment.tokenizer.lookup
    found = unrefused(lookup.find(unrefused(lookup.present_each("default", tokens))))
    lives = [one.fields.expires - one.fields.created for one in found]
    assert lives == [30 * 86_400, 5400, 90]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"ttl": "soon"}, "ttl"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": -1}, "ttl"),
        ({"ttl": 1.5}, "ttl"),
        ({"ttl": "200000d"}, "ttl"),
        ({"labels": "alice"}, "labels"),
        ({"labels": [""]}, "labels[0]"),
        ({"labels": ["x" * 257]}, "labels[0]"),
        ({"labels": ["é" * 200]}, "a label"),
        ({"labels": ["x"] * 256}, "labels"),
        ({"labels": [1]}, "labels[0]"),
    ],
)
def test_what_is_wrong_is_named(shared_tokenizer: Tokenizer, more: dict[str, Any], field: str) -> None:
    status, name, message = shared_tokenizer.refusal(
        "/tokenize", {"metadata": STRING, **more}, shared_tokenizer.application
    )[:3]
    assert (status, name) == (400, "invalidRequest")
    assert field in message


@pytest.mark.parametrize("more", [{"ttl": "30d"}, {"labels": [ALICE]}])
def test_a_user_says_neither(shared_tokenizer: Tokenizer, more: dict[str, Any]) -> None:
    """It could have its value vanish, or erased in another person's name, behind the application's back."""
    tokenizer = shared_tokenizer
    status, name, message = tokenizer.refusal("/tokenize", {"metadata": STRING, **more}, tokenizer.user())[:3]
    assert (status, name, message) == (400, "invalidRequest", f"{next(iter(more))} is for applications")
    batch = tokenizer.data(
        "/tokenize", {"items": [{"metadata": STRING, **more}, {"metadata": STRING}]}, tokenizer.user()
    )
    assert [one["success"] for one in batch["items"]] == [False, True]


def test_a_user_erases_no_label(shared_tokenizer: Tokenizer) -> None:
    tokenizer = shared_tokenizer
    token = tokenize(tokenizer, labels=["hers"])
    assert tokenizer.refusal("/label/delete", {"label": "hers"}, tokenizer.user())[:2] == (403, "roleForbidden")
    assert known(tokenizer, token)


@pytest.mark.parametrize(
    "body", [{}, {"label": ""}, {"label": 1}, {"label": "x" * 257}, {"label": "x", "labels": ["y"]}]
)
def test_what_is_no_label_is_refused(shared_tokenizer: Tokenizer, body: dict[str, Any]) -> None:
    status, name = shared_tokenizer.refusal("/label/delete", body, shared_tokenizer.application)[:2]
    assert (status, name) == (400, "invalidRequest")


def test_it_is_limited(tmp_path: Path) -> None:
    tokenizer = Tokenizer(tmp_path, limits={"application_erasures": 1})
    delete_label(tokenizer)
    answer = tokenizer.send("/label/delete", {"label": ALICE}, tokenizer.application)
    assert (answer.status_code, answer.json["error"]["name"]) == (429, "rateLimited")
    assert int(answer.headers["retry-after"]) > 0
