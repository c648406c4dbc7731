"""The person at the command line: who it is, as far as this machine knows, and why it wants what it asks for."""

from __future__ import annotations

import os
import pwd
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from lunacore_http.command.exits import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_REASON: Final = 1000
"""Characters that a reason may have."""


def present() -> Mapping[str, str]:
    """The user that the program runs as, the one that logged in where that is another, and the machine's name."""
    who = {"user": _user(), "host": os.uname().nodename}
    with suppress(OSError):  # no terminal: nobody logged in there
        login = os.getlogin()
        if login != who["user"]:
            who["login"] = login
    return who


def reason(given: str) -> str:
    """The reason that was given, or that is given now where somebody sits at a terminal.

    Raises:
        UsageError: there is none.
    """
    reason = given.strip()
    if not reason and _is_asked():
        reason = _asked()
    if not reason:
        raise UsageError("reading a value needs a reason, which the audit log keeps: add --reason TEXT")
    if len(reason) > MAX_REASON:
        raise UsageError(f"a reason may have {MAX_REASON} characters")
    return reason


def _is_asked() -> bool:
    return bool(sys.stdin and sys.stderr and sys.stdin.isatty() and sys.stderr.isatty())


def _asked() -> str:
    print("Reason, for the audit log: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _user() -> str:
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
