"""The segment format: vectors, properties, and what each reader refuses and reads."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lunacore import errors, keys
from lunacore.errors import IntegrityError, TooLarge, UnsupportedVersion
from lunacore.segments import (
    HEADER_BYTES,
    MAX_SEGMENTS,
    SEALED_SEGMENT_BYTES,
    SEGMENT_BYTES,
    OpenedSegments,
    Purpose,
    SealingReader,
    SealingWriter,
    SegmentOpener,
    SegmentSealer,
    open_bytes,
    plain_size,
    seal_bytes,
    sealed_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = Path(__file__).parents[1] / "vectors"
DOCUMENT = json.loads((VECTORS / "segments.json").read_text(encoding="utf-8"))
VALID = {vector["name"]: vector for vector in DOCUMENT["valid"]}
KEY = hashlib.sha256(b"key").digest()
SALT = hashlib.sha256(b"salt").digest()
FULL = SEGMENT_BYTES


def fixed(salt: bytes) -> Callable[[int], bytes]:
    def random(size: int) -> bytes:
        assert size == len(salt)
        return salt

    return random


def plain_of(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def seal(plain: bytes, *, key: bytes = KEY, purpose: Purpose = Purpose.VALUE, salt: bytes = SALT) -> bytes:
    return seal_bytes(key, plain, purpose, fixed(salt))


def opened(
    sealed: bytes, *, key: bytes = KEY, purpose: Purpose = Purpose.VALUE, size: int | None = None
) -> OpenedSegments:
    return OpenedSegments(io.BytesIO(sealed), key, purpose, size)


def assert_refused(
    sealed: bytes,
    *,
    key: bytes = KEY,
    purpose: Purpose = Purpose.VALUE,
    error: type[IntegrityError] = IntegrityError,
) -> None:
    """Every way to open the stream raises exactly ``error``."""
    with pytest.raises(IntegrityError) as whole:
        open_bytes(key, sealed, purpose)
    assert whole.type is error
    with pytest.raises(IntegrityError) as streamed:
        opened(sealed, key=key, purpose=purpose).read()
    assert streamed.type is error


NEAR_BOUNDARIES = st.one_of(
    st.integers(0, 40),
    st.builds(lambda count, off: max(0, count * FULL + off), st.integers(1, 4), st.integers(-20, 20)),
    st.integers(0, 4 * FULL),
)


# --- vectors


def test_generator_writes_the_committed_vectors() -> None:
    command = [sys.executable, str(VECTORS / "generate_segments.py")]
    written = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    assert written == (VECTORS / "segments.json").read_bytes()


def sealed_of(vector: dict[str, Any]) -> bytes:
    return seal_bytes(
        bytes.fromhex(vector["key"]),
        plain_of(vector["plain_size"]),
        Purpose[vector["purpose"].upper()],
        fixed(bytes.fromhex(vector["salt"])),
    )


@pytest.mark.parametrize("vector", VALID.values(), ids=VALID.keys())
def test_valid_vector(vector: dict[str, Any]) -> None:
    sealed, key, purpose = sealed_of(vector), bytes.fromhex(vector["key"]), Purpose[vector["purpose"].upper()]
    assert hashlib.sha256(sealed).hexdigest() == vector["sealed_sha256"]
    assert sealed.hex() == vector.get("sealed", sealed.hex())
    assert keys.info("segments", sealed[:8]).hex() == vector["info"]
    assert len(sealed) == vector["sealed_size"] == sealed_size(vector["plain_size"])
    plain = open_bytes(key, sealed, purpose)
    assert hashlib.sha256(plain).hexdigest() == vector["plain_sha256"]
    assert opened(sealed, key=key, purpose=purpose).read() == plain


def stream_of(pieces: list[dict[str, Any]]) -> bytes:
    return b"".join(
        bytes.fromhex(piece["hex"]) if "hex" in piece else sealed_of(VALID[piece["of"]])[piece["from"] : piece["to"]]
        for piece in pieces
    )


def refused_segment(opener: SegmentOpener, sealed: bytes) -> int:
    """The first segment, in order, that does not open."""
    body = sealed[HEADER_BYTES:]
    parts = [body[start : start + SEALED_SEGMENT_BYTES] for start in range(0, len(body), SEALED_SEGMENT_BYTES)]
    for index, part in enumerate(parts):
        try:
            opener.open(index, part, final=index == len(parts) - 1)
        except IntegrityError:
            return index
    pytest.fail("every segment opens")


def refusing_layer(vector: dict[str, Any], sealed: bytes) -> tuple[str, int | None]:
    """Which layer refuses, taken one by one in the order that the specification gives."""
    if len(sealed) < HEADER_BYTES:
        return "size", None
    key, header = bytes.fromhex(vector["key"]), sealed[:HEADER_BYTES]
    try:
        opener = SegmentOpener(key, header, Purpose[vector["purpose"].upper()])
    except IntegrityError:
        return "header", None
    try:
        plain_size(len(sealed))
    except IntegrityError:
        return "size", None
    derived = keys.expand(keys.extract(header[8:], key), "segments", header[:8])
    layer = "segment" if derived.hex() == vector["segment_key"] else "key"
    return layer, refused_segment(opener, sealed)


@pytest.mark.parametrize("vector", DOCUMENT["invalid"], ids=[vector["name"] for vector in DOCUMENT["invalid"]])
def test_invalid_vector_is_refused_by_the_layer_it_names(vector: dict[str, Any]) -> None:
    sealed = stream_of(vector["pieces"])
    assert hashlib.sha256(sealed).hexdigest() == vector["sealed_sha256"]
    assert refusing_layer(vector, sealed) == (vector["layer"], vector.get("segment"))
    key, purpose = bytes.fromhex(vector["key"]), Purpose[vector["purpose"].upper()]
    assert_refused(sealed, key=key, purpose=purpose, error=getattr(errors, vector["error"]))


# --- sizes


@given(NEAR_BOUNDARIES)
def test_sizes_are_those_of_real_streams(size: int) -> None:
    assert len(seal(plain_of(size))) == sealed_size(size)


@given(st.integers(0, MAX_SEGMENTS * FULL))
def test_plain_size_undoes_sealed_size(size: int) -> None:
    assert plain_size(sealed_size(size)) == size


def test_plain_size_refuses_every_size_that_no_value_has() -> None:
    possible = {sealed_size(size) for size in range(2 * FULL + 100)}
    for size in range(-20, max(possible)):
        if size in possible:
            assert sealed_size(plain_size(size)) == size
        else:
            with pytest.raises(IntegrityError):
                plain_size(size)


def test_sizes_end_at_the_largest_value() -> None:
    largest = MAX_SEGMENTS * FULL
    assert plain_size(sealed_size(largest)) == largest
    with pytest.raises(TooLarge):
        sealed_size(largest + 1)
    with pytest.raises(IntegrityError):
        plain_size(sealed_size(largest) + 17)
    with pytest.raises(ValueError, match="negative"):
        sealed_size(-1)


# --- round trips


@given(NEAR_BOUNDARIES, st.sampled_from(Purpose), st.binary(min_size=32, max_size=32))
def test_round_trip(size: int, purpose: Purpose, key: bytes) -> None:
    plain = plain_of(size)
    sealed = seal(plain, key=key, purpose=purpose)
    assert open_bytes(key, sealed, purpose) == plain
    assert opened(sealed, key=key, purpose=purpose).read() == plain


def test_every_bytes_like_type_is_taken() -> None:
    sealed = seal(b"value")
    for like in (bytearray, memoryview):
        assert seal_bytes(KEY, like(b"value"), Purpose.VALUE, fixed(SALT)) == sealed
        assert open_bytes(KEY, like(sealed), Purpose.VALUE) == b"value"


class Halting(io.BytesIO):
    """A source that gives fewer bytes than it is asked for, as pipes and raw files may."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._most if size is None or size < 0 else min(size, self._most))


@given(NEAR_BOUNDARIES, st.lists(st.integers(0, 2 * FULL), max_size=12), st.integers(1000, 2 * FULL))
def test_reading_in_chunks_equals_seal_bytes(size: int, chunks: list[int], most: int) -> None:
    plain = plain_of(size)
    expected = io.BytesIO(seal(plain))
    with SealingReader(Halting(plain, most), KEY, Purpose.VALUE, fixed(SALT)) as reader:
        for chunk in chunks:
            assert reader.read(chunk) == expected.read(chunk)
        assert reader.read() == expected.read()
        assert reader.read(1) == b""


@given(NEAR_BOUNDARIES, st.lists(st.integers(0, 2 * FULL), max_size=12))
def test_writing_in_chunks_equals_seal_bytes(size: int, chunks: list[int]) -> None:
    plain, sink, start = plain_of(size), io.BytesIO(), 0
    with SealingWriter(sink, KEY, Purpose.OBJECT, fixed(SALT)) as writer:
        for chunk in [*chunks, size]:
            part = plain[start : start + chunk]
            assert writer.write(part) == len(part)
            start += chunk
    assert sink.getvalue() == seal(plain, purpose=Purpose.OBJECT)


@pytest.mark.parametrize("chunks", [(FULL,), (1, FULL - 1), (FULL, FULL), (5, FULL - 5, FULL), (FULL + 1, FULL - 1)])
def test_writes_that_end_on_a_boundary_equal_seal_bytes(chunks: tuple[int, ...]) -> None:
    plain, sink, start = plain_of(sum(chunks)), io.BytesIO(), 0
    with SealingWriter(sink, KEY, Purpose.VALUE, fixed(SALT)) as writer:
        for chunk in chunks:
            writer.write(plain[start : start + chunk])
            start += chunk
    assert sink.getvalue() == seal(plain)


@given(NEAR_BOUNDARIES, st.integers(1000, 2 * FULL))
def test_sources_that_halt_open(size: int, most: int) -> None:
    plain = plain_of(size)
    assert OpenedSegments(Halting(seal(plain), most), KEY, Purpose.VALUE).read() == plain


def test_each_write_has_its_own_salt_and_key() -> None:
    one, two = seal(b"value"), seal(b"value", salt=bytes(32))
    assert one[:8] == two[:8]
    assert one[8:40] == SALT
    assert one[40:] != two[40:]


# --- random access

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("seek"), st.integers(0, 4 * FULL), st.just(io.SEEK_SET)),
        st.tuples(st.just("seek"), st.integers(0, 2 * FULL), st.just(io.SEEK_CUR)),
        st.tuples(st.just("seek"), st.integers(-40, 40), st.sampled_from([io.SEEK_CUR, io.SEEK_END])),
        st.tuples(st.just("read"), st.integers(-1, 2 * FULL)),
        st.tuples(st.just("readinto"), st.integers(0, 2 * FULL)),
    ),
    max_size=20,
)


@given(NEAR_BOUNDARIES, OPERATIONS)
def test_reads_and_seeks_equal_those_of_bytesio(size: int, operations: list[tuple[Any, ...]]) -> None:
    plain = plain_of(size)
    real, model = opened(seal(plain)), io.BytesIO(plain)
    assert real.size == size
    for operation, *arguments in operations:
        if operation == "seek":
            offset, whence = arguments
            base = {io.SEEK_SET: 0, io.SEEK_CUR: model.tell(), io.SEEK_END: size}[whence]
            if base + offset < 0:
                with pytest.raises(ValueError, match="before the start"):
                    real.seek(offset, whence)
            else:
                assert real.seek(offset, whence) == model.seek(offset, whence)
        elif operation == "read":
            assert real.read(*arguments) == model.read(*arguments)
        else:
            into, expected = bytearray(arguments[0]), bytearray(arguments[0])
            assert real.readinto(into) == model.readinto(expected)
            assert into == expected
        assert real.tell() == model.tell()


def test_buffered_reader_and_lines() -> None:
    plain = b"\n".join(b"line %d" % number for number in range(20_000))
    with io.BufferedReader(opened(seal(plain))) as lines:
        assert lines.readlines() == io.BytesIO(plain).readlines()
        lines.seek(FULL)
        assert lines.read() == plain[FULL:]


class Counting(io.BytesIO):
    """A source that notes which bytes are read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.ranges: list[tuple[int, int]] = []

    def read(self, size: int | None = -1, /) -> bytes:
        start = self.tell()
        data = super().read(size)
        self.ranges.append((start, start + len(data)))
        return data


def span(index: int) -> tuple[int, int]:
    start = HEADER_BYTES + index * SEALED_SEGMENT_BYTES
    return start, start + SEALED_SEGMENT_BYTES


def test_a_range_reads_the_header_the_last_segment_and_what_it_touches() -> None:
    plain = plain_of(50 * FULL + 7)
    sealed = seal(plain)
    source = Counting(sealed)
    value = OpenedSegments(source, KEY, Purpose.VALUE)
    assert source.ranges == [(0, HEADER_BYTES), (span(50)[0], len(sealed))]

    source.ranges.clear()
    value.seek(20 * FULL + 5)
    assert value.read(10) == plain[20 * FULL + 5 :][:10]
    assert source.ranges == [span(20)]

    source.ranges.clear()
    assert value.read(100) == plain[20 * FULL + 15 :][:100]
    assert source.ranges == []

    value.seek(30 * FULL - 1)
    assert value.read(2) == plain[30 * FULL - 1 :][:2]
    assert source.ranges == [span(29), span(30)]


def test_nothing_past_the_given_size_is_read() -> None:
    sealed = seal(plain_of(FULL + 3))
    source = Counting(sealed + b"another object")
    assert OpenedSegments(source, KEY, Purpose.VALUE, len(sealed)).read() == plain_of(FULL + 3)
    assert max(end for _, end in source.ranges) == len(sealed)


def test_the_last_segment_is_checked_before_anything_is_released() -> None:
    sealed = seal(plain_of(3 * FULL + 9))
    for broken in (sealed[: span(2)[1]], sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1]), sealed + sealed[-25:]):
        with pytest.raises(IntegrityError):
            opened(broken)


def test_a_failed_read_leaves_the_position_and_other_segments_stay_readable() -> None:
    plain = plain_of(3 * FULL)
    broken = bytearray(seal(plain))
    broken[span(1)[0]] ^= 1
    value = opened(bytes(broken))
    value.seek(10)
    with pytest.raises(IntegrityError, match="segment 1"):
        value.read(2 * FULL)
    assert value.tell() == 10
    assert value.read(20) == plain[10:30]
    value.seek(2 * FULL)
    assert value.read() == plain[2 * FULL :]


def test_the_source_belongs_to_the_opened_value() -> None:
    source = io.BytesIO(seal(b"value"))
    value = OpenedSegments(source, KEY, Purpose.VALUE)
    assert value.readable()
    assert value.seekable()
    assert not value.writable()
    value.close()
    value.close()
    assert source.closed
    uses: list[Callable[[], object]] = [
        value.read,
        value.tell,
        value.readable,
        value.seekable,
        lambda: value.seek(0),
        lambda: value.readinto(bytearray(1)),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="closed"):
            use()


def test_the_source_is_closed_if_the_value_does_not_open() -> None:
    source = io.BytesIO(seal(b"value"))
    with pytest.raises(IntegrityError) as caught:
        OpenedSegments(source, KEY, Purpose.OBJECT)
    # The traceback keeps the object alive: it was not the collector that closed the source.
    assert caught.traceback
    assert source.closed


def test_an_unknown_whence_is_refused() -> None:
    with pytest.raises(ValueError, match="whence"):
        opened(seal(b"value")).seek(0, 7)


# --- what must be refused


@given(st.data(), st.sampled_from([0, 1, 19, 500]))
def test_every_change_of_one_byte_is_refused(data: st.DataObject, size: int) -> None:
    sealed = bytearray(seal(plain_of(size)))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(IntegrityError):
        open_bytes(KEY, bytes(sealed), Purpose.VALUE)


def test_every_flipped_bit_of_a_small_value_is_refused() -> None:
    sealed = seal(plain_of(19))
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        unknown = 4 <= bit // 8 <= 6
        assert_refused(bytes(changed), error=UnsupportedVersion if unknown else IntegrityError)


@settings(max_examples=60)
@given(st.integers(0, 2 * FULL + 70), st.integers(1, 255))
def test_every_change_of_one_byte_of_a_large_value_is_refused(offset: int, change: int) -> None:
    changed = bytearray(seal(plain_of(2 * FULL + 5)))
    changed[offset] ^= change
    with pytest.raises(IntegrityError):
        opened(bytes(changed)).read()
    with pytest.raises(IntegrityError):
        open_bytes(KEY, bytes(changed), Purpose.VALUE)


@pytest.mark.parametrize("size", [0, 1, FULL, FULL + 1, 2 * FULL, 2 * FULL + 100])
def test_truncation_at_and_around_every_boundary_is_refused(size: int) -> None:
    sealed = seal(plain_of(size))
    boundaries = [0, HEADER_BYTES, HEADER_BYTES + 16, len(sealed), *(span(index)[1] for index in range(2))]
    for cut in {boundary + off for boundary in boundaries for off in range(-18, 19)}:
        if 0 <= cut < len(sealed):
            assert_refused(sealed[:cut])


def test_every_truncation_and_extension_of_a_small_value_is_refused() -> None:
    sealed = seal(plain_of(30))
    for cut in range(len(sealed)):
        assert_refused(sealed[:cut])
    for more in range(1, 60):
        assert_refused(sealed + bytes(more))
        assert_refused(sealed + sealed[-more:])


@given(st.permutations(range(4)), st.lists(st.integers(0, 3), max_size=6))
def test_segments_in_any_other_order_are_refused(order: list[int], repeated: list[int]) -> None:
    sealed = seal(plain_of(4 * FULL))
    for indices in (order, repeated):
        if indices != [0, 1, 2, 3]:
            body = b"".join(sealed[slice(*span(index))] for index in indices)
            assert_refused(sealed[:HEADER_BYTES] + body)


def test_segments_of_another_write_are_refused() -> None:
    plain = plain_of(3 * FULL)
    one, two = seal(plain), seal(plain, salt=bytes(32))
    for index in range(3):
        start, end = span(index)
        assert_refused(one[:start] + two[start:end] + one[end:])


@pytest.mark.parametrize("size", [0, 1, FULL + 1])
def test_another_key_or_purpose_is_refused(size: int) -> None:
    sealed = seal(plain_of(size))
    assert_refused(sealed, key=bytes(32))
    assert_refused(sealed, purpose=Purpose.OBJECT)


def test_errors_tell_a_person_what_happened() -> None:
    with pytest.raises(IntegrityError, match=r"purpose 1, not 2 \(object\)"):
        open_bytes(KEY, seal(b""), Purpose.OBJECT)
    with pytest.raises(UnsupportedVersion, match="version 2, suite 1, size 2\\^16"):
        open_bytes(KEY, b"LCSG\x02" + seal(b"")[5:], Purpose.VALUE)
    with pytest.raises(IntegrityError, match="no sealed value"):
        open_bytes(KEY, bytes(56), Purpose.VALUE)


@pytest.mark.parametrize("key", [b"", bytes(16), bytes(31), bytes(33)])
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        seal(b"value", key=key)
    with pytest.raises(ValueError, match="32 bytes"):
        open_bytes(key, seal(b"value"), Purpose.VALUE)


# --- the core classes


def test_sealer_refuses_what_no_stream_may_hold() -> None:
    sealer = SegmentSealer(KEY, Purpose.VALUE, fixed(SALT))
    for size, final in [(0, False), (FULL - 1, False), (FULL + 1, False), (FULL + 1, True)]:
        with pytest.raises(ValueError, match="every segment but the last is full"):
            sealer.seal(bytes(size), final=final)
    sealed = [sealer.seal(bytes(FULL), final=False)]
    with pytest.raises(ValueError, match="only that of an empty value is empty"):
        sealer.seal(b"", final=True)
    sealed.append(sealer.seal(b"end", final=True))
    with pytest.raises(ValueError, match="sealed already"):
        sealer.seal(b"more", final=True)
    assert sealer.header + b"".join(sealed) == seal(bytes(FULL) + b"end")


def test_sealer_stops_at_the_largest_stream() -> None:
    sealer = SegmentSealer(KEY, Purpose.VALUE, fixed(SALT))
    sealer._index = MAX_SEGMENTS - 1
    sealer.seal(bytes(FULL), final=False)
    with pytest.raises(TooLarge):
        sealer.seal(b"more", final=True)


def test_opener_refuses_sizes_that_a_segment_cannot_have() -> None:
    """Even when the tag is right: sealed by a writer that breaks the rules."""
    sealed = seal(plain_of(FULL + 1))
    opener = SegmentOpener(KEY, sealed[:HEADER_BYTES], Purpose.VALUE)
    cipher = SegmentSealer(KEY, Purpose.VALUE, fixed(SALT))._cipher
    for index, size, final in [(0, 5, False), (0, FULL + 1, True), (1, 0, True), (1, 0, False)]:
        nonce = index.to_bytes(11, "big") + bytes([final])
        with pytest.raises(IntegrityError, match="size"):
            opener.open(index, cipher.encrypt(nonce, bytes(size), None), final=final)
    assert opener.open(0, sealed[slice(*span(0))], final=False) == plain_of(FULL)


# --- writing


def test_without_close_nothing_is_final() -> None:
    sink = io.BytesIO()
    writer = SealingWriter(sink, KEY, Purpose.VALUE, fixed(SALT))
    writer.write(plain_of(2 * FULL))
    del writer
    gc.collect()
    assert len(sink.getvalue()) == HEADER_BYTES + SEALED_SEGMENT_BYTES
    assert_refused(sink.getvalue())


def test_an_aborted_writer_can_be_neither_written_nor_closed() -> None:
    sink = io.BytesIO()
    writer = SealingWriter(sink, KEY, Purpose.VALUE, fixed(SALT))
    writer.write(plain_of(2 * FULL))
    writer.abort()
    with pytest.raises(ValueError, match="aborted"):
        writer.write(b"more")
    with pytest.raises(ValueError, match="aborted"):
        writer.close()
    assert_refused(sink.getvalue())


def test_an_exception_aborts_the_writer() -> None:
    sink = io.BytesIO()
    writer = SealingWriter(sink, KEY, Purpose.VALUE, fixed(SALT))

    def fail_midway() -> None:
        with writer:
            writer.write(b"value")
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        fail_midway()
    with pytest.raises(ValueError, match="aborted"):
        writer.close()
    assert_refused(sink.getvalue())


def test_close_leaves_the_sink_open_and_abort_then_is_too_late() -> None:
    sink = io.BytesIO()
    writer = SealingWriter(sink, KEY, Purpose.VALUE, fixed(SALT))
    writer.write(b"value")
    writer.close()
    writer.abort()
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"more")
    assert not sink.closed
    assert sink.getvalue() == seal(b"value")


class FullDisk(io.BytesIO):
    """A sink whose writes fail once ``limit`` bytes lie in it."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > self._limit:
            raise OSError(28, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("limit", [HEADER_BYTES, HEADER_BYTES + SEALED_SEGMENT_BYTES])
def test_a_sink_that_fails_leaves_nothing_final(limit: int) -> None:
    sink = FullDisk(limit)
    writer = SealingWriter(sink, KEY, Purpose.VALUE, fixed(SALT))
    with pytest.raises(OSError, match="No space"):
        writer.write(plain_of(3 * FULL))
    with pytest.raises(ValueError, match="aborted"):
        writer.close()
    assert_refused(sink.getvalue())


def test_a_sink_that_fails_at_the_end_leaves_nothing_final() -> None:
    sink = FullDisk(HEADER_BYTES)
    writer = SealingWriter(sink, KEY, Purpose.VALUE, fixed(SALT))
    writer.write(b"value")
    with pytest.raises(OSError, match="No space"):
        writer.close()
    with pytest.raises(ValueError, match="aborted"):
        writer.close()


# --- reading what is to be sealed


class Failing(io.BytesIO):
    """A source that fails once after ``good`` bytes."""

    def __init__(self, data: bytes, good: int) -> None:
        super().__init__(data)
        self._good = good

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() == self._good:
            self._good = -1
            raise ConnectionResetError
        return super().read(size if self._good < 0 or size is None else min(size, self._good - self.tell()))


@pytest.mark.parametrize("good", [0, 100, FULL, FULL + 100])
def test_a_source_that_fails_ends_the_reader(good: int) -> None:
    source = Failing(plain_of(3 * FULL), good)
    reader = SealingReader(source, KEY, Purpose.VALUE, fixed(SALT))
    with pytest.raises(ConnectionResetError):
        reader.read()
    with pytest.raises(ValueError, match="closed"):
        reader.read()


class NonBlocking(io.BytesIO):
    """A raw non-blocking source that has nothing yet."""

    def read(self, size: int | None = -1, /) -> Any:
        return None


def test_a_source_that_has_nothing_yet_is_not_taken_for_empty() -> None:
    with pytest.raises(TypeError):
        SealingReader(NonBlocking(), KEY, Purpose.VALUE, fixed(SALT)).read()


def test_closing_the_reader_leaves_the_source_open() -> None:
    source = io.BytesIO(b"value")
    with SealingReader(source, KEY, Purpose.VALUE, fixed(SALT)) as reader:
        assert reader.readable()
        assert not reader.seekable()
    assert not source.closed


# --- memory


class Zeros(io.RawIOBase):
    """``size`` zero bytes that take no memory."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        given = min(size, self._left)
        self._left -= given
        return bytes(given)


def peak_memory(run: Callable[[], None]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_streams_take_the_memory_of_a_few_segments(tmp_path: Path) -> None:
    size, path = 64 * FULL + 1, tmp_path / "sealed"

    def through_reader() -> None:
        reader = SealingReader(cast("BinaryIO", Zeros(size)), KEY, Purpose.VALUE, fixed(SALT))
        with path.open("wb") as sink:
            while chunk := reader.read(10_000):
                sink.write(chunk)

    def through_writer() -> None:
        with (tmp_path / "written").open("wb") as sink, SealingWriter(sink, KEY, Purpose.VALUE, fixed(SALT)) as writer:
            for _ in range(64):
                writer.write(bytes(FULL))
            writer.write(bytes(1))

    def through_opened() -> None:
        with OpenedSegments(path.open("rb"), KEY, Purpose.VALUE) as value:
            while value.read(10_000):
                pass

    for run in (through_reader, through_writer, through_opened):
        assert peak_memory(run) < 8 * FULL
    assert path.read_bytes() == (tmp_path / "written").read_bytes()
