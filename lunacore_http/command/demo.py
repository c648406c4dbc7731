"""``lunacore demo``: a small application that keeps no secret of its users, with a tokenizer, to look at in a browser."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from attrs import evolve

from lunacore.config import FrameSettings, IdentitySettings
from lunacore.errors import ConfigError
from lunacore_http.command import configuration, local_identity, local_paths
from lunacore_http.command.arguments import add_command
from lunacore_http.command.exits import Exit
from lunacore_http.demo.places import LOOPBACK, Places

if TYPE_CHECKING:
    from lunacore.config import Config
    from lunacore_http.command.arguments import Commands

PORT: Final = 37770
_DIRECTORY: Final = "demo"


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = add_command(
        commands, "demo", _demo, "run a small application with a tokenizer, to look at in a browser on this machine"
    )
    parser.add_argument(
        "--port", type=_port, default=PORT, help=f"port of the application on {LOOPBACK} ({PORT} if not given)"
    )
    parser.add_argument("--objects", metavar="URL", help="where values are kept, in place of tokenizer.objects")


def _demo(arguments: argparse.Namespace) -> Exit:
    given = configuration.load(arguments)
    if arguments.objects is not None:
        given = evolve(given, tokenizer=evolve(given.tokenizer, objects=arguments.objects))
    _require_own(given)
    places = Places(
        directory=given.data_dir / _DIRECTORY,
        port=arguments.port,
        tokenizer_port=given.tokenizer.port,
        audit=local_paths.path_of(given, "audit"),
    )
    config = _with_application(given, places)
    from lunacore_http.demo.running import run  # noqa: PLC0415 - loads multiprocessing, for this command alone

    run(config, places, started=lambda: print(_welcome(config, places), flush=True))
    return Exit.DONE


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 16:
        raise argparse.ArgumentTypeError("must be a port, 1 to 65535")
    return int(text)


def _require_own(given: Config) -> None:
    """Raise ``ConfigError`` if somebody else's application, address or certificate is configured."""
    settings = {
        "[[identity]]": given.identity,
        "tokenizer.public_url": given.tokenizer.public_url,
        "tokenizer.tls_certificate": given.tokenizer.tls_certificate,
        "gateway.public_url": given.gateway.public_url,
        "frame.app_origins": given.frame.app_origins,
    }
    found = [name for name, value in settings.items() if value]
    if found:
        raise ConfigError(f"the demo brings its own application and addresses; leave {' and '.join(found)} out")
    if given.tokenizer.host != LOOPBACK:
        raise ConfigError(
            f"tokenizer.host is {given.tokenizer.host}, and the demo is for {LOOPBACK} alone; leave it out"
        )


def _with_application(given: Config, places: Places) -> Config:
    """The tokenizer's configuration: it knows the demo's application, and the local identity as ``lunacore serve`` would."""
    (local,) = local_identity.with_local_identity(given).identity
    application = IdentitySettings(
        name="demo",
        kind="application",
        issuer=places.url,
        jwks=places.jwks_url,
        private_addresses=True,
        algorithms=("EdDSA",),
        callback=f"{places.url}/.lunasec/secure-frame",
        default=True,
    )
    return evolve(
        given,
        tokenizer=evolve(given.tokenizer, public_url=places.tokenizer_url),
        frame=FrameSettings(app_origins=(places.url,)),
        # JWTs that lunacore jwt signs are made out to the address that is configured.
        identity=(application, evolve(local, default=False, audience=given.public_url)),
    )


def _welcome(config: Config, places: Places) -> str:
    return (
        f"Demo        {places.url}\n"
        f"Tokenizer   {config.public_url}\n"
        f"Operations  http://{config.tokenizer.operations}  (readiness, metrics, OpenAPI)\n"
        f"Logs        {places.tokenizer_log}, {places.application_log.name}\n"
        "Open the first address in a browser on this machine. Ctrl-C ends it.\n"
    )
