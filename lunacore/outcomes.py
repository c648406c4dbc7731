"""Outcomes of batches: one item's failure leaves the others whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeAlias, TypeVar

from lunacore.errors import LunaCoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
P = ParamSpec("P")

Outcome: TypeAlias = T | LunaCoreError
"""What became of one item of a batch: its result, or the error that refused it."""


def attempt(step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Outcome[T]:
    """The result of ``step``, or the error that it raised."""
    try:
        return step(*args, **kwargs)
    except LunaCoreError as refusal:
        return refusal


def only(outcomes: Sequence[Outcome[T]]) -> T:
    """The result of a batch of one.

    Raises:
        LunaCoreError: the one that refused it.
    """
    (outcome,) = outcomes
    if isinstance(outcome, LunaCoreError):
        raise outcome
    return outcome
