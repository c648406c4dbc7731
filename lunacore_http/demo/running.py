"""Runs the demo: the application and a tokenizer, each in a process of its own, until a signal or the end of one of them.

Each process leads a session of its own, so that a terminal's Ctrl-C reaches this one alone, which then ends both. Should this one
be killed, they notice that their end of a pipe has none opposite any more, and end by themselves.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import wait
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lunacore.config import Config, TokenizerSettings
from lunacore.errors import ConfigError, LunaCoreError, StoreUnavailable
from lunacore_http.demo.places import LOOPBACK
from lunacore_http.listening import free_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
    from pathlib import Path

    from lunacore_http.demo.places import Places

_OPERATIONS_NOWHERE: Final = "127.0.0.1:0"
_PRIVATE: Final = 0o600
_STARTED: Final = "started"
_STOP_SECONDS: Final = 70  # longer than a server lets requests in flight take


def run(config: Config, places: Places, *, started: Callable[[], None]) -> None:
    """Run both until SIGINT or SIGTERM; must be called in the main thread.

    Args:
        config: the tokenizer's.
        places: the application's.
        started: called when both take connections.

    Raises:
        ConfigError: a port is taken, or a setting is wrong.
        StoreUnavailable: one of the two ended by itself.
    """
    _require_free_ports(config, places)
    _prepare(places)
    with _signals() as signalled, _children() as start:
        # The tokenizer asks the application for its public keys when it starts.
        application = start("application", partial(_serve_application, places), places.application_log)
        if not application.await_start(signalled):
            return
        tokenizer = start("tokenizer", partial(_serve_tokenizer, config), places.tokenizer_log)
        if not tokenizer.await_start(signalled):
            return
        started()
        ended = wait([signalled, application.process.sentinel, tokenizer.process.sentinel])
        for child in (application, tokenizer):
            if child.process.sentinel in ended:
                raise child.failure()


@frozen
class _Child:
    """A process, and the pipe on which it says that it started, or why not."""

    name: str
    process: SpawnProcess
    pipe: Connection
    log: Path

    def await_start(self, signalled: Connection) -> bool:
        """Wait until it takes connections; False if this process was told to end before that."""
        if signalled in wait([signalled, self.pipe, self.process.sentinel]):
            return False
        said = self._said()
        if said != _STARTED:
            raise self.failure(said)
        return True

    def failure(self, said: object = None) -> LunaCoreError:
        """Why it ended, as far as it could say."""
        if isinstance(said, LunaCoreError):
            return said
        return StoreUnavailable(f"the demo's {self.name} has ended; {self.log} says why")

    def stop(self) -> None:
        """End it, and workers of its that outlived it. It is reaped last, so that its number stays its own until then."""
        group = self.process.pid
        assert group is not None  # it was started
        self.process.terminate()
        wait([self.process.sentinel], _STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def _said(self) -> object:
        with suppress(EOFError, OSError):
            if self.pipe.poll():
                return self.pipe.recv()
        return None


@contextmanager
def _children() -> Iterator[Callable[[str, Callable[..., None], Path], _Child]]:
    """Starts processes, and ends them in the end, the last first."""
    context = multiprocessing.get_context("spawn")
    children: list[_Child] = []

    def start(name: str, serve_it: Callable[..., None], log: Path) -> _Child:
        ours, theirs = context.Pipe()
        process = context.Process(target=_be_child, args=(serve_it, theirs, log), name=f"lunacore-demo-{name}")
        process.start()
        theirs.close()
        child = _Child(name, process, ours, log)
        children.append(child)
        return child

    try:
        yield start
    finally:
        for child in reversed(children):
            child.stop()


@contextmanager
def _signals() -> Iterator[Connection]:
    """A connection with something to read once SIGINT or SIGTERM has come."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    before: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda *_: writer.send(None))
        yield reader
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()


def _be_child(serve_it: Callable[..., None], pipe: Connection, log: Path) -> None:
    """What each process does: write to its log, serve, and end with the process that started it."""
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, _PRIVATE)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)
    Thread(target=_end_with_parent, args=(pipe,), name="lunacore-demo-parent", daemon=True).start()
    try:
        serve_it(started=lambda: pipe.send(_STARTED))
    except LunaCoreError as refusal:
        with suppress(OSError):
            pipe.send(refusal)
        sys.exit(1)


def _end_with_parent(pipe: Connection) -> None:
    with suppress(EOFError, OSError):
        pipe.recv()
    os.kill(os.getpid(), signal.SIGTERM)


def _serve_tokenizer(config: Config, *, started: Callable[[], None]) -> None:
    from lunacore_http.server import serve  # noqa: PLC0415 - loads granian, which the main process does without

    serve(config, started=started)


def _serve_application(places: Places, *, started: Callable[[], None]) -> None:
    from lunacore_http.demo.application import create_app  # noqa: PLC0415 - as above
    from lunacore_http.server import serve_application  # noqa: PLC0415 - as above

    config = Config(tokenizer=TokenizerSettings(host=LOOPBACK, port=places.port, operations=_OPERATIONS_NOWHERE))
    serve_application(config, partial(create_app, places), started=started)


def _prepare(places: Places) -> None:
    """Make the directory and the application's signing key where they are missing.

    Raises:
        StoreUnavailable: the directory cannot be written.
    """
    try:
        places.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if places.signing_key.exists():
            return
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        descriptor = os.open(places.signing_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
    except OSError as problem:
        raise StoreUnavailable(f"the demo cannot write to {places.directory}: {problem.strerror}") from problem


def _require_free_ports(config: Config, places: Places) -> None:
    """See that nobody listens where the demo is to: before anything is started or made.

    Raises:
        ConfigError: naming the port that is taken, and how to choose another.
    """
    _require_free(LOOPBACK, places.port, "the demo's application", "--port")
    _require_free(config.tokenizer.host, config.tokenizer.port, "its tokenizer", "LUNACORE_TOKENIZER_PORT")
    host, _, port = config.tokenizer.operations.rpartition(":")
    if port.isdigit():
        _require_free(host.strip("[]"), int(port), "the operator's listener", "LUNACORE_TOKENIZER_OPERATIONS")


def _require_free(host: str, port: int, what: str, setting: str) -> None:
    try:
        free_address(host, port)
    except OSError as problem:
        raise ConfigError(
            f"port {port} on {host}, where {what} is to listen, cannot be used: {problem.strerror or problem}; "
            f"end the program that uses it, or choose another with {setting}"
        ) from None
