"""How sealed objects lie in a tree of directories, whatever file system holds it.

An object lies at ``ab/cd/abcd…``, by the first two bytes of its name in hex, so that no directory grows too large and a listing
can start in the middle. A write goes to ``.incoming/<name>.<random>`` first, and gets its final name when it is whole.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

INCOMING: Final = ".incoming"
DEPTH: Final = 2

_OBJECT: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_DIRECTORY: Final = re.compile(r"[0-9a-f]{2}", re.ASCII)
_INCOMING_OBJECT: Final = re.compile(r"([0-9a-f]{64})\.[0-9a-f]{32}", re.ASCII)
_RANDOM_BYTES: Final = 16


def directories(name: str, depth: int = DEPTH) -> tuple[str, ...]:
    """The directories above an object, outermost first."""
    return tuple(name[2 * level : 2 * level + 2] for level in range(depth))


def is_object(name: str) -> bool:
    """Whether a file name is that of an object."""
    return _OBJECT.fullmatch(name) is not None


def incoming_name(name: str, random: Callable[[int], bytes]) -> str:
    """A name for a write of the object ``name`` that is under way; no two writes share one."""
    return f"{name}.{random(_RANDOM_BYTES).hex()}"


def object_of(incoming: str) -> str | None:
    """The object that a name of ``incoming_name`` is for, None for any other name."""
    match = _INCOMING_OBJECT.fullmatch(incoming)
    return None if match is None else match[1]


def leaves(
    children: Callable[[Sequence[str]], list[str]], after: str, depth: int = DEPTH, above: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """The innermost directories that may hold names after ``after``, in order; none is listed before it is asked for.

    Args:
        children: lists the names in a directory, given by the directories from the root on.
        after: hex digits.
        depth: levels of directories that are left.
        above: where to start from.
    """
    if depth == 0:
        yield above
        return
    least = after[2 * len(above) :][:2] if after.startswith("".join(above)) else ""
    for child in sorted(children(above)):
        if _DIRECTORY.fullmatch(child) and child >= least:
            yield from leaves(children, after, depth - 1, (*above, child))
