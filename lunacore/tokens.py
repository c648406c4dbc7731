"""Tokens: random strings that stand for a value and mean nothing by themselves.

Kind 1 is ``lunasec-`` followed by a lower-case UUIDv4 (RFC 9562, section 5.4): 122 random bits. A token is also a part of the key
of what it stands for, so it is secret: it goes into database columns as it is, and ``repr`` hides it.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING, Final
from uuid import UUID

from attrs import field, frozen

from lunacore.errors import InvalidToken

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_TOKEN_BYTES: Final = 256

_PREFIX: Final = "lunasec-"
_UUID4: Final = re.compile(r"lunasec-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)


class Token(str):
    """A token: a ``str`` in every respect, but for a ``repr`` that tells nothing."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Token(<redacted>)"


class TokenKind(IntEnum):
    """What sort of token a string is; part of what a record's inner seal is bound to."""

    UUID4 = 1


@frozen
class ParsedToken:
    """What the one parser makes of a string: its kind, and the bytes that keys are derived from."""

    kind: TokenKind
    canonical: bytes = field(repr=False)


def mint(random: Callable[[int], bytes]) -> Token:
    """Mint a kind-1 token from 16 bytes of ``random``."""
    return Token(f"{_PREFIX}{UUID(bytes=random(16), version=4)}")


def parse(text: str) -> ParsedToken:
    """Map a string (ASCII, at most 256 bytes) to its kind and canonical form.

    Raises:
        InvalidToken: for anything that no kind recognises.
    """
    if len(text) > MAX_TOKEN_BYTES or _UUID4.fullmatch(text) is None:
        raise InvalidToken
    return ParsedToken(TokenKind.UUID4, text.encode("ascii"))
