"""``lunacore audit``: verify the audit log, search it, export it, and hand auditors the public keys."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from lunacore import tokens
from lunacore.audit import Action, AuditEvent
from lunacore.audit_chain import verify_checkpoint
from lunacore.audit_registry import ChainRegistry, chain_of
from lunacore.audit_verification import Finding, Problem, Verification
from lunacore.bulk_erasure import label_fingerprints
from lunacore.deployment import DEFAULT_TENANT
from lunacore.errors import IntegrityError, UnknownKeyVersion
from lunacore.identity import Call, operator
from lunacore.plugins import Surroundings
from lunacore.signing import PublicKeys
from lunacore_backends.auditsinks import reading
from lunacore_http.command import (
    audit_filters,
    audit_key_file,
    audit_records,
    configuration,
    input_file,
    output_file,
    progress,
)
from lunacore_http.command.arguments import add_command, add_family
from lunacore_http.command.audit_labels import Labelled
from lunacore_http.command.exits import Exit, UsageError
from lunacore_http.command.standard_streams import STANDARD, label_of, output_bytes, tokens_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    from lunacore.audit_chain import Checkpoint
    from lunacore.audit_verification import LogLine, Report
    from lunacore.config import Config
    from lunacore.deployment import Deployment
    from lunacore.signing import VerificationKeys
    from lunacore_backends.auditsinks.reading import LogFile
    from lunacore_http.command.arguments import Commands
    from lunacore_http.command.audit_filters import Filters

_COLUMNS: Final = (
    *(
        "time",
        "action",
        "outcome",
        "tenant",
        "role",
        "issuer",
        "token",
        "session",
        "request",
        "reason",
        "record",
        "revision",
    ),
    *("detail", "chain", "seq", "prev", "signature", "v"),
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_STORE: Final = "the record store"


def add_to(commands: Commands) -> None:
    """Add the commands to the program."""
    family = add_family(commands, "audit", "verify, search and export the audit log")
    verify = add_command(
        family, "verify", _verify, "see that nothing in the audit log was changed, removed, repeated or cut off"
    )
    _add_files(verify)
    verify.add_argument(
        "--records",
        action="store_true",
        help="also find records that were put back after they had been erased or replaced",
    )
    verify.add_argument(
        "--from",
        metavar="FILE",
        dest="copies",
        action="append",
        help="checkpoints of the second place; audit.copy if not given",
    )
    verify.add_argument(
        "--keys",
        metavar="FILE",
        action="append",
        help="public keys of lunacore audit keys; no keyring and no store is opened then",
    )
    verify.add_argument("--partial", action="store_true", help="the files are a part of the log: others may be missing")
    verify.add_argument(
        "--allow-unchained", action="store_true", help="let events pass that releases before the chain wrote"
    )
    verify.add_argument("--json", action="store_true", help="print JSON")

    search = add_command(family, "search", _search, "show the events that meet all conditions, a line each")
    _add_files(search)
    audit_filters.add_to(search)
    search.add_argument("--json", action="store_true", help="print the lines of the log as they are")

    export = add_command(family, "export", _export, "write the events that meet all conditions to a file")
    _add_files(export)
    audit_filters.add_to(export)
    export.add_argument("--format", choices=("jsonl", "csv"), default="jsonl", help="JSON lines (default) or CSV")
    export.add_argument(
        "-o", "--output", metavar="FILE", help="write to this file, whole or not at all; standard output if not given"
    )

    keys = add_command(family, "keys", _keys, "print the public keys that verify the audit log, for auditors")
    keys.add_argument("--pem", action="store_true", help="PEM in place of JSON")

    forget = add_command(
        family,
        "forget",
        _forget,
        "no longer expect what processes wrote whose last checkpoint is older: their log was archived",
    )
    forget.add_argument("--before", metavar="TIME", required=True, help="2026-11-22, or 400d for 400 days ago")
    forget.add_argument("--yes", action="store_true", help="forget them; only shown how many if not given")
    forget.add_argument("--reason", metavar="TEXT", default="", help="why, for the audit log")


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="*",
        help="file, folder or URL of the log, - for standard input; tokenizer.audit if not given",
    )
    parser.add_argument("--syslog", action="store_true", help="events stand behind other text on their lines")


# Verification


@frozen
class _Trusted:
    """What a verification rests on: keys, and the deployment where it may be opened."""

    known: VerificationKeys
    deployment: Deployment | None

    @property
    def registry(self) -> ChainRegistry | None:
        if self.deployment is None:
            return None
        return ChainRegistry(self.deployment.records, self.deployment.keyring.keyring.id)


def _verify(arguments: argparse.Namespace) -> Exit:
    config = configuration.load(arguments)
    if arguments.records and arguments.keys:
        raise UsageError("--records needs the keyring and the record store, and --keys is for those who have neither")
    with _trusted(config, arguments) as trusted, ExitStack() as stack:
        verification = Verification(
            trusted.known,
            find_chain=_finder(trusted),
            partial=arguments.partial,
            unchained=arguments.allow_unchained,
        )
        _expect_registered(verification, trusted)
        _expect_copies(verification, trusted, _copies(config, arguments), _around("audit.copy"))
        erased = stack.enter_context(audit_records.erased_records()) if arguments.records else None
        for line in _shown_lines("verify", config, arguments):
            verification.take(line)
            if erased is not None:
                erased.take(line)
        if erased is not None and trusted.deployment is not None:
            with progress.shown("records", None, " records") as bar:
                for finding in erased.put_back(trusted.deployment.records, trusted.deployment.keyring, bar.update):
                    verification.report(finding)
        report = verification.finish()
    (_print_json if arguments.json else _print_report)(report)
    return Exit.DONE if report.is_sound else Exit.TAMPERED


@contextmanager
def _trusted(config: Config, arguments: argparse.Namespace) -> Iterator[_Trusted]:
    if arguments.keys:
        known = PublicKeys(())
        for file in arguments.keys:
            known = known.joined(audit_key_file.read(Path(file)).known)
        yield _Trusted(known, None)
        return
    with configuration.opened(config) as deployment:
        yield _Trusted(deployment.keyring, deployment)


def _finder(trusted: _Trusted) -> Callable[[str], Checkpoint | None] | None:
    registry = trusted.registry
    return None if registry is None else lambda chain: registry.find(chain, trusted.known)


def _expect_registered(verification: Verification, trusted: _Trusted) -> None:
    registry = trusted.registry
    if registry is None:
        return
    for record in registry.records():
        try:
            kept = registry.open(record, trusted.known)
        except (IntegrityError, UnknownKeyVersion) as problem:
            message = f"{_STORE} keeps a record of a chain that was forged or damaged: {problem.message}"
            verification.report(Finding(Problem.FORGED_CHECKPOINT, message, None, _claimed(record)))
            continue
        verification.expect(kept, _STORE)


def _claimed(record: Any) -> str:  # noqa: ANN401 - a Record; the name would be imported for this alone
    try:
        return chain_of(record)
    except IntegrityError:
        return ""


def _expect_copies(verification: Verification, trusted: _Trusted, names: Sequence[str], around: Surroundings) -> None:
    for name in names:
        for file in reading.in_order(reading.log_files(name, around)):
            for line in file.lines(lambda _: None, anywhere=True):
                _expect_copy(verification, trusted, line)


def _expect_copy(verification: Verification, trusted: _Trusted, line: LogLine) -> None:
    try:
        checkpoint = verify_checkpoint(line.content, trusted.known)
    except (IntegrityError, UnknownKeyVersion) as problem:
        if not line.content.startswith(b"{") or line.content.endswith(b"}"):
            message = f"what the second place holds there is no checkpoint: {problem.message}"
            verification.report(Finding(Problem.FORGED_CHECKPOINT, message, line.place))
        return
    verification.expect(checkpoint, f"the second place ({line.place.file})")


def _copies(config: Config, arguments: argparse.Namespace) -> Sequence[str]:
    if arguments.copies is not None:
        return list(arguments.copies)
    # Where somebody else's log is verified by keys alone, this configuration has nothing to do with it.
    return [config.audit.copy] if config.audit.copy and not arguments.keys else []


def _print_report(report: Report) -> None:
    print(f"{report.events} events of {report.chains} chains, {report.checkpoints} checkpoints")
    if report.unconfirmed:
        print(
            f"{report.unconfirmed} events are behind the last checkpoint of their chain, so nothing vouches for them yet"
        )
    if report.unchained:
        print(f"{report.unchained} events belong to no chain, so nothing vouches for them")
    for place in report.torn:
        print(f"{place.file}:{place.line}: cut short, as by a process that was killed")
    if report.is_sound:
        print("sound: nothing was changed, removed, repeated or cut off")
        return
    for finding in report.findings:
        where = f"{finding.place.file}:{finding.place.line}: " if finding.place is not None else ""
        print(f"{where}{finding.problem.value}: {finding.message}{_chain(finding)}")
    if report.more:
        print(f"and {report.more} more")
    print("NOT SOUND; the first line above that names a file and a line is the first bad event")


def _chain(finding: Finding) -> str:
    if not finding.chain:
        return ""
    sequence = "" if finding.sequence is None else f", sequence {finding.sequence}"
    return f" (chain {finding.chain}{sequence})"


def _print_json(report: Report) -> None:
    findings = [
        {
            "problem": one.problem.name.lower(),
            "message": one.message,
            "file": None if one.place is None else one.place.file,
            "line": None if one.place is None else one.place.line,
            "chain": one.chain or None,
            "sequence": one.sequence,
        }
        for one in report.findings
    ]
    torn = [{"file": place.file, "line": place.line} for place in report.torn]
    figures = {
        name: getattr(report, name) for name in ("events", "chains", "checkpoints", "unconfirmed", "unchained", "more")
    }
    print(json.dumps({"sound": report.is_sound, **figures, "torn": torn, "findings": findings}, indent=2))


# Search and export


def _search(arguments: argparse.Namespace) -> Exit:
    target = output_bytes()
    for line, event in _wanted("search", arguments):
        target.write(line.content + b"\n" if arguments.json else _readable(event).encode())
    target.flush()
    return Exit.DONE


def _export(arguments: argparse.Namespace) -> Exit:
    if arguments.output in (None, STANDARD):
        _write_export(output_bytes(), arguments)
        return Exit.DONE
    with output_file.whole(Path(arguments.output)) as target:
        _write_export(target, arguments)
    return Exit.DONE


def _write_export(target: BinaryIO, arguments: argparse.Namespace) -> None:
    if arguments.format == "jsonl":
        target.writelines(line.content + b"\n" for line, _ in _wanted("export", arguments))
        target.flush()
        return
    text = io.TextIOWrapper(target, encoding="utf-8", newline="", write_through=True)
    rows = csv.writer(text)
    rows.writerow(_COLUMNS)
    for _, event in _wanted("export", arguments):
        rows.writerow([_cell(event.get(column, "")) for column in _COLUMNS])
    text.detach()
    target.flush()


def _wanted(what: str, arguments: argparse.Namespace) -> Iterator[tuple[LogLine, dict[str, Any]]]:
    config = configuration.load(arguments)
    if arguments.token_file is not None and arguments.fingerprint is not None:
        raise UsageError("--token-file and --token ask for the same; keep one")
    fingerprints = None if arguments.token_file is None else _fingerprints(config, arguments)
    filters: Filters = audit_filters.filters_of(arguments, time.time(), fingerprints)
    labelled = None if arguments.label is None else _labelled(what, config, arguments)
    for line in _shown_lines(what, config, arguments):
        event = filters.event_of(line)
        if event is not None and (labelled is None or labelled.concerns(event)):
            yield line, event


def _labelled(what: str, config: Config, arguments: argparse.Namespace) -> Labelled:
    label = label_of(arguments.label)
    with configuration.opened(config) as deployment:
        known = Labelled(
            frozenset(
                fingerprint
                for tenant in arguments.tenant or [DEFAULT_TENANT]
                for fingerprint in label_fingerprints(deployment.keyring, tenant, label)
            )
        )
    return known.found_in(_shown_lines(what, config, arguments))


def _fingerprints(config: Config, arguments: argparse.Namespace) -> list[str]:
    """What the log may call the token: under each lookup secret, in each tenant that is asked for."""
    parsed = tokens.parse(_token(arguments.token_file))
    with configuration.opened(config) as deployment:
        lookup, keyring = deployment.tokenizer.lookup, deployment.keyring
        return [
            lookup.present(tenant, parsed, version).fingerprint
            for tenant in arguments.tenant or [DEFAULT_TENANT]
            for version in [
                keyring.tenant_key(tenant)[0],
                *keyring.older_lookup_versions(keyring.tenant_key(tenant)[0]),
            ]
        ]


def _token(file: str) -> str:
    given = next(tokens_of([file]), "") if file == STANDARD else input_file.content(file).decode("ascii", "replace")
    token = given.strip()
    if not token:
        raise UsageError("--token-file holds no token")
    return token


def _readable(event: dict[str, Any]) -> str:
    """One line for people; what others wrote is escaped, so that it can do nothing to a terminal."""
    head = f"{event.get('time', '')}  {event.get('action', ''):<16}  {event.get('outcome', ''):<14}  {event.get('role', '')}"
    shown = ("tenant", "issuer", "token", "session", "request", "record", "revision", "reason", "detail")
    rest = "".join(f"  {name}={json.dumps(event[name])}" for name in shown if name in event)
    return json.dumps(head)[1:-1] + rest + "\n"


def _cell(value: object) -> str:
    """A cell; a text that a spreadsheet would take for a formula gets an apostrophe before it."""
    text = json.dumps(value, separators=(",", ":")) if isinstance(value, dict) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


# Keys, and what is archived


def _keys(arguments: argparse.Namespace) -> Exit:
    with configuration.opened(configuration.load(arguments)) as deployment:
        known = sorted(deployment.keyring.verification_keys(), key=lambda key: key.version)
        keyring_id = deployment.keyring.keyring.id
    print(audit_key_file.to_pem(known) if arguments.pem else audit_key_file.to_json(keyring_id, known), end="")
    return Exit.DONE


def _forget(arguments: argparse.Namespace) -> Exit:
    before = audit_filters.time_of(arguments.before, "--before", time.time())
    with configuration.opened(configuration.load(arguments)) as deployment:
        registry = ChainRegistry(deployment.records, deployment.keyring.keyring.id)
        old = [record for record in registry.records() if registry.open(record, deployment.keyring).time < before]
        if not arguments.yes:
            print(
                f"{len(old)} chains have their last checkpoint before {before}; nothing was changed, --yes forgets them"
            )
            return Exit.DONE
        call = Call(operator(DEFAULT_TENANT), reason=arguments.reason)
        deployment.audit.write(
            [AuditEvent.of(call, Action.AUDIT_FORGET, deployment.now(), detail={"before": before, "chains": len(old)})]
        )
        deployment.records.delete([record.name for record in old])
    print(f"{len(old)} chains are forgotten; verify their archived log with --keys")
    return Exit.DONE


# Where lines come from


def _shown_lines(what: str, config: Config, arguments: argparse.Namespace) -> Iterator[LogLine]:
    """The lines of the log, oldest first, with progress on a terminal."""
    files = reading.in_order(_files(config, arguments))
    sizes = [file.size for file in files]
    total = None if None in sizes or any(_is_compressed(file) for file in files) else sum(size or 0 for size in sizes)
    with progress.shown(what, total) as bar:
        for file in files:
            yield from file.lines(bar.update, anywhere=arguments.syslog)


def _is_compressed(file: LogFile) -> bool:
    return not file.name.endswith(".jsonl")


def _files(config: Config, arguments: argparse.Namespace) -> list[LogFile]:
    names = arguments.files or [config.tokenizer.audit or (config.data_dir / "audit" / "audit.jsonl").as_uri()]
    return [file for name in names for file in reading.log_files(name, _around("tokenizer.audit"))]


def _around(setting: str) -> Surroundings:
    return Surroundings(setting, time.time, os.urandom)
