"""Random histories of rotation against a dict: whatever is staged, rewrapped, moved, swept and retired, every value is there.

Two processes work on one record store, one of them with a clock that is behind by as much as staging allows for. The model is a
dict of tokens; what it must know of keys is only which are there.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from lunacore import canary, key_use, tokens
from lunacore import keyring as keyrings
from lunacore.errors import Conflict, LunaCoreError, TokenNotFound
from lunacore.identity import Call, operator
from lunacore.keyring import KeyPurpose
from lunacore.keyring_source import RELOAD_PERIOD, STAGING_PERIOD
from lunacore.outcomes import attempt, only
from lunacore.rewrapping import Rewrapper, Throttle
from lunacore.testing.deployment import START, Clock, another_process, open_in_memory
from lunacore.tickets import NewValue
from tests.servers.s3_server import url as s3_url
from tests.servers.s3_stores import new_prefix

if TYPE_CHECKING:
    from lunacore.testing.database_servers import PostgreSQLServer
    from lunacore.tickets import Access
    from tests.servers.s3_server import S3Server

CALL = Call(operator("default"))
SKEW = RELOAD_PERIOD
UNVERIFIED = 3000
MOVING = [KeyPurpose.ROOT, KeyPurpose.LOOKUP]

processes = st.integers(0, 1)


@define
class Value:
    """What the model knows of a token: its keys, which must never change, and when it is swept."""

    store_key: bytes
    due: int
    expires: int | None


class RotationMachine(RuleBasedStateMachine):
    tokens: Any = Bundle("tokens")

    def records_url(self, folder: Path) -> str:
        return "memory://"

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()

    @initialize()
    def open(self) -> None:
        folder = Path(self.stack.enter_context(TemporaryDirectory()))
        self.clock = Clock(START)
        settings: dict[str, dict[str, Any]] = {
            "tokenizer": {"records": self.records_url(folder)},
            "sweep": {"unverified_after": UNVERIFIED, "never_uploaded_after": UNVERIFIED},
        }
        first = open_in_memory(self.clock, settings)
        self.stack.callback(first.close)
        self.clock.advance(1 + SKEW)
        behind = Clock(START + 1)
        self.clocks = [self.clock, behind]
        self.processes = [first, another_process(first, clock=behind)]
        self.model: dict[str, Value] = {}
        self.retired: set[tuple[KeyPurpose, int]] = set()
        self.renames = first.records.renames

    def teardown(self) -> None:
        self.stack.close()

    @property
    def now(self) -> int:
        return int(self.clock())

    def keyring(self) -> keyrings.Keyring:
        sealed = self.processes[0].keyring_store.read()
        assert sealed is not None
        return keyrings.unseal(sealed, self.processes[0].key_providers)

    def find(self, process: int, text: str) -> Any:
        lookup = self.processes[process].tokenizer.lookup
        return lookup.find([lookup.present("default", tokens.parse(text))])[0]

    def rewrapper(self, process: int, batch: int) -> Rewrapper:
        one = self.processes[process]
        throttle = Throttle(0, one.now, lambda _seconds: None)
        return Rewrapper(one.tokenizer.lookup, one.audit, throttle, one.now, one.random, batch=batch)

    @rule(target=tokens, process=processes, count=st.integers(1, 3), ttl=st.none() | st.sampled_from([100, 5000]))
    def put(self, process: int, count: int, ttl: int | None) -> Any:
        made: list[Access] = [
            only([one])
            for one in self.processes[process].tokenizer.issue(CALL, [NewValue(ttl=ttl, labels=("a",))] * count)
        ]
        minted = int(self.clocks[process]())
        for one in made:
            expires = None if ttl is None else minted + ttl
            due = minted + UNVERIFIED if expires is None else min(expires, minted + UNVERIFIED)
            self.model[one.token] = Value(one.store_key, due, expires)
        return multiple(*[str(one.token) for one in made])

    @rule(process=processes, token=consumes(tokens))
    def delete(self, process: int, token: str) -> None:
        assert self.processes[process].tokenizer.delete(CALL, [token]) == [None]
        self.model.pop(token, None)

    @rule(process=processes)
    def sweep(self, process: int) -> None:
        eraser = self.processes[process].tokenizer.eraser
        now = int(self.clocks[process]())
        for record in list(eraser.due(now)):
            assert not eraser.sweep(record).problem
        self.model = {token: value for token, value in self.model.items() if value.due > now}

    @rule(process=processes, purpose=st.sampled_from(MOVING))
    def rotate(self, process: int, purpose: KeyPurpose) -> None:
        rotation = self.processes[process].rotation
        before = self.keyring()
        if (purpose is KeyPurpose.LOOKUP and not self.renames) or rotation.staged(before, purpose):
            assert isinstance(attempt(rotation.stage, CALL, purpose), Conflict)
            assert self.keyring() == before
        else:
            key = rotation.stage(CALL, purpose)
            assert (purpose, key.version) not in self.retired
            assert key.version == before.newest_first(purpose)[0].version + 1
            assert key.active_from > self.clocks[process]() + STAGING_PERIOD

    @rule(seconds=st.sampled_from([1, RELOAD_PERIOD, STAGING_PERIOD + 1, 2 * STAGING_PERIOD + SKEW + 1, 1500]))
    def advance(self, seconds: int) -> None:
        # Whoever serves looks at the keyring in time.
        while seconds > 0:
            step = min(seconds, RELOAD_PERIOD)
            for clock in self.clocks:
                clock.advance(step)
            for process in self.processes:
                _ = process.keyring.keyring
            seconds -= step

    @rule(process=processes, batch=st.integers(1, 5))
    def rewrap(self, process: int, batch: int) -> None:
        report = self.rewrapper(process, batch).rewrap(CALL)
        assert (report.changed, report.left) == (0, {})
        active = self.processes[process].keyring.active_root()[0]
        assert all(one.header.root_version >= active for one in self.processes[process].records.scan())

    @rule(process=processes, batch=st.integers(1, 3), killed_after=st.integers(0, 3))
    def rewrap_and_be_killed(self, process: int, batch: int, killed_after: int) -> None:
        for count, _ in enumerate(self.rewrapper(process, batch).one_pass()):
            if count >= killed_after:
                break

    @rule(process=processes, token=tokens)
    def present(self, process: int, token: str) -> None:
        found = self.find(process, token)
        if token in self.model and not self.is_over(token):
            assert found.contents().store_key == self.model[token].store_key

    @rule(purpose=st.sampled_from(MOVING), version=st.integers(1, 6))
    def retire(self, purpose: KeyPurpose, version: int) -> None:
        first = self.processes[0]
        before = self.keyring()
        needed = sum(self.needs(one, purpose, version) for one in first.records.scan() if one.name != canary.NAME)
        outcome = attempt(first.rotation.retire, CALL, purpose, version)
        if isinstance(outcome, LunaCoreError):
            assert self.keyring() == before
            return
        assert not needed
        assert version < before.active(purpose, self.now).version
        assert version < before.active(purpose, self.now - SKEW).version
        self.retired.add((purpose, version))

    @rule(purpose=st.sampled_from(MOVING))
    def retire_the_oldest_as_told(self, purpose: KeyPurpose) -> None:
        """Follow the guide to the end: then it must be possible."""
        if purpose is KeyPurpose.LOOKUP and not self.renames:
            return
        first = self.processes[0]
        oldest = self.keyring().newest_first(purpose)[-1]
        if oldest == self.keyring().active(purpose, self.now):
            return
        until = first.rotation.retirable_from(self.keyring(), purpose, oldest.version)
        self.advance(max(until - self.now, 0))
        if purpose is KeyPurpose.ROOT:
            self.rewrap(0, 2)
        else:
            self.sweep(0)
            for token in self.model:
                self.present(0, token)
        first.rotation.retire(CALL, purpose, oldest.version)
        self.retired.add((purpose, oldest.version))

    @rule(process=processes)
    def start_anew(self, process: int) -> None:
        """A process ends and another starts: the canary lets it in."""
        started = another_process(self.processes[process])
        canary.check(started.records, started.keyring.keyring, now=started.now(), random=os.urandom)
        self.processes[process] = started

    @rule()
    def count(self) -> None:
        first = self.processes[0]
        use = key_use.count(first.records)
        headers = [one.header for one in first.records.scan() if one.name != canary.NAME]
        assert sum(use.roots.values()) == sum(use.lookups.values()) == len(headers)
        held = {(key.purpose, key.version) for key in self.keyring().keys}
        assert {(KeyPurpose.ROOT, version) for version in use.roots} <= held
        assert {(KeyPurpose.LOOKUP, version) for version in use.lookups} <= held

    @invariant()
    def every_value_is_there_and_nothing_else(self) -> None:
        if not hasattr(self, "model"):
            return
        # Only some are asked for: each look moves the record, and histories where none is looked at must come about too.
        for text, value in list(self.model.items())[: len(self.model) % 3]:
            if self.is_over(text):
                continue
            found = self.find(len(self.model) % 2, text)
            assert not isinstance(found, LunaCoreError)
            assert found.contents().store_key == value.store_key
        assert isinstance(self.find(0, "lunasec-00000000-0000-4000-8000-000000000000"), TokenNotFound)

    @invariant()
    def no_record_lies_under_a_key_that_was_retired(self) -> None:
        if not hasattr(self, "model"):
            return
        for record in self.processes[0].records.scan():
            header = record.header
            assert (KeyPurpose.ROOT, header.root_version) not in self.retired
            assert (KeyPurpose.LOOKUP, header.lookup_version) not in self.retired

    def is_over(self, token: str) -> bool:
        expires = self.model[token].expires
        return expires is not None and expires <= self.now

    def needs(self, record: Any, purpose: KeyPurpose, version: int) -> bool:
        header = record.header
        return bool(version == (header.root_version if purpose is KeyPurpose.ROOT else header.lookup_version))


class OnSQLite(RotationMachine):
    def records_url(self, folder: Path) -> str:
        return f"sqlite://{folder}/records.sqlite"


@pytest.mark.parametrize(("machine", "examples"), [(RotationMachine, 25), (OnSQLite, 10)])
def test_any_history(machine: type[RotationMachine], examples: int) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=30))


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("machine", [RotationMachine, OnSQLite])
def test_any_history_at_length(machine: type[RotationMachine]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=100, stateful_step_count=80))


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.servers
@pytest.mark.xdist_group("postgresql")
def test_any_history_on_postgresql(postgresql: PostgreSQLServer) -> None:
    class OnPostgreSQL(RotationMachine):
        def records_url(self, folder: Path) -> str:
            return postgresql.url(schema=f"rotation_{os.urandom(6).hex()}", partitions="0")

    run_state_machine_as_test(OnPostgreSQL, settings=settings(max_examples=15, stateful_step_count=40))


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.servers
@pytest.mark.xdist_group("seaweedfs")
@pytest.mark.usefixtures("s3_credentials")
def test_any_history_on_s3(seaweedfs: S3Server) -> None:
    """Where the lookup secret cannot be rotated."""

    class OnS3(RotationMachine):
        def records_url(self, folder: Path) -> str:
            return s3_url(seaweedfs, "plain", new_prefix())

    run_state_machine_as_test(OnS3, settings=settings(max_examples=10, stateful_step_count=30))
