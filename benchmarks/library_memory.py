"""A program that puts one file into a vault and reads it again, and prints its own memory as JSON: before, peak up, peak down.

``python -m benchmarks.library_memory FOLDER FILE``; bytes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Final

import lunacore
from benchmarks.processes import reset_peak_memory, status_bytes

_PIECE: Final = 1 << 20


def main() -> None:
    folder, file = Path(sys.argv[1]), Path(sys.argv[2])
    with lunacore.open_vault(folder) as vault:
        vault.get(vault.put(b"4111 1111 1111 1111"))
        before = status_bytes(os.getpid(), "VmRSS")
        reset_peak_memory(os.getpid())
        with file.open("rb") as source:
            token = vault.put(source)
        up = status_bytes(os.getpid(), "VmHWM")
        reset_peak_memory(os.getpid())
        with vault.open(token) as value:
            while value.read(_PIECE):
                pass
        print(json.dumps([before, up, status_bytes(os.getpid(), "VmHWM")]))


if __name__ == "__main__":
    main()
