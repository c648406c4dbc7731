"""``lunacore rekey``: other names and keys for the objects of tokens, while tokens and values stay the same."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Final

from attrs import define

from lunacore import durations
from lunacore.deployment import DEFAULT_TENANT
from lunacore.errors import LunaCoreError, StoreUnavailable
from lunacore.identity import Call, operator
from lunacore_http.command import configuration, person, progress
from lunacore_http.command.arguments import add_command
from lunacore_http.command.exits import Exit, exit_of
from lunacore_http.command.standard_streams import STANDARD, tokens_in

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from lunacore.deployment import Deployment
    from lunacore.outcomes import Outcome
    from lunacore_http.command.arguments import Commands
    from lunacore_http.command.progress import Bar

_BATCH: Final = 20
"""Tokens between two entries of the audit log; a large value takes a while."""


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = add_command(
        commands, "rekey", _rekey, "give the objects of tokens other names and keys; tokens and values stay the same"
    )
    parser.add_argument(
        "--tokens-from",
        metavar="FILE",
        default=STANDARD,
        help="the tokens, one on each line; - or nothing for standard input",
    )
    parser.add_argument(
        "--deep",
        action="store_true",
        help="carry each value through this program, and seal it under another value key too",
    )
    parser.add_argument(
        "--older-than", metavar="DURATION", help="only objects that got their keys so long ago, such as 90d"
    )
    parser.add_argument("--reason", metavar="TEXT", default="", help="why, for the audit log")
    parser.add_argument("--tenant", metavar="NAME", default=DEFAULT_TENANT, help="tenant of the tokens (default)")


@define
class _Counts:
    done: int = 0
    young: int = 0
    failed: int = 0
    worst: Exit = Exit.DONE

    @property
    def total(self) -> int:
        return self.done + self.young + self.failed

    def add(self, outcome: Outcome[bool]) -> None:
        if not isinstance(outcome, LunaCoreError):
            self.done += outcome
            self.young += not outcome
            return
        self.failed += 1
        self.worst = max(self.worst, exit_of(outcome))
        print(f"lunacore: token {self.total}: {outcome.message}", file=sys.stderr)


def _rekey(arguments: argparse.Namespace) -> Exit:
    older_than = 0 if arguments.older_than is None else durations.parse(arguments.older_than, "--older-than")
    call = Call(operator(arguments.tenant), reason=arguments.reason, who=person.present())
    counts = _Counts()
    with configuration.opened(configuration.load(arguments)) as deployment, tokens_in(arguments.tokens_from) as tokens:
        try:
            with progress.shown("rekey", None, " tokens") as bar:
                _rekey_each(deployment, call, tokens, counts, bar, deep=arguments.deep, older_than=older_than)
        finally:
            _show(counts)
    return counts.worst


def _rekey_each(
    deployment: Deployment,
    call: Call,
    tokens: Iterator[str],
    counts: _Counts,
    bar: Bar,
    *,
    deep: bool,
    older_than: int,
) -> None:
    while batch := list(islice(tokens, _BATCH)):
        for outcome in deployment.tokenizer.rekey(call, batch, deep=deep, older_than=older_than):
            counts.add(outcome)
            bar.update(1)
            if isinstance(outcome, StoreUnavailable):
                raise outcome


def _show(counts: _Counts) -> None:
    print(f"{counts.done:>10}  re-keyed")
    print(f"{counts.young:>10}  left, since their keys are younger")
    print(f"{counts.failed:>10}  failed")
    if counts.done:
        print("the objects that were replaced go with the first sweep after the last ticket for them can be in use")
