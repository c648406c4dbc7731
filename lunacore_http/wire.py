"""The wire: every JSON shape that the tokenizer takes and gives, and the one decoder and encoder of them.

Names and shapes are those of LunaDefend's published OpenAPI client, with batches added (``docs/reference/http.md``). The OpenAPI
document is made from these very types. Members are only ever added, never renamed or given another meaning.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, TypeAlias, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from lunacore.errors import InvalidRequest

MAX_SESSION_ID: Final = 2048
"""Characters of a session's name at most; a JWT, which brings it, is not much longer."""

_MAX_INTEGER: Final = 2**63 - 1

T = TypeVar("T")

DataType = Literal["string", "file"]
ValueFormatName = Literal["raw", "sealed-v1"]
GrantName = Literal["store_token", "read_token"]

TokenId: TypeAlias = Annotated[
    str, Meta(description="A token, exactly as tokenize returned it. Opaque: at most 256 ASCII characters.")
]
TokenIds: TypeAlias = Annotated[
    list[TokenId],
    Meta(min_length=1, description="A batch: as many as tokenizer.max_batch tokens (500 unless configured)."),
]
SessionId: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=MAX_SESSION_ID, description="What the issuer calls the session.")
]
SessionIssuer: TypeAlias = Annotated[
    str, Meta(min_length=1, description="Who vouches for the session, if not the caller: an issuer of the same tenant.")
]
Moment: TypeAlias = str | int | float
Label: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=256, description="Whose value it is: text of 1 to 256 bytes of UTF-8.")
]


class _Shape(Struct, frozen=True, rename="camel", kw_only=True):
    """Base of all shapes; ``repr`` shows no member, since most are secret."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


# What clients ask


class _Asked(_Shape, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what clients send; a member that it does not know is refused."""


class FileInfo(_Asked, frozen=True, kw_only=True):
    """What a file was called."""

    filename: str
    type: Annotated[str, Meta(description="A media type, such as text/plain.")] | UnsetType = UNSET
    last_modified: Moment | UnsetType = UNSET


class Metadata(_Asked, frozen=True, kw_only=True):
    """What is kept with a token, sealed, and given back as it came: at most 4096 bytes as JSON."""

    data_type: DataType
    custom_fields: dict[str, Any] | UnsetType = UNSET
    created_at: Moment | UnsetType = UNSET
    fileinfo: FileInfo | UnsetType = UNSET


class NewToken(_Asked, frozen=True, kw_only=True):
    """A value that is to be uploaded under a new token."""

    is_batch: ClassVar[bool] = False

    metadata: Metadata
    size: (
        Annotated[
            int, Meta(ge=0, le=_MAX_INTEGER, description="Bytes of the value; an upload of another size is refused.")
        ]
        | UnsetType
    ) = UNSET
    value_format: Annotated[
        ValueFormatName,
        Meta(description="raw: uploaded as it is. sealed-v1: the client seals it under valueKey first."),
    ] = "raw"
    session_id: (
        Annotated[SessionId, Meta(description="Of an application: the session to grant the token to.")] | UnsetType
    ) = UNSET
    session_issuer: SessionIssuer | UnsetType = UNSET
    ttl: (
        Annotated[
            str | int,
            Meta(description='Of an application: erase the value after this time, as "30d", "1h30m", or in seconds.'),
        ]
        | UnsetType
    ) = UNSET
    labels: (
        Annotated[
            list[Label],
            Meta(max_length=255, description="Of an application: by which all values of a person can be erased."),
        ]
        | UnsetType
    ) = UNSET

    def parts(self) -> list[NewToken]:
        return [self]


class NewTokens(_Asked, frozen=True, kw_only=True):
    """A batch of values that are to be uploaded under new tokens."""

    is_batch: ClassVar[bool] = True

    items: Annotated[
        list[NewToken],
        Meta(min_length=1, description="A batch: as many as tokenizer.max_batch values (500 unless configured)."),
    ]

    def parts(self) -> list[NewToken]:
        return self.items


class _OneToken:
    """What the shapes with a ``tokenId`` have in common."""

    __slots__ = ()

    is_batch: ClassVar[bool] = False
    token_id: str

    def parts(self) -> list[str]:
        return [self.token_id]


class _ManyTokens:
    """What the shapes with ``tokenIds`` have in common."""

    __slots__ = ()

    is_batch: ClassVar[bool] = True
    token_ids: list[str]

    def parts(self) -> list[str]:
        return self.token_ids


class OneToken(_OneToken, _Asked, frozen=True, kw_only=True):
    """One token."""

    token_id: TokenId


class ManyTokens(_ManyTokens, _Asked, frozen=True, kw_only=True):
    """A batch of tokens."""

    token_ids: TokenIds


class _LabelToken(_Asked, frozen=True, kw_only=True):
    labels: Annotated[
        list[Label],
        Meta(min_length=1, max_length=255, description="By which all values of a person can be erased; others stay."),
    ]


class LabelToken(_OneToken, _LabelToken, frozen=True, kw_only=True):
    """Say whose value a token stands for."""

    token_id: TokenId


class LabelTokens(_ManyTokens, _LabelToken, frozen=True, kw_only=True):
    """Say whose values a batch of tokens stand for."""

    token_ids: TokenIds


class _OfSession(_Asked, frozen=True, kw_only=True):
    session_id: SessionId
    session_issuer: SessionIssuer | UnsetType = UNSET


class _SetGrant(_OfSession, frozen=True, kw_only=True):
    grant_type: GrantName = "read_token"
    custom_duration: (
        Annotated[str | int, Meta(description='How long, as "90s", "15m", "1h30m", or in seconds.')] | UnsetType
    ) = UNSET


class SetGrant(_OneToken, _SetGrant, frozen=True, kw_only=True):
    """Let a session use a token."""

    token_id: TokenId


class SetGrants(_ManyTokens, _SetGrant, frozen=True, kw_only=True):
    """Let a session use a batch of tokens."""

    token_ids: TokenIds


class _VerifyGrant(_OfSession, frozen=True, kw_only=True):
    grant_type: GrantName = "store_token"


class VerifyGrant(_OneToken, _VerifyGrant, frozen=True, kw_only=True):
    """Ask whether a session may use a token."""

    token_id: TokenId


class VerifyGrants(_ManyTokens, _VerifyGrant, frozen=True, kw_only=True):
    """Ask whether a session may use each of a batch of tokens."""

    token_ids: TokenIds


class RevokeGrant(_OfSession, frozen=True, kw_only=True):
    """Void a session's grants for one token, or all that it has where no token is named."""

    is_batch: ClassVar[bool] = False

    token_id: TokenId | UnsetType = UNSET

    def parts(self) -> list[str]:
        return [] if isinstance(self.token_id, UnsetType) else [self.token_id]


class RevokeGrants(_ManyTokens, _OfSession, frozen=True, kw_only=True):
    """Void a session's grants for a batch of tokens."""

    token_ids: TokenIds


class DeleteLabel(_Asked, frozen=True, kw_only=True):
    """Erase what has a label."""

    is_batch: ClassVar[bool] = False

    label: Label

    def parts(self) -> list[str]:
        return [self.label]


class EndSession(_Asked, frozen=True, kw_only=True):
    """End a session: that which an application names, or the user's own."""

    is_batch: ClassVar[bool] = False

    session_id: SessionId | UnsetType = UNSET
    session_issuer: SessionIssuer | UnsetType = UNSET

    def parts(self) -> list[str]:
        return []


Asked: TypeAlias = (
    NewToken
    | NewTokens
    | OneToken
    | ManyTokens
    | SetGrant
    | SetGrants
    | VerifyGrant
    | VerifyGrants
    | RevokeGrant
    | RevokeGrants
    | LabelToken
    | LabelTokens
    | DeleteLabel
    | EndSession
)
A = TypeVar("A", bound=Asked)


# What the tokenizer answers


class Empty(_Shape, frozen=True):
    """Nothing."""


class UploadTicket(_Shape, frozen=True, kw_only=True):
    """A new token, and the one request that may upload its value: a PUT to the URL with these headers."""

    token_id: TokenId
    upload_url: str
    headers: Annotated[dict[str, str], Meta(description="To be sent with the upload, every one; names in lower case.")]
    value_format: Literal["sealed-v1"] | UnsetType = UNSET
    value_key: Annotated[str, Meta(description="32 bytes in base64, for sealed values.")] | UnsetType = UNSET


class DownloadTicket(_Shape, frozen=True, kw_only=True):
    """The request that may download the value of a token: a GET of the URL with these headers."""

    download_url: str
    headers: Annotated[
        dict[str, str], Meta(description="To be sent with the download, every one; names in lower case.")
    ]
    value_format: Literal["sealed-v1"] | UnsetType = UNSET
    value_key: Annotated[str, Meta(description="32 bytes in base64, for sealed values.")] | UnsetType = UNSET


class Validity(_Shape, frozen=True):
    """Whether the session holds the grant; of a store grant, also whether the value is there."""

    valid: bool


class KeptMetadata(_Shape, frozen=True):
    """Metadata as it came."""

    metadata: Metadata


class ErasedLabel(_Shape, frozen=True, kw_only=True):
    """What was erased of a label."""

    erased: Annotated[int, Meta(description="How many values this call erased.")]
    complete: Annotated[bool, Meta(description="Whether none is left; if not, send the call again.")]
    receipt: Annotated[str, Meta(description="The signed receipt, as it is to be kept.")]


class SessionState(_Shape, frozen=True):
    """The session's hash, which is to be sent along as the header lunasec-session-hash."""

    session_hash: str


class Health(_Shape, frozen=True):
    """The server runs."""

    status: Literal["ok"] = "ok"


class Readiness(_Shape, frozen=True):
    """What each part says: ``ok``, or what is wrong with it."""

    checks: dict[str, str]


class Problem(_Shape, frozen=True):
    """Why a request was refused."""

    name: Annotated[str, Meta(description="Stable; see the list of errors.")]
    message: Annotated[str, Meta(description="Tells a person what to do. Its wording may change.")]
    code: Annotated[str, Meta(description="The HTTP status.")]


class Success(_Shape, Generic[T], frozen=True, kw_only=True):
    """Envelope of what was done."""

    success: Annotated[bool, Meta(extra_json_schema={"const": True})] = True
    error: Empty = Empty()
    data: T


class Failure(_Shape, frozen=True, kw_only=True):
    """Envelope of what was refused."""

    success: Annotated[bool, Meta(extra_json_schema={"const": False})] = False
    error: Problem
    data: Empty = Empty()


class Items(_Shape, Generic[T], frozen=True):
    """The answers to a batch, in the order asked; one item's failure leaves the others whole."""

    items: list[Success[T] | Failure]


Answered: TypeAlias = (
    Empty | UploadTicket | DownloadTicket | Validity | KeptMetadata | ErasedLabel | SessionState | Health
)


def members(shape: Struct) -> dict[str, Any]:
    """A shape as the mapping that it was decoded from; members that were not sent are left out."""
    given = {
        name: getattr(shape, attribute)
        for name, attribute in zip(shape.__struct_encode_fields__, shape.__struct_fields__, strict=True)
    }
    return {
        name: members(value) if isinstance(value, Struct) else value
        for name, value in given.items()
        if value is not UNSET
    }


encode: Final = msgspec.json.Encoder().encode


# Decoding, with messages that name the member and repeat no value


class RequestDecoder(Generic[A]):
    """Decodes the body of one call: ``single``, or ``batch`` if that member which makes it one is there.

    Args:
        single: the shape of a single.
        batch: the shape of a batch, None if the call has none.
        one: the member of a single that a batch has instead.
        many: the member that makes it a batch.
    """

    def __init__(self, single: type[A], batch: type[A] | None = None, *, one: str = "", many: str = "") -> None:
        self.single = single
        self.batch = batch
        self._one = one
        self.many = many
        members = [(name, msgspec.Raw | UnsetType, UNSET) for name in (one, many) if name]
        self._members = msgspec.json.Decoder(msgspec.defstruct("Members", members))
        self._of_single = msgspec.json.Decoder(single)
        self._of_batch = msgspec.json.Decoder(batch or single)

    def decode(self, body: bytes) -> A:
        """The request that ``body`` holds.

        Raises:
            InvalidRequest: naming the member that is missing, unknown or wrong.
        """
        shape: type[A] = self.single
        try:
            if self.batch is None or not self._is_batch(body):
                return self._of_single.decode(body)
            shape = self.batch
            return self._of_batch.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            refusal = _refusal(error, shape)
        raise refusal

    def _is_batch(self, body: bytes) -> bool:
        members = self._members.decode(body)
        if getattr(members, self.many) is UNSET:
            return False
        if getattr(members, self._one, UNSET) is not UNSET:
            raise InvalidRequest(f"send either {self._one} or {self.many}, not both", field=self.many)
        return True


def _by_token(single: type[A], batch: type[A]) -> RequestDecoder[A]:
    return RequestDecoder(single, batch, one="tokenId", many="tokenIds")


TOKENIZE: Final[RequestDecoder[NewToken | NewTokens]] = RequestDecoder(NewToken, NewTokens, many="items")
BY_TOKEN: Final[RequestDecoder[OneToken | ManyTokens]] = _by_token(OneToken, ManyTokens)
SET_GRANT: Final[RequestDecoder[SetGrant | SetGrants]] = _by_token(SetGrant, SetGrants)
VERIFY_GRANT: Final[RequestDecoder[VerifyGrant | VerifyGrants]] = _by_token(VerifyGrant, VerifyGrants)
REVOKE_GRANT: Final[RequestDecoder[RevokeGrant | RevokeGrants]] = _by_token(RevokeGrant, RevokeGrants)
LABEL_TOKEN: Final[RequestDecoder[LabelToken | LabelTokens]] = _by_token(LabelToken, LabelTokens)
DELETE_LABEL: Final[RequestDecoder[DeleteLabel]] = RequestDecoder(DeleteLabel)
END_SESSION: Final[RequestDecoder[EndSession]] = RequestDecoder(EndSession)

_PATH: Final = re.compile(r" - at (?:key in )?`\$\.?(.*?)`$", re.ASCII)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.*)`", re.ASCII)
_EXPECTED: Final = re.compile(r"Expected `([^`]*)`(?: of length)?(?: (>=|<=|>|<) (\d+))?", re.ASCII)
# A name of this form is a slip of the pen; anything else might be a token or a key that a client put in the wrong place.
_HARMLESS_NAME: Final = re.compile(r"[A-Za-z_]{1,32}", re.ASCII)
_TYPES: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "int | float": "a number",
    "array": "a list",
    "object": "an object",
    "object | null": "an object",
    "int | str": "text or a whole number",
    "int | float | str": "text or a number",
    "bool": "true or false",
}
_CHOICES: Final = {
    "dataType": get_args(DataType),
    "valueFormat": get_args(ValueFormatName),
    "grantType": get_args(GrantName),
}
_NESTED: Final[dict[str, type[Struct]]] = {"metadata": Metadata, "fileinfo": FileInfo, "items": NewToken}
_LENGTH_UNITS: Final = {"str": "characters", "array": "items"}


def _refusal(error: Exception, shape: type[Struct]) -> InvalidRequest:
    """The error for a person; msgspec's own messages repeat what the client sent."""
    if isinstance(error, RecursionError):
        return InvalidRequest("the body is nested too deeply")
    if not isinstance(error, msgspec.ValidationError):
        return InvalidRequest("the body is not JSON in UTF-8")
    message = str(error)
    path = _PATH.search(message)
    where = path[1] if path else ""
    told = message[: path.start()] if path else message
    if unknown := _UNKNOWN.fullmatch(told):
        return _unknown_member(unknown[1], where, shape)
    if missing := _MISSING.fullmatch(told):
        member = _joined(where, missing[1])
        return InvalidRequest(f"{member} is missing", field=member)
    return InvalidRequest(f"{where or 'the body'} must be {_wanted(told, where)}", field=where or None)


def _unknown_member(name: str, where: str, shape: type[Struct]) -> InvalidRequest:
    leaf = re.sub(r"\[.*?\]", "", where).rpartition(".")[2]
    known = ", ".join(_NESTED.get(leaf, shape).__struct_encode_fields__)
    member = _joined(where, name) if _HARMLESS_NAME.fullmatch(name) else None
    subject = member or ("a member of " + (where or "the body"))
    return InvalidRequest(
        f"{subject} is unknown; {where or 'the body'} may hold {known}", field=member or where or None
    )


def _wanted(told: str, where: str) -> str:
    choices = _CHOICES.get(where.rpartition(".")[2])
    if choices:
        return " or ".join(f'"{choice}"' for choice in choices)
    expected = _EXPECTED.match(told)
    if expected is None:
        return "in range" if "out of range" in told else "valid"
    kind, comparison, bound = expected.groups()
    wanted = _TYPES.get(kind, "valid")
    if comparison is None:
        return wanted
    limit = f"at {'least' if comparison == '>=' else 'most'} {bound}"
    unit = _LENGTH_UNITS.get(kind)
    return f"{wanted}, {limit}" if unit is None else f"{wanted} of {limit} {unit}"


def _joined(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
