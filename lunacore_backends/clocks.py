"""Whether the clock of a server that a store lies on agrees with this machine's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunacore.diagnosis import ok, warning

if TYPE_CHECKING:
    from lunacore.diagnosis import Finding

_TOLERANCE: Final = 5.0


def compared(part: str, theirs: float, *, before: float, after: float) -> Finding:
    """What there is to say of a server that gave its time between ``before`` and ``after``, all in Unix seconds."""
    apart = max(before - theirs, theirs - after, 0.0)
    if apart <= _TOLERANCE:
        return ok(part, "the server's clock agrees with this machine's")
    return warning(
        part,
        f"the server's clock and this machine's are {apart:.0f} seconds apart; one of them may be wrong",
        "keep the clocks of all machines right with NTP: grants and sessions expire by the tokenizers' clocks",
    )
