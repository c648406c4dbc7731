"""Deployments for tests: everything in memory, a clock that is moved by hand, and further processes on the same stores.

A *process* here is a second set of everything that a process keeps to itself (its keyring, its clock, its caches) over the very
stores of the first, so that what several processes do to each other can be shown step by step in one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from attrs import define, evolve

from lunacore import keyring as keyrings
from lunacore.background_rekeying import BackgroundRekeying
from lunacore.config import Config
from lunacore.deployment import Deployment, open_deployment
from lunacore.erasure import Eraser
from lunacore.grants import Grants
from lunacore.identity import Call, Identity, Role, Session
from lunacore.keyring_source import KeyringSource
from lunacore.lookup import Lookup
from lunacore.testing.faults import FailingRecords, FailingTransfer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lunacore.keyring import KeyPurpose
    from lunacore.stores import AuditSink, ExpiringStore, ObjectStore, RecordStore
    from lunacore.testing.faults import FaultPlan

ISSUER: Final = "https://app.example.com"
START: Final = 1_800_000_000
_IN_MEMORY: Final = {
    "public_url": "https://secure.example.com",
    "records": "memory://",
    "grants": "memory://",
    "objects": "memory://",
    "keyring": "memory://",
    "seal": "memory:",
    "audit": "memory://",
}


@define
class Clock:
    """Unix seconds that pass when told to."""

    seconds: float = START

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


def open_in_memory(clock: Callable[[], float], settings: Mapping[str, Mapping[str, Any]] | None = None) -> Deployment:
    """A deployment that touches no disk; ``settings`` are sections as a TOML file would have them."""
    settings = settings or {}
    tokenizer = {**_IN_MEMORY, **settings.get("tokenizer", {})}
    return open_deployment(Config.from_mapping({**settings, "tokenizer": tokenizer}, environ={}), now=clock)


def another_process(
    first: Deployment,
    *,
    clock: Callable[[], float] | None = None,
    records: RecordStore | None = None,
    grants: ExpiringStore | None = None,
    objects: ObjectStore | None = None,
    audit: AuditSink | None = None,
) -> Deployment:
    """Another process on the stores of ``first``, or on what is given in their place, such as wrappers that fail."""
    clock = clock or first.now
    records, grants = records or first.records, grants or first.grants
    objects, audit = objects or first.objects, audit or first.audit
    source = KeyringSource(
        first.keyring_store, first.key_providers, now=clock, reload_period=first.keyring.reload_period
    )
    lookup = Lookup(records, source, first.random)
    rekeyer = evolve(first.tokenizer.rekeyer, lookup=lookup, objects=objects, now=clock)
    after = first.config.rekey.after
    tokenizer = evolve(
        first.tokenizer,
        lookup=lookup,
        grants=Grants(grants, source, first.tokenizer.grants.limits, random=first.random),
        objects=objects,
        eraser=Eraser(lookup, objects, clock, first.tokenizer.eraser.unverified_ttl),
        keyring=source,
        audit=audit,
        rekeyer=rekeyer,
        rekeying=BackgroundRekeying(rekeyer, audit, after) if after else None,
        now=clock,
    )
    return evolve(
        first,
        records=records,
        grants=grants,
        objects=objects,
        audit=audit,
        keyring=source,
        tokenizer=tokenizer,
        now=clock,
    )


def failing_process(first: Deployment, plan: FaultPlan) -> Deployment:
    """Another process, which the plan's faults befall at its calls of records and objects, counted together."""
    records, objects = FailingRecords(first.records, plan), FailingTransfer(first.objects, plan)
    return another_process(first, records=records, objects=objects)


def stage_key(deployment: Deployment, purpose: KeyPurpose, *, active_from: int | None = None) -> int:
    """Add a key to the stored keyring, as an operator's command does, and return its version; processes must reload to see it.

    It becomes active at the Unix second ``active_from``, the usual time from now where None.
    """
    store, providers = deployment.keyring_store, deployment.key_providers
    sealed = store.read()
    assert sealed is not None
    moment = int(deployment.now()) + deployment.keyring.staging_period if active_from is None else active_from
    staged = keyrings.unseal(sealed, providers).stage(purpose, active_from=moment, random=os.urandom)
    assert store.replace(sealed, keyrings.seal(staged, providers, random=os.urandom))
    return staged.newest_first(purpose)[0].version


def user(session_id: str, *, tenant: str = "default", issuer: str = ISSUER, expires: int | None = None) -> Call:
    """A call by a user with a session."""
    session = Session(tenant, issuer, session_id)
    return Call(Identity(tenant, issuer, Role.USER, session, expires))


def application(
    *, tenant: str = "default", issuer: str = ISSUER, may_read: bool = False, expires: int | None = None
) -> Call:
    """A call by an application."""
    return Call(Identity(tenant, issuer, Role.APPLICATION, expires=expires, may_read=may_read))
