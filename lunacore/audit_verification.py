"""Verification of audit logs: finds any edit, removal, reordering, duplication or truncation up to the last checkpoint.

Lines are taken one by one in the order of the log, whatever number of files and chains they come from; what is kept is one small
state for each chain, so logs of any size fit in memory. No secret is needed: public keys do (``docs/spec/audit.md``).
"""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

from lunacore.audit import Action
from lunacore.audit_chain import BEFORE_FIRST, digest, link_of, verify_checkpoint
from lunacore.errors import IntegrityError, UnknownKeyVersion

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore.audit_chain import Checkpoint, Link
    from lunacore.signing import VerificationKeys

MAX_FINDINGS: Final = 1000
"""Findings that are kept one by one; further ones are counted."""

_BEGINNING: Final = b'{"v":1,"time":"'
_CHECKPOINT: Final = f'"action":"{Action.AUDIT_CHECKPOINT.value}"'.encode("ascii")


class Problem(Enum):
    """What is wrong with a log."""

    ALTERED = "altered"
    MISSING = "missing"
    REPEATED = "repeated or out of order"
    UNCHAINED = "in no chain"
    UNKNOWN_CHAIN = "of a chain that was never registered"
    AFTER_THE_END = "after the end of its chain"
    BAD_SIGNATURE = "not signed by the key that it names"
    UNKNOWN_KEY = "signed by a key that is not known here"
    TRUNCATED = "cut off"
    CHAIN_REMOVED = "removed with its whole chain"
    TOO_MANY_TORN = "cut short, without a process that was killed"
    FORGED_CHECKPOINT = "a forged checkpoint"
    PUT_BACK = "put back"


@frozen
class Place:
    """Where a line stands: the file as it was named, and the line's number in it, from 1."""

    file: str
    line: int


@frozen
class LogLine:
    """One line, newline not included."""

    place: Place
    content: bytes = field(repr=False)


@frozen
class Finding:
    """One thing that is wrong, and where; ``chain`` and ``sequence`` where they are known."""

    problem: Problem
    message: str
    place: Place | None = None
    chain: str = ""
    sequence: int | None = None


@frozen
class Report:
    """What a verification found.

    Attributes:
        events: lines that are events.
        chains: chains that have events here.
        checkpoints: checkpoints whose signature holds.
        unconfirmed: events behind the last checkpoint of their chain: of processes that run, or were killed.
        unchained: events of no chain that were let pass.
        torn: lines that a killed process left cut short.
        findings: what is wrong, in the order in which it was found; ``more`` counts those that are not kept.
    """

    events: int
    chains: int
    checkpoints: int
    unconfirmed: int
    unchained: int
    torn: tuple[Place, ...]
    findings: tuple[Finding, ...]
    more: int

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@define(eq=False)
class _State:
    """Where one chain stands; ``suspect`` is the place of a line that the next one did not fit."""

    sequence: int = 0
    head: str = BEFORE_FIRST
    place: Place | None = None
    suspect: tuple[Place | None, LogLine, Link] | None = None
    unconfirmed: int = 0
    is_final: bool = False


@define
class _Expected:
    """What is known of a chain from elsewhere: digests of checkpoints by sequence, and the highest sequence."""

    digests: dict[int, str] = field(factory=dict)
    highest: int = 0
    where: str = ""


class Verification:
    """Takes a log line by line; ``finish`` says what was found.

    Args:
        known: public keys.
        find_chain: what the registry keeps of a chain that ``expect`` was not told of, None if it is not registered; without it,
            chains may be unknown.
        partial: whether older or later parts of the log may be missing here.
        unchained: whether events of no chain may pass, as releases before the chain wrote them.
    """

    def __init__(
        self,
        known: VerificationKeys,
        *,
        find_chain: Callable[[str], Checkpoint | None] | None = None,
        partial: bool = False,
        unchained: bool = False,
    ) -> None:
        self._known = known
        self._find_chain = find_chain
        self._partial = partial
        self._lets_unchained_pass = unchained
        self._chains: dict[str, _State] = {}
        self._expected: dict[str, _Expected] = {}
        self._findings: list[Finding] = []
        self._more = 0
        self._events = self._checkpoints = self._unchained = 0
        self._torn: list[Place] = []

    @property
    def first_finding(self) -> Finding | None:
        """The first thing that was found wrong so far."""
        return self._findings[0] if self._findings else None

    def expect(self, checkpoint: Checkpoint, where: str) -> None:
        """Take a checkpoint that is kept elsewhere: the log must hold it, and all that it vouches for.

        A registration, which alone has the sequence number 0, vouches for nothing but that the chain exists.
        """
        expected = self._expected.setdefault(checkpoint.link.chain, _Expected(where=where))
        sequence = checkpoint.link.sequence
        if not sequence:
            return
        expected.digests[sequence] = digest(checkpoint.line)
        if sequence >= expected.highest:
            expected.highest, expected.where = sequence, where

    def report(self, finding: Finding) -> None:
        """Add what was found wrong elsewhere."""
        if len(self._findings) < MAX_FINDINGS:
            self._findings.append(finding)
        else:
            self._more += 1

    def take(self, line: LogLine) -> None:
        """Take the next line."""
        link = link_of(line.content)
        if link is None:
            self._take_unlinked(line)
            return
        self._events += 1
        state = self._chains.get(link.chain)
        if state is None:
            state = self._begin(line, link)
        if self._take_place(state, line, link):
            self._check_expected(line, link)
            self._check_signature(state, line, link)

    def finish(self) -> Report:
        """See what is missing at the end."""
        for chain, state in self._chains.items():
            self._settle(chain, state, None)
        if not self._partial:
            for chain, expected in self._expected.items():
                self._check_end(chain, expected)
            self._check_torn()
        return Report(
            events=self._events,
            chains=len(self._chains),
            checkpoints=self._checkpoints,
            unconfirmed=sum(state.unconfirmed for state in self._chains.values()),
            unchained=self._unchained,
            torn=tuple(self._torn),
            findings=tuple(self._findings),
            more=self._more,
        )

    # One line

    def _take_unlinked(self, line: LogLine) -> None:
        if _is_object(line.content):
            self._events += 1
            if self._lets_unchained_pass:
                self._unchained += 1
            else:
                self._find(Problem.UNCHAINED, "the event belongs to no chain", line.place)
        elif line.content.startswith(_BEGINNING) or _BEGINNING.startswith(line.content or b"\n"):
            self._torn.append(line.place)
        else:
            self._find(Problem.ALTERED, "the line is no event", line.place)

    def _begin(self, line: LogLine, link: Link) -> _State:
        state = self._chains[link.chain] = _State()
        if link.chain not in self._expected and self._find_chain is not None:
            self._ask_registry(line, link)
        if link.sequence and self._partial:
            state.sequence, state.head = link.sequence, link.previous
        return state

    def _ask_registry(self, line: LogLine, link: Link) -> None:
        assert self._find_chain is not None
        try:
            kept = self._find_chain(link.chain)
        except (IntegrityError, UnknownKeyVersion) as problem:
            self._find(Problem.FORGED_CHECKPOINT, f"the chain's registration: {problem.message}", line.place, link)
            return
        if kept is None:
            self._find(Problem.UNKNOWN_CHAIN, "the chain was never registered", line.place, link)
        else:
            # It was registered after the others were read: what it vouches for may lie behind what is read here.
            self._expected.setdefault(link.chain, _Expected(where="the record store"))

    def _take_place(self, state: _State, line: LogLine, link: Link) -> bool:
        """See that the line is the next one of its chain; say whether it is taken for one."""
        if link.sequence < state.sequence:
            self._find(Problem.REPEATED, f"sequence {state.sequence} was to come next", line.place, link)
            return False
        if state.is_final:
            self._find(Problem.AFTER_THE_END, "the chain had ended", line.place, link)
        elif link.sequence > state.sequence:
            self._settle(link.chain, state, None)
            missing = f"sequence {state.sequence}" + (
                f" to {link.sequence - 1} are" if link.sequence - state.sequence > 1 else " is"
            )
            self._find(Problem.MISSING, f"{missing} missing before this line", line.place, link)
        else:
            is_explained = self._settle(link.chain, state, link.previous)
            if link.previous != state.head and not is_explained:
                state.suspect = (state.place, line, link)
        state.sequence, state.head, state.place = link.sequence + 1, digest(line.content), line.place
        state.unconfirmed += 1
        return True

    def _settle(self, chain: str, state: _State, following: str | None) -> bool:
        """Tell which of two lines that do not fit was altered; say whether it is the later one.

        That one is as it was written if the next line fits it.
        """
        if state.suspect is None:
            return False
        before, line, link = state.suspect
        state.suspect = None
        fits = link.signature is not None if following is None else following == state.head
        if fits and before is not None:
            self._find(Problem.ALTERED, "the event is not the one that was written", before, chain, link.sequence - 1)
            return False
        self._find(Problem.ALTERED, "the event is not the one that was written", line.place, link)
        return True

    def _check_expected(self, line: LogLine, link: Link) -> None:
        expected = self._expected.get(link.chain)
        wanted = None if expected is None else expected.digests.get(link.sequence)
        if expected is not None and wanted is not None and wanted != digest(line.content):
            message = f"the event is not the checkpoint that {expected.where} keeps"
            self._find(Problem.ALTERED, message, line.place, link)

    def _check_signature(self, state: _State, line: LogLine, link: Link) -> None:
        if link.signature is None and _CHECKPOINT not in line.content:
            return
        try:
            checkpoint = verify_checkpoint(line.content, self._known)
        except UnknownKeyVersion as unknown:
            self._find(Problem.UNKNOWN_KEY, unknown.message, line.place, link)
        except IntegrityError as refusal:
            self._find(Problem.BAD_SIGNATURE, refusal.message, line.place, link)
        else:
            self._checkpoints += 1
            state.unconfirmed = 0
            state.is_final = checkpoint.is_final

    # The end

    def _check_end(self, chain: str, expected: _Expected) -> None:
        state = self._chains.get(chain)
        if not expected.digests:
            return
        if state is None:
            message = (
                f"none of its events is here, and {expected.where} keeps a checkpoint of sequence {expected.highest}"
            )
            self.report(Finding(Problem.CHAIN_REMOVED, message, None, chain, 0))
        elif state.sequence <= expected.highest:
            message = (
                f"the chain ends before sequence {state.sequence} here, and {expected.where} keeps a checkpoint of "
                f"sequence {expected.highest}"
            )
            self.report(Finding(Problem.TRUNCATED, message, state.place, chain, state.sequence))

    def _check_torn(self) -> None:
        """A process that is killed leaves one such line at the most, and no last checkpoint."""
        unfinished = sum(not state.is_final for state in self._chains.values())
        unfinished += sum(chain not in self._chains for chain in self._expected)
        if len(self._torn) > unfinished:
            message = f"{len(self._torn)} lines are cut short, and {unfinished} processes did not end in peace"
            self._find(Problem.TOO_MANY_TORN, message, self._torn[unfinished])

    def _find(
        self, problem: Problem, message: str, place: Place, link: Link | str = "", sequence: int | None = None
    ) -> None:
        if isinstance(link, str):
            self.report(Finding(problem, message, place, link, sequence))
        else:
            self.report(Finding(problem, message, place, link.chain, link.sequence))


def _is_object(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):
        return False
