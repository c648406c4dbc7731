"""Outcomes of batches: one item's failure leaves the others whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeAlias, TypeVar

from lunacore.errors import LunaCoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")

Outcome: TypeAlias = T | LunaCoreError
"""What became of one item of a batch: its result, or the error that refused it."""


def attempt(step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Outcome[T]:
    """The result of ``step``, or the error that it raised."""
    try:
        return step(*args, **kwargs)
    except LunaCoreError as refusal:
        return refusal


def unrefused(outcomes: Sequence[Outcome[T]]) -> list[T]:
    """The results that there are, in their order."""
    return [one for one in outcomes if not isinstance(one, LunaCoreError)]


def among(outcomes: Sequence[Outcome[T]], results: Sequence[R]) -> Sequence[R | LunaCoreError]:
    """What was made of ``unrefused(outcomes)``, with the refusals back in their places."""
    if len(results) == len(outcomes):
        return results
    rest = iter(results)
    return [one if isinstance(one, LunaCoreError) else next(rest) for one in outcomes]


def only(outcomes: Sequence[Outcome[T]]) -> T:
    """The result of a batch of one.

    Raises:
        LunaCoreError: the one that refused it.
    """
    (outcome,) = outcomes
    if isinstance(outcome, LunaCoreError):
        raise outcome
    return outcome
