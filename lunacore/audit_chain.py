"""The hash chain of the audit log: what one process writes, so that nobody can change it unseen (``docs/spec/audit.md``).

Each line of a chain holds the chain's random id, its own sequence number and the SHA-256 of the line before it. A *checkpoint*
is one that is signed; it vouches for every line before it. Signature and hash are over the exact bytes of lines.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field, frozen

from lunacore.audit import Action, AuditEvent
from lunacore.errors import IntegrityError
from lunacore.identity import Call, operator
from lunacore.signing import SIGNATURE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lunacore.signing import AuditSigner, VerificationKeys

CHAIN_BYTES: Final = 16
BEFORE_FIRST: Final = "0" * 64
"""What the first line of a chain holds in place of the hash of the line before it."""

SIGNING_PURPOSE: Final = "audit-checkpoint"

_TENANT: Final = "default"
_MEMBERS: Final = re.compile(
    rb',"chain":"([0-9a-f]{32})","seq":(0|[1-9][0-9]{0,17}),"prev":"([0-9a-f]{64})"(?:,"signature":"([0-9a-f]{128})")?\}\Z'
)
_SIGNATURE_MEMBER: Final = b',"signature":"'
_SIGNED_END: Final = len(_SIGNATURE_MEMBER) + 2 * SIGNATURE_BYTES + len(b'"}')


@frozen
class ChainedEvent:
    """An event with its place in a chain: the line that is written, newline included, stands fast."""

    event: AuditEvent
    line: bytes = field(repr=False)

    def to_line(self) -> bytes:
        """The line, newline included."""
        return self.line


@define
class Chain:
    """The end of a chain: its id (32 hex digits), the next sequence number, and the hash (64 hex digits) of the last line."""

    id: str
    sequence: int = 0
    head: str = BEFORE_FIRST

    def copy(self) -> Chain:
        """The same end of the same chain."""
        return Chain(self.id, self.sequence, self.head)

    def append(self, event: AuditEvent) -> ChainedEvent:
        """The next line."""
        return self._append(event, self._unsigned(event) + "}\n")

    def checkpoint(self, time: float, signer: AuditSigner, facts: Mapping[str, str | int | bool]) -> ChainedEvent:
        """The next line, signed: it vouches for all lines before it."""
        event = checkpoint_event(time, signer, facts)
        unsigned = self._unsigned(event)
        signature = signer.sign(SIGNING_PURPOSE, unsigned.encode("ascii")).hex()
        return self._append(event, f'{unsigned},"signature":"{signature}"}}\n')

    def _append(self, event: AuditEvent, text: str) -> ChainedEvent:
        line = text.encode("ascii")
        self.sequence += 1
        self.head = digest(line[:-1])
        return ChainedEvent(event, line)

    def _unsigned(self, event: AuditEvent) -> str:
        return f'{event.text()},"chain":"{self.id}","seq":{self.sequence},"prev":"{self.head}"'


def registration(chain: str, time: float, signer: AuditSigner, facts: Mapping[str, str | int | bool]) -> bytes:
    """What is kept of a chain before its first line: a checkpoint (newline not included) that vouches for no line yet.

    It is no line of the chain: the first one has its sequence number, 0.
    """
    return Chain(chain).checkpoint(time, signer, facts).line[:-1]


def checkpoint_event(time: float, signer: AuditSigner, facts: Mapping[str, str | int | bool]) -> AuditEvent:
    """The event that a checkpoint is."""
    return AuditEvent.of(
        Call(operator(_TENANT)), Action.AUDIT_CHECKPOINT, time, detail={"key": signer.version, **facts}
    )


def digest(line: bytes) -> str:
    """The hash of a line, newline not included: 64 hex digits."""
    return hashlib.sha256(line).hexdigest()


@frozen
class Link:
    """The members of a line that make it part of a chain; ``signature`` is that of a checkpoint."""

    chain: str
    sequence: int
    previous: str
    signature: bytes | None = field(default=None, repr=False)


def link_of(line: bytes) -> Link | None:
    """Read the chain's members at the end of a line (newline not included); None where it has none."""
    found = _MEMBERS.search(line)
    if found is None:
        return None
    chain, sequence, previous, signature = found.groups()
    return Link(
        chain.decode("ascii"),
        int(sequence),
        previous.decode("ascii"),
        None if signature is None else bytes.fromhex(signature.decode("ascii")),
    )


@frozen
class Checkpoint:
    """A checkpoint whose signature was verified.

    Attributes:
        line: the whole line, newline not included.
        time: when it was signed, as the line says it.
        detail: what it tells of its process; ``final`` where the process ended in peace.
    """

    line: bytes = field(repr=False)
    link: Link
    time: str
    detail: Mapping[str, Any]

    @property
    def is_final(self) -> bool:
        return self.detail.get("final") is True


def verify_checkpoint(line: bytes, known: VerificationKeys) -> Checkpoint:
    """Verify the signature of a checkpoint (newline not included).

    Raises:
        UnknownKeyVersion: there is no public key of the version that it names.
        IntegrityError: the line is no checkpoint, or its signature does not hold.
    """
    link = link_of(line)
    event = _event_of(line)
    if link is None or link.signature is None or event.get("action") != Action.AUDIT_CHECKPOINT.value:
        raise IntegrityError("the line is no checkpoint")
    detail = event.get("detail")
    version = detail.get("key") if isinstance(detail, dict) else None
    if not isinstance(detail, dict) or not isinstance(version, int):
        raise IntegrityError("the checkpoint names no key")
    known.verification_key(version).verify(SIGNING_PURPOSE, line[:-_SIGNED_END], link.signature)
    return Checkpoint(line, link, str(event.get("time", "")), detail)


def _event_of(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        raise IntegrityError("the line is no JSON") from None
    if not isinstance(event, dict):
        raise IntegrityError("the line is no JSON object")
    return event
