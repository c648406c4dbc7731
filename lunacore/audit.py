"""Audit events: who did what to which token, with what outcome, and never the thing itself.

The schema is frozen (``docs/spec/audit.md``): keys are only ever added, and a value once given keeps its meaning. Tokens and
sessions appear as fingerprints. An event is written before what it tells of is released; where it cannot be written, nothing is.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from math import modf
from typing import TYPE_CHECKING, Any, Final, Self

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lunacore.identity import Call, Role

SCHEMA_VERSION: Final = 1
ALLOWED: Final = "allowed"


class Action(StrEnum):
    """What was asked for."""

    TOKENIZE = "tokenize"
    DETOKENIZE = "detokenize"
    GRANT_SET = "grant.set"
    GRANT_VERIFY = "grant.verify"
    GRANT_REVOKE = "grant.revoke"
    METADATA_GET = "metadata.get"
    TOKEN_LABEL = "token.label"  # noqa: S105 - an action, no password
    TOKEN_DELETE = "token.delete"  # noqa: S105 - an action, no password
    TOKEN_REKEY = "token.rekey"  # noqa: S105 - an action, no password
    ERASE = "erase"
    SESSION_CREATE = "session.create"
    SESSION_END = "session.end"
    SWEEP = "sweep"
    KEYS_INIT = "keys.init"
    KEYS_EXPORT = "keys.export"
    KEYS_ROTATE = "keys.rotate"
    KEYS_REWRAP = "keys.rewrap"
    KEYS_MOVE = "keys.move"
    KEYS_RETIRE = "keys.retire"
    KEYS_RESEAL = "keys.reseal"
    KEYS_BACKUP = "keys.backup"
    KEYS_RESTORE = "keys.restore"
    RECORD_ERASE = "record.erase"
    AUDIT_CHECKPOINT = "audit.checkpoint"
    AUDIT_FORGET = "audit.forget"


@frozen
class AuditEvent:
    """One line of the audit log.

    Attributes:
        time: Unix seconds, to the microsecond.
        outcome: ``allowed``, or the stable name of the error that refused.
        issuer: who vouched for the caller.
        token: the token's fingerprint, 32 hex digits, empty where no one token is concerned.
        session: fingerprint of the session concerned, 32 hex digits, empty where there is none.
        request: the identifier of the call, which the access log and the answer share.
        reason: what a person gave as the reason.
        record: fingerprint of the record that is erased or replaced, 32 hex digits (``KeyringSource.record_fingerprints``).
        revision: the revision that the record is given, at the least; 0 where it is erased.
        detail: further facts about the event, never secret.
    """

    time: float
    action: Action
    outcome: str
    tenant: str
    role: Role
    issuer: str
    token: str = ""
    session: str = ""
    request: str = ""
    reason: str = ""
    record: str = ""
    revision: int = 0
    detail: Mapping[str, str | int | bool] = field(factory=dict)

    @classmethod
    def of(
        cls,
        call: Call,
        action: Action,
        time: float,
        *,
        outcome: str = ALLOWED,
        token: str = "",
        record: str = "",
        revision: int = 0,
        detail: Mapping[str, str | int | bool] | None = None,
    ) -> Self:
        """The event of a call that no session is concerned by."""
        return cls(
            time=time,
            action=action,
            outcome=outcome,
            tenant=call.identity.tenant,
            role=call.identity.role,
            issuer=call.identity.issuer,
            token=token,
            request=call.request,
            reason=call.reason,
            record=record,
            revision=revision,
            detail=detail or {},
        )

    def as_mapping(self) -> dict[str, Any]:
        """The event as the JSON object that sinks write; empty members are left out."""
        texts = {name: str(text) for name, text in self._texts() if text}
        revision = {"revision": self.revision} if self.revision else {}
        detail = {"detail": dict(self.detail)} if self.detail else {}
        return {"v": SCHEMA_VERSION, **texts, **revision, **detail}

    def to_line(self) -> bytes:
        """One line of JSON, newline included.

        All but printable ASCII is escaped, so that an event cannot forge another, neither in the file nor on a terminal.
        """
        return (self.text() + "}\n").encode("ascii")

    def text(self) -> str:
        """What ``to_line`` writes up to the last member, so that others can be added."""
        # What json.dumps would write; it takes four times as long for a handful of texts.
        texts = "".join([f',"{name}":{_text_to_json(text)}' for name, text in self._texts() if text])
        revision = f',"revision":{self.revision}' if self.revision else ""
        detail = f',"detail":{_any_to_json(self.detail)}' if self.detail else ""
        text = f'{{"v":{SCHEMA_VERSION}{texts}{revision}{detail}'
        if "\\ud" in text:
            return _any_to_json(_without_lone_surrogates(self.as_mapping())).removesuffix("}")
        return text

    def _texts(self) -> tuple[tuple[str, str], ...]:
        return (
            ("time", _written(self.time)),
            ("action", self.action),
            ("outcome", self.outcome),
            ("tenant", self.tenant),
            ("role", self.role),
            ("issuer", self.issuer),
            ("token", self.token),
            ("session", self.session),
            ("request", self.request),
            ("reason", self.reason),
            ("record", self.record),
        )


_text_to_json: Final = json.encoder.encode_basestring_ascii
_any_to_json: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _written(moment: float) -> str:
    """A Unix time in ISO 8601, UTC, to the microsecond; rounded as ``datetime`` does."""
    part, whole = modf(moment)
    micros = round(part * 1_000_000)
    if not 0 <= micros < 1_000_000:
        whole, micros = whole + micros // 1_000_000, micros % 1_000_000
    return f"{_second_written(int(whole))}.{micros:06}Z"


@lru_cache(maxsize=4)  # a process writes the same second many times
def _second_written(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:-6]  # without +00:00


def _without_lone_surrogates(members: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever JSON holds
    """The same with U+FFFD for half characters, at which some JSON readers would drop the whole line."""
    text = json.dumps(members, ensure_ascii=False)
    return json.loads(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
