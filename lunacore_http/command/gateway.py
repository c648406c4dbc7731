"""``lunacore gateway``: the gateway on its own, which knows no key but its own and can open no record."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lunacore.errors import ConfigError
from lunacore_http.command import configuration, gateway_key_file
from lunacore_http.command.arguments import add_command
from lunacore_http.command.exits import Exit

if TYPE_CHECKING:
    import argparse

    from lunacore.config import Config
    from lunacore_http.command.arguments import Commands


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    add_command(commands, "gateway", _gateway, "serve the filesystem objects on their own, with gateway.key alone")


def _gateway(arguments: argparse.Namespace) -> Exit:
    config = configuration.load(arguments)
    if not config.gateway.key:
        raise ConfigError("gateway.key is missing; name the file that lunacore keys export-gateway wrote")
    keys = gateway_key_file.read(Path(config.gateway.key))
    from lunacore_http.server import serve_gateway  # noqa: PLC0415 - loads falcon and granian, for this command alone

    at = f"Gateway     {_url(config)}/objects\nCtrl-C ends it."
    with suppress(KeyboardInterrupt):
        serve_gateway(config, keys, started=lambda: print(at, flush=True))
    return Exit.DONE


def _url(config: Config) -> str:
    scheme = "https" if config.tokenizer.tls_certificate else "http"
    host = f"[{config.gateway.host}]" if ":" in config.gateway.host else config.gateway.host
    return config.gateway.public_url or f"{scheme}://{host}:{config.gateway.port}"
