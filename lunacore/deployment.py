"""A deployment: every part of a tokenizer, opened as the configuration says. The one place for wiring.

What is not named lies under the data directory (the embedded default): SQLite records and grants, objects as files, a keyring
with its key file, an audit log. On the first start the embedded keyring is made; one that is named is never made unasked.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from lunacore import canary
from lunacore import keyring as keyrings
from lunacore.audit import ALLOWED, Action, AuditEvent
from lunacore.erasure import Eraser
from lunacore.errors import Conflict, KeyringError, StoreUnavailable
from lunacore.grants import GrantLimits, Grants
from lunacore.identity import OPERATOR_ISSUER, Role
from lunacore.keyring_source import KeyringSource
from lunacore.limits import RateLimit
from lunacore.lookup import Lookup
from lunacore.plugins import Surroundings, open_backend
from lunacore.tokenizer import Policy, Tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Any

    from lunacore.config import Config
    from lunacore.gateway_keys import GatewayKeys
    from lunacore.stores import AuditSink, ExpiringStore, KeyProvider, KeyringStore, ObjectStore, RecordStore

DEFAULT_TENANT: Final = "default"

_EPHEMERAL: Final = "memory:"


@frozen
class Deployment:
    """The opened parts; close it when done. Safe to use from several threads, and beside other processes on the same stores."""

    config: Config
    records: RecordStore
    grants: ExpiringStore
    objects: ObjectStore
    audit: AuditSink
    keyring_store: KeyringStore
    key_providers: Sequence[KeyProvider]
    keyring: KeyringSource
    tokenizer: Tokenizer
    now: Callable[[], float] = field(repr=False)
    random: Callable[[int], bytes] = field(repr=False)

    def close(self) -> None:
        """Close every part that has something to close."""
        for part in (self.objects, self.grants, self.keyring_store, self.records, self.audit):
            _close(part)


def open_deployment(
    config: Config,
    *,
    now: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = os.urandom,
) -> Deployment:
    """Open every part that ``config`` names.

    Raises:
        ConfigError: a setting is wrong; the message names it.
        KeyringError: the keyring is missing, does not open, or is not that of the record store.
        StoreUnavailable: a store cannot be reached.
    """
    opening = Opening(config, now, random)
    with ExitStack() as undo:
        records = opening.records()
        undo.callback(_close, records)
        grants = opening.grants()
        undo.callback(_close, grants)
        keyring_store = opening.keyring_store(records)
        undo.callback(_close, keyring_store)
        providers = opening.keyring_in(keyring_store, records)
        source = KeyringSource(keyring_store, providers, now=now)
        canary.check(records, source.keyring, now=now(), random=random)
        objects = opening.objects(source)
        undo.callback(_close, objects)
        audit = opening.audit()
        undo.pop_all()
    lookup = Lookup(records, source, random)
    tokenizer = Tokenizer(
        lookup=lookup,
        grants=Grants(grants, source, _grant_limits(config), random=random),
        objects=objects,
        eraser=Eraser(lookup, objects, now, config.sweep.unverified_after),
        keyring=source,
        audit=audit,
        reads=_read_limits(config, grants, source),
        policy=_policy(config),
        now=now,
        random=random,
    )
    return Deployment(
        config=config,
        records=records,
        grants=grants,
        objects=objects,
        audit=audit,
        keyring_store=keyring_store,
        key_providers=providers,
        keyring=source,
        tokenizer=tokenizer,
        now=now,
        random=random,
    )


def init_keyring(
    config: Config,
    *,
    now: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = os.urandom,
) -> keyrings.Keyring:
    """Make the keyring where ``config`` says; the embedded key file too, or a named one with ``?create=missing``.

    Raises:
        KeyringError: there is a keyring already, or the record store was used with one; nothing is changed then.
    """
    opening = Opening(config, now, random)
    with ExitStack() as undo:
        records = opening.records()
        undo.callback(_close, records)
        if not canary.is_new(records):
            raise KeyringError(
                "the record store was used with a keyring before; restore that one, since a new one could open nothing"
            )
        store = opening.keyring_store(records)
        undo.callback(_close, store)
        if store.read() is not None:
            raise KeyringError("there is a keyring already where tokenizer.keyring says; it stays as it is")
        created = opening.create_keyring(store, opening.key_providers(create=True))
        audit = opening.audit()
        undo.callback(_close, audit)
        audit.write([_init_event(created, now())])
        return created


@frozen
class Opening:
    """Opens parts one by one; a setting that is empty means the embedded default.

    For programs that need only some of the parts; the others use ``open_deployment``.
    """

    config: Config
    now: Callable[[], float]
    random: Callable[[int], bytes]

    def records(self) -> RecordStore:
        store: RecordStore = self._open("records", self.config.tokenizer.records, "sqlite", "records.sqlite")
        return store

    def grants(self) -> ExpiringStore:
        store: ExpiringStore = self._open("grants", self.config.tokenizer.grants, "sqlite", "grants.sqlite")
        return store

    def objects(self, gateway_keys: GatewayKeys) -> ObjectStore:
        store: ObjectStore = self._open(
            "objects",
            self.config.tokenizer.objects,
            "file",
            "objects",
            gateway_url=self.config.gateway_url,
            gateway_keys=gateway_keys,
        )
        return store

    def audit(self) -> AuditSink:
        sink: AuditSink = self._open("audit", self.config.tokenizer.audit, "file", "audit/audit.jsonl")
        return sink

    def keyring_in(self, store: KeyringStore, records: RecordStore) -> Sequence[KeyProvider]:
        """What seals the keyring; an embedded keyring is made in ``store`` if nothing was ever kept here."""
        if store.read() is not None:
            return self.key_providers(create=False)
        is_new = canary.is_new(records)
        # Read once more: another process may have made keyring and canary since the first look.
        if not is_new and store.read() is None:
            raise KeyringError(
                "the keyring is not where tokenizer.keyring says, and the record store was used with one: restore it from its "
                "backup, since a new one could open nothing"
            )
        if not is_new or not self._makes_keyring():
            return self.key_providers(create=False)
        providers = self.key_providers(create=True)
        with suppress(Conflict):  # another process was first; its keyring is as good
            self.create_keyring(store, providers)
        return providers

    def keyring_store(self, records: RecordStore) -> KeyringStore:
        store: KeyringStore = self._open("keyring", self.config.tokenizer.keyring, "file", "keyring", records=records)
        return store

    def key_providers(self, *, create: bool) -> Sequence[KeyProvider]:
        """What opens the keyring; with ``create``, an embedded key file that is missing is made."""
        url = self.config.tokenizer.seal
        if not url:
            url = self._embedded("file", "seal.key") + ("?create=missing" if create else "")
        provider: KeyProvider = self._open("seal", url, "", "")
        return [provider]

    def create_keyring(self, store: KeyringStore, providers: Sequence[KeyProvider]) -> keyrings.Keyring:
        """Make a new keyring.

        Raises:
            Conflict: another process made one in the meantime.
        """
        created = keyrings.create(now=int(self.now()), random=self.random)
        if not store.replace(None, keyrings.seal(created, providers, random=self.random)):
            raise Conflict("a keyring was made in the meantime; it stays as it is")
        return created

    def _makes_keyring(self) -> bool:
        keyring = self.config.tokenizer.keyring
        return not keyring or keyring.startswith(_EPHEMERAL)

    def _open(self, kind: str, url: str, scheme: str, name: str, **surroundings: Any) -> Any:  # noqa: ANN401 - the kind decides
        around = Surroundings(setting=f"tokenizer.{kind}", now=self.now, random=self.random, **surroundings)
        return open_backend(kind, url or self._embedded(scheme, name), around)

    def _embedded(self, scheme: str, name: str) -> str:
        directory = self.config.data_dir
        _make_data_dir(directory)
        return f"{scheme}://{_quoted(directory / name)}"


def _close(part: object) -> None:
    close = getattr(part, "close", None)
    if close is not None:
        close()


def _make_data_dir(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise StoreUnavailable(f"tokenizer.data_dir {directory} cannot be made: {problem.strerror}") from None


def _quoted(path: Path) -> str:
    return path.as_uri().removeprefix("file://")


def _grant_limits(config: Config) -> GrantLimits:
    return GrantLimits(
        default_ttl=config.grants.default_ttl,
        max_ttl=config.grants.max_ttl,
        max_session_ttl=config.sessions.max_ttl,
    )


def _read_limits(config: Config, grants: ExpiringStore, source: KeyringSource) -> dict[Role, RateLimit]:
    def key() -> bytes:
        return source.session_keys()[0].grant

    return {
        Role.USER: RateLimit(grants, config.limits.session_reads, key=key, setting="limits.session_reads"),
        Role.APPLICATION: RateLimit(
            grants, config.limits.application_reads, key=key, setting="limits.application_reads"
        ),
    }


def _policy(config: Config) -> Policy:
    return Policy(
        upload_ttl=config.tickets.upload_ttl,
        download_ttl=config.tickets.download_ttl,
        unverified_ttl=config.sweep.unverified_after,
        never_uploaded_ttl=config.sweep.never_uploaded_after,
        max_value_size=config.tickets.max_value_size,
    )


def _init_event(created: keyrings.Keyring, now: float) -> AuditEvent:
    return AuditEvent(
        time=now,
        action=Action.KEYS_INIT,
        outcome=ALLOWED,
        tenant=DEFAULT_TENANT,
        role=Role.OPERATOR,
        issuer=OPERATOR_ISSUER,
        detail={"keyring": created.id.hex()},
    )
