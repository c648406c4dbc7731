"""Rewrapping: records whose outer layer is sealed under an older root key are sealed anew under the active one.

No token and no value is needed. Each record is changed by compare-and-swap, so that one which somebody else changes meanwhile is
left to the next pass; there is no other state, so after a crash one simply begins again. What this release does not know, or
cannot open, stays as it is (``docs/spec/records.md``).
"""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

from lunacore import canary, key_use
from lunacore.audit import Action, AuditEvent
from lunacore.errors import IntegrityError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lunacore.identity import Call
    from lunacore.lookup import Lookup
    from lunacore.records import OpenedRecord, Record
    from lunacore.stores import AuditSink

DEFAULT_BATCH: Final = 500
DEFAULT_RATE: Final = 1000
"""Records in a second, so that requests find the record store free in between."""

_PASSES: Final = 10
_LEAST_PAUSE: Final = 0.01


class Rewrap(Enum):
    """What became of one record."""

    DONE = "sealed anew"
    CHANGED = "changed by others meanwhile"
    LEFT = "left as it is"


@frozen
class Rewrapped:
    """One record that stood under an older root key; ``problem`` says why it was left as it is."""

    name: bytes
    outcome: Rewrap
    problem: str = ""

    @property
    def position(self) -> float:
        """How far its name is in the order of names, 0 to 1. Names are hashes, so this is how far a pass is."""
        return int.from_bytes(self.name[:8].ljust(8, b"\0")) / 2**64


@define
class Throttle:
    """Holds work to ``rate`` steps in a second, 0 for no limit, by pauses in between."""

    rate: int
    now: Callable[[], float] = field(repr=False)
    pause: Callable[[float], None] = field(repr=False)
    _due: float | None = field(default=None, init=False)

    def step(self) -> None:
        """Count one step; pause if that is too many by now."""
        if not self.rate:
            return
        now = self.now()
        # What was not used up is lost, so that no burst follows a wait; a clock that is set back starts anew.
        due = now if self._due is None or not 0 <= self._due - now <= 1 else self._due
        self._due = due + 1 / self.rate
        if self._due - now > _LEAST_PAUSE:
            self.pause(self._due - now)


@frozen
class Rewrapper:
    """Rewraps the records of one deployment; any number of processes may at once, beside those that serve."""

    lookup: Lookup
    audit: AuditSink
    throttle: Throttle
    now: Callable[[], float] = field(repr=False)
    random: Callable[[int], bytes] = field(repr=False)
    batch: int = DEFAULT_BATCH

    def older(self, seen: Callable[[int], object] = lambda _count: None) -> Mapping[int, int]:
        """How many records stand under each older root version; 0 stands for those that cannot be read. Nothing is changed."""
        below = self.lookup.keyring.active_root()[0]
        older = key_use.every(self.lookup.store, root_below=below, seen=seen)
        return Counter(_root_of(one) for one in older if one.name != canary.NAME)

    def estimate(self) -> int:
        """About how many records there are to rewrap; exact up to a page of them."""
        page = self._page(b"")
        if len(page) < self.batch:
            return len(page)
        reached = Rewrapped(page[-1].name, Rewrap.LEFT).position
        return round(len(page) / reached) if reached else len(page)

    def rewrap(self, call: Call, seen: Callable[[Rewrapped], object] = lambda _one: None) -> Report:
        """Pass over the records until none is left that can be rewrapped.

        Raises:
            AuditUnavailable: nothing was changed.
            StoreUnavailable: the record store cannot be reached; what was done is done, and another call goes on.
        """
        self.audit.write([self._event(call)])
        report = Report()
        for _ in range(_PASSES):
            report.begin_pass()
            for one in self.one_pass():
                report.count(one)
                seen(one)
            if not report.changed:
                break
        return report

    def one_pass(self) -> Iterator[Rewrapped]:
        """Rewrap every record under an older root key once, in the order of names; the canary too, which is none of them."""
        after = b""
        while page := self._page(after):
            for record in page:
                if record.name == canary.NAME:
                    self._move_canary()
                    continue
                yield self._rewrap(record)
                self.throttle.step()
            after = page[-1].name

    def _page(self, after: bytes) -> list[Record]:
        below = self.lookup.keyring.active_root()[0]
        return self.lookup.store.scan(after=after, limit=self.batch, root_below=below)

    def _rewrap(self, record: Record) -> Rewrapped:
        try:
            opened = self.lookup.open(record)
        except (
            IntegrityError,
            StoreUnavailable,
        ) as problem:  # damaged, of a later release, or of a root that is not known
            return Rewrapped(record.name, Rewrap.LEFT, problem.message)
        return Rewrapped(record.name, Rewrap.DONE if self._reseal(opened) else Rewrap.CHANGED)

    def _move_canary(self) -> None:
        canary.follow(self.lookup.store, self.lookup.keyring.keyring, now=self.now(), random=self.random)

    def _reseal(self, opened: OpenedRecord) -> bool:
        return self.lookup.change(opened, opened.fields, state=opened.header.state, due=opened.header.due)

    def _event(self, call: Call) -> AuditEvent:
        return AuditEvent.of(
            call,
            Action.KEYS_REWRAP,
            self.now(),
            detail={"purpose": "root", "version": self.lookup.keyring.active_root()[0]},
        )


@define
class Report:
    """What a rewrap did: records that were sealed anew; of the last pass, those that others changed, and why others were left."""

    done: int = 0
    changed: int = 0
    left: Counter[str] = field(factory=Counter)

    def begin_pass(self) -> None:
        self.changed = 0
        self.left.clear()

    def count(self, one: Rewrapped) -> None:
        if one.outcome is Rewrap.LEFT:
            self.left[one.problem] += 1
        elif one.outcome is Rewrap.CHANGED:
            self.changed += 1
        else:
            self.done += 1


def _root_of(record: Record) -> int:
    try:
        return record.header.root_version
    except IntegrityError:
        return 0
