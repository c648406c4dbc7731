"""The real ``lunacore demo`` on free ports, and somebody who visits it over HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import httpx

from lunacore.testing.servers import free_port
from tests.command.running import PROGRAM, Lunacore

LAST_LINE = "Ctrl-C ends it.\n"
PATIENCE = 120
PASSWORD = "correct horse"


class RunningDemo:
    """The program, as a context manager; what it keeps lies in ``directory``, and values where ``objects`` says."""

    def __init__(self, directory: Path, objects: str = "", **environ: str) -> None:
        self.lunacore = Lunacore(directory)
        self._objects = ["--objects", objects] if objects else []
        self.port, self.tokenizer_port, self.operations_port = free_port(), free_port(), free_port()
        self.environ = {
            "LUNACORE_TOKENIZER_PORT": str(self.tokenizer_port),
            "LUNACORE_TOKENIZER_OPERATIONS": f"127.0.0.1:{self.operations_port}",
            **environ,
        }
        self.url = f"http://demo.localhost:{self.port}"
        self.tokenizer_url = f"http://secure.demo.localhost:{self.tokenizer_port}"
        self.said = ""

    @property
    def arguments(self) -> list[str]:
        return ["demo", "--port", str(self.port), *self._objects]

    @property
    def kept(self) -> Path:
        return self.lunacore.data / "demo"

    @property
    def ports(self) -> tuple[int, int, int]:
        return self.port, self.tokenizer_port, self.operations_port

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self.kept.glob("*.log")))

    def children(self) -> list[int]:
        """The processes that it started, the application first; Linux only."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return [pid for pid in map(int, listed.split()) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def __enter__(self) -> Self:
        self._errors = (self.lunacore.directory / "demo.errors").open("w+")
        self.process = subprocess.Popen(
            [PROGRAM, *self.arguments],
            cwd=self.lunacore.directory,
            env=self.lunacore.environ(self.environ),
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        while not self.said.endswith(LAST_LINE):
            line = self.process.stdout.readline()
            assert line, self.errors() + self.logs()
            self.said += line
        return self

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def __exit__(self, *_: object) -> None:
        going = self.process.poll() is None
        if going:
            self.process.terminate()
        try:
            code = self.process.wait(PATIENCE)
            assert code == 0 or not going
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self._errors.close()


class _Loopback(httpx.HTTPTransport):
    """Sends what is for names below ``localhost`` to 127.0.0.1, as browsers do. Without TLS, certificates need not be loaded."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if url.host.endswith(".localhost"):
            url = url.copy_with(host="127.0.0.1")
        return super().handle_request(
            httpx.Request(
                request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
            )
        )


class Person:
    """A browser without scripts."""

    def __init__(self, demo: RunningDemo) -> None:
        self.demo = demo
        self.client = httpx.Client(base_url=demo.url, transport=_Loopback(verify=False), timeout=PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def post(self, path: str, *, origin: str | None = "", **form: str) -> httpx.Response:
        """Send a form, from the application's own page unless another origin is given; None for none."""
        headers = {} if origin is None else {"origin": origin or self.demo.url}
        return self.client.post(path, data=form, headers=headers)

    def sign_up(self, name: str, password: str = PASSWORD) -> httpx.Response:
        return self.post("/sign-up", name=name, password=password)

    def log_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        return self.post("/log-in", name=name, password=password)

    @property
    def panel(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.get("/panel").raise_for_status().json()
        return answer

    def row(self) -> dict[str, str] | None:
        """This person's row in the database, None for nobody's."""
        row: dict[str, str] | None = self.panel["row"]
        return row
