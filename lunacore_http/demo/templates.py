"""Pages from templates: ``string.Template`` with every part escaped, unless it is markup that a template made."""

from __future__ import annotations

import html
from functools import cache
from importlib import resources
from string import Template
from typing import Final

_FOLDER: Final = resources.files("lunacore_http.demo") / "pages"


class Markup(str):
    """Text that is HTML already; all other text is escaped."""

    __slots__ = ()


def filled(name: str, /, **parts: str) -> Markup:
    """A template with its parts put in.

    Args:
        name: its file, without ``.html``.
        parts: what its ``$names`` stand for; all of them, and no others are used.
    """
    return Markup(_template(name).substitute({key: escaped(part) for key, part in parts.items()}))


def escaped(part: str) -> Markup:
    """A text as HTML, for contents and for quoted attributes."""
    return part if isinstance(part, Markup) else Markup(html.escape(part))


def joined(parts: list[Markup]) -> Markup:
    return Markup("\n".join(parts))


@cache
def _template(name: str) -> Template:
    return Template((_FOLDER / f"{name}.html").read_text(encoding="utf-8"))
