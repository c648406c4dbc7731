"""Standard input and output as bytes, and as lines of tokens."""

from __future__ import annotations

import codecs
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, BinaryIO, Final

from lunacore.bulk_erasure import is_label
from lunacore.records import MAX_LABEL_BYTES
from lunacore_http.command import input_file
from lunacore_http.command.exits import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

STANDARD: Final = "-"
"""The name that stands for standard input or output."""

_LINE_BYTES: Final = 4096
_LAYOUT: Final = frozenset("\n\r\t")


def input_bytes() -> BinaryIO:
    """Standard input.

    Raises:
        UsageError: it is closed.
    """
    if sys.stdin is None:
        raise UsageError("standard input is closed; name a file")
    return sys.stdin.buffer


def output_bytes() -> BinaryIO:
    """Standard output.

    Raises:
        UsageError: it is closed.
    """
    if sys.stdout is None:
        raise UsageError("standard output is closed")
    return sys.stdout.buffer


def source(name: str) -> AbstractContextManager[BinaryIO]:
    """A file to read; ``-`` stands for standard input, which stays open.

    Raises:
        CommandFailed: the file cannot be read.
        UsageError: standard input is closed.
    """
    return nullcontext(input_bytes()) if name == STANDARD else input_file.opened(name)


def tokens_of(arguments: Sequence[str]) -> Iterator[str]:
    """The tokens that the arguments name; ``-`` stands for those on standard input, one on each line."""
    for argument in arguments:
        if argument == STANDARD:
            yield from _lines(input_bytes())
        else:
            yield argument


@contextmanager
def tokens_in(name: str) -> Iterator[Iterator[str]]:
    """The tokens in a file, one on each line; ``-`` stands for standard input.

    Raises:
        CommandFailed: the file cannot be read.
    """
    with source(name) as opened:
        yield _lines(opened)


def label_of(argument: str) -> str:
    """The label that an argument names; ``-`` stands for the first line of standard input.

    Raises:
        UsageError: it is no label.
    """
    if argument == STANDARD:
        argument = input_bytes().readline(_LINE_BYTES).decode("utf-8", "surrogateescape").removesuffix("\n")
    if not is_label(argument):
        raise UsageError(f"a label must be text of 1 to {MAX_LABEL_BYTES} bytes of UTF-8")
    return argument


def _lines(source: BinaryIO) -> Iterator[str]:
    while line := source.readline(_LINE_BYTES):
        # Anything but ASCII is no token; the parser is to say so.
        text = line.decode("ascii", "replace").strip()
        if text:
            yield text


class TerminalText:
    """Lets text pass to a terminal, and refuses what could do something to it."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def check(self, piece: bytes, *, final: bool = False) -> None:
        """See that the next piece is text.

        Raises:
            UsageError: it holds control characters, or is no UTF-8.
        """
        try:
            text = self._decoder.decode(piece, final)
        except UnicodeDecodeError:
            raise self._refusal() from None
        if not all(character.isprintable() or character in _LAYOUT for character in text):
            raise self._refusal()

    @staticmethod
    def _refusal() -> UsageError:
        return UsageError(
            "the value is not plain text; write it to a file with -o FILE, or show it all the same with --force"
        )
