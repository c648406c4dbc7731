"""Who calls: identities, their roles and their sessions."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

OPERATOR_ISSUER: Final = "lunacore:operator"


class Role(StrEnum):
    """What a caller is; the values are those of a JWT's ``sub``, but ``operator`` is never taken from one."""

    USER = "user"
    APPLICATION = "application"
    DEVELOPER = "developer"  # known and permitted nothing
    OPERATOR = "operator"  # in-process: the library and the command line


@frozen(cache_hash=True)  # what is derived of it is looked up by it, several times a request
class Session:
    """One session of one user: what grants are bound to. ``id`` is whatever the issuer calls it."""

    tenant: str
    issuer: str
    id: str = field(repr=False)


@frozen
class Identity:
    """A verified caller.

    Attributes:
        issuer: who vouches for the caller.
        session: a user's session; an application and an operator have none of their own.
        expires: Unix second at which the credential, and so the session, ends; None for never.
        may_read: whether an application may detokenize without a session's grant.
    """

    tenant: str
    issuer: str
    role: Role
    session: Session | None = None
    expires: int | None = None
    may_read: bool = False


def operator(tenant: str) -> Identity:
    """The identity of a program that holds the keyring itself."""
    return Identity(tenant=tenant, issuer=OPERATOR_ISSUER, role=Role.OPERATOR, may_read=True)


@frozen
class Call:
    """One call: who makes it, the identifier that logs and answer share, and the reason that a person gave.

    ``who`` says for the audit log which person, on which machine, where the identity does not: operators share one.
    """

    identity: Identity
    request: str = ""
    reason: str = ""
    who: Mapping[str, str] = field(factory=dict)
