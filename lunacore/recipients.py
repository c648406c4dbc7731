"""Who can open a keyring: any one of its recipients, of which each is a key provider, or several that are required together.

What several seal together is split into as many shares, all of them needed, and each seals one (``docs/spec/keyring.md``). A
recipient opens only if it asks for no less than one of the entries that are configured: where two are required together, a
keyring that one of the two sealed alone is refused.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Final, NoReturn, Self

from attrs import field, frozen

from lunacore import keys
from lunacore.errors import IntegrityError, KeyringError, LunaCoreError, StoreUnavailable, UnsupportedVersion
from lunacore.fields import FieldReader, lp_list
from lunacore.stores import KnownByMoreNames

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lunacore.stores import KeyProvider

PREFIX: Final = "all:"
MAX_MEMBERS: Final = 16

_VERSION: Final = b"\x01"
_DIGEST_BYTES: Final = 8


@frozen
class Together:
    """A ``KeyProvider`` of 2 to 16 others, of which every one is needed."""

    members: tuple[KeyProvider, ...]
    _random: Callable[[int], bytes] = field(repr=False)

    @property
    def name(self) -> str:
        """The same for the same members in any order."""
        return _name_of([member.name for member in self.members])

    def seal(self, plain: bytes, context: bytes) -> bytes:
        if not 2 <= len(self.members) <= MAX_MEMBERS:
            raise KeyringError(f"2 to {MAX_MEMBERS} key providers can be required together, not {len(self.members)}")
        members = sorted(self.members, key=lambda member: member.name)
        shares = _split(plain, len(members), self._random)
        parts = [
            keys.lp(member.name.encode(), member.seal(share, _share_context(context, self.name, place, len(members))))
            for place, (member, share) in enumerate(zip(members, shares, strict=True))
        ]
        return _VERSION + lp_list(tuple(parts))

    def open(self, sealed: bytes, context: bytes) -> bytes:
        try:
            recipient = Recipient.read(self.name, sealed)
        except UnsupportedVersion:
            raise
        except IntegrityError as damaged:
            raise KeyringError(f"{damaged.message}; it is damaged, or that of others") from None
        return recipient.open(self.members, [self], context)


@frozen
class Unusable:
    """A key provider that is configured and cannot be had, say since its key file is missing; others may open in its place."""

    label: str
    problem: LunaCoreError

    @property
    def name(self) -> str:
        """No keyring is sealed for it under this name."""
        return f"unusable: {self.label}"

    def seal(self, plain: bytes, context: bytes) -> NoReturn:  # noqa: ARG002 - the protocol's
        raise self.problem

    open = seal


@frozen
class Recipient:
    """One recipient of a sealed keyring: the name and the part of each key provider that it needs."""

    name: str
    members: tuple[tuple[str, bytes], ...] = field(repr=False)

    @classmethod
    def read(cls, name: str, part: bytes) -> Self:
        """Take a part apart.

        Raises:
            UnsupportedVersion: a later release wrote it.
            IntegrityError: it is damaged.
        """
        if not name.startswith(PREFIX):
            return cls(name, ((name, part),))
        if part[:1] and part[:1] != _VERSION:
            raise UnsupportedVersion(f"the keyring is sealed for several together in form {part[0]}: upgrade LunaCore")
        reader = FieldReader(part)
        reader.take(len(_VERSION))
        members = tuple(_read_member(entry) for entry in reader.lp_list())
        reader.finish()
        names = [member for member, _ in members]
        if not 2 <= len(names) <= MAX_MEMBERS or names != sorted(names) or _name_of(names) != name:
            raise IntegrityError("the keyring's part for several together does not agree with its name")
        return cls(name, members)

    @property
    def shown(self) -> str:
        """For people: the names of the key providers."""
        return _shown(self.name, [member for member, _ in self.members])

    def fits(self, providers: Sequence[KeyProvider], demands: Sequence[KeyProvider], *, by_name: bool = False) -> bool:
        """Whether it could be opened by ``providers``, and asks for no less than one of ``demands``.

        ``by_name`` leaves out what a provider's key may be called besides.
        """
        named, meant = zip(*(_candidates(name, providers) for name, _ in self.members), strict=True)
        candidates = named if by_name else [[*one, *other] for one, other in zip(named, meant, strict=True)]
        used = {id(provider) for each in candidates for provider in each}
        return all(candidates) and _meets(used, demands)

    def open(self, providers: Sequence[KeyProvider], demands: Sequence[KeyProvider], context: bytes) -> bytes:
        """What it seals.

        Raises:
            KeyringError: a key provider does not open its part, or too few of them had to.
            IntegrityError: a part is damaged.
            StoreUnavailable: a key provider cannot be reached.
        """
        used: set[int] = set()
        opened = []
        for place, (name, part) in enumerate(self.members):
            bound = context
            if self.name.startswith(PREFIX):
                bound = _share_context(context, self.name, place, len(self.members))
            named, meant = _candidates(name, providers)
            provider, plain = _open_part(part, bound, [*named, *meant])
            used.add(id(provider))
            opened.append(plain)
        if not _meets(used, demands):
            raise _too_weak([self])
        return _join(opened)


def shown(provider: KeyProvider) -> str:
    """A key provider for people: its name, or the names of those that are required together."""
    if isinstance(provider, Together):
        return _shown(provider.name, sorted(member.name for member in provider.members))
    return provider.name


def apart(providers: Sequence[KeyProvider]) -> list[KeyProvider]:
    """The providers one by one, those of a ``Together`` too."""
    single: dict[int, KeyProvider] = {}
    for provider in providers:
        for one in provider.members if isinstance(provider, Together) else (provider,):
            single[id(one)] = one
    return list(single.values())


def open_any(parts: Mapping[str, bytes], providers: Sequence[KeyProvider], context: bytes) -> bytes:
    """What is sealed for each of the parts, opened by the first of the providers that can be reached and opens one.

    Args:
        parts: the part of each recipient by its name.
        providers: the entries that are configured, in the order in which to try them.
        context: what the parts are bound to.

    Raises:
        KeyringError: no provider fits, none that fits opens its part, or a part asks for fewer than are required together.
        IntegrityError: a part is damaged, or of a later release.
        StoreUnavailable: a provider that might have opened a part cannot be reached.
    """
    recipients = [Recipient.read(name, part) for name, part in parts.items()]
    single = apart(providers)
    failures: list[LunaCoreError] = []
    for recipient in _in_order(recipients, providers, single):
        try:
            return recipient.open(single, providers, context)
        except (KeyringError, IntegrityError, StoreUnavailable) as failure:
            failures.append(failure)
    unusable = [provider.problem for provider in single if isinstance(provider, Unusable)]
    if not failures:
        failures.append(_refusal(recipients, single))
    raise _together(failures + unusable)


def _in_order(
    recipients: Sequence[Recipient], providers: Sequence[KeyProvider], single: Sequence[KeyProvider]
) -> list[Recipient]:
    """Those that may open, in the order of the first entry of the configuration that each satisfies; those meant go last."""
    fitting = [
        recipient
        for by_name in (True, False)
        for provider in providers
        for recipient in recipients
        if recipient.fits(single, [provider], by_name=by_name)
    ]
    return list(dict.fromkeys(fitting))


def _candidates(name: str, providers: Sequence[KeyProvider]) -> tuple[list[KeyProvider], list[KeyProvider]]:
    """The providers of the name, and those that may be meant by it."""
    named = [provider for provider in providers if provider.name == name]
    others = [provider for provider in providers if provider.name != name]
    return named, [one for one in others if isinstance(one, KnownByMoreNames) and one.answers_to(name)]


def _meets(used: set[int], demands: Sequence[KeyProvider]) -> bool:
    return any({id(one) for one in apart([demand])} <= used for demand in demands)


def _open_part(part: bytes, context: bytes, candidates: list[KeyProvider]) -> tuple[KeyProvider, bytes]:
    failures: list[LunaCoreError] = []
    for provider in candidates:
        try:
            return provider, provider.open(part, context)
        except (KeyringError, IntegrityError, StoreUnavailable) as failure:
            failures.append(failure)
    raise _together(failures)


def _refusal(recipients: Sequence[Recipient], single: Sequence[KeyProvider]) -> KeyringError:
    if any(recipient.fits(single, single) for recipient in recipients):
        return _too_weak(recipients)
    shown = ", ".join(recipient.shown for recipient in recipients) or "nobody"
    return KeyringError(
        f"the keyring is sealed by {shown}, and none of these is configured; check the setting tokenizer.seal"
    )


def _too_weak(recipients: Sequence[Recipient]) -> KeyringError:
    shown = ", ".join(recipient.shown for recipient in recipients)
    return KeyringError(
        f"the keyring is sealed for {shown}, and the setting tokenizer.seal requires more of its key providers together; if you "
        "have just changed the setting, run lunacore keys reseal, and if not, somebody put this keyring there"
    )


def _together(failures: Sequence[LunaCoreError]) -> LunaCoreError:
    if len(failures) == 1:
        return failures[0]
    message = "; ".join(dict.fromkeys(failure.message for failure in failures))
    if any(isinstance(failure, StoreUnavailable) for failure in failures):
        return StoreUnavailable(message)
    return KeyringError(message)


def _read_member(entry: bytes) -> tuple[str, bytes]:
    reader = FieldReader(entry)
    name, part = reader.text(), reader.lp()
    reader.finish()
    return name, part


def _shown(name: str, members: Sequence[str]) -> str:
    return f"all({', '.join(members)})" if name.startswith(PREFIX) else name


def _name_of(names: Sequence[str]) -> str:
    encoded = keys.info("keyring-together", *(name.encode() for name in sorted(names)))
    return PREFIX + hashlib.sha256(encoded).digest()[:_DIGEST_BYTES].hex()


def _share_context(context: bytes, name: str, place: int, count: int) -> bytes:
    return keys.info("keyring-share", context, name.encode(), struct.pack(">II", place, count))


def _split(plain: bytes, count: int, random: Callable[[int], bytes]) -> list[bytes]:
    """Shares whose exclusive or is ``plain``; any fewer of them are random bytes."""
    shares = [random(len(plain)) for _ in range(count - 1)]
    return [*shares, _join([plain, *shares])]


def _join(shares: Sequence[bytes]) -> bytes:
    """The exclusive or of all of them.

    Raises:
        IntegrityError: they are not of one size.
    """
    if len({len(share) for share in shares}) != 1:
        raise IntegrityError("the shares of the keyring's body key are not of one size")
    joined = 0
    for share in shares:
        joined ^= int.from_bytes(share, "big")
    return joined.to_bytes(len(shares[0]), "big")
