"""``lunacore put``, ``get`` and ``delete``: values and their tokens, as the operator, with no server in between."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from lunacore import durations
from lunacore.deployment import DEFAULT_TENANT
from lunacore.errors import InvalidRequest, LunaCoreError
from lunacore.identity import Call, operator
from lunacore.vault import Vault
from lunacore_http.command import configuration, output_file, person, progress, standard_streams
from lunacore_http.command.arguments import add_command
from lunacore_http.command.exits import CommandFailed, Exit, UsageError, exit_of
from lunacore_http.command.standard_streams import STANDARD, TerminalText, tokens_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from lunacore.config import Config
    from lunacore.tokens import Token
    from lunacore_http.command.arguments import Commands

_PIECE_BYTES: Final = 1 << 18
_BATCH: Final = 500


def add_to(commands: Commands) -> None:
    """Add the commands to the program."""
    put = add_command(commands, "put", _put, "put a value away, whole or not at all, and print its token")
    put.add_argument(
        "file", metavar="FILE", nargs="?", default=STANDARD, help="the value; - or nothing for standard input"
    )
    put.add_argument("--metadata", metavar="JSON", help="what to keep with the token, an object")
    put.add_argument("--filename", metavar="NAME", help="file name to keep with the token; that of FILE if not given")
    put.add_argument("--ttl", metavar="DURATION", help="erase the value after this time, such as 90d or 1h30m")
    put.add_argument(
        "--label", metavar="TEXT", action="append", default=[], help="whose value it is; may come several times"
    )
    _add_audit_options(put)

    get = add_command(
        commands,
        "get",
        _get,
        "write the value of a token to standard output or a file; needs a reason, which is logged",
    )
    get.add_argument("token", metavar="TOKEN", help="the token; - to read it from standard input")
    get.add_argument(
        "-o", "--output", metavar="FILE", help="write to this file, whole or not at all, for its owner alone"
    )
    get.add_argument("-f", "--force", action="store_true", help="write to a terminal whatever the value is")
    _add_audit_options(get)

    delete = add_command(
        commands, "delete", _delete, "erase tokens and their values for good; one that is not there counts as erased"
    )
    delete.add_argument(
        "tokens", metavar="TOKEN", nargs="+", help="a token; - to read them from standard input, one on each line"
    )
    _add_audit_options(delete)


def _add_audit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", metavar="TEXT", default="", help="why, for the audit log")
    parser.add_argument("--tenant", metavar="NAME", default=DEFAULT_TENANT, help="tenant of the token (default)")


def _put(arguments: argparse.Namespace) -> Exit:
    metadata = _metadata(arguments)
    ttl = None if arguments.ttl is None else durations.parse(arguments.ttl, "--ttl")
    config = configuration.load(arguments)
    with standard_streams.source(arguments.file) as source, _vault(config, arguments, create=True) as vault:
        with progress.shown("put", _size_of(source)) as bar:
            token = vault.put(progress.counted(source, bar), metadata=metadata, ttl=ttl, labels=arguments.label)
        _hand_out(token, vault)
    return Exit.DONE


def _get(arguments: argparse.Namespace) -> Exit:
    config = configuration.load(arguments)
    arguments.reason = person.reason(arguments.reason)
    token = _one_token(arguments.token)
    with _vault(config, arguments) as vault, vault.open(token) as source:
        if arguments.output not in (None, STANDARD):
            with output_file.whole(Path(arguments.output)) as target:
                _copy(source, target, None)
            return Exit.DONE
        guarded = sys.stdout is not None and sys.stdout.isatty() and not arguments.force
        try:
            _copy(source, standard_streams.output_bytes(), TerminalText() if guarded else None)
        except BrokenPipeError:
            raise
        except OSError as problem:
            raise CommandFailed(f"cannot write to standard output: {problem.strerror}") from problem
    return Exit.DONE


def _delete(arguments: argparse.Namespace) -> Exit:
    config = configuration.load(arguments)
    call = Call(operator(arguments.tenant), reason=arguments.reason, who=person.present())
    worst, count, tokens = Exit.DONE, 0, tokens_of(arguments.tokens)
    with configuration.opened(config) as deployment, progress.shown("delete", None, " tokens") as bar:
        while batch := list(islice(tokens, _BATCH)):
            for place, outcome in enumerate(deployment.tokenizer.delete(call, batch), count + 1):
                if isinstance(outcome, LunaCoreError):
                    print(f"lunacore: token {place}: {outcome.message}", file=sys.stderr)
                    worst = max(worst, exit_of(outcome))
            count += len(batch)
            bar.update(len(batch))
    return worst


@contextmanager
def _vault(config: Config, arguments: argparse.Namespace, *, create: bool = False) -> Iterator[Vault]:
    with configuration.opened(config, create=create) as deployment:
        yield Vault(deployment, tenant=arguments.tenant, reason=arguments.reason, who=person.present())


def _metadata(arguments: argparse.Namespace) -> dict[str, Any]:
    filename = arguments.filename
    if filename is None and arguments.file != STANDARD:
        filename = Path(arguments.file).name
    metadata: dict[str, Any] = {"dataType": "string"}
    if filename is not None:
        metadata = {"dataType": "file", "fileinfo": {"filename": filename}}
    return metadata | _object(arguments.metadata)


def _object(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        given = json.loads(text)
    except ValueError:
        raise UsageError("--metadata is not JSON") from None
    if not isinstance(given, dict):
        raise UsageError('--metadata must be a JSON object, such as {"dataType": "string"}')
    return given


def _size_of(source: BinaryIO) -> int | None:
    """Bytes that a file has; a pipe does not say."""
    try:
        return os.fstat(source.fileno()).st_size or None
    except (OSError, io.UnsupportedOperation):
        return None


def _hand_out(token: Token, vault: Vault) -> None:
    """Print the token; a value whose token reached nobody is taken back, for nobody could ever ask for it."""
    try:
        standard_streams.output_bytes().write(token.encode("ascii") + b"\n")
        sys.stdout.flush()
    except BaseException as problem:
        vault.delete(token)
        if isinstance(problem, BrokenPipeError) or not isinstance(problem, OSError):
            raise
        raise CommandFailed(
            f"cannot print the token: {problem.strerror}; the value was not kept, put it again"
        ) from problem


def _one_token(argument: str) -> str:
    token = next(tokens_of([argument]), None)
    if token is None:
        raise InvalidRequest("there is no token on standard input")
    return token


def _copy(source: BinaryIO, target: BinaryIO, terminal: TerminalText | None) -> None:
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    with progress.shown("get", size) as bar:
        while piece := source.read(_PIECE_BYTES):
            if terminal is not None:
                terminal.check(piece)
            target.write(piece)
            bar.update(len(piece))
    if terminal is not None:
        terminal.check(b"", final=True)
    target.flush()
