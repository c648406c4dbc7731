"""A process that writes records to PostgreSQL until it, or the server, is killed; started as a module, with a URL and a number.

A line on standard output says what is done: it is written when the store's call has returned. It exits with 3 when the server
has gone.
"""

from __future__ import annotations

import os
import sys
import time

from lunacore.errors import StoreUnavailable
from lunacore.plugins import BackendURL, Surroundings
from lunacore_backends.postgresql.records import open_records
from tests.backends.sqlite_worker import write_on


def main() -> None:
    url, start = sys.argv[1:]
    around = Surroundings("records", time.time, os.urandom)
    records = open_records(BackendURL.parse(f"{url}&application_name=lunacore-writer", "records"), around)
    try:
        write_on(records, int(start))
    except StoreUnavailable:
        sys.exit(3)


if __name__ == "__main__":
    main()
