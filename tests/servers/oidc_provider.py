"""An OpenID provider with log-in pages: the PyPI package oidc-provider-mock, over plain HTTP on loopback.

Whoever types a name is logged in as that user. Each user has a session id of the provider's (``sid``), which it is told beforehand.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import httpx

from lunacore.testing.servers import free_port
from tests.servers.processes import Server, ServerProcess

if TYPE_CHECKING:
    from pathlib import Path


def missing() -> str:
    """Why it cannot run here, empty if it can."""
    return "" if find_spec("oidc_provider_mock") else "oidc-provider-mock is not installed: run make setup"


class OIDCProvider(Server):
    """A running OpenID provider. Its ``url`` is its issuer."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.jwks = f"{self.url}/jwks"
        self._process = ServerProcess(
            [sys.executable, "-m", "oidc_provider_mock", "--host", "127.0.0.1", "--port", str(port)],
            ready=self._answers,
            environment={},
            folder=folder,
        )

    def add_user(self, name: str, **claims: str) -> None:
        """Have the provider put these claims into the user's ID tokens."""
        httpx.put(f"{self.url}/users/{name}", json=claims, timeout=30).raise_for_status()

    def log_in(self, client: httpx.Client, page: str, name: str) -> httpx.Response:
        """Open a page that needs a log-in, fill in the provider's form, and return the page that one comes back to."""
        form = client.get(page)
        assert str(form.url).startswith(f"{self.url}/oauth2/authorize?"), form.url
        return client.post(form.url, data={"sub": name})

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/.well-known/openid-configuration", timeout=30).is_success
        except httpx.HTTPError:
            return False
