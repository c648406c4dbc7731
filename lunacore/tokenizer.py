"""The tokenizer: the whole story of a token, from minting to erasure.

To tokenize is: mint tokens, write their records, allow the session to store and read them, write the audit log, hand out upload
tickets. To detokenize is: look up grants and records, open what is granted, write the audit log, hand out download tickets. Every
call is a batch; one item's refusal stands in its place as an error and leaves the others whole. What concerns the whole call (a
role that may not make it, a store that cannot be reached) is raised.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, field, frozen

from lunacore import metadata as metadata_codec
from lunacore import receipts, segments, tokens
from lunacore.audit import ALLOWED, Action, AuditEvent
from lunacore.bulk_erasure import ERASED_AT_ONCE, BulkEraser, LabelErased, is_label, label_fingerprint
from lunacore.errors import (
    Conflict,
    GrantMissing,
    InvalidRequest,
    LunaCoreError,
    RateLimited,
    RoleForbidden,
    TokenNotFound,
    TooLarge,
    Unauthenticated,
)
from lunacore.grants import GrantType
from lunacore.identity import Role
from lunacore.keys import KEY_BYTES
from lunacore.lookup import changing
from lunacore.outcomes import among, attempt, only, unrefused
from lunacore.receipts import Erasure
from lunacore.records import (
    MAX_LABEL_BYTES,
    MAX_LABELS,
    OBJECT_NAME_BYTES,
    Contents,
    OperatorFields,
    Placement,
    Record,
    RecordState,
    ValueFormat,
)
from lunacore.rekeying import keyed_at
from lunacore.sessions import session_fingerprint
from lunacore.tickets import Access, Ticket
from lunacore.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lunacore.background_rekeying import BackgroundRekeying
    from lunacore.erasure import Erased, Eraser
    from lunacore.grants import Grants
    from lunacore.identity import Call, Session
    from lunacore.keyring_source import KeyringSource
    from lunacore.limits import RateLimit
    from lunacore.lookup import Found, Lookup, PresentedToken
    from lunacore.outcomes import Outcome
    from lunacore.rekeying import Rekeyer
    from lunacore.stores import AuditSink, ObjectStore, SignedRequest
    from lunacore.tickets import NewValue

_CHANGE_ATTEMPTS: Final = 5
_MAX_VALUE_TTL: Final = 100 * 365 * 24 * 3600
_CALLERS: Final = (Role.USER, Role.APPLICATION, Role.OPERATOR)
_GRANTERS: Final = (Role.APPLICATION, Role.OPERATOR)


@frozen
class Policy:
    """What the operator decides.

    Attributes:
        upload_ttl: seconds that an upload URL lives at most.
        download_ttl: seconds that a download URL lives at most.
        unverified_ttl: seconds after which a token whose upload nobody confirmed may be swept.
        never_uploaded_ttl: seconds after which a token may be swept to which nothing was uploaded.
        max_value_size: bytes of one value at most.
    """

    upload_ttl: int = 300
    download_ttl: int = 120
    unverified_ttl: int = 7 * 24 * 3600
    never_uploaded_ttl: int = 24 * 3600
    max_value_size: int = 5 * 1024**3


@frozen
class _Minted:
    """A token that was just made, with the record that is to be written."""

    access: Access
    presented: PresentedToken
    record: Record
    labels: tuple[str, ...] = field(repr=False)

    @property
    def fingerprint(self) -> str:
        return self.presented.fingerprint


@frozen
class _Readable:
    """A token that the caller may read until a Unix second, None for no bound."""

    access: Access
    until: int | None


@frozen
class Tokenizer:
    """Mints tokens, decides who may use them, and hands out tickets; it never sees a value.

    All parts are passed in: ``now`` gives Unix seconds, ``random`` cryptographically secure bytes.
    """

    lookup: Lookup
    grants: Grants
    objects: ObjectStore
    eraser: Eraser
    keyring: KeyringSource
    audit: AuditSink
    reads: Mapping[Role, RateLimit]
    erasures: Mapping[Role, RateLimit]
    rekeyer: Rekeyer
    rekeying: BackgroundRekeying | None
    policy: Policy
    now: Callable[[], float] = field(repr=False)
    random: Callable[[int], bytes] = field(repr=False)

    @property
    def bulk_eraser(self) -> BulkEraser:
        """Erases many tokens without having them, for operators."""
        return BulkEraser(self.lookup, self.eraser, self.audit, self.now)

    def tokenize(
        self, call: Call, values: Sequence[NewValue], *, session: Session | None = None
    ) -> list[Outcome[Ticket]]:
        """Mint a token for each value and hand out tickets to upload them.

        A user's session, or the ``session`` that an application names, is granted to store and to read the tokens.

        Raises:
            RoleForbidden: the caller is neither user nor application.
            Unauthenticated: the user's session has ended.
            Conflict: the session that the application names has ended.
        """
        now = int(self.now())
        until = now + _bounded(self.policy.upload_ttl, self._grant_expiry(call, None, now), now)
        issued = self.issue(call, values, session=session, upload_until=until)
        return [
            one if isinstance(one, LunaCoreError) else self._upload_ticket(one, value, now, until - now)
            for one, value in zip(issued, values, strict=True)
        ]

    def issue(
        self, call: Call, values: Sequence[NewValue], *, session: Session | None = None, upload_until: int = 0
    ) -> list[Outcome[Access]]:
        """As ``tokenize``, but for programs that transfer values themselves: gives names and keys in place of tickets.

        ``upload_until`` is the Unix second until which upload URLs for these tokens may live, 0 where there are none.
        """
        now = int(self.now())
        self._admit(call, Action.TOKENIZE, session=session)
        session = self._own_session(call, Action.TOKENIZE, session, now)
        minted = [attempt(self._mint, call, session, value, now, upload_until) for value in values]
        written = [one for one in minted if isinstance(one, _Minted)]
        self.lookup.store.create([one.record for one in written])
        if session is not None and written:
            expires = self._grant_expiry(call, None, now)
            canonical = [one.presented.canonical for one in written]
            self.grants.allow(session, canonical, tuple(GrantType), now=now, expires=expires)
        self._write_audit(call, Action.TOKENIZE, minted, minted, session=session, details=self._labels(call, minted))
        return [one.access if isinstance(one, _Minted) else one for one in minted]

    def detokenize(self, call: Call, texts: Sequence[str]) -> list[Outcome[Ticket]]:
        """Hand out tickets to download the values of the tokens that the caller may read.

        Raises:
            RoleForbidden: the caller's role may not read values.
            RateLimited: too many tokens in this minute.
        """
        now = int(self.now())
        return [
            one if isinstance(one, LunaCoreError) else self._download_ticket(one.access, one.until, now)
            for one in self._readable(call, texts, now)
        ]

    def access(self, call: Call, texts: Sequence[str]) -> list[Outcome[Access]]:
        """As ``detokenize``, but for programs that transfer values themselves: gives names and keys in place of tickets."""
        readable = self._readable(call, texts, int(self.now()))
        return [one if isinstance(one, LunaCoreError) else one.access for one in readable]

    def grant(
        self,
        call: Call,
        session: Session,
        texts: Sequence[str],
        *,
        kind: GrantType = GrantType.READ,
        ttl: int | None = None,
    ) -> list[Outcome[None]]:
        """Let a session use tokens for ``ttl`` seconds (the configured default where None).

        Raises:
            RoleForbidden: only applications may grant.
            InvalidRequest: ``ttl`` is past the configured maximum.
            Conflict: the session has ended.
        """
        self._admit(call, Action.GRANT_SET, _GRANTERS, session=session)
        now = int(self.now())
        expires = self._grant_expiry(call, ttl, now)
        self._require_live(call, Action.GRANT_SET, session, now)
        presented = self._present(call, texts)
        found = self._find(presented)
        existing = [one.token.canonical for one in unrefused(found)]
        # Written first: a grant that the log does not show must not stand.
        self._write_audit(call, Action.GRANT_SET, presented, found, session=session, type=kind.value)
        if existing:
            self.grants.allow(session, existing, (kind,), now=now, expires=expires)
        return [one if isinstance(one, LunaCoreError) else None for one in found]

    def verify(
        self, call: Call, session: Session, texts: Sequence[str], *, kind: GrantType = GrantType.STORE
    ) -> list[Outcome[bool]]:
        """Tell whether the session holds a live grant of that kind; for a store grant also whether the value is there.

        The first time that the value is found there, its size and ETag are recorded.

        Raises:
            RoleForbidden: only applications may ask.
        """
        self._admit(call, Action.GRANT_VERIFY, _GRANTERS, session=session)
        presented = self._present(call, texts)
        granted = self._expiries(session, presented, kind, int(self.now()))
        found = self._find(presented)
        valid = [attempt(self._is_valid, one, expiry, kind) for one, expiry in zip(found, granted, strict=True)]
        outcomes = [GrantMissing() if one is False else one for one in valid]
        self._write_audit(call, Action.GRANT_VERIFY, presented, outcomes, session=session, type=kind.value)
        return valid

    def confirm(self, call: Call, texts: Sequence[str]) -> list[Outcome[bool]]:
        """As ``verify`` does for store grants, but for programs that transfer values themselves: no session is asked for.

        Raises:
            RoleForbidden: the caller is no operator.
        """
        self._admit(call, Action.GRANT_VERIFY, (Role.OPERATOR,))
        found = self._find(self._present(call, texts))
        return [one if isinstance(one, LunaCoreError) else attempt(self._confirm, one) for one in found]

    def revoke(self, call: Call, session: Session, texts: Sequence[str] | None = None) -> list[Outcome[None]]:
        """Void the session's grants for these tokens, or with None all that it has.

        Raises:
            RoleForbidden: only applications may revoke.
        """
        self._admit(call, Action.GRANT_REVOKE, _GRANTERS, session=session)
        # Done before it is written, unlike a grant: it takes away, and a log that is down must not keep permissions alive.
        if texts is None:
            self.grants.revoke_all(session, now=int(self.now()))
            self._write_audit(call, Action.GRANT_REVOKE, [None], [None], session=session)
            return []
        presented = self._present(call, texts)
        self.grants.revoke(session, [one.canonical for one in unrefused(presented)])
        self._write_audit(call, Action.GRANT_REVOKE, presented, presented, session=session)
        return [one if isinstance(one, LunaCoreError) else None for one in presented]

    def begin_session(self, call: Call) -> None:
        """Let a user's session begin that its issuer vouches for just now.

        Raises:
            RoleForbidden: the caller is no user.
            Unauthenticated: the session has ended, and no session begins twice.
        """
        self._admit(call, Action.SESSION_CREATE, (Role.USER,))
        self._own_session(call, Action.SESSION_CREATE, None, int(self.now()))
        self._write_audit(call, Action.SESSION_CREATE, [None], [None])

    def end_session(self, call: Call, session: Session) -> None:
        """End a session: its grants are void from now on, and it is given no new ones.

        Raises:
            RoleForbidden: a user may end its own session only.
        """
        self._admit(call, Action.SESSION_END, session=session)
        if call.identity.role is Role.USER and call.identity.session != session:
            raise self._refusal(call, Action.SESSION_END, RoleForbidden("a user may end its own session only"))
        # As with revoke: first the safe side, then the log.
        self.grants.end(session, now=int(self.now()))
        self._write_audit(call, Action.SESSION_END, [None], [None], session=session)

    def metadata(self, call: Call, texts: Sequence[str]) -> list[Outcome[dict[str, Any]]]:
        """The metadata of tokens: for a user those that its session may read, for an application any of its tenant.

        Raises:
            RoleForbidden: the caller is neither user nor application.
        """
        self._admit(call, Action.METADATA_GET)
        presented = self._present(call, texts)
        granted = self._read_bounds(call, presented, int(self.now()))
        opened = [
            attempt(_metadata_of, one, bound)
            for one, bound in zip(self._find(presented, _missing_for(call)), granted, strict=True)
        ]
        self._write_audit(call, Action.METADATA_GET, presented, opened)
        return opened

    def label(self, call: Call, texts: Sequence[str], labels: Sequence[str]) -> list[Outcome[None]]:
        """Say whose values these are, for erasure: give tokens labels, beside those that they have. Repeatable.

        Raises:
            RoleForbidden: only applications may label.
            InvalidRequest: one of ``labels`` is no label, or they are too many.
        """
        self._admit(call, Action.TOKEN_LABEL, _GRANTERS)
        _check_labels(labels)
        presented = self._present(call, texts)
        found = self._find(presented)
        # Written first: a label by which values are erased must not come from nowhere.
        self._write_audit(call, Action.TOKEN_LABEL, presented, found, labels=self._label_fingerprints(call, labels))
        return [one if isinstance(one, LunaCoreError) else attempt(self._label, call, one, labels) for one in found]

    def delete(self, call: Call, texts: Sequence[str]) -> list[Outcome[None]]:
        """Erase tokens and their values for good. A token that is not there counts as erased.

        The keys are gone when this returns. The object is removed at once, and once more by the sweep when no upload
        can end any more.

        Raises:
            RoleForbidden: only applications may delete.
        """
        return [one if isinstance(one, LunaCoreError) else None for one in self.erase(call, texts)]

    def erase(self, call: Call, texts: Sequence[str]) -> list[Outcome[Erased | None]]:
        """As ``delete``, and say what was erased: None stands for a token that was not there."""
        self._admit(call, Action.TOKEN_DELETE, _GRANTERS)
        presented = self._present(call, texts)
        found = self._find_swept_or_not(presented)
        self._write_audit(call, Action.TOKEN_DELETE, presented, presented, records=self._record_fingerprints(found))
        return [attempt(self._erase, one) for one in found]

    def erase_label(self, call: Call, label: str, *, limit: int = ERASED_AT_ONCE) -> LabelErased:
        """Erase up to ``limit`` tokens with this label, whoever has them, and sign a receipt; again, until it is complete.

        Raises:
            RoleForbidden: only applications may erase.
            InvalidRequest: it is no label.
            RateLimited: too many such calls in this minute.
            StoreUnavailable: a store cannot be reached; what was erased is erased, and another call goes on.
        """
        self._admit(call, Action.ERASE, _GRANTERS)
        if not is_label(label):
            raise InvalidRequest(f"label must be text of 1 to {MAX_LABEL_BYTES} bytes of UTF-8", field="label")
        self._count(self.erasures.get(call.identity.role), call, Action.ERASE, 1, int(self.now()))
        outcomes = list(islice(evolve(self.bulk_eraser, batch=limit).labelled(call, label), limit))
        problem = next((one.problem for one in outcomes if one.problem), None)
        if problem is not None:
            raise problem
        erased = tuple(one.erased for one in outcomes if one.erased is not None)
        complete = len(outcomes) < limit
        tenant = call.identity.tenant
        selection = {"by": "label", "label": label_fingerprint(self.keyring, tenant, label)}
        erasure = Erasure(tenant, call.reason, selection, erased, complete=complete)
        return LabelErased(erased, complete, receipts.sign(erasure, self.keyring, now=self.now()))

    def rekey(
        self, call: Call, texts: Sequence[str], *, deep: bool = False, older_than: int = 0
    ) -> list[Outcome[bool]]:
        """Give the objects of tokens other names and store keys, inside the object store; with ``deep`` other value keys too.

        The object that was replaced is deleted when no ticket for it can be in use any more. ``deep`` carries each value through
        this program and seals it anew. With ``older_than``, objects stay as they are that got their keys less than so many
        seconds ago; the outcome says whether one was re-keyed.

        Raises:
            RoleForbidden: the caller is no operator.
        """
        self._admit(call, Action.TOKEN_REKEY, (Role.OPERATOR,))
        presented = self._present(call, texts)
        found = self._find(presented)
        self._write_audit(call, Action.TOKEN_REKEY, presented, found, deep=deep)
        return [
            one if isinstance(one, LunaCoreError) else attempt(self._rekey, call, one, older_than, deep)
            for one in found
        ]

    # Who may call

    def _admit(
        self,
        call: Call,
        action: Action,
        roles: tuple[Role, ...] = _CALLERS,
        *,
        session: Session | None = None,
    ) -> None:
        if call.identity.role not in roles:
            raise self._refusal(call, action, RoleForbidden(f"the role {call.identity.role.value} may not do this"))
        if call.identity.expires is not None and call.identity.expires <= int(self.now()):
            raise self._refusal(call, action, Unauthenticated("the credential has expired; get a new one"))
        if session is not None and session.tenant != call.identity.tenant:
            raise self._refusal(call, action, RoleForbidden("the session belongs to another tenant"))

    def _refusal(self, call: Call, action: Action, error: LunaCoreError) -> LunaCoreError:
        """Write a refusal of a whole call to the audit log; the caller raises what comes back."""
        self._write_audit(call, action, [None], [error])
        return error

    def _own_session(self, call: Call, action: Action, named: Session | None, now: int) -> Session | None:
        """The session that new tokens are granted to: a user's own, or the one that an application names."""
        if call.identity.role is not Role.USER:
            if named is not None:
                self._require_live(call, action, named, now)
            return named
        own = call.identity.session
        if own is None or self.grants.has_ended(own, now=now):
            raise self._refusal(call, action, Unauthenticated("the session has ended; log in again"))
        if named not in (None, own):
            raise InvalidRequest("sessionId is for applications; a user's own session is used", field="sessionId")
        return own

    def _require_live(self, call: Call, action: Action, session: Session, now: int) -> None:
        if self.grants.has_ended(session, now=now):
            ended = Conflict("the session has ended; let the user log in again, and use the new session")
            raise self._refusal(call, action, ended)

    def _grant_expiry(self, call: Call, ttl: int | None, now: int) -> int:
        limits = self.grants.limits
        ttl = limits.default_ttl if ttl is None else ttl
        if not 0 < ttl <= limits.max_ttl:
            raise InvalidRequest(
                f"customDuration must be between 1 second and {limits.max_ttl} seconds", field="customDuration"
            )
        return _earliest(now + ttl, _session_end(call))

    # Minting

    def _mint(self, call: Call, session: Session | None, value: NewValue, now: int, upload_until: int) -> _Minted:
        self._check_value(value)
        token = tokens.mint(self.random)
        presented = self.lookup.present(call.identity.tenant, tokens.parse(token))
        contents = Contents(
            store_key=self.random(KEY_BYTES),
            value_key=self.random(KEY_BYTES),
            metadata=metadata_codec.encode(value.metadata),
            labels=value.labels,
        )
        fields = OperatorFields(
            tenant=call.identity.tenant,
            session_issuer="" if session is None else session.issuer,
            placement=Placement(self.random(OBJECT_NAME_BYTES), generation=1, inner=b""),
            value_format=value.value_format,
            created=now,
            upload_until=upload_until,
            expires=0 if value.ttl is None else now + value.ttl,
        )
        record = self.lookup.seal(presented, contents, fields, due=self._first_due(fields))
        return _Minted(_access(token, fields, contents), presented, record, value.labels)

    def _check_value(self, value: NewValue) -> None:
        if value.size is not None and value.size < 0:
            raise InvalidRequest("size must not be negative", field="size")
        if value.size is not None and value.size > self.policy.max_value_size:
            raise TooLarge(f"size is {value.size}; values may have {self.policy.max_value_size} bytes at most")
        if value.value_format is ValueFormat.RAW and not self.objects.takes_raw:
            raise InvalidRequest(
                'the object store does not encrypt; valueFormat must be "sealed-v1"', field="valueFormat"
            )
        if value.ttl is not None and not 0 < value.ttl <= _MAX_VALUE_TTL:
            raise InvalidRequest(f"ttl must be between 1 second and {_MAX_VALUE_TTL} seconds", field="ttl")
        _check_labels(value.labels)

    def _first_due(self, fields: OperatorFields) -> int:
        """When the sweeper is to look first: when an upload is overdue. It then sees whether one came."""
        overdue = max(fields.created + self.policy.never_uploaded_ttl, fields.upload_until + 1)
        due = min(overdue, fields.created + self.policy.unverified_ttl)
        return min(due, fields.expires) if fields.expires else due

    # Tickets

    def _upload_ticket(self, access: Access, value: NewValue, now: int, ttl: int) -> Ticket:
        size = value.size
        if size is not None and access.value_format is ValueFormat.SEALED_V1:
            size = segments.sealed_size(size)
        request = self.objects.upload(access.object_name, access.store_key, now=now, ttl=ttl, size=size)
        return _ticket(access, request)

    def _download_ticket(self, access: Access, until: int | None, now: int) -> Ticket:
        ttl = _bounded(self.policy.download_ttl, until, now)
        request = self.objects.download(access.object_name, access.store_key, now=now, ttl=ttl, etag=access.etag)
        return _ticket(access, request)

    # Reading

    def _readable(self, call: Call, texts: Sequence[str], now: int) -> list[Outcome[_Readable]]:
        identity = call.identity
        self._admit(call, Action.DETOKENIZE)
        if identity.role is not Role.USER and not identity.may_read:
            refusal = RoleForbidden("this application may not read values; may_read is not set for it")
            raise self._refusal(call, Action.DETOKENIZE, refusal)
        self._count_reads(call, len(texts), now)
        presented = self._present(call, texts)
        bounds = self._read_bounds(call, presented, now)
        found = self._find(presented, _missing_for(call))
        readable = [
            attempt(_open_readable, text, one, bound) for text, one, bound in zip(texts, found, bounds, strict=True)
        ]
        self._write_audit(call, Action.DETOKENIZE, presented, readable)
        self._offer_to_rekeying(found, readable)
        return readable

    def _offer_to_rekeying(self, found: Sequence[Outcome[Found]], readable: Sequence[Outcome[_Readable]]) -> None:
        if self.rekeying is None:
            return
        for one, read in zip(found, readable, strict=True):
            if not isinstance(one, LunaCoreError) and not isinstance(read, LunaCoreError):
                self.rekeying.offer(one)

    def _count_reads(self, call: Call, count: int, now: int) -> None:
        self._count(self.reads.get(call.identity.role), call, Action.DETOKENIZE, count, now)

    def _count(self, limit: RateLimit | None, call: Call, action: Action, count: int, now: int) -> None:
        if limit is None:
            return
        session = call.identity.session
        subject = (call.identity.tenant, call.identity.issuer, "" if session is None else session.id)
        counted = subject if action is Action.DETOKENIZE else (*subject, action.value)
        try:
            limit.take(counted, count, now=now)
        except RateLimited as refusal:
            raise self._refusal(call, action, refusal) from None

    def _read_bounds(
        self, call: Call, presented: Sequence[Outcome[PresentedToken]], now: int
    ) -> list[Outcome[int | None]]:
        """For each token the Unix second until which the caller may read it, None for no bound."""
        if call.identity.role is not Role.USER:
            return [None] * len(presented)
        session = call.identity.session
        if session is None:
            raise Unauthenticated("a user needs a session")
        end = _session_end(call)
        expiries = self._expiries(session, presented, GrantType.READ, now)
        return [
            GrantMissing() if one is None else one if isinstance(one, LunaCoreError) else _earliest(one, end)
            for one in expiries
        ]

    def _expiries(
        self, session: Session, presented: Sequence[Outcome[PresentedToken]], kind: GrantType, now: int
    ) -> Sequence[Outcome[int | None]]:
        canonical = [one.canonical for one in unrefused(presented)]
        return among(presented, self.grants.expiries(session, canonical, kind, now=now))

    # Tokens and their records

    def _present(self, call: Call, texts: Sequence[str]) -> list[Outcome[PresentedToken]]:
        return self.lookup.present_each(call.identity.tenant, texts)

    def _find(
        self, presented: Sequence[Outcome[PresentedToken]], missing: Callable[[], LunaCoreError] = TokenNotFound
    ) -> list[Outcome[Found]]:
        """The records of the tokens; one whose value has expired is gone, whether or not it was swept already."""
        now = int(self.now())
        return [missing() if _is_gone(one, now) else one for one in self._find_swept_or_not(presented)]

    def _find_swept_or_not(self, presented: Sequence[Outcome[PresentedToken]]) -> Sequence[Outcome[Found]]:
        found = self.lookup.find(unrefused(presented))
        return among(presented, found)

    def _is_valid(self, found: Outcome[Found], expiry: Outcome[int | None], kind: GrantType) -> bool:
        if isinstance(found, TokenNotFound):
            return False
        if isinstance(found, LunaCoreError):
            raise found
        if expiry is None:
            return False
        return kind is not GrantType.STORE or self._confirm(found)

    def _confirm(self, found: Found) -> bool:
        """Record what the store says of the upload, once; False while there is none."""
        for _ in range(_CHANGE_ATTEMPTS):
            if found.state is RecordState.STORED:
                return True
            contents = found.contents()
            stat = self.objects.stat(found.fields.placement.object_name, contents.store_key)
            if stat is None:
                return False
            confirmed = evolve(found.fields, size=stat.size, etag=stat.etag)
            if self.lookup.change(found.opened, confirmed, state=RecordState.STORED, due=confirmed.expires):
                return True
            found = only(self.lookup.find([found.token]))
        raise changing()

    def _erase(self, found: Outcome[Found]) -> Erased | None:
        for _ in range(_CHANGE_ATTEMPTS):
            if isinstance(found, TokenNotFound):
                return None
            if isinstance(found, LunaCoreError):
                raise found
            with suppress(Conflict):  # changed or moved since it was found: find it again
                return evolve(self.eraser.erase(found.opened), token=found.token.fingerprint)
            found = self.lookup.find([found.token])[0]
        raise changing()

    def _label(self, call: Call, found: Found, labels: Sequence[str]) -> None:
        for _ in range(_CHANGE_ATTEMPTS):
            contents = found.contents()
            together = tuple(dict.fromkeys((*contents.labels, *labels)))
            if together == contents.labels:
                return
            _check_labels(together)
            labelled = self.lookup.label(found, evolve(contents, labels=together))
            if labelled is not None:
                self.audit.write([labelled.event(call, Action.TOKEN_LABEL, found.token, self.keyring, self.now())])
                return
            found = only(self._find([found.token]))
        raise changing()

    def _rekey(self, call: Call, found: Found, older_than: int, deep: bool) -> bool:  # noqa: FBT001 - passed on by attempt
        if older_than and keyed_at(found.fields) + older_than > self.now():
            return False
        rekeyed = self.rekeyer.rekey(found, deep=deep)
        self.audit.write([rekeyed.event(call, Action.TOKEN_REKEY, found.token, self.keyring, self.now())])
        return True

    # The audit log

    def _labels(self, call: Call, minted: Sequence[Outcome[_Minted]]) -> list[Mapping[str, str]]:
        """The fingerprints of the labels of each, by which events of a person's tokens are found."""
        if not any(isinstance(one, _Minted) and one.labels for one in minted):
            return []
        return [
            {"labels": self._label_fingerprints(call, one.labels)} if isinstance(one, _Minted) and one.labels else {}
            for one in minted
        ]

    def _label_fingerprints(self, call: Call, labels: Sequence[str]) -> str:
        return " ".join(label_fingerprint(self.keyring, call.identity.tenant, label) for label in labels)

    def _record_fingerprints(self, found: Sequence[Outcome[Found]]) -> list[str]:
        return [
            "" if isinstance(one, LunaCoreError) else self.keyring.record_fingerprints(one.opened.record.name)[0]
            for one in found
        ]

    def _write_audit(
        self,
        call: Call,
        action: Action,
        presented: Sequence[object],
        outcomes: Sequence[object],
        *,
        session: Session | None = None,
        records: Sequence[str] | None = None,
        details: Sequence[Mapping[str, str]] = (),
        **detail: str | bool,
    ) -> None:
        session = session or call.identity.session
        records = records or [""] * len(presented)
        details = details or [{}] * len(presented)
        fingerprint = "" if session is None else session_fingerprint(session, self.keyring)
        facts = {**call.who, **detail} if call.who else detail
        time = self.now()
        self.audit.write(
            [
                AuditEvent(
                    time=time,
                    action=action,
                    outcome=outcome.name if isinstance(outcome, LunaCoreError) else ALLOWED,
                    tenant=call.identity.tenant,
                    role=call.identity.role,
                    issuer=call.identity.issuer,
                    token=getattr(one, "fingerprint", ""),
                    session=fingerprint,
                    request=call.request,
                    reason=call.reason,
                    record=record,
                    detail={**facts, **own} if own else facts,
                )
                for one, outcome, record, own in zip(presented, outcomes, records, details, strict=True)
            ]
        )


def _check_labels(labels: Sequence[str]) -> None:
    if len(labels) > MAX_LABELS:
        raise InvalidRequest(f"labels may be {MAX_LABELS} at most", field="labels")
    if not all(is_label(label) for label in labels):
        raise InvalidRequest(f"a label must be text of 1 to {MAX_LABEL_BYTES} bytes of UTF-8", field="labels")


def _missing_for(call: Call) -> Callable[[], LunaCoreError]:
    """A user cannot tell a token that does not exist from one that is not granted."""
    return GrantMissing if call.identity.role is Role.USER else TokenNotFound


def _is_gone(found: Outcome[Found], now: int) -> bool:
    if isinstance(found, LunaCoreError):
        return isinstance(found, TokenNotFound)
    return 0 < found.opened.fields.expires <= now


def _open_readable(text: str, found: Outcome[Found], bound: Outcome[int | None]) -> _Readable:
    if isinstance(bound, LunaCoreError):
        raise bound
    if isinstance(found, LunaCoreError):
        raise found
    fields = found.opened.fields
    until = _earliest(fields.expires, bound) if fields.expires else bound
    return _Readable(_access(Token(text), fields, found.contents()), until)


def _session_end(call: Call) -> int | None:
    """When the caller's session ends; the credential of an application bounds nothing that others are granted."""
    return call.identity.expires if call.identity.role is Role.USER else None


def _earliest(moment: int, bound: int | None) -> int:
    return moment if bound is None else min(moment, bound)


def _metadata_of(found: Outcome[Found], bound: Outcome[int | None]) -> dict[str, Any]:
    only([bound])
    return metadata_codec.decode(only([found]).contents().metadata)


def _access(token: Token, fields: OperatorFields, contents: Contents) -> Access:
    return Access(
        token=token,
        object_name=fields.placement.object_name,
        store_key=contents.store_key,
        value_key=contents.value_key,
        value_format=fields.value_format,
        etag=fields.etag,
        size=fields.size,
    )


def _ticket(access: Access, request: SignedRequest) -> Ticket:
    sealed = access.value_format is ValueFormat.SEALED_V1
    return Ticket(access.token, request, access.value_format, access.value_key if sealed else None)


def _bounded(ttl: int, until: int | None, now: int) -> int:
    """Seconds that a ticket may live: as configured, but no longer than what permits it."""
    return ttl if until is None else min(ttl, until - now)
