"""LunaCore keeps sensitive values out of applications: they store tokens, and the values lie encrypted where they cannot read.

>>> import lunacore
>>> with lunacore.open_vault("./vault") as vault:  # doctest: +SKIP
...     token = vault.put(b"4111 1111 1111 1111")
...     vault.get(token)
b'4111 1111 1111 1111'
"""

from lunacore.config import Config
from lunacore.deployment import Deployment, init_keyring, open_deployment
from lunacore.errors import (
    AuditUnavailable,
    ConfigError,
    Conflict,
    GrantMissing,
    IntegrityError,
    InvalidRequest,
    InvalidToken,
    KeyringError,
    LengthRequired,
    LunaCoreError,
    RateLimited,
    RoleForbidden,
    SessionMismatch,
    StoreUnavailable,
    TokenNotFound,
    TooLarge,
    Unauthenticated,
    UnknownKeyVersion,
    UnsupportedVersion,
)
from lunacore.grants import GrantType
from lunacore.identity import Call, Identity, Role, Session
from lunacore.records import ValueFormat
from lunacore.tickets import Access, NewValue, Ticket
from lunacore.tokenizer import Tokenizer
from lunacore.tokens import Token
from lunacore.vault import Vault, open_vault
from lunacore.version import __version__

__all__ = [
    "Access",
    "AuditUnavailable",
    "Call",
    "Config",
    "ConfigError",
    "Conflict",
    "Deployment",
    "GrantMissing",
    "GrantType",
    "Identity",
    "IntegrityError",
    "InvalidRequest",
    "InvalidToken",
    "KeyringError",
    "LengthRequired",
    "LunaCoreError",
    "NewValue",
    "RateLimited",
    "Role",
    "RoleForbidden",
    "Session",
    "SessionMismatch",
    "StoreUnavailable",
    "Ticket",
    "Token",
    "TokenNotFound",
    "Tokenizer",
    "TooLarge",
    "Unauthenticated",
    "UnknownKeyVersion",
    "UnsupportedVersion",
    "ValueFormat",
    "Vault",
    "__version__",
    "init_keyring",
    "open_deployment",
    "open_vault",
]
