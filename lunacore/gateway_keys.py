"""The credentials of the gateway: what the tokenizer signs tickets with, and the gateway verifies them by.

They are expanded from the keyring's gateway keys, one access key a version, so that a gateway on its own needs these alone and
can open no record with them.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final, Protocol

from attrs import frozen

from lunacore import keys
from lunacore.sigv4 import Credentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunacore.keyring import VersionedKey

REGION: Final = "lunacore"
BUCKET: Final = "objects"


class GatewayKeys(Protocol):
    """Where a gateway's credentials come from; safe to call from several threads."""

    def active(self, now: float) -> Credentials:
        """The credentials to sign with."""
        ...

    def of(self, access_key: str) -> Credentials | None:
        """The credentials of an access key, None if it is unknown or retired."""
        ...


def credentials(key: VersionedKey) -> Credentials:
    """The credentials that one gateway key stands for."""
    secret = base64.b64encode(keys.expand(key.secret, "gateway-signing")).decode("ascii")
    return Credentials(access_key=f"lunacore-gateway-{key.version}", secret_key=secret)


@frozen
class FixedGatewayKeys:
    """Credentials that do not change while the process runs; the first is the active one."""

    known: Sequence[Credentials]

    def active(self, now: float) -> Credentials:  # noqa: ARG002 - the protocol's
        return self.known[0]

    def of(self, access_key: str) -> Credentials | None:
        return next((one for one in self.known if one.access_key == access_key), None)
