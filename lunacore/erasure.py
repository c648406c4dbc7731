"""Erasure: the keys first, in one step; then the object, and once more when no upload can bring it back; then the record.

The sweeper does the same to records whose time is up, and removes what re-keying left behind. Neither needs a token: object names
lie in the outer layer.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from attrs import evolve, field, frozen

from lunacore.errors import Conflict, IntegrityError, StoreUnavailable
from lunacore.lookup import changing
from lunacore.records import OBJECT_NAME_BYTES, RecordState, RecordType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lunacore.lookup import Lookup
    from lunacore.records import OpenedRecord, OperatorFields, Record
    from lunacore.stores import ObjectStore

UPLOAD_MARGIN: Final = 12 * 3600
"""Seconds after a URL has expired, or a copy has begun, until which the transfer that it began may still end."""

_PAGE: Final = 500


class DueFor(Enum):
    """Why the sweeper looks at a record."""

    NEVER_UPLOADED = "never uploaded"
    UNVERIFIED = "uploaded, and not verified in time"
    EXPIRED = "expired"
    ERASING = "erased before, and to be finished"
    REKEYED = "re-keyed before, and what that left is to be removed"
    NOTHING_YET = "uploaded, and may still be verified"
    UNKNOWN = "cannot be opened"


@frozen
class Erased:
    """One token that was erased: its keys are gone, and its value with them.

    Attributes:
        name: that of its record, 32 bytes.
        at: Unix second.
        sweep_from: Unix second from which the sweep removes what is left, 0 where nothing is.
        token: the token's fingerprint, empty where the token was not presented.
    """

    name: bytes
    at: int
    sweep_from: int = 0
    token: str = ""


@frozen
class Swept:
    """What became of one record that was due: why it was due, and whether it is gone for good now."""

    name: bytes
    was: RecordState
    done: bool
    problem: str = ""
    spared: bool = False
    """Whether it stays as it is: its value was uploaded, and may still be verified."""
    tidied: bool = False
    """Whether it stays, and only what re-keying left behind was removed."""
    kept: bool = False
    """Whether it stays as it is, since it was changed meanwhile, as by being verified, or is being swept by another process."""


@frozen
class Eraser:
    """Erases tokens and finishes what was begun; every step can be repeated.

    ``unverified_ttl`` is how many seconds after minting an upload that nobody confirmed is given up.
    """

    lookup: Lookup
    objects: ObjectStore
    now: Callable[[], float] = field(repr=False)
    unverified_ttl: int

    def erase(self, opened: OpenedRecord) -> Erased:
        """Erase a token whatever state it is in.

        Raises:
            Conflict: the record is not as it was opened: changed, moved or gone. Nothing was erased; look it up again.
            StoreUnavailable: the record store cannot be reached; erase again.
        """
        if not self._mark(opened):
            raise changing()
        at = int(self.now())
        if self.finish(opened):
            return Erased(opened.record.name, at)
        return Erased(opened.record.name, at, max(transfers_end(opened.fields), at))

    def finish(self, opened: OpenedRecord) -> bool:
        """Remove the objects of an erased record, and the record itself once no upload can bring them back."""
        try:
            self.objects.delete(opened.fields.object_names)
            if transfers_end(opened.fields) > self.now():
                return False
            self.lookup.store.delete([opened.record.name])
        except StoreUnavailable:
            return False  # the keys are gone, and the sweep comes back to it
        return True

    def due(self, now: int) -> Iterator[Record]:
        """Every token's record that the sweeper must look at, in pages, so that any number of them fits in memory."""
        after = b""
        while page := self.lookup.store.scan(after=after, limit=_PAGE, due_before=now + 1):
            yield from (record for record in page if is_token(record))
            after = page[-1].name

    def due_for(self, record: Record) -> DueFor:
        """Why a record is due. For one that is pending, and that could still be verified, the object store is asked.

        Raises:
            StoreUnavailable: the object store cannot be reached.
        """
        try:
            opened = self.lookup.open(record)
        except (IntegrityError, StoreUnavailable):  # damaged, of a later release, or under a root key that is not known
            return DueFor.UNKNOWN
        return self._due_for(opened)

    def sweep(self, record: Record) -> Swept:
        """Erase one record that is due, or finish erasing it; spare it if its value is there and may still be verified.

        Of one whose object was re-keyed, only the objects go that were replaced or never got so far.
        """
        was = record.header.state
        try:
            opened = self.lookup.open(record)
            reason = self._due_for(opened)
            if reason is DueFor.NOTHING_YET:
                # Where it is changed meanwhile, the next sweep looks at it anew.
                self.lookup.change(opened, opened.fields, state=was, due=self._due_again(opened))
                return Swept(record.name, was, done=False, spared=True)
            if reason is DueFor.REKEYED:
                self._tidy(opened)
                return Swept(record.name, was, done=False, tidied=True)
            return Swept(record.name, was, not self.erase(opened).sweep_from)
        except Conflict:
            # Confirmed meanwhile, and so not due any more, or swept by another process; the next sweep sees.
            return Swept(record.name, was, done=False, kept=True)
        except (IntegrityError, StoreUnavailable) as problem:
            return Swept(record.name, was, done=False, problem=problem.message)

    def _due_for(self, opened: OpenedRecord) -> DueFor:
        now, fields = int(self.now()), opened.fields
        if opened.header.state is RecordState.ERASING:
            return DueFor.ERASING
        if 0 < fields.expires <= now:
            return DueFor.EXPIRED
        if opened.header.state is RecordState.STORED:
            return DueFor.REKEYED if _has_remains(fields) and transfers_end(fields) <= now else DueFor.NOTHING_YET
        if self._verified_until(fields) <= now:
            return DueFor.UNVERIFIED
        return DueFor.NOTHING_YET if self._is_there(fields.placement.object_name) else DueFor.NEVER_UPLOADED

    def _due_again(self, opened: OpenedRecord) -> int:
        if opened.header.state is RecordState.STORED:
            return stored_due(opened.fields)
        return self._verified_until(opened.fields)

    def _tidy(self, opened: OpenedRecord) -> None:
        """Remove the objects that re-keying replaced, and the copy of one that was never finished.

        A copy is taken out of the record before it is deleted, so that nobody can still switch to it.
        """
        if opened.fields.following is not None:
            opened = self._without_following(opened)
        self.objects.delete(opened.fields.leftover)
        tidy = evolve(opened.fields, leftover=())
        if not self.lookup.change(opened, tidy, state=RecordState.STORED, due=stored_due(tidy)):
            raise Conflict("the record was changed while it was swept; the next sweep looks at it anew")

    def _without_following(self, opened: OpenedRecord) -> OpenedRecord:
        given_up = opened.fields.without_following()
        changed = self.lookup.change(opened, given_up, state=RecordState.STORED, due=stored_due(given_up))
        record = self.lookup.store.get([opened.record.name])[0] if changed else None
        if record is None or record.header.revision != opened.header.revision + 1:
            raise Conflict("the record was changed while it was swept; the next sweep looks at it anew")
        return self.lookup.open(record)

    def _verified_until(self, fields: OperatorFields) -> int:
        until = fields.created + self.unverified_ttl
        return min(until, fields.expires) if fields.expires else until

    def _is_there(self, name: bytes) -> bool:
        """Whether there is an object of this name; its key, which ``stat`` would ask for, is the token's alone."""
        before = int.from_bytes(name) - 1
        after = before.to_bytes(OBJECT_NAME_BYTES) if before >= 0 else b""
        return any(entry.name == name for entry in self.objects.scan(after=after, limit=1))

    def _mark(self, opened: OpenedRecord) -> bool:
        """Drop the inner seals in one compare-and-swap; say whether they are dropped."""
        if opened.header.state is RecordState.ERASING:
            return True
        erased = opened.fields.erased()
        due = max(transfers_end(erased), int(self.now()))
        return self.lookup.change(opened, erased, state=RecordState.ERASING, due=due)


def transfers_end(fields: OperatorFields) -> int:
    """The Unix second from which no upload or copy can end any more, 0 where there never was one.

    A store checks a URL when a request begins, and takes as long for the body as the client does.
    """
    return fields.upload_until + UPLOAD_MARGIN if fields.upload_until else 0


def stored_due(fields: OperatorFields) -> int:
    """When the sweep must look at a stored record: its value expires, or what re-keying left can go; 0 for never."""
    moments = (fields.expires, transfers_end(fields) if _has_remains(fields) else 0)
    return min((moment for moment in moments if moment), default=0)


def _has_remains(fields: OperatorFields) -> bool:
    return fields.following is not None or bool(fields.leftover)


def is_token(record: Record) -> bool:
    """Whether it is a token's record, as far as this release can tell."""
    try:
        return record.header.record_type is RecordType.TOKEN
    except IntegrityError:
        return False  # of a later release, or damaged: left alone
