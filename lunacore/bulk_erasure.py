"""Erasure in bulk: all tokens of a label (a data subject), or all that are older than so long; in pages, and without any token.

Each record is found in the store by what its header or its outer layer tells, written to the audit log, and erased as any other.
There is no other state: who is interrupted begins again, and finds only what is left. A pass that found something is followed by
another, since records are moved while the lookup secret rotates; the work ends with a pass that finds nothing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from lunacore.audit import ALLOWED, Action, AuditEvent
from lunacore.erasure import is_token
from lunacore.errors import Conflict, IntegrityError, LunaCoreError, StoreUnavailable
from lunacore.keyring import KeyPurpose
from lunacore.lookup import changing
from lunacore.records import MAX_LABEL_BYTES, RecordState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lunacore.erasure import Erased, Eraser
    from lunacore.identity import Call
    from lunacore.keyring_source import KeyringSource
    from lunacore.lookup import Lookup
    from lunacore.records import Record
    from lunacore.stores import AuditSink

ERASED_AT_ONCE: Final = 100
"""Tokens of a label that one call erases at most."""

_PAGE: Final = 500
_PASSES: Final = 10
_ATTEMPTS: Final = 5


@frozen
class BulkErased:
    """One record: what was erased, or the problem for which it stays. Neither where another one has just erased or moved it."""

    name: bytes
    erased: Erased | None = None
    problem: LunaCoreError | None = None


@frozen
class LabelErased:
    """What one call erased of a label, whether nothing is left, and the signed receipt (``lunacore.receipts``)."""

    erased: tuple[Erased, ...]
    complete: bool
    receipt: str


@frozen
class BulkEraser:
    """Erases many tokens of one tenant; any number of processes may at once.

    ``batch`` is how many records are written to the audit log at a time.
    """

    lookup: Lookup
    eraser: Eraser
    audit: AuditSink
    now: Callable[[], float] = field(repr=False)
    batch: int = _PAGE

    def labelled(self, call: Call, label: str) -> Iterator[BulkErased]:
        """Erase every token with this label.

        Raises:
            AuditUnavailable: the rest was not erased.
            StoreUnavailable: the record store cannot be reached; begin again later.
        """
        tenant = call.identity.tenant
        detail = {"by": "label", "label": label_fingerprint(self.lookup.keyring, tenant, label)}
        yield from self._erase_all(call, lambda: self._with_label(tenant, label), detail)

    def older(self, call: Call, created_before: int) -> Iterator[BulkErased]:
        """Erase every token that was minted before a Unix second; errors are those of ``labelled``."""
        detail: dict[str, str | int] = {"by": "age", "createdBefore": created_before}
        yield from self._erase_all(call, lambda: self._created(call.identity.tenant, created_before), detail)

    def count_labelled(self, tenant: str, label: str) -> int:
        """How many tokens ``labelled`` would erase. Nothing is changed."""
        return sum(1 for _ in self._with_label(tenant, label))

    def count_older(self, tenant: str, created_before: int) -> int:
        """How many tokens ``older`` would erase. Nothing is changed."""
        return sum(1 for _ in self._created(tenant, created_before))

    def _erase_all(
        self, call: Call, select: Callable[[], Iterator[Record]], detail: Mapping[str, str | int]
    ) -> Iterator[BulkErased]:
        stuck: set[bytes] = set()
        for _ in range(_PASSES):
            found_any = False
            for batch in _batches((record for record in select() if record.name not in stuck), self.batch):
                found_any = True
                self._write_audit(call, batch, detail)
                for record in batch:
                    outcome = self._erase(record)
                    if outcome.problem is not None:
                        stuck.add(record.name)
                        now, name = self.now(), outcome.problem.name
                        self.audit.write([record_erased(call, record.name, self.lookup.keyring, now, outcome=name)])
                    yield outcome
            if not found_any:
                return

    def _erase(self, record: Record) -> BulkErased:
        try:
            return BulkErased(record.name, self._erase_present(record))
        except StoreUnavailable:
            raise
        except LunaCoreError as problem:
            return BulkErased(record.name, problem=problem)

    def _erase_present(self, record: Record) -> Erased | None:
        for _ in range(_ATTEMPTS):
            opened = self.lookup.open(record)
            if opened.header.state is RecordState.ERASING:
                return None
            with suppress(Conflict):  # changed or moved since it was found
                return self.eraser.erase(opened)
            present = self.lookup.store.get([record.name])[0]
            if present is None:
                return None
            record = present
        raise changing()

    def _with_label(self, tenant: str, label: str) -> Iterator[Record]:
        """Under every lookup version, the oldest first: that is the way in which records move."""
        keyring = self.lookup.keyring
        versions = [key.version for key in keyring.keyring.newest_first(KeyPurpose.LOOKUP)]
        for version in reversed(versions):
            yield from self._live(keyring.label_hash(tenant, label, version))

    def _created(self, tenant: str, before: int) -> Iterator[Record]:
        for record in self._live():
            with suppress(IntegrityError):  # damaged, or of a later release: nobody can tell how old it is
                fields = self.lookup.open(record).fields
                if fields.tenant == tenant and fields.created < before:
                    yield record

    def _live(self, label: bytes | None = None) -> Iterator[Record]:
        after = b""
        while page := self.lookup.store.scan(after=after, limit=_PAGE, label=label):
            yield from (record for record in page if is_token(record) and not _is_erased(record))
            after = page[-1].name

    def _write_audit(self, call: Call, batch: list[Record], detail: Mapping[str, str | int]) -> None:
        now, keyring = self.now(), self.lookup.keyring
        summary = AuditEvent.of(call, Action.ERASE, now, detail={**call.who, **detail, "records": len(batch)})
        self.audit.write([*(record_erased(call, record.name, keyring, now) for record in batch), summary])


def record_erased(call: Call, name: bytes, keyring: KeyringSource, now: float, *, outcome: str = ALLOWED) -> AuditEvent:
    """What the audit log is told of a record that is erased without its token; with another outcome, that it was not."""
    return AuditEvent.of(call, Action.RECORD_ERASE, now, outcome=outcome, record=keyring.record_fingerprints(name)[0])


def label_fingerprint(keyring: KeyringSource, tenant: str, label: str) -> str:
    """What audit log and receipts call a label: 32 hex digits that say nothing without the keyring."""
    version, _ = keyring.tenant_key(tenant)
    return keyring.record_fingerprints(keyring.label_hash(tenant, label, version))[0]


def label_fingerprints(keyring: KeyringSource, tenant: str, label: str) -> list[str]:
    """All that audit log and receipts may call a label: under each lookup secret and each audit key."""
    versions = [key.version for key in keyring.keyring.newest_first(KeyPurpose.LOOKUP)]
    hashes = [keyring.label_hash(tenant, label, version) for version in versions]
    return [fingerprint for one in hashes for fingerprint in keyring.record_fingerprints(one)]


def is_label(label: str) -> bool:
    """Whether a text can be a label."""
    try:
        return 1 <= len(label.encode()) <= MAX_LABEL_BYTES
    except UnicodeEncodeError:
        return False


def _is_erased(record: Record) -> bool:
    return record.header.state is RecordState.ERASING


def _batches(records: Iterator[Record], size: int) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for record in records:
        batch.append(record)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
