"""A deployment: every part of a tokenizer, opened as the configuration says. The one place for wiring.

What is not named lies under the data directory (the embedded default): SQLite records and grants, objects as files, a keyring
with its key file, an audit log. On the first start the embedded keyring is made; one that is named is never made unasked.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from lunacore import audit_processes, canary
from lunacore import keyring as keyrings
from lunacore.audit import Action, AuditEvent
from lunacore.audit_log import AuditLog, CheckpointPolicy
from lunacore.audit_registry import ChainRegistry
from lunacore.background_rekeying import BackgroundRekeying
from lunacore.custody import Custody
from lunacore.erasure import Eraser
from lunacore.errors import Conflict, KeyringError, StoreUnavailable
from lunacore.grants import GrantLimits, Grants
from lunacore.identity import Call, Role, operator
from lunacore.keyring import KeyPurpose
from lunacore.keyring_source import KeyringSource
from lunacore.limits import RateLimit
from lunacore.lookup import Lookup
from lunacore.notifications import Channel, NotifyingAudit
from lunacore.plugins import BackendURL, Surroundings, open_backend
from lunacore.recipients import Together, Unusable, apart
from lunacore.rekeying import Rekeyer
from lunacore.rotation import Lifetimes, Rotation
from lunacore.session_states import STATE_TTL
from lunacore.signing import signer
from lunacore.tokenizer import Policy, Tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from lunacore.config import Config, NotifySettings
    from lunacore.gateway_keys import GatewayKeys
    from lunacore.notifications import Receiver
    from lunacore.signing import AuditSigner
    from lunacore.stores import AuditSink, ExpiringStore, KeyProvider, KeyringStore, LineSink, ObjectStore, RecordStore

DEFAULT_TENANT: Final = "default"

_EPHEMERAL: Final = "memory:"
_SLACK: Final = 60  # seconds by which marks outlive what they void, and clocks of gateways may differ


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

    @property
    def rotation(self) -> Rotation:
        """What adds keys to the keyring and takes them out."""
        config = self.config
        marks = max(config.sessions.max_ttl, config.grants.max_ttl, STATE_TTL)
        tickets = max(config.tickets.upload_ttl, config.tickets.download_ttl)
        return Rotation(
            store=self.keyring_store,
            providers=self.key_providers,
            records=self.records,
            audit=self.audit,
            staging_period=self.keyring.staging_period,
            lifetimes=Lifetimes(session=marks + _SLACK, gateway=tickets + _SLACK),
            now=self.now,
            random=self.random,
        )

    def close(self) -> None:
        """Close every part that has something to close."""
        _close(self.tokenizer.rekeying)
        # The audit log first: its last checkpoint is kept in the record store.
        for part in (self.audit, self.objects, self.grants, self.keyring_store, self.records):
            _close(part)
        close_key_providers(self.key_providers)


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
        undo.callback(close_key_providers, providers)
        source = KeyringSource(keyring_store, providers, now=now, reload_period=config.keys.reload_period)
        _tie(records, source, now, random)
        objects = opening.objects(source)
        undo.callback(_close, objects)
        audit = opening.audit_log(records, source.keyring.id, source.audit_signer)
        undo.pop_all()
    lookup = Lookup(records, source, random)
    rekeyer = Rekeyer(lookup, objects, config.tickets.download_ttl, now, random)
    after = config.rekey.after
    tokenizer = Tokenizer(
        lookup=lookup,
        grants=Grants(grants, source, _grant_limits(config), random=random),
        objects=objects,
        eraser=Eraser(lookup, objects, now, config.sweep.unverified_after),
        keyring=source,
        audit=audit,
        reads=_read_limits(config, grants, source),
        erasures=_erasure_limits(config, grants, source),
        rekeyer=rekeyer,
        rekeying=BackgroundRekeying(rekeyer, audit, after) if after else None,
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
        providers = opening.key_providers(create=True)
        undo.callback(close_key_providers, providers)
        created = opening.create_keyring(store, providers)
        audit = opening.audit_log_of(created, records)
        undo.callback(_close, audit)
        audit.write([_init_event(created, now())])
        return created


@contextmanager
def opened_custody(
    config: Config,
    *,
    create: bool = False,
    now: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = os.urandom,
) -> Iterator[Custody]:
    """What seals the keyring for others, backs it up and restores it, closed at the end; the keyring need not be there, nor open.

    Args:
        config: the deployment's.
        create: whether an embedded key file that is missing is made.
        now: Unix seconds.
        random: cryptographically secure random bytes.

    Raises:
        ConfigError: a setting is wrong.
        KeyringError: the only key provider that is configured cannot be had.
        StoreUnavailable: a store cannot be reached.
    """
    opening = Opening(config, now, random)
    with ExitStack() as undo:
        records = opening.records()
        undo.callback(_close, records)
        store = opening.keyring_store(records)
        undo.callback(_close, store)
        providers = opening.key_providers(create=create)
        undo.callback(close_key_providers, providers)

        def audit(keyring: keyrings.Keyring) -> AuditSink:
            log = opening.audit_log_of(keyring, records)
            undo.callback(_close, log)
            return log

        yield Custody(store=store, providers=providers, records=records, audit=audit, now=now, random=random)


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

    def audit(self) -> LineSink:
        sink: LineSink = self._open("audit", self.config.tokenizer.audit, "file", "audit/audit.jsonl")
        return sink

    def audit_copy(self) -> LineSink | None:
        """The second place for checkpoints, if one is configured."""
        if not self.config.audit.copy:
            return None
        around = Surroundings("audit.copy", self.now, self.random)
        sink: LineSink = open_backend("audit", self.config.audit.copy, around)
        return sink

    def audit_log(self, records: RecordStore, keyring_id: bytes, active: Callable[[], AuditSigner]) -> AuditSink:
        """The sink with a hash chain before it. One in memory has none, since it is gone with the process."""
        with ExitStack() as undo:
            sink = self.audit()
            undo.callback(_close, sink)
            if self.config.tokenizer.audit.startswith(_EPHEMERAL):
                undo.pop_all()
                return self._notifying(sink, active)
            log = AuditLog(
                sink,
                registry=ChainRegistry(records, keyring_id),
                signer=active,
                now=self.now,
                random=self.random,
                policy=CheckpointPolicy(self.config.audit.checkpoint_entries, self.config.audit.checkpoint_interval),
                copy=self.audit_copy(),
                facts=audit_processes.facts,
            )
            undo.pop_all()
        audit_processes.watch(log)
        return self._notifying(log, active)

    def audit_log_of(self, keyring: keyrings.Keyring, records: RecordStore) -> AuditSink:
        """The same for a keyring that is not watched: the audit key that is active now signs to the end."""
        key = keyring.active(KeyPurpose.AUDIT, self.now())
        return self.audit_log(records, keyring.id, lambda: signer(key.version, key.secret))

    def _notifying(self, sink: AuditSink, active: Callable[[], AuditSigner]) -> AuditSink:
        """The sink, with those behind it who want to be told of events."""
        channels = [Channel(one, self._receiver(one), signer=active, now=self.now) for one in self.config.notify]
        for channel in channels:
            audit_processes.close_at_exit(channel)
        return NotifyingAudit(sink, channels) if channels else sink

    def _receiver(self, settings: NotifySettings) -> Receiver:
        setting = f"notify[{settings.name}]." + ("url" if settings.url else "command")
        around = Surroundings(setting, self.now, self.random, notify=settings)
        receiver: Receiver = open_backend("notify", settings.url or "command:", around)
        return receiver

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
        """What opens the keyring, any one of them; with ``create``, an embedded key file that is missing is made.

        Where several are configured, one that cannot be had is ``Unusable``.
        """
        entries = self.config.tokenizer.seal
        if not entries:
            entries = ((self._embedded("file", "seal.key") + ("?create=missing" if create else ""),),)
        return self.key_providers_of(entries, "tokenizer.seal")

    def key_providers_of(self, entries: Sequence[Sequence[str]], setting: str) -> Sequence[KeyProvider]:
        """The key providers of entries as ``lunacore.config.key_providers`` gives them.

        Raises:
            ConfigError: a URL is wrong.
            KeyringError: there is only one entry, and a key provider of it cannot be had.
        """
        urls = list(dict.fromkeys(url for entry in entries for url in entry))
        opened = {url: self._key_provider(url, setting, alone=len(urls) == 1) for url in urls}
        if len(entries) == 1:
            for unusable in (one for one in opened.values() if isinstance(one, Unusable)):
                raise unusable.problem
        return [
            opened[entry[0]] if len(entry) == 1 else Together(tuple(opened[url] for url in entry), self.random)
            for entry in entries
        ]

    def _key_provider(self, url: str, setting: str, *, alone: bool) -> KeyProvider:
        """One of them; what others would be told of it names its URL, without options and credentials."""
        label = setting if alone else f"{setting} ({BackendURL.parse(url, setting).shown})"
        try:
            provider: KeyProvider = open_backend("seal", url, Surroundings(label, self.now, self.random))
        except (KeyringError, StoreUnavailable) as problem:
            return Unusable(label, problem)
        return provider

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
        around = Surroundings(
            setting=f"tokenizer.{kind}",
            now=self.now,
            random=self.random,
            threads=self.config.tokenizer.threads,
            **surroundings,
        )
        return open_backend(kind, url or self._embedded(scheme, name), around)

    def _embedded(self, scheme: str, name: str) -> str:
        directory = self.config.data_dir
        _make_data_dir(directory)
        return f"{scheme}://{_quoted(directory / name)}"


def _tie(records: RecordStore, source: KeyringSource, now: Callable[[], float], random: Callable[[int], bytes]) -> None:
    """Make sure that keyring and records belong together; a key may be added in between, so look at the keyring twice."""
    seen = source.keyring
    try:
        canary.check(records, seen, now=now(), random=random)
    except KeyringError:
        source.refresh()
        if source.keyring == seen:
            raise
        canary.check(records, source.keyring, now=now(), random=random)


def close_key_providers(providers: Sequence[KeyProvider]) -> None:
    """Close those that have something to close."""
    for provider in apart(providers):
        _close(provider)


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


def _erasure_limits(config: Config, grants: ExpiringStore, source: KeyringSource) -> dict[Role, RateLimit]:
    def key() -> bytes:
        return source.session_keys()[0].grant

    limit, setting = config.limits.application_erasures, "limits.application_erasures"
    return {Role.APPLICATION: RateLimit(grants, limit, key=key, setting=setting, what="calls to erase a label")}


def _policy(config: Config) -> Policy:
    return Policy(
        upload_ttl=config.tickets.upload_ttl,
        download_ttl=config.tickets.download_ttl,
        unverified_ttl=config.sweep.unverified_after,
        never_uploaded_ttl=config.sweep.never_uploaded_after,
        max_value_size=config.tickets.max_value_size,
    )


def _init_event(created: keyrings.Keyring, now: float) -> AuditEvent:
    call = Call(operator(DEFAULT_TENANT))
    return AuditEvent.of(call, Action.KEYS_INIT, now, detail={"keyring": created.id.hex()})
