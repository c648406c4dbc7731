"""Tokens over HTTP: tokenize, detokenize, metadata, label and delete."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import frozen
from msgspec import UNSET, UnsetType

from lunacore import durations
from lunacore.errors import Conflict, InvalidRequest, LunaCoreError
from lunacore.identity import Role
from lunacore.outcomes import among, attempt, unrefused
from lunacore.records import ValueFormat
from lunacore.tickets import NewValue
from lunacore_http import wire
from lunacore_http.resources.sessions import named_session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from lunacore.identity import Call, Session
    from lunacore.outcomes import Outcome
    from lunacore.tickets import Ticket
    from lunacore.tokenizer import Tokenizer
    from lunacore_http.answering import Identifies

T = TypeVar("T")

_FORMATS = {one.wire_name: one for one in ValueFormat}


@frozen
class Tokens:
    """What is done with tokens and their values."""

    tokenizer: Tokenizer
    identities: Identifies

    def tokenize(self, call: Call, asked: wire.NewToken | wire.NewTokens) -> Sequence[Outcome[wire.UploadTicket]]:
        """Mint tokens. Items that name a session of their own are done session by session."""
        items = asked.parts()
        outcomes: dict[int, Outcome[wire.UploadTicket]] = {}
        for places in _by_session(items):
            told = self._tokenize(call, [items[place] for place in places])
            outcomes.update(zip(places, told, strict=True))
        return [outcomes[place] for place in range(len(items))]

    def detokenize(self, call: Call, asked: wire.OneToken | wire.ManyTokens) -> Sequence[Outcome[wire.DownloadTicket]]:
        """Hand out what it takes to download values."""
        tickets = self.tokenizer.detokenize(call, asked.parts())
        return [one if isinstance(one, LunaCoreError) else _download(one) for one in tickets]

    def metadata(self, call: Call, asked: wire.OneToken | wire.ManyTokens) -> Sequence[Outcome[wire.KeptMetadata]]:
        """Tell what was said of values when they were tokenized."""
        kept = self.tokenizer.metadata(call, asked.parts())
        return [one if isinstance(one, LunaCoreError) else _kept(one) for one in kept]

    def label(self, call: Call, asked: wire.LabelToken | wire.LabelTokens) -> Sequence[Outcome[wire.Empty]]:
        """Say whose values tokens stand for."""
        labelled = self.tokenizer.label(call, asked.parts(), asked.labels)
        return [one if isinstance(one, LunaCoreError) else wire.Empty() for one in labelled]

    def delete(self, call: Call, asked: wire.OneToken | wire.ManyTokens) -> Sequence[Outcome[wire.Empty]]:
        """Erase tokens and values."""
        erased = self.tokenizer.delete(call, asked.parts())
        return [one if isinstance(one, LunaCoreError) else wire.Empty() for one in erased]

    def delete_label(self, call: Call, asked: wire.DeleteLabel) -> Sequence[Outcome[wire.ErasedLabel]]:
        """Erase some of what has a label, and give a receipt."""
        done = self.tokenizer.erase_label(call, asked.label)
        return [wire.ErasedLabel(erased=len(done.erased), complete=done.complete, receipt=done.receipt)]

    def _tokenize(self, call: Call, items: Sequence[wire.NewToken]) -> Sequence[Outcome[wire.UploadTicket]]:
        """Mint tokens for one session; what is wrong with the session is wrong with each of its items."""
        values = [attempt(_new_value, call, item) for item in items]
        try:
            session = self._session(call, items[0])
            tickets = among(values, self.tokenizer.tokenize(call, unrefused(values), session=session))
        except (Conflict, InvalidRequest) as refusal:
            return [refusal] * len(items)
        return [one if isinstance(one, LunaCoreError) else _upload(one) for one in tickets]

    def _session(self, call: Call, item: wire.NewToken) -> Session | None:
        if isinstance(item.session_id, UnsetType):
            return None
        return named_session(self.identities, call.identity, item.session_id, item.session_issuer)


def _by_session(items: Sequence[wire.NewToken]) -> Sequence[Sequence[int]]:
    """The places of the items that name the same session, or none."""
    places: dict[tuple[str | UnsetType, str | UnsetType], list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault((item.session_id, item.session_issuer), []).append(place)
    return list(places.values())


def _new_value(call: Call, item: wire.NewToken) -> NewValue:
    return NewValue(
        metadata=wire.members(item.metadata),
        size=None if isinstance(item.size, UnsetType) else item.size,
        value_format=_FORMATS[item.value_format],
        ttl=_of_application(call, "ttl", None if isinstance(item.ttl, UnsetType) else durations.parse(item.ttl, "ttl")),
        labels=_of_application(call, "labels", () if isinstance(item.labels, UnsetType) else tuple(item.labels)),
    )


def _of_application(call: Call, member: str, given: T) -> T:
    """What only an application may say: a user could have a value vanish, or be erased in another person's name."""
    if given not in (None, ()) and call.identity.role is Role.USER:
        raise InvalidRequest(f"{member} is for applications", field=member)
    return given


def _upload(ticket: Ticket) -> wire.UploadTicket:
    return wire.UploadTicket(
        token_id=str(ticket.token),  # msgspec takes no subclass of str
        upload_url=ticket.request.url,
        headers=dict(ticket.request.headers),
        value_format=_sealed(ticket),
        value_key=_value_key(ticket),
    )


def _download(ticket: Ticket) -> wire.DownloadTicket:
    return wire.DownloadTicket(
        download_url=ticket.request.url,
        headers=dict(ticket.request.headers),
        value_format=_sealed(ticket),
        value_key=_value_key(ticket),
    )


def _sealed(ticket: Ticket) -> Literal["sealed-v1"] | UnsetType:
    return UNSET if ticket.value_key is None else "sealed-v1"


def _value_key(ticket: Ticket) -> str | UnsetType:
    return UNSET if ticket.value_key is None else base64.b64encode(ticket.value_key).decode("ascii")


def _kept(metadata: dict[str, Any]) -> wire.KeptMetadata:
    # It was checked when it was kept, and encodes as it is.
    return wire.KeptMetadata(cast("wire.Metadata", metadata))
