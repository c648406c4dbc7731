"""Everything that LunaCore raises on purpose.

Each class has a stable ``name`` that clients, logs and the audit log may rely on; ``lunacore_http.errors`` maps names to HTTP
statuses. Messages tell a person what to do and never hold a token, key, cookie or JWT.
"""

from __future__ import annotations

from typing import ClassVar


class LunaCoreError(Exception):
    """Base of every error that this project raises on purpose."""

    name: ClassVar[str] = "internalError"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequest(LunaCoreError):
    """The caller sent something malformed; ``field`` names what, if one thing is to blame."""

    name = "invalidRequest"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class InvalidToken(InvalidRequest):
    """The string is no token of any known kind."""

    def __init__(self, message: str = "tokenId is not a token; pass it exactly as tokenize returned it") -> None:
        super().__init__(message, field="tokenId")


class Unauthenticated(LunaCoreError):
    """No credential, or one that does not hold."""

    name = "unauthenticated"


class RoleForbidden(LunaCoreError):
    """The caller's role may not do this."""

    name = "roleForbidden"


class GrantMissing(LunaCoreError):
    """No live grant lets this session use the token.

    Also what a user gets for a token that does not exist, so that tokens cannot be probed for.
    """

    name = "grantMissing"

    def __init__(self, message: str = "this session has no grant for the token; let the application grant it") -> None:
        super().__init__(message)


class SessionMismatch(LunaCoreError):
    """The session hash that was sent belongs to another session, or a browser sent none."""

    name = "sessionMismatch"


class TokenNotFound(LunaCoreError):
    """There is no such token; told to applications and operators only."""

    name = "tokenNotFound"

    def __init__(self, message: str = "there is no such token, or it was deleted") -> None:
        super().__init__(message)


class Conflict(LunaCoreError):
    """The present state forbids it; what exists stays as it is."""

    name = "conflict"


class LengthRequired(LunaCoreError):
    """A body came without ``Content-Length``."""

    name = "lengthRequired"


class TooLarge(LunaCoreError):
    """More than the configured limit."""

    name = "tooLarge"


class RateLimited(LunaCoreError):
    """Too many, too fast; ``retry_after`` is in seconds."""

    name = "rateLimited"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreUnavailable(LunaCoreError):
    """A store, the keyring or the audit log cannot be used now; ``retry_after`` is in seconds."""

    name = "storeUnavailable"

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AuditUnavailable(StoreUnavailable):
    """The audit log cannot be written, so nothing is released."""


class IntegrityError(LunaCoreError):
    """Stored bytes are not what LunaCore wrote under these keys: damaged, tampered with, or of another keyring."""

    name = "integrityError"


class UnsupportedVersion(IntegrityError):
    """Stored bytes carry a format version or suite that this release does not know; they are left untouched."""


class UnknownKeyVersion(IntegrityError):
    """The keyring holds no key of this version; ``purpose`` and ``version`` name it."""

    def __init__(self, purpose: str, version: int) -> None:
        super().__init__(f"the keyring holds no {purpose} key of version {version}")
        self.purpose = purpose
        self.version = version


class KeyringError(LunaCoreError):
    """The keyring is missing, cannot be opened, or does not belong to the record store."""

    name = "keyringError"


class ConfigError(LunaCoreError):
    """A setting is unknown, missing or wrong; the message names it and says what to do."""

    name = "configError"
