"""Fonts for the Secure Frame: WOFF2 files (W3C) of a folder of the operator's, served from the tokenizer's own origin.

So no page brings a font, and no browser asks a third party for one. A file's name says what it holds: ``Brand Sans.woff2``,
``Brand Sans-700.woff2``, ``Brand Sans-100..900-italic.woff2`` (CSS Fonts 4, ``@font-face``).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from attrs import frozen

from lunacore.errors import ConfigError

_NAME: Final = re.compile(
    r"(?P<family>[A-Za-z][A-Za-z0-9 ]{0,38}[A-Za-z0-9])"
    r"(-(?P<weight>[1-9]00)(\.\.(?P<heaviest>[1-9]00))?)?(?P<italic>-italic)?\.woff2",
    re.ASCII,
)
_SIGNATURE: Final = b"wOF2"


@frozen
class Font:
    """One file: the family that pages name, its weights from lightest to heaviest, and its content."""

    family: str
    weights: tuple[int, int]
    italic: bool
    content: bytes

    def face(self, address: str) -> str:
        """The rule by which a style sheet knows it, with the address that the sheet finds it at."""
        lightest, heaviest = self.weights
        style = "italic" if self.italic else "normal"
        return (
            f'@font-face {{ font-family: "{self.family}"; src: url("{address}") format("woff2"); '
            f"font-weight: {lightest} {heaviest}; font-style: {style}; font-display: swap; }}\n"
        )


def fonts_in(folder: str) -> tuple[Font, ...]:
    """The fonts of a folder; none if the setting is empty.

    Raises:
        ConfigError: there is no such folder, or a file in it is no WOFF2 or not named as above.
    """
    if not folder:
        return ()
    try:
        entries = sorted(Path(folder).iterdir())
        return tuple(_font(entry.name, entry.read_bytes()) for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise ConfigError(f"frame.fonts: cannot read {folder}: {error.strerror}") from error


def _font(name: str, content: bytes) -> Font:
    found = _NAME.fullmatch(name)
    if found is None:
        raise ConfigError(f"frame.fonts: {name!r} is not named like 'Brand Sans-700-italic.woff2'")
    if not content.startswith(_SIGNATURE):
        raise ConfigError(f"frame.fonts: {name!r} is no WOFF2 file")
    lightest = int(found["weight"] or 400)
    return Font(found["family"], (lightest, int(found["heaviest"] or lightest)), found["italic"] is not None, content)
