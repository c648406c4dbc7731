"""``lunacore receipt verify``: see that receipts of erasure are genuine, and show what they say."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lunacore import receipts
from lunacore.errors import LunaCoreError
from lunacore_http.command import audit_key_file, configuration, input_file, standard_streams
from lunacore_http.command.arguments import add_command, add_family
from lunacore_http.command.exits import CommandFailed, Exit
from lunacore_http.command.standard_streams import STANDARD

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from lunacore.receipts import Receipt
    from lunacore.signing import VerificationKeys
    from lunacore_http.command.arguments import Commands

_SELECTIONS = {"tokens": "of tokens that were presented", "label": "of one label", "age": "of all that was older"}


def add_to(commands: Commands) -> None:
    """Add the commands to the program."""
    family = add_family(commands, "receipt", "look at receipts of erasure")
    verify = add_command(family, "verify", _verify, "see that receipts are genuine, and show what they say")
    verify.add_argument("file", metavar="FILE", help="the receipts, one on each line; - for standard input")
    verify.add_argument(
        "--keys", metavar="FILE", help="public keys that lunacore audit keys exported, in place of the keyring"
    )
    verify.add_argument("--json", action="store_true", help="print all that they say, as JSON, one on each line")


def _verify(arguments: argparse.Namespace) -> Exit:
    lines = [line for line in _content(arguments.file).splitlines() if line.strip()]
    if not lines:
        raise CommandFailed(f"{arguments.file} holds no receipt")
    with _keys(arguments) as known:
        for number, line in enumerate(lines, 1):
            try:
                receipt = receipts.verify(line, known)
            except LunaCoreError as problem:
                raise CommandFailed(f"line {number}: {problem.message}") from problem
            _show_json(receipt) if arguments.json else _show(receipt)
    return Exit.DONE


@contextmanager
def _keys(arguments: argparse.Namespace) -> Iterator[VerificationKeys]:
    if arguments.keys is not None:
        yield audit_key_file.read(Path(arguments.keys))
        return
    with configuration.opened(configuration.load(arguments)) as deployment:
        yield deployment.keyring


def _content(name: str) -> bytes:
    if name == STANDARD:
        return standard_streams.input_bytes().read()
    return input_file.content(name)


def _show_json(receipt: Receipt) -> None:
    print(json.dumps(dict(receipt.told)))


def _show(receipt: Receipt) -> None:
    told = receipt.told
    counts, selection = told["counts"], told["selection"]
    print(f"genuine: signed with audit key version {receipt.key_version} of keyring {_shown(told['keyring'])}")
    print(f"  time       {_shown(told['time'])}, part {told['part']}")
    print(f"  tenant     {_shown(told['tenant'])}")
    print(f"  reason     {_shown(told['reason']) or '-'}")
    print(f"  erased     {counts['erased']} values {_SELECTIONS.get(selection['by'], '')}")
    print(f"  removed    {counts['removed']} at once, {counts['leftToSweep']} by the sweep{_latest(receipt)}")
    print(f"  not there  {counts['absent']}; failed {counts['failed']}")
    print(
        "  complete   yes" if told["complete"] else "  complete   no: erase again what is left, for a further receipt"
    )
    for line in told["notCovered"]:
        print(f"  not covered: {_shown(line)}")


def _latest(receipt: Receipt) -> str:
    moments = [one["sweepFrom"] for one in receipt.told["erased"] if "sweepFrom" in one]
    return f", the last from {_shown(max(moments))} on" if moments else ""


def _shown(text: object) -> str:
    """Whoever wrote the reason must not write to the terminal of whoever reads it."""
    return "".join(character if character.isprintable() else "?" for character in str(text))
