"""How a counter lies in an expiring store: its decimal digits in ASCII, signed, within 64 bits.

That is what ``ExpiringStore.get`` returns for one, in every backend; Redis counts in this form by itself.
"""

from __future__ import annotations

import re
from typing import Final

MIN_COUNT: Final = -(2**63)
MAX_COUNT: Final = 2**63 - 1

_COUNT = re.compile(rb"0|-?[1-9][0-9]{0,18}")


def add(value: bytes | None, by: int) -> int:
    """The count that ``value`` holds (None: no counter yet), and ``by`` more.

    Raises:
        ValueError: the value is no counter, or the sum needs more than 64 bits.
    """
    if value is not None and not _COUNT.fullmatch(value):
        raise ValueError("the entry under this key is no counter")
    count = by if value is None else int(value) + by
    if not MIN_COUNT <= count <= MAX_COUNT:
        raise ValueError("the counter would leave the range of 64 bits")
    return count


def encode(count: int) -> bytes:
    """The value of a counter."""
    return b"%d" % count
