"""Another process at a vault: ``vault_process.py DIRECTORY COMMAND [TOKEN]``; it waits for a line on standard input first."""

from __future__ import annotations

import sys

import lunacore


def main() -> None:
    directory, command, *rest = sys.argv[1:]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    with lunacore.open_vault(directory) as vault:
        if command == "put":
            sys.stdout.write(f"{vault.put(b'from another process')!s} {vault.deployment.keyring.keyring.id.hex()}\n")
        else:
            sys.stdout.write(f"{vault.get(*rest).hex()}\n")


if __name__ == "__main__":
    main()
