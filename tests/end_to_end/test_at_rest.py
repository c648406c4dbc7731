"""Nothing at rest and nothing in a log tells a value, a token, a key or a credential."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import httpx
import pytest

import lunacore
from tests.http.tokenizer_server import TokenizerServer, sealed

if TYPE_CHECKING:
    from pathlib import Path

VALUE = b"a value that must not be found anywhere: 4111-1111-1111-1111"
METADATA_NOTE = "metadata-that-must-not-be-found"
METADATA = {"dataType": "string", "customFields": {"note": METADATA_NOTE}}


def forms_of_key(key: bytes) -> list[bytes]:
    encoded = base64.b64encode(key)
    return [key, encoded, encoded.rstrip(b"="), base64.urlsafe_b64encode(key).rstrip(b"="), key.hex().encode()]


def forms_of_token(token: str) -> list[bytes]:
    digits = token.removeprefix("lunasec-")
    return [digits.encode(), digits.replace("-", "").encode(), bytes.fromhex(digits.replace("-", ""))]


def contents(directory: Path) -> dict[str, bytes]:
    files = {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    names = "\n".join(str(path.relative_to(directory)) for path in directory.rglob("*")).encode()
    return {**files, "names of files": names}


def assert_absent(secrets: list[bytes], places: dict[str, bytes]) -> None:
    for place, content in places.items():
        for secret in secrets:
            assert secret not in content, f"a secret of {len(secret)} bytes is in {place}"


def test_the_probe_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "leak").write_bytes(b"before" + VALUE + b"after")
    with pytest.raises(AssertionError):
        assert_absent([VALUE], contents(tmp_path))


def test_the_library_leaves_no_secret(tmp_path: Path) -> None:
    with lunacore.open_vault(tmp_path / "vault") as vault:
        token = vault.put(VALUE, metadata=METADATA, labels=["a data subject"])
        call = lunacore.Call(lunacore.Identity("default", "test", lunacore.Role.OPERATOR, may_read=True))
        (access,) = vault.tokenizer.access(call, [token])
        assert isinstance(access, lunacore.Access)
        assert vault.get(token) == VALUE
        secrets = [VALUE, METADATA_NOTE.encode(), b"a data subject"]
        secrets += [*forms_of_token(token), *forms_of_key(access.store_key), *forms_of_key(access.value_key)]
        while_open = contents(tmp_path)
        vault.delete(vault.put(VALUE))
    assert_absent(secrets, while_open)
    assert_absent(secrets, contents(tmp_path))


@pytest.mark.parametrize("form", ["raw", "sealed-v1"])
def test_the_server_leaves_no_secret(tmp_path: Path, form: str) -> None:
    with TokenizerServer(tmp_path, workers=2) as server:
        user, application = server.user_of("a-session-id-to-look-for"), server.application
        ticket = server.data("/tokenize", {"metadata": METADATA, "valueFormat": form}, user)
        secrets = [VALUE, METADATA_NOTE.encode(), b"a-session-id-to-look-for"]
        secrets += [user["cookie"].partition("=")[2].encode(), application["authorization"].partition(" ")[2].encode()]
        sent = VALUE
        if form == "sealed-v1":
            secrets += forms_of_key(base64.b64decode(ticket["valueKey"]))
            sent = sealed(VALUE, ticket)
        store_key = base64.b64decode(ticket["headers"]["x-amz-server-side-encryption-customer-key"])
        secrets += [*forms_of_key(store_key), *forms_of_token(ticket["tokenId"])]
        httpx.put(ticket["uploadUrl"], headers=ticket["headers"], content=sent).raise_for_status()
        request = {"sessionId": "a-session-id-to-look-for", "tokenId": ticket["tokenId"]}
        assert server.data("/grant/verify", request, application) == {"valid": True}
        server.data("/grant/set", request, application)
        download = server.data("/detokenize", {"tokenId": ticket["tokenId"]}, user)
        assert httpx.get(download["downloadUrl"], headers=download["headers"]).status_code == 200
        provoke_errors(server, ticket["tokenId"], user)
        secrets.append(download["downloadUrl"].rpartition("X-Amz-Signature=")[2].encode())
        kept = contents(server.directory / "data")
        metrics = httpx.get(f"{server.operations_url}/metrics").content
        server.stop()
        places = {**kept, "the server's log": server.log.encode(), "metrics": metrics}
    assert_absent(secrets, places)
    assert any(path.endswith("audit.jsonl") and content.count(b"\n") >= 5 for path, content in kept.items())


def provoke_errors(server: TokenizerServer, token: str, user: dict[str, str]) -> None:
    """Send the secrets where they do not belong: the errors and the log lines must not repeat them."""
    cookie = user["cookie"].partition("=")[2]
    answers = [
        server.post("/detokenize", {"tokenId": token, "other": token}, user),
        server.post("/detokenize", {"tokenId": token + "0"}, user),
        server.post("/detokenize", {token: cookie}, user),
        server.post(f"/{token}?jwt={cookie}", {"tokenId": token}, user),
        server.post("/detokenize", {"tokenId": token}, {"cookie": f"access_token={cookie}x"}),
        server.post("/grant/set", {"tokenId": token, "sessionId": cookie}, user),
        httpx.get(f"{server.url}/objects/{token}?X-Amz-Signature={cookie}"),
    ]
    for answer in answers:
        assert answer.status_code >= 400
        assert_absent([token.encode(), cookie.encode()], {answer.request.url.path: answer.content})


def test_errors_and_representations_hide_secrets(tmp_path: Path) -> None:
    with lunacore.open_vault(tmp_path / "vault") as vault:
        token = vault.put(VALUE)
        assert token not in repr([token, {"token": token}])
        assert json.dumps({"token": token}) == json.dumps({"token": str(token)})
        vault.delete(token)
        with pytest.raises(lunacore.TokenNotFound) as caught:
            vault.get(token)
        assert token not in repr(caught.value)
        with pytest.raises(lunacore.InvalidToken) as malformed:
            vault.get(token + "0")
        assert token not in str(malformed.value)
