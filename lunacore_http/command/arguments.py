"""How commands declare their arguments."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no public name
"""Where commands are added to."""

_TOKEN: Final = re.compile(r"lunasec-[0-9A-Za-z-]+")


class Parser(argparse.ArgumentParser):
    """Takes no abbreviations, and never repeats a token that was put in the wrong place."""

    def error(self, message: str) -> NoReturn:
        super().error(_TOKEN.sub("<token>", message))


def everywhere() -> argparse.ArgumentParser:
    """The options of every command. They may also stand before its name, so none has a default here that would undo that."""
    options = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    options.add_argument("--config", metavar="FILE", help="configuration file (TOML)")
    options.add_argument("--data", metavar="DIR", help="data directory, in place of tokenizer.data_dir (./luna-data)")
    options.add_argument("--debug", action="store_true", help="show a stack trace when something fails")
    return options


def number(text: str) -> int:
    """A whole number, 0 or more.

    Raises:
        ValueError: as ``argparse`` wants it.
    """
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], help_: str
) -> argparse.ArgumentParser:
    """Add a command; ``run`` takes the arguments and returns the exit code."""
    parser = commands.add_parser(
        name, parents=[everywhere()], help=help_, description=_sentence(help_), allow_abbrev=False
    )
    parser.set_defaults(run=run)
    return parser


def add_family(commands: Commands, name: str, help_: str) -> Commands:
    """Add a command that has commands of its own."""
    parser = commands.add_parser(
        name, parents=[everywhere()], help=help_, description=_sentence(help_), allow_abbrev=False
    )
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
