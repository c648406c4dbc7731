"""Which events of an audit log concern a label: those of the tokens that were given it, and its erasures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from lunacore.audit import Action

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lunacore.audit_verification import LogLine

_MEMBER: Final = b'"labels":"'
_GIVING: Final = (Action.TOKENIZE, Action.TOKEN_LABEL)


@frozen
class Labelled:
    """What the log calls a label, and the tokens that it shows to have been given it.

    Attributes:
        label: fingerprints, under each lookup secret and audit key.
        tokens: fingerprints.
    """

    label: frozenset[str]
    tokens: frozenset[str] = field(factory=frozenset)

    def found_in(self, lines: Iterable[LogLine]) -> Labelled:
        """The same, with the tokens that are given it in these lines. Others follow in any order, so read a log twice."""
        found = {token for line in lines if _MEMBER in line.content for token in self._given(line)}
        return Labelled(self.label, frozenset(found))

    def concerns(self, event: dict[str, Any]) -> bool:
        """Whether an event is of the label, or of one of its tokens."""
        detail = event.get("detail")
        if isinstance(detail, dict) and detail.get("label") in self.label:
            return True
        return event.get("token") in self.tokens

    def _given(self, line: LogLine) -> list[str]:
        try:
            event = json.loads(line.content)
            labels, token = event["detail"]["labels"].split(" "), event["token"]
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
            return []
        is_theirs = event.get("action") in _GIVING and not self.label.isdisjoint(labels)
        return [token] if is_theirs and isinstance(token, str) else []
