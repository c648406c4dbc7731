"""Recipients: several key providers, any one or several together, and what no fewer of them can do."""

from __future__ import annotations

import os
from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from attrs import define, frozen
from hypothesis import given
from hypothesis import strategies as st

from lunacore import keyring, keys, recipients
from lunacore.errors import IntegrityError, KeyringError, LunaCoreError, StoreUnavailable, UnsupportedVersion
from lunacore.fields import lp_list
from lunacore.recipients import Recipient, Together, Unusable
from lunacore.testing.key_provider import BODY_KEY, CONTEXT, KeyProviderContract
from lunacore_backends.keyproviders.local import Argon2Cost, KeyFile, Passphrase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore.stores import KeyProvider

CHEAP = Argon2Cost(memory=8, passes=1, lanes=1)
MADE = keyring.create(now=1_700_000_000, random=os.urandom)


def key_file(number: int) -> KeyFile:
    return KeyFile(bytes([number]) * 32, f"seal {number}", os.urandom)


def passphrase(text: bytes) -> Passphrase:
    return Passphrase(text, "tokenizer.seal", os.urandom, CHEAP)


def together(*members: KeyProvider) -> Together:
    return Together(tuple(members), os.urandom)


def sealed_for(*providers: KeyProvider) -> bytes:
    return keyring.seal(MADE, providers, random=os.urandom)


class TestTogether(KeyProviderContract):
    @pytest.fixture
    def open_provider(self) -> Callable[[], KeyProvider]:
        return lambda: together(key_file(1), key_file(2), key_file(3))

    @pytest.fixture
    def stranger(self) -> KeyProvider:
        return together(key_file(1), key_file(2), key_file(4))


class TestTwoPassphrases(KeyProviderContract):
    """Whose names are equal, so that each has to be tried."""

    @pytest.fixture
    def open_provider(self) -> Callable[[], KeyProvider]:
        return lambda: together(passphrase(b"one"), passphrase(b"two"))

    @pytest.fixture
    def stranger(self) -> KeyProvider:
        return together(passphrase(b"one"), passphrase(b"three"))


def entry(numbers: Sequence[int], shared: dict[int, KeyFile]) -> KeyProvider:
    members = [shared[number] for number in numbers]
    return members[0] if len(members) == 1 else together(*members)


# Groups of at most four of six key files; those of one member are key files by themselves.
groups = st.frozensets(st.integers(1, 6), min_size=1, max_size=4)
policies = st.lists(groups, min_size=1, max_size=4, unique=True)


@given(policies, st.frozensets(st.integers(1, 6)))
def test_any_allowed_subset_opens_and_no_other(policy: list[frozenset[int]], held: frozenset[int]) -> None:
    shared = {number: key_file(number) for number in range(1, 7)}
    sealed = sealed_for(*(entry(sorted(group), shared) for group in policy))
    in_hand = [shared[number] for number in sorted(held)]
    if any(group <= held for group in policy):
        assert keyring.unseal(sealed, in_hand) == MADE
    else:
        with pytest.raises(KeyringError):
            keyring.unseal(sealed, in_hand)


@given(policies, policies)
def test_no_recipient_opens_that_asks_for_less_than_is_configured(
    present: list[frozenset[int]], configured: list[frozenset[int]]
) -> None:
    shared = {number: key_file(number) for number in range(1, 7)}
    sealed = sealed_for(*(entry(sorted(group), shared) for group in present))
    entries = [entry(sorted(group), shared) for group in configured]
    held = frozenset[int]().union(*configured)
    if any(group <= held and any(demand <= group for demand in configured) for group in present):
        assert keyring.unseal(sealed, entries) == MADE
    else:
        with pytest.raises(KeyringError):
            keyring.unseal(sealed, entries)


def test_one_of_two_custodians_cannot_pass_off_a_keyring_of_their_own() -> None:
    one, other = key_file(1), key_file(2)
    assert keyring.unseal(sealed_for(together(one, other)), [together(other, one)]) == MADE
    forged = keyring.seal(keyring.create(now=1, random=os.urandom), [one], random=os.urandom)
    with pytest.raises(KeyringError, match=r"requires more of its key providers together.*lunacore keys reseal"):
        keyring.unseal(forged, [together(one, other)])
    # The same under the name of several, of which all are one.
    both_own = together(one, KeyFile(one._key, "again", os.urandom))
    with pytest.raises(KeyringError):
        keyring.unseal(sealed_for(both_own), [together(one, other)])


def test_a_stronger_recipient_opens_for_a_weaker_setting() -> None:
    one, other = key_file(1), key_file(2)
    assert keyring.unseal(sealed_for(together(one, other)), [one, other]) == MADE


def test_fewer_shares_tell_nothing() -> None:
    drawn: list[bytes] = []

    def random(count: int) -> bytes:
        drawn.append(os.urandom(count))
        return drawn[-1]

    members = (key_file(1), key_file(2), key_file(3))
    part = Together(members, random).seal(BODY_KEY, CONTEXT)
    assert len(drawn) == 2
    replayed = iter(drawn)
    shares = recipients._split(BODY_KEY, 3, lambda _count: next(replayed))
    assert shares[:2] == drawn
    assert all(BODY_KEY not in share for share in (*shares, part))
    assert recipients._join(shares) == BODY_KEY


def test_the_order_of_members_means_nothing() -> None:
    one, other = key_file(1), key_file(2)
    assert together(one, other).name == together(other, one).name
    assert together(one, other).open(together(other, one).seal(BODY_KEY, CONTEXT), CONTEXT) == BODY_KEY
    assert together(one, other).name != together(one, key_file(3)).name


def test_a_share_does_not_open_as_a_part_of_its_own() -> None:
    one, other = key_file(1), key_file(2)
    recipient = Recipient.read(together(one, other).name, together(one, other).seal(BODY_KEY, CONTEXT))
    for name, part in recipient.members:
        (provider,) = (member for member in (one, other) if member.name == name)
        with pytest.raises(KeyringError):
            provider.open(part, CONTEXT)


def test_recipients_show_who_is_needed() -> None:
    one, other, third = key_file(1), key_file(2), key_file(3)
    shown = [one.shown for one in keyring.recipients_of(sealed_for(together(one, other), third))]
    assert shown == [f"all({', '.join(sorted([one.name, other.name]))})", third.name]


@define
class Away:
    """A key provider whose service cannot be reached, and that counts how often it was asked."""

    name: str
    asked: int = 0

    def seal(self, plain: bytes, context: bytes) -> bytes:
        raise StoreUnavailable("seal 1: the service cannot be reached")

    def open(self, sealed: bytes, context: bytes) -> bytes:
        self.asked += 1
        raise StoreUnavailable("seal 1: the service cannot be reached")


def test_opening_goes_on_when_one_is_away_and_asks_in_order() -> None:
    one, other = key_file(1), key_file(2)
    sealed = sealed_for(other, one)
    away = Away(one.name)
    assert keyring.unseal(sealed, [away, other]) == MADE
    assert away.asked == 1
    assert keyring.unseal(sealed, [other, away]) == MADE
    assert away.asked == 1


def test_when_all_are_away_it_is_worth_trying_again() -> None:
    one, other = key_file(1), key_file(2)
    with pytest.raises(StoreUnavailable, match="seal 1: the service cannot be reached"):
        keyring.unseal(sealed_for(one), [Away(one.name)])
    wrong = KeyFile(bytes(32), "seal 2", os.urandom)

    @frozen
    class Impostor:
        name = other.name
        seal, open = wrong.seal, wrong.open

    with pytest.raises(StoreUnavailable, match=r"seal 1: the service.*; seal 2: the key file does not open"):
        keyring.unseal(sealed_for(one, other), [Away(one.name), Impostor()])


def test_sealing_needs_all_and_says_which_failed() -> None:
    one = key_file(1)
    lists: list[list[KeyProvider]] = [[one, Away("kms:luna")], [together(one, Away("kms:luna"))]]
    for providers in lists:
        with pytest.raises(
            StoreUnavailable, match=r"cannot be sealed by (kms:luna|all:[0-9a-f]{16}): seal 1: the service"
        ):
            keyring.seal(MADE, providers, random=os.urandom)


def test_one_that_is_lost_stops_no_opening_but_every_sealing() -> None:
    one, label = key_file(1), "tokenizer.seal (file:///b)"
    lost: KeyProvider = Unusable(label, KeyringError(f"{label}: there is no file /b"))
    sealed = sealed_for(one)
    lists: list[list[KeyProvider]] = [[lost, one], [one, lost]]
    for providers in lists:
        assert keyring.unseal(sealed, providers) == MADE
        with pytest.raises(KeyringError, match="there is no file /b"):
            keyring.seal(MADE, providers, random=os.urandom)
    with pytest.raises(KeyringError, match=r"sealed by file:.*none of these is configured.*; .*there is no file /b"):
        keyring.unseal(sealed, [lost, key_file(2)])


@frozen
class Alias:
    """A key provider that may have gone by other names."""

    provider: KeyFile
    name: str = "kms:alias"
    names: tuple[str, ...] = ("kms:old-alias",)

    def seal(self, plain: bytes, context: bytes) -> bytes:
        return self.provider.seal(plain, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        return self.provider.open(sealed, context)

    def answers_to(self, name: str) -> bool:
        return name in self.names


def test_a_key_is_found_under_another_of_its_names() -> None:
    old = Alias(key_file(1), "kms:old-alias", ())
    assert keyring.unseal(sealed_for(old), [Alias(key_file(1))]) == MADE
    with pytest.raises(KeyringError):
        keyring.unseal(sealed_for(Alias(key_file(1), "kms:foreign", ())), [Alias(key_file(1))])
    # Of two that are meant by the name, the one whose own name it is goes first.
    pair = together(old, key_file(2))
    assert keyring.unseal(sealed_for(pair), [together(Alias(key_file(1)), key_file(2))]) == MADE


def test_its_own_name_goes_before_others_that_may_be_meant() -> None:
    one, other = Alias(key_file(1), "kms:one", ("kms:other",)), Away("kms:other")
    sealed = sealed_for(Alias(key_file(2), "kms:other", ()), Alias(key_file(1), "kms:one", ()))
    assert keyring.unseal(sealed, [one, other]) == MADE
    assert other.asked == 0


def test_one_key_under_two_names_is_not_two() -> None:
    one = Alias(key_file(1), "kms:a", ("kms:b", "kms:c"))
    other = Alias(key_file(2), "kms:d", ("kms:b", "kms:c"))
    forged = sealed_for(together(Alias(key_file(1), "kms:b"), Alias(key_file(1), "kms:c")))
    with pytest.raises(KeyringError, match="requires more"):
        keyring.unseal(forged, [together(one, other)])
    assert keyring.unseal(sealed_for(together(one, other)), [together(other, one)]) == MADE


def part_of(version: bytes = b"\x01", entries: tuple[bytes, ...] | None = None, after: bytes = b"") -> bytes:
    return version + lp_list(entries or ()) + after


@pytest.mark.parametrize(
    ("part", "error"),
    [
        (b"", IntegrityError),
        (b"\x02", UnsupportedVersion),
        (b"\x00", UnsupportedVersion),
        (part_of(), IntegrityError),
        (part_of(entries=(b"",)), IntegrityError),
        (part_of(after=b"\x00"), IntegrityError),
    ],
)
def test_refuses_parts_that_are_damaged_or_of_a_later_release(part: bytes, error: type[LunaCoreError]) -> None:
    with pytest.raises(error):
        Recipient.read(together(key_file(1), key_file(2)).name, part)


def test_members_have_one_right_order_and_number() -> None:
    members = [key_file(number) for number in range(1, 18)]
    whole = together(*members[:3])
    entries = Recipient.read(whole.name, whole.seal(BODY_KEY, CONTEXT)).members
    encoded = [keys.lp(name.encode(), part) for name, part in entries]
    assert Recipient.read(whole.name, part_of(entries=tuple(encoded))).members == entries
    for wrong in (encoded[::-1], encoded[:2], encoded[:1], [encoded[0], *encoded]):
        with pytest.raises(IntegrityError):
            Recipient.read(whole.name, part_of(entries=tuple(wrong)))
    for refused in (members, members[:1]):
        with pytest.raises(KeyringError, match="2 to 16"):
            together(*refused).seal(BODY_KEY, CONTEXT)


def test_shares_of_different_sizes_are_refused() -> None:
    with pytest.raises(IntegrityError):
        recipients._join([bytes(32), bytes(31)])


def test_every_single_one_of_three_is_needed() -> None:
    members = [key_file(number) for number in (1, 2, 3)]
    sealed = sealed_for(together(*members))
    for held in combinations(members, 2):
        with pytest.raises(KeyringError, match="none of these is configured"):
            keyring.unseal(sealed, held)
