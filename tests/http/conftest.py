"""The tokenizer's application in this process over real stores, and a real server for the whole test session."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import falcon.testing
import pytest
from prometheus_client import CollectorRegistry

from lunacore.config import Config
from lunacore.deployment import open_deployment
from lunacore_http.application import create_app
from lunacore_http.metrics import CallMetrics
from lunacore_http.wiring import services_of
from tests.http.tokenizer_server import JSON, Issuer, TokenizerServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from lunacore.deployment import Deployment

URL = "https://secure.example.com"
PROXY = "https://proxy.example.com"
OTHER_TENANT = "https://elsewhere.example.com"
READER = "https://reader.example.com"


class Tokenizer:
    """The application in this process, with callers of every sort."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.issuer = Issuer(directory)
        self.reader = Issuer(directory, READER, name="reader", may_read=True)
        self.proxy = Issuer(directory, PROXY, name="proxy")
        self.elsewhere = Issuer(directory, OTHER_TENANT, name="elsewhere", tenant="elsewhere")
        issuers = [self.issuer, self.reader, self.proxy, self.elsewhere]
        tokenizer = {"data_dir": str(directory / "data"), "public_url": URL, **settings.pop("tokenizer", {})}
        config = {"tokenizer": tokenizer, "identity": [one.settings for one in issuers], **settings}
        self.deployment: Deployment = open_deployment(Config.from_mapping(config, {}))
        self.registry = CollectorRegistry()
        self.services = services_of(self.deployment, CallMetrics(self.registry))
        self.client = falcon.testing.TestClient(create_app(self.services))

    def user(self, session: str = "session-1") -> dict[str, str]:
        return {"cookie": f"access_token={self.issuer.user(URL, session)}"}

    @property
    def application(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.issuer.application(URL)}"}

    @property
    def reading_application(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.reader.application(URL)}"}

    def send(self, path: str, body: Any, headers: Mapping[str, str]) -> falcon.testing.Result:
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.simulate_post(path, body=encoded, headers={**JSON, **headers})

    def data(self, path: str, body: Any, headers: Mapping[str, str]) -> Any:
        answer = self.send(path, body, headers)
        assert answer.status_code == 200, answer.text
        assert answer.json["success"] is True
        assert answer.json["error"] == {}
        return answer.json["data"]

    def refusal(self, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, str, str]:
        """Status, name and message of an error, whose envelope must be exact."""
        answer = self.send(path, body, headers)
        return refusal_in(answer)


def refusal_in(answer: falcon.testing.Result) -> tuple[int, str, str]:
    envelope = answer.json
    assert set(envelope) == {"success", "error", "data"}
    assert envelope["success"] is False
    assert envelope["data"] == {}
    error = envelope["error"]
    assert set(error) == {"name", "message", "code"}
    assert error["code"] == str(answer.status_code)
    return answer.status_code, error["name"], error["message"]


@pytest.fixture
def tokenizer(tmp_path: Path) -> Iterator[Tokenizer]:
    made = Tokenizer(tmp_path)
    yield made
    made.deployment.close()


@pytest.fixture(scope="session")
def shared_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tokenizer]:
    """For tests that leave nothing behind."""
    made = Tokenizer(tmp_path_factory.mktemp("tokenizer"))
    yield made
    made.deployment.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenizerServer]:
    with TokenizerServer(tmp_path_factory.mktemp("server"), workers=2) as running:
        yield running
