"""Erasure: the keys first, in one step; then the object, and once more when no upload URL can bring it back; then the record.

The sweeper does the same to records whose time is up. Neither needs a token: object names lie in the outer layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from lunacore.errors import Conflict, IntegrityError, StoreUnavailable
from lunacore.records import RecordState, RecordType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lunacore.lookup import Lookup
    from lunacore.records import OpenedRecord, Record
    from lunacore.stores import ObjectStore

_PAGE: Final = 500


@frozen
class Swept:
    """What became of one record that was due: why it was due, and whether it is gone for good now."""

    name: bytes
    was: RecordState
    done: bool
    problem: str = ""


@frozen
class Eraser:
    """Erases tokens and finishes what was begun; every step can be repeated."""

    lookup: Lookup
    objects: ObjectStore
    now: Callable[[], float] = field(repr=False)

    def erase(self, opened: OpenedRecord) -> bool:
        """Erase a token whatever state it is in; say whether the record is gone too, or left to a later sweep.

        Raises:
            Conflict: the record is not as it was opened: changed, moved or gone. Nothing was erased; look it up again.
            StoreUnavailable: the record store cannot be reached; erase again.
        """
        if not self._mark(opened):
            raise Conflict("the token is being changed by others at this moment; try again")
        return self.finish(opened)

    def finish(self, opened: OpenedRecord) -> bool:
        """Remove the objects of an erased record, and the record itself once no upload URL can bring them back."""
        try:
            self.objects.delete(opened.fields.object_names)
            if opened.fields.upload_until > self.now():
                return False
            self.lookup.store.delete([opened.record.name])
        except StoreUnavailable:
            return False  # the keys are gone, and the sweep comes back to it
        return True

    def due(self, now: int) -> Iterator[Record]:
        """Every token's record that the sweeper must look at, in pages, so that any number of them fits in memory."""
        after = b""
        while page := self.lookup.store.scan(after=after, limit=_PAGE, due_before=now + 1):
            yield from (record for record in page if _is_token(record))
            after = page[-1].name

    def sweep(self, record: Record) -> Swept:
        """Erase one record that is due, or finish erasing it."""
        was = record.header.state
        try:
            opened = self.lookup.open(record)
            return Swept(record.name, was, self.erase(opened))
        except Conflict:
            # Confirmed meanwhile, and so not due any more, or swept by another process; the next sweep sees.
            return Swept(record.name, was, done=False)
        except (IntegrityError, StoreUnavailable) as problem:
            return Swept(record.name, was, done=False, problem=problem.message)

    def _mark(self, opened: OpenedRecord) -> bool:
        """Drop the inner seals in one compare-and-swap; say whether they are dropped."""
        if opened.header.state is RecordState.ERASING:
            return True
        erased = opened.fields.erased()
        due = max(erased.upload_until, int(self.now()))
        return self.lookup.change(opened, erased, state=RecordState.ERASING, due=due)


def _is_token(record: Record) -> bool:
    try:
        return record.header.record_type is RecordType.TOKEN
    except IntegrityError:
        return False  # of a later release, or damaged: left alone
