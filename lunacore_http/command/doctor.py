"""``lunacore doctor``: look at everything that a deployment needs, and say how to mend what is wrong."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

from lunacore.diagnosis import Severity
from lunacore.errors import LunaCoreError
from lunacore_http.command import configuration
from lunacore_http.command.arguments import add_command
from lunacore_http.command.checkup import Checkup, is_healthy
from lunacore_http.command.exits import Exit, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import TextIO

    from lunacore.diagnosis import Finding, Repair
    from lunacore_http.command.arguments import Commands

_MARKS: Final = {Severity.OK: "ok      ", Severity.WARNING: "warning ", Severity.PROBLEM: "PROBLEM "}


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = add_command(
        commands, "doctor", _doctor, "check stores, keyring, clock, permissions and settings, and say what to mend"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--fix", action="store_true", help="make the changes that are safe, each after asking")
    parser.add_argument("--yes", action="store_true", help="with --fix: do not ask")


def _doctor(arguments: argparse.Namespace) -> Exit:
    if arguments.yes and not arguments.fix:
        raise UsageError("--yes goes with --fix")
    config = configuration.load(arguments)
    findings = Checkup(config).run()
    if arguments.fix:
        if not arguments.json:
            _show(findings)
        # What is asked and done is no part of the report that a program reads.
        if _mend(findings, sys.stderr if arguments.json else sys.stdout, ask=not arguments.yes):
            findings = Checkup(config).run()
        elif not arguments.json:
            return _exit(findings)
    if arguments.json:
        print(json.dumps({"healthy": is_healthy(findings), "findings": [_report(one) for one in findings]}, indent=2))
    else:
        _show(findings)
    return _exit(findings)


def _exit(findings: list[Finding]) -> Exit:
    return Exit.DONE if is_healthy(findings) else Exit.FAILED


def _mend(findings: Sequence[Finding], out: TextIO, *, ask: bool) -> bool:
    """Make the repairs that the operator agrees to; whether any was made."""
    repairs = [finding.repair for finding in findings if finding.repair is not None]
    if not repairs:
        print("there is nothing that --fix can mend", file=out)
    made = [_made(repair, out, ask=ask) for repair in repairs]
    return any(made)


def _made(repair: Repair, out: TextIO, *, ask: bool) -> bool:
    print(f"fix      {repair.description}", file=out, flush=True)
    if ask:
        print("         do this? [y/N] ", end="", file=out, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            print("         left as it is", file=out)
            return False
    try:
        repair.apply()
    except LunaCoreError as failure:
        print(f"         not done: {failure.message}", file=out)
        return False
    print("         done", file=out)
    return True


def _report(finding: Finding) -> dict[str, str]:
    return {
        "part": finding.part,
        "severity": finding.severity,
        "message": finding.message,
        "remedy": finding.remedy,
        "fix": "" if finding.repair is None else finding.repair.description,
    }


def _show(findings: Sequence[Finding]) -> None:
    for finding in findings:
        print(f"{_MARKS[finding.severity]} {finding.part}: {finding.message}")
        if finding.remedy:
            print(f"         {finding.remedy}")
    counts = Counter(finding.severity for finding in findings)
    print(f"{counts[Severity.PROBLEM]} problems, {counts[Severity.WARNING]} warnings, {counts[Severity.OK]} fine")
