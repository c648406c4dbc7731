"""``lunacore gateway`` beside a tokenizer: objects on a host of their own, which can go down by itself."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any, Self

from lunacore.testing.servers import free_port
from tests.command.running import PROGRAM

if TYPE_CHECKING:
    from pathlib import Path


class ObjectGateway:
    """Serves the objects of the tokenizer whose data lie in ``directory / "data"``; ``settings`` are for that tokenizer.

    Args:
        directory: of the tokenizer.
        host: that browsers know 127.0.0.1 by.
    """

    def __init__(self, directory: Path, host: str) -> None:
        self._directory = directory
        self._host = host
        self.port = free_port()
        self._objects = f"file://{directory}/objects"
        self.url = f"http://{host}:{self.port}"
        self.settings: dict[str, Any] = {"tokenizer": {"objects": self._objects}, "gateway": {"public_url": self.url}}
        self._process: subprocess.Popen[bytes] | None = None
        self._environ: dict[str, str] = {}

    def stand_behind(self, port: int) -> None:
        """Browsers reach it through a proxy that listens there."""
        self.url = f"http://{self._host}:{port}"
        self.settings["gateway"]["public_url"] = self.url

    def export(self, tokenizer_url: str) -> None:
        """Get the gateway's key from the tokenizer, which has made it."""
        self._environ = {
            **os.environ,
            "LUNACORE_TOKENIZER_DATA_DIR": str(self._directory / "data"),
            "LUNACORE_TOKENIZER_OBJECTS": self._objects,
            "LUNACORE_TOKENIZER_PUBLIC_URL": tokenizer_url,
            "LUNACORE_GATEWAY_PORT": str(self.port),
            "LUNACORE_GATEWAY_PUBLIC_URL": self.url,
            "LUNACORE_GATEWAY_KEY": str(self._directory / "gateway.key"),
        }
        export = [str(PROGRAM), "keys", "export-gateway", self._environ["LUNACORE_GATEWAY_KEY"]]
        subprocess.run(export, env=self._environ, cwd=self._directory, check=True, capture_output=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        self._process = subprocess.Popen(
            [str(PROGRAM), "gateway"],
            env=self._environ,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        assert any(b"Ctrl-C" in line for line in self._process.stdout)

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.communicate(timeout=60)
