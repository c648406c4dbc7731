"""The contract of object stores: subclass ``ObjectStoreContract`` and ``ObjectStoreMachine``, and give them a store.

Tickets are used over real HTTP, as a client would. What lies at rest is looked at behind the store's back.
"""

from __future__ import annotations

import base64
import http.client
import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
from attrs import frozen
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from lunacore.errors import Conflict, IntegrityError, TokenNotFound
from lunacore.stores import DirectTransfer, ObjectStore, Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO

    from lunacore.stores import SignedRequest

SIZES: Final = (0, 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 3 * (1 << 20) + 5)
KEY_HEADER: Final = "x-amz-server-side-encryption-customer-key"
MD5_HEADER: Final = "x-amz-server-side-encryption-customer-key-md5"


@frozen
class Answer:
    """What a server said; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def send(
    request: SignedRequest,
    body: bytes | None = None,
    *,
    method: str = "",
    without: tuple[str, ...] = (),
    extra: Mapping[str, str] | None = None,
    timeout: float = 60,
) -> Answer:
    """Use a ticket over real HTTP as it stands, or with the changes named."""
    parts = urlsplit(request.url)
    headers = {name: value for name, value in request.headers.items() if name not in without} | dict(extra or {})
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=timeout)
    try:
        connection.putrequest(
            method or request.method, f"{parts.path}?{parts.query}", skip_host=True, skip_accept_encoding=True
        )
        if body is not None:
            headers.setdefault("content-length", str(len(body)))
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def bytes_of(size: int) -> bytes:
    """A value of ``size`` bytes in which every segment differs."""
    return (b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1)))[:size]


def direct(store: ObjectStore) -> DirectTransfer:
    """The store's ``DirectTransfer``; the test is skipped if it has none."""
    if not isinstance(store, DirectTransfer):
        pytest.skip("the store has no direct transfer")
    return store


class ObjectStoreContract:
    """What every object store must do. Subclasses give the fixtures ``store`` and ``raw_bytes``."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        """An empty store, its tickets served over HTTP at ``127.0.0.1`` for the length of the test."""
        raise NotImplementedError

    @pytest.fixture
    def raw_bytes(self) -> Callable[[], bytes]:
        """A function that returns everything at rest, contents and names, read behind the store's back."""
        raise NotImplementedError

    @pytest.fixture
    def name(self) -> bytes:
        return os.urandom(32)

    @pytest.fixture
    def key(self) -> bytes:
        return os.urandom(32)

    def upload(self, store: ObjectStore, name: bytes, key: bytes, value: bytes) -> Answer:
        return send(store.upload(name, key, now=int(time.time()), ttl=60, size=len(value)), value)

    def download(
        self,
        store: ObjectStore,
        name: bytes,
        key: bytes,
        *,
        without: tuple[str, ...] = (),
        extra: Mapping[str, str] | None = None,
    ) -> Answer:
        return send(store.download(name, key, now=int(time.time()), ttl=60), without=without, extra=extra)

    # tickets

    @pytest.mark.parametrize("size", SIZES)
    def test_a_value_goes_up_and_comes_down(self, store: ObjectStore, name: bytes, key: bytes, size: int) -> None:
        value = bytes_of(size)
        assert self.upload(store, name, key, value).status == 200
        answer = self.download(store, name, key)
        assert (answer.status, answer.body) == (200, value)
        assert answer.headers["content-length"] == str(size)
        stat = store.stat(name, key)
        assert stat is not None
        assert stat.size == size

    def test_a_ticket_without_size_takes_any_length(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        request = store.upload(name, key, now=int(time.time()), ttl=60)
        assert "content-length" not in request.headers
        assert send(request, b"any length").status == 200
        assert self.download(store, name, key).body == b"any length"

    @pytest.mark.parametrize("sent", [b"", b"123", b"12345"])
    def test_a_ticket_with_size_takes_no_other(self, store: ObjectStore, name: bytes, key: bytes, sent: bytes) -> None:
        request = store.upload(name, key, now=int(time.time()), ttl=60, size=4)
        answer = send(request, sent, extra={"content-length": str(len(sent))})
        assert 400 <= answer.status < 500
        assert store.stat(name, key) is None

    def test_a_ticket_says_what_it_is(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        now = int(time.time())
        up, down = store.upload(name, key, now=now, ttl=60), store.download(name, key, now=now, ttl=90)
        assert (up.method, up.expires, down.method, down.expires) == ("PUT", now + 60, "GET", now + 90)
        for request in (up, down):
            assert request.url.startswith(f"{store.origin}/")
            assert request.headers["host"] == urlsplit(request.url).netloc
            assert all(header == header.lower() for header in request.headers)
            assert request.headers[KEY_HEADER] == base64.b64encode(key).decode()
            assert base64.b64encode(key).decode().rstrip("=") not in request.url
            assert base64.b64encode(key).decode() not in repr(request)

    @pytest.mark.parametrize("size", [3, 70_000])
    def test_the_first_write_stands(self, store: ObjectStore, name: bytes, key: bytes, size: int) -> None:
        assert self.upload(store, name, key, bytes_of(size)).status == 200
        before = store.stat(name, key)
        assert self.upload(store, name, key, b"second").status == 412
        assert self.upload(store, name, os.urandom(32), b"another key").status in (403, 412)
        assert store.stat(name, key) == before
        assert self.download(store, name, key).body == bytes_of(size)

    def test_one_of_many_writers_wins(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        values = [bytes([number]) * 150_000 for number in range(8)]
        request = store.upload(name, key, now=int(time.time()), ttl=60, size=150_000)
        with ThreadPoolExecutor(len(values)) as pool:
            statuses = list(pool.map(lambda value: send(request, value).status, values))
        assert statuses.count(200) == 1
        assert set(statuses) <= {200, 409, 412}
        assert self.download(store, name, key).body == values[statuses.index(200)]

    def test_a_download_ticket_does_not_write(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        request = store.download(name, key, now=int(time.time()), ttl=60)
        assert send(request, b"value", method="PUT").status == 403
        assert send(request, b"value", method="PUT", extra={"if-none-match": "*"}).status == 403
        assert send(request, method="DELETE").status == 403
        assert store.stat(name, key) is None

    def test_an_upload_ticket_does_not_read(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        request = store.upload(name, key, now=int(time.time()), ttl=60)
        assert send(request, b"value").status == 200
        for method in ("GET", "HEAD", "DELETE"):
            assert send(request, method=method).status == 403
        assert store.stat(name, key) is not None

    def test_a_ticket_is_for_one_object(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        other = os.urandom(32)
        assert self.upload(store, other, key, b"other").status == 200
        request = store.download(name, key, now=int(time.time()), ttl=60)
        parts = urlsplit(request.url)
        theirs = urlsplit(store.download(other, key, now=int(time.time()), ttl=60).url).path
        moved = type(request)("GET", parts._replace(path=theirs).geturl(), request.headers, request.expires)
        assert send(moved).status == 403

    def test_an_expired_ticket_is_refused(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        past = int(time.time()) - 120
        assert send(store.upload(name, key, now=past, ttl=60), b"value").status == 403
        assert store.stat(name, key) is None
        assert self.upload(store, name, key, b"value").status == 200
        assert send(store.download(name, key, now=past, ttl=60)).status == 403

    @pytest.mark.parametrize("missing", [KEY_HEADER, MD5_HEADER, "if-none-match"])
    def test_no_upload_without_a_header(self, store: ObjectStore, name: bytes, key: bytes, missing: str) -> None:
        request = store.upload(name, key, now=int(time.time()), ttl=60)
        assert 400 <= send(request, b"value", without=(missing,)).status < 500
        assert store.stat(name, key) is None

    def test_no_download_without_the_key(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        assert self.upload(store, name, key, b"value").status == 200
        assert 400 <= self.download(store, name, key, without=(KEY_HEADER,)).status < 500
        assert 400 <= self.download(store, name, key, without=(KEY_HEADER, MD5_HEADER)).status < 500
        changed = {KEY_HEADER: base64.b64encode(os.urandom(32)).decode()}
        assert 400 <= self.download(store, name, key, extra=changed).status < 500

    def test_no_download_with_another_key(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        assert self.upload(store, name, key, b"a value worth hiding").status == 200
        answer = self.download(store, name, os.urandom(32))
        assert answer.status in (400, 403)
        assert b"worth hiding" not in answer.body

    def test_a_changed_signature_is_refused(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        request = store.upload(name, key, now=int(time.time()), ttl=60)
        last = "0" if request.url[-1] != "0" else "1"
        changed = type(request)("PUT", request.url[:-1] + last, request.headers, request.expires)
        assert send(changed, b"value").status == 403
        longer = type(request)("PUT", request.url.replace("Expires=60", "Expires=61"), request.headers, request.expires)
        assert send(longer, b"value").status == 403
        assert store.stat(name, key) is None

    def test_an_absent_object_is_not_found(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        assert self.download(store, name, key).status == 404
        assert store.stat(name, key) is None

    def test_ranges(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        value = bytes_of(200_000)
        assert self.upload(store, name, key, value).status == 200
        for asked, start, end in [
            ("0-0", 0, 1),
            ("65530-65545", 65530, 65546),
            ("199990-", 199_990, 200_000),
            ("-7", 199_993, 200_000),
        ]:
            answer = self.download(store, name, key, extra={"range": f"bytes={asked}"})
            assert (answer.status, answer.body) == (206, value[start:end])
            assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/200000"

    def test_a_pinned_download_reads_that_version_only(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        assert self.upload(store, name, key, b"value").status == 200
        stat = store.stat(name, key)
        assert stat is not None
        now = int(time.time())
        assert send(store.download(name, key, now=now, ttl=60, etag=stat.etag)).body == b"value"
        other = store.download(name, key, now=now, ttl=60, etag="0" * 32)
        if "if-match" in other.headers:
            assert send(other).status == 412

    # what the store says

    def test_stat_refuses_another_key(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        assert self.upload(store, name, key, b"value").status == 200
        with pytest.raises(IntegrityError):
            store.stat(name, os.urandom(32))

    def test_delete(self, store: ObjectStore, key: bytes) -> None:
        names = [os.urandom(32) for _ in range(3)]
        for name in names:
            assert self.upload(store, name, key, b"value").status == 200
        store.delete([names[0], os.urandom(32), names[2], names[2]])
        assert [store.stat(name, key) is None for name in names] == [True, False, True]
        assert self.download(store, names[0], key).status == 404
        store.delete(names)
        store.delete([])
        assert store.scan() == []

    def test_scan_pages_in_the_order_of_names(self, store: ObjectStore, key: bytes) -> None:
        # Names that share their first bytes, and the ends of the range.
        near = os.urandom(2)
        names = sorted(
            [bytes(32), b"\xff" * 32, *(near + os.urandom(30) for _ in range(3)), *(os.urandom(32) for _ in range(6))]
        )
        before = int(time.time())
        for number, name in enumerate(names):
            assert self.upload(store, name, key, bytes(number)).status == 200
        entries = store.scan()
        assert [entry.name for entry in entries] == names
        assert [entry.size for entry in entries] == list(range(len(names)))
        assert all(before - 2 <= entry.modified <= time.time() + 2 for entry in entries)
        for limit in (1, 2, 5):
            paged: list[bytes] = []
            while page := store.scan(paged[-1] if paged else b"", limit):
                assert len(page) <= limit
                paged += [entry.name for entry in page]
            assert paged == names
        assert store.scan(names[-1]) == []

    def test_copy(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        new_name, new_key, value = os.urandom(32), os.urandom(32), bytes_of(100_000)
        assert self.upload(store, name, key, value).status == 200
        stat = store.copy(name, key, new_name, new_key)
        assert stat == store.stat(new_name, new_key)
        assert self.download(store, new_name, new_key).body == value
        assert self.download(store, name, key).body == value
        with pytest.raises(IntegrityError):
            store.stat(new_name, key)

    def test_copy_replaces_nothing(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        taken = os.urandom(32)
        assert self.upload(store, name, key, b"one").status == 200
        assert self.upload(store, taken, key, b"two").status == 200
        with pytest.raises(Conflict):
            store.copy(name, key, taken, key)
        assert self.download(store, taken, key).body == b"two"

    def test_copy_needs_the_object_and_its_key(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        target = os.urandom(32)
        with pytest.raises(TokenNotFound):
            store.copy(name, key, target, key)
        assert self.upload(store, name, key, b"value").status == 200
        with pytest.raises(IntegrityError):
            store.copy(name, os.urandom(32), target, key)
        assert store.stat(target, key) is None

    def test_probe(self, store: ObjectStore) -> None:
        if isinstance(store, Probe):
            store.probe()

    # what lies at rest

    def test_nothing_at_rest_tells_value_or_key(
        self, store: ObjectStore, name: bytes, key: bytes, raw_bytes: Callable[[], bytes]
    ) -> None:
        value = b"4111 1111 1111 1111 " * 5000
        assert self.upload(store, name, key, value).status == 200
        assert self.upload(store, os.urandom(32), key, value).status == 200
        at_rest = raw_bytes()
        assert len(at_rest) > 2 * len(value)
        assert b"4111 1111" not in at_rest
        for form in (key, key.hex().encode(), base64.b64encode(key), base64.urlsafe_b64encode(key).rstrip(b"=")):
            assert form not in at_rest
        store.delete([name])
        assert name not in raw_bytes()
        assert name.hex().encode() not in raw_bytes()

    def test_the_etag_tells_nothing_of_the_value(self, store: ObjectStore, key: bytes) -> None:
        if not store.takes_raw:
            pytest.skip("the store is given sealed values only")
        etags = set()
        for _ in range(3):
            name = os.urandom(32)
            assert self.upload(store, name, key, b"the same value").status == 200
            stat = store.stat(name, key)
            assert stat is not None
            etags.add(stat.etag)
        assert len(etags) == 3

    # direct transfer

    @pytest.mark.parametrize("size", SIZES)
    def test_direct_and_signed_transfers_meet(self, store: ObjectStore, key: bytes, size: int) -> None:
        transfer, value = direct(store), bytes_of(size)
        name, other = os.urandom(32), os.urandom(32)
        stat = transfer.write(name, key, io.BytesIO(value))
        assert stat == store.stat(name, key)
        assert stat.size == size
        assert self.download(store, name, key).body == value
        assert self.upload(store, other, key, value).status == 200
        with transfer.open(other, key) as file:
            assert file.read() == value

    def test_an_open_object_is_seekable(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        transfer, value = direct(store), bytes_of(200_000)
        transfer.write(name, key, io.BytesIO(value))
        with transfer.open(name, key) as file:
            for start in (0, 65_535, 199_999, 131_072, 5):
                assert file.seek(start) == start
                assert file.read(70) == value[start : start + 70]
            assert file.seek(-3, io.SEEK_END) == 199_997
            assert file.read() == value[-3:]
            assert file.read() == b""

    def test_many_read_one_object_at_once(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        transfer, value = direct(store), bytes_of(500_000)
        transfer.write(name, key, io.BytesIO(value))

        def read(step: int) -> bool:
            with transfer.open(name, key) as file:
                return b"".join(iter(lambda: file.read(step), b"")) == value

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(read, [1000, 65_536, 99_999, 7777]))

    def test_a_direct_write_replaces_nothing(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        transfer = direct(store)
        transfer.write(name, key, io.BytesIO(b"first"))
        with pytest.raises(Conflict):
            transfer.write(name, key, io.BytesIO(b"second"))
        with transfer.open(name, key) as file:
            assert file.read() == b"first"

    def test_one_of_many_direct_writers_wins(self, store: ObjectStore, name: bytes, key: bytes) -> None:
        transfer = direct(store)

        def write(number: int) -> int | None:
            try:
                transfer.write(name, key, io.BytesIO(bytes([number]) * 100_000))
            except Conflict:
                return None
            return number

        with ThreadPoolExecutor(8) as pool:
            winners = [number for number in pool.map(write, range(8)) if number is not None]
        assert len(winners) == 1
        with transfer.open(name, key) as file:
            assert file.read() == bytes(winners) * 100_000

    def test_a_source_that_fails_leaves_nothing(
        self, store: ObjectStore, name: bytes, key: bytes, raw_bytes: Callable[[], bytes]
    ) -> None:
        class Failing(io.RawIOBase):
            left = 5

            def read(self, size: int = -1) -> bytes:
                self.left -= 1
                if not self.left:
                    raise OSError("the source broke")
                return bytes(size)

        source: Any = Failing()
        with pytest.raises(OSError, match="the source broke"):
            direct(store).write(name, key, source)
        assert store.stat(name, key) is None
        assert store.scan() == []
        assert name.hex().encode() not in raw_bytes()

    def test_open_refuses_what_is_not_there_or_of_another_key(
        self, store: ObjectStore, name: bytes, key: bytes
    ) -> None:
        transfer = direct(store)
        with pytest.raises(TokenNotFound):
            transfer.open(name, key)
        transfer.write(name, key, io.BytesIO(b"value"))
        with pytest.raises(IntegrityError):
            transfer.open(name, os.urandom(32))


class ObjectStoreMachine(RuleBasedStateMachine):
    """An object store with direct transfer against a dict. Subclasses give ``make_store``."""

    names: Bundle[bytes] = Bundle("names")

    def __init__(self) -> None:
        super().__init__()
        self.store = self.make_store()
        self.transfer = direct(self.store)
        self.model: dict[bytes, tuple[bytes, bytes]] = {}

    def make_store(self) -> ObjectStore:
        """An empty store."""
        raise NotImplementedError

    @rule(target=names, name=st.binary(min_size=32, max_size=32))
    def draw_name(self, name: bytes) -> bytes:
        return name

    @rule(name=names, key=st.binary(min_size=32, max_size=32), size=st.sampled_from(SIZES[:-1]))
    def write(self, name: bytes, key: bytes, size: int) -> None:
        source: BinaryIO = io.BytesIO(bytes_of(size))
        if name in self.model:
            with pytest.raises(Conflict):
                self.transfer.write(name, key, source)
            return
        assert self.transfer.write(name, key, source).size == size
        self.model[name] = (key, bytes_of(size))

    @rule(name=names, new_name=names, new_key=st.binary(min_size=32, max_size=32))
    def copy(self, name: bytes, new_name: bytes, new_key: bytes) -> None:
        key, value = self.model.get(name, (bytes(32), b""))
        if name not in self.model or new_name in self.model:
            with pytest.raises((TokenNotFound, Conflict)):
                self.store.copy(name, key, new_name, new_key)
            return
        self.store.copy(name, key, new_name, new_key)
        self.model[new_name] = (new_key, value)

    @rule(names=st.lists(names, max_size=3))
    def delete(self, names: list[bytes]) -> None:
        self.store.delete(names)
        for name in names:
            self.model.pop(name, None)

    @rule(name=names)
    def read(self, name: bytes) -> None:
        if name not in self.model:
            assert self.store.stat(name, bytes(32)) is None
            return
        key, value = self.model[name]
        with self.transfer.open(name, key) as file:
            assert file.read() == value

    @invariant()
    def lists_what_there_is(self) -> None:
        assert [(entry.name, entry.size) for entry in self.store.scan()] == [
            (name, len(value)) for name, (_, value) in sorted(self.model.items())
        ]
