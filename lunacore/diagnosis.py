"""Diagnosis: what ``lunacore doctor`` finds, and how a backend brings checks of its own."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence


class Severity(StrEnum):
    """How bad a finding is; only a ``PROBLEM`` makes a deployment unhealthy."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@frozen
class Finding:
    """One thing that was looked at.

    Attributes:
        part: what it concerns: a setting such as ``tokenizer.objects``, or ``clock``.
        message: what was found; never anything secret.
        remedy: what to do about it, empty where all is well.
    """

    part: str
    severity: Severity
    message: str
    remedy: str = ""


def ok(part: str, message: str) -> Finding:
    """A finding that all is well."""
    return Finding(part, Severity.OK, message)


def warning(part: str, message: str, remedy: str) -> Finding:
    """A finding of something that works, but should not stay so."""
    return Finding(part, Severity.WARNING, message, remedy)


def problem(part: str, message: str, remedy: str) -> Finding:
    """A finding of something that does not work, or is not safe."""
    return Finding(part, Severity.PROBLEM, message, remedy)


@runtime_checkable
class Diagnosable(Protocol):
    """What a store, key provider or audit sink may offer to ``lunacore doctor``: checks that only it knows to make.

    That it can be reached, and that an object can be written and removed, is looked at for every store already.
    """

    def diagnose(self) -> Sequence[Finding]:
        """Look closely, changing nothing; seconds, not minutes. What is wrong is a finding, not an exception."""
        ...
