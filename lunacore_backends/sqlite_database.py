"""One SQLite file that several threads and processes use at once: creation, connections, transactions, errors.

It follows SQLite's own documents: write-ahead logging (sqlite.org/wal.html), "How To Corrupt An SQLite Database File"
(sqlite.org/howtocorrupt.html: no connection is carried over a fork, no file is opened behind SQLite's back), and the pragmas
``application_id`` and ``user_version``, which say whose file it is.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections import deque
from contextlib import closing, contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import frozen

from lunacore.errors import ConfigError, StoreUnavailable
from lunacore_backends.write_turns import WriteTurns, lock, make_for_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from lunacore.plugins import BackendURL

MAX_INTEGER: Final = 2**63 - 1
BUSY_TIMEOUT: Final = 5.0

# STRICT tables came with 3.37.
_OLDEST_SQLITE: Final = (3, 37, 0)
_STATEMENTS_PER_CONNECTION: Final = 128
# Well below the number of columns and variables that any build of SQLite allows in one statement.
_MAX_LOOKUPS: Final = 128
# Up to this many lookups have a statement for each count; more are padded to a multiple of the second number, so that few
# statements serve all counts and stay prepared.
_UNPADDED_LOOKUPS: Final = 4
_LOOKUP_STEP: Final = 8

_PRAGMAS: Final = (
    # What is deleted is overwritten with zeros, and a log that grew large is cut off when it starts over.
    "PRAGMA secure_delete = ON",
    f"PRAGMA journal_size_limit = {8 * 2**20}",
    # Nothing of a record goes into a temporary file, and nothing in the file's schema may call functions.
    "PRAGMA temp_store = MEMORY",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cache_size = -8000",
    # On macOS a plain fsync leaves data in the drive's cache; elsewhere these do nothing.
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
)

_EXPLANATIONS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full; nothing was written. Make room",
    sqlite3.SQLITE_READONLY: "the database cannot be written; check the permissions of its file and its directory",
    sqlite3.SQLITE_CANTOPEN: "the database cannot be opened; check that it is there, and its permissions",
    sqlite3.SQLITE_CORRUPT: "the database is damaged; stop, keep a copy, and restore a backup",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database any more; restore a backup",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write; check it and the system's log",
    sqlite3.SQLITE_PERM: "access to the database was denied; check the permissions of its file and its directory",
    sqlite3.SQLITE_NOMEM: "SQLite ran out of memory",
}


@frozen
class Layout:
    """What a database holds, and how durably.

    Attributes:
        holds: the word for it in error messages.
        application_id: four bytes that mark the file as LunaCore's, for this purpose.
        version: of the schema; a release opens its own version only.
        schema: the statements that create it.
        synchronous: ``FULL`` if a commit must survive power loss, ``NORMAL`` if only a crash of the process.
    """

    holds: str
    application_id: int
    version: int
    schema: Sequence[str]
    synchronous: Literal["FULL", "NORMAL"]


def path_of(url: BackendURL, setting: str) -> str:
    """The absolute path that ``sqlite:///absolute/path`` names.

    Raises:
        ConfigError: there is a host or an option, or the path is not absolute.
    """
    if url.host:
        raise ConfigError(
            f"{setting}: sqlite takes no host; write three slashes before an absolute path: sqlite:///path"
        )
    url.refuse_unknown_options(setting)
    if not url.path.startswith("/") or url.path.endswith("/") or "\0" in url.path:
        raise ConfigError(
            f"{setting}: sqlite needs the absolute path of a file, such as sqlite:///srv/luna/records.sqlite"
        )
    return url.path


class Database:
    """A pool of connections to one file.

    A call has a connection to itself and leaves it to the next, so there are as many as calls ran at once, and threads
    may come and go. Writers of one process queue up here, those of several processes take turns (``write_turns``) and wait at
    the file's lock, each for ``busy_timeout`` seconds.

    Args:
        path: absolute. File and missing directories are created, for their owner alone (0600 and 0700).
        setting: where the path comes from, for error messages.
        layout: what the file is for.
        busy_timeout: seconds.

    Raises:
        ConfigError: the path cannot be used, or holds something else.
        StoreUnavailable: the file is locked, or the disk full.
    """

    def __init__(self, path: Path, setting: str, layout: Layout, busy_timeout: float) -> None:
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise ConfigError(f"{setting}: SQLite {sqlite3.sqlite_version} is too old; LunaCore needs 3.37 or newer")
        self._path = path
        self._setting = setting
        self._layout = layout
        self._busy_timeout = busy_timeout
        self._idle: deque[sqlite3.Connection] = deque()
        self._writing = threading.Lock()
        self._turns = WriteTurns.beside(path)
        self._closed = False
        self._inode = self._prepare()
        _open_databases.add(self)

    def query(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """All rows of one reading statement, by itself: no transaction is begun.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        connection = self._borrow()
        try:
            return connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._explained(error) from error
        finally:
            self._give_back(connection)

    def look_up(self, lookup: str, keys: Sequence[bytes], *leading: int) -> list[Any]:
        """Read one value for each key, in their order, None where there is none.

        Args:
            lookup: a SELECT of one NOT NULL column, with ``{key}`` for the key; it finds one row at most.
            keys: any number of them.
            leading: values of ``?1``, ``?2`` and so on in ``lookup``.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        if 0 < len(keys) <= _UNPADDED_LOOKUPS:
            (row,) = self.query(_lookups(lookup, len(leading), len(keys)), (*leading, *keys))
            return list(row)
        found: list[Any] = []
        for start in range(0, len(keys), _MAX_LOOKUPS):
            some = keys[start : start + _MAX_LOOKUPS]
            count = _padded(len(some))
            padding = (None,) * (count - len(some))
            (row,) = self.query(_lookups(lookup, len(leading), count), (*leading, *some, *padding))
            found += row[: len(some)]
        return found

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Several reading statements that see one state.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        with self._transaction(_begin_reading) as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Read and write with nobody between, all or nothing; committed when the block ends.

        Raises:
            StoreUnavailable: another writer took too long, or the database cannot be written now; nothing is.
        """
        if not self._writing.acquire(timeout=self._busy_timeout):
            raise self._busy()
        try:
            with self._transaction(self._begin_writing) as connection:
                yield connection
        finally:
            self._writing.release()

    def probe(self) -> None:
        """Read a page, and see that the path still leads to the file that is open.

        Raises:
            StoreUnavailable: it does not, or the database cannot be read.
        """
        self.query("SELECT 1 FROM sqlite_schema LIMIT 1", ())
        try:
            inode = _inode(self._path)
        except OSError:
            inode = None
        if inode != self._inode:
            raise StoreUnavailable(f"{self._setting}: the database was moved, removed or replaced; restart LunaCore")

    def close(self) -> None:
        """Write the log back into the database, empty it, and close every connection. Calls that still run end first."""
        if self._closed:
            return
        with suppress(StoreUnavailable):
            self._empty_log()
        self._closed = True
        self.drop_idle_connections()

    def drop_idle_connections(self) -> None:
        """Close the connections that no call is using."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def forget_locks(self) -> None:
        """In the child of a fork: whoever was writing in the parent will not end here."""
        self._writing = threading.Lock()

    def _empty_log(self) -> None:
        # Without a wait: if another process is using the log, it is emptied when that one closes.
        connection = self._borrow()
        try:
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise self._explained(error) from error
        finally:
            connection.close()

    def _begin_writing(self, connection: sqlite3.Connection) -> None:
        # Taking the write lock at once means that no statement in between can find the database changed under it.
        try:
            with self._turns.turn(self._busy_timeout):
                connection.execute("BEGIN IMMEDIATE")
        except TimeoutError:
            raise self._busy() from None

    @contextmanager
    def _transaction(self, begin: Callable[[sqlite3.Connection], object]) -> Iterator[sqlite3.Connection]:
        connection = self._borrow()
        try:
            begin(connection)
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise self._explained(error) from error
        finally:
            self._give_back(connection)

    def _borrow(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            pass
        if self._closed:
            raise StoreUnavailable(f"{self._setting}: the store was closed")
        try:
            return self._connect()
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _give_back(self, connection: sqlite3.Connection) -> None:
        self._idle.append(connection)
        if self._closed:
            self.drop_idle_connections()

    def _connect(self) -> sqlite3.Connection:
        # mode=rw: a file that has gone must not be replaced by an empty one.
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",
            uri=True,
            timeout=self._busy_timeout,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_STATEMENTS_PER_CONNECTION,
        )
        try:
            for pragma in (*_PRAGMAS, f"PRAGMA synchronous = {self._layout.synchronous}"):
                connection.execute(pragma)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self) -> tuple[int, int]:
        """Create what is missing, refuse what is not ours; say which file it is."""
        try:
            _create_directory(self._path.parent)
            with self._setting_up():
                self._create_file()
                self._refuse_unusable_file()
                self._prepare_schema()
                return _inode(self._path)
        except OSError as error:
            raise ConfigError(f"{self._setting}: {self._path} cannot be used: {error.strerror}") from error

    @contextmanager
    def _setting_up(self) -> Iterator[None]:
        """One at a time sets up databases in a directory: changing the journal mode does not wait for locks by itself."""
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._lock_for_setup(directory)
            yield
            os.fsync(directory)
        finally:
            os.close(directory)

    def _lock_for_setup(self, directory: int) -> None:
        try:
            lock(directory, self._busy_timeout)
        except TimeoutError:
            raise self._busy() from None

    def _create_file(self) -> None:
        # SQLite gives the files of the log the permissions of the database.
        make_for_owner(self._path)
        self._turns.create()

    def _refuse_unusable_file(self) -> None:
        if self._path.is_dir():
            raise ConfigError(f"{self._setting}: {self._path} is a directory; name a file in it")
        if not (os.access(self._path, os.R_OK | os.W_OK) and os.access(self._path.parent, os.W_OK | os.X_OK)):
            raise ConfigError(
                f"{self._setting}: {self._path} and its directory must be readable and writable for the user with the "
                f"number {os.geteuid()}; change their owner or mode"
            )

    def _prepare_schema(self) -> None:
        try:
            with closing(self._connect()) as connection:
                fresh = self._check_identity(connection)
                self._use_log(connection)
                if fresh:
                    self._create_schema(connection)
        except sqlite3.Error as error:
            if _primary_code(error) == sqlite3.SQLITE_NOTADB:
                raise ConfigError(f"{self._setting}: {self._path} is no SQLite database; name another file") from error
            raise self._explained(error) from error

    def _check_identity(self, connection: sqlite3.Connection) -> bool:
        """Say whether the file is empty; refuse everything else that is not ours."""
        layout = self._layout
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application_id == layout.application_id:
            self._check_version(version)
            return False
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if application_id or version or tables:
            raise ConfigError(
                f"{self._setting}: {self._path} is a database for something else than LunaCore's {layout.holds} "
                f"(application_id {application_id:#x}); name another file"
            )
        return True

    def _check_version(self, version: int) -> None:
        if version > self._layout.version:
            raise ConfigError(
                f"{self._setting}: {self._path} has schema version {version}, and this release knows "
                f"{self._layout.version}: upgrade LunaCore"
            )
        if version < self._layout.version:
            raise ConfigError(
                f"{self._setting}: {self._path} has the unknown schema version {version}; restore a backup"
            )

    def _use_log(self, connection: sqlite3.Connection) -> None:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise ConfigError(
                f"{self._setting}: the file system of {self._path} cannot share memory between processes, which "
                "write-ahead logging needs; put the database on a local disk"
            )

    def _create_schema(self, connection: sqlite3.Connection) -> None:
        layout = self._layout
        connection.execute("BEGIN IMMEDIATE")
        for statement in layout.schema:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {layout.application_id}")
        connection.execute(f"PRAGMA user_version = {layout.version}")
        connection.execute("COMMIT")

    def _explained(self, error: sqlite3.Error) -> Exception:
        code = _primary_code(error)
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return self._busy()
        if code in _EXPLANATIONS:
            return StoreUnavailable(f"{self._setting}: {_EXPLANATIONS[code]}")
        # What is left are mistakes of this program.
        return error

    def _busy(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self._setting}: the database was locked for {self._busy_timeout:g} s; see what holds it, "
            "such as a backup or a shell with an open transaction",
            retry_after=1,
        )


def violates_uniqueness(error: sqlite3.IntegrityError) -> bool:
    """Whether a row was refused because its key exists already."""
    return error.sqlite_errorcode in {sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE}


def _begin_reading(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")


def _padded(count: int) -> int:
    return -(-count // _LOOKUP_STEP) * _LOOKUP_STEP


@cache
def _lookups(lookup: str, leading: int, count: int) -> str:
    # A row of scalar subqueries: for a few keys it takes two thirds of the time of IN, which builds an index of the keys.
    columns = (f"({lookup.format(key=f'?{leading + 1 + at}')})" for at in range(count))
    return f"SELECT {','.join(columns)}"


def _primary_code(error: sqlite3.Error) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _create_directory(path: Path) -> None:
    # Path.mkdir would give the parents that it makes the default mode.
    if path.is_dir():
        return
    _create_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _inode(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


_open_databases: weakref.WeakSet[Database] = weakref.WeakSet()


def _before_fork() -> None:
    # A child would believe that it holds the locks of the connections that it inherits. It opens its own when it needs them.
    for database in list(_open_databases):
        database.drop_idle_connections()


def _after_fork_in_child() -> None:
    for database in list(_open_databases):
        database.forget_locks()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
