"""What the auth proxies of the tests have in common: one listener for an application, one for the tokenizer."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from attrs import field, frozen

from lunacore.testing.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

HOW_TOS: Final = Path(__file__).parents[2] / "docs" / "how-to" / "auth-proxies"
CLIENT_ID: Final = "lunacore"


@frozen
class Site:
    """One listener of a proxy, and the server that it stands in front of. Two hosts have two cookie jars, two ports have one."""

    backend: str
    host: str
    port: int = field(factory=free_port)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


def application_site(backend: str) -> Site:
    """The site of an application."""
    return Site(backend, "localhost")


def tokenizer_site(backend: str) -> Site:
    """The site of the tokenizer."""
    return Site(backend, "127.0.0.1")


class AuthProxy(Protocol):
    """A proxy that lets nobody through who has not logged in."""

    application: Site
    tokenizer: Site

    def start(self) -> None: ...

    def stop(self) -> None: ...


def documented(page: str, language: str, replacements: Mapping[str, str]) -> str:
    """The one block of that language on a how-to page, with its example's names and ports made those of the test."""
    text = (HOW_TOS / page).read_text(encoding="utf-8")
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    for example, real in replacements.items():
        assert example in block, f"{page} does not hold {example}"
        block = block.replace(example, real)
    return str(block)


def listens(site: Site) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection(("127.0.0.1", site.port), timeout=5):
            return True
    except OSError:
        return False
