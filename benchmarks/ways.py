"""The ways a value can take to where it is kept, and back."""

from __future__ import annotations

import os
import secrets
import shutil
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

from benchmarks import s3_servers
from benchmarks.tokenizer_server import new_token

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.s3_servers import S3Server
    from benchmarks.tickets import TicketClient
    from benchmarks.tokenizer_server import TokenizerServer
    from lunacore.vault import Vault

_PIECE: Final = 1 << 20
_SESSION: Final = "session-1"


class Way(Protocol):
    """One way; what ``put`` returns names the value to the other two."""

    name: str

    def put(self, source: BinaryIO, size: int) -> str:
        """Put the value away; when this returns, it is kept."""
        ...

    def get(self, kept: str, sink: BinaryIO) -> None:
        """Write the value to ``sink``."""
        ...

    def remove(self, kept: str) -> None:
        """Make room."""
        ...


class FileCopy:
    """No vault at all: a copy of the file, synced to the disk."""

    name = "file copy"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, source: BinaryIO, size: int) -> str:  # noqa: ARG002 - a way's
        name = secrets.token_hex(8)
        with (self._folder / name).open("wb") as copy:
            shutil.copyfileobj(source, copy, _PIECE)
            copy.flush()
            os.fsync(copy.fileno())
        return name

    def get(self, kept: str, sink: BinaryIO) -> None:
        with (self._folder / kept).open("rb") as copy:
            shutil.copyfileobj(copy, sink, _PIECE)

    def remove(self, kept: str) -> None:
        (self._folder / kept).unlink()


class Library:
    """``lunacore.open_vault`` in this very process: sealed, no server."""

    name = "LunaCore library"

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def put(self, source: BinaryIO, size: int) -> str:  # noqa: ARG002 - a way's
        return self._vault.put(source)

    def get(self, kept: str, sink: BinaryIO) -> None:
        with self._vault.open(kept) as value:
            shutil.copyfileobj(value, sink, _PIECE)

    def remove(self, kept: str) -> None:
        self._vault.delete(kept)


class Tickets:
    """A tokenizer's ticket, then the object store; ``value_format`` says who seals."""

    def __init__(self, name: str, tokenizer: TokenizerServer, client: TicketClient, value_format: str) -> None:
        self.name = name
        self._tokenizer = tokenizer
        self._client = client
        self._wanted = new_token(value_format)
        self._frame: Mapping[str, str] = tokenizer.frame(_SESSION)

    def put(self, source: BinaryIO, size: int) -> str:
        ticket = self._tokenizer.data("/tokenize", self._wanted, self._frame)
        self._client.upload(ticket, source, size)
        return str(ticket["tokenId"])

    def get(self, kept: str, sink: BinaryIO) -> None:
        ticket = self._tokenizer.data("/detokenize", {"tokenId": kept}, self._frame)
        self._client.download(ticket, sink)

    def remove(self, kept: str) -> None:
        self._tokenizer.data("/token/delete", {"tokenId": kept}, self._tokenizer.application)


class Direct:
    """botocore straight to the S3 server, with a customer key (SSE-C) as LunaCore uses it."""

    def __init__(self, server: S3Server) -> None:
        self.name = f"{server.name}: botocore alone"
        self._s3 = s3_servers.client(server)
        # botocore makes base64 of the key, and adds its MD5.
        self._encryption: dict[str, Any] = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": secrets.token_bytes(32)}

    def put(self, source: BinaryIO, size: int) -> str:  # noqa: ARG002 - a way's
        key = secrets.token_hex(32)
        self._s3.put_object(Bucket=s3_servers.BUCKET, Key=key, Body=source, **self._encryption)
        return key

    def get(self, kept: str, sink: BinaryIO) -> None:
        body = self._s3.get_object(Bucket=s3_servers.BUCKET, Key=kept, **self._encryption)["Body"]
        shutil.copyfileobj(body, sink, _PIECE)

    def remove(self, kept: str) -> None:
        self._s3.delete_object(Bucket=s3_servers.BUCKET, Key=kept)
