"""``lunacore keys reseal``, ``backup`` and ``restore``: who can open the keyring, and where it is kept besides."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import evolve

from lunacore import canary
from lunacore import config as configurations
from lunacore import keyring as keyrings
from lunacore.custody import check_opens
from lunacore.deployment import DEFAULT_TENANT, Opening, close_key_providers, opened_custody
from lunacore.errors import IntegrityError, KeyringError, UnsupportedVersion
from lunacore.identity import Call, operator
from lunacore_backends.keyring_files import MAX_BYTES
from lunacore_http.command import configuration, input_file, local_paths, output_file
from lunacore_http.command.arguments import add_command
from lunacore_http.command.exits import CommandFailed, Exit

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from lunacore.config import Config
    from lunacore.custody import Custody
    from lunacore.keyring import Keyring
    from lunacore.stores import KeyProvider
    from lunacore_http.command.arguments import Commands

_EPHEMERAL: Final = "memory:"


def add_to(family: Commands) -> None:
    """Add the commands to ``lunacore keys``."""
    reseal = add_command(
        family, "reseal", _reseal, "seal the keyring for what tokenizer.seal names now, while servers go on"
    )
    _add_with(
        reseal, "what opens the keyring if tokenizer.seal no longer does, as in that setting; may come several times"
    )
    _add_reason(reseal)

    backup = add_command(family, "backup", _backup, "copy the keyring to a file, as sealed as it is, or for --seal")
    backup.add_argument("file", metavar="FILE", help="a new file")
    backup.add_argument(
        "--seal",
        metavar="URL",
        action="append",
        default=[],
        help="seal the copy for this instead; may come several times",
    )
    backup.add_argument("--force", action="store_true", help="replace the file if it exists")
    _add_reason(backup)

    restore = add_command(family, "restore", _restore, "put the keyring of a backup where tokenizer.keyring says")
    restore.add_argument("file", metavar="FILE", help="what lunacore keys backup has written")
    _add_with(restore, "what opens the backup if tokenizer.seal does not; may come several times")
    restore.add_argument("--dry-run", action="store_true", help="see whether it could be done, and change nothing")
    restore.add_argument(
        "--force",
        action="store_true",
        help="even if the backup is older, or the keyring in its place newer, another, or damaged",
    )
    _add_reason(restore)


def shown_recipients(sealed: bytes) -> list[str]:
    """Who can open a sealed keyring, one by one or several together."""
    return [recipient.shown for recipient in keyrings.recipients_of(sealed)]


def _add_with(parser: argparse.ArgumentParser, help_: str) -> None:
    parser.add_argument("--with", dest="by", metavar="URL", action="append", default=[], help=help_)


def _add_reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", metavar="TEXT", default="", help="why, for the audit log")


def _call(arguments: argparse.Namespace) -> Call:
    return Call(operator(DEFAULT_TENANT), reason=arguments.reason)


def _reseal(arguments: argparse.Namespace) -> Exit:
    config = configuration.load(arguments)
    configuration.require_data_dir(config)
    with _damage_told(), opened_custody(config) as custody, _providers(custody, config, arguments.by, "--with") as by:
        resealed = custody.reseal(_call(arguments), by=by)
        print(f"keyring {resealed.id.hex()}, serial {resealed.serial}, is sealed for")
        _print_recipients(custody.store.read() or b"")
    print("Back it up anew: older backups are refused from now on, but by force.")
    print("Restart servers whose tokenizer.seal differs from this one.")
    return Exit.DONE


def _backup(arguments: argparse.Namespace) -> Exit:
    path = Path(arguments.file).absolute()
    output_file.refuse_existing(path, force=arguments.force)
    config = configuration.load(arguments)
    configuration.require_data_dir(config)
    with (
        _damage_told(),
        opened_custody(config) as custody,
        _providers(custody, config, arguments.seal, "--seal") as seal_for,
    ):
        keyring, content = custody.back_up(_call(arguments), seal_for=seal_for)
        with output_file.whole(path) as file:
            file.write(content)
        _read_back(path, content, keyring, custody, seal_for)
    print(f"{path}: keyring {keyring.id.hex()}, serial {keyring.serial}, sealed for")
    _print_recipients(content)
    print("It was read back and opens. Keep it apart from what opens it.")
    return Exit.DONE


def _read_back(path: Path, content: bytes, keyring: Keyring, custody: Custody, seal_for: Sequence[KeyProvider]) -> None:
    read = _read(path)
    if read != content:
        raise CommandFailed(f"{path} does not give back what was written; write it to another disk")
    if seal_for:
        check_opens(read, keyring, seal_for)
    elif keyrings.unseal(read, custody.providers) != keyring:
        raise CommandFailed(f"{path} opens to another keyring; make it anew")


def _restore(arguments: argparse.Namespace) -> Exit:
    config = configuration.load(arguments)
    if local_paths.is_missing(config, "records"):
        raise CommandFailed("there are no records; restore them first, since they tell whether the keyring is theirs")
    backup = _read(Path(arguments.file))
    _rehearse(arguments, config, backup)
    if arguments.dry_run:
        return Exit.DONE
    with (
        _damage_told(),
        opened_custody(config, create=True) as custody,
        _providers(custody, config, arguments.by, "--with") as by,
    ):
        restored = custody.restore(_call(arguments), backup, by=by, force=arguments.force)
        print(f"keyring {restored.id.hex()}, serial {restored.serial}, is in place, sealed for")
        _print_recipients(custody.store.read() or b"")
    return Exit.DONE


def _rehearse(arguments: argparse.Namespace, config: Config, backup: bytes) -> None:
    """All but the writing, so that nothing, not even a key file, is made for a backup that is then refused."""
    makes_key_file = not config.tokenizer.seal and local_paths.is_missing(config, "seal")
    if makes_key_file:
        config = evolve(config, tokenizer=evolve(config.tokenizer, seal=((_EPHEMERAL,),)))
    with (
        _damage_told(),
        opened_custody(config) as custody,
        _providers(custody, config, arguments.by, "--with") as by,
    ):
        keyring = custody.examine(backup, by=by, force=arguments.force)
        sealed = custody.sealed_for(keyring, custody.providers)
        if not arguments.dry_run:
            return
        print(f"keyring {keyring.id.hex()}, serial {keyring.serial}, could be put in place, sealed for")
        if makes_key_file:
            print(f"  a new key file, {config.data_dir / local_paths.EMBEDDED['seal']}")
        else:
            _print_recipients(sealed)
        if canary.is_new(custody.records):
            print("The records were not used with any keyring yet; are they the right ones?")


@contextmanager
def _providers(custody: Custody, config: Config, texts: Sequence[str], option: str) -> Iterator[Sequence[KeyProvider]]:
    """The key providers that an option names."""
    opening = Opening(config, custody.now, custody.random)
    with ExitStack() as undo:
        found: list[KeyProvider] = []
        for text in texts:
            opened = opening.key_providers_of(configurations.key_providers(text, option), option)
            undo.callback(close_key_providers, opened)
            found += opened
        yield found


@contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except UnsupportedVersion:
        raise
    except IntegrityError as damaged:
        raise KeyringError(f"the keyring cannot be opened: {damaged.message}") from damaged


def _print_recipients(sealed: bytes) -> None:
    for shown in shown_recipients(sealed):
        print(f"  {shown}")


def _read(path: Path) -> bytes:
    content = input_file.content(path, limit=MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise CommandFailed(f"{path} has more than {MAX_BYTES} bytes, so it is no keyring")
    return content
