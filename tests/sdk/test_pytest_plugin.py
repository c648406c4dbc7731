"""The pytest plugin, used as the tests of an application use it; and a run that does not use it pays nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lunacore.errors import GrantMissing, TokenNotFound
from lunacore_http.sdk import Application

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore_http.sdk.testing import Browser, EmbeddedTokenizer

# One tokenizer serves all tests of this file's worker.
pytestmark = pytest.mark.xdist_group("lunacore_tokenizer")


def test_what_a_user_typed_is_read_by_those_whom_the_application_lets(
    lunacore_application: Application, lunacore_browser: Callable[[str], Browser]
) -> None:
    alice, bob = lunacore_browser("alice"), lunacore_browser("bob")
    token = alice.tokenize("4111 1111 1111 1111")
    lunacore_application.grants.verify("alice", token)
    with pytest.raises(GrantMissing):
        lunacore_application.grants.verify("bob", token)
    with pytest.raises(GrantMissing):
        bob.detokenize(token)
    lunacore_application.grants.create("bob", token)
    assert bob.detokenize(token) == b"4111 1111 1111 1111"


def test_a_test_puts_and_reads_values_itself(lunacore_tokenizer: EmbeddedTokenizer) -> None:
    token = lunacore_tokenizer.put("4111")
    assert lunacore_tokenizer.read(token) == b"4111"
    with pytest.raises(TokenNotFound):
        lunacore_tokenizer.read(token[:-12] + "000000000000")


def test_an_application_is_configured_by_the_environment_of_the_tokenizer(
    lunacore_tokenizer: EmbeddedTokenizer,
) -> None:
    with Application.from_environment(environ=lunacore_tokenizer.environment) as application:
        token = application.values.put(b"4111")
        assert application.metadata(token) == {"dataType": "string"}


def test_the_tokenizer_is_a_server_of_its_own(lunacore_tokenizer: EmbeddedTokenizer) -> None:
    assert lunacore_tokenizer.client.get(f"{lunacore_tokenizer.url}/health").status_code == 200
    assert lunacore_tokenizer.signing_key not in repr(lunacore_tokenizer)


LOADED = """
import sys
sys.argv = ["pytest", "-q", "-p", "lunacore_http.pytest_plugin", "-p", "no:cacheprovider", sys.argv[1]]
import pytest
status = pytest.main(sys.argv[1:])
heavy = {"httpx", "falcon", "granian", "msgspec", "django", "sqlalchemy", "jwt", "cryptography", "lunacore.testing"}
print(sorted(heavy & set(sys.modules)))
sys.exit(status)
"""


def test_a_run_that_does_not_use_it_loads_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("def test_it(): pass\n")
    command = [sys.executable, "-c", LOADED, str(tmp_path)]
    # Without the plug-ins of others, some of which load what is looked for.
    environment = {"PATH": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(_root())}
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1] == "[]"


def _root() -> Path:
    return Path(__file__).parents[2]
