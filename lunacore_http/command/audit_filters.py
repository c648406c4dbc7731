"""Which events of an audit log are wanted: by token, session, time, action, outcome and so on."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from lunacore import durations
from lunacore.audit import ALLOWED
from lunacore.errors import InvalidRequest
from lunacore_http.command.exits import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from lunacore.audit_verification import LogLine

REFUSED: Final = "refused"
"""Stands for every outcome but ``allowed``."""

_MEMBERS: Final = ("action", "tenant", "role", "issuer", "session", "request", "record", "chain")
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{32}")


@frozen
class Filters:
    """An event passes if it meets all; what is empty asks for nothing.

    Attributes:
        members: for each member the values of which it must have one.
        tokens: fingerprints of which the token must have one; None for any token or none.
        outcome: ``allowed``, ``refused`` or the name of an error.
        since, until: times as the log writes them; ``until`` itself is out.
        reason: text that the reason must hold, in any case.
        detail: members that ``detail`` must have.
    """

    members: dict[str, tuple[str, ...]]
    tokens: frozenset[str] | None
    outcome: str
    since: str
    until: str
    reason: str
    detail: dict[str, str]

    def event_of(self, line: LogLine) -> dict[str, Any] | None:
        """The event of a line, None where it is not wanted or is no event."""
        if self.tokens is not None and not any(one.encode("ascii") in line.content for one in self.tokens):
            return None
        try:
            event = json.loads(line.content)
        except (ValueError, RecursionError):
            return None
        return event if isinstance(event, dict) and self._wants(event) else None

    def _wants(self, event: dict[str, Any]) -> bool:
        time = str(event.get("time", ""))
        return (
            (self.tokens is None or event.get("token") in self.tokens)
            and all(event.get(name) in wanted for name, wanted in self.members.items())
            and self._wants_outcome(event.get("outcome"))
            and self.since <= time
            and (not self.until or time < self.until)
            and self.reason.lower() in str(event.get("reason", "")).lower()
            and self._wants_detail(event.get("detail", {}))
        )

    def _wants_outcome(self, outcome: object) -> bool:
        if self.outcome == REFUSED:
            return outcome != ALLOWED
        return not self.outcome or outcome == self.outcome

    def _wants_detail(self, detail: object) -> bool:
        if not self.detail:
            return True
        return isinstance(detail, dict) and all(_text(detail.get(name)) == text for name, text in self.detail.items())


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="events of the token in this file, - for standard input; needs the keyring",
    )
    parser.add_argument(
        "--token", metavar="FINGERPRINT", dest="fingerprint", help="events of the token of this fingerprint"
    )
    parser.add_argument(
        "--label",
        metavar="TEXT",
        help="events of what was put away with this label, - to read it from standard input; needs the keyring",
    )
    parser.add_argument("--session", metavar="FINGERPRINT", action="append", help="events of this session")
    parser.add_argument("--action", metavar="NAME", action="append", help="such as detokenize; may come several times")
    parser.add_argument("--outcome", metavar="NAME", default="", help="allowed, refused, or the name of an error")
    parser.add_argument(
        "--since", metavar="TIME", default="", help="2026-11-22, 2026-11-22T08:00:00Z, or 2h for 2 hours ago"
    )
    parser.add_argument("--until", metavar="TIME", default="", help="up to this time, in the same forms")
    parser.add_argument("--tenant", metavar="NAME", action="append", help="events of this tenant")
    parser.add_argument("--role", metavar="NAME", action="append", help="user, application, developer or operator")
    parser.add_argument("--issuer", metavar="URL", action="append", help="who vouched for the caller")
    parser.add_argument("--request", metavar="ID", action="append", help="one call, by its X-Request-Id")
    parser.add_argument("--record", metavar="FINGERPRINT", action="append", help="one record")
    parser.add_argument("--chain", metavar="ID", action="append", help="what one process wrote")
    parser.add_argument("--reason", metavar="TEXT", default="", help="reasons that hold this text")
    parser.add_argument(
        "--detail", metavar="NAME=VALUE", action="append", default=[], help="such as user=ada; may come several times"
    )


def filters_of(arguments: argparse.Namespace, now: float, tokens: Iterable[str] | None) -> Filters:
    """What the options ask for; ``tokens`` are fingerprints that were computed from a token.

    Raises:
        UsageError: naming the option that is wrong.
    """
    if arguments.fingerprint is not None:
        if not _FINGERPRINT.fullmatch(arguments.fingerprint):
            # Never repeated: it may be a token that was put in the wrong place.
            raise UsageError(
                "--token takes a fingerprint of 32 hexadecimal digits; for a token itself use --token-file"
            )
        tokens = [arguments.fingerprint]
    given = {name: getattr(arguments, name) for name in _MEMBERS}
    return Filters(
        members={name: tuple(values) for name, values in given.items() if values},
        tokens=None if tokens is None else frozenset(tokens),
        outcome=arguments.outcome,
        since=time_of(arguments.since, "--since", now),
        until=time_of(arguments.until, "--until", now),
        reason=arguments.reason,
        detail=dict(_pair(one) for one in arguments.detail),
    )


def time_of(text: str, option: str, now: float) -> str:
    """A time as the log writes it: such texts sort as their times do."""
    if not text:
        return ""
    try:
        moment = datetime.fromtimestamp(now, UTC) - timedelta(seconds=durations.parse(text, option))
    except (InvalidRequest, OverflowError):
        moment = _moment(text, option)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _moment(text: str, option: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} must be a time such as 2026-11-22T08:00:00Z, or 2h for 2 hours ago") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise UsageError("--detail must be NAME=VALUE")
    return name, value


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
