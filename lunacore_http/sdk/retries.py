"""Which calls are tried again, how often and when.

What is safe to repeat is tried again when the tokenizer could not be reached, broke off, or asked to come back. Anything else
only if the request never left this machine. Waits are drawn at random below a bound that doubles (Brooker, "Exponential Backoff
And Jitter", AWS Architecture Blog, 2015), and are never shorter than ``Retry-After`` asks for; one that asks for more than
``LONGEST_WAIT`` is left to the caller, who finds it in the error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx

from lunacore.errors import LunaCoreError, RateLimited, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_WAIT: Final = 5.0
"""Seconds."""

_FIRST_BOUND: Final = 0.2
_NEVER_LEFT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Attempts:
    """The attempts at one request.

    Args:
        repeatable: whether doing it twice is the same as doing it once.
        retries: how often it is tried again at most.
        jitter: gives a number from 0 to 1.
    """

    def __init__(self, *, repeatable: bool, retries: int, jitter: Callable[[], float]) -> None:
        self._repeatable = repeatable
        self._left = retries
        self._jitter = jitter
        self._bound = _FIRST_BOUND

    def pause(self, failure: Exception) -> float | None:
        """Seconds to wait before the next attempt; None if there is none."""
        if self._left == 0 or not self._may_repeat(failure):
            return None
        asked = failure.retry_after if isinstance(failure, RateLimited | StoreUnavailable) else 0
        if asked > LONGEST_WAIT:
            return None
        self._left -= 1
        drawn, self._bound = self._jitter() * self._bound, min(self._bound * 2, LONGEST_WAIT)
        return min(asked + drawn, LONGEST_WAIT)

    def _may_repeat(self, failure: Exception) -> bool:
        if isinstance(failure, _NEVER_LEFT):
            return True
        return self._repeatable and isinstance(failure, httpx.TransportError | RateLimited | StoreUnavailable)


def unreachable(failure: httpx.TransportError, what: str) -> LunaCoreError:
    """The error for a transport that failed for good. httpx's own text is left out: it may hold a URL."""
    return StoreUnavailable(f"{what} cannot be reached ({type(failure).__name__}); is it up, and is the URL right?")
