"""What the application signs: JWTs of its own for calls, and one-use assertions of its users' sessions.

``docs/reference/identity.md`` says what the tokenizer makes of them.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from lunacore.errors import InvalidRequest
from lunacore_http.sdk.signing_keys import key_set

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore_http.sdk.settings import Settings
    from lunacore_http.sdk.signing_keys import SigningKey, SigningKeys

BEARER_TTL: Final = 300
"""Seconds that the application's own JWT is valid."""
RENEWED_BEFORE: Final = 60
"""Seconds before its end from which on it is not used any more."""
ASSERTION_TTL: Final = 45
"""Seconds that an assertion is valid: less than the 60 that are allowed, so that clocks may differ a little."""
MAX_SESSION_ID: Final = 256

STATE: Final = re.compile(r"[A-Za-z0-9_-]{22,128}", re.ASCII)
"""What a state looks like: base64url of 16 bytes or more; the tokenizer's has 32."""

_JTI_BYTES: Final = 24


@frozen
class _Bearer:
    text: str = field(repr=False)
    key_id: str
    issued: int
    until: int


class Credentials:
    """Signs; safe to use from several threads.

    Args:
        now: the clock, in Unix seconds.
        random: random bytes.
    """

    def __init__(
        self, settings: Settings, keys: SigningKeys, *, now: Callable[[], float], random: Callable[[int], bytes]
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._now = now
        self._random = random
        self._bearer: _Bearer | None = None

    def bearer(self) -> str:
        """The application's own JWT, signed anew shortly before it expires, or when another key signs now.

        Raises:
            StoreUnavailable: there is no key to sign with.
        """
        key = self._keys.current()[0]
        kept = self._bearer
        # A clock that was set back would make a JWT that is not valid yet pass for a fresh one.
        if kept is None or kept.key_id != key.id or not kept.issued <= self._now() < kept.until:
            kept = self._bearer = self._new_bearer(key)
        return kept.text

    def is_quick(self) -> bool:
        """Whether ``bearer`` answers without asking the application's function for keys."""
        return self._keys.are_at_hand()

    def forget(self, bearer: str) -> None:
        """Do not use this JWT again: the tokenizer refused it."""
        if self._bearer is not None and self._bearer.text == bearer:
            self._bearer = None

    def assertion(self, session_id: str, state: str) -> str:
        """What ``/session/create`` takes, once: that the browser with this state has this session.

        Raises:
            InvalidRequest: state or session id have not the right form.
            StoreUnavailable: there is no key to sign with.
        """
        check_state(state)
        check_session_id(session_id)
        now = int(self._now())
        claims = {
            "iss": self._settings.issuer,
            "aud": f"{self._settings.tokenizer_url}/session/create",
            "sub": "user",
            "session_id": session_id,
            "nonce": state,
            "jti": base64.urlsafe_b64encode(self._random(_JTI_BYTES)).decode("ascii"),
            "iat": now,
            "exp": now + ASSERTION_TTL,
            "session_exp": now + self._settings.session_ttl,
        }
        return self._keys.current()[0].sign(claims)

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """All current public keys.

        Raises:
            StoreUnavailable: there are none.
        """
        return key_set(self._keys.current())

    def _new_bearer(self, key: SigningKey) -> _Bearer:
        now = int(self._now())
        claims = {
            "iss": self._settings.issuer,
            "aud": self._settings.tokenizer_url,
            "sub": "application",
            "iat": now,
            "exp": now + BEARER_TTL,
        }
        return _Bearer(key.sign(claims), key.id, issued=now, until=now + BEARER_TTL - RENEWED_BEFORE)


def check_state(state: object) -> str:
    """A state of the right form: whether the tokenizer made it, the tokenizer will see.

    Raises:
        InvalidRequest: it is something else.
    """
    if not isinstance(state, str) or not STATE.fullmatch(state):
        raise InvalidRequest("state is not one that the tokenizer made; begin at /session/ensure", field="state")
    return state


def check_session_id(session_id: object) -> str:
    """A session id: 1 to 256 printable characters.

    Raises:
        InvalidRequest: it is something else, such as None for nobody.
    """
    if not isinstance(session_id, str) or not 0 < len(session_id) <= MAX_SESSION_ID or not session_id.isprintable():
        raise InvalidRequest(
            f"a session id must be text of 1 to {MAX_SESSION_ID} printable characters; is anybody logged in?",
            field="sessionId",
        )
    return session_id
