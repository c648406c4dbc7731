"""``lunacore keys``: make the keyring, list it, and hand a gateway its part."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lunacore import key_use
from lunacore.audit import Action, AuditEvent
from lunacore.deployment import DEFAULT_TENANT, init_keyring
from lunacore.gateway_keys import credentials
from lunacore.identity import Call, operator
from lunacore.keyring import KeyPurpose
from lunacore.plugins import BackendURL, shown_entries
from lunacore_http.command import configuration, gateway_key_file, key_custody, key_rotation, output_file, progress
from lunacore_http.command.arguments import add_command, add_family
from lunacore_http.command.exits import Exit
from lunacore_http.command.timestamps import timestamp

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from lunacore.config import Config
    from lunacore.deployment import Deployment
    from lunacore.key_use import KeyUse
    from lunacore.keyring import Keyring, VersionedKey
    from lunacore_http.command.arguments import Commands


_COUNTED_UNASKED: Final = 1_000


def add_to(commands: Commands) -> None:
    """Add the commands to the program."""
    family = add_family(commands, "keys", "make and show the keyring")
    add_command(family, "init", _init, "make the keyring where tokenizer.keyring says, and the default key file")

    listing = add_command(family, "list", _list, "show which keys the keyring holds, never the keys themselves")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.add_argument(
        "--counts",
        action="store_true",
        help=f"count the records under each key even if there are more than {_COUNTED_UNASKED}",
    )
    key_rotation.add_to(family)
    key_custody.add_to(family)

    export = add_command(family, "export-gateway", _export_gateway, "write the key file for a gateway on its own")
    export.add_argument("file", metavar="FILE", help="a new file, for its owner alone")
    export.add_argument("--force", action="store_true", help="replace the file if it exists")
    export.add_argument("--reason", metavar="TEXT", default="", help="why, for the audit log")


def _init(arguments: argparse.Namespace) -> Exit:
    config = configuration.load(arguments)
    made = init_keyring(config)
    print(f"keyring {made.id.hex()} is made")
    print(f"  keyring    {_place(config, 'keyring')}")
    print(f"  sealed by  {_place(config, 'seal')}")
    print(f"  records    {_place(config, 'records')}")
    print(
        "Back up the keyring and what it is sealed by, apart from each other, and the records. Without any one of the three no"
    )
    print("value can be opened again, by nobody. Back up the keyring anew whenever a key is added.")
    return Exit.DONE


def _list(arguments: argparse.Namespace) -> Exit:
    with configuration.opened(configuration.load(arguments)) as deployment:
        keyring = deployment.keyring.keyring
        recipients = key_custody.shown_recipients(deployment.keyring_store.read() or b"")
        use = _counted(deployment, all_of_them=arguments.counts)
    now = time.time()
    rows = [_row(key, keyring, now, use) for purpose in KeyPurpose for key in keyring.newest_first(purpose)]
    if arguments.json:
        counted = {"counted": use.is_complete, **({"unreadable": use.unreadable} if use.is_complete else {})}
        head = {"id": keyring.id.hex(), "serial": keyring.serial, "recipients": recipients}
        print(json.dumps({**head, **counted, "keys": rows}, indent=2))
        return Exit.DONE
    print(f"keyring {keyring.id.hex()}, serial {keyring.serial}")
    for shown in recipients:
        print(f"opens with {shown}")
    _print_line("purpose", "version", "state", "since", "records" if use.is_complete else "")
    for row in rows:
        _print_line(row["purpose"], row["version"], row["state"], row["activeFrom"], row.get("records", ""))
    if not use.is_complete:
        print(f"There are more than {_COUNTED_UNASKED} records; --counts counts them all.")
    elif use.unreadable:
        print(f"{use.unreadable} records cannot be read by this release; they need keys too.")
    return Exit.DONE


def _print_line(purpose: object, version: object, state: object, since: object, records: object) -> None:
    print(f"{purpose!s:<10}{version!s:>8}  {state!s:<8}{since!s:<22}{records!s}".rstrip())


def _counted(deployment: Deployment, *, all_of_them: bool) -> KeyUse:
    if not all_of_them:
        return key_use.count(deployment.records, at_most=_COUNTED_UNASKED)
    with progress.shown("count", None, " records") as bar:
        return key_use.count(deployment.records, seen=bar.update)


def _row(key: VersionedKey, keyring: Keyring, now: float, use: KeyUse) -> dict[str, str | int]:
    row: dict[str, str | int] = {
        "purpose": key.purpose.name.lower(),
        "version": key.version,
        "state": _state(key, keyring, now),
        "activeFrom": timestamp(key.active_from),
    }
    counts = {KeyPurpose.ROOT: use.roots, KeyPurpose.LOOKUP: use.lookups}.get(key.purpose)
    if use.is_complete and counts is not None:
        row["records"] = counts.get(key.version, 0)
    return row


def _state(key: VersionedKey, keyring: Keyring, now: float) -> str:
    active = keyring.active(key.purpose, now)
    if key.version == active.version:
        return "staged" if key.active_from > now else "active"
    return "staged" if key.version > active.version else "older"


def _place(config: Config, setting: str) -> str:
    """Where a part lies, without credentials."""
    url = getattr(config.tokenizer, setting)
    if url and setting == "seal":
        return ", ".join(shown_entries(url, f"tokenizer.{setting}"))
    if url:
        return BackendURL.parse(url, f"tokenizer.{setting}").shown
    names = {"keyring": "keyring", "seal": "seal.key", "records": "records.sqlite"}
    return str(config.data_dir / names[setting])


def _export_gateway(arguments: argparse.Namespace) -> Exit:
    path = Path(arguments.file).absolute()
    output_file.refuse_existing(path, force=arguments.force)
    with configuration.opened(configuration.load(arguments)) as deployment:
        known = _gateway_keys(deployment)
        deployment.audit.write([_export_event(deployment, known, arguments.reason)])
    content = gateway_key_file.encode([credentials(key) for key in known])
    output_file.write_for_owner(path, content, force=arguments.force)
    print(f"{path}: name it as gateway.key where lunacore gateway runs; export it anew whenever a gateway key is added")
    return Exit.DONE


def _gateway_keys(deployment: Deployment) -> list[VersionedKey]:
    """The active one first; staged ones go along, so that a gateway knows them before the tokenizer signs with them."""
    keyring = deployment.keyring.keyring
    active = keyring.active(KeyPurpose.GATEWAY, deployment.now())
    return sorted(keyring.newest_first(KeyPurpose.GATEWAY), key=lambda key: key != active)


def _export_event(deployment: Deployment, known: Sequence[VersionedKey], reason: str) -> AuditEvent:
    call = Call(operator(DEFAULT_TENANT), reason=reason)
    facts = {"purpose": "gateway", "versions": ",".join(str(key.version) for key in known)}
    return AuditEvent.of(call, Action.KEYS_EXPORT, deployment.now(), detail=facts)
