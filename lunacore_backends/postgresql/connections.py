"""Connections to one PostgreSQL server: lent to calls, bounded in number and time, replaced when they break.

A call connects by itself where no connection is idle, so it learns at once why none can be had, and there are as many as calls
ran at once. ``docs/decisions/0042-postgresql.md`` says why this is no pool with threads of its own.
"""

from __future__ import annotations

import os
import random
import select
import threading
import time
import weakref
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg.types.array import ListBinaryDumper
from psycopg.types.numeric import Int8, Int8BinaryDumper

from lunacore_backends.postgresql.failures import READ_ONLY, TRY_AGAIN, Failures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from psycopg.abc import RV, PQGen

    from lunacore_backends.postgresql.settings import PostgreSQLSettings

T = TypeVar("T")

MAX_BIGINT: Final = 2**63 - 1

# The server's own timeout comes first, since it says more.
_SERVER_FIRST: Final = 1.0
# Connections end after a while, so that a new password, a new address and a rebalanced server are taken up.
_MAX_AGE: Final = 1800.0
_MAX_IDLE: Final = 300.0
_STATEMENTS_PER_CONNECTION: Final = 128
_TURNS: Final = 6
_LONGEST_PAUSE: Final = 0.2
_CONNECT_TURNS: Final = 3
# A server that lets connections wait is given this long before the next call waits for one; meanwhile calls fail at once.
_SILENCE: Final = 1.0

# Settings of a session. Names are not looked for in schemas that others may write to. Every join here looks a page of names up
# in an index; a planner that has not seen how large the tables are may prefer to read them.
_SESSION: Final = """
    SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false),
        set_config('idle_in_transaction_session_timeout', $3, false), set_config('search_path', '', false),
        set_config('default_transaction_isolation', 'read committed', false), set_config('jit', 'off', false),
        set_config('enable_hashjoin', 'off', false), set_config('enable_mergejoin', 'off', false),
        set_config('synchronous_commit', CASE
            WHEN $4 = 'off' THEN 'off'
            WHEN current_setting('synchronous_commit') = 'remote_apply' THEN 'remote_apply'
            ELSE 'on' END, false)
"""
_PROBE: Final = "SELECT current_setting('transaction_read_only') FROM {schema}.migrations LIMIT 1"


class Unanswered(Exception):
    """The server was silent for too long; what became of the statement is not known."""


class Connection(psycopg.Connection[TupleRow]):
    """A connection on which no wait is without end."""

    limit: float | None = None
    born: float = 0.0
    idle_since: float = 0.0

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """As the base class does, but for ``limit`` seconds at most."""
        try:
            return super().wait(gen, interval, self.limit if timeout is None else timeout)
        except psycopg.errors._WaitTimeout:  # noqa: SLF001 - psycopg has no public name for it
            raise Unanswered from None


class Connections:
    """Lends connections to the calls of one store.

    Args:
        settings: the database.
        durable: whether a commit waits until it is safe on disk; where not, a crash of the server may take the last moments.
    """

    def __init__(self, settings: PostgreSQLSettings, *, durable: bool) -> None:
        self.settings = settings
        self.failures = Failures(settings)
        self._session = [
            _milliseconds(settings.timeout),
            _milliseconds(settings.lock_timeout),
            _milliseconds(settings.timeout * 2),
            "on" if durable else "off",
        ]
        self._texts: dict[str, str] = {}
        self._idle: deque[Connection] = deque()
        self._places = threading.Semaphore(settings.pool)
        self._closed = False
        self._silent_until = 0.0
        _open.add(self)

    def rows(self, sql: str, parameters: Sequence[Any] = (), *, repeatable: bool = False) -> list[Any]:
        """All rows of one statement, which is a transaction by itself.

        Args:
            sql: with ``$1`` and so on for the parameters, and ``{schema}`` for the schema.
            parameters: their values.
            repeatable: whether the statement may be sent again if the connection broke on it.

        Raises:
            StoreUnavailable: the server cannot be reached, refuses or is too slow.
        """
        text = self._text(sql)
        return self._run(lambda one: one.execute(text, parameters, binary=True).fetchall(), repeatable=repeatable)

    def count(self, sql: str, parameters: Sequence[Any] = (), *, repeatable: bool = False) -> int:
        """How many rows one statement has changed; else as ``rows``."""
        text = self._text(sql)
        return self._run(lambda one: one.execute(text, parameters, binary=True).rowcount, repeatable=repeatable)

    def probe(self) -> None:
        """Read something of the schema, and see whether the server would take writes.

        Raises:
            StoreUnavailable: it cannot be reached, or would not.
        """
        if self.rows(_PROBE, repeatable=True) != [("off",)]:
            raise self.failures.read_only()

    @contextmanager
    def transaction(self, *, limit: float | None) -> Iterator[Connection]:
        """A connection within a transaction, for ``limit`` seconds for each statement (None: without end); never repeated.

        Raises:
            StoreUnavailable: the server cannot be reached, refuses or is too slow.
        """
        with self._explaining(), self._lent() as connection:
            usual = connection.limit
            connection.limit = None if limit is None else limit + _SERVER_FIRST
            try:
                with connection.transaction():
                    connection.execute(
                        "SELECT set_config('statement_timeout', $1, true)", [_milliseconds(limit or 0)], prepare=False
                    )
                    yield connection
            finally:
                connection.limit = usual

    def close(self) -> None:
        """Close every connection; those that calls still use when these end."""
        self._closed = True
        self.drop_idle()

    def drop_idle(self) -> None:
        """Close the connections that no call is using."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def forget_places(self) -> None:
        """In the child of a fork: the calls that ran in the parent do not end here."""
        self._places = threading.Semaphore(self.settings.pool)

    def _text(self, sql: str) -> str:
        text = self._texts.get(sql)
        if text is None:
            text = self._texts[sql] = sql.replace("{schema}", self.settings.schema)
        return text

    def _run(self, work: Callable[[Connection], T], *, repeatable: bool) -> T:
        """Do one statement; again where the server asks for it, and once more where it may be on a connection that broke."""
        with self._explaining():
            for turn in range(_TURNS):
                try:
                    with self._lent() as connection:
                        return work(connection)
                except psycopg.Error as error:
                    last = turn == _TURNS - 1
                    if not last and error.sqlstate in TRY_AGAIN:
                        time.sleep(_pause(turn))
                    elif not (turn == 0 and repeatable and _broken(error)):
                        raise
        raise AssertionError  # pragma: no cover - the last turn returns or raises

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            explained = self.failures.explained(error)
            if explained is None:
                raise
            raise explained from error
        except Unanswered:
            raise self.failures.unanswered() from None

    @contextmanager
    def _lent(self) -> Iterator[Connection]:
        if not self._places.acquire(timeout=self.settings.pool_timeout):
            raise self.failures.no_connection_free()
        try:
            connection = self._borrow()
            try:
                yield connection
            except psycopg.Error as error:
                if error.sqlstate == READ_ONLY:
                    # The next one may reach the server that took over.
                    connection.close()
                raise
            finally:
                self._give_back(connection)
        finally:
            self._places.release()

    def _borrow(self) -> Connection:
        now = time.monotonic()
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if not _is_stale(connection, now):
                    return connection
                connection.close()
        if self._closed:
            raise self.failures.unavailable("the store was closed")
        return self._connect()

    def _give_back(self, connection: Connection) -> None:
        if connection.closed or connection.pgconn.transaction_status != TransactionStatus.IDLE:
            # It broke, or a statement may still run on it.
            connection.close()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if self._closed:
            self.drop_idle()
            return
        self._drop_unused(connection.idle_since)

    def _drop_unused(self, now: float) -> None:
        """Close the one that was idle for longest, if that is long."""
        with suppress(IndexError):
            oldest = self._idle.popleft()
            if now - oldest.idle_since > _MAX_IDLE:
                oldest.close()
            else:
                self._idle.appendleft(oldest)

    def _connect(self) -> Connection:
        if time.monotonic() < self._silent_until:
            raise self.failures.no_connection_made()
        parameters = self.settings.connection_parameters()
        for turn in range(_CONNECT_TURNS):
            try:
                return self._connect_once(parameters)
            except psycopg.errors.ConnectionTimeout:
                self._silent_until = time.monotonic() + _SILENCE
                raise self.failures.no_connection_made() from None
            except psycopg.OperationalError as error:
                # A server that is restarted or fails over is back in a moment.
                if turn == _CONNECT_TURNS - 1 or not _soon_over(error):
                    raise
                time.sleep(_pause(turn + 1))
        raise AssertionError  # pragma: no cover - the last turn returns or raises

    def _connect_once(self, parameters: dict[str, str]) -> Connection:
        connection = Connection.connect(
            **parameters,  # type: ignore[arg-type]  # they are libpq's, not psycopg's
            autocommit=True,
            prepare_threshold=0,
            cursor_factory=psycopg.RawCursor,
        )
        try:
            connection.born = time.monotonic()
            connection.limit = self.settings.timeout + _SERVER_FIRST
            connection.prepared_max = _STATEMENTS_PER_CONNECTION
            # One type for all numbers: else a statement is prepared anew for each width of each.
            connection.adapters.register_dumper(int, Int8BinaryDumper)
            # By default arrays go as text, and bytes in them as hexadecimal digits.
            connection.adapters.register_dumper(list, ListBinaryDumper)
            connection.execute(_SESSION, self._session, prepare=False)
        except BaseException:
            connection.close()
            raise
        return connection


def bigints(numbers: Iterable[int]) -> list[Int8]:
    """Numbers for an array; psycopg would give each width a type of its own."""
    return [Int8(number) for number in numbers]


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


def _pause(turn: int) -> float:
    """Seconds between turns, different for each of several that lost against one another."""
    return random.uniform(0, min(_LONGEST_PAUSE, 0.005 * 2**turn))  # noqa: S311 - keeps nothing secret


def _broken(error: psycopg.Error) -> bool:
    """Whether the connection, or the server behind it, ended."""
    return isinstance(error, psycopg.OperationalError) and (error.sqlstate or "57P01") in ("57P01", "57P02", "57P05")


def _soon_over(error: psycopg.OperationalError) -> bool:
    text = str(error)
    return "starting up" in text or "shutting down" in text or "Connection refused" in text


def _is_stale(connection: Connection, now: float) -> bool:
    """Whether it is too old, or the server has said something unasked: as a rule, that it has ended the connection."""
    if connection.closed or now - connection.born > _MAX_AGE:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


_open: weakref.WeakSet[Connections] = weakref.WeakSet()


def _before_fork() -> None:
    # A connection that two processes write to is of use to neither.
    for connections in list(_open):
        connections.drop_idle()


def _after_fork_in_child() -> None:
    for connections in list(_open):
        connections.forget_places()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
