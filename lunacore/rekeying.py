"""Re-keying: an object gets another name and other keys, on a presented token, while its token and its value stay the same.

1. Write the next name and its inner seal into the record (compare-and-swap).
2. Copy the object inside the store, under the next name and a new store key; a *deep* re-keying carries it through this program
   instead, and seals the value under a new value key too.
3. Switch the record to the copy (compare-and-swap); the old object is left over.
4. The sweep deletes what is left over when no ticket for it can be in use any more.

Whoever stops in between leaves a record whose token opens the old object, and a name that sweep, erasure or the next re-keying
finds in it. A re-keying that finds another's begun takes a name of its own, so that no two ever write the same object.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from attrs import evolve, field, frozen

from lunacore import records
from lunacore.erasure import stored_due
from lunacore.errors import ConfigError, Conflict, IntegrityError, LunaCoreError, TokenNotFound
from lunacore.keys import KEY_BYTES
from lunacore.lookup import Replaced, changing
from lunacore.outcomes import only
from lunacore.records import OBJECT_NAME_BYTES, Placement, RecordState, ValueFormat
from lunacore.segments import OpenedSegments, Purpose, SealingReader
from lunacore.stores import DirectTransfer

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from lunacore.lookup import Found, Lookup, PresentedToken
    from lunacore.records import Contents, OperatorFields
    from lunacore.stores import ObjectStore, Stat

MAX_LEFTOVER: Final = 16
"""Objects that may wait in one record for their deletion."""

_ATTEMPTS: Final = 5


@frozen
class _Step:
    """A re-keying that was written into the record: from which object to which."""

    token: PresentedToken
    source: bytes = field(repr=False)
    old: Contents
    target: bytes = field(repr=False)
    new: Contents
    fields: OperatorFields


@frozen
class Rekeyer:
    """Re-keys objects; any number of processes may do it at once, beside rotation, sweep and erasure.

    ``download_ttl`` is how many seconds a download URL lives at most.
    """

    lookup: Lookup
    objects: ObjectStore
    download_ttl: int
    now: Callable[[], float] = field(repr=False)
    random: Callable[[int], bytes] = field(repr=False)

    def rekey(self, found: Found, *, deep: bool = False) -> Replaced:
        """Give the object of a token another name and store key; with ``deep`` its value another value key too.

        Raises:
            Conflict: the upload was not verified yet, the token is being changed by others, or was re-keyed too often lately.
            TokenNotFound: it was erased meanwhile.
            IntegrityError: the object is gone, damaged, or not the one that was confirmed; nothing was changed.
            ConfigError: with ``deep``, the object store takes no values from programs.
            StoreUnavailable: a store cannot be reached; nothing was changed unless another attempt finds it changed.
        """
        transfer = self._carry if deep else self._copy
        if deep and not isinstance(self.objects, DirectTransfer):
            raise ConfigError("tokenizer.objects: this object store takes no values from programs; re-key without deep")
        step = self._begin(found, deep=deep)
        try:
            stat = transfer(step)
        except TokenNotFound:
            raise self._source_gone(step) from None
        self._check(step, stat)
        return self._switch(step, stat)

    def _begin(self, found: Found, *, deep: bool) -> _Step:
        generation = found.fields.placement.generation
        for _ in range(_ATTEMPTS):
            if found.fields.placement.generation != generation:
                break  # another one has re-keyed it since it was found
            _refuse_unready(found)
            begun = self._next(found, deep=deep)
            if self.lookup.change(found.opened, begun.fields, state=RecordState.STORED, due=stored_due(begun.fields)):
                return begun
            found = only(self.lookup.find([found.token]))
        raise changing()

    def _next(self, found: Found, *, deep: bool) -> _Step:
        old = found.contents()
        new = evolve(
            old,
            store_key=self.random(KEY_BYTES),
            value_key=self.random(KEY_BYTES) if deep else old.value_key,
        )
        token, placement = found.token, found.fields.placement
        generation = placement.generation + 1
        inner = records.seal_contents(
            new,
            token.keys,
            kind=token.parsed.kind,
            tenant=token.tenant,
            lookup_version=token.lookup_version,
            generation=generation,
            random=self.random,
        )
        following = Placement(self.random(OBJECT_NAME_BYTES), generation, inner)
        # From here on an erasure waits for the copy as it does for an upload.
        until = max(found.fields.upload_until, int(self.now()))
        fields = evolve(found.fields.without_following(), following=following, upload_until=until)
        return _Step(token, placement.object_name, old, following.object_name, new, fields)

    def _copy(self, step: _Step) -> Stat:
        return self.objects.copy(step.source, step.old.store_key, step.target, step.new.store_key)

    def _carry(self, step: _Step) -> Stat:
        """Carry the value through this program, in bounded memory."""
        transfer = cast("DirectTransfer", self.objects)
        with transfer.open(step.source, step.old.store_key) as stored:
            if step.fields.value_format is ValueFormat.RAW:
                return transfer.write(step.target, step.new.store_key, stored)
            opened = cast("BinaryIO", OpenedSegments(stored, step.old.value_key, Purpose.VALUE))
            sealing = SealingReader(opened, step.new.value_key, Purpose.VALUE, self.random)
            return transfer.write(step.target, step.new.store_key, cast("BinaryIO", sealing))

    def _check(self, step: _Step, copied: Stat) -> None:
        """See that what was copied is what was confirmed: a store may let an upload replace it while its URL is valid."""
        source = self.objects.stat(step.source, step.old.store_key)
        if source is None:
            raise self._source_gone(step)
        if source.etag != step.fields.etag or source.size != step.fields.size:
            self._discard(step)
            raise IntegrityError("the object is not the one that was confirmed; it was not re-keyed")
        if copied.size != source.size:
            self._discard(step)
            raise IntegrityError("the copy has another size than the object; it was not re-keyed")

    def _switch(self, step: _Step, stat: Stat) -> Replaced:
        for _ in range(_ATTEMPTS):
            found = self._find_again(step)
            fields = found.fields
            record = found.opened.record
            if fields.placement.object_name == step.target:
                return Replaced(record.name, record.header.revision)
            if fields.following is None or fields.following.object_name != step.target:
                self._discard(step)
                raise changing()
            switched = evolve(
                fields,
                placement=fields.following,
                following=None,
                leftover=(*fields.leftover, step.source),
                upload_until=max(fields.upload_until, int(self.now()) + self.download_ttl),
                size=stat.size,
                etag=stat.etag,
            )
            if self.lookup.change(found.opened, switched, state=RecordState.STORED, due=stored_due(switched)):
                return Replaced(record.name, record.header.revision + 1)
        raise changing()

    def _find_again(self, step: _Step) -> Found:
        try:
            return only(self.lookup.find([step.token]))
        except TokenNotFound:
            self._discard(step)
            raise

    def _source_gone(self, step: _Step) -> LunaCoreError:
        """Why there is no object to copy: the token was erased, the object was re-keyed by another, or it is lost."""
        fields = self._find_again(step).fields
        if fields.placement.object_name != step.source:
            return changing()
        return IntegrityError("the object of this token is not in the object store; restore it from a backup")

    def _discard(self, step: _Step) -> None:
        """Delete a copy that nothing will point to; what cannot be removed now is left to sweep or erasure."""
        with suppress(LunaCoreError):
            self.objects.delete([step.target])


def keyed_at(fields: OperatorFields) -> int:
    """The Unix second at which the present object got its keys; for one that was re-keyed, up to ``download_ttl`` too late."""
    return fields.created if fields.placement.generation == 1 else fields.upload_until


def _refuse_unready(found: Found) -> None:
    if found.state is not RecordState.STORED:
        raise Conflict("the upload was not verified yet; verify it, then re-key")
    if len(found.fields.leftover) >= MAX_LEFTOVER:
        raise Conflict(
            "the object was re-keyed many times within a day; let the sweep remove what that left, then try again"
        )
