"""Exit codes: what a script may rely on (``docs/reference/command-line.md``)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from lunacore.errors import ConfigError, InvalidRequest, KeyringError, LunaCoreError, StoreUnavailable


class Exit(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    USAGE = 2  # argparse's own
    CONFIG = 3
    KEYRING = 4
    UNAVAILABLE = 5
    TAMPERED = 6  # what is kept is not what was written
    INTERRUPTED = 130  # as shells report SIGINT
    BROKEN_PIPE = 141  # as shells report SIGPIPE


class CommandFailed(LunaCoreError):
    """The command could not do what it was asked for, for a reason that is its own."""

    name = "commandFailed"


class UsageError(LunaCoreError):
    """The arguments do not go together."""

    name = "usageError"


_EXITS: Final[tuple[tuple[type[LunaCoreError], Exit], ...]] = (
    (UsageError, Exit.USAGE),
    (InvalidRequest, Exit.USAGE),
    (ConfigError, Exit.CONFIG),
    (KeyringError, Exit.KEYRING),
    (StoreUnavailable, Exit.UNAVAILABLE),
)


def exit_of(error: LunaCoreError) -> Exit:
    """The exit code that tells of an error."""
    return next((code for kind, code in _EXITS if isinstance(error, kind)), Exit.FAILED)
