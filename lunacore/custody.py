"""Custody of the keyring: sealing it for other key providers, backing it up, and putting a backup in its place.

Nothing is put in place or handed out that was not opened again first, by each of the entries that it is sealed for; and the
audit log has it before it is done. The keys stay what they are (``lunacore.rotation`` changes those).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve, field, frozen

from lunacore import canary
from lunacore import keyring as keyrings
from lunacore.audit import Action, AuditEvent
from lunacore.errors import Conflict, IntegrityError, KeyringError, LunaCoreError
from lunacore.recipients import apart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore.identity import Call
    from lunacore.keyring import Keyring
    from lunacore.stores import AuditSink, KeyProvider, KeyringStore, RecordStore

_FORCE: Final = "; --force puts the backup in its place all the same"


@frozen
class Custody:
    """The keyring of one deployment, and what the configuration names to open it. Processes that serve go on meanwhile.

    ``audit`` gives the audit log of a keyring that was opened.
    """

    store: KeyringStore
    providers: Sequence[KeyProvider]
    records: RecordStore
    audit: Callable[[Keyring], AuditSink]
    now: Callable[[], float] = field(repr=False)
    random: Callable[[int], bytes] = field(repr=False)

    def reseal(self, call: Call, *, by: Sequence[KeyProvider] = ()) -> Keyring:
        """Seal the keyring for the configured providers and no others; the serial grows, so that older copies are refused.

        Args:
            call: who does it, and why.
            by: providers that open it besides those that are configured, such as the one that was configured until now.

        Raises:
            KeyringError: none of the providers opens it, a configured one does not seal, or it is not that of the records.
            StoreUnavailable: a provider or store cannot be reached; nothing was changed.
            Conflict: somebody else changed the keyring meanwhile; nothing was changed.
        """
        sealed = self._stored()
        present = self._opened(sealed, by)
        canary.check(self.records, present, now=self.now(), random=self.random)
        resealed = evolve(present, serial=present.serial + 1)
        new = self.sealed_for(resealed, self.providers)
        self._put(sealed, new, resealed, call, Action.KEYS_RESEAL)
        canary.follow(self.records, resealed, now=self.now(), random=self.random)
        return resealed

    def back_up(self, call: Call, *, seal_for: Sequence[KeyProvider] = ()) -> tuple[Keyring, bytes]:
        """The keyring, and its sealed form for a backup: as it is stored, or sealed for other providers.

        Raises:
            KeyringError: it does not open, or is not that of the records.
            StoreUnavailable: a provider, store or the audit log cannot be reached.
        """
        sealed = self._stored()
        present = keyrings.unseal(sealed, self.providers)
        canary.check(self.records, present, now=self.now(), random=self.random)
        content = self.sealed_for(present, seal_for) if seal_for else sealed
        self.audit(present).write([self._event(call, Action.KEYS_BACKUP, present, content)])
        return present, content

    def examine(self, backup: bytes, *, by: Sequence[KeyProvider] = (), force: bool = False) -> Keyring:
        """The keyring of a backup as it would be put in place.

        Args:
            backup: the sealed form.
            by: providers that open it besides those that are configured.
            force: whether what is in place may be another keyring, a newer one, or damaged; and whether the backup may be older
                than the keyring that the records were last used with. It then gets a serial that is newer.

        Raises:
            KeyringError: the backup does not open, is not that of the records, or is older than the one last used with them.
            Conflict: what is in place may be replaced by force only.
            StoreUnavailable: a provider or store cannot be reached.
        """
        keyring = self._opened(backup, by)
        known = canary.known_serial(self.records, keyring) or 0
        if known > keyring.serial and not force:
            raise KeyringError(
                f"the backup is older (serial {keyring.serial}) than the keyring last used with these records (serial {known}); "
                "restore the newest backup. If there is none, --force takes this one: what was written under keys that were "
                "added since cannot be opened then"
            )
        present = self.store.read()
        if present is not None and not force:
            self._check_replaced(present, keyring, by)
        return keyring if keyring.serial >= known else evolve(keyring, serial=known + 1)

    def restore(self, call: Call, backup: bytes, *, by: Sequence[KeyProvider] = (), force: bool = False) -> Keyring:
        """Put the keyring of a backup in place, sealed for the configured providers; the rest is as for ``examine``.

        Raises:
            Conflict: also where somebody else changed the keyring meanwhile; nothing was changed then.
        """
        present = self.store.read()
        keyring = self.examine(backup, by=by, force=force)
        new = self.sealed_for(keyring, self.providers)
        self._put(present, new, keyring, call, Action.KEYS_RESTORE)
        canary.check(self.records, keyring, now=self.now(), random=self.random)
        return keyring

    def sealed_for(self, keyring: Keyring, providers: Sequence[KeyProvider]) -> bytes:
        """The sealed form, which each of the providers was seen to open.

        Raises:
            KeyringError: one of them does not seal, or does not open what it sealed.
            StoreUnavailable: one of them cannot be reached.
        """
        sealed = keyrings.seal(keyring, providers, random=self.random)
        check_opens(sealed, keyring, providers)
        return sealed

    def _stored(self) -> bytes:
        sealed = self.store.read()
        if sealed is None:
            raise KeyringError(
                "there is no keyring where tokenizer.keyring says; restore it from its backup with lunacore keys restore"
            )
        return sealed

    def _opened(self, sealed: bytes, by: Sequence[KeyProvider]) -> Keyring:
        """Whoever runs a command may open it by less than what a server requires together; the canary tells what is forged."""
        return keyrings.unseal(sealed, [*apart(by), *apart(self.providers)])

    def _check_replaced(self, present: bytes, keyring: Keyring, by: Sequence[KeyProvider]) -> None:
        try:
            present_id, serial = keyrings.read_head(present)
        except (KeyringError, IntegrityError) as problem:
            raise Conflict(f"what is in place is no keyring, or a damaged one ({problem.message}){_FORCE}") from problem
        if present_id != keyring.id:
            raise Conflict(f"another keyring is in place, {present_id.hex()}{_FORCE}")
        if serial > keyring.serial:
            raise Conflict(
                f"the keyring in place is newer (serial {serial}) than the backup (serial {keyring.serial}){_FORCE}"
            )
        if serial == keyring.serial and self._differs(present, keyring, by):
            raise Conflict(f"the keyring in place has the serial of the backup and other keys{_FORCE}")

    def _differs(self, present: bytes, keyring: Keyring, by: Sequence[KeyProvider]) -> bool:
        try:
            return self._opened(present, by) != keyring
        except LunaCoreError:
            return False  # it cannot be opened, which is what backups are for

    def _put(self, present: bytes | None, new: bytes, keyring: Keyring, call: Call, action: Action) -> None:
        self.audit(keyring).write([self._event(call, action, keyring, new)])
        if not self.store.replace(present, new):
            raise Conflict("the keyring was changed by somebody else meanwhile; nothing was done, run it again")

    def _event(self, call: Call, action: Action, keyring: Keyring, sealed: bytes) -> AuditEvent:
        recipients = ", ".join(one.shown for one in keyrings.recipients_of(sealed))
        return AuditEvent.of(
            call,
            action,
            self.now(),
            detail={"keyring": keyring.id.hex(), "serial": keyring.serial, "recipients": recipients},
        )


def check_opens(sealed: bytes, keyring: Keyring, providers: Sequence[KeyProvider]) -> None:
    """See that each of the providers opens a sealed form.

    Raises:
        KeyringError: one does not, or it holds another keyring.
        StoreUnavailable: one cannot be reached.
    """
    for provider in providers:
        if keyrings.unseal(sealed, [provider]) != keyring:
            raise KeyringError(f"what was sealed by {provider.name} opens to another keyring; nothing was changed")
