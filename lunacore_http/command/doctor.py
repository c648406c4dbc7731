"""``lunacore doctor``: look at everything that a deployment needs, and say how to mend what is wrong."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Final

import attrs

from lunacore.diagnosis import Severity
from lunacore_http.command import configuration
from lunacore_http.command.arguments import add_command
from lunacore_http.command.checkup import Checkup, is_healthy
from lunacore_http.command.exits import Exit

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from lunacore.diagnosis import Finding
    from lunacore_http.command.arguments import Commands

_MARKS: Final = {Severity.OK: "ok      ", Severity.WARNING: "warning ", Severity.PROBLEM: "PROBLEM "}


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    parser = add_command(
        commands, "doctor", _doctor, "check stores, keyring, clock, permissions and settings, and say what to mend"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _doctor(arguments: argparse.Namespace) -> Exit:
    findings = Checkup(configuration.load(arguments)).run()
    healthy = is_healthy(findings)
    if arguments.json:
        print(json.dumps({"healthy": healthy, "findings": [attrs.asdict(one) for one in findings]}, indent=2))
    else:
        _show(findings)
    return Exit.DONE if healthy else Exit.FAILED


def _show(findings: Sequence[Finding]) -> None:
    for finding in findings:
        print(f"{_MARKS[finding.severity]} {finding.part}: {finding.message}")
        if finding.remedy:
            print(f"         {finding.remedy}")
    counts = Counter(finding.severity for finding in findings)
    print(f"{counts[Severity.PROBLEM]} problems, {counts[Severity.WARNING]} warnings, {counts[Severity.OK]} fine")
