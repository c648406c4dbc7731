"""Keys are added, become active, and are retired when nothing needs them; what must not happen is refused and changes nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from lunacore import canary, key_use, keys, records, tokens
from lunacore import keyring as keyrings
from lunacore.errors import AuditUnavailable, Conflict, KeyringError, LunaCoreError, StoreUnavailable, UnknownKeyVersion
from lunacore.identity import Call, Session, operator
from lunacore.keyring import KeyPurpose
from lunacore.keyring_source import STAGING_PERIOD
from lunacore.outcomes import only
from lunacore.records import FORMAT_VERSION, Record
from lunacore.rewrapping import Rewrapper, Throttle
from lunacore.session_cookies import SessionCookie, read, write
from lunacore.testing.deployment import START, Clock, another_process, open_in_memory
from lunacore.testing.faults import FailingRecords, Fault, FaultPlan, FullAudit
from lunacore.tickets import NewValue
from lunacore_backends.keyproviders.local import KeyFile
from lunacore_backends.keyring_files import MemoryKeyring
from lunacore_backends.memory import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunacore.deployment import Deployment
    from lunacore.keyring import Keyring
    from lunacore.rotation import Rotation
    from lunacore.tokens import Token

CALL = Call(operator("default"), reason="yearly")
ALL = list(KeyPurpose)


def put(deployment: Deployment) -> Token:
    return only(deployment.tokenizer.issue(CALL, [NewValue()])).token


def find(deployment: Deployment, token: str) -> Any:
    return deployment.tokenizer.lookup.find([deployment.tokenizer.lookup.present("default", tokens.parse(token))])[0]


def rewrap(deployment: Deployment) -> int:
    throttle = Throttle(0, deployment.now, lambda _seconds: None)
    report = Rewrapper(
        deployment.tokenizer.lookup, deployment.audit, throttle, deployment.now, deployment.random, batch=2
    ).rewrap(CALL)
    assert (report.changed, report.left) == (0, {})
    return report.done


def stored(deployment: Deployment) -> Keyring:
    sealed = deployment.keyring_store.read()
    assert sealed is not None
    return keyrings.unseal(sealed, deployment.key_providers)


def rotate(deployment: Deployment, clock: Clock, purpose: KeyPurpose) -> int:
    version = deployment.rotation.stage(CALL, purpose).version
    clock.advance(STAGING_PERIOD + 1)
    return version


def events(deployment: Deployment) -> list[Any]:
    return [one for one in deployment.audit.events if one.action.startswith("keys.")]  # type: ignore[attr-defined]


class TestStaging:
    @pytest.mark.parametrize("purpose", ALL, ids=lambda one: one.name)
    def test_a_new_version_waits_until_every_process_has_it(
        self, deployment: Deployment, clock: Clock, purpose: KeyPurpose
    ) -> None:
        key = deployment.rotation.stage(CALL, purpose)
        assert (key.version, key.active_from) == (2, START + STAGING_PERIOD + 1)
        assert stored(deployment).active(purpose, clock()).version == 1
        clock.advance(STAGING_PERIOD)
        assert deployment.keyring.keyring.active(purpose, clock()).version == 1
        clock.advance(1)
        assert deployment.keyring.keyring.active(purpose, clock()).version == 2

    def test_it_is_audited_before_it_is_there(self, deployment: Deployment) -> None:
        before = deployment.keyring_store.read()
        seen: list[object] = []

        class Watched:
            def write(self, written: Sequence[Any]) -> None:
                seen.append((written[0].action, written[0].reason, written[0].detail, deployment.keyring_store.read()))

        key = evolve(deployment.rotation, audit=Watched()).stage(CALL, KeyPurpose.ROOT)
        detail = {"purpose": "root", "version": 2, "activeFrom": key.active_from}
        assert seen == [("keys.rotate", "yearly", detail, before)]

    def test_what_cannot_be_audited_is_not_done(self, deployment: Deployment, clock: Clock) -> None:
        rotate(deployment, clock, KeyPurpose.ROOT)
        clock.advance(STAGING_PERIOD)
        rewrap(deployment)
        before = deployment.keyring_store.read()
        silent = evolve(deployment.rotation, audit=FullAudit())
        for change in (lambda: silent.stage(CALL, KeyPurpose.AUDIT), lambda: silent.retire(CALL, KeyPurpose.ROOT, 1)):
            with pytest.raises(AuditUnavailable):
                change()
        assert deployment.keyring_store.read() == before

    def test_one_at_a_time(self, deployment: Deployment, clock: Clock) -> None:
        deployment.rotation.stage(CALL, KeyPurpose.ROOT)
        clock.advance(100)
        before = deployment.keyring_store.read()
        with pytest.raises(
            Conflict, match="version 2 of the root key is staged already and becomes active in 81 seconds"
        ):
            deployment.rotation.stage(CALL, KeyPurpose.ROOT)
        assert deployment.keyring_store.read() == before
        deployment.rotation.stage(CALL, KeyPurpose.SESSION)
        clock.advance(81)
        assert deployment.rotation.stage(CALL, KeyPurpose.ROOT).version == 3

    def test_the_lookup_secret_stays_where_records_cannot_be_renamed(self, deployment: Deployment) -> None:
        class Fixed(MemoryRecords):
            renames = False

        before = deployment.keyring_store.read()
        with pytest.raises(Conflict, match="cannot rename"):
            evolve(deployment.rotation, records=Fixed()).stage(CALL, KeyPurpose.LOOKUP)
        assert deployment.keyring_store.read() == before

    def test_it_may_wait_for_longer_and_never_shorter(self, deployment: Deployment) -> None:
        with pytest.raises(Conflict, match="180 seconds at least"):
            deployment.rotation.stage(CALL, KeyPurpose.GATEWAY, active_in=179)
        assert deployment.rotation.stage(CALL, KeyPurpose.GATEWAY, active_in=5000).active_from == START + 5001

    def test_one_that_was_staged_for_too_late_is_forestalled(self, deployment: Deployment, clock: Clock) -> None:
        """A machine whose clock was a year ahead has staged it."""
        ahead = evolve(deployment.rotation, now=Clock(START + 31_536_000))
        ahead.stage(CALL, KeyPurpose.ROOT)
        with pytest.raises(Conflict, match="staged already"):
            deployment.rotation.stage(CALL, KeyPurpose.ROOT)
        deployment.rotation.stage(CALL, KeyPurpose.ROOT, beside_staged=True)
        assert [key.version for key in deployment.rotation.staged(stored(deployment), KeyPurpose.ROOT)] == [3]
        clock.advance(STAGING_PERIOD + 1)
        assert stored(deployment).active(KeyPurpose.ROOT, clock()).version == 3
        clock.advance(STAGING_PERIOD)
        rewrap(deployment)
        for version in (1, 2):
            deployment.rotation.retire(CALL, KeyPurpose.ROOT, version)
        assert [key.version for key in stored(deployment).newest_first(KeyPurpose.ROOT)] == [3]

    def test_a_clock_that_is_behind_is_told(self, deployment: Deployment) -> None:
        with pytest.raises(KeyringError, match="clock is behind"):
            evolve(deployment.rotation, now=Clock(START - 3600)).stage(CALL, KeyPurpose.ROOT)

    def test_two_at_once_both_count(self, deployment: Deployment) -> None:
        """The other's key is not lost, and the second of the same purpose is refused."""
        other = deployment.rotation

        class Raced(MemoryKeyring):
            def replace(self, old: bytes | None, new: bytes) -> bool:
                for purpose in races:
                    races.clear()
                    other.stage(CALL, purpose)
                return deployment.keyring_store.replace(old, new)

            def read(self) -> bytes | None:
                return deployment.keyring_store.read()

        races = [KeyPurpose.SESSION]
        raced = evolve(deployment.rotation, store=Raced())
        assert raced.stage(CALL, KeyPurpose.ROOT).version == 2
        assert {(key.purpose.name, key.version) for key in stored(deployment).keys} >= {("ROOT", 2), ("SESSION", 2)}
        races = [KeyPurpose.LOOKUP]
        with pytest.raises(Conflict, match="staged already"):
            raced.stage(CALL, KeyPurpose.LOOKUP)
        assert len(stored(deployment).newest_first(KeyPurpose.LOOKUP)) == 2

    def test_another_rotation_between_two_looks_is_no_older_keyring(self, deployment: Deployment) -> None:
        other = deployment.rotation

        class Raced(MemoryKeyring):
            def replace(self, old: bytes | None, new: bytes) -> bool:
                return deployment.keyring_store.replace(old, new)

            def read(self) -> bytes | None:
                found = deployment.keyring_store.read()
                if races:
                    other.stage(CALL, races.pop())
                return found

        races = [KeyPurpose.SESSION]
        assert evolve(deployment.rotation, store=Raced()).stage(CALL, KeyPurpose.ROOT).version == 2
        assert stored(deployment).serial == 3

    def test_an_older_keyring_is_refused_from_that_moment_on(self, deployment: Deployment, clock: Clock) -> None:
        """Though no process has started since. Else its next key would get the number of one that is in use."""
        old = deployment.keyring_store.read()
        deployment.rotation.stage(CALL, KeyPurpose.ROOT)
        restored = evolve(deployment.rotation, store=MemoryKeyring(old))
        with pytest.raises(KeyringError, match="older"):
            restored.stage(CALL, KeyPurpose.ROOT)

    def test_nobody_is_left_out_who_could_open_the_keyring(self, deployment: Deployment) -> None:
        """By a machine whose configuration names fewer key providers than the keyring is sealed for."""
        other = KeyFile(bytes(32), "tokenizer.seal", os.urandom)
        both = [*deployment.key_providers, other]
        sealed = keyrings.seal(stored(deployment), both, random=os.urandom)
        store = MemoryKeyring(sealed)
        rotation = evolve(deployment.rotation, store=store)
        with pytest.raises(KeyringError, match=r"tokenizer\.seal"):
            rotation.stage(CALL, KeyPurpose.ROOT)
        assert store.read() == sealed
        evolve(rotation, providers=both).stage(CALL, KeyPurpose.ROOT)
        changed = store.read()
        assert changed is not None
        assert [keyrings.unseal(changed, [one]).serial for one in both] == [2, 2]

    def test_a_missing_keyring_is_told(self, deployment: Deployment) -> None:
        with pytest.raises(KeyringError, match="restore it"):
            evolve(deployment.rotation, store=MemoryKeyring()).stage(CALL, KeyPurpose.ROOT)


class TestRunningProcesses:
    @pytest.mark.parametrize("skew", [-60, 0, 60])
    def test_take_it_up_and_read_each_other_throughout(self, deployment: Deployment, clock: Clock, skew: int) -> None:
        clocks = [clock, Clock(clock() + skew)]
        processes = [deployment, another_process(deployment, clock=clocks[1])]
        for purpose in (KeyPurpose.ROOT, KeyPurpose.LOOKUP, KeyPurpose.SESSION):
            deployment.rotation.stage(CALL, purpose)
        session = Session("default", "https://app.example.com", "s")
        for _ in range(30):
            for one in clocks:
                one.advance(10)
            for writer, reader in (processes, processes[::-1]):
                token = put(writer)
                assert not isinstance(find(reader, token), LunaCoreError)
                cookie = SessionCookie(session, START, START + 10_000)
                assert read(write(cookie, writer.keyring, random=os.urandom), reader.keyring, now=START) == cookie
        assert {one.keyring.active_root()[0] for one in processes} == {2}
        assert {one.keyring.tenant_key("default")[0] for one in processes} == {2}

    def test_one_that_starts_in_between_is_let_in(self, deployment: Deployment, clock: Clock) -> None:
        for wait in (0, 1, STAGING_PERIOD, 1, STAGING_PERIOD):
            clock.advance(wait)
            if stored(deployment).serial == 1:
                deployment.rotation.stage(CALL, KeyPurpose.ROOT)
            started = another_process(deployment)
            canary.check(deployment.records, started.keyring.keyring, now=clock(), random=os.urandom)
            assert find(started, put(deployment))
        rewrap(deployment)
        deployment.rotation.retire(CALL, KeyPurpose.ROOT, 1)
        started = another_process(deployment)
        canary.check(deployment.records, started.keyring.keyring, now=clock(), random=os.urandom)
        behind = another_process(deployment, clock=Clock(START))
        canary.check(deployment.records, behind.keyring.keyring, now=START, random=os.urandom)
        assert find(behind, put(started))


class TestTheCanary:
    def canary_root(self, deployment: Deployment) -> int:
        found = deployment.records.get([canary.NAME])[0]
        assert found is not None
        return found.header.root_version

    def test_is_never_put_back_under_an_older_root(self, deployment: Deployment, clock: Clock) -> None:
        """By a process whose clock is behind and whose keyring is newer; the older root may be retired already."""
        rotate(deployment, clock, KeyPurpose.ROOT)
        rewrap(deployment)
        assert self.canary_root(deployment) == 2
        evolve(deployment.rotation, now=Clock(START)).stage(CALL, KeyPurpose.SESSION)
        assert self.canary_root(deployment) == 2
        clock.advance(STAGING_PERIOD)
        deployment.rotation.retire(CALL, KeyPurpose.ROOT, 1)
        canary.check(deployment.records, stored(deployment), now=START, random=os.urandom)

    def test_does_not_hold_up_a_retirement(self, deployment: Deployment, clock: Clock) -> None:
        rotate(deployment, clock, KeyPurpose.ROOT)
        clock.advance(STAGING_PERIOD)
        assert self.canary_root(deployment) == 1
        deployment.rotation.retire(CALL, KeyPurpose.ROOT, 1)
        assert self.canary_root(deployment) == 2

    def test_follows_nobody_back(self, deployment: Deployment) -> None:
        old = stored(deployment)
        deployment.rotation.stage(CALL, KeyPurpose.SESSION)
        before = deployment.records.get([canary.NAME])
        canary.follow(deployment.records, old, now=START, random=os.urandom)
        assert deployment.records.get([canary.NAME]) == before


class TestRetiring:
    def refuse(self, rotation: Rotation, purpose: KeyPurpose, version: int, match: str) -> None:
        before = rotation.store.read()
        with pytest.raises(Conflict, match=match):
            rotation.retire(CALL, purpose, version)
        assert rotation.store.read() == before

    @pytest.mark.parametrize("purpose", ALL[:-1], ids=lambda one: one.name)
    def test_active_and_staged_keys_stay(self, deployment: Deployment, purpose: KeyPurpose) -> None:
        self.refuse(deployment.rotation, purpose, 1, "active one")
        deployment.rotation.stage(CALL, purpose)
        self.refuse(deployment.rotation, purpose, 1, "active one")
        self.refuse(deployment.rotation, purpose, 2, "staged")
        with pytest.raises(UnknownKeyVersion):
            deployment.rotation.retire(CALL, purpose, 3)

    def test_a_root_that_records_need_stays(self, deployment: Deployment, clock: Clock) -> None:
        made = [put(deployment) for _ in range(5)]
        rotate(deployment, clock, KeyPurpose.ROOT)
        clock.advance(STAGING_PERIOD)
        self.refuse(deployment.rotation, KeyPurpose.ROOT, 1, "5 records still need version 1 of the root key")
        assert find(deployment, made[0])
        assert rewrap(deployment) == 5
        deployment.rotation.retire(CALL, KeyPurpose.ROOT, 1)
        assert [key.version for key in stored(deployment).newest_first(KeyPurpose.ROOT)] == [2]
        assert all(find(deployment, token) for token in made)
        assert [one.action for one in events(deployment)][-1] == "keys.retire"

    def test_a_root_that_somebody_may_still_seal_with_stays(self, deployment: Deployment, clock: Clock) -> None:
        """Whose clock is behind, or who has just begun. What that one sealed after the rewrap is found and rewrapped."""
        behind = another_process(deployment, clock=Clock(START))
        rotate(deployment, clock, KeyPurpose.ROOT)
        rewrap(deployment)
        self.refuse(deployment.rotation, KeyPurpose.ROOT, 1, "can be retired in 180 seconds")
        token = put(behind)
        clock.advance(STAGING_PERIOD)
        self.refuse(deployment.rotation, KeyPurpose.ROOT, 1, "1 records")
        rewrap(deployment)
        deployment.rotation.retire(CALL, KeyPurpose.ROOT, 1)
        assert find(deployment, token)

    def test_a_root_that_only_a_later_release_knows_a_use_for_stays(self, deployment: Deployment, clock: Clock) -> None:
        """The store's index says which root a record needs, where its format is unknown."""
        rows: Any = deployment.records
        for version in (1, 2):
            if version > 1:
                rotate(deployment, clock, KeyPurpose.ROOT)
            put(deployment)
            name = next(
                name for name in rows._rows if name != canary.NAME and rows._rows[name].body[4] == FORMAT_VERSION
            )
            row = rows._rows[name]
            rows._rows[name] = evolve(row, body=row.body[:4] + bytes([FORMAT_VERSION + 1]) + row.body[5:])
        rotate(deployment, clock, KeyPurpose.ROOT)
        clock.advance(STAGING_PERIOD)
        self.refuse(deployment.rotation, KeyPurpose.ROOT, 1, "1 records")
        self.refuse(deployment.rotation, KeyPurpose.ROOT, 2, "1 records")
        deployment.records.delete([name for name, row in rows._rows.items() if row.root_version == 2])
        deployment.rotation.retire(CALL, KeyPurpose.ROOT, 2)
        self.refuse(deployment.rotation, KeyPurpose.ROOT, 1, "1 records")

    def test_a_lookup_secret_that_records_lie_under_stays(self, deployment: Deployment, clock: Clock) -> None:
        made = [put(deployment) for _ in range(3)]
        rotate(deployment, clock, KeyPurpose.LOOKUP)
        clock.advance(STAGING_PERIOD)
        for left in (3, 2, 1):
            assert key_use.count(deployment.records).lookups.get(1, 0) == left
            self.refuse(deployment.rotation, KeyPurpose.LOOKUP, 1, f"{left} records still lie under version 1")
            find(deployment, made[left - 1])
        deployment.rotation.retire(CALL, KeyPurpose.LOOKUP, 1)
        clock.advance(STAGING_PERIOD)
        assert all(find(deployment, token) for token in made)

    def test_a_scan_that_fails_retires_nothing(self, deployment: Deployment, clock: Clock) -> None:
        put(deployment)
        rotate(deployment, clock, KeyPurpose.ROOT)
        clock.advance(STAGING_PERIOD)
        rewrap(deployment)
        failing = FailingRecords(deployment.records, FaultPlan(Fault("scan")))
        before = deployment.keyring_store.read()
        with pytest.raises(StoreUnavailable):
            evolve(deployment.rotation, records=failing).retire(CALL, KeyPurpose.ROOT, 1)
        assert deployment.keyring_store.read() == before

    @pytest.mark.parametrize(
        ("purpose", "settings", "lives"),
        [
            (KeyPurpose.SESSION, {"sessions": {"max_ttl": "2h"}, "grants": {"max_ttl": "1h", "default_ttl": 60}}, 7200),
            (KeyPurpose.SESSION, {"sessions": {"max_ttl": "1h"}, "grants": {"max_ttl": "3h"}}, 10_800),
            (KeyPurpose.SESSION, {"sessions": {"max_ttl": 60}, "grants": {"max_ttl": 60, "default_ttl": 60}}, 300),
            (KeyPurpose.GATEWAY, {"tickets": {"upload_ttl": 10, "download_ttl": 500}}, 500),
            (KeyPurpose.GATEWAY, {"tickets": {"upload_ttl": 600, "download_ttl": 10}}, 600),
        ],
        ids=["session", "grant", "state", "download", "upload"],
    )
    def test_what_a_key_has_signed_outlives_it(
        self, clock: Clock, purpose: KeyPurpose, settings: dict[str, Any], lives: int
    ) -> None:
        deployment = open_in_memory(clock, settings)
        rotate(deployment, clock, purpose)
        clock.advance(STAGING_PERIOD + lives + 59)
        self.refuse(deployment.rotation, purpose, 1, "can be retired in 1 seconds")
        clock.advance(1)
        deployment.rotation.retire(CALL, purpose, 1)

    def test_audit_keys_stay(self, deployment: Deployment, clock: Clock) -> None:
        rotate(deployment, clock, KeyPurpose.AUDIT)
        clock.advance(10**9)
        self.refuse(deployment.rotation, KeyPurpose.AUDIT, 1, "audit log is kept")

    def test_the_newest_number_is_never_given_out_twice(self, deployment: Deployment, clock: Clock) -> None:
        for expected in (2, 3, 4):
            assert rotate(deployment, clock, KeyPurpose.ROOT) == expected
            clock.advance(STAGING_PERIOD)
            rewrap(deployment)
            deployment.rotation.retire(CALL, KeyPurpose.ROOT, expected - 1)


def test_a_retired_root_in_hand_opens_nothing_any_more(deployment: Deployment, clock: Clock) -> None:
    """Neither what was rewrapped nor what is new; it opens only what somebody copied before."""
    old = stored(deployment)
    put(deployment)
    copied = [one for one in deployment.records.scan() if one.name != canary.NAME]
    rotate(deployment, clock, KeyPurpose.ROOT)
    clock.advance(STAGING_PERIOD)
    rewrap(deployment)
    deployment.rotation.retire(CALL, KeyPurpose.ROOT, 1)
    put(deployment)
    secret = old.of_version(KeyPurpose.ROOT, 1).secret

    def opens(record: Record) -> bool:
        _, _, sealed = records.split(record.body)
        try:
            keys.unseal(keys.outer_key(secret, record.name), sealed, record.body[: -len(sealed)])
        except LunaCoreError:
            return False
        return True

    assert [opens(one) for one in copied] == [True]
    present = [one for one in deployment.records.scan() if one.name != canary.NAME]
    assert len(present) == 2
    assert not any(opens(one) for one in present)
    with pytest.raises(KeyringError):
        canary.check(deployment.records, old, now=clock(), random=os.urandom)


def test_counting_stops_where_it_is_told_to(deployment: Deployment) -> None:
    for _ in range(4):
        put(deployment)
    seen: list[int] = []
    assert key_use.count(deployment.records, seen=seen.append) == key_use.KeyUse({1: 4}, {1: 4}, 0, is_complete=True)
    assert sum(seen) == 5
    for at_most, complete in ((4, False), (5, True), (6, True)):
        assert key_use.count(deployment.records, at_most=at_most).is_complete is complete
