"""``lunacore keys rotate``, ``rewrap``, ``move`` and ``retire``: from one key to the next, while servers go on.

``docs/how-to/rotate-keys.md`` tells in which order they are used.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Final

from lunacore import durations
from lunacore.audit import Action, AuditEvent
from lunacore.deployment import DEFAULT_TENANT
from lunacore.errors import LunaCoreError, TokenNotFound
from lunacore.identity import Call, operator
from lunacore.keyring import KeyPurpose
from lunacore.rewrapping import DEFAULT_BATCH, DEFAULT_RATE, Rewrapped, Rewrapper, Throttle
from lunacore_http.command import configuration, progress
from lunacore_http.command.arguments import add_command, number
from lunacore_http.command.exits import Exit, UsageError
from lunacore_http.command.standard_streams import tokens_of
from lunacore_http.command.timestamps import timestamp

if TYPE_CHECKING:
    import argparse

    from lunacore.deployment import Deployment
    from lunacore.keyring import VersionedKey
    from lunacore.rewrapping import Report
    from lunacore_http.command.arguments import Commands

_PURPOSES: Final = [purpose.name.lower() for purpose in KeyPurpose]
_TICK: Final = 0.5
"""Seconds between two looks at the clock while a command waits."""


def add_to(family: Commands) -> None:
    """Add the commands to ``lunacore keys``."""
    rotate = add_command(
        family, "rotate", _rotate, "add the next version of a key; it becomes active when every process has it"
    )
    rotate.add_argument("--purpose", choices=_PURPOSES, default="root", help="which key (root)")
    rotate.add_argument(
        "--active-in", metavar="DURATION", help="when it becomes active; three reload periods if not given"
    )
    rotate.add_argument(
        "--beside-staged", action="store_true", help="even if a version is staged, because that one would take too long"
    )
    rotate.add_argument("--wait", action="store_true", help="return when it is active")
    rotate.add_argument("--rewrap", action="store_true", help="wait, then rewrap the records (root key only)")
    rotate.add_argument(
        "--retire", action="store_true", help="wait, rewrap, then retire the versions before it (root key only)"
    )
    _add_rewrap_options(rotate)
    _add_reason(rotate)

    rewrap = add_command(
        family, "rewrap", _rewrap, "seal records anew that stand under an older root key, beside servers that go on"
    )
    rewrap.add_argument("--dry-run", action="store_true", help="count them, and change nothing")
    rewrap.add_argument("--wait", action="store_true", help="if a root key is staged, wait until it is active")
    _add_rewrap_options(rewrap)
    _add_reason(rewrap)

    move = add_command(
        family, "move", _move, "move the records of tokens to the active lookup key, as any use of a token does"
    )
    move.add_argument(
        "tokens", metavar="TOKEN", nargs="+", help="a token; - to read them from standard input, one on each line"
    )
    move.add_argument("--tenant", metavar="NAME", default=DEFAULT_TENANT, help="tenant of the tokens (default)")
    _add_reason(move)

    retire = add_command(family, "retire", _retire, "remove an older key that nothing needs any more, for good")
    retire.add_argument("purpose", metavar="PURPOSE", choices=_PURPOSES, help=", ".join(_PURPOSES))
    retire.add_argument("version", metavar="VERSION", type=number, help="its version, as lunacore keys list shows it")
    retire.add_argument("--wait", action="store_true", help="wait until nothing that it has made can be in use")
    _add_reason(retire)


def _add_rewrap_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rate",
        metavar="N",
        type=number,
        default=DEFAULT_RATE,
        help=f"records to rewrap in a second at most, 0 for no limit ({DEFAULT_RATE})",
    )
    parser.add_argument(
        "--batch", metavar="N", type=number, default=DEFAULT_BATCH, help=f"records to read at once ({DEFAULT_BATCH})"
    )


def _add_reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", metavar="TEXT", default="", help="why, for the audit log")


def _rotate(arguments: argparse.Namespace) -> Exit:
    purpose = KeyPurpose[arguments.purpose.upper()]
    goes_on = arguments.rewrap or arguments.retire
    if goes_on and purpose is not KeyPurpose.ROOT:
        raise UsageError(
            "--rewrap and --retire are for the root key; no records stand under the other keys in that way"
        )
    active_in = None if arguments.active_in is None else durations.parse(arguments.active_in, "--active-in")
    with configuration.opened(configuration.load(arguments)) as deployment:
        key = deployment.rotation.stage(
            _call(arguments), purpose, active_in=active_in, beside_staged=arguments.beside_staged
        )
        print(f"{_named(key)} is staged and becomes active at {timestamp(key.active_from)}", flush=True)
        _remind(key)
        if not (arguments.wait or goes_on):
            return Exit.DONE
        _wait_until_active(deployment, key)
        ended = _rewrapped(deployment, arguments) if goes_on else Exit.DONE
        if ended is Exit.DONE and arguments.retire:
            ended = _retire_before(deployment, key, arguments)
        return ended


def _rewrap(arguments: argparse.Namespace) -> Exit:
    with configuration.opened(configuration.load(arguments)) as deployment:
        if arguments.dry_run:
            return _count_older(deployment, arguments)
        keyring = deployment.rotation.keyring()
        for key in deployment.rotation.staged(keyring, KeyPurpose.ROOT):
            if arguments.wait:
                _wait_until_active(deployment, key)
            else:
                print(f"{_named(key)} is staged until {timestamp(key.active_from)}; rewrap again then")
        return _rewrapped(deployment, arguments)


def _retire(arguments: argparse.Namespace) -> Exit:
    purpose, version = KeyPurpose[arguments.purpose.upper()], arguments.version
    with configuration.opened(configuration.load(arguments)) as deployment:
        if arguments.wait:
            _wait_until_retirable(deployment, purpose, version)
        _retire_one(deployment, purpose, version, _call(arguments))
        return Exit.DONE


def _move(arguments: argparse.Namespace) -> Exit:
    tokens, found, missing, problems = tokens_of(arguments.tokens), 0, 0, 0
    with (
        configuration.opened(configuration.load(arguments)) as deployment,
        progress.shown("move", None, " tokens") as bar,
    ):
        deployment.audit.write([_move_event(deployment, arguments)])
        lookup = deployment.tokenizer.lookup
        while batch := list(islice(tokens, DEFAULT_BATCH)):
            for presented in lookup.present_each(arguments.tenant, batch):
                outcome = presented if isinstance(presented, LunaCoreError) else lookup.find([presented])[0]
                found += not isinstance(outcome, LunaCoreError)
                missing += isinstance(outcome, TokenNotFound)
                problems += isinstance(outcome, LunaCoreError) and not isinstance(outcome, TokenNotFound)
            bar.update(len(batch))
    print(f"{found:>10}  under the active lookup key")
    print(f"{missing:>10}  not there, or erased")
    if problems:
        print(f"{problems:>10}  malformed, or with a record that cannot be read now")
    return Exit.FAILED if problems else Exit.DONE


def _move_event(deployment: Deployment, arguments: argparse.Namespace) -> AuditEvent:
    call = Call(operator(arguments.tenant), reason=arguments.reason)
    version = deployment.keyring.tenant_key(arguments.tenant)[0]
    return AuditEvent.of(
        call, Action.KEYS_MOVE, deployment.now(), detail={"purpose": KeyPurpose.LOOKUP.name.lower(), "version": version}
    )


def _rewrapped(deployment: Deployment, arguments: argparse.Namespace) -> Exit:
    rewrapper = _rewrapper(deployment, arguments)
    total, reached = rewrapper.estimate(), 0
    with progress.shown("rewrap", total, " records") as bar:

        def seen(one: Rewrapped) -> None:
            nonlocal reached
            before, reached = reached, max(reached, round(one.position * total))
            bar.update(reached - before)

        report = rewrapper.rewrap(_call(arguments), seen)
    version = deployment.keyring.active_root()[0]
    print(f"{report.done:>10}  records sealed anew under version {version} of the root key", flush=True)
    return _tell_left(report)


def _tell_left(report: Report) -> Exit:
    if report.changed:
        print(f"{report.changed:>10}  changed by others at every attempt; rewrap again")
    for problem, count in report.left.items():
        print(f"{count:>10}  left as they are: {problem}")
    return Exit.FAILED if report.changed or report.left else Exit.DONE


def _count_older(deployment: Deployment, arguments: argparse.Namespace) -> Exit:
    with progress.shown("count", None, " records") as bar:
        counts = _rewrapper(deployment, arguments).older(bar.update)
    for version, count in sorted(counts.items()):
        print(f"{count:>10}  {f'under version {version} of the root key' if version else 'that cannot be read'}")
    print(
        f"{sum(counts.values()):>10}  to seal anew under version {deployment.keyring.active_root()[0]}; nothing was changed"
    )
    return Exit.DONE


def _retire_before(deployment: Deployment, key: VersionedKey, arguments: argparse.Namespace) -> Exit:
    """Retire what the key has replaced; what others sealed under it while they had not noticed is rewrapped first."""
    older = [one for one in deployment.rotation.keyring().newest_first(key.purpose) if one.version < key.version]
    for one in older:
        _wait_until_retirable(deployment, one.purpose, one.version)
    ended = _rewrapped(deployment, arguments)
    if ended is Exit.DONE:
        for one in older:
            _retire_one(deployment, one.purpose, one.version, _call(arguments))
    return ended


def _retire_one(deployment: Deployment, purpose: KeyPurpose, version: int, call: Call) -> None:
    with progress.shown("look through the records", None, " records") as bar:
        deployment.rotation.retire(call, purpose, version, seen=bar.update)
    print(f"version {version} of the {purpose.name.lower()} key is retired; back up the keyring anew")


def _rewrapper(deployment: Deployment, arguments: argparse.Namespace) -> Rewrapper:
    return Rewrapper(
        lookup=deployment.tokenizer.lookup,
        audit=deployment.audit,
        throttle=Throttle(arguments.rate, time.monotonic, time.sleep),
        now=deployment.now,
        random=deployment.random,
        batch=max(arguments.batch, 1),
    )


def _wait_until_active(deployment: Deployment, key: VersionedKey) -> None:
    """Until its time has come and this process sees it, as every other then does."""
    _wait_until(deployment, key.active_from, "wait until it is active")
    while deployment.keyring.keyring.active(key.purpose, deployment.now()).version < key.version:
        deployment.keyring.refresh()
        time.sleep(_TICK)
    print(f"{_named(key)} is active", flush=True)


def _wait_until_retirable(deployment: Deployment, purpose: KeyPurpose, version: int) -> None:
    rotation = deployment.rotation
    moment = rotation.retirable_from(rotation.keyring(), purpose, version)
    _wait_until(deployment, moment, f"wait until {purpose.name.lower()} {version} is out of use")


def _wait_until(deployment: Deployment, moment: int, what: str) -> None:
    start = deployment.now()
    with progress.shown(what, max(round(moment - start), 0), " seconds") as bar:
        waited = 0
        while (now := deployment.now()) < moment:
            bar.update(max(int(now - start) - waited, 0))
            waited = max(int(now - start), waited)
            time.sleep(min(_TICK, moment - now))


def _remind(key: VersionedKey) -> None:
    print("Back up the keyring anew: a backup from before does not hold this key.")
    if key.purpose is KeyPurpose.GATEWAY:
        print("A gateway on its own needs its keys before then: lunacore keys export-gateway, and restart it.")


def _call(arguments: argparse.Namespace) -> Call:
    return Call(operator(DEFAULT_TENANT), reason=arguments.reason)


def _named(key: VersionedKey) -> str:
    return f"version {key.version} of the {key.purpose.name.lower()} key"
