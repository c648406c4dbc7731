"""The tutorials, followed as they are written: their files, changes and commands, against the servers that they start.

What a reader does in a browser is done by an HTTP client with a cookie jar, and what the Secure Frame does by ``Browser``. Ports are the
one thing that is not as on the page.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import httpx
import pytest

from lunacore.segments import Purpose, open_bytes, seal_bytes
from lunacore.testing.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES: Final = Path(__file__).parents[2] / "docs" / "tutorial"
SECONDS: Final = 120.0
BLOCK: Final = re.compile(
    r"^```(?:\{code-block\} (?P<kind>\w+)\n:caption: (?P<name>\S+)\n\n|console\n)(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
TOKEN: Final = re.compile(r"lunasec-[0-9a-f-]{36}")
NOT_RUN: Final = ("python3 -m venv", "env/bin/pip install", "export PATH=")
"""The environment of the tests is there already."""
SERVERS: Final = ("flask", "lunacore serve", "python manage.py runserver")


class Tutorial:
    """One page, followed section by section in a directory of its own."""

    def __init__(self, page: str, directory: Path) -> None:
        app, tokenizer, operations = free_port(), free_port(), free_port()
        self.url, self.tokenizer_url = f"http://127.0.0.1:{app}", f"http://127.0.0.1:{tokenizer}"
        text = (PAGES / page).read_text(encoding="utf-8")
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{app}").replace("--port 8000", f"--port {app}")
        text = text.replace("127.0.0.1:37766", f"127.0.0.1:{tokenizer}")
        parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
        self.sections = dict(zip(parts[1::2], parts[2::2], strict=True))
        self._directory = directory
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("LUNACORE_", "DJANGO_"))},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "LUNACORE_TOKENIZER_PORT": str(tokenizer),
            "LUNACORE_TOKENIZER_OPERATIONS": f"127.0.0.1:{operations}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, str] = {}

    def follow(self, *sections: str) -> None:
        """Write files, change them and run commands, in the order of the page; then start anew what serves changed files."""
        for section in sections:
            for block in BLOCK.finditer(self.sections[section]):
                self._do(block["kind"], block["name"], block["text"])
        for server, command in list(self._commands.items()):
            if server != "lunacore serve":
                self._start(server, command)

    def rows(self, database: str, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._directory / database, timeout=30)) as connection:
            return connection.execute(sql).fetchall()

    def run(self, command: str) -> str:
        """Run a command in the reader's shell; what it exports stays."""
        kept = self._directory / ".environment"
        ran = subprocess.run(
            ["bash", "-ec", f"{command}\nenv -0 > {kept}"],
            cwd=self._directory,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert ran.returncode == 0, f"$ {command}\n{ran.stdout}{ran.stderr}"
        pairs = (line.partition("=") for line in kept.read_text().split("\0") if line)
        self._environment = {name: value for name, _, value in pairs}
        return ran.stdout

    def _do(self, kind: str | None, name: str | None, text: str) -> None:
        if kind is None or name is None:
            for command in re.findall(r"^\$ (.+)$", text, re.MULTILINE):
                self._command(command)
        elif kind == "diff":
            self._change(self._directory / name, text)
        else:
            path = self._directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def _command(self, command: str) -> None:
        if command.startswith(NOT_RUN):
            return
        for server in SERVERS:
            if command.startswith(server):
                self._start(server, command)
                return
        self.run(command)

    def _change(self, path: Path, diff: str) -> None:
        """Apply hunks, whose old lines must each stand in the file exactly once."""
        content = path.read_text(encoding="utf-8")
        for hunk in re.split(r"^@@.*\n", diff, flags=re.MULTILINE):
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] in " -")
            new = "".join(line[1:] for line in lines if line[0] in " +")
            assert content.count(old) == 1, f"{path.name} does not hold, or not once:\n{old}"
            content = content.replace(old, new)
        path.write_text(content, encoding="utf-8")

    def _start(self, server: str, command: str) -> None:
        self._stop(server)
        self._commands[server] = command
        log = self._directory / "servers.log"
        with log.open("ab") as output:
            # A process group of its own: servers that reload have children.
            self._running[server] = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        url = f"{self.tokenizer_url}/health" if server == "lunacore serve" else self.url
        deadline = time.monotonic() + SECONDS
        while self._running[server].poll() is None and time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                self._client.get(url)
                return
            time.sleep(0.1)
        raise AssertionError(f"$ {command}\n{log.read_text()}")

    def _stop(self, server: str) -> None:
        process = self._running.pop(server, None)
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def __enter__(self) -> Self:
        self._client = httpx.Client(timeout=30, trust_env=False)
        return self

    def __exit__(self, *_: object) -> None:
        for server in list(self._running):
            self._stop(server)
        self._client.close()


class Browser:
    """A reader's browser, with the Secure Frame in it."""

    def __init__(self, tutorial: Tutorial) -> None:
        self._app, self._tokenizer = tutorial.url, tutorial.tokenizer_url
        self._client = httpx.Client(follow_redirects=True, timeout=60, trust_env=False)
        self._hash = ""

    def get(self, path: str) -> httpx.Response:
        return self._client.get(f"{self._app}{path}")

    def post(self, path: str, **fields: str) -> httpx.Response:
        """Send a form; Django's is fetched first, for what it holds against forgery."""
        cookie = self._client.cookies.get("csrftoken", domain="127.0.0.1")
        return self._client.post(f"{self._app}{path}", data={**fields, "csrfmiddlewaretoken": cookie or ""})

    def frame(self) -> None:
        """The frame gets a session, by navigating through the application."""
        answer = self._navigate()
        deadline = time.monotonic() + SECONDS
        # The tokenizer was there before the application's keys were, and asks for them again only after a while.
        while answer.status_code == 503 and time.monotonic() < deadline:
            time.sleep(int(answer.headers["retry-after"]))
            answer = self._navigate()
        visited = [one.url.path for one in answer.history]
        assert visited[:3] == ["/session/ensure", "/.lunasec/secure-frame", "/session/create"], answer.text
        verified = self._client.get(f"{self._tokenizer}/session/verify", headers={"sec-fetch-site": "same-origin"})
        self._hash = verified.headers["lunasec-session-hash"]

    def _navigate(self) -> httpx.Response:
        return self._client.get(f"{self._tokenizer}/session/ensure", headers={"sec-fetch-mode": "navigate"})

    def tokenize(self, value: str) -> str:
        asked = {"metadata": {"dataType": "string"}, "valueFormat": "sealed-v1"}
        ticket = self._call("/tokenize", asked).json()["data"]
        sealed = seal_bytes(base64.b64decode(ticket["valueKey"]), value.encode(), Purpose.VALUE, os.urandom)
        self._client.put(ticket["uploadUrl"], content=sealed, headers=ticket["headers"]).raise_for_status()
        return str(ticket["tokenId"])

    def detokenize(self, token: str) -> str:
        """The value, or the name of the error."""
        answer = self._call("/detokenize", {"tokenId": token}).json()
        if not answer["success"]:
            return str(answer["error"]["name"])
        ticket = answer["data"]
        stored = self._client.get(ticket["downloadUrl"], headers=ticket["headers"]).raise_for_status().content
        return open_bytes(base64.b64decode(ticket["valueKey"]), stored, Purpose.VALUE).decode()

    def close(self) -> None:
        self._client.close()

    def _call(self, path: str, body: Any) -> httpx.Response:
        headers = {"sec-fetch-site": "same-origin", "lunasec-session-hash": self._hash}
        return self._client.post(f"{self._tokenizer}{path}", json=body, headers=headers)


@pytest.fixture
def tutorial(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tutorial]:
    with Tutorial(request.param, tmp_path) as followed:
        yield followed


@pytest.fixture
def readers(tutorial: Tutorial) -> Iterator[tuple[Browser, Browser]]:
    ada, bob = Browser(tutorial), Browser(tutorial)
    yield ada, bob
    ada.close()
    bob.close()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tutorial", ["flask.md"], indirect=True)
def test_flask(tutorial: Tutorial, readers: tuple[Browser, Browser]) -> None:
    ada, bob = readers
    stored = "SELECT user, ssn FROM profile ORDER BY user"

    tutorial.follow("The application")
    ada.post("/log-in", user="ada", password="lovelace").raise_for_status()
    bob.post("/log-in", user="bob", password="builder").raise_for_status()
    assert "078-05-1120" in ada.post("/profile", ssn="078-05-1120").text
    bob.post("/profile", ssn="219-09-9999").raise_for_status()
    assert tutorial.rows("profiles.db", stored) == [("ada", "078-05-1120"), ("bob", "219-09-9999")]

    tutorial.follow("Start a tokenizer", "Change 1: say whose session it is")
    assert ada.get("/profile").status_code == 401
    ada.post("/log-in", user="ada", password="lovelace").raise_for_status()
    bob.post("/log-in", user="bob", password="builder").raise_for_status()
    ada.frame()
    bob.frame()

    tutorial.follow("Change 2: take tokens in place of values", "Change 3: let the user read it")
    token = ada.tokenize("078-05-1121")
    page = ada.post("/profile", ssn=token)
    assert f'<secure-input name="ssn" token="{token}">' in page.text
    assert tutorial.rows("profiles.db", stored)[0] == ("ada", token)
    assert ada.detokenize(token) == "078-05-1121"
    assert bob.detokenize(token) == "grantMissing"
    assert bob.post("/profile", ssn=token).status_code == 403
    assert bob.post("/profile", ssn="219-09-9999").status_code == 400
    assert tutorial.rows("profiles.db", stored)[1] == ("bob", "219-09-9999")

    tutorial.follow("Change 4: the values that are there already")
    tutorial.run("python backfill.py")
    (_, kept), (_, moved) = tutorial.rows("profiles.db", stored)
    assert kept == token
    assert TOKEN.fullmatch(moved)
    assert bob.detokenize(moved) == "grantMissing"
    assert moved in bob.get("/profile").text
    assert bob.detokenize(moved) == "219-09-9999"

    ada.post("/log-out")
    assert ada.detokenize(token) == "grantMissing"


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("tutorial", ["django.md"], indirect=True)
def test_django(tutorial: Tutorial, readers: tuple[Browser, Browser]) -> None:
    ada, bob = readers

    def log_in() -> None:
        for reader, user, password in ((ada, "ada", "lovelace"), (bob, "bob", "builder")):
            reader.get("/accounts/login/")
            answer = reader.post("/accounts/login/", username=user, password=password)
            assert answer.url.path == "/record/", answer.text

    def stored(*columns: str) -> list[tuple[Any, ...]]:
        return tutorial.rows("db.sqlite3", f"SELECT {', '.join(columns)} FROM patients_record ORDER BY user_id")

    tutorial.follow("The application")
    log_in()
    ada.post("/record/", ssn="078-05-1120").raise_for_status()
    bob.post("/record/", ssn="219-09-9999").raise_for_status()
    assert stored("ssn") == [("078-05-1120",), ("219-09-9999",)]

    tutorial.follow("Start a tokenizer", "Change 1: the settings", "Change 2: a field for tokens")
    assert "078-05-1120" in ada.get("/record/").text
    tutorial.follow("Change 3: the form", "Change 4: let the user read it")
    ada.frame()
    bob.frame()
    token = ada.tokenize("078-05-1121")
    page = ada.post("/record/", ssn_token=token)
    assert re.search(rf'<secure-input [^>]*name="ssn_token"[^>]* token="{token}"', page.text), page.text
    assert stored("ssn_token") == [(token,), (None,)]
    assert ada.detokenize(token) == "078-05-1121"
    assert bob.detokenize(token) == "grantMissing"
    refused = bob.post("/record/", ssn_token=token)
    assert (refused.status_code, "was not entered in your session" in refused.text) == (422, True)
    assert bob.post("/record/", ssn_token="219-09-9999").status_code == 422
    assert stored("ssn_token") == [(token,), (None,)]

    assert stored("ssn") == [("",), ("219-09-9999",)]
    tutorial.follow("Change 5: the values that are there already")
    assert stored("ssn") == [("",), ("",)]
    moved = stored("ssn_token")[1][0]
    assert TOKEN.fullmatch(moved)
    bob.get("/record/")
    assert bob.detokenize(moved) == "219-09-9999"

    ada.post("/accounts/logout/")
    assert ada.detokenize(token) == "grantMissing"


def test_every_command_and_file_of_the_pages_is_followed() -> None:
    for page in ("flask.md", "django.md"):
        text = (PAGES / page).read_text(encoding="utf-8")
        assert len(BLOCK.findall(text)) == text.count("\n```") // 2


def test_openssl_and_bash_are_there() -> None:
    assert shutil.which("openssl")
    assert shutil.which("bash")
