"""Questions that a command asks before it does what cannot be undone."""

from __future__ import annotations

import sys

from lunacore_http.command.exits import UsageError


def confirmed(question: str) -> bool:
    """Whether whoever sits at the terminal typed ``yes``.

    Raises:
        UsageError: there is nobody to ask.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask at; add --yes to do it, or --dry-run to only look")
    print(f"{question} Type yes: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == "yes"
