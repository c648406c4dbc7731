"""Logs of the server: one line an event on standard error, as ``key=value``. No line holds a token, key, cookie, JWT or path."""

from __future__ import annotations

import logging
import logging.config
import time
from typing import Any, Final

_THREADS_HINT: Final = "Configuration allows spawning up to"


class Lines(logging.Formatter):
    """Lines with the time in UTC."""

    @staticmethod
    def converter(seconds: float | None) -> time.struct_time:
        return time.gmtime(seconds)


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
    logging.config.dictConfig(CONFIGURATION)
