"""The SDK and a real tokenizer, over HTTP: grants, sessions, metadata and values, waiting and asynchronous."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import os
import secrets
import time
import tracemalloc
import uuid
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import httpx
import jwt as pyjwt
import pytest

from lunacore.errors import (
    Conflict,
    GrantMissing,
    InvalidRequest,
    RoleForbidden,
    StoreUnavailable,
    TokenNotFound,
    Unauthenticated,
)
from lunacore.segments import SEGMENT_BYTES
from lunacore.testing.servers import free_port
from lunacore.tokens import Token
from lunacore_http.sdk import Application, AsyncApplication
from lunacore_http.sdk.signing_keys import key_set, read_keys
from tests.http.tokenizer_server import STRING, Issuer, TokenizerServer
from tests.sdk.pems import ALGORITHMS, pem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

# One worker runs them all, and so makes what they share once.
pytestmark = pytest.mark.xdist_group("sdk_against_tokenizer")

ISSUERS = {algorithm: f"https://{algorithm.lower()}.example.com" for algorithm in ALGORITHMS}
NO_READER = "https://writer.example.com"
PUBLIC = "https://secure.example.com"


class World:
    """A tokenizer that knows one application for each kind of key; all may read values but ``NO_READER``."""

    def __init__(self, directory: Path) -> None:
        self.keys = {issuer: pem(algorithm) for algorithm, issuer in ISSUERS.items()} | {NO_READER: pem()}
        # Its own public URL is another than where it is reached, as behind a proxy.
        self.server = TokenizerServer(
            directory, settings={"tokenizer": {"public_url": PUBLIC}, "grants": {"max_ttl": "1h"}}
        )
        self.users = Issuer(directory, "https://users.example.com", name="users")
        self.server.config["identity"] = [self.users.settings, *(self._provider(directory, one) for one in self.keys)]

    def _provider(self, directory: Path, issuer: str) -> dict[str, Any]:
        name = issuer.removeprefix("https://").partition(".")[0]
        path = directory / f"{name}.jwks.json"
        path.write_text(json.dumps(key_set(read_keys(self.keys[issuer]))))
        return {
            "name": name,
            "kind": "application",
            "issuer": issuer,
            "jwks": path.as_uri(),
            "direct": True,
            "may_read": issuer != NO_READER,
        }

    def options(self, issuer: str = ISSUERS["EdDSA"], **changed: Any) -> dict[str, Any]:
        given = {
            "issuer": issuer,
            "signing_key": self.keys.get(issuer),
            "internal_url": self.server.url,
            "timeout": 30.0,
        }
        return {"tokenizer_url": PUBLIC, **given, **changed}

    def tokenized_by(self, session: str, issuer: str = ISSUERS["EdDSA"]) -> Token:
        """A token whose value a user has uploaded, as the Secure Frame does."""
        (key,) = read_keys(self.keys[issuer])
        now = int(time.time())
        claims = {"iss": issuer, "aud": PUBLIC, "sub": "user", "session_id": session, "iat": now, "exp": now + 600}
        headers = {"cookie": f"access_token={key.sign(claims)}"}
        data = self.server.data("/tokenize", {"metadata": STRING}, headers)
        url = data["uploadUrl"].replace(PUBLIC, self.server.url)
        httpx.put(url, content=b"4111", headers=data["headers"], trust_env=False).raise_for_status()
        return Token(data["tokenId"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("world"))
    with world.server:
        yield world


class Asks:
    """Asks the synchronous or the asynchronous application, which are used the same way."""

    def __init__(self, world: World, *, is_async: bool) -> None:
        self.world = world
        self._is_async = is_async

    def __call__(self, ask: Callable[[Any], Any], **options: Any) -> Any:
        given = self.world.options(**options)
        if not self._is_async:
            with Application(**given) as luna:
                return ask(luna)

        async def run() -> Any:
            async with AsyncApplication(**given) as luna:
                result = ask(luna)
                return await result if inspect.isawaitable(result) else result

        return asyncio.run(run())


@pytest.fixture(params=["sync", "async"])
def asks(request: pytest.FixtureRequest, world: World) -> Asks:
    return Asks(world, is_async=request.param == "async")


@pytest.fixture
def session() -> str:
    return secrets.token_hex(8)


def _verify(session: str, tokens: Sequence[str], luna: Any) -> Any:
    return luna.grants.verify(session, tokens)


def _put(value: Any, metadata: Any, luna: Any) -> Any:
    return luna.values.put(value, metadata)


def _get(token: str, luna: Any) -> Any:
    return luna.values.get(token)


def _metadata(token: str, luna: Any) -> Any:
    return luna.metadata(token)


def test_grants(asks: Asks, session: str) -> None:
    token, other = asks.world.tokenized_by(session), secrets.token_hex(8)
    document = {"profile": [{"card": f"card {token}"}]}
    asks(lambda luna: luna.grants.verify(session, token))
    assert asks(lambda luna: luna.grants.verify_found(session, document)) == (token,)
    with pytest.raises(GrantMissing):
        asks(lambda luna: luna.grants.verify(other, token))
    assert asks(lambda luna: luna.grants.create_found(other, document, ttl="5m")) == (token,)
    with pytest.raises(GrantMissing):  # to read is not to store
        asks(lambda luna: luna.grants.verify(other, token))
    asks(lambda luna: luna.grants.revoke(session, token))
    with pytest.raises(GrantMissing):
        asks(lambda luna: luna.grants.verify(session, [token]))
    with pytest.raises(InvalidRequest):
        asks(lambda luna: luna.grants.create(session, token, ttl="2h"))
    with pytest.raises(InvalidRequest):
        asks(lambda luna: luna.grants.create(session, "no-token"))
    with pytest.raises(InvalidRequest):
        asks(lambda luna: luna.grants.create(session, token, issuer="https://nobody.example.com"))


def test_one_bad_token_among_many(asks: Asks, session: str) -> None:
    good = [asks.world.tokenized_by(session) for _ in range(3)]
    asks(lambda luna: luna.grants.verify(session, good))
    foreign = asks.world.tokenized_by(secrets.token_hex(8))
    for place in range(4):
        mixed = [*good[:place], foreign, *good[place:]]
        with pytest.raises(GrantMissing):
            asks(partial(_verify, session, mixed))


def test_sessions_end(asks: Asks, session: str) -> None:
    token = asks.world.tokenized_by(session)
    asks(lambda luna: luna.sessions.end(session))
    with pytest.raises(GrantMissing):
        asks(lambda luna: luna.grants.verify(session, token))
    with pytest.raises(Conflict):
        asks(lambda luna: luna.grants.create(session, token))


def test_carry_over(asks: Asks, session: str) -> None:
    token, user = asks.world.tokenized_by("anonymous:" + session), secrets.token_hex(8)
    with pytest.raises(GrantMissing):
        asks(lambda luna: luna.grants.carry_over(user, session, token))
    asks(lambda luna: luna.grants.carry_over("anonymous:" + session, user, token))


def test_values_and_metadata(asks: Asks) -> None:
    metadata = {"dataType": "file", "fileinfo": {"filename": "a.txt"}, "customFields": {"é": [1, None]}}
    for size in (0, 5, SEGMENT_BYTES, 3 * SEGMENT_BYTES + 1):
        value = os.urandom(size)
        for source in (value, io.BytesIO(value)):
            token = asks(partial(_put, source, metadata))
            assert isinstance(token, Token)
            assert asks(partial(_get, token)) == value
            assert asks(partial(_metadata, token)) == metadata
    asks(lambda luna: luna.delete([token, token]))
    asks(lambda luna: luna.delete(token))
    for ask in (
        lambda luna: luna.values.get(token),
        lambda luna: luna.metadata(token),
        lambda luna: luna.grants.create("s", token),
    ):
        with pytest.raises(TokenNotFound):
            asks(ask)


def test_a_value_in_pieces(world: World) -> None:
    value = os.urandom(5 * SEGMENT_BYTES)
    with Application(**world.options()) as luna:
        token = luna.values.put(value)
        with luna.values.open(token) as opened:
            opened.seek(-10, io.SEEK_END)
            assert opened.read() == value[-10:]
            opened.seek(SEGMENT_BYTES - 1)
            assert opened.read(2) == value[SEGMENT_BYTES - 1 : SEGMENT_BYTES + 1]

    async def run() -> None:
        async with AsyncApplication(**world.options()) as luna, await luna.values.open(token) as opened:
            assert b"".join([piece async for piece in opened]) == value
            assert await opened.seek(7) == 7
            assert await opened.read(3) == value[7:10]

    asyncio.run(run())


def test_who_may_not_read_can_still_put(asks: Asks) -> None:
    token = asks(lambda luna: luna.values.put(b"value"), issuer=NO_READER)
    with pytest.raises(RoleForbidden):
        asks(lambda luna: luna.values.get(token), issuer=NO_READER)


def test_a_label_is_erased_with_receipts(asks: Asks) -> None:
    token = asks(lambda luna: luna.values.put(b"value", ttl="30d", labels=["customer-4711"]))
    kept = asks(lambda luna: luna.values.put(b"value", ttl=timedelta(days=30), labels=["customer-4712"]))
    erasure = asks(lambda luna: luna.delete_label("customer-4711"))
    assert (erasure.erased, len(erasure.receipts)) == (1, 1)
    assert json.loads(json.loads(erasure.receipts[0])["receipt"])["counts"]["erased"] == 1
    with pytest.raises(TokenNotFound):
        asks(lambda luna: luna.metadata(token))
    assert asks(lambda luna: luna.values.get(kept)) == b"value"
    for labels in ("customer", ["x" * 300], [1]):
        with pytest.raises(InvalidRequest):
            asks(lambda luna, labels=labels: luna.values.put(b"value", labels=labels))  # type: ignore[misc]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_kind_of_key(world: World, algorithm: str) -> None:
    with Application(**world.options(ISSUERS[algorithm])) as luna:
        assert pyjwt.get_unverified_header(luna._credentials.bearer())["alg"] == algorithm
        luna.delete(luna.values.put(b"value"))


def test_another_key_is_refused(asks: Asks) -> None:
    with pytest.raises(Unauthenticated):
        asks(lambda luna: luna.grants.revoke("s"), signing_key=pem())


class Endless:
    """A file of so many zeros, none of which lie in memory before they are read."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int) -> bytes:
        given = min(size, self._left)
        self._left -= given
        return bytes(given)


def test_memory_is_bounded(world: World) -> None:
    size = 24 * 1024 * 1024
    with Application(**world.options()) as luna:
        luna.values.put(b"first, so that nothing is imported while it is measured")
        tracemalloc.start()
        try:
            token = luna.values.put(cast("BinaryIO", Endless(size)))
            with luna.values.open(token) as opened:
                read = sum(map(len, iter(lambda: opened.read(SEGMENT_BYTES), b"")))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert read == size
    assert peak < 4 * 1024 * 1024


def test_a_failed_put_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    minted: list[str] = []
    with Application(**world.options()) as luna:
        upload = luna._transfers.upload

        def fails(ticket: Any, source: Any) -> None:
            minted.append(ticket.token)
            upload(ticket, source)
            raise StoreUnavailable("gone")

        monkeypatch.setattr(luna._transfers, "upload", fails)
        with pytest.raises(StoreUnavailable):
            luna.values.put(b"value")
        with pytest.raises(TokenNotFound):
            luna.metadata(minted[0])


def test_a_tokenizer_that_is_not_there(world: World) -> None:
    options = world.options(internal_url=f"http://127.0.0.1:{free_port()}", retries=0)
    with Application(**options) as luna, pytest.raises(StoreUnavailable):
        luna.grants.verify("s", "lunasec-419b2f79-cbdf-4b66-9980-a53fbc70c058")


def test_more_tokens_than_one_batch_holds(world: World, session: str) -> None:
    with Application(**world.options()) as luna:
        token = luna.values.put(b"value")
        others = [f"lunasec-{uuid.uuid4()}" for _ in range(700)]
        luna.delete([*others, token])
        with pytest.raises(TokenNotFound):
            luna.metadata(token)
