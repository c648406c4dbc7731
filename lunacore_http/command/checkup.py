"""The checkup behind ``lunacore doctor``: opens every part by itself, so that one that is broken does not hide the others.

Nothing is made that a start would make, and what is written to find out whether writing works is removed again. A part that
has checks of its own (``lunacore.diagnosis.Diagnosable``) is asked for them.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from attrs import define, field

from lunacore import canary, recipients
from lunacore import keyring as keyrings
from lunacore.deployment import Opening, close_key_providers
from lunacore.diagnosis import Circumstances, Diagnosable, Severity, ok, problem, warning
from lunacore.errors import ConfigError, IntegrityError, KeyringError, LunaCoreError
from lunacore.gateway_keys import FixedGatewayKeys
from lunacore.keyring import KeyPurpose
from lunacore.keyring_source import KeyringSource
from lunacore.sigv4 import Credentials
from lunacore.stores import DirectTransfer, Entry, Probe
from lunacore_http.command import configuration, exposure, local_paths
from lunacore_http.command.proxy_hints import proxy_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from lunacore.config import Config, IdentitySettings
    from lunacore.diagnosis import Finding
    from lunacore.stores import ExpiringStore, KeyProvider, ObjectStore, RecordStore

T = TypeVar("T")

_REMEDIES: Final = {
    "records": "check tokenizer.records, and that the store runs and lets this user in",
    "grants": "check tokenizer.grants, and that the store runs and lets this user in",
    "objects": "check tokenizer.objects, and that the store runs and lets this user in",
    "keyring": "restore the newest keyring and what it is sealed by; check tokenizer.keyring and tokenizer.seal",
    "audit": "make the audit log writable: until then nothing is released",
}
_BUILT: Final = 1_750_000_000
"""A Unix second that has passed for certain; a clock that is behind it is wrong."""

_CLOCK_TOLERANCE: Final = 60
_PROBE: Final = b"lunacore doctor"


@define
class Checkup:
    """One checkup; ``findings`` grows as parts are looked at."""

    config: Config
    now: Callable[[], float] = time.time
    random: Callable[[int], bytes] = field(default=os.urandom, repr=False)
    findings: list[Finding] = field(factory=list)

    def run(self) -> list[Finding]:
        """Look at everything, and say what was found."""
        self.findings += exposure.examine(self.config)
        if configuration.uses_data_dir(self.config):
            self.findings += local_paths.examine_data_dir(self.config)
        self.findings += local_paths.examine(self.config)
        self._clock()
        with self._opened("records", self._opening.records) as records:
            if records is not None:
                self._probe("records", records)
            source = self._keyring(records)
        with self._opened("grants", self._opening.grants) as grants:
            if grants is not None:
                self._grants(grants)
        with self._opened("objects", lambda: self._opening.objects(source or _NO_KEYS)) as objects:
            if objects is not None:
                self._objects(objects)
        with self._opened("audit", self._opening.audit) as audit:
            if audit is not None:
                self._probe("audit", audit)
        if self.config.audit.copy:
            self._audit_copy()
        for provider in self.config.identity:
            self._identity(provider)
        return self.findings

    @property
    def _opening(self) -> Opening:
        return Opening(self.config, self.now, self.random)

    @contextmanager
    def _opened(self, store: str, step: Callable[[], T]) -> Iterator[T | None]:
        """A part, closed at the end; None, and a finding, where it cannot be opened."""
        if local_paths.is_missing(self.config, store):
            if getattr(self.config.tokenizer, store) or self.config.data_dir.is_dir():
                self.findings.append(
                    warning(
                        f"tokenizer.{store}",
                        f"{local_paths.path_of(self.config, store)} is not there; the first start makes it",
                        "if this deployment was in use before, mount its disk or restore it from its backup before you start",
                    )
                )
            yield None
            return
        part: Any = None
        with self._noting(store):
            part = step()
        with _closed_after(part):
            yield part

    @contextmanager
    def _noting(self, store: str) -> Iterator[None]:
        """Make a finding of what is refused in the block, and go on after it."""
        with self._noting_at(f"tokenizer.{store}", _REMEDIES[store]):
            yield

    @contextmanager
    def _noting_at(self, part: str, remedy: str) -> Iterator[None]:
        try:
            yield
        except LunaCoreError as refusal:
            self.findings.append(problem(part, refusal.message, remedy))

    def _probe(self, store: str, part: object) -> None:
        if isinstance(part, Probe):
            with self._noting(store):
                part.probe()
                self.findings.append(ok(f"tokenizer.{store}", "can be reached"))
        self._own_checks(part)

    def _own_checks(self, part: object) -> None:
        if isinstance(part, Diagnosable):
            self.findings += part.diagnose(Circumstances(self.config.public_url, self.now, self.random))

    def _may_write(self, store: str) -> bool:
        return not local_paths.is_anothers(local_paths.path_of(self.config, store))

    # The parts

    def _clock(self) -> None:
        now = self.now()
        if now < _BUILT:
            self.findings.append(
                problem("clock", "this machine's clock is years behind", "set it, and keep it right with NTP")
            )
            return
        ahead = max((stamp - now for stamp in self._newest_writes()), default=0.0)
        if ahead > _CLOCK_TOLERANCE:
            self.findings.append(
                problem(
                    "clock",
                    f"a store was written to {ahead:.0f} seconds in the future of this machine's clock",
                    "set the clocks of this machine and of its file servers right, with NTP",
                )
            )
        else:
            self.findings.append(ok("clock", "agrees with what was written last"))

    def _newest_writes(self) -> Iterator[float]:
        paths = [local_paths.path_of(self.config, store) for store in ("records", "grants", "keyring", "audit")]
        yield from (path.stat().st_mtime for path in paths if path is not None and path.exists())
        directory = self.config.data_dir
        if configuration.uses_data_dir(self.config) and directory.is_dir() and not local_paths.is_anothers(directory):
            # A network file system has a clock of its own.
            try:
                with tempfile.NamedTemporaryFile(dir=directory) as file:
                    yield Path(file.name).stat().st_mtime
            except OSError as error:
                self.findings.append(
                    problem(
                        "tokenizer.data_dir", f"cannot be written: {error.strerror}", "make it writable for this user"
                    )
                )

    def _keyring(self, records: RecordStore | None) -> KeyringSource | None:
        if records is None and self.config.tokenizer.keyring.startswith("records:"):
            return None
        if self._is_new(records):
            self.findings.append(
                warning(
                    "tokenizer.keyring",
                    "there is no keyring yet; the first start makes it",
                    "if this deployment was in use before, restore keyring and records before you start",
                )
            )
            return None
        source = None
        with self._noting("keyring"):
            source = self._keyring_source(records)
            self._keys(source)
        return source

    def _is_new(self, records: RecordStore | None) -> bool:
        missing = not self.config.tokenizer.keyring and local_paths.is_missing(self.config, "keyring")
        try:
            return missing and (records is None or canary.is_new(records))
        except LunaCoreError:
            return False

    def _keyring_source(self, records: RecordStore | None) -> KeyringSource:
        store: Any = self._opening.keyring_store(records)  # type: ignore[arg-type]  # None was dealt with above
        providers = self._opening.key_providers(create=False)
        with ExitStack() as undo:
            undo.callback(close_key_providers, providers)
            undo.enter_context(_closed_after(store))
            for part in (store, *recipients.apart(providers)):
                self._own_checks(part)
            source = KeyringSource(store, providers, now=self.now, reload_period=self.config.keys.reload_period)
            self._recipients(store.read() or b"", providers)
        if records is None:
            self.findings.append(ok("tokenizer.keyring", "opens; whose it is cannot be told without the records"))
        elif canary.is_new(records):
            self.findings.append(ok("tokenizer.keyring", "opens; the record store was not used with any keyring yet"))
        else:
            canary.check(records, source.keyring, now=self.now(), random=self.random)
            self.findings.append(ok("tokenizer.keyring", "opens, and is that of the record store"))
        return source

    def _recipients(self, sealed: bytes, providers: Sequence[KeyProvider]) -> None:
        """Whether each entry of tokenizer.seal opens the keyring; one that does is enough, so the others are warnings."""
        for provider in providers if len(providers) > 1 else ():
            what = recipients.shown(provider)
            try:
                keyrings.unseal(sealed, [provider])
            except LunaCoreError as refusal:
                remedy = "mend it while another opens the keyring, or replace it and run lunacore keys reseal"
                self.findings.append(warning("tokenizer.seal", f"{what} does not open it: {refusal.message}", remedy))
            else:
                self.findings.append(ok("tokenizer.seal", f"{what} opens the keyring"))
        try:
            keyrings.check_recipients(sealed, providers)
        except LunaCoreError as refusal:
            remedy = "until then keys can be neither rotated nor retired from here"
            self.findings.append(warning("tokenizer.seal", refusal.message, remedy))

    def _keys(self, source: KeyringSource) -> None:
        now = self.now()
        for key in source.keyring.keys:
            what = f"{key.purpose.name.lower()} key version {key.version}"
            wait = key.active_from - now
            if wait > source.staging_period:
                self.findings.append(
                    warning(
                        "tokenizer.keyring",
                        f"the {what} is staged for {wait:.0f} seconds from now",
                        "if a clock was wrong then, lunacore keys rotate --beside-staged adds one that goes before it",
                    )
                )
            elif wait > 0:
                self.findings.append(ok("tokenizer.keyring", f"the {what} is staged, active in {wait:.0f} seconds"))
        for purpose in KeyPurpose:
            try:
                source.keyring.active(purpose, now)
            except KeyringError as refusal:
                self.findings.append(problem("tokenizer.keyring", refusal.message, "set this machine's clock right"))

    def _grants(self, grants: ExpiringStore) -> None:
        self._probe("grants", grants)
        if not self._may_write("grants"):
            return
        key, now = self.random(32), int(self.now())

        with self._noting("grants"):
            grants.put([Entry(key, _PROBE, now + 60)], now)
            self._compare("grants", grants.take(key, now))

    def _objects(self, objects: ObjectStore) -> None:
        self._probe("objects", objects)
        if not isinstance(objects, DirectTransfer) or not self._may_write("objects"):
            return
        name, key = self.random(32), self.random(32)
        with self._noting("objects"):
            try:
                objects.write(name, key, io.BytesIO(_PROBE))
                with objects.open(name, key) as written:
                    self._compare("objects", written.read())
            finally:
                objects.delete([name])

    def _audit_copy(self) -> None:
        path = local_paths.audit_copy_path(self.config)
        if path is not None and not path.exists():
            remedy = (
                "if there were checkpoints before, mount its disk or restore it: it shows what is cut off the audit log"
            )
            self.findings.append(warning("audit.copy", f"{path} is not there; the first start makes it", remedy))
            return
        with self._noting_at(
            "audit.copy", "make it writable: until then the audit log is vouched for in one place less"
        ):
            copy: Any = self._opening.audit_copy()
            with _closed_after(copy):
                if isinstance(copy, Probe):
                    copy.probe()
            self.findings.append(ok("audit.copy", "can be written"))

    def _compare(self, store: str, read: bytes | None) -> None:
        if read != _PROBE:
            raise IntegrityError("it does not give back what was just written")
        self.findings.append(ok(f"tokenizer.{store}", "takes, gives back and removes what is written"))

    def _identity(self, provider: IdentitySettings) -> None:
        part = f"identity[{provider.name}]"
        try:
            from lunacore_http.identity.providers import Identities  # noqa: PLC0415 - loads httpx, for this check alone

            Identities(
                [provider],
                public_url=self.config.public_url,
                max_session_ttl=self.config.sessions.max_ttl,
                now=self.now,
            ).probe()
        except ConfigError as refusal:
            self.findings.append(problem(part, refusal.message, "correct the setting"))
        except LunaCoreError as refusal:
            self.findings.append(
                problem(part, refusal.message, "make its keys reachable from here; check its jwks setting")
            )
        except ImportError as missing:
            self.findings.append(
                warning(part, f"not looked at: {missing.name} is not installed", "pip install 'lunacore[server]'")
            )
        else:
            found = "are fetched as they are needed" if provider.pem else "can be had"
            self.findings.append(ok(part, f"its public keys {found}"))
        self.findings += proxy_hints(provider, self.config)


def _closed_after(part: object) -> AbstractContextManager[object]:
    """A context at whose end the part is closed, if it is one that can be."""
    return closing(part) if hasattr(part, "close") else nullcontext()


def is_healthy(findings: list[Finding]) -> bool:
    """Whether nothing is wrong; warnings are no illness."""
    return all(finding.severity is not Severity.PROBLEM for finding in findings)


_NO_KEYS: Final = FixedGatewayKeys((Credentials(access_key="none", secret_key="none"),))  # noqa: S106 - signs nothing
