"""``lunacore sweep``: erase what is due now. A server does so by itself (``sweep.every``)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from lunacore.deployment import DEFAULT_TENANT
from lunacore.erasure import DueFor
from lunacore.identity import Call, operator
from lunacore.sweeping import Sweeper
from lunacore_http.command import configuration, progress
from lunacore_http.command.arguments import add_command
from lunacore_http.command.exits import Exit

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from lunacore_http.command.arguments import Commands

_MEANINGS: Final = {
    DueFor.NEVER_UPLOADED: "tokens to which nothing was uploaded in time",
    DueFor.UNVERIFIED: "uploads that nobody verified in time",
    DueFor.EXPIRED: "values whose time is up",
    DueFor.ERASING: "erased tokens whose objects are still to be removed",
    DueFor.REKEYED: "re-keyed tokens whose old objects are to be removed",
}


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = add_command(
        commands, "sweep", _sweep, "erase what is due now; without --yes only show what would be erased"
    )
    parser.add_argument("--yes", action="store_true", help="erase it")
    parser.add_argument("--reason", metavar="TEXT", default="", help="why, for the audit log")


def _sweep(arguments: argparse.Namespace) -> Exit:
    with configuration.opened(configuration.load(arguments)) as deployment:
        sweeper = Sweeper(deployment.tokenizer.eraser, deployment.grants, deployment.audit, deployment.now)
        due = sweeper.due()
        if not arguments.yes:
            _show(due)
            print("nothing was changed; run it again with --yes to erase them, and expired grants with them")
            return Exit.DONE
        return _erase(sweeper, sum(due.values()), Call(operator(DEFAULT_TENANT), reason=arguments.reason))


def _show(due: Mapping[DueFor, int]) -> None:
    for reason, meaning in _MEANINGS.items():
        print(f"{due.get(reason, 0):>10}  {meaning}")
    if due.get(DueFor.UNKNOWN):
        print(f"{due[DueFor.UNKNOWN]:>10}  records that cannot be opened; they stay as they are")


def _erase(sweeper: Sweeper, total: int, call: Call) -> Exit:
    done, later, tidied, problems = 0, 0, 0, Counter[str]()
    with progress.shown("sweep", total, " records") as bar:
        for swept in sweeper.sweep_records(call):
            bar.update(1)
            if swept.problem:
                problems[swept.problem] += 1
            elif swept.tidied:
                tidied += 1
            elif swept.done:
                done += 1
            elif not swept.spared:
                later += 1
    grants = sweeper.sweep_grants()
    print(f"{done:>10}  erased")
    print(f"{later:>10}  erased, but an object is still to be removed; the next sweep tries again")
    print(f"{tidied:>10}  objects removed that re-keying had replaced")
    print(f"{grants:>10}  expired grants removed")
    for problem, count in problems.items():
        print(f"{count:>10}  left as they are: {problem}")
    return Exit.FAILED if problems else Exit.DONE
