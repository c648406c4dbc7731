"""The examples of a page of the docs, by the names that their captions give them."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parents[2] / "docs"
TOKENIZER: Final = "https://secure.example.com"
TOKEN: Final = "lunasec-…"

_BLOCK: Final = re.compile(
    r"^(?P<indent> *)```\{code-block\} \w+\n *:caption: (?P<name>\S+)\n(?: *:force:\n)?\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


def examples(page: str, *, tokenizer: str) -> dict[str, str]:
    """The text of every example, with the address of a tokenizer that runs."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = {match["name"]: textwrap.dedent(match["text"]) for match in _BLOCK.finditer(text)}
    assert found
    return {name: example.replace(TOKENIZER, tokenizer) for name, example in found.items()}
