"""The SDK runs where only the extra ``sdk`` is installed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import lunacore_http

# Refuses to import what the extra does not bring, and everything of lunacore_http but the SDK.
_BLOCKED = """
import sys

ALLOWED = ("lunacore_http", "lunacore_http.sdk")
BLOCKED = {"falcon", "granian", "msgspec", "minio", "s3fs", "botocore", "aiohttp", "prometheus_client", "tqdm", "django", "flask",
           "fastapi", "sqlalchemy", "pytest", "hypothesis", "lunacore_backends"}

class Block:
    def find_spec(self, name, path=None, target=None):
        foreign = name.partition(".")[0] in BLOCKED
        server = name.startswith("lunacore_http.") and name not in ALLOWED and not name.startswith("lunacore_http.sdk.")
        if foreign or server:
            raise ImportError(f"{name} is not of the extra sdk")

sys.meta_path.insert(0, Block())
"""
_USE = """
import asyncio, sys
from wsgiref.util import setup_testing_defaults
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lunacore_http.sdk import Application, AsyncApplication, find_tokens

key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
options = {"issuer": "https://app.example.com", "signing_key": key, "session_id_provider": lambda request: "session-1"}
with Application("https://secure.example.com", **options) as luna:
    environ = {"PATH_INFO": "/.lunasec/secure-frame", "QUERY_STRING": "state=" + "s" * 43}
    setup_testing_defaults(environ)
    started = []
    luna.wsgi(None)(environ, lambda status, headers: started.append(status))
    assert started == ["302 Found"], started
    assert find_tokens([luna.jwks()]) == ()

async def run():
    async with AsyncApplication("https://secure.example.com", **options) as luna:
        sent = []
        async def send(message): sent.append(message)
        scope = {"type": "http", "method": "GET", "path": "/.lunasec/jwks.json", "headers": [], "query_string": b""}
        await luna.asgi(None)(scope, None, send)
        assert sent[0]["status"] == 200
asyncio.run(run())
print("works")
"""


def _run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)


def test_the_sdk_needs_its_extra_alone() -> None:
    ran = _run(_BLOCKED + _USE)
    assert (ran.returncode, ran.stdout) == (0, "works\n"), ran.stderr


def test_the_block_blocks() -> None:
    for name in ("falcon", "lunacore_http.wire", "lunacore_backends.memory"):
        ran = _run(f"{_BLOCKED}\nimport {name}")
        assert f"{name.partition('.')[0]}" in ran.stderr
        assert "is not of the extra sdk" in ran.stderr


def test_the_contract_names_every_other_module() -> None:
    """import-linter takes no pattern that would leave one folder out."""
    root = Path(lunacore_http.__path__[0])
    there = {path.stem for path in root.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    config = tomllib.loads((root.parent / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (
        one for one in config["tool"]["importlinter"]["contracts"] if one.get("source_modules") == ["lunacore_http.sdk"]
    )
    named = {
        one.removeprefix("lunacore_http.") for one in contract["forbidden_modules"] if one.startswith("lunacore_http.")
    }
    assert there - named - {"sdk", "__init__", "pytest_plugin"} == set()
