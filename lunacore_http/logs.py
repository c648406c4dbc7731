"""Logs of the server: one line an event on standard error, as ``key=value``. No line holds a token, key, cookie, JWT or path."""

from __future__ import annotations

import logging
import logging.config
import time
from functools import lru_cache
from typing import Any, Final

_THREADS_HINT: Final = "Configuration allows spawning up to"


class Lines(logging.Formatter):
    """Lines with the time in UTC."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        return _written(int(record.created), datefmt or self.default_time_format)


@lru_cache(maxsize=4)  # a process logs in the same second many times
def _written(second: int, form: str) -> str:
    return time.strftime(form, time.gmtime(second))


class WithoutThreadsHint(logging.Filter):
    """Drops granian's hint that threads outnumber cores: they are there to wait for stores and uploads, not to compute."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(_THREADS_HINT)


CONFIGURATION: Final[dict[str, Any]] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": Lines,
            "format": "%(asctime)s.%(msecs)03dZ level=%(levelname)s logger=%(name)s %(message)s",
            "datefmt": "%Y-%m-%dT%H:%M:%S",
        }
    },
    "filters": {"without_threads_hint": {"()": WithoutThreadsHint}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "line"},
    },
    "loggers": {
        "lunacore": {"handlers": ["console"], "level": "INFO", "propagate": False},
        "_granian": {
            "handlers": ["console"],
            "level": "WARNING",
            "propagate": False,
            "filters": ["without_threads_hint"],
        },
    },
}


def configure() -> None:
    """Make this process log as the server does."""
    leave_out_origins()
    logging.config.dictConfig(CONFIGURATION)


def leave_out_origins() -> None:
    """Do not find out for every line which code, thread and task writes it: no line shows it, and it costs much of a line.

    Follows "Optimization" in Python's logging how-to; it holds for all loggers of the process.
    """
    logging._srcfile = None  # noqa: SLF001 - the name that the how-to gives
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
