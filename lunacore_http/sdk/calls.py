"""What the application asks of the tokenizer and what it is told, without any I/O (``docs/reference/http.md``).

Each operation is a *flow*: a generator that yields calls, is sent the data of their answers, and returns its result. One flow
serves the synchronous and the asynchronous side. Whatever was refused is raised.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Generator, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, TypeAlias, TypeVar

from attrs import field, frozen

from lunacore.errors import GrantMissing, InvalidRequest, LunaCoreError
from lunacore.receipts import LabelErasure
from lunacore.tokens import MAX_TOKEN_BYTES, Token
from lunacore_http.sdk.credentials import check_session_id
from lunacore_http.sdk.refusals import UnexpectedAnswer, refusal

MAX_BATCH: Final = 500
"""Tokens of one call; more are asked for in several."""

_MOST_PORTIONS: Final = 100_000

Tokens: TypeAlias = str | Iterable[str]
"""One token, or several."""

Duration: TypeAlias = str | int | timedelta
"""``"15m"``, seconds, or a ``timedelta``."""

Data: TypeAlias = Mapping[str, Any]
T = TypeVar("T")


@frozen
class Call:
    """One POST.

    Attributes:
        body: JSON.
        repeatable: whether doing it twice is the same as doing it once.
    """

    path: str
    body: bytes = field(repr=False)
    repeatable: bool


Flow: TypeAlias = Generator[Call, Data, T]


@frozen
class ValueTicket:
    """The one request that may transfer a value, and the key that the value is sealed under.

    Attributes:
        key: 32 bytes; None for a raw value.
    """

    token: Token
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    key: bytes | None = field(repr=False)


def set_grants(session_id: str, tokens: Tokens, *, ttl: Duration | None, issuer: str | None) -> Flow[None]:
    """Let a session read tokens."""
    asked = {**_session(session_id, issuer), "grantType": "read_token"}
    if ttl is not None:
        asked["customDuration"] = _duration(ttl)
    yield from _each("/grant/set", asked, tokens)


def verify_grants(session_id: str, tokens: Tokens, *, issuer: str | None) -> Flow[None]:
    """Make sure that a session may store tokens, and that their values are there."""
    asked = {**_session(session_id, issuer), "grantType": "store_token"}
    for answered in (yield from _each("/grant/verify", asked, tokens)):
        if answered.get("valid") is not True:
            raise GrantMissing(
                "this session may not store one of the tokens, or its value is not there; save none of them"
            )


def carry_over(old: str, new: str, tokens: Tokens, *, ttl: Duration | None, issuer: str | None) -> Flow[None]:
    """Give one session the tokens that another one stored."""
    wanted = token_list(tokens)
    check_session_id(new)
    yield from verify_grants(old, wanted, issuer=issuer)
    yield from set_grants(new, wanted, ttl=ttl, issuer=issuer)


def revoke_grants(session_id: str, tokens: Tokens | None, *, issuer: str | None) -> Flow[None]:
    """Void a session's grants for tokens, or all that it has."""
    asked = _session(session_id, issuer)
    if tokens is None:
        yield _call("/grant/revoke", asked)
        return
    yield from _each("/grant/revoke", asked, tokens)


def end_session(session_id: str, *, issuer: str | None) -> Flow[None]:
    """End a session of the tokenizer."""
    yield _call("/session/end", _session(session_id, issuer))


def metadata(token: str) -> Flow[dict[str, Any]]:
    """What was said of a value when it was tokenized."""
    data = yield _call("/metadata/get", {"tokenId": _token(token)})
    return dict(_member(data, "metadata", dict))


def label(tokens: Tokens, labels: Iterable[str]) -> Flow[None]:
    """Say whose values tokens stand for."""
    yield from _each("/token/label", {"labels": _labels(labels)}, tokens)


def delete(tokens: Tokens) -> Flow[None]:
    """Erase tokens and their values."""
    yield from _each("/token/delete", {}, tokens)


def delete_label(label: str) -> Flow[LabelErasure]:
    """Erase all that has a label."""
    erased, receipts = 0, []
    for _ in range(_MOST_PORTIONS):
        data = yield _call("/label/delete", {"label": label})
        erased += _member(data, "erased", int)
        receipts.append(_member(data, "receipt", str))
        if _member(data, "complete", bool):
            return LabelErasure(erased, tuple(receipts))
    raise UnexpectedAnswer("the tokenizer finds more and more to erase; does somebody put values away with this label?")


def tokenize(
    session_id: str,
    metadata: Mapping[str, Any],
    size: int | None,
    *,
    ttl: Duration | None = None,
    labels: Iterable[str] = (),
) -> Flow[ValueTicket]:
    """A new token, and what it takes to upload its value sealed; ``size`` is that of the value in bytes, not yet sealed."""
    asked: dict[str, Any] = {
        "metadata": metadata,
        "valueFormat": "sealed-v1",
        "sessionId": check_session_id(session_id),
    }
    if size is not None:
        asked["size"] = size
    if ttl is not None:
        asked["ttl"] = _duration(ttl)
    if labels:
        asked["labels"] = _labels(labels)
    data = yield _call("/tokenize", asked, repeatable=False)
    ticket = _ticket(data, Token(_member(data, "tokenId", str)), "uploadUrl")
    if ticket.key is None:
        raise UnexpectedAnswer("the tokenizer gave no key to seal the value under; is it older than this release?")
    return ticket


def detokenize(token: str) -> Flow[ValueTicket]:
    """What it takes to download the value of a token."""
    wanted = Token(_token(token))
    data = yield _call("/detokenize", {"tokenId": wanted})
    return _ticket(data, wanted, "downloadUrl")


def read_answer(status: int, retry_after: str | None, body: bytes) -> Data:
    """The data of an answer.

    Raises:
        LunaCoreError: the one that the tokenizer answered with.
    """
    envelope = _json(body)
    if not isinstance(envelope, dict):
        raise _not_the_tokenizer(status, retry_after)
    if status < 300 and envelope.get("success") is True:
        return _member(envelope, "data", dict)
    raise _refusal_in(envelope, _seconds(retry_after)) or _not_the_tokenizer(status, retry_after)


def token_list(tokens: Tokens) -> tuple[str, ...]:
    """The tokens, each once, in order.

    Raises:
        InvalidRequest: something among them is no text, or longer than any token.
    """
    given = (tokens,) if isinstance(tokens, str) else tokens
    if isinstance(given, bytes | bytearray | Mapping) or not isinstance(given, Iterable):
        raise InvalidRequest("tokens must be one token or a list of tokens, as text", field="tokenId")
    return tuple(dict.fromkeys(_token(token) for token in given))


def _each(path: str, asked: Mapping[str, Any], tokens: Tokens) -> Flow[list[Data]]:
    """Ask for all tokens, in batches; the first refusal of any is raised."""
    wanted = token_list(tokens)
    answered: list[Data] = []
    for start in range(0, len(wanted), MAX_BATCH):
        batch = wanted[start : start + MAX_BATCH]
        data = yield _call(path, {**asked, "tokenIds": batch})
        answered += _items(data, len(batch))
    return answered


def _items(data: Data, expected: int) -> list[Data]:
    items = _member(data, "items", list)
    if len(items) != expected:
        raise UnexpectedAnswer(f"the tokenizer answered {len(items)} items, asked were {expected}")
    return [_item(one) for one in items]


def _item(envelope: object) -> Data:
    if not isinstance(envelope, Mapping):
        raise UnexpectedAnswer("the tokenizer answered an item that is no envelope")
    if envelope.get("success") is True:
        return _member(envelope, "data", dict)
    raise _refusal_in(envelope, None) or UnexpectedAnswer("the tokenizer refused an item without saying why")


def _refusal_in(envelope: Data, retry_after: int | None) -> LunaCoreError | None:
    error = envelope.get("error")
    if not isinstance(error, Mapping):
        return None
    name, message = error.get("name"), error.get("message")
    if not isinstance(name, str) or not isinstance(message, str):
        return None
    return refusal(name, message, retry_after=retry_after)


def _not_the_tokenizer(status: int, retry_after: str | None) -> LunaCoreError:
    if status in (429, 502, 503, 504):
        name = "rateLimited" if status == 429 else "storeUnavailable"
        told = f"what stands before the tokenizer answered {status}; try again later"
        return refusal(name, told, retry_after=_seconds(retry_after))
    return UnexpectedAnswer(f"the answer ({status}) is not the tokenizer's; check tokenizer_url and internal_url")


def _call(path: str, asked: Mapping[str, Any], *, repeatable: bool = True) -> Call:
    try:
        body = json.dumps(asked, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError):
        raise InvalidRequest("metadata must be JSON: texts, numbers, lists and objects", field="metadata") from None
    return Call(path, body, repeatable)


def _session(session_id: str, issuer: str | None) -> dict[str, Any]:
    named = {"sessionId": check_session_id(session_id)}
    return named if issuer is None else {**named, "sessionIssuer": issuer}


def _token(token: object) -> str:
    if not isinstance(token, str) or not token or len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise InvalidRequest("a token is text, exactly as tokenize returned it", field="tokenId")
    return token


def _labels(labels: Iterable[str]) -> list[str]:
    if isinstance(labels, str | bytes):
        raise InvalidRequest("labels must be a list of texts", field="labels")
    return list(labels)


def _duration(ttl: Duration) -> str | int:
    return int(ttl.total_seconds()) if isinstance(ttl, timedelta) else ttl


def _ticket(data: Data, token: Token, url: str) -> ValueTicket:
    headers = _member(data, "headers", dict)
    sealed = data.get("valueFormat") == "sealed-v1"
    return ValueTicket(
        token=token,
        url=_member(data, url, str),
        headers={str(name): str(value) for name, value in headers.items()},
        key=_value_key(data) if sealed else None,
    )


def _value_key(data: Data) -> bytes:
    try:
        return base64.b64decode(_member(data, "valueKey", str), validate=True)
    except (binascii.Error, ValueError):
        raise UnexpectedAnswer("the tokenizer gave a key that is not base64") from None


def _member(data: Data, name: str, kind: type[T]) -> T:
    given = data.get(name)
    if not isinstance(given, kind):
        raise UnexpectedAnswer(f"the tokenizer's answer has no {name}; is it another release?")
    return given


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _seconds(retry_after: str | None) -> int | None:
    """``Retry-After`` in its form of seconds (RFC 9110, section 10.2.3); the tokenizer sends no other."""
    text = (retry_after or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
