"""Values in pages that a server renders: the element for a token, and the grants of a page, in one call before the page leaves.

``lunacore_http.sdk.django`` and ``lunacore_http.sdk.jinja`` make template tags of what is here.
"""

from __future__ import annotations

import html
import logging
import re
from typing import TYPE_CHECKING, Any, Final

from lunacore import tokens as parser
from lunacore.errors import ConfigError, LunaCoreError
from lunacore_http.sdk.calls import MAX_BATCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lunacore_http.sdk.application import AsyncGrants, Grants
    from lunacore_http.sdk.calls import Tokens

_LOG: Final = logging.getLogger("lunacore.sdk")
_CAN_COVER: Final = ("secure-span", "secure-paragraph")
ELEMENTS: Final = (
    *_CAN_COVER,
    "secure-copy",
    "secure-download",
    "secure-image",
    "secure-viewer",
    "secure-input",
    "secure-textarea",
    "secure-select",
    "secure-radio",
    "secure-upload",
)
"""The elements that show or hold what a token stands for."""

_NAME: Final = re.compile(r"[a-z][a-z0-9-]*", re.ASCII)


class ShownValues:
    """The tokens that one page shows to one session, until they are granted."""

    def __init__(self) -> None:
        self._waiting: dict[str, None] = {}
        self._any = False

    def __bool__(self) -> bool:
        """Whether the page has shown any."""
        return self._any

    def add(self, tokens: Tokens | None) -> tuple[str, ...]:
        """Note tokens, and return them.

        Args:
            tokens: one or several; None and empty texts are no tokens.

        Raises:
            InvalidToken: one is no token. It is not repeated: it may be a value that was never tokenized.
        """
        given = (tokens,) if isinstance(tokens, str) else tokens or ()
        noted = tuple(str(one) for one in given if one)
        for one in noted:
            parser.parse(one)
        self._waiting.update(dict.fromkeys(noted))
        self._any = self._any or bool(noted)
        return noted

    def take(self) -> Iterator[tuple[str, ...]]:
        """What waits, in portions that one call takes; it does not wait any more."""
        waiting, self._waiting = tuple(self._waiting), {}
        for start in range(0, len(waiting), MAX_BATCH):
            yield waiting[start : start + MAX_BATCH]


def grant(grants: Grants, session_id: str | None, values: ShownValues) -> None:
    """Let a session read what a page shows it. Nothing is raised: what could not be granted shows on its own element.

    Args:
        grants: the application's.
        session_id: whose page it is; nobody's gets no grants.
        values: what it shows.
    """
    for portion in values.take():
        if session_id is None:
            continue
        try:
            grants.create(session_id, portion)
        except LunaCoreError as problem:
            _log(problem)


async def grant_async(grants: AsyncGrants, session_id: str | None, values: ShownValues) -> None:
    """The same, asynchronously."""
    for portion in values.take():
        if session_id is None:
            continue
        try:
            await grants.create(session_id, portion)
        except LunaCoreError as problem:
            _log(problem)


def _log(problem: LunaCoreError) -> None:
    # The tokenizer grants all tokens of a call but those that it refuses.
    _LOG.warning("values_not_granted error=%s", problem.name)


def element_of(
    tokens: Iterable[str],
    /,
    element: str = ELEMENTS[0],
    *,
    label: str = "",
    reveal: bool = False,
    **attributes: Any,  # noqa: ANN401 - of any kind that has a text
) -> str:
    """The HTML of an element that shows or holds what tokens stand for.

    Args:
        tokens: one; several for ``secure-upload``; none shows nothing.
        element: one of ``ELEMENTS``.
        label: its name for people who do not see its surroundings (``aria-label``).
        reveal: whether the text is covered until a person asks for it.
        attributes: further ones. ``_`` in a name stands for ``-``, and is dropped at its end (``class_``). True is an attribute
            without a value; False and None are none.

    Raises:
        ConfigError: there is no such element or attribute.
    """
    if element not in ELEMENTS:
        raise ConfigError(f"there is no secure element {element!r}; there are {', '.join(ELEMENTS)}")
    if reveal and element not in _CAN_COVER:
        raise ConfigError(f"reveal is for {' and '.join(_CAN_COVER)}, and not for {element}")
    held = " ".join(tokens)
    if " " in held and element != "secure-upload":
        raise ConfigError(f"{element} takes one token")
    shown = {
        "tokens" if element == "secure-upload" else "token": held or None,
        "aria-label": str(label) or None,
        "reveal": "click" if reveal else None,
        **_named(attributes),
    }
    return f"<{element}{''.join(_attribute(name, value) for name, value in shown.items())}></{element}>"


def _named(attributes: dict[str, Any]) -> dict[str, Any]:
    named = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    for name in named:
        if not _NAME.fullmatch(name) or name in ("token", "tokens"):
            raise ConfigError(f"a secure element takes no attribute {name!r} here")
    return named


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'
