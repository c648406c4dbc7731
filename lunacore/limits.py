"""Rate limits: how many tokens one session or application may open in a minute, counted over all processes.

Counters are shared through the expiring store. A process takes its share in portions and counts them down by itself, so that
most requests cost no round trip; the limit is never exceeded, though a portion that goes unused is lost until the next minute.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

from lunacore.errors import IntegrityError, RateLimited
from lunacore.keys import lp, mac

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore.stores import ExpiringStore

WINDOW: Final = 60
_PORTIONS: Final = 20
_FOREIGN: Final = "something other than LunaCore has written to a rate limit's counter in the store of grants"


class RateLimit:
    """At most ``limit`` per subject in each minute of the clock; 0 means no limit."""

    def __init__(
        self,
        store: ExpiringStore,
        limit: int,
        *,
        key: Callable[[], bytes],
        setting: str,
        what: str = "tokens opened",
    ) -> None:
        self._store = store
        self._limit = limit
        self._key = key
        self._setting = setting
        self._what = what
        self._lock = Lock()
        self._window = 0
        self._remaining: dict[tuple[str, ...], int] = {}

    def take(self, subject: tuple[str, ...], count: int, *, now: int) -> None:
        """Count ``count`` for the subject.

        Raises:
            RateLimited: it would go past the limit; nothing of the batch is allowed then.
            IntegrityError: somebody else has written to the counter; nothing of the batch is allowed then.
        """
        if not self._limit:
            return
        with self._lock:
            self._forget_past_windows(now)
            remaining = self._remaining.get(subject, 0)
            if remaining < count:
                remaining += self._lease(subject, count - remaining, now)
            if remaining < count:
                self._remaining[subject] = remaining
                raise RateLimited(
                    f"more than {self._limit} {self._what} in a minute; slow down, or raise {self._setting}",
                    retry_after=WINDOW - now % WINDOW,
                )
            self._remaining[subject] = remaining - count

    def _forget_past_windows(self, now: int) -> None:
        window = now // WINDOW
        if window != self._window:
            self._window = window
            self._remaining.clear()

    def _lease(self, subject: tuple[str, ...], needed: int, now: int) -> int:
        portion = max(needed, self._limit // _PORTIONS)
        counter = mac(self._key(), b"rate", lp(*(part.encode() for part in subject)), self._window.to_bytes(8, "big"))
        taken = self._increment(counter, portion, now) - portion
        if taken < 0:
            raise IntegrityError(_FOREIGN)
        return max(0, min(portion, self._limit - taken))

    def _increment(self, counter: bytes, by: int, now: int) -> int:
        try:
            return self._store.increment(counter, by, (self._window + 2) * WINDOW, now)
        except ValueError:
            raise IntegrityError(_FOREIGN) from None
