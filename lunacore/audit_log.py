"""The audit log of one process: chains what it writes, and signs checkpoints (``docs/spec/audit.md``).

It stands before any sink. Threads that write at the same moment share one write of the sink (group commit), so the lines of a
chain come in order, whatever the sink is. What a failed write may have left behind is written again, byte for byte, before
anything else: so a chain has no gap, and no line of it can differ.

Checkpoints are made in a thread of their own, since a disk, the record store and the second place may take their time.
"""

from __future__ import annotations

import logging
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from attrs import define, field, frozen

from lunacore.audit_chain import CHAIN_BYTES, Chain, registration
from lunacore.errors import AuditUnavailable, LunaCoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lunacore.audit import AuditEvent
    from lunacore.audit_chain import ChainedEvent
    from lunacore.audit_registry import ChainRegistry
    from lunacore.records import Record
    from lunacore.signing import AuditSigner
    from lunacore.stores import LineSink

_LOG: Final = logging.getLogger("lunacore.audit")
_STOP_SECONDS: Final = 30.0


@runtime_checkable
class Syncable(Protocol):
    """What a sink may offer: to force to disk what it has written."""

    def sync(self) -> None:
        """Return when all that was written is as durable as the medium is.

        Raises:
            AuditUnavailable: it may not be.
        """
        ...


@frozen
class CheckpointPolicy:
    """When a checkpoint is signed: after so many entries, and at the latest so many seconds after an entry."""

    entries: int = 1000
    interval: float = 60.0


@define(eq=False)
class _Batch:
    """Events that will be written together, and what became of them."""

    events: list[AuditEvent] = field(factory=list, repr=False)
    is_done: bool = False
    failure: AuditUnavailable | None = None


@define(eq=False)
class _Open:
    """The chain that is being written.

    Attributes:
        facts: what its checkpoints tell of the process.
        registered: the chain's record in the registry.
        unsure: lines that a failed write may or may not have left; they are written again before others.
        uncovered: lines since the last checkpoint.
        signed: the last checkpoint, and whether registry and second place have it.
    """

    chain: Chain
    facts: Mapping[str, str | int | bool]
    registered: Record = field(repr=False)
    unsure: Sequence[ChainedEvent] = ()
    uncovered: int = 0
    signed: ChainedEvent | None = None
    is_kept: bool = False
    is_copied: bool = False


class AuditLog:
    """An ``AuditSink`` that chains and signs; safe to use from several threads, and in forked processes.

    Args:
        sink: where lines go.
        registry: where chains are registered.
        signer: gives the active audit key.
        now: Unix seconds.
        random: cryptographically secure random bytes.
        policy: when checkpoints are signed.
        copy: a second place, which is given every checkpoint; None for no copies.
        facts: what checkpoints tell of this process, such as its host; called once for each chain.
    """

    _open: _Open | None
    _gathering: _Batch
    _gate: Lock
    _writing: Lock
    _checkpointing: Lock
    _stopping: Event
    _due: Event
    _thread: Thread | None

    def __init__(
        self,
        sink: LineSink,
        *,
        registry: ChainRegistry,
        signer: Callable[[], AuditSigner],
        now: Callable[[], float],
        random: Callable[[int], bytes],
        policy: CheckpointPolicy,
        copy: LineSink | None = None,
        facts: Callable[[], Mapping[str, str | int | bool]] = dict,
    ) -> None:
        self.sink = sink
        self.problem: str | None = None
        self._registry = registry
        self._signer = signer
        self._now = now
        self._random = random
        self._policy = policy
        self._copy = copy
        self._facts = facts
        self._forget()

    def write(self, events: Sequence[AuditEvent]) -> None:
        """Write the events, in order and next to each other.

        Raises:
            AuditUnavailable: they were not all written, or may not have been; the caller releases nothing.
        """
        if not events:
            return
        if self._writing.acquire(blocking=False):  # nobody else writes, so there is nothing to share
            try:
                self._chain(events)
            finally:
                self._writing.release()
            return
        with self._gate:
            batch = self._gathering
            batch.events.extend(events)
        with self._writing:
            if not batch.is_done:
                with self._gate:
                    self._gathering = _Batch()
                self._store(batch)
        if batch.failure is not None:
            raise AuditUnavailable(batch.failure.message) from batch.failure

    def probe(self) -> None:
        """Reach the sink.

        Raises:
            StoreUnavailable: it cannot be reached.
        """
        probe = getattr(self.sink, "probe", None)
        if probe is not None:
            probe()

    def checkpoint(self, *, final: bool = False) -> bool:
        """Sign what was written since the last checkpoint, if anything was; ``final`` ends the chain.

        What goes wrong stands in ``problem`` and in the program's log; the next checkpoint then covers this one's lines, too.
        Says whether nothing went wrong.
        """
        if not self._checkpointing.acquire(timeout=_STOP_SECONDS):
            return self._failed("another checkpoint takes too long")
        try:
            self._checkpoint(final=final)
        except LunaCoreError as problem:
            return self._failed(problem.message)
        except Exception as problem:  # noqa: BLE001 - the thread must outlive whatever a backend raises
            return self._failed(type(problem).__qualname__)
        finally:
            self._checkpointing.release()
        self.problem = None
        return True

    def close(self) -> None:
        """Sign a last checkpoint and close sink and second place; a later write begins a new chain."""
        self.end()
        for part in (self.sink, self._copy):
            close = getattr(part, "close", None)
            if close is not None:
                close()

    def end(self) -> None:
        """End the chain with a last checkpoint; a later write begins a new one."""
        thread = self._thread
        if thread is not None:
            self._stopping.set()
            self._due.set()
            thread.join(_STOP_SECONDS)
        self.checkpoint(final=True)
        with self._writing:
            self._open = None
            self._thread = None
            self._stopping = Event()
            self._due = Event()

    def before_fork(self) -> None:
        """Let no write be under way while the process forks, so that the child finds no lock of a sink held."""
        self._checkpointing.acquire()
        self._writing.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on as before."""
        self._writing.release()
        self._checkpointing.release()

    def after_fork_in_child(self) -> None:
        """Begin a chain of its own: the one at hand is the parent's, and so are locks and thread."""
        self._forget()

    def _forget(self) -> None:
        self._open = None
        self._gathering = _Batch()
        self._gate = Lock()
        self._writing = Lock()
        self._checkpointing = Lock()
        self._stopping = Event()
        self._due = Event()
        self._thread = None

    # Writing; whoever calls these holds the lock ``_writing``

    def _chain(self, events: Sequence[AuditEvent]) -> None:
        try:
            current = self._current()
            self._settle(current)
            # An event that cannot be written as a line must not take the chain along.
            chain = current.chain.copy()
            entries = [chain.append(event) for event in events]
            current.chain = chain
            self._put(current, entries)
        except AuditUnavailable:
            raise
        except StoreUnavailable as failure:
            raise AuditUnavailable(f"the audit log cannot be written: {failure.message}") from failure

    def _store(self, batch: _Batch) -> None:
        try:
            self._chain(batch.events)
        except AuditUnavailable as failure:
            batch.failure = failure
        except BaseException:
            # Whoever waits for this batch must not take it for written.
            batch.failure = AuditUnavailable("the audit log cannot be written")
            raise
        finally:
            batch.is_done = True

    def _current(self) -> _Open:
        if self._open is None:
            chain, facts = self._random(CHAIN_BYTES).hex(), self._facts()
            line = registration(chain, self._now(), self._signer(), facts)
            self._open = _Open(Chain(chain), facts, self._registry.register(chain, line))
            self._watch()
        return self._open

    def _watch(self) -> None:
        if self._thread is None:
            self._thread = Thread(
                target=self._run, args=(self._stopping, self._due), name="lunacore-checkpoints", daemon=True
            )
            self._thread.start()

    def _put(self, current: _Open, entries: Sequence[ChainedEvent]) -> None:
        current.unsure = entries
        self._settle(current)

    def _settle(self, current: _Open) -> None:
        if not current.unsure:
            return
        self.sink.write(current.unsure)
        current.uncovered += len(current.unsure)
        current.unsure = ()
        if current.uncovered >= self._policy.entries:
            self._due.set()

    # Checkpoints

    def _failed(self, message: str) -> bool:
        self.problem = message
        _LOG.error('event=checkpoint_failed message="%s"', message)
        return False

    def _run(self, stopping: Event, due: Event) -> None:
        while not stopping.is_set():
            due.wait(self._policy.interval)
            due.clear()
            if not stopping.is_set():
                self.checkpoint()

    def _checkpoint(self, *, final: bool) -> None:
        with self._writing:
            current = self._open
            if current is None:
                return
            self._sign(current, final=final)
            signed = current.signed
        if signed is None:
            return
        # In no other order: what the registry vouches for must not get lost in a power failure.
        if isinstance(self.sink, Syncable):
            self.sink.sync()
        try:
            if not current.is_kept:
                current.registered = self._registry.keep(current.registered, current.chain.id, signed.line[:-1])
                current.is_kept = True
        finally:
            self._send_copy(current, signed)

    def _sign(self, current: _Open, *, final: bool) -> None:
        self._settle(current)
        if not current.uncovered and not (final and current.chain.sequence):
            return
        facts = {**current.facts, "final": True} if final else current.facts
        signed = current.chain.checkpoint(self._now(), self._signer(), facts)
        self._put(current, [signed])
        current.uncovered = 0
        current.signed, current.is_kept, current.is_copied = signed, False, False

    def _send_copy(self, current: _Open, signed: ChainedEvent) -> None:
        if self._copy is not None and not current.is_copied:
            self._copy.write([signed])
            current.is_copied = True
