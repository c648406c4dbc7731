"""Diagnosis: what ``lunacore doctor`` finds, and how a backend brings checks of its own."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Severity(StrEnum):
    """How bad a finding is; only a ``PROBLEM`` makes a deployment unhealthy."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@frozen
class Circumstances:
    """What a check may need to know of the deployment.

    Attributes:
        origin: the origin of the Secure Frame, such as ``https://secure.example.com``.
        now: Unix seconds.
        random: cryptographically secure random bytes.
    """

    origin: str
    now: Callable[[], float] = field(repr=False)
    random: Callable[[int], bytes] = field(repr=False)


@frozen
class Repair:
    """A safe change that mends what was found; made only when the operator agrees.

    Attributes:
        description: exactly what will be changed, and where.
        apply: makes the change, also after the part that was looked at is closed; raises a ``LunaCoreError`` if it cannot.
    """

    description: str
    apply: Callable[[], None] = field(repr=False, eq=False)


@frozen
class Finding:
    """One thing that was looked at.

    Attributes:
        part: what it concerns: a setting such as ``tokenizer.objects``, or ``clock``.
        message: what was found; never anything secret.
        remedy: what to do about it, empty where all is well.
        repair: what ``lunacore doctor --fix`` can do about it.
    """

    part: str
    severity: Severity
    message: str
    remedy: str = ""
    repair: Repair | None = None


def ok(part: str, message: str) -> Finding:
    """A finding that all is well."""
    return Finding(part, Severity.OK, message)


def warning(part: str, message: str, remedy: str, repair: Repair | None = None) -> Finding:
    """A finding of something that works, but should not stay so."""
    return Finding(part, Severity.WARNING, message, remedy, repair)


def problem(part: str, message: str, remedy: str, repair: Repair | None = None) -> Finding:
    """A finding of something that does not work, or is not safe."""
    return Finding(part, Severity.PROBLEM, message, remedy, repair)


@runtime_checkable
class Diagnosable(Protocol):
    """What a store, key provider or audit sink may offer to ``lunacore doctor``: checks that only it knows to make.

    That it can be reached, and that an object can be written and removed, is looked at for every store already.
    """

    def diagnose(self, circumstances: Circumstances) -> Sequence[Finding]:
        """Look closely; seconds, not minutes. What is wrong is a finding, not an exception.

        Nothing is changed but through the ``repair`` of a finding; what is written to find something out is removed again.
        """
        ...
