"""Tokens in documents: every one in a response that is to be granted, or in a request that is to be verified.

Looked through are texts and bytes (a token may stand inside of longer text), mappings with their keys, lists, tuples, sets and
other collections, dataclasses, attrs classes, pydantic models and all objects with public attributes; names that begin with an
underscore are the business of their object. What is too large or can be read only once is refused, never passed over: a token
that was not seen would not be verified.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sized
from enum import Enum
from itertools import chain
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from lunacore.errors import InvalidRequest, TooLarge
from lunacore.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_DEPTH: Final = 64
MAX_PARTS: Final = 1_000_000

_FORM: Final = r"lunasec-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_IN_TEXT: Final = re.compile(_FORM, re.ASCII)
_IN_BYTES: Final = re.compile(_FORM.encode("ascii"))
_LEAVES: Final = (int, float, complex, type(None), type, FunctionType, BuiltinFunctionType, MethodType, ModuleType)


def find_tokens(document: object) -> tuple[Token, ...]:
    """Every token in a document, each once, in the order found.

    Raises:
        TooLarge: it is nested deeper than ``MAX_DEPTH``, or has more than ``MAX_PARTS`` parts.
        InvalidRequest: it holds an iterator or generator, which can be read only once; make it a list.
    """
    return tuple(_Search().through(document))


class _Search:
    """One look through a document: level by level, each object once, so that cycles end."""

    def __init__(self) -> None:
        self._found: dict[Token, None] = {}
        self._count = 0
        # Kept alive while their ids are remembered: another object might get the id of one that is gone.
        self._seen: dict[int, object] = {}

    def through(self, document: object) -> Iterable[Token]:
        level: list[object] = [document]
        for _ in range(MAX_DEPTH):
            level = [part for one in level for part in self._look_at(one)]
            if not level:
                return self._found
        raise TooLarge(f"the document is nested deeper than {MAX_DEPTH} levels; pass the part that may hold tokens")

    def _look_at(self, part: object) -> Iterable[object]:
        self._count += 1
        if self._count > MAX_PARTS:
            raise TooLarge(f"the document has more than {MAX_PARTS} parts; pass the part that may hold tokens")
        if isinstance(part, str):
            self._add(match[0] for match in _IN_TEXT.finditer(part))
            return ()
        if isinstance(part, bytes | bytearray | memoryview):
            self._add(match[0].decode("ascii") for match in _IN_BYTES.finditer(part))
            return ()
        if isinstance(part, _LEAVES) or id(part) in self._seen:
            return ()
        self._seen[id(part)] = part
        return list(_parts_of(part))

    def _add(self, tokens: Iterable[str]) -> None:
        self._found.update(dict.fromkeys(Token(token) for token in tokens))


def _parts_of(part: object) -> Iterable[object]:
    if isinstance(part, Enum):
        return (part.value,)
    if isinstance(part, Mapping):
        return _parts_of_mapping(part)
    if isinstance(part, Iterator):
        raise InvalidRequest("the document holds an iterator or generator, which can be read only once; make it a list")
    if isinstance(part, Iterable) and isinstance(part, Sized):
        return chain(part, _attributes(part))
    return _attributes(part)


def _parts_of_mapping(part: Mapping[Any, Any]) -> Iterable[object]:
    """Keys and values; of the frameworks' multi-dicts every value, where ``items()`` shows one for each key."""
    if isinstance(part, dict):
        # werkzeug's and Django's keep the lists of all values in the dict itself.
        return chain(dict.keys(part), dict.values(part), _attributes(part))
    every: Callable[[], Iterable[tuple[object, object]]] = getattr(part, "multi_items", part.items)
    return chain.from_iterable(every())


def _attributes(part: object) -> list[object]:
    """The values of its public attributes, whether they lie in ``__dict__`` or in slots."""
    found = [value for name, value in getattr(part, "__dict__", {}).items() if not str(name).startswith("_")]
    for kind in type(part).__mro__:
        for name in _slots(kind):
            if not name.startswith("_") and hasattr(part, name):
                found.append(getattr(part, name))  # noqa: PERF401 - hasattr guards it
    extra = getattr(part, "__pydantic_extra__", None)
    return [*found, extra] if extra else found


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)
