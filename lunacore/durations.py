"""Durations as people write them: Go's form (``90s``, ``15m``, ``1h30m``, ``7d``) or a number of seconds."""

from __future__ import annotations

import re
from typing import Final

from lunacore.errors import InvalidRequest

_PART: Final = re.compile(r"(\d{1,12})(d|h|m|s)", re.ASCII)
_WHOLE: Final = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_SECONDS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PLAIN: Final = re.compile(r"\d{1,12}", re.ASCII)


def parse(duration: str | int, field: str) -> int:
    """Seconds, from text in Go's form or from a whole number of seconds.

    Raises:
        InvalidRequest: naming ``field``, for anything else.
    """
    if isinstance(duration, int) and not isinstance(duration, bool) and duration >= 0:
        return duration
    if isinstance(duration, str) and _PLAIN.fullmatch(duration):
        return int(duration)
    if isinstance(duration, str) and _WHOLE.fullmatch(duration):
        return sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(duration))
    raise InvalidRequest(f'{field} must be a duration such as "90s", "15m" or "1h30m", or seconds', field=field)
