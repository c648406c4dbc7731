"""Rotation: keys are added to the stored keyring, wait until every process has them, and are taken out when nothing needs them.

Nothing but the keyring is written here. Records move to a new root key by ``rewrapping``, to a new lookup secret when their
tokens are presented (``lookup``); what session and gateway keys have signed expires. Every change is written to the audit log
before it is made, and is one compare-and-swap (``docs/spec/keyring.md``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from lunacore import canary, key_use
from lunacore import keyring as keyrings
from lunacore.audit import Action, AuditEvent
from lunacore.errors import Conflict, KeyringError
from lunacore.keyring import KeyPurpose

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore.identity import Call
    from lunacore.keyring import Keyring, VersionedKey
    from lunacore.stores import AuditSink, KeyProvider, KeyringStore, RecordStore

_ATTEMPTS: Final = 5


@frozen
class Lifetimes:
    """Seconds for which what was made with a key can be in use after the key was active."""

    session: int
    gateway: int

    def of(self, purpose: KeyPurpose) -> int:
        return {KeyPurpose.SESSION: self.session, KeyPurpose.GATEWAY: self.gateway}.get(purpose, 0)


@frozen
class Rotation:
    """Changes the keyring of one deployment. Any number of processes may, and those that serve go on meanwhile.

    ``staging_period`` is how many seconds a new key waits at least.
    """

    store: KeyringStore
    providers: Sequence[KeyProvider]
    records: RecordStore
    audit: AuditSink
    staging_period: int
    lifetimes: Lifetimes
    now: Callable[[], float] = field(repr=False)
    random: Callable[[int], bytes] = field(repr=False)

    def keyring(self) -> Keyring:
        """The keyring as it is stored now.

        Raises:
            KeyringError: it is missing, does not open, or is older than the one that the records were used with.
        """
        return self._read()[1]

    def stage(
        self, call: Call, purpose: KeyPurpose, *, active_in: int | None = None, beside_staged: bool = False
    ) -> VersionedKey:
        """Add the next version of a purpose, to become active in ``active_in`` seconds, or after the staging period.

        Args:
            call: who does it, and why.
            purpose: which key.
            active_in: seconds, at least the staging period.
            beside_staged: add it even if another one is staged. For one that was staged on a machine whose clock was ahead, and
                that would wait for too long: the newer of two wins as soon as its time has come.

        Raises:
            Conflict: another version is staged, the record store cannot follow a new lookup secret, or the time is too short.
            KeyringError: the keyring cannot be used, or this machine's clock is behind.
            AuditUnavailable: nothing was changed.
        """
        if purpose is KeyPurpose.LOOKUP and not self.records.renames:
            raise Conflict(
                "the record store cannot rename records, so the lookup secret cannot be rotated; it can where records lie in a "
                "database"
            )
        wait = self.staging_period if active_in is None else active_in
        if wait < self.staging_period:
            raise Conflict(
                f"a new key must wait for {self.staging_period} seconds at least, until every process has it "
                "(three times keys.reload_period)"
            )

        def add(present: Keyring) -> tuple[Keyring, AuditEvent]:
            self._check_clock(present, purpose)
            staged = self.staged(present, purpose)
            if staged and not beside_staged:
                raise Conflict(
                    f"version {staged[0].version} of the {_name(purpose)} key is staged already and becomes active in "
                    f"{staged[0].active_from - self.now():.0f} seconds; wait for that"
                )
            # Rounded up: a second is counted as begun by some and as over by others.
            changed = present.stage(purpose, active_from=int(self.now()) + 1 + wait, random=self.random)
            new = changed.newest_first(purpose)[0]
            return changed, self._event(call, Action.KEYS_ROTATE, new, activeFrom=new.active_from)

        return self._change(add).newest_first(purpose)[0]

    def staged(self, keyring: Keyring, purpose: KeyPurpose) -> list[VersionedKey]:
        """The versions that will be active, the first of them first; one that a newer one forestalls is not among them."""
        active = keyring.active(purpose, self.now()).version
        newer = [key for key in keyring.newest_first(purpose) if key.version > active]
        return sorted(
            (
                key
                for key in newer
                if all(key.active_from < other.active_from for other in newer if other.version > key.version)
            ),
            key=lambda key: key.version,
        )

    def retirable_from(self, keyring: Keyring, purpose: KeyPurpose, version: int) -> int:
        """The Unix second from which nothing that this key has made can be in use, records aside.

        A staging period after a newer key became active nobody makes anything with it any more, even where clocks differ. What
        it has made lives on for a while.

        Raises:
            UnknownKeyVersion: there is no such key.
            Conflict: it must not be retired at all as the keyring is.
        """
        self._check_older(keyring, purpose, version)
        replaced = min(key.active_from for key in keyring.newest_first(purpose) if key.version > version)
        return replaced + self.staging_period + self.lifetimes.of(purpose)

    def retire(
        self, call: Call, purpose: KeyPurpose, version: int, *, seen: Callable[[int], object] = lambda _count: None
    ) -> Keyring:
        """Take a key out of the keyring for good.

        Args:
            call: who does it, and why.
            purpose: which key.
            version: an older one than the active.
            seen: told how many more records were looked at.

        Raises:
            UnknownKeyVersion: there is no such key.
            Conflict: it is in use, or may be; nothing was changed.
            KeyringError: the keyring cannot be used.
            StoreUnavailable: records or audit log cannot be reached; nothing was changed.
        """

        def remove(present: Keyring) -> tuple[Keyring, AuditEvent]:
            self._check_unused(present, purpose, version, seen)
            changed = present.without(purpose, version)
            for other in KeyPurpose:
                if changed.active(other, self.now()) != present.active(other, self.now()):
                    raise Conflict(f"without it another {_name(other)} key would be active; nothing was changed")
            return changed, self._event(call, Action.KEYS_RETIRE, present.of_version(purpose, version))

        return self._change(remove)

    def _check_clock(self, keyring: Keyring, purpose: KeyPurpose) -> None:
        oldest = keyring.newest_first(purpose)[-1]
        if oldest.active_from > self.now():
            raise KeyringError(
                f"this machine's clock is behind: the {_name(purpose)} key of version {oldest.version} is from later"
            )

    def _check_older(self, keyring: Keyring, purpose: KeyPurpose, version: int) -> None:
        keyring.of_version(purpose, version)
        if purpose is KeyPurpose.AUDIT:
            raise Conflict(
                "audit keys are not retired: what they have signed is verified with them for as long as the audit log is kept"
            )
        active = keyring.active(purpose, self.now()).version
        if version == active:
            raise Conflict(f"version {version} of the {_name(purpose)} key is the active one; rotate it first")
        if version > active:
            raise Conflict(f"version {version} of the {_name(purpose)} key is staged and will be the active one")

    def _check_unused(self, keyring: Keyring, purpose: KeyPurpose, version: int, seen: Callable[[int], object]) -> None:
        wait = self.retirable_from(keyring, purpose, version) - self.now()
        if wait > 0:
            raise Conflict(
                f"version {version} of the {_name(purpose)} key may still be in use; it can be retired in {wait:.0f} seconds"
            )
        if purpose is KeyPurpose.ROOT:
            left = key_use.needing_root(self.records, version, seen=seen)
            if left:
                raise Conflict(f"{left} records still need version {version} of the root key; run lunacore keys rewrap")
        if purpose is KeyPurpose.LOOKUP:
            left = key_use.needing_lookup(self.records, version, seen=seen)
            if left:
                raise Conflict(
                    f"{left} records still lie under version {version} of the lookup key; each moves when its token is presented"
                )

    def _change(self, change: Callable[[Keyring], tuple[Keyring, AuditEvent]]) -> Keyring:
        """Swap a changed keyring in, whoever else changes it; the audit log has it first."""
        for _ in range(_ATTEMPTS):
            sealed, present = self._read()
            keyrings.check_recipients(sealed, self.providers)
            changed, event = change(present)
            self.audit.write([event])
            if self.store.replace(sealed, keyrings.seal(changed, self.providers, random=self.random)):
                # From here on an older keyring is refused, even if no process starts before it is restored by mistake.
                canary.follow(self.records, changed, now=self.now(), random=self.random)
                return changed
        raise _changing()

    def _read(self) -> tuple[bytes, Keyring]:
        """The keyring that is stored, tied to the records; the canary is under the active root from here on."""
        for _ in range(_ATTEMPTS):
            sealed = self.store.read()
            if sealed is None:
                raise KeyringError("there is no keyring where tokenizer.keyring says; restore it from its backup")
            keyring = keyrings.unseal(sealed, self.providers)
            try:
                canary.check(self.records, keyring, now=self.now(), random=self.random)
            except KeyringError:
                if self.store.read() == sealed:
                    raise
                continue  # it was changed by others between the two looks
            return sealed, keyring
        raise _changing()

    def _event(self, call: Call, action: Action, key: VersionedKey, **detail: int) -> AuditEvent:
        return AuditEvent.of(
            call, action, self.now(), detail={"purpose": _name(key.purpose), "version": key.version, **detail}
        )


def _changing() -> Conflict:
    return Conflict("the keyring is being changed by others at this moment; try again")


def _name(purpose: KeyPurpose) -> str:
    return purpose.name.lower()
