"""AWS KMS as moto plays it, over HTTP on loopback: it binds ciphertexts to key and encryption context as KMS does."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import botocore.session
import httpx

from lunacore.testing.servers import free_port
from tests.servers.processes import Server, ServerProcess
from tests.servers.s3_server import ACCESS_KEY, SECRET_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM: Final = Path(sys.executable).with_name("moto_server")
REGION: Final = "eu-central-1"


def missing() -> str:
    """Why it cannot run here, empty if it can."""
    return "" if PROGRAM.exists() else "moto is not installed: run make setup"


class AWSKMS(Server):
    """A running KMS."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        self._process = ServerProcess(
            [str(PROGRAM), "-H", "127.0.0.1", "-p", str(port)],
            ready=self._answers,
            environment=_ENVIRONMENT,
            folder=folder,
        )

    @lru_cache  # noqa: B019 - one server lives as long as the run
    def client(self, region: str = REGION) -> Any:
        """A botocore client with all rights."""
        return botocore.session.get_session().create_client(
            "kms",
            endpoint_url=self.endpoint,
            region_name=region,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def make_key(self, alias: str = "", *, region: str = REGION, **options: object) -> Mapping[str, Any]:
        """A symmetric key, under an alias if one is named; what KMS says of it."""
        client = self.client(region)
        made: Mapping[str, Any] = client.create_key(**options)["KeyMetadata"]
        if alias:
            client.create_alias(AliasName=f"alias/{alias}", TargetKeyId=made["KeyId"])
        return made

    def url(self, key: str, **options: str) -> str:
        """The setting ``seal`` for a key."""
        query = {"region": REGION, "endpoint": self.endpoint, **options}
        return f"awskms:///{key}?{httpx.QueryParams({name: value for name, value in query.items() if value})}"

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.endpoint}/moto-api/data.json", timeout=5).is_success
        except httpx.HTTPError:
            return False


# Nothing that moto would look for elsewhere.
_ENVIRONMENT: Final = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null"}
