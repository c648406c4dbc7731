from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lunacore.errors import ConfigError
from lunacore_http.sdk import Application, AsyncApplication
from lunacore_http.sdk.settings import from_environment
from tests.sdk.pems import pem

if TYPE_CHECKING:
    from pathlib import Path

GOOD: dict[str, Any] = {
    "tokenizer_url": "https://secure.example.com",
    "issuer": "https://app.example.com",
    "signing_key": pem(),
}
ENVIRON = {
    "LUNACORE_APP_TOKENIZER_URL": "https://secure.example.com/",
    "LUNACORE_APP_ISSUER": "https://app.example.com",
    "LUNACORE_APP_SIGNING_KEY": pem().decode(),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokenizer_url", "http://secure.example.com"),
        ("tokenizer_url", "secure.example.com"),
        ("tokenizer_url", "https://secure.example.com/?a=b"),
        ("tokenizer_url", "https://user:pass@secure.example.com"),
        ("tokenizer_url", "https://secure.example.com:99999"),
        ("tokenizer_url", "https://"),
        ("tokenizer_url", None),
        ("issuer", ""),
        ("issuer", None),
        ("internal_url", "ftp://tokenizer"),
        ("session_ttl", "soon"),
        ("session_ttl", 0),
        ("timeout", 0),
        ("timeout", float("nan")),
        ("timeout", "10"),
        ("retries", -1),
        ("retries", True),
        ("ca", "/no/such/file.pem"),
        ("session_id_provider", "session"),
        ("anonymous_secret", "short"),
        ("anonymous_ttl", "0s"),
        ("anonymous_same_site", "Sometimes"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        Application(**{**GOOD, name: value})


def test_plain_http_is_for_loopback_alone() -> None:
    for url in ("http://127.0.0.1:37766", "http://localhost:1", "http://secure.demo.localhost", "http://[::1]:80"):
        Application(**{**GOOD, "tokenizer_url": url}).close()


def test_from_environment(tmp_path: Path) -> None:
    more = {"LUNACORE_APP_SESSION_TTL": "1h", "LUNACORE_APP_TIMEOUT": "2.5", "LUNACORE_APP_RETRIES": "0", "OTHER": "x"}
    for kind in (Application, AsyncApplication):
        luna = kind.from_environment(lambda _: None, environ={**ENVIRON, **more})
        assert luna.tokenizer_url == "https://secure.example.com"
        assert (luna._settings.session_ttl, luna._settings.timeout, luna._settings.retries) == (3600, 2.5, 0)


def test_from_environment_with_files(tmp_path: Path) -> None:
    key, secret = tmp_path / "key.pem", tmp_path / "secret"
    key.write_bytes(pem())
    secret.write_text("s" * 40 + "\n")
    environ = {name: value for name, value in ENVIRON.items() if not name.endswith("_KEY")}
    environ |= {"LUNACORE_APP_SIGNING_KEY_FILE": str(key), "LUNACORE_APP_ANONYMOUS_SECRET_FILE": str(secret)}
    assert from_environment(environ)["signing_key"] == key  # stays a path, to be read again
    assert from_environment(environ)["anonymous_secret"] == b"s" * 40
    with Application.from_environment(environ=environ) as luna:
        assert luna.anonymous.in_use


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"LUNACORE_APP_ISUER": "x"}, "did you mean LUNACORE_APP_ISSUER"),
        ({"LUNACORE_APP_SIGNING_KEY_FILE": "x"}, "keep one"),
        ({"LUNACORE_APP_TIMEOUT": "long"}, "LUNACORE_APP_TIMEOUT must be a number"),
        ({"LUNACORE_APP_ANONYMOUS_SECRET_FILE": "/no/such/file"}, "cannot be read"),
    ],
)
def test_a_wrong_variable_is_named(change: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Application.from_environment(environ={**ENVIRON, **change})


@pytest.mark.parametrize("missing", ENVIRON)
def test_a_missing_variable_is_named(missing: str) -> None:
    environ = {name: value for name, value in ENVIRON.items() if name != missing}
    with pytest.raises(ConfigError, match=f"{missing} is missing"):
        Application.from_environment(environ=environ)
