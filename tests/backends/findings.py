"""What tests ask of the findings of ``lunacore doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunacore.diagnosis import Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunacore.diagnosis import Finding


def problems(findings: Sequence[Finding]) -> list[str]:
    return [f"{one.message} | {one.remedy}" for one in findings if one.severity is Severity.PROBLEM]


def the_problem(findings: Sequence[Finding]) -> str:
    (found,) = problems(findings)
    return found


def about(findings: Sequence[Finding], words: str) -> Finding:
    (found,) = [one for one in findings if words in one.message]
    return found
