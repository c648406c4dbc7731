"""The keyring as a running process sees it: loaded, reloaded on a timer, and at once when an unknown version turns up.

What is derived from it (tenant keys, the grant key and so on) is kept beside it, so that a request derives only what depends on
its own token.
"""

from __future__ import annotations

from math import inf
from threading import Lock
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

from lunacore import keyring as keyrings
from lunacore import keys
from lunacore.errors import KeyringError, LunaCoreError, StoreUnavailable, UnknownKeyVersion
from lunacore.gateway_keys import credentials
from lunacore.keyring import KeyPurpose
from lunacore.signing import signer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore.keyring import Keyring, VersionedKey
    from lunacore.signing import AuditSigner, VerificationKey
    from lunacore.sigv4 import Credentials
    from lunacore.stores import KeyProvider, KeyringStore

RELOAD_PERIOD: Final = 60
"""Seconds after which a process looks whether the keyring has changed, unless ``keys.reload_period`` says otherwise."""

STAGING_PERIODS: Final = 3
"""Reload periods between staging a key and its use: a full one, with room for slow reloads and skewed clocks."""

STAGING_PERIOD: Final = STAGING_PERIODS * RELOAD_PERIOD
"""Seconds between staging a key and its use, unless ``keys.reload_period`` says otherwise."""

MIN_REFRESH_INTERVAL: Final = 1.0
"""Seconds between two reloads that unknown versions ask for, so that a forged version cannot keep the process busy."""


@frozen(eq=False)
class SessionKeys:
    """What one session key is expanded to; equal to none but itself, so that what depends on it is found quickly."""

    version: int
    grant: bytes = field(repr=False)
    grant_tag: bytes = field(repr=False)
    fingerprint: bytes = field(repr=False)
    session_hash: bytes = field(repr=False)
    signing: bytes = field(repr=False)
    state_tag: bytes = field(repr=False)


@frozen
class _Active:
    """What is active from one activation of a staged key to the next, worked out once."""

    since: float
    until: float
    keyring: Keyring
    lookup_version: int
    root: tuple[int, bytes] = field(repr=False)
    root_keys: dict[int, bytes] = field(repr=False)
    session_keys: tuple[SessionKeys, ...] = field(repr=False)
    gateway: tuple[Credentials, ...] = field(repr=False)
    signers: tuple[AuditSigner, ...]
    record_keys: tuple[bytes, ...] = field(repr=False)
    tenant_keys: dict[tuple[int, str], bytes] = field(factory=dict, repr=False)


@define
class _Loaded:
    keyring: Keyring
    sealed: bytes = field(repr=False)
    checked: float
    active: _Active | None = field(default=None, repr=False)


@frozen
class _Present:
    """What is used from one Unix second until before another, without a further look at keyring or clock."""

    since: float
    until: float
    active: _Active


class KeyringSource:
    """Gives the present keyring and what is derived from it; safe to call from several threads.

    A keyring that cannot be reloaded leaves the one that is loaded in use; ``problem`` says so to readiness checks.
    """

    def __init__(
        self,
        store: KeyringStore,
        providers: Sequence[KeyProvider],
        *,
        now: Callable[[], float],
        reload_period: int = RELOAD_PERIOD,
    ) -> None:
        self._store = store
        self._providers = providers
        self._now = now
        self.reload_period = reload_period
        self._lock = Lock()
        self._refreshed = 0.0
        self.problem: str | None = None
        self._loaded = self._load(None)
        self._present = self._settle()

    @property
    def staging_period(self) -> int:
        """Seconds between staging a key and its use."""
        return STAGING_PERIODS * self.reload_period

    @property
    def keyring(self) -> Keyring:
        """The keyring, at most ``reload_period`` old unless it cannot be reached."""
        return self._active().keyring

    def tenant_key(self, tenant: str, version: int | None = None) -> tuple[int, bytes]:
        """The lookup version and the tenant key under it; the active version unless one is named."""
        active = self._active()
        if version is None:
            version = active.lookup_version
        cached = active.tenant_keys.get((version, tenant))
        if cached is None:
            secret = active.keyring.of_version(KeyPurpose.LOOKUP, version).secret
            cached = active.tenant_keys[version, tenant] = keys.tenant_key(secret, tenant)
        return version, cached

    def older_lookup_versions(self, active: int) -> list[int]:
        """The other lookup versions, newest first; staged ones too, since another process may see them as active."""
        return [key.version for key in self.keyring.newest_first(KeyPurpose.LOOKUP) if key.version != active]

    def label_hash(self, tenant: str, label: str, version: int) -> bytes:
        """The hash of a label under one lookup version (16 bytes)."""
        secret = self.keyring.of_version(KeyPurpose.LOOKUP, version).secret
        return keys.label_hash(secret, tenant, label)

    def active_root(self) -> tuple[int, bytes]:
        """Version and key of the active root."""
        return self._active().root

    def root_key(self, version: int) -> bytes:
        """The root key of a version; an unknown one makes the keyring reload first.

        Raises:
            StoreUnavailable: the reloaded keyring does not hold it either.
        """
        found = self._active().root_keys.get(version)
        if found is None:
            self.refresh()
            found = self._active().root_keys.get(version)
        if found is None:
            raise StoreUnavailable(
                f"a record needs root key version {version}, which the keyring does not hold; "
                "restore the newest keyring (setting tokenizer.keyring)"
            )
        return found

    def session_keys(self) -> tuple[SessionKeys, ...]:
        """What the session keys are expanded to: the active version first, then every other that is not retired."""
        return self._active().session_keys

    def active(self, now: float) -> Credentials:  # noqa: ARG002 - the protocol's; this source has the same clock
        """The gateway credentials to sign with (``GatewayKeys``)."""
        return self._active().gateway[0]

    def of(self, access_key: str) -> Credentials | None:
        """The gateway credentials of an access key (``GatewayKeys``); an unknown one makes the keyring reload first."""
        found = self._gateway_credentials(access_key)
        if found is None:
            self.refresh()
            found = self._gateway_credentials(access_key)
        return found

    def _gateway_credentials(self, access_key: str) -> Credentials | None:
        return next((one for one in self._active().gateway if one.access_key == access_key), None)

    def audit_signer(self) -> AuditSigner:
        """What signs checkpoints of the audit log and receipts: the active audit key."""
        return self._active().signers[0]

    def verification_keys(self) -> tuple[VerificationKey, ...]:
        """The public part of every audit key that is not retired, the active one first."""
        return tuple(one.verification_key for one in self._active().signers)

    def verification_key(self, version: int) -> VerificationKey:
        """The public part of one audit key (``VerificationKeys``); an unknown version makes the keyring reload first.

        Raises:
            UnknownKeyVersion: the reloaded keyring does not hold it either.
        """
        if all(one.version != version for one in self._active().signers):
            self.refresh()
        for known in self._active().signers:
            if known.version == version:
                return known.verification_key
        raise UnknownKeyVersion(KeyPurpose.AUDIT.name.lower(), version)

    def record_fingerprints(self, name: bytes) -> tuple[str, ...]:
        """What the audit log calls the record of a name: 32 hex digits under each audit key, the active one first."""
        return tuple(keys.mac(key, name)[: keys.FINGERPRINT_BYTES].hex() for key in self._active().record_keys)

    def refresh(self) -> None:
        """Reload now, unless that was done within the last second."""
        with self._lock:
            if not 0 <= self._now() - self._refreshed < MIN_REFRESH_INTERVAL:
                self._reload()
                self._present = self._settle()

    def _active(self) -> _Active:
        present, now = self._present, self._now()
        if present.since <= now < present.until:
            return present.active
        # While one thread reloads, which takes long where a key service hangs, the others go on with the keys that they have,
        # unless other ones have become active.
        still_active = present.active.since <= now < present.active.until
        if not self._lock.acquire(blocking=not still_active):
            return present.active
        try:
            return self._renew().active
        finally:
            self._lock.release()

    def _renew(self) -> _Present:
        # A clock that was set back makes the age negative; waiting until it has caught up could take for ever.
        if not 0 <= self._now() - self._loaded.checked < self.reload_period:
            self._reload()
        self._present = self._settle()
        return self._present

    def _settle(self) -> _Present:
        """What is used from now on: until a staged key becomes active, or the keyring is to be reloaded."""
        loaded, now = self._loaded, self._now()
        active = loaded.active
        if active is None or not active.since <= now < active.until:
            active = loaded.active = _active_at(loaded.keyring, now)
        return _Present(
            max(active.since, loaded.checked), min(active.until, loaded.checked + self.reload_period), active
        )

    def _reload(self) -> None:
        self._refreshed = self._loaded.checked = self._now()
        try:
            self._loaded = self._load(self._loaded)
            self.problem = None
        except LunaCoreError as problem:
            self.problem = problem.message

    def _load(self, present: _Loaded | None) -> _Loaded:
        sealed = self._store.read()
        if sealed is None:
            raise KeyringError(
                "there is no keyring where tokenizer.keyring says; make one with `lunacore keys init`, "
                "or restore it from its backup"
            )
        if present is not None and sealed == present.sealed:
            return present
        opened = keyrings.unseal(sealed, self._providers)
        if present is not None and (opened.id != present.keyring.id or opened.serial < present.keyring.serial):
            raise KeyringError("the keyring was replaced by an older or a foreign one; the loaded one stays in use")
        return _Loaded(keyring=opened, sealed=sealed, checked=self._now())


def _active_at(keyring: Keyring, now: float) -> _Active:
    activations = [key.active_from for key in keyring.keys]
    root = keyring.active(KeyPurpose.ROOT, now)
    audit = _active_first(keyring, KeyPurpose.AUDIT, now)
    return _Active(
        since=max((moment for moment in activations if moment <= now), default=0),
        until=min((moment for moment in activations if moment > now), default=inf),
        keyring=keyring,
        lookup_version=keyring.active(KeyPurpose.LOOKUP, now).version,
        root=(root.version, root.secret),
        root_keys={key.version: key.secret for key in keyring.newest_first(KeyPurpose.ROOT)},
        session_keys=tuple(
            _session_keys(key.version, key.secret) for key in _active_first(keyring, KeyPurpose.SESSION, now)
        ),
        gateway=tuple(credentials(key) for key in _active_first(keyring, KeyPurpose.GATEWAY, now)),
        signers=tuple(signer(key.version, key.secret) for key in audit),
        record_keys=tuple(keys.expand(key.secret, "audit-record") for key in audit),
    )


def _active_first(keyring: Keyring, purpose: KeyPurpose, now: float) -> list[VersionedKey]:
    """The active key of a purpose, then every other that is not retired, newest first."""
    active = keyring.active(purpose, now)
    return [active, *(key for key in keyring.newest_first(purpose) if key is not active)]


def _session_keys(version: int, secret: bytes) -> SessionKeys:
    return SessionKeys(
        version=version,
        grant=keys.expand(secret, "grant"),
        grant_tag=keys.expand(secret, "grant-tag"),
        fingerprint=keys.expand(secret, "session-fingerprint"),
        session_hash=keys.expand(secret, "session-hash"),
        signing=keys.expand(secret, "session-signing"),
        state_tag=keys.expand(secret, "state-tag"),
    )
