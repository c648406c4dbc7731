"""One of several processes on a data directory: puts values away and reads them back until it is told to stop, or killed.

Every token is written to standard output only after ``put`` has returned, so what is read there was acknowledged.
"""

from __future__ import annotations

import hashlib
import os
import sys

import lunacore


def value_of(seed: bytes) -> bytes:
    """A value that can be told from its first 16 bytes, of up to about 200 kB."""
    size = int.from_bytes(seed[:3], "big") % 200_000
    return seed + hashlib.shake_256(seed).digest(size)


def main() -> None:
    directory, count = sys.argv[1], int(sys.argv[2])
    with lunacore.open_vault(directory) as vault:
        print("ready", flush=True)
        for _ in range(count):
            value = value_of(os.urandom(16))
            token = vault.put(value)
            print(token, flush=True)
            if vault.get(token) != value:
                print("wrong value", flush=True)


if __name__ == "__main__":
    main()
