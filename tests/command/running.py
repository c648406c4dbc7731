"""The real program, run in a process of its own as a user or a script would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM = Path(sys.executable).with_name("lunacore")
GET = ("get", "--reason", "a test")
TOKEN = re.compile(rb"lunasec-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@frozen
class Ended:
    """How a run ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()


@frozen
class Lunacore:
    """Runs ``lunacore`` in ``directory``, where ``./luna-data`` is its data directory unless it is told otherwise."""

    directory: Path

    @property
    def data(self) -> Path:
        return self.directory / "luna-data"

    def __call__(
        self, *arguments: str | Path, given: bytes = b"", environ: Mapping[str, str] | None = None, **options: Any
    ) -> Ended:
        process = subprocess.run(
            [PROGRAM, *arguments],
            input=None if "stdin" in options else given,
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            cwd=self.directory,
            env=self.environ(environ),
            check=False,
            timeout=120,
            **options,
        )
        return Ended(process.returncode, process.stdout or b"", process.stderr.decode())

    def ok(self, *arguments: str | Path, given: bytes = b"", **options: Any) -> bytes:
        """Run, expect success in silence, and give what was printed."""
        ended = self(*arguments, given=given, **options)
        assert (ended.code, ended.err) == (0, "")
        return ended.out

    def put(self, value: bytes, *arguments: str) -> str:
        printed = self.ok("put", *arguments, given=value)
        assert TOKEN.fullmatch(printed.removesuffix(b"\n"))
        return printed.decode().strip()

    def audit(self) -> str:
        """The audit log, without the checkpoints that every process signs when it ends."""
        lines = (self.data / "audit" / "audit.jsonl").read_text().splitlines(keepends=True)
        return "".join(line for line in lines if '"action":"audit.checkpoint"' not in line)

    def environ(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LUNACORE_")}
        # Unbuffered output fails at other places than what users have.
        inherited.pop("PYTHONUNBUFFERED", None)
        return {**inherited, **(more or {})}
