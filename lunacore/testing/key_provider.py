"""The contract of ``KeyProvider``: a suite to subclass.

A backend's tests are a subclass with two fixtures::

    class TestMyKeyProvider(KeyProviderContract):
        @pytest.fixture
        def open_provider(self): ...    # opens the same key as often as it is called

        @pytest.fixture
        def stranger(self): ...         # a provider of the same kind with another key
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from lunacore.errors import IntegrityError, KeyringError
from lunacore.keyring import MAX_NAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore.stores import KeyProvider

BODY_KEY: Final = bytes(range(32))
CONTEXT: Final = b"lunacore/v1/keyring of the contract"
REFUSED: Final = (KeyringError, IntegrityError)


class KeyProviderContract:
    """What every ``KeyProvider`` must do."""

    @pytest.fixture
    def open_provider(self) -> Callable[[], KeyProvider]:
        """Opens the same key as often as it is called."""
        raise NotImplementedError

    @pytest.fixture
    def stranger(self) -> KeyProvider:
        """A provider of the same kind with another key."""
        raise NotImplementedError

    @pytest.fixture
    def provider(self, open_provider: Callable[[], KeyProvider]) -> KeyProvider:
        return open_provider()

    @pytest.mark.parametrize("plain", [b"", b"\x00", BODY_KEY, BODY_KEY * 128])
    @pytest.mark.parametrize("context", [b"", CONTEXT])
    def test_opens_what_it_sealed(self, provider: KeyProvider, plain: bytes, context: bytes) -> None:
        assert provider.open(provider.seal(plain, context), context) == plain

    def test_opens_what_an_earlier_opening_sealed(self, open_provider: Callable[[], KeyProvider]) -> None:
        sealed = open_provider().seal(BODY_KEY, CONTEXT)
        assert open_provider().open(sealed, CONTEXT) == BODY_KEY

    def test_has_a_lasting_name_that_fits(self, open_provider: Callable[[], KeyProvider]) -> None:
        name = open_provider().name
        assert 1 <= len(name.encode()) <= MAX_NAME_BYTES
        assert name.isprintable()
        assert open_provider().name == name

    def test_sealing_twice_gives_different_bytes(self, provider: KeyProvider) -> None:
        assert provider.seal(BODY_KEY, CONTEXT) != provider.seal(BODY_KEY, CONTEXT)

    def test_the_sealed_form_does_not_show_what_it_holds(self, provider: KeyProvider) -> None:
        assert BODY_KEY not in provider.seal(BODY_KEY, CONTEXT)

    @pytest.mark.parametrize("other", [b"", CONTEXT[:-1], CONTEXT + b"\x00"])
    def test_refuses_another_context(self, provider: KeyProvider, other: bytes) -> None:
        sealed = provider.seal(BODY_KEY, CONTEXT)
        with pytest.raises(KeyringError):
            provider.open(sealed, other)

    def test_refuses_what_another_key_sealed(self, provider: KeyProvider, stranger: KeyProvider) -> None:
        sealed = stranger.seal(BODY_KEY, CONTEXT)
        with pytest.raises(KeyringError):
            provider.open(sealed, CONTEXT)

    def test_refuses_every_changed_byte(self, provider: KeyProvider) -> None:
        sealed = provider.seal(BODY_KEY, CONTEXT)
        for at, byte in enumerate(sealed):
            changed = sealed[:at] + bytes([byte ^ 1]) + sealed[at + 1 :]
            with pytest.raises(REFUSED):
                provider.open(changed, CONTEXT)

    def test_refuses_every_cut_and_what_is_added(self, provider: KeyProvider) -> None:
        sealed = provider.seal(BODY_KEY, CONTEXT)
        for wrong in (*(sealed[:end] for end in range(len(sealed))), sealed + b"\x00"):
            with pytest.raises(REFUSED):
                provider.open(wrong, CONTEXT)
