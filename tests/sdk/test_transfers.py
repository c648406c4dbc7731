"""Uploads and downloads against a server that fails as stores do."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunacore.errors import IntegrityError, StoreUnavailable, TokenNotFound
from lunacore.segments import SEGMENT_BYTES, Purpose, open_bytes, seal_bytes, sealed_size
from lunacore.testing.servers import free_port
from lunacore.tokens import Token
from lunacore_http.sdk import UnexpectedAnswer
from lunacore_http.sdk.calls import ValueTicket
from lunacore_http.sdk.settings import Settings, checked
from lunacore_http.sdk.transfers import Source, Transfers
from tests.sdk.object_server import ObjectServer

KEY = b"k" * 32
TOKEN = Token("lunasec-419b2f79-cbdf-4b66-9980-a53fbc70c058")
SIZES = (0, 1, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 5 * SEGMENT_BYTES + 7)


def settings(**changed: Any) -> Settings:
    given: dict[str, Any] = {
        "tokenizer_url": "https://secure.example.com",
        "issuer": "https://app.example.com",
        "internal_url": None,
        "session_ttl": "12h",
        "timeout": 5.0,
        "retries": 2,
        "ca": None,
    }
    return checked(**{**given, **changed})


@pytest.fixture
def transfers(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("lunacore_http.sdk.transfers.jitter", lambda: 0.0)
    made = Transfers(settings(), sleep=lambda _: None)
    yield made
    made.close()


def ticket(url: str, key: bytes | None = KEY) -> ValueTicket:
    return ValueTicket(TOKEN, url, {"if-none-match": "*", "x-amz-server-side-encryption-customer-key": "a2V5"}, key)


ANY_TRANSFERS = Transfers(settings(), sleep=lambda _: None)


def never() -> ValueTicket:
    raise AssertionError


class Pipe(io.RawIOBase):
    """Can be read once, from the start, and does not tell its size."""

    def __init__(self, content: bytes) -> None:
        self._source = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._source.read(min(size, 1000) if size > 0 else size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["bytes", "file", "pipe"])
def test_what_is_uploaded_opens(transfers: Transfers, size: int, kind: str) -> None:
    value = os.urandom(size)
    source: Any = {"bytes": value, "file": io.BytesIO(b"before" + value), "pipe": Pipe(value)}[kind]
    if kind == "file":
        source.seek(6)
    with ObjectServer() as server:
        transfers.upload(ticket(server.url), Source.of(source))
        assert server.content is not None
        assert open_bytes(KEY, server.content, Purpose.VALUE) == value
        (headers,) = server.headers
    assert headers["content-length"] == str(sealed_size(size))
    assert headers["x-amz-server-side-encryption-customer-key"] == "a2V5"
    assert "transfer-encoding" not in headers


@pytest.mark.parametrize("kind", ["bytes", "pipe"])
def test_an_upload_is_tried_again_from_the_start(transfers: Transfers, kind: str) -> None:
    value = os.urandom(100_000)
    with ObjectServer() as server:
        server.refuse = [503, 500]
        transfers.upload(ticket(server.url), Source.of(value if kind == "bytes" else cast("BinaryIO", Pipe(value))))
        assert server.content is not None
        assert open_bytes(KEY, server.content, Purpose.VALUE) == value


def test_an_upload_whose_answer_was_lost_is_there(transfers: Transfers) -> None:
    with ObjectServer() as server:
        server.lose_answers = 1
        transfers.upload(ticket(server.url), Source.of(b"value"))
        assert server.content is not None
        assert open_bytes(KEY, server.content, Purpose.VALUE) == b"value"


def test_a_name_that_was_taken_before_is_refused(transfers: Transfers) -> None:
    with ObjectServer(b"somebody's") as server, pytest.raises(UnexpectedAnswer, match="412"):
        transfers.upload(ticket(server.url), Source.of(b"value"))


@pytest.mark.parametrize("status", [400, 403, 404, 411])
def test_a_refused_upload_is_not_tried_again(transfers: Transfers, status: int) -> None:
    with ObjectServer() as server:
        server.refuse = [status]
        with pytest.raises(UnexpectedAnswer, match=str(status)):
            transfers.upload(ticket(server.url), Source.of(b"value"))
        assert len(server.headers) == 1


def test_a_source_that_changes_meanwhile_is_not_stored(transfers: Transfers) -> None:
    for change in (b"", b"x" * 100):
        file = io.BytesIO(b"value")
        source = Source.of(file)
        file.seek(0)
        file.truncate()
        file.write(change)
        with ObjectServer() as server:
            with pytest.raises((ValueError, StoreUnavailable)):
                transfers.upload(ticket(server.url), source)
            assert server.content is None


@pytest.mark.parametrize("value", ["text", io.StringIO("text"), None, 5])
def test_text_is_no_value(value: Any) -> None:
    with pytest.raises(TypeError, match="bytes"):
        Source.of(value)


def stored(value: bytes) -> bytes:
    return seal_bytes(KEY, value, Purpose.VALUE, os.urandom)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("knows_ranges", [True, False])
@pytest.mark.parametrize("sealed", [True, False])
def test_a_value_is_read_whole(transfers: Transfers, size: int, knows_ranges: bool, sealed: bool) -> None:
    value = os.urandom(size)
    with ObjectServer(stored(value) if sealed else value) as server:
        server.knows_ranges = knows_ranges
        if not sealed and size == 0:
            server.knows_ranges = False  # no range lies in nothing
        with transfers.open(ticket(server.url, KEY if sealed else None), never) as opened:
            assert opened.read() == value
            assert opened.read(1) == b""


VALUE = os.urandom(4 * SEGMENT_BYTES + 3)


@pytest.fixture(scope="module")
def store() -> Any:
    with ObjectServer(stored(VALUE)) as server:
        yield server


@given(data=st.data())
def test_any_reading_is_that_of_the_value(store: ObjectServer, data: st.DataObject) -> None:
    store.knows_ranges = data.draw(st.booleans())
    opened = ANY_TRANSFERS.open(ticket(store.url), never)
    for _ in range(data.draw(st.integers(1, 6))):
        if data.draw(st.booleans()):
            opened.seek(data.draw(st.integers(0, len(VALUE) + 5)))
        at, count = opened.tell(), data.draw(st.integers(0, 2 * SEGMENT_BYTES))
        assert opened.read(count) == VALUE[at : at + count]
    opened.close()


def test_reading_in_order_takes_three_requests(transfers: Transfers) -> None:
    value = os.urandom(20 * SEGMENT_BYTES)
    with ObjectServer(stored(value)) as server:
        with transfers.open(ticket(server.url), never) as opened:
            assert b"".join(iter(lambda: opened.read(10_000), b"")) == value
        assert len(server.ranges) <= 3


def test_reading_goes_on_where_it_broke_off(transfers: Transfers) -> None:
    value = os.urandom(4 * SEGMENT_BYTES)
    with ObjectServer(stored(value)) as server:
        server.cut_after = [SEGMENT_BYTES * 2]
        with transfers.open(ticket(server.url), never) as opened:
            assert opened.read() == value


def test_an_expired_ticket_is_renewed(transfers: Transfers) -> None:
    value = os.urandom(4 * SEGMENT_BYTES)
    asked = []
    with ObjectServer(stored(value)) as server:

        def renew() -> ValueTicket:
            asked.append(1)
            return ticket(server.url)

        with transfers.open(ticket(server.url), renew) as opened:
            assert opened.read(10) == value[:10]
            server.refuse = [403]
            opened.seek(2 * SEGMENT_BYTES)
            assert opened.read() == value[2 * SEGMENT_BYTES :]
        assert asked == [1]
        server.refuse = [403, 403]
        with pytest.raises(UnexpectedAnswer, match="403"):
            transfers.open(ticket(server.url), renew)


@pytest.mark.parametrize("change", ["cut", "flipped", "longer", "other key"])
def test_what_was_tampered_with_is_not_given_out(transfers: Transfers, change: str) -> None:
    sealed = bytearray(stored(os.urandom(3 * SEGMENT_BYTES)))
    if change == "cut":
        del sealed[-SEGMENT_BYTES:]
    elif change == "longer":
        sealed += b"x"
    elif change == "flipped":
        sealed[-1] ^= 1
    key = b"o" * 32 if change == "other key" else KEY
    with ObjectServer(bytes(sealed)) as server, pytest.raises(IntegrityError):
        transfers.open(ticket(server.url, key), never).read()


def test_a_missing_object_and_a_missing_store(transfers: Transfers) -> None:
    with ObjectServer(b"") as server:
        server.refuse = [404]
        with pytest.raises(TokenNotFound):
            transfers.open(ticket(server.url), never)
        server.refuse = [503] * 3
        with pytest.raises(StoreUnavailable):
            transfers.open(ticket(server.url), never)
    nowhere = ticket(f"http://127.0.0.1:{free_port()}/objects/1?signature=secret")
    with pytest.raises(StoreUnavailable) as refused:
        transfers.open(nowhere, never)
    assert "secret" not in str(refused.value)


def test_the_gateway_is_reached_inside_under_its_public_name() -> None:
    with ObjectServer() as server:
        inside = server.url.partition("/objects")[0]
        transfers = Transfers(settings(internal_url=inside), sleep=lambda _: None)
        one = ticket("https://secure.example.com/objects/1?signature=secret")
        one = ValueTicket(TOKEN, one.url, {**one.headers, "host": "secure.example.com"}, KEY)
        transfers.upload(one, Source.of(b"value"))
        assert server.headers[0]["host"] == "secure.example.com"
        transfers.close()
