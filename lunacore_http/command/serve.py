"""``lunacore serve``: the tokenizer, with a round trip to try it out."""

from __future__ import annotations

import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lunacore_http.command import configuration, local_identity
from lunacore_http.command.arguments import add_command
from lunacore_http.command.exits import Exit

if TYPE_CHECKING:
    import argparse

    from lunacore.config import Config
    from lunacore_http.command.arguments import Commands

# One compound command: shells run it when it is pasted whole, and leave no function or variable behind.
# Keys and credentials go to curl through files, so that they do not stand in the list of processes.
_ROUND_TRIP: Final = """\
(
jwt() {{ {program} jwt --audience {url} "$@"; }}
call() {{ curl -sS {url}/$1 -H 'Content-Type: application/json' -H @<(echo "$2") -d @<(echo "$3"); }}
signed() {{ python3 -c 'import json, sys
data = json.load(sys.stdin)["data"]
print("url =", json.dumps(data.get("uploadUrl") or data["downloadUrl"]))
for header in data["headers"].items(): print("header =", json.dumps(": ".join(header)))'; }}
session=trial-$RANDOM
user="Cookie: access_token=$(jwt --role user --session $session)"
application="Authorization: Bearer $(jwt --role application)"
ticket=$(call tokenize "$user" '{{"metadata": {{"dataType": "string"}}, "valueFormat": "raw"}}')
printf '4111 1111 1111 1111' | curl -sS -X PUT --data-binary @- -K <(echo "$ticket" | signed)
token=$(echo "$ticket" | python3 -c 'import json, sys; print(json.load(sys.stdin)["data"]["tokenId"])')
request="{{\\"sessionId\\": \\"$session\\", \\"tokenId\\": \\"$token\\"}}"
call grant/verify "$application" "$request"; echo
call grant/set "$application" "$request"; echo
ticket=$(call detokenize "$user" "{{\\"tokenId\\": \\"$token\\"}}")
curl -sS -K <(echo "$ticket" | signed); echo
)"""


def add_to(commands: Commands) -> None:
    """Add the command to the program."""
    add_command(
        commands, "serve", _serve, "run the tokenizer; without configuration on 127.0.0.1, to try it out at once"
    )


def _serve(arguments: argparse.Namespace) -> Exit:
    given = configuration.load(arguments)
    config = given if given.identity else local_identity.with_local_identity(given)
    from lunacore_http.server import serve  # noqa: PLC0415 - loads falcon and granian, for this command alone

    welcome = _addresses(config)
    if not given.identity:
        welcome += _invitation(config)
    # The server itself ends at SIGINT; before and after it has done so, Python does.
    with suppress(KeyboardInterrupt):
        serve(config, started=lambda: print(welcome, flush=True))
    return Exit.DONE


def _addresses(config: Config) -> str:
    return (
        f"Tokenizer   {config.public_url}\n"
        f"Operations  http://{config.tokenizer.operations}  (readiness, metrics, OpenAPI)\n"
        "Ctrl-C ends it.\n"
    )


def _invitation(config: Config) -> str:
    round_trip = _ROUND_TRIP.format(program=_program(config), url=shlex.quote(config.public_url))
    return (
        f"\nNo application is configured, so a local one was made; its signing key is in {config.data_dir}.\n"
        "To try a round trip, paste this into bash; the last line that it prints is the value:\n\n"
        f"{round_trip}\n"
    )


def _program(config: Config) -> str:
    """How to call this program from another directory; the data directory is all that signing needs."""
    return shlex.join([*_itself(), "--data", str(config.data_dir)])


def _itself() -> list[str]:
    program = Path(sys.argv[0])
    if program.name != "lunacore":
        return [sys.executable, "-m", "lunacore_http.command"]
    on_path = shutil.which("lunacore")
    if on_path is not None and program.exists() and Path(on_path).samefile(program):
        return ["lunacore"]
    return [str(program.absolute())]
