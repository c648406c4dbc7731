"""Grants over HTTP: set, verify and revoke."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from msgspec import UnsetType

from lunacore import durations
from lunacore.errors import LunaCoreError
from lunacore.grants import GrantType
from lunacore_http import wire
from lunacore_http.resources.sessions import named_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunacore.identity import Call, Session
    from lunacore.outcomes import Outcome
    from lunacore.tokenizer import Tokenizer
    from lunacore_http.answering import Identifies


@frozen
class Grants:
    """What applications do with the grants of their users' sessions."""

    tokenizer: Tokenizer
    identities: Identifies

    def set(self, call: Call, asked: wire.SetGrant | wire.SetGrants) -> Sequence[Outcome[wire.Empty]]:
        """Let a session use tokens."""
        granted = self.tokenizer.grant(
            call, self._session(call, asked), asked.parts(), kind=GrantType(asked.grant_type), ttl=_ttl(asked)
        )
        return [_empty(one) for one in granted]

    def verify(self, call: Call, asked: wire.VerifyGrant | wire.VerifyGrants) -> Sequence[Outcome[wire.Validity]]:
        """Tell whether a session may use tokens."""
        valid = self.tokenizer.verify(call, self._session(call, asked), asked.parts(), kind=GrantType(asked.grant_type))
        return [one if isinstance(one, LunaCoreError) else wire.Validity(one) for one in valid]

    def revoke(self, call: Call, asked: wire.RevokeGrant | wire.RevokeGrants) -> Sequence[Outcome[wire.Empty]]:
        """Void a session's grants for tokens, or all that it has where none is named."""
        texts = asked.parts()
        revoked = self.tokenizer.revoke(call, self._session(call, asked), texts or None)
        return [_empty(one) for one in revoked] or [wire.Empty()]

    def _session(
        self,
        call: Call,
        asked: wire.SetGrant
        | wire.SetGrants
        | wire.VerifyGrant
        | wire.VerifyGrants
        | wire.RevokeGrant
        | wire.RevokeGrants,
    ) -> Session:
        return named_session(self.identities, call.identity, asked.session_id, asked.session_issuer)


def _ttl(asked: wire.SetGrant | wire.SetGrants) -> int | None:
    if isinstance(asked.custom_duration, UnsetType):
        return None
    return durations.parse(asked.custom_duration, "customDuration")


def _empty(outcome: Outcome[None]) -> Outcome[wire.Empty]:
    return outcome if isinstance(outcome, LunaCoreError) else wire.Empty()
