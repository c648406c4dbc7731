"""Custody of the keyring: other key providers online, backups, and what a restore refuses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from lunacore import canary, custody
from lunacore import keyring as keyrings
from lunacore.audit import Action
from lunacore.custody import Custody
from lunacore.errors import AuditUnavailable, Conflict, IntegrityError, KeyringError
from lunacore.identity import Call, operator
from lunacore.keyring import KeyPurpose, Keyring
from lunacore.keyring_source import RELOAD_PERIOD, KeyringSource
from lunacore.recipients import Together
from lunacore.testing.deployment import Clock, open_in_memory
from lunacore_backends.keyproviders.local import KeyFile
from lunacore_backends.keyring_files import MemoryKeyring
from lunacore_backends.memory import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore.audit import AuditEvent
    from lunacore.stores import KeyProvider

CALL = Call(operator("default"), reason="drill")
OLD, NEW, OTHER = (KeyFile(bytes([number]) * 32, "tokenizer.seal", os.urandom) for number in (1, 2, 3))


@define
class Sink:
    events: list[AuditEvent] = field(factory=list)
    is_full: bool = False

    def write(self, events: Sequence[AuditEvent]) -> None:
        if self.is_full:
            raise AuditUnavailable("the disk is full")
        self.events += events


@define
class Place:
    """A keyring that is kept somewhere, with records and an audit log."""

    made: Keyring
    store: MemoryKeyring = field(factory=MemoryKeyring)
    records: MemoryRecords = field(factory=MemoryRecords)
    sink: Sink = field(factory=Sink)
    clock: Clock = field(factory=Clock)

    def custody(self, *providers: KeyProvider) -> Custody:
        return Custody(
            store=self.store,
            providers=providers,
            records=self.records,
            audit=lambda _keyring: self.sink,
            now=self.clock,
            random=os.urandom,
        )

    def stored(self, *providers: KeyProvider) -> Keyring:
        return keyrings.unseal(self.store.read() or b"", providers)

    def stage(self, purpose: KeyPurpose, *, by: KeyProvider) -> Keyring:
        """As a rotation does: the next version, active at once, and the canary told."""
        present = self.stored(by)
        changed = present.stage(purpose, active_from=int(self.clock()), random=os.urandom)
        sealed = keyrings.seal(changed, [by], random=os.urandom)
        assert self.store.replace(self.store.read(), sealed)
        canary.follow(self.records, changed, now=self.clock(), random=os.urandom)
        return changed


@pytest.fixture
def place() -> Place:
    clock = Clock()
    place = Place(keyrings.create(now=int(clock()), random=os.urandom), clock=clock)
    place.store.replace(None, keyrings.seal(place.made, [OLD], random=os.urandom))
    canary.check(place.records, place.made, now=clock(), random=os.urandom)
    return place


class TestReseal:
    def test_changes_who_opens_it_and_no_key(self, place: Place) -> None:
        resealed = place.custody(NEW, Together((OLD, OTHER), os.urandom)).reseal(CALL, by=[OLD])
        assert resealed == evolve(place.made, serial=2)
        for providers in ([NEW], [OLD, OTHER], [Together((OLD, OTHER), os.urandom)]):
            assert place.stored(*providers) == resealed
        for alone in (OLD, OTHER):
            with pytest.raises(KeyringError):
                place.stored(alone)

    def test_is_audited_before_it_is_done(self, place: Place) -> None:
        place.custody(NEW).reseal(CALL, by=[OLD])
        (event,) = place.sink.events
        assert (event.action, event.reason) == (Action.KEYS_RESEAL, "drill")
        assert event.detail == {"keyring": place.made.id.hex(), "serial": 2, "recipients": NEW.name}
        before, place.sink.is_full = place.store.read(), True
        with pytest.raises(AuditUnavailable):
            place.custody(OLD).reseal(CALL, by=[NEW])
        assert place.store.read() == before

    def test_needs_one_of_the_present_recipients(self, place: Place) -> None:
        with pytest.raises(KeyringError, match="none of these is configured"):
            place.custody(NEW).reseal(CALL)
        with pytest.raises(KeyringError, match="none of these is configured"):
            place.custody(NEW).reseal(CALL, by=[OTHER])
        # What is configured now may open it, if it is among those it was sealed for.
        assert place.custody(OLD, NEW).reseal(CALL).serial == 2
        assert place.custody(NEW).reseal(CALL).serial == 3

    def test_a_member_of_several_together_may_be_who_opened_it_alone(self, place: Place) -> None:
        both = Together((OLD, NEW), os.urandom)
        with pytest.raises(KeyringError, match="lunacore keys reseal"):
            place.stored(both)
        place.custody(both).reseal(CALL)
        assert place.stored(both).serial == 2

    def test_older_copies_are_refused_from_then_on(self, place: Place) -> None:
        old = place.store.read()
        source = KeyringSource(place.store, [OLD, NEW], now=place.clock)
        place.custody(NEW).reseal(CALL, by=[OLD])
        place.clock.advance(RELOAD_PERIOD)
        assert source.keyring.serial == 2
        place.store.replace(place.store.read(), old or b"")
        place.clock.advance(RELOAD_PERIOD)
        assert source.keyring.serial == 2
        assert "older" in str(source.problem)
        with pytest.raises(KeyringError, match="older"):
            canary.check(place.records, place.stored(OLD), now=place.clock(), random=os.urandom)

    def test_a_process_with_the_old_configuration_goes_on_and_one_that_starts_is_told(self, place: Place) -> None:
        running = KeyringSource(place.store, [OLD], now=place.clock)
        place.custody(NEW).reseal(CALL, by=[OLD])
        place.clock.advance(RELOAD_PERIOD)
        assert running.keyring == place.made
        assert "none of these is configured" in str(running.problem)
        with pytest.raises(KeyringError, match=rf"sealed by {NEW.name}.*tokenizer\.seal"):
            KeyringSource(place.store, [OLD], now=place.clock)

    def test_a_provider_that_does_not_give_back_is_never_trusted(self, place: Place) -> None:
        @define
        class Losing:
            name: str = "losing"

            def seal(self, plain: bytes, context: bytes) -> bytes:
                return b"gone"

            def open(self, sealed: bytes, context: bytes) -> bytes:
                return bytes(32)

        before = place.store.read()
        with pytest.raises((KeyringError, IntegrityError)):
            place.custody(OLD, Losing()).reseal(CALL)
        assert place.store.read() == before
        assert not place.sink.events

    def test_a_keyring_that_is_not_that_of_the_records_is_not_resealed(self, place: Place) -> None:
        foreign = keyrings.create(now=1, random=os.urandom)
        forged = evolve(foreign, id=place.made.id, serial=9)
        for keyring, said in ((foreign, "belongs to keyring"), (forged, "canary does not open")):
            put = keyrings.seal(keyring, [OLD], random=os.urandom)
            place.store.replace(place.store.read(), put)
            with pytest.raises(KeyringError, match=said):
                place.custody(NEW).reseal(CALL, by=[OLD])
            assert place.store.read() == put

    def test_who_comes_second_changes_nothing(self, place: Place) -> None:
        slow = place.custody(NEW)

        @define
        class Interrupting:
            name: str = NEW.name

            def seal(self, plain: bytes, context: bytes) -> bytes:
                place.stage(KeyPurpose.ROOT, by=OLD)
                return NEW.seal(plain, context)

            def open(self, sealed: bytes, context: bytes) -> bytes:
                return NEW.open(sealed, context)

        with pytest.raises(Conflict, match="run it again"):
            evolve(slow, providers=(Interrupting(),)).reseal(CALL, by=[OLD])
        assert len(place.stored(OLD).newest_first(KeyPurpose.ROOT)) == 2

    def test_there_must_be_one(self, place: Place) -> None:
        with pytest.raises(KeyringError, match="lunacore keys restore"):
            evolve(place.custody(OLD), store=MemoryKeyring()).reseal(CALL)


class TestBackup:
    def test_is_a_copy_or_sealed_for_others(self, place: Place) -> None:
        before = place.store.read()
        assert place.custody(OLD).back_up(CALL) == (place.made, before)
        keyring, content = place.custody(OLD).back_up(CALL, seal_for=[NEW, OTHER])
        assert keyrings.unseal(content, [OTHER]) == keyring == place.made
        with pytest.raises(KeyringError):
            keyrings.unseal(content, [OLD])
        assert place.store.read() == before
        assert [event.action for event in place.sink.events] == [Action.KEYS_BACKUP] * 2
        assert place.sink.events[1].detail["recipients"] == f"{NEW.name}, {OTHER.name}"

    def test_nothing_is_handed_out_that_cannot_be_audited(self, place: Place) -> None:
        place.sink.is_full = True
        with pytest.raises(AuditUnavailable):
            place.custody(OLD).back_up(CALL)

    def test_requires_together_what_a_server_does(self, place: Place) -> None:
        with pytest.raises(KeyringError):
            place.custody(Together((OLD, NEW), os.urandom)).back_up(CALL)


class TestRestore:
    @pytest.mark.parametrize("lost", ["keyring", "key-provider"])
    def test_puts_a_lost_keyring_back(self, place: Place, lost: str) -> None:
        _, backup = place.custody(OLD).back_up(CALL, seal_for=[OTHER])
        if lost == "keyring":
            place.store = MemoryKeyring()
        restoring = place.custody(NEW)
        with pytest.raises(KeyringError):
            restoring.restore(CALL, backup)
        assert restoring.restore(CALL, backup, by=[OTHER]) == place.made
        assert place.stored(NEW) == place.made
        assert place.sink.events[-1].action is Action.KEYS_RESTORE
        assert place.sink.events[-1].detail["recipients"] == NEW.name

    def test_examining_changes_nothing(self, place: Place) -> None:
        _, backup = place.custody(OLD).back_up(CALL)
        place.store = MemoryKeyring()
        place.sink.events.clear()
        assert place.custody(OLD).examine(backup) == place.made
        assert place.store.read() is None
        assert not place.sink.events

    def test_refuses_a_backup_older_than_the_records_know(self, place: Place) -> None:
        _, backup = place.custody(OLD).back_up(CALL)
        newer = place.stage(KeyPurpose.SESSION, by=OLD)
        place.store = MemoryKeyring()
        with pytest.raises(KeyringError, match=r"older \(serial 1\).*\(serial 2\).*--force takes this one"):
            place.custody(OLD).restore(CALL, backup)
        assert place.store.read() is None
        restored = place.custody(OLD).restore(CALL, backup, force=True)
        assert restored == evolve(place.made, serial=newer.serial + 1)
        canary.check(place.records, place.stored(OLD), now=place.clock(), random=os.urandom)

    def test_no_force_restores_one_that_lacks_the_root_key_of_the_records(self, place: Place) -> None:
        _, backup = place.custody(OLD).back_up(CALL)
        place.stage(KeyPurpose.ROOT, by=OLD)
        place.store = MemoryKeyring()
        with pytest.raises(KeyringError, match="lacks root key version 2"):
            place.custody(OLD).restore(CALL, backup, force=True)

    def test_refuses_a_foreign_backup_whatever_is_said(self, place: Place) -> None:
        foreign = keyrings.seal(keyrings.create(now=1, random=os.urandom), [OLD], random=os.urandom)
        for store in (place.store, MemoryKeyring()):
            with pytest.raises(KeyringError, match="belongs to keyring"):
                evolve(place.custody(OLD), store=store).restore(CALL, foreign, force=True)

    @pytest.mark.parametrize(
        ("in_place", "said"),
        [
            (lambda made: keyrings.create(now=1, random=os.urandom), "another keyring is in place"),
            (lambda made: evolve(made, serial=2), "is newer"),
            (lambda made: evolve(made, keys=made.keys[:-1]), "other keys"),
        ],
    )
    def test_replaces_another_or_a_newer_one_by_force_only(
        self, place: Place, in_place: Callable[[Keyring], Keyring], said: str
    ) -> None:
        _, backup = place.custody(OLD).back_up(CALL)
        other = keyrings.seal(in_place(place.made), [OLD], random=os.urandom)
        place.store.replace(place.store.read(), other)
        with pytest.raises(Conflict, match=f"{said}.*--force"):
            place.custody(OLD).restore(CALL, backup)
        assert place.store.read() == other
        place.custody(OLD).restore(CALL, backup, force=True)
        assert place.stored(OLD) == place.made

    @pytest.mark.parametrize("damaged", [b"", b"LCKR", b"<html>", b"LCKR\x09\x01" + bytes(24)])
    def test_replaces_what_is_damaged_by_force_only(self, place: Place, damaged: bytes) -> None:
        _, backup = place.custody(OLD).back_up(CALL)
        place.store.replace(place.store.read(), damaged)
        with pytest.raises(Conflict, match="no keyring, or a damaged one"):
            place.custody(OLD).restore(CALL, backup)
        place.custody(OLD).restore(CALL, backup, force=True)
        assert place.stored(OLD) == place.made

    def test_a_body_that_is_damaged_needs_no_force(self, place: Place) -> None:
        whole, backup = place.custody(OLD).back_up(CALL)
        place.store.replace(place.store.read(), backup[:-1] + bytes([backup[-1] ^ 1]))
        assert place.custody(OLD).restore(CALL, backup) == whole

    @pytest.mark.parametrize("backup", [b"", b"no keyring at all", b"LCKR"])
    def test_what_is_no_backup_is_refused(self, place: Place, backup: bytes) -> None:
        before = place.store.read()
        with pytest.raises((KeyringError, IntegrityError)):
            place.custody(OLD).restore(CALL, backup, force=True)
        assert place.store.read() == before


@given(st.lists(st.sampled_from(["stage", "reseal", "backup", "lose", "restore"]), max_size=25))
def test_no_history_loses_a_key_or_goes_back(steps: list[str]) -> None:
    clock = Clock()
    place = Place(keyrings.create(now=int(clock()), random=os.urandom), clock=clock)
    place.store.replace(None, keyrings.seal(place.made, [OLD], random=os.urandom))
    canary.check(place.records, place.made, now=clock(), random=os.urandom)
    newest, backups, provider = place.made, [place.store.read() or b""], OLD
    for step in steps:
        present = place.store.read()
        if step == "stage" and present is not None:
            newest = place.stage(KeyPurpose.ROOT, by=provider)
        elif step == "reseal" and present is not None:
            former, provider = provider, NEW if provider is OLD else OLD
            newest = place.custody(provider).reseal(CALL, by=[former])
        elif step == "backup" and present is not None:
            backups.append(place.custody(provider).back_up(CALL, seal_for=[OTHER])[1])
        elif step == "lose":
            place.store = MemoryKeyring()
        elif step == "restore":
            try:
                restored = place.custody(provider).restore(CALL, backups[-1], by=[OTHER, OLD])
            except (KeyringError, Conflict):
                assert keyrings.read_head(backups[-1])[1] < newest.serial
            else:
                assert restored == newest
    if place.store.read() is not None:
        assert place.stored(provider) == newest


def test_checking_reads_every_entry(place: Place) -> None:
    sealed = keyrings.seal(place.made, [OLD, NEW], random=os.urandom)
    custody.check_opens(sealed, place.made, [OLD, NEW])
    with pytest.raises(KeyringError):
        custody.check_opens(sealed, place.made, [OLD, OTHER])
    with pytest.raises(KeyringError, match="another keyring"):
        custody.check_opens(sealed, evolve(place.made, serial=5), [OLD])


def test_rotation_does_not_change_who_opens_it(place: Place) -> None:
    sealed = keyrings.seal(place.made, [OLD, NEW], random=os.urandom)
    keyrings.check_recipients(sealed, [NEW, OLD])
    for others in ([OLD], [OLD, OTHER], [Together((OLD, NEW), os.urandom)], [OLD, NEW, OTHER]):
        with pytest.raises(KeyringError, match="names others"):
            keyrings.check_recipients(sealed, others)


def test_a_rotation_where_others_are_configured_is_refused_and_not_audited() -> None:
    deployment = open_in_memory(Clock())
    before = deployment.keyring_store.read()
    for providers in ((*deployment.key_providers, OTHER), (Together((*deployment.key_providers, OTHER), os.urandom),)):
        with pytest.raises(KeyringError):
            evolve(deployment.rotation, providers=providers).stage(CALL, KeyPurpose.ROOT)
    assert deployment.keyring_store.read() == before
    deployment.rotation.stage(CALL, KeyPurpose.ROOT)
    assert deployment.keyring_store.read() != before
