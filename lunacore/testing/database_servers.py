"""PostgreSQL and Redis for tests and benchmarks: real servers on free ports of 127.0.0.1, as child processes.

They use the programs that the system has (Debian's ``postgresql`` and ``redis-server``), keep everything in a folder of their
own and are ended by their process ids. PostgreSQL refuses to run as root, so root runs it as another user.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, urlencode

from lunacore.testing.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.02
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - folders in it are made by mkdtemp
_ROOM_BYTES: Final = 1 << 30
_UNPRIVILEGED: Final = ("postgres", "nobody")
_PASSWORD: Final = "only for tests: /?#%"  # noqa: S105 - of a server on loopback, with characters that URLs must encode


class DatabaseServer:
    """A server that can be started, killed, frozen and started again on the same port and data.

    Args:
        settings: of the server's configuration.
        certificate: PEM files of a certificate and its key, with which TLS is offered.
        in_memory: whether its folder lies in memory, where there is room; what it syncs then costs nothing, and is worth nothing.
    """

    program: str
    scheme: str

    def __init__(self, *settings: str, certificate: tuple[Path, Path] | None = None, in_memory: bool = False) -> None:
        self.port = free_port()
        self.password = _PASSWORD
        self.process: subprocess.Popen[bytes] | None = None
        self.folder = Path(
            tempfile.mkdtemp(prefix=f"lunacore-{self.scheme}-", dir=_memory_folder() if in_memory else None)
        )
        self._settings = list(settings)
        self._certificate = certificate
        self._log = self.folder / "log"

    @property
    def log(self) -> str:
        """What the server has written so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start, and return when the server answers.

        Raises:
            RuntimeError: it does not.
        """
        assert self.process is None
        deadline = time.monotonic() + _START_SECONDS
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - the arguments are the test's own
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, **self._identity()
            )
        while time.monotonic() < deadline and self.process.poll() is None:
            if self._answers():
                return
            time.sleep(_POLL_SECONDS)
        self.stop()
        raise RuntimeError(f"{self.program} did not start:\n{self.log}")

    def stop(self) -> None:
        """End in order; the data stays."""
        self._end(self._ending())

    def kill(self) -> None:
        """End at once, without a last word: ``kill -9`` of all its processes."""
        assert self.process is not None
        children = _children(self.process.pid)
        self.process.kill()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._end(signal.SIGKILL)
        for pid in children:
            _await_end(pid)

    def pause(self) -> None:
        """Freeze all its processes: connections stay, and nothing is answered."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo ``pause``."""
        self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        """End, and remove everything."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _identity(self) -> dict[str, Any]:
        """As whom the process runs; as this one where empty."""
        return {}

    def _ending(self) -> signal.Signals:
        return signal.SIGTERM

    def _signal_all(self, number: signal.Signals) -> None:
        assert self.process is not None
        for pid in (self.process.pid, *_children(self.process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _end(self, number: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class PostgreSQLServer(DatabaseServer):
    """A PostgreSQL with one user, who may do all and has a password; settings are ``name=value`` of ``postgresql.conf``."""

    program = "PostgreSQL"
    scheme = "postgresql"
    user = "lunacore"

    def start(self) -> None:
        """Start, and return when the server answers; the first time its files are made.

        Raises:
            RuntimeError: it does not.
        """
        if not self._data.exists():
            self._initialize()
        super().start()

    @staticmethod
    def missing() -> str:
        """Why it cannot run here, empty if it can."""
        if _postgresql_programs() is None:
            return "PostgreSQL is not installed (Debian package postgresql)"
        if os.geteuid() == 0 and _unprivileged() is None:
            return "PostgreSQL does not run as root, and there is no user postgres or nobody"
        return ""

    def url(self, *, user: str = "", password: str | None = None, port: int | None = None, **options: str) -> str:
        """The URL of its database ``postgres``, with options such as ``schema``."""
        secret = quote(self.password if password is None else password, safe="")
        query = f"?{urlencode(options, quote_via=quote)}" if options else ""
        return f"postgresql://{user or self.user}:{secret}@127.0.0.1:{port or self.port}/postgres{query}"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _initialize(self) -> None:
        password = self.folder / "password"
        password.write_text(self.password, encoding="utf-8")
        self._hand_over(self.folder, password)
        subprocess.run(  # noqa: S603 - the arguments are the test's own
            [
                *(self._executable("initdb"), "--pgdata", str(self._data), "--username", self.user),
                *("--auth", "scram-sha-256", "--pwfile", str(password), "--encoding", "UTF8", "--locale", "C"),
                "--no-sync",
            ],
            check=True,
            capture_output=True,
            cwd=self.folder,
            **self._identity(),
        )
        if self._certificate is not None:
            for source, name in zip(self._certificate, ("server.crt", "server.key"), strict=True):
                copy = self._data / name
                copy.write_bytes(source.read_bytes())
                copy.chmod(0o600)
                self._hand_over(copy)
            self._settings.append("ssl=on")

    def _hand_over(self, *paths: Path) -> None:
        user = _unprivileged() if os.geteuid() == 0 else None
        for path in paths if user is not None else ():
            assert user is not None
            os.chown(path, user.pw_uid, user.pw_gid)

    def _executable(self, name: str) -> str:
        programs = _postgresql_programs()
        assert programs is not None
        return str(programs / name)

    def _command(self) -> list[str]:
        settings = (
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.folder}",
            *self._settings,
        )
        return [
            self._executable("postgres"),
            "-D",
            str(self._data),
            *(word for one in settings for word in ("-c", one)),
        ]

    def _answers(self) -> bool:
        ready = subprocess.run(  # noqa: S603 - the arguments are the test's own
            [self._executable("pg_isready"), "--quiet", "--host", "127.0.0.1", "--port", str(self.port)], check=False
        )
        return ready.returncode == 0

    def _identity(self) -> dict[str, Any]:
        user = _unprivileged() if os.geteuid() == 0 else None
        return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def _ending(self) -> signal.Signals:
        # "Fast" shutdown: it does not wait for clients to leave.
        return signal.SIGINT


class RedisServer(DatabaseServer):
    """A Redis, or Valkey, with a password, which writes down all it does (AOF) and never evicts.

    Settings are arguments such as ``--maxmemory``, ``8mb``. TLS is offered at ``tls_port``.
    """

    program = "Redis"
    scheme = "redis"

    def __init__(self, *settings: str, certificate: tuple[Path, Path] | None = None, in_memory: bool = False) -> None:
        super().__init__(*settings, certificate=certificate, in_memory=in_memory)
        self.tls_port = 0 if certificate is None else free_port()

    @staticmethod
    def missing() -> str:
        """Why it cannot run here, empty if it can."""
        return "" if _redis_program() else "Redis is not installed (Debian package redis-server)"

    def url(self, *, user: str = "", password: str | None = None, port: int | None = None, **options: str) -> str:
        """The URL of its database 0, with options such as ``prefix``."""
        secret = quote(self.password if password is None else password, safe="")
        query = f"?{urlencode(options, quote_via=quote)}" if options else ""
        return f"redis://{user}:{secret}@127.0.0.1:{port or self.port}/0{query}"

    def _command(self) -> list[str]:
        program = _redis_program()
        assert program is not None
        return [
            *(program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--requirepass", self.password, "--appendonly", "yes", "--save", "", "--daemonize", "no"),
            *self._tls_settings(),
            *self._settings,
        ]

    def _tls_settings(self) -> list[str]:
        if self._certificate is None:
            return []
        certificate, key = map(str, self._certificate)
        tls = ["--tls-port", str(self.tls_port), "--tls-auth-clients", "no"]
        return [*tls, "--tls-cert-file", certificate, "--tls-key-file", key]

    def _answers(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection,
        ):
            secret = self.password.encode()
            connection.sendall(b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%b\r\nPING\r\n" % (len(secret), secret))
            with connection.makefile("rb") as answers:
                return (answers.readline(), answers.readline()) == (b"+OK\r\n", b"+PONG\r\n")
        return False


def _postgresql_programs() -> Path | None:
    """The folder of the newest server's programs; Debian keeps them out of the search path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parents[1].name))
    if found:
        return found[-1].parent
    postgres = shutil.which("postgres")
    return None if postgres is None else Path(postgres).resolve().parent


def _memory_folder() -> Path | None:
    """A file system in memory with room for a server; None where there is none."""
    try:
        return _MEMORY if shutil.disk_usage(_MEMORY).free > _ROOM_BYTES else None
    except OSError:
        return None


def _redis_program() -> str | None:
    return shutil.which("redis-server") or shutil.which("valkey-server")


def _unprivileged() -> pwd.struct_passwd | None:
    for name in _UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


def _children(pid: int) -> Sequence[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def _await_end(pid: int) -> None:
    """Wait until a process that is not ours has ended."""
    deadline = time.monotonic() + _STOP_SECONDS
    while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < deadline:
        if Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(_POLL_SECONDS)
