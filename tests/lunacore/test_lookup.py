"""Lookup: records under older lookup secrets are found and moved, whoever races for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from lunacore import tokens
from lunacore.errors import IntegrityError, LunaCoreError, StoreUnavailable, TokenNotFound
from lunacore.identity import Call, operator
from lunacore.keyring import KeyPurpose
from lunacore.keyring_source import RELOAD_PERIOD, STAGING_PERIOD
from lunacore.outcomes import only
from lunacore.records import Record, RecordState
from lunacore.testing.deployment import START, Clock, another_process, open_in_memory, stage_key
from lunacore.testing.faults import FailingRecords, Fault, FaultPlan
from lunacore.tickets import Access, NewValue
from lunacore_backends.keyring_files import MemoryKeyring

if TYPE_CHECKING:
    from lunacore.deployment import Deployment
    from lunacore.lookup import Found
    from lunacore.outcomes import Outcome

CALL = Call(operator("default"))


def issue(deployment: Deployment, **given: object) -> Access:
    return only(deployment.tokenizer.issue(CALL, [NewValue(**given)]))  # type: ignore[arg-type]


def find_all(deployment: Deployment, *texts: str) -> list[Outcome[Found]]:
    lookup = deployment.tokenizer.lookup
    return lookup.find([lookup.present("default", tokens.parse(text)) for text in texts])


def find(deployment: Deployment, text: str) -> Found:
    return only(find_all(deployment, text))


def names(deployment: Deployment) -> set[bytes]:
    return {record.name for record in deployment.records.scan() if record.header.record_type == 1}


def name_of(deployment: Deployment, text: str, version: int) -> bytes:
    return deployment.tokenizer.lookup.present("default", tokens.parse(text), version).keys.record_name


@pytest.fixture
def rotated(deployment: Deployment, clock: Clock) -> tuple[Deployment, Access]:
    """A deployment whose one token lies under the lookup secret before the active one."""
    access = issue(deployment, labels=("person:17", "order:3"))
    stage_key(deployment, KeyPurpose.LOOKUP)
    clock.advance(STAGING_PERIOD)
    return deployment, access


def test_a_record_is_moved_when_its_token_is_presented(rotated: tuple[Deployment, Access]) -> None:
    deployment, access = rotated
    assert names(deployment) == {name_of(deployment, access.token, 1)}
    found = find(deployment, access.token)
    assert names(deployment) == {name_of(deployment, access.token, 2)}
    assert found.token.lookup_version == found.opened.header.lookup_version == 2
    assert found.opened.header.revision == 2
    contents = found.contents()
    assert (contents.store_key, contents.value_key) == (access.store_key, access.value_key)
    assert find(deployment, access.token).opened.record == found.opened.record


def test_labels_are_hashed_anew(rotated: tuple[Deployment, Access]) -> None:
    deployment, access = rotated
    find(deployment, access.token)
    for version, expected in ((1, 0), (2, 1)):
        label = deployment.keyring.label_hash("default", "person:17", version)
        assert len(deployment.records.scan(label=label)) == expected


def test_a_token_that_comes_twice_in_a_batch_is_found_twice(rotated: tuple[Deployment, Access]) -> None:
    deployment, access = rotated
    found = find_all(deployment, access.token, access.token)
    assert not any(isinstance(one, LunaCoreError) for one in found)


def test_one_that_is_nowhere_is_not_found(rotated: tuple[Deployment, Access]) -> None:
    deployment, access = rotated
    unknown = tokens.mint(deployment.random)
    missing, found = find_all(deployment, unknown, access.token)
    assert isinstance(missing, TokenNotFound)
    assert not isinstance(found, LunaCoreError)


def test_no_second_look_while_there_is_one_lookup_secret(deployment: Deployment) -> None:
    plan = FaultPlan()
    process = another_process(deployment, records=FailingRecords(deployment.records, plan))
    assert isinstance(find_all(process, tokens.mint(deployment.random))[0], TokenNotFound)
    assert plan.calls == ["get"]


def test_another_process_moves_it_between_two_looks(rotated: tuple[Deployment, Access]) -> None:
    deployment, access = rotated
    plan = FaultPlan(Fault("get", nth=1, when="after", action=lambda: _ignore(find(deployment, access.token))))
    process = another_process(deployment, records=FailingRecords(deployment.records, plan))
    assert find(process, access.token).contents().store_key == access.store_key


def test_another_process_moves_it_just_before(rotated: tuple[Deployment, Access]) -> None:
    deployment, access = rotated
    plan = FaultPlan(Fault("replace", action=lambda: _ignore(find(deployment, access.token))))
    process = another_process(deployment, records=FailingRecords(deployment.records, plan))
    assert find(process, access.token).contents().store_key == access.store_key


def test_another_process_erases_it_just_before(rotated: tuple[Deployment, Access]) -> None:
    deployment, access = rotated
    plan = FaultPlan(Fault("replace", action=lambda: _ignore(deployment.tokenizer.delete(CALL, [access.token]))))
    process = another_process(deployment, records=FailingRecords(deployment.records, plan))
    assert isinstance(find_all(process, access.token)[0], StoreUnavailable | TokenNotFound)
    assert isinstance(find_all(process, access.token)[0], TokenNotFound)
    assert names(deployment) == set()


def test_racing_movers_all_find_it() -> None:
    for _ in range(20):
        clock = Clock()
        deployment = open_in_memory(clock)
        access = issue(deployment)
        stage_key(deployment, KeyPurpose.LOOKUP)
        clock.advance(STAGING_PERIOD)
        processes = [another_process(deployment) for _ in range(6)]
        barrier = Barrier(len(processes))

        def work(process: Deployment, text: str = access.token, barrier: Barrier = barrier) -> bytes:
            barrier.wait()
            return find(process, text).contents().store_key

        with ThreadPoolExecutor(len(processes)) as pool:
            assert set(pool.map(work, processes)) == {access.store_key}
        assert names(deployment) == {name_of(deployment, access.token, 2)}


def test_a_version_that_is_staged_here_and_active_elsewhere(deployment: Deployment) -> None:
    access = issue(deployment)
    stage_key(deployment, KeyPurpose.LOOKUP, active_from=START + 10)
    ahead = another_process(deployment, clock=Clock(START + 10))
    deployment.keyring.refresh()
    assert find(ahead, access.token).token.lookup_version == 2
    moved = names(deployment)
    assert find(deployment, access.token).token.lookup_version == 2
    assert names(deployment) == moved == {name_of(deployment, access.token, 2)}
    assert find(deployment, access.token).contents().store_key == access.store_key


def test_deleting_what_another_process_is_moving_deletes_it(deployment: Deployment) -> None:
    access = issue(deployment)
    stage_key(deployment, KeyPurpose.LOOKUP, active_from=START + 10)
    ahead = another_process(deployment, clock=Clock(START + 10))
    plan = FaultPlan(Fault("replace", action=lambda: _ignore(find(ahead, access.token))))
    behind = another_process(deployment, records=FailingRecords(deployment.records, plan))
    assert behind.tokenizer.delete(CALL, [access.token]) == [None]
    assert names(deployment) == set()
    assert isinstance(find_all(ahead, access.token)[0], TokenNotFound)


def test_three_lookup_secrets(deployment: Deployment, clock: Clock) -> None:
    accesses = []
    for _ in range(3):
        accesses.append(issue(deployment))
        stage_key(deployment, KeyPurpose.LOOKUP)
        clock.advance(STAGING_PERIOD)
    for access in accesses:
        assert find(deployment, access.token).token.lookup_version == 4


def test_a_record_under_anothers_name_is_refused(deployment: Deployment) -> None:
    mine, other = issue(deployment), issue(deployment)
    stored = deployment.records.get([name_of(deployment, text, 1) for text in (mine.token, other.token)])
    assert stored[0] is not None
    assert stored[1] is not None
    assert deployment.records.replace(stored[0], Record(stored[0].name, stored[1].body))
    assert isinstance(find_all(deployment, mine.token)[0], IntegrityError)


def test_a_damaged_record_leaves_the_others_whole(deployment: Deployment) -> None:
    mine, other = issue(deployment), issue(deployment)
    stored = deployment.records.get([name_of(deployment, mine.token, 1)])[0]
    assert stored is not None
    deployment.records.replace(stored, Record(stored.name, stored.body[:-1] + bytes([stored.body[-1] ^ 1])))
    damaged, found = find_all(deployment, mine.token, other.token)
    assert isinstance(damaged, IntegrityError)
    assert not isinstance(found, LunaCoreError)


def test_a_root_key_that_is_missing_is_no_damage(deployment: Deployment, clock: Clock) -> None:
    access = issue(deployment)
    restored = evolve(deployment, keyring_store=MemoryKeyring(deployment.keyring_store.read()))
    behind, lost = another_process(deployment), another_process(restored)
    stage_key(deployment, KeyPurpose.ROOT, active_from=START)
    clock.advance(RELOAD_PERIOD)
    found = find(deployment, access.token)
    assert deployment.tokenizer.lookup.change(found.opened, found.fields, state=RecordState.STORED, due=0)
    assert find(behind, access.token).opened.header.root_version == 2
    untouched = issue(lost)
    refused, other = find_all(lost, access.token, untouched.token)
    assert isinstance(refused, StoreUnavailable)
    assert "restore the newest keyring" in refused.message
    assert not isinstance(other, LunaCoreError)


def _ignore(_: object) -> None:
    """For actions that must return nothing."""
