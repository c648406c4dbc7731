"""What the panel beside each page shows: the calls that the tokenizer answered, each with its lines of the audit log.

Both are read from the files that the tokenizer writes (``docs/reference/operations.md``, ``docs/spec/audit.md``), which hold no
secret, and joined by the request's id.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CALLS: Final = 30
_TAIL_BYTES: Final = 1 << 17
_LINE: Final = re.compile(
    r"(?P<time>\S+Z) level=INFO logger=lunacore\.access method=(?P<method>\S+) route=(?P<route>\S+) status=(?P<status>\d+)"
    r" outcome=(?P<outcome>\S+) ms=(?P<ms>[\d.]+) request=(?P<request>[0-9a-f]+)",
    re.ASCII,
)
# Files of the frame and of the components, which hold no value of anybody's.
_STATIC: Final = ("/frame", "/sdk/", "/health")


@frozen
class Panel:
    """Reads the ends of both logs; ``audit`` is None where it is no local file."""

    log: Path
    audit: Path | None

    def calls(self) -> list[dict[str, Any]]:
        """The last calls, oldest first: the members of the access log's line, and ``audit``, the events of the audit log."""
        events: dict[str, list[dict[str, Any]]] = {}
        for event in self._audited():
            events.setdefault(event["request"], []).append(event)
        calls = [match.groupdict() for line in _tail(self.log) if (match := _LINE.fullmatch(line))]
        shown = [call for call in calls if not call["route"].startswith(_STATIC)][-_CALLS:]
        return [{**call, "audit": events.get(call["request"], [])} for call in shown]

    def _audited(self) -> Iterator[dict[str, Any]]:
        for line in _tail(self.audit) if self.audit is not None else ():
            try:
                event = json.loads(line)
            except ValueError:
                continue  # cut short by the beginning of what was read, or by a crash
            if isinstance(event, dict) and "request" in event:
                yield event


def _tail(path: Path) -> list[str]:
    """The last lines of a file that may not be there yet."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
