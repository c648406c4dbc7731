"""One of several processes on a data directory: re-keys the tokens on standard input, over and over, until it is killed."""

from __future__ import annotations

import random
import sys

import lunacore
from lunacore.errors import Conflict


def main() -> None:
    directory, seed = sys.argv[1], int(sys.argv[2])
    chance = random.Random(seed)
    tokens = sys.stdin.read().split()
    with lunacore.open_vault(directory) as vault:
        print("ready", flush=True)
        while True:
            try:
                vault.rekey(chance.choice(tokens), deep=chance.random() < 0.3)
            except Conflict:  # another process is at it, or it was done too often
                print("conflict", flush=True)
            else:
                print("done", flush=True)


if __name__ == "__main__":
    main()
