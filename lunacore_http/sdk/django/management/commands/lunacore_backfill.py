"""``manage.py lunacore_backfill app.Model.field``: tokenize an existing column while the application goes on working."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen
from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS

from lunacore.errors import ConfigError, LunaCoreError, RoleForbidden
from lunacore_http.command.progress import shown
from lunacore_http.sdk.backfill import Backfill, Pace, Report
from lunacore_http.sdk.django.application import application
from lunacore_http.sdk.django.column import ColumnRows

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

    from lunacore.tokens import Token
    from lunacore_http.sdk import Application

_MAY_READ: Final = (
    "reading values back needs may_read = true for this application in the tokenizer's configuration; "
    "set it for as long as this takes"
)
_SHOWN_KEYS: Final = 20


class Command(BaseCommand):
    """Tokenize an existing column."""

    help = (
        "Puts the values of a column away and writes their tokens to the TokenField beside it. Runs beside the application, "
        "and goes on where it was interrupted. With --clear it empties the old column, as a step of its own."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("field", metavar="app.Model.field", help="the column that holds the values")
        parser.add_argument(
            "--to", metavar="FIELD", help="the TokenField (the name of the column with _token behind it)"
        )
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, metavar="ALIAS", help="the database (default)")
        parser.add_argument(
            "--batch", type=_positive, default=100, metavar="ROWS", help="rows read and written at once (100)"
        )
        parser.add_argument(
            "--parallel", type=_positive, default=4, metavar="N", help="values on their way at once (4)"
        )
        parser.add_argument("--rate", type=_positive, metavar="ROWS", help="rows a second at most (no limit)")
        parser.add_argument("--limit", type=_positive, metavar="ROWS", help="tokenize so many rows and stop")
        step = parser.add_mutually_exclusive_group()
        step.add_argument("--dry-run", action="store_true", help="say what would be done and do nothing")
        step.add_argument("--verify", action="store_true", help="read every value back and compare it; change nothing")
        step.add_argument("--clear", action="store_true", help="verify every value, then empty the old column")

    def handle(self, *_: object, **options: Any) -> None:  # noqa: ANN401 - Django's
        try:
            rows = _rows(options)
            if options["dry_run"]:
                self._tell_what_is_there(rows)
                return
            backfill = Backfill(
                rows,
                _Values(application()),
                Pace(options["rate"], now=time.monotonic, sleep=time.sleep),
                batch=options["batch"],
                parallel=options["parallel"],
            )
            if options["clear"]:
                self._clear(backfill, rows)
            elif options["verify"]:
                self._verify(backfill, rows)
            else:
                self._tokenize(backfill, rows, options["limit"])
        except ConfigError as problem:
            raise CommandError(f"{problem.message}. Nothing was done.") from None
        except RoleForbidden as refusal:
            raise CommandError(f"{refusal.message}: {_MAY_READ}") from None
        except LunaCoreError as problem:
            raise CommandError(f"{problem.message}. What was done is kept; run it again to go on.") from None

    def _tell_what_is_there(self, rows: ColumnRows) -> None:
        self.stdout.write(
            f"{rows.count_waiting()} rows wait for a token, {rows.count_tokenized()} have one beside their value."
        )
        refusal = rows.refuse_to_clear()
        if refusal:
            self.stdout.write(f"It could not be cleared yet: {refusal}.")

    def _tokenize(self, backfill: Backfill, rows: ColumnRows, limit: int | None) -> None:
        waiting = rows.count_waiting()
        with shown("tokenizing", waiting if limit is None else min(limit, waiting), "rows") as bar:
            report = backfill.tokenize(bar.update, limit=limit)
        self._tell(report, "tokenized")

    def _verify(self, backfill: Backfill, rows: ColumnRows) -> None:
        with shown("verifying", rows.count_tokenized(), "rows") as bar:
            report = backfill.verify(bar.update)
        self._tell(report, "verified")

    def _clear(self, backfill: Backfill, rows: ColumnRows) -> None:
        refusal = rows.refuse_to_clear()
        if refusal:
            raise CommandError(f"{refusal}. Nothing was cleared.")
        waiting = rows.count_waiting()
        if waiting:
            raise CommandError(f"{waiting} rows have a value but no token; tokenize them first. Nothing was cleared.")
        # Emptying cannot be undone, so first all of it must be right.
        self._verify(backfill, rows)
        with shown("clearing", rows.count_tokenized(), "rows") as bar:
            report = backfill.clear(bar.update)
        self._tell(report, "cleared")

    def _tell(self, report: Report, what: str) -> None:
        self.stdout.write(f"{report.done} rows {what}.")
        told = [f"row {key}: {message}" for key, message in report.problems[:_SHOWN_KEYS]]
        told += _about_differing(report)
        if report.changed:
            told.append(
                f"{report.changed} rows were changed by someone else meanwhile and are as they left them; run it again"
            )
        if told:
            raise CommandError("\n".join(told))


@frozen
class _Values:
    """The application's values, as the backfill wants them."""

    application: Application

    def put(self, value: bytes) -> Token:
        return self.application.values.put(value, {"dataType": "string"})

    def get(self, token: str) -> bytes:
        return self.application.values.get(token)

    def delete(self, tokens: Sequence[str]) -> None:
        self.application.delete(tokens)


def _rows(options: dict[str, Any]) -> ColumnRows:
    path, _, name = options["field"].rpartition(".")
    try:
        model = apps.get_model(path)
    except (LookupError, ValueError):
        raise ConfigError(f"{options['field']} names no field of a model; write it as app.Model.field") from None
    return ColumnRows(model, name, options["to"] or f"{name}_token", database=options["database"])


def _about_differing(report: Report) -> list[str]:
    if not report.differing:
        return []
    keys = ", ".join(str(key) for key in report.differing[:_SHOWN_KEYS])
    more = ", …" if len(report.differing) > _SHOWN_KEYS else ""
    told = f"{len(report.differing)} rows hold another value than their token stands for ({keys}{more})"
    return [
        (
            f"{told}; only you can tell which is right: set the token to null and run it again to keep the value, "
            "or empty the old column to keep the token"
        )
    ]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
