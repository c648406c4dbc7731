"""The whole flow over real HTTP with the tokenizer in front of real S3 servers, whose objects it reaches by tickets alone."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import lunacore
from lunacore.segments import sealed_size
from tests.http.tokenizer_server import STRING, TokenizerServer, opened, sealed
from tests.servers.s3_server import url
from tests.servers.s3_stores import new_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.s3_server import S3Server

VALUES = [b"", b"4", "Zażółć gęślą jaźń, 日本語".encode(), os.urandom(3_000_000)]


@pytest.fixture(
    params=[
        pytest.param("seaweedfs", marks=pytest.mark.xdist_group("seaweedfs")),
        pytest.param("minio", marks=[pytest.mark.xdist_group("minio"), pytest.mark.long]),
    ]
)
def s3(request: pytest.FixtureRequest, s3_credentials: None) -> S3Server:
    server: S3Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def tokenizer(tmp_path: Path, s3: S3Server) -> Iterator[TokenizerServer]:
    objects = url(s3, "plain", new_prefix())
    with TokenizerServer(tmp_path, settings={"tokenizer": {"objects": objects}}) as running:
        yield running


@pytest.fixture
def browser(s3: S3Server) -> Iterator[httpx.Client]:
    trusted = ssl.create_default_context(cafile=str(s3.ca)) if s3.ca else True
    with httpx.Client(verify=trusted, timeout=60) as client:
        yield client


@pytest.mark.servers
@pytest.mark.parametrize("form", ["raw", "sealed-v1"])
def test_values_go_up_and_come_back(tokenizer: TokenizerServer, s3: S3Server, browser: httpx.Client, form: str) -> None:
    user, application = tokenizer.user_of("session-1"), tokenizer.application
    for value in VALUES:
        ticket = tokenizer.data("/tokenize", {"metadata": STRING, "valueFormat": form, "size": len(value)}, user)
        assert ticket["uploadUrl"].startswith(s3.endpoint)
        request = {"sessionId": "session-1", "tokenId": ticket["tokenId"]}
        assert tokenizer.data("/grant/verify", request, application) == {"valid": False}
        sent = sealed(value, ticket) if form == "sealed-v1" else value
        assert len(sent) == (sealed_size(len(value)) if form == "sealed-v1" else len(value))
        assert browser.put(ticket["uploadUrl"], headers=ticket["headers"], content=sent).status_code == 200
        assert browser.put(ticket["uploadUrl"], headers=ticket["headers"], content=sent).status_code == 412
        assert tokenizer.data("/grant/verify", request, application) == {"valid": True}
        download = tokenizer.data("/detokenize", {"tokenId": ticket["tokenId"]}, user)
        received = browser.get(download["downloadUrl"], headers=download["headers"])
        assert (opened(received.content, download) if form == "sealed-v1" else received.content) == value
        assert browser.get(download["downloadUrl"]).status_code in (400, 403)
        assert browser.put(download["downloadUrl"], headers=download["headers"], content=b"x").status_code == 403
        tokenizer.data("/token/delete", {"tokenId": ticket["tokenId"]}, application)
        assert browser.get(download["downloadUrl"], headers=download["headers"]).status_code in (404, 412)


@pytest.mark.servers
def test_a_server_and_the_library_share_values(
    tokenizer: TokenizerServer, browser: httpx.Client, tmp_path: Path
) -> None:
    config = lunacore.Config.from_mapping(tokenizer.config, {})
    with lunacore.open_vault(config) as vault:
        token = vault.put(b"from the library")
        tokenizer.data("/grant/set", {"sessionId": "s", "tokenId": token}, tokenizer.application)
        download = tokenizer.data("/detokenize", {"tokenId": token}, tokenizer.user_of("s"))
        received = browser.get(download["downloadUrl"], headers=download["headers"])
        assert opened(received.content, download) == b"from the library"


@pytest.mark.servers
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.long
def test_a_value_that_is_re_keyed_is_read_through_old_and_new_tickets(
    tokenizer: TokenizerServer, browser: httpx.Client, deep: bool
) -> None:
    value = VALUES[-1]
    with lunacore.open_vault(lunacore.Config.from_mapping(tokenizer.config, {})) as vault:
        token = vault.put(value)
        tokenizer.data("/grant/set", {"sessionId": "s", "tokenId": token}, tokenizer.application)

        def ticket() -> dict[str, Any]:
            given: dict[str, Any] = tokenizer.data("/detokenize", {"tokenId": token}, tokenizer.user_of("s"))
            return given

        def read(download: dict[str, Any]) -> bytes:
            received = browser.get(download["downloadUrl"], headers=download["headers"])
            assert received.status_code == 200, received.text
            return opened(received.content, download)

        before = ticket()
        vault.rekey(token, deep=deep)
        after = ticket()
        assert before["downloadUrl"].partition("?")[0] != after["downloadUrl"].partition("?")[0]
        assert (before["valueKey"] != after["valueKey"]) is deep
        assert read(before) == read(after) == value
        vault.delete(token)
        assert browser.get(after["downloadUrl"], headers=after["headers"]).status_code in (404, 412)
        assert browser.get(before["downloadUrl"], headers=before["headers"]).status_code in (404, 412)


@pytest.mark.servers
@pytest.mark.long
def test_a_store_that_is_down_is_told_and_comes_back(
    tokenizer: TokenizerServer, s3: S3Server, browser: httpx.Client
) -> None:
    user, application = tokenizer.user_of("session-1"), tokenizer.application
    ticket = tokenizer.data("/tokenize", {"metadata": STRING}, user)
    assert browser.put(ticket["uploadUrl"], headers=ticket["headers"], content=b"value").status_code == 200
    request = {"sessionId": "session-1", "tokenId": ticket["tokenId"]}
    s3.stop()
    try:
        # Tickets need no network; only what asks the store is refused.
        tokenizer.data("/detokenize", {"tokenId": ticket["tokenId"]}, user)
        answer = tokenizer.post("/grant/verify", request, application)
        assert (answer.status_code, answer.json()["error"]["name"]) == (503, "storeUnavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert httpx.get(f"{tokenizer.operations_url}/ready", timeout=60).status_code == 503
    finally:
        s3.start()
    assert tokenizer.data("/grant/verify", request, application) == {"valid": True}
    assert httpx.get(f"{tokenizer.operations_url}/ready", timeout=60).status_code == 200
