"""``lunacore config check``: is the configuration right, and what does it come to?"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import attrs

from lunacore.config import Config
from lunacore.plugins import BackendURL, shown_entries
from lunacore_http.command import configuration
from lunacore_http.command.arguments import add_command, add_family
from lunacore_http.command.exits import Exit

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from lunacore_http.command.arguments import Commands

_HIDDEN: Final = "  # credentials and options are not shown"


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    family = add_family(commands, "config", "check the configuration")
    parser = add_command(family, "check", _check, "check the configuration and show every setting, secrets hidden")
    parser.add_argument("--open", action="store_true", help="open every store and the keyring as well")


def _check(arguments: argparse.Namespace) -> Exit:
    config = configuration.load(arguments)
    lines = list(_lines(config))
    _check_identities(config)
    if arguments.open:
        with configuration.opened(config):
            pass
    print("\n".join(lines))
    return Exit.DONE


def _check_identities(config: Config) -> None:
    if not config.identity:
        return
    from lunacore_http.identity.providers import Identities  # noqa: PLC0415 - needs the extra `server`, and loads httpx

    Identities(config.identity, public_url=config.public_url, max_session_ttl=config.sessions.max_ttl, now=time.time)


def _lines(config: Config) -> Iterator[str]:
    """The settings as TOML, with remarks where something is hidden or comes from elsewhere."""
    for section in attrs.fields(Config):
        value = getattr(config, section.name)
        if isinstance(value, tuple):
            for one in value:
                yield from _table(f"[[{section.name}]]", section.name, one)
        else:
            yield from _table(f"[{section.name}]", section.name, value)


def _table(title: str, section: str, settings: Any) -> Iterator[str]:  # noqa: ANN401 - any section's class
    yield title
    for one in attrs.fields(type(settings)):
        value = getattr(settings, one.name)
        yield f"{one.name} = {_shown(value, f'{section}.{one.name}', secret=not one.repr)}"
    yield ""


def _shown(value: Any, setting: str, *, secret: bool) -> str:  # noqa: ANN401 - any setting's value
    if not secret:
        return _as_toml(value)
    if not value:
        is_store = setting.removeprefix("tokenizer.") in configuration.STORES
        return '""  # the embedded default, in data_dir' if is_store else '""'
    if setting in ("gateway.key", "notify.url"):
        return '"…"  # set, not shown'
    if isinstance(value, tuple):
        return _shown_key_providers(value, setting)
    url = BackendURL.parse(value, setting)
    return _as_toml(url.shown) + ("" if url.shown == url.text else _HIDDEN)


def _shown_key_providers(entries: tuple[tuple[str, ...], ...], setting: str) -> str:
    shown = shown_entries(entries, setting)
    urls = [BackendURL.parse(url, setting) for entry in entries for url in entry]
    written = _as_toml(shown[0] if len(shown) == 1 else shown)
    return written + ("" if all(url.shown == url.text for url in urls) else _HIDDEN)


def _as_toml(value: Any) -> str:  # noqa: ANN401 - any setting's value
    # What JSON writes for text, numbers, booleans and lists of them is TOML too.
    return json.dumps(value, ensure_ascii=False)
