"""From a token to its record: the name under the active lookup secret first, then under older ones.

A record that is found under an older lookup secret is moved to its new name there and then, since only a presented token can
do that.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from attrs import evolve, field, frozen

from lunacore import keys, records, tokens
from lunacore.audit import AuditEvent
from lunacore.errors import Conflict, StoreUnavailable, TokenNotFound, UnknownKeyVersion
from lunacore.outcomes import attempt
from lunacore.records import RecordState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore.audit import Action
    from lunacore.identity import Call
    from lunacore.keyring_source import KeyringSource
    from lunacore.outcomes import Outcome
    from lunacore.records import Contents, OpenedRecord, OperatorFields, Record
    from lunacore.stores import RecordStore
    from lunacore.tokens import ParsedToken


_ATTEMPTS: Final = 5


@frozen
class PresentedToken:
    """A token that a caller presented, with what it leads to under one lookup version."""

    parsed: ParsedToken
    tenant: str
    lookup_version: int
    keys: keys.TokenKeys

    @property
    def canonical(self) -> bytes:
        return self.parsed.canonical

    @property
    def fingerprint(self) -> str:
        """The token's fingerprint, 32 hex digits."""
        return self.keys.fingerprint.hex()


@frozen
class Found:
    """A presented token with its record, the outer layer open."""

    token: PresentedToken
    opened: OpenedRecord

    @property
    def fields(self) -> OperatorFields:
        return self.opened.fields

    @property
    def state(self) -> RecordState:
        return self.opened.header.state

    def contents(self) -> Contents:
        """Open the inner layer.

        Raises:
            IntegrityError: the record is not this token's.
        """
        token = self.token
        return records.open_contents(
            self.opened.fields.placement,
            token.keys,
            kind=token.parsed.kind,
            tenant=token.tenant,
            lookup_version=token.lookup_version,
        )


@frozen
class Replaced:
    """A record that was replaced for its token's sake: its name, and the revision that it has since."""

    name: bytes
    revision: int

    def event(
        self, call: Call, action: Action, token: PresentedToken, keyring: KeyringSource, now: float
    ) -> AuditEvent:
        """What the audit log is told when it is done, so that an older copy of the record can be told from this one."""
        return AuditEvent.of(
            call,
            action,
            now,
            token=token.fingerprint,
            record=keyring.record_fingerprints(self.name)[0],
            revision=self.revision,
            detail={**call.who, "done": True},
        )


def changing() -> Conflict:
    """The error for who has tried often enough to change a record."""
    return Conflict("the token is being changed by others at this moment; try again")


@frozen
class Lookup:
    """Finds, writes and changes the records of presented tokens."""

    store: RecordStore
    keyring: KeyringSource
    random: Callable[[int], bytes] = field(repr=False)

    def present(self, tenant: str, parsed: ParsedToken, lookup_version: int | None = None) -> PresentedToken:
        """Derive what the token leads to, under the active lookup version unless one is named."""
        version, tenant_key = self.keyring.tenant_key(tenant, lookup_version)
        return PresentedToken(parsed, tenant, version, keys.token_keys(tenant_key, parsed.canonical))

    def present_each(self, tenant: str, texts: Sequence[str]) -> list[Outcome[PresentedToken]]:
        """As ``present`` for each text; in place of one that is no token stands ``InvalidToken``."""
        version, tenant_key = self.keyring.tenant_key(tenant)

        def presented(text: str) -> PresentedToken:
            parsed = tokens.parse(text)
            return PresentedToken(parsed, tenant, version, keys.token_keys(tenant_key, parsed.canonical))

        return [attempt(presented, text) for text in texts]

    def find(self, presented: Sequence[PresentedToken]) -> list[Outcome[Found]]:
        """The live records in the order of ``presented``.

        In place of one that cannot be had stands its error: ``TokenNotFound`` (also for an erased token), ``IntegrityError`` for
        a damaged or foreign record, ``StoreUnavailable`` where the keyring lacks a key that the record needs.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        stored = self.store.get([token.keys.record_name for token in presented])
        return [attempt(self._settle, token, record) for token, record in zip(presented, stored, strict=True)]

    def seal(
        self,
        token: PresentedToken,
        contents: Contents,
        fields: OperatorFields,
        *,
        due: int,
    ) -> Record:
        """Make the first record of a token that was just minted. ``fields.placement.inner`` is filled in here."""
        placed = fields.placement
        inner = self._seal_contents(token, contents, placed.generation)
        root_version, root_key = self.keyring.active_root()
        header = records.Header(
            record_type=records.RecordType.TOKEN,
            state=RecordState.PENDING,
            lookup_version=token.lookup_version,
            root_version=root_version,
            revision=1,
            due=due,
            labels=self._label_hashes(token, contents.labels),
        )
        return records.seal_record(
            header,
            evolve(fields, placement=records.Placement(placed.object_name, placed.generation, inner)),
            name=token.keys.record_name,
            commitment=token.keys.commitment,
            root_key=root_key,
            random=self.random,
        )

    def change(self, opened: OpenedRecord, fields: OperatorFields, *, state: RecordState, due: int) -> bool:
        """Compare-and-swap other operator fields and another state into the record; say whether it was still the same.

        The outer layer is sealed anew in any case, under the active root key.
        """
        root_version, root_key = self.keyring.active_root()
        header = evolve(
            opened.header, root_version=root_version, revision=opened.header.revision + 1, state=state, due=due
        )
        changed = records.seal_record(
            header,
            fields,
            name=opened.record.name,
            commitment=opened.commitment,
            root_key=root_key,
            random=self.random,
        )
        return self.store.replace(opened.record, changed)

    def label(self, found: Found, contents: Contents) -> Replaced | None:
        """Compare-and-swap the labels of ``contents`` into the record; None where it was not the same any more.

        A re-keying that is under way is given up: what it has sealed lacks them.
        """
        labelled = self._sealed_anew(found, found.token, contents)
        if not self.store.replace(found.opened.record, labelled):
            return None
        return Replaced(labelled.name, found.opened.header.revision + 1)

    def open(self, record: Record) -> OpenedRecord:
        """Open the outer layer of a record, as sweeper and eraser do, without any token."""
        return records.open_record(record, self.keyring.root_key)

    def _settle(self, token: PresentedToken, record: Record | None) -> Found:
        for _ in range(_ATTEMPTS):
            if record is not None:
                return self._open(token, record)
            older = self._find_under_older(token)
            if older is not None and older.token.lookup_version > token.lookup_version:
                return older  # another process already uses a lookup secret that is still staged here
            if older is not None:
                self._move(
                    older, token
                )  # or somebody else has moved it, rewrapped or erased it: look again in any case
                record = self._get(token)
                continue
            record = self._look_again(token)
            if record is None:
                raise TokenNotFound
        raise StoreUnavailable("the record changed while it was being moved; try again", retry_after=1)

    def _open(self, token: PresentedToken, record: Record) -> Found:
        opened = records.open_record(record, self.keyring.root_key)
        records.check_commitment(opened, token.keys)
        if opened.header.state is RecordState.ERASING:
            raise TokenNotFound
        return Found(token, opened)

    def _find_under_older(self, token: PresentedToken) -> Found | None:
        for version in self.keyring.older_lookup_versions(token.lookup_version):
            try:
                older = self.present(token.tenant, token.parsed, version)
            except UnknownKeyVersion:
                continue  # retired at this very moment, so nothing lies under it
            record = self._get(older)
            if record is not None:
                return self._open(older, record)
        return None

    def _look_again(self, token: PresentedToken) -> Record | None:
        """Another process may have moved the record here after we had looked here and before we looked under older names."""
        if not self.keyring.older_lookup_versions(token.lookup_version):
            return None
        return self._get(token)

    def _get(self, token: PresentedToken) -> Record | None:
        return self.store.get([token.keys.record_name])[0]

    def _move(self, found: Found, token: PresentedToken) -> None:
        moved = self._sealed_anew(found, token, found.contents())
        with suppress(Conflict):  # another process moved it first
            self.store.replace(found.opened.record, moved)

    def _sealed_anew(self, found: Found, token: PresentedToken, contents: Contents) -> Record:
        """The record of ``found`` as it lies under ``token`` with these contents, both layers sealed anew."""
        fields = found.fields
        inner = self._seal_contents(token, contents, fields.placement.generation)
        root_version, root_key = self.keyring.active_root()
        header = evolve(
            found.opened.header,
            lookup_version=token.lookup_version,
            root_version=root_version,
            revision=found.opened.header.revision + 1,
            labels=self._label_hashes(token, contents.labels),
        )
        return records.seal_record(
            header,
            evolve(fields, placement=evolve(fields.placement, inner=inner)).without_following(),
            name=token.keys.record_name,
            commitment=token.keys.commitment,
            root_key=root_key,
            random=self.random,
        )

    def _seal_contents(self, token: PresentedToken, contents: Contents, generation: int) -> bytes:
        return records.seal_contents(
            contents,
            token.keys,
            kind=token.parsed.kind,
            tenant=token.tenant,
            lookup_version=token.lookup_version,
            generation=generation,
            random=self.random,
        )

    def _label_hashes(self, token: PresentedToken, labels: Sequence[str]) -> tuple[bytes, ...]:
        hashes = {self.keyring.label_hash(token.tenant, label, token.lookup_version) for label in labels}
        return tuple(sorted(hashes))
