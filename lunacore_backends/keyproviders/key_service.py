"""Key providers whose key never leaves a service: what they share.

For every sealing a random *wrap key* seals locally (AES-256-GCM), and the service wraps the wrap key, bound to the same context.
So the service never sees what is sealed, and no change to the part goes unnoticed (``docs/spec/keyring.md``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from attrs import field, frozen

from lunacore import keys
from lunacore.diagnosis import ok, problem, warning
from lunacore.errors import IntegrityError, KeyringError, LunaCoreError, StoreUnavailable, UnsupportedVersion
from lunacore.fields import FieldReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore.diagnosis import Circumstances, Finding

SEAL_VERSION: Final = 1

_VERSION: Final = bytes([SEAL_VERSION])
_PROBE_CONTEXT: Final = keys.info("doctor")


class KeyService(Protocol):
    """One key in a service."""

    @property
    def name(self) -> str:
        """What the keyring says of it; up to its first colon, which kind of service it is."""
        ...

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Wrap a key of 32 bytes, bound to ``context``.

        Raises:
            KeyringError: the service refuses.
            StoreUnavailable: it cannot be reached.
        """
        ...

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Undo ``wrap``.

        Raises:
            KeyringError: wrong key, wrong context, damaged, or the service refuses.
            StoreUnavailable: it cannot be reached.
        """
        ...

    def close(self) -> None:
        """Close connections."""
        ...


@frozen
class ServiceKeyProvider:
    """A ``KeyProvider`` of a key in a service."""

    service: KeyService
    _setting: str
    _random: Callable[[int], bytes] = field(repr=False)

    @property
    def name(self) -> str:
        return self.service.name

    def answers_to(self, name: str) -> bool:
        """Whether a name is that of the same kind of service: one key may have an alias, or its service another address."""
        kind, colon, _ = self.name.partition(":")
        return name.startswith(kind + colon)

    def seal(self, plain: bytes, context: bytes) -> bytes:
        key = self._random(keys.KEY_BYTES)
        head = _VERSION + keys.lp(self.service.wrap(key, context))
        return head + keys.seal(key, plain, keys.lp(head, context), self._random)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        wrapped, rest = self._read(sealed)
        key = self.service.unwrap(wrapped, context)
        if len(key) != keys.KEY_BYTES:
            raise KeyringError(f"{self._setting}: what {self.name} unwraps is no key of this keyring")
        head = sealed[: len(sealed) - len(rest)]
        try:
            return keys.unseal(key, rest, keys.lp(head, context))
        except IntegrityError:
            raise KeyringError(f"{self._setting}: the keyring's part for {self.name} is damaged") from None

    def close(self) -> None:
        """Close the connections to the service."""
        self.service.close()

    def diagnose(self, circumstances: Circumstances) -> Sequence[Finding]:
        """Seal a probe and open it again."""
        probe = circumstances.random(keys.KEY_BYTES)
        try:
            sealed = self.seal(probe, _PROBE_CONTEXT)
        except StoreUnavailable as away:
            return [problem("tokenizer.seal", away.message, "make the service reachable from here")]
        except LunaCoreError as refusal:
            remedy = "servers need not seal; lunacore keys rotate, retire and reseal must run where it may"
            return [warning("tokenizer.seal", refusal.message, remedy)]
        try:
            opened = self.open(sealed, _PROBE_CONTEXT)
        except LunaCoreError as refusal:
            return [problem("tokenizer.seal", refusal.message, "a server must be able to open what was sealed")]
        if opened != probe:
            return [problem("tokenizer.seal", f"{self.name} does not give back what it sealed", "do not use it")]
        return [ok("tokenizer.seal", f"{self.name} seals, and opens what it sealed")]

    def _read(self, sealed: bytes) -> tuple[bytes, bytes]:
        """The wrapped key, and what is sealed under it."""
        if sealed and sealed[:1] != _VERSION:
            raise UnsupportedVersion(
                f"{self._setting}: the keyring is sealed in a form of version {sealed[0]}: upgrade LunaCore"
            )
        reader = FieldReader(sealed)
        try:
            reader.take(len(_VERSION))
            wrapped, rest = reader.lp(), reader.rest()
        except IntegrityError:
            wrapped, rest = b"", b""
        if len(rest) < keys.NONCE_BYTES + keys.TAG_BYTES:
            raise KeyringError(f"{self._setting}: the keyring's part for {self.name} is damaged")
        return wrapped, rest
