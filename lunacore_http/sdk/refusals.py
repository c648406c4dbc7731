"""What the tokenizer refuses, as the errors of ``lunacore.errors`` again: by the stable names of the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunacore.errors import (
    Conflict,
    GrantMissing,
    InvalidRequest,
    LengthRequired,
    LunaCoreError,
    RateLimited,
    RoleForbidden,
    SessionMismatch,
    StoreUnavailable,
    TokenNotFound,
    TooLarge,
    Unauthenticated,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_RETRY_AFTER: Final = 5
"""Seconds to wait where an answer does not say."""

_WITH_MESSAGE: Final[Mapping[str, type[LunaCoreError]]] = {
    one.name: one
    for one in (
        Conflict,
        GrantMissing,
        InvalidRequest,
        LengthRequired,
        RoleForbidden,
        SessionMismatch,
        TokenNotFound,
        TooLarge,
        Unauthenticated,
    )
}
_WITH_WAIT: Final[Mapping[str, type[RateLimited | StoreUnavailable]]] = {
    one.name: one for one in (RateLimited, StoreUnavailable)
}


class UnexpectedAnswer(LunaCoreError):
    """The tokenizer answered in a way that this release does not understand, or failed inside."""

    name = "unexpectedAnswer"


def refusal(name: str, message: str, *, retry_after: int | None = None) -> LunaCoreError:
    """The error of that name; one that only the server has becomes ``UnexpectedAnswer``.

    ``retry_after`` is in seconds, None where the answer did not say.
    """
    if (waits := _WITH_WAIT.get(name)) is not None:
        return waits(message, retry_after=DEFAULT_RETRY_AFTER if retry_after is None else retry_after)
    if (known := _WITH_MESSAGE.get(name)) is not None:
        return known(message)
    return UnexpectedAnswer(message)
