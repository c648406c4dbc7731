"""``lunacore erase``: erase many values for good, by token, by label or by age, and give a signed receipt of it."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from attrs import define, field, frozen

from lunacore import durations, receipts
from lunacore.bulk_erasure import label_fingerprint
from lunacore.deployment import DEFAULT_TENANT
from lunacore.errors import LunaCoreError, StoreUnavailable
from lunacore.identity import Call, operator
from lunacore.outcomes import unrefused
from lunacore.receipts import Erasure
from lunacore_http.command import configuration, output_file, person, progress, questions, standard_streams
from lunacore_http.command.arguments import add_command
from lunacore_http.command.exits import Exit, exit_of
from lunacore_http.command.standard_streams import STANDARD, label_of, tokens_in

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping
    from typing import BinaryIO

    from lunacore.bulk_erasure import BulkErased
    from lunacore.deployment import Deployment
    from lunacore.erasure import Erased
    from lunacore_http.command.arguments import Commands

_BATCH: Final = 500


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = add_command(
        commands,
        "erase",
        _erase,
        "erase many values for good, by token, by label or by age, and print a signed receipt",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--tokens-from", metavar="FILE", help="these tokens, one on each line; - for standard input")
    what.add_argument(
        "--label", metavar="TEXT", help="all that was put away with this label; - to read it from standard input"
    )
    what.add_argument("--older-than", metavar="DURATION", help="all that was put away so long ago, such as 3650d")
    parser.add_argument("--dry-run", action="store_true", help="say how much it is, and change nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask first")
    parser.add_argument("--receipt", metavar="FILE", help="write the receipt to this file, not to standard output")
    parser.add_argument("--reason", metavar="TEXT", default="", help="why, for the audit log and the receipt")
    parser.add_argument("--tenant", metavar="NAME", default=DEFAULT_TENANT, help="tenant of the tokens (default)")


@frozen
class _Outcome:
    """What became of one token."""

    erased: Erased | None = None
    problem: LunaCoreError | None = None


class _Selected(Protocol):
    """What is to be erased."""

    @property
    def shown(self) -> Mapping[str, str]:
        """For the receipt."""
        ...

    def count(self) -> int | None:
        """How many there are, None if nobody can tell before."""
        ...

    def erase(self, call: Call) -> Iterator[_Outcome]:
        """Erase them."""
        ...


@frozen
class _Tokens:
    deployment: Deployment
    tenant: str
    tokens: Iterator[str]

    @property
    def shown(self) -> Mapping[str, str]:
        return {"by": "tokens"}

    def count(self) -> int | None:
        return None

    def present(self) -> tuple[int, int]:
        """How many of the tokens are there, and how many are not. Uses them up, and changes nothing."""
        lookup, there, given = self.deployment.tokenizer.lookup, 0, 0
        while batch := list(islice(self.tokens, _BATCH)):
            presented = unrefused(lookup.present_each(self.tenant, batch))
            there += len(unrefused(lookup.find(presented)))
            given += len(batch)
        return there, given - there

    def erase(self, call: Call) -> Iterator[_Outcome]:
        while batch := list(islice(self.tokens, _BATCH)):
            for outcome in self.deployment.tokenizer.erase(call, batch):
                if isinstance(outcome, StoreUnavailable):
                    raise outcome
                yield _Outcome(problem=outcome) if isinstance(outcome, LunaCoreError) else _Outcome(outcome)


@frozen
class _Label:
    deployment: Deployment
    tenant: str
    label: str = field(repr=False)

    @property
    def shown(self) -> Mapping[str, str]:
        return {"by": "label", "label": label_fingerprint(self.deployment.keyring, self.tenant, self.label)}

    def count(self) -> int | None:
        return self.deployment.tokenizer.bulk_eraser.count_labelled(self.tenant, self.label)

    def erase(self, call: Call) -> Iterator[_Outcome]:
        yield from map(_outcome, self.deployment.tokenizer.bulk_eraser.labelled(call, self.label))


@frozen
class _Older:
    deployment: Deployment
    tenant: str
    before: int

    @property
    def shown(self) -> Mapping[str, str]:
        return {"by": "age", "createdBefore": receipts.timestamp(self.before)}

    def count(self) -> int | None:
        return self.deployment.tokenizer.bulk_eraser.count_older(self.tenant, self.before)

    def erase(self, call: Call) -> Iterator[_Outcome]:
        yield from map(_outcome, self.deployment.tokenizer.bulk_eraser.older(call, self.before))


@define
class _Report:
    """What was done so far, and the receipts of it."""

    deployment: Deployment
    call: Call
    shown: Mapping[str, str]
    write: Callable[[str], None]
    erased: list[Erased] = field(factory=list)
    part: int = 0
    done: int = 0
    left: int = 0
    absent: int = 0
    failed: int = 0
    worst: Exit = Exit.DONE

    def add(self, outcome: _Outcome) -> None:
        if outcome.problem is not None:
            self.failed += 1
            self.worst = max(self.worst, exit_of(outcome.problem))
            print(f"lunacore: {outcome.problem.message}", file=sys.stderr)
        elif outcome.erased is None:
            self.absent += 1
        else:
            self.done += 1
            self.left += bool(outcome.erased.sweep_from)
            self.erased.append(outcome.erased)
            if len(self.erased) == receipts.MAX_TOKENS:
                self.sign(complete=False)

    def sign(self, *, complete: bool) -> None:
        """Write a receipt of what was erased since the last one."""
        self.part += 1
        erasure = Erasure(
            tenant=self.call.identity.tenant,
            reason=self.call.reason,
            selection=self.shown,
            erased=self.erased,
            absent=self.absent if complete else 0,
            failed=self.failed if complete else 0,
            complete=complete and not self.failed,
            part=self.part,
        )
        self.write(receipts.sign(erasure, self.deployment.keyring, now=self.deployment.now()))
        self.erased = []

    def show(self) -> None:
        say = f"{self.done} erased, of which {self.left} are finished by the sweep; {self.absent} were not there"
        print(f"{say}; {self.failed} failed" if self.failed else say, file=sys.stderr)


def _erase(arguments: argparse.Namespace) -> Exit:
    config = configuration.load(arguments)
    with configuration.opened(config) as deployment, _selected(arguments, deployment) as selected:
        count = selected.count()
        if arguments.dry_run:
            return _only_look(selected, count)
        if not arguments.yes and not questions.confirmed(_question(count)):
            print("nothing was erased", file=sys.stderr)
            return Exit.FAILED
        call = Call(operator(arguments.tenant), reason=arguments.reason, who=person.present())
        with _receipt_file(arguments.receipt) as write:
            return _erase_each(selected, count, _Report(deployment, call, selected.shown, write))


def _erase_each(selected: _Selected, count: int | None, report: _Report) -> Exit:
    complete = False
    try:
        with progress.shown("erase", count, " values") as bar:
            for outcome in selected.erase(report.call):
                report.add(outcome)
                bar.update(1)
        complete = True
    finally:
        # Whatever stopped it: what was erased is told of.
        if complete or report.erased:
            report.sign(complete=complete)
        report.show()
    return report.worst


def _only_look(selected: _Selected, count: int | None) -> Exit:
    if isinstance(selected, _Tokens):
        there, missing = selected.present()
        print(f"{there:>10}  would be erased")
        print(f"{missing:>10}  are not there")
    else:
        print(f"{count:>10}  would be erased")
    print("nothing was changed")
    return Exit.DONE


def _question(count: int | None) -> str:
    what = "the values of these tokens" if count is None else f"{count} value{'' if count == 1 else 's'}"
    return f"This erases {what} for good."


@contextmanager
def _selected(arguments: argparse.Namespace, deployment: Deployment) -> Iterator[_Selected]:
    tenant = arguments.tenant
    if arguments.tokens_from is not None:
        with tokens_in(arguments.tokens_from) as tokens:
            yield _Tokens(deployment, tenant, tokens)
    elif arguments.label is not None:
        yield _Label(deployment, tenant, label_of(arguments.label))
    else:
        age = durations.parse(arguments.older_than, "--older-than")
        # Nothing is older than the epoch, and receipts write no date before it.
        yield _Older(deployment, tenant, max(0, int(deployment.now()) - age))


@contextmanager
def _receipt_file(name: str | None) -> Iterator[Callable[[str], None]]:
    """Where receipts are written to, each a line, as soon as they are made."""
    to_file = name not in (None, STANDARD)
    opened = output_file.new(Path(str(name))) if to_file else nullcontext(standard_streams.output_bytes())
    with opened as target:

        def write(receipt: str) -> None:
            _write(target, receipt)

        yield write


def _write(target: BinaryIO, receipt: str) -> None:
    target.write(receipt.encode("ascii") + b"\n")
    target.flush()


def _outcome(one: BulkErased) -> _Outcome:
    return _Outcome(one.erased, one.problem)
