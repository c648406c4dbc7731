"""The server: workers that serve the public application, and a main process that looks after them.

granian (its WSGI interface) runs the workers, each a process of its own with threads; the main process holds the operator's
listener and the sweeper. On SIGTERM or SIGINT the listeners close, requests in flight are answered, and everything ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import tempfile
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final

from attrs import evolve
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from lunacore.deployment import open_deployment
from lunacore.errors import ConfigError, StoreUnavailable
from lunacore.sweeping import Sweeper
from lunacore_http import logs
from lunacore_http.listening import free_address
from lunacore_http.metrics import CountedProblems, SweepMetrics, operator_registry
from lunacore_http.operator_listener import OperatorListener
from lunacore_http.sweeper import BackgroundSweeper
from lunacore_http.wiring import open_gateway, open_worker, operations_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from falcon import App, Request, Response

    from lunacore.config import Config
    from lunacore.gateway_keys import FixedGatewayKeys

DRAIN_SECONDS: Final = 60
"""How long requests in flight may take to end after a signal to stop."""

# Threads that wait for clients to send or to take a body; tokenizer.threads counts those that work. They are made when needed.
_WAITING_THREADS: Final = 128
_CONNECTIONS: Final = 1024
_BACKLOG: Final = 2048
_HEADER_SECONDS: Final = 15
_HEADER_BYTES: Final = 64 * 1024
_ANNOUNCE_SECONDS: Final = 0.05
_METRICS_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


def serve(config: Config, *, started: Callable[[], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; must be called in the main thread of a process that does nothing else.

    Args:
        config: everything; workers are given it as it is.
        started: called once, in a thread of its own, when the first worker takes connections.

    Raises:
        ConfigError: a setting is wrong, or an address is taken.
        KeyringError: the keyring is missing or does not open.
        StoreUnavailable: a store cannot be reached, or the workers keep failing.
    """
    logs.configure()
    with ExitStack() as stack:
        directory = stack.enter_context(_metrics_directory())
        deployment = open_deployment(config)
        stack.callback(deployment.close)
        registry = operator_registry(directory)
        sweeper = BackgroundSweeper(
            Sweeper(deployment.tokenizer.eraser, deployment.grants, deployment.audit, deployment.now),
            SweepMetrics(registry),
            config.sweep.every,
        )
        operations = operations_of(deployment, registry, listener=partial(_reach, config))
        listener = OperatorListener(config.tokenizer.operations, operations)
        stack.callback(listener.stop)
        server = _server(config, "tokenizer")
        # After granian, which arranges logging anew.
        CountedProblems(registry, namespace="lunacore_main").listen()

        def begin() -> None:
            listener.start()
            if config.sweep.every:
                sweeper.start()
                stack.callback(sweeper.stop)
            if started is not None:
                _announcer(config, started).start()

        server.on_startup(begin)
        _run(server, partial(open_worker, config))


def serve_gateway(config: Config, keys: FixedGatewayKeys, *, started: Callable[[], None] | None = None) -> None:
    """Serve the gateway on its own until SIGTERM or SIGINT: no keyring, record or grant is opened.

    It listens where ``[gateway]`` says; workers, threads and TLS are those of ``[tokenizer]``.

    Args:
        config: everything; workers are given it as it is.
        keys: the credentials that signatures are checked against.
        started: as for ``serve``.

    Raises:
        ConfigError: a setting is wrong, or the address is taken.
        StoreUnavailable: the object store cannot be reached, or the workers keep failing.
    """
    logs.configure()
    load = partial(open_gateway, config, keys)
    load()  # what is wrong with the settings is told here, once, rather than by every worker
    there = evolve(config, tokenizer=evolve(config.tokenizer, host=config.gateway.host, port=config.gateway.port))
    server = _server(there, "gateway")
    if started is not None:
        server.on_startup(_announcer(there, started).start)
    _run(server, load)


def serve_application(
    config: Config, load: Callable[[], App[Request, Response]], *, started: Callable[[], None] | None = None
) -> None:
    """Serve any WSGI application just as the tokenizer is served, without its operator's listener and sweep.

    The demo's application is served so, and benchmarks compare with applications on the very same server.

    Args:
        config: host, port, workers, threads and TLS are those of ``[tokenizer]``.
        load: makes the application, in each worker; must be picklable.
        started: as for ``serve``.

    Raises:
        ConfigError: a setting is wrong, or the address is taken.
        StoreUnavailable: the workers keep failing.
    """
    logs.configure()
    server = _server(config, "tokenizer")
    if started is not None:
        server.on_startup(_announcer(config, started).start)
    _run(server, load)


def _server(config: Config, section: str) -> MPServer:
    """granian, ready to serve; ``section`` is where host and port come from."""
    settings = config.tokenizer
    address = _free_address(settings.host, settings.port, section)
    try:
        return MPServer(
            "lunacore_http",
            address=address,
            port=settings.port,
            interface=Interfaces.WSGI,
            workers=settings.workers,
            blocking_threads=settings.threads + _WAITING_THREADS,
            backpressure=_CONNECTIONS,
            backlog=_BACKLOG,
            # One protocol less to get request boundaries wrong in; a proxy in front speaks HTTP/2 and 3 where it is wanted.
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=_HEADER_SECONDS * 1000, max_buffer_size=_HEADER_BYTES),
            websockets=False,
            log_level=LogLevels.warning,
            log_dictconfig=logs.CONFIGURATION,
            ssl_cert=_path(settings.tls_certificate),
            ssl_key=_path(settings.tls_key),
            ssl_protocol_min=SSLProtocols.tls12,
            respawn_failed_workers=True,
            workers_kill_timeout=DRAIN_SECONDS,
        )
    except OSError as problem:
        raise ConfigError(
            f"tokenizer.tls_certificate and tokenizer.tls_key cannot be used: {problem.strerror or problem}"
        ) from None


def _free_address(host: str, port: int, section: str) -> str:
    try:
        return free_address(host, port)
    except OSError as problem:
        raise ConfigError(
            f"{section}.host and {section}.port: cannot listen on {host} port {port}: {problem.strerror or problem}"
        ) from None


def _run(server: MPServer, load: Callable[[], App[Request, Response]]) -> None:
    # A forked worker would inherit open databases and, when it is started anew, threads that hold locks.
    multiprocessing.set_start_method("spawn", force=True)
    try:
        server.serve(target_loader=partial(_load_in_worker, load), wrap_loader=False)
    except SystemExit:
        # granian counts workers that a Ctrl-C has reached before it could tell them to stop as failed.
        if not server.interrupt_signal:
            raise StoreUnavailable("the workers keep failing; the log says why") from None


def _load_in_worker(load: Callable[[], App[Request, Response]]) -> App[Request, Response]:
    """What a worker serves; from here on only the main process tells it to stop.

    A terminal's Ctrl-C reaches the workers too. One that is stopping already when the main process tells it to can hang in
    granian's handler until it is killed.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    Thread(target=_end_with_parent, name="lunacore-parent", daemon=True).start()
    return load()


def _end_with_parent() -> None:
    """Stop this worker when the main process is gone without having told it, or nothing would ever stop it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _metrics_directory() -> Iterator[Path]:
    """Where workers write their metrics: theirs alone, told by the environment, since prometheus_client knows no other way."""
    before = os.environ.get(_METRICS_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="lunacore-metrics-") as directory:
        os.environ[_METRICS_VARIABLE] = directory
        try:
            yield Path(directory)
        finally:
            if before is None:
                del os.environ[_METRICS_VARIABLE]
            else:
                os.environ[_METRICS_VARIABLE] = before


def _reach(config: Config) -> None:
    """See that the public listener takes connections."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.tokenizer.host, config.tokenizer.host)  # noqa: S104 - compared
    try:
        socket.create_connection((host, config.tokenizer.port), timeout=2).close()
    except OSError as problem:
        raise StoreUnavailable(f"the public listener takes no connections: {problem.strerror or problem}") from None


def _announcer(config: Config, started: Callable[[], None]) -> Thread:
    return Thread(target=_announce, args=(config, started), name="lunacore-announce", daemon=True)


def _announce(config: Config, started: Callable[[], None]) -> None:
    while True:
        try:
            _reach(config)
        except StoreUnavailable:
            time.sleep(_ANNOUNCE_SECONDS)
        else:
            started()
            return


def _path(text: str) -> Path | None:
    return Path(text) if text else None
