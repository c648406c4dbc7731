"""Values larger than a program would like to hold, through a real server and through the library, in pieces."""

from __future__ import annotations

import hashlib
import io
import os
from base64 import b64decode
from typing import TYPE_CHECKING, BinaryIO, cast

import httpx
import pytest

import lunacore
from lunacore.segments import OpenedSegments, Purpose, SealingReader, sealed_size
from tests.http.tokenizer_server import STRING, TokenizerServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PIECE = 1 << 20
MEGABYTES_300 = 300 * 1_000_000


class Made(io.RawIOBase):
    """A readable stream of ``size`` bytes that are never all there, and the hash of what was read."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.hash = hashlib.sha256()
        self._left = size
        self._block = os.urandom(PIECE + 7)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        piece = self._block[: min(PIECE if size < 0 else size, self._left, len(self._block))]
        self._left -= len(piece)
        self.hash.update(piece)
        return piece


def pieces(source: BinaryIO) -> Iterator[bytes]:
    while piece := source.read(PIECE):
        yield piece


def hash_of(source: BinaryIO) -> str:
    digest = hashlib.sha256()
    for piece in pieces(source):
        digest.update(piece)
    return digest.hexdigest()


@pytest.mark.parametrize("form", [pytest.param("raw", marks=pytest.mark.long), "sealed-v1"])
@pytest.mark.parametrize("size", [3_000_000, pytest.param(MEGABYTES_300, marks=pytest.mark.long)])
def test_up_and_down_over_http(tmp_path: Path, form: str, size: int) -> None:
    with TokenizerServer(tmp_path) as server:
        ticket = server.data("/tokenize", {"metadata": STRING, "valueFormat": form, "size": size}, server.user)
        made = Made(size)
        source = cast("BinaryIO", made)
        length = size
        if form == "sealed-v1":
            length = sealed_size(size)
            source = cast("BinaryIO", SealingReader(source, b64decode(ticket["valueKey"]), Purpose.VALUE, os.urandom))
        headers = {**ticket["headers"], "content-length": str(length)}
        answer = httpx.put(ticket["uploadUrl"], headers=headers, content=pieces(source), timeout=120)
        assert answer.status_code == 200, answer.text

        download = server.data("/detokenize", {"tokenId": ticket["tokenId"]}, server.user)
        kept = tmp_path / "received"
        with (
            httpx.stream("GET", download["downloadUrl"], headers=download["headers"], timeout=120) as received,
            kept.open("wb") as sink,
        ):
            assert received.status_code == 200
            for piece in received.iter_bytes(PIECE):
                sink.write(piece)
    with kept.open("rb") as stored:
        plain: BinaryIO = stored
        if form == "sealed-v1":
            plain = cast("BinaryIO", OpenedSegments(stored, b64decode(download["valueKey"]), Purpose.VALUE))
        assert hash_of(plain) == made.hash.hexdigest()


@pytest.mark.parametrize("size", [3_000_000, pytest.param(MEGABYTES_300, marks=pytest.mark.long)])
def test_in_and_out_of_a_vault(tmp_path: Path, size: int) -> None:
    made = Made(size)
    with lunacore.open_vault(tmp_path / "vault") as vault:
        token = vault.put(cast("BinaryIO", made), metadata={"dataType": "file", "fileinfo": {"filename": "large"}})
        with vault.open(token) as opened:
            assert hash_of(opened) == made.hash.hexdigest()
