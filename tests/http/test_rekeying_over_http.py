"""``rekey.after`` in a server: a value that was keyed long ago is re-keyed after it was read, and nobody notices."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lunacore import Config, Vault
from lunacore.deployment import open_deployment
from tests.http.conftest import URL, Tokenizer

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400


def put_long_ago(directory: Path, value: bytes) -> str:
    config = Config.from_mapping({"tokenizer": {"data_dir": str(directory / "data"), "public_url": URL}}, {})
    then = time.time() - 100 * DAY
    with Vault(open_deployment(config, now=lambda: then)) as vault:
        return vault.put(value)


def test_a_value_is_re_keyed_after_it_was_read(tmp_path: Path) -> None:
    token = put_long_ago(tmp_path, b"value")
    tokenizer = Tokenizer(tmp_path, rekey={"after": "90d"})

    def read(ticket: dict[str, Any]) -> int:
        path, _, query = ticket["downloadUrl"].removeprefix(URL).partition("?")
        answer = tokenizer.client.simulate_get(path, query_string=query, headers=ticket["headers"])
        return answer.status_code

    def ticket() -> dict[str, Any]:
        given: dict[str, Any] = tokenizer.data("/detokenize", {"tokenId": token}, tokenizer.reading_application)
        return given

    before = ticket()
    rekeying = tokenizer.deployment.tokenizer.rekeying
    assert rekeying is not None
    assert rekeying._thread is not None
    rekeying._queue.put(None)
    rekeying._thread.join(60)
    after = ticket()
    assert before["headers"] != after["headers"]
    assert [read(before), read(after)] == [200, 200]
    with Vault(tokenizer.deployment) as vault:
        assert vault.get(token) == b"value"
