"""The program: its arguments, and what becomes of errors.

A command prints its result on standard output and everything else on standard error. An error is one line there,
``lunacore: <what is wrong and what to do>``, and an exit code of ``exits``.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING, Final

from lunacore.errors import LunaCoreError
from lunacore.version import __version__
from lunacore_http.command import (
    audit,
    config_check,
    demo,
    doctor,
    erase,
    gateway,
    jwt,
    keys,
    receipt,
    rekey,
    serve,
    sweep,
    values,
)
from lunacore_http.command.arguments import Parser, everywhere
from lunacore_http.command.exits import Exit, exit_of

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM: Final = "lunacore"

_COMMANDS: Final = (serve, demo, gateway, values, erase, rekey, receipt, jwt, keys, sweep, audit, config_check, doctor)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; arguments are those of the process where None."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return _ended(Exit.INTERRUPTED, "interrupted")
    except BrokenPipeError:
        # Whoever read has seen enough; that is no error to talk about.
        return _ended(Exit.BROKEN_PIPE)
    except LunaCoreError as refusal:
        return _ended(exit_of(refusal), refusal.message, debug=arguments.debug)
    except ModuleNotFoundError as missing:
        return _ended(Exit.CONFIG, _missing(missing), debug=arguments.debug)
    except Exception as error:  # noqa: BLE001 - the one place where the unexpected ends, without a stack trace
        return _ended(Exit.FAILED, _unexpected(error), debug=arguments.debug)
    return code


def _parser() -> Parser:
    parser = Parser(
        prog=PROGRAM,
        description="Keep sensitive values out of applications: they store tokens, LunaCore keeps the values.",
        parents=[everywhere()],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.set_defaults(config=None, data=None, debug=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_to(commands)
    return parser


def _missing(module: ModuleNotFoundError) -> str:
    return f"this command needs {module.name}, which is not installed; try: pip install 'lunacore[server]'"


def _unexpected(error: Exception) -> str:
    """A line about an error that nobody foresaw. What it says itself might hold a secret, so only its kind is told."""
    if isinstance(error, OSError) and error.strerror:
        return f"the system refused: {error.strerror} (--debug shows where)"
    return f"unexpected {type(error).__name__}; this is a mistake in LunaCore, and --debug shows where"


def _ended(code: Exit, message: str = "", *, debug: bool = False) -> int:
    _drop_output()
    if debug:
        traceback.print_exc()
    if message:
        _say(message)
    return code


def _drop_output() -> None:
    """Let what is left in the buffer of standard output go nowhere, or Python would stumble over it at its end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)


def _say(message: str) -> None:
    try:
        print(f"{PROGRAM}: {message}", file=sys.stderr, flush=True)
    except OSError:
        # There is nobody left to tell; the exit code still does.
        return
