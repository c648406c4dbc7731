"""Where chains of the audit log are registered: one record for each, in the record store.

A chain is registered before its first line, and its last checkpoint is kept there. So the removal of a whole chain, and of lines
before its last checkpoint, is found. What is kept is signed: whoever can write to the record store alone can forge none of it.
``docs/spec/audit.md`` has the layout.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from lunacore import records
from lunacore.audit_chain import link_of, verify_checkpoint
from lunacore.errors import Conflict, IntegrityError
from lunacore.keys import KEY_BYTES, lp
from lunacore.records import LABEL_HASH_BYTES, Header, Record, RecordState, RecordType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunacore.audit_chain import Checkpoint
    from lunacore.signing import VerificationKeys
    from lunacore.stores import RecordStore

NO_ROOT: Final = 2**31 - 1
"""The root version in the header of these records: no root key seals them, and no scan for older ones finds them."""

LABEL: Final = hashlib.sha256(b"lunacore/v1/audit-chains").digest()[:LABEL_HASH_BYTES]
"""The label of these records, by which stores find them among all others."""

_NAME: Final = b"lunacore/v1/audit-chain"
_PAGE: Final = 500


@frozen
class ChainRegistry:
    """The chains of one deployment."""

    store: RecordStore
    keyring_id: bytes = field(repr=False)

    def register(self, chain: str, line: bytes) -> Record:
        """Keep the registration of a new chain.

        Raises:
            StoreUnavailable: the record store cannot be reached; the chain must not be begun.
        """
        record = self._record(chain, line, revision=1)
        self.store.create([record])
        return record

    def keep(self, present: Record, chain: str, line: bytes) -> Record:
        """Keep a later checkpoint in place of what is ``present``.

        Raises:
            StoreUnavailable: the record store cannot be reached.
            Conflict: somebody else wrote there, which only who doctors the store would do.
        """
        record = self._record(chain, line, revision=present.header.revision + 1)
        if not self.store.replace(present, record):
            raise Conflict(f"the record of audit chain {chain} was changed or removed by somebody else")
        return record

    def chains(self, known: VerificationKeys) -> Iterator[Checkpoint]:
        """What is kept of each chain, in pages.

        Raises:
            IntegrityError: a record was forged or damaged.
            UnknownKeyVersion: a record was signed by a key that is not known.
        """
        for record in self.records():
            yield self.open(record, known)

    def records(self) -> Iterator[Record]:
        """The record of each chain, in pages; not yet verified."""
        after = b""
        while page := self.store.scan(after=after, limit=_PAGE, label=LABEL):
            yield from (record for record in page if _is_chain(record))
            after = page[-1].name

    def find(self, chain: str, known: VerificationKeys) -> Checkpoint | None:
        """What is kept of one chain, None where it was never registered; errors are those of ``chains``."""
        record = self.store.get([name_of(chain)])[0]
        return None if record is None else self.open(record, known)

    def open(self, record: Record, known: VerificationKeys) -> Checkpoint:
        """Verify one record; errors are those of ``chains``."""
        header, owner, _ = records.split(record.body)
        line = record.body[len(header.encode()) + KEY_BYTES :]
        checkpoint = verify_checkpoint(line, known)
        chain = checkpoint.link.chain
        if owner != self.keyring_id + bytes.fromhex(chain) or record.name != name_of(chain):
            raise IntegrityError(f"the record of audit chain {chain} is that of another chain or deployment")
        return checkpoint

    def _record(self, chain: str, line: bytes, *, revision: int) -> Record:
        header = Header(
            record_type=RecordType.CHAIN,
            state=RecordState.STORED,
            lookup_version=0,
            root_version=NO_ROOT,
            revision=revision,
            labels=(LABEL,),
        )
        return Record(name_of(chain), header.encode() + self.keyring_id + bytes.fromhex(chain) + line)


def name_of(chain: str) -> bytes:
    """The name of a chain's record (32 bytes)."""
    return hashlib.sha256(lp(_NAME, bytes.fromhex(chain))).digest()


def chain_of(record: Record) -> str:
    """The chain (32 hex digits) that a record claims to be of, not verified; empty where it claims none."""
    header, _, _ = records.split(record.body)
    link = link_of(record.body[len(header.encode()) + KEY_BYTES :])
    return "" if link is None else link.chain


def _is_chain(record: Record) -> bool:
    try:
        return record.header.record_type is RecordType.CHAIN
    except IntegrityError:
        return True  # damaged, but it bears the label: to be told of
