"""The application's database: users, their sessions, and what they saved, which is tokens and nothing else."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SESSION_SECONDS: Final = 12 * 3600

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, password BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (
    cookie BLOB PRIMARY KEY, user INTEGER NOT NULL REFERENCES users, session_id TEXT NOT NULL, expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS profile (
    user INTEGER NOT NULL REFERENCES users, field TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (user, field)
) WITHOUT ROWID;
"""
_BUSY_SECONDS: Final = 10.0


@frozen
class User:
    """Somebody who signed up; ``password`` is a salted hash."""

    number: int
    name: str
    password: bytes = field(repr=False)


@frozen
class Visitor:
    """Somebody who is logged in.

    Attributes:
        session_id: what the tokenizer knows the session by. It is not the cookie, so whoever learns it cannot log in with it.
    """

    user: User
    session_id: str = field(repr=False)


@frozen
class Saved:
    """A token that somebody saved."""

    user: str
    token: str = field(repr=False)


class Database:
    """A SQLite file; safe to use from several threads, each call has a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)

    def add_user(self, name: str, password: bytes) -> bool:
        """Add a user; False if the name is taken."""
        return self._changed("INSERT OR IGNORE INTO users (name, password) VALUES (?, ?)", name, password) == 1

    def user(self, name: str) -> User | None:
        found = self._rows("SELECT id, name, password FROM users WHERE name = ?", name)
        return User(*found[0]) if found else None

    def begin_session(self, user: User, cookie: str, session_id: str, now: int) -> None:
        """Keep a session; of the cookie only a hash, so that a stolen database logs nobody in."""
        self._changed("DELETE FROM sessions WHERE expires <= ?", now)
        expires = now + SESSION_SECONDS
        self._changed("INSERT INTO sessions VALUES (?, ?, ?, ?)", _hash(cookie), user.number, session_id, expires)

    def visitor(self, cookie: str, now: int) -> Visitor | None:
        """Who sent this cookie; None if nobody is logged in with it."""
        found = self._rows(
            "SELECT users.id, name, password, session_id FROM sessions JOIN users ON users.id = user"
            " WHERE cookie = ? AND expires > ?",
            _hash(cookie),
            now,
        )
        return Visitor(User(*found[0][:3]), found[0][3]) if found else None

    def end_session(self, cookie: str) -> None:
        self._changed("DELETE FROM sessions WHERE cookie = ?", _hash(cookie))

    def profile(self, user: User) -> dict[str, str]:
        """What a user saved: tokens by field."""
        return dict(self._rows("SELECT field, value FROM profile WHERE user = ? ORDER BY field", user.number))

    def save(self, user: User, changes: Mapping[str, str]) -> None:
        """Save tokens by field; an empty one removes the field."""
        with closing(self._connect()) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            for name, token in changes.items():
                connection.execute("DELETE FROM profile WHERE user = ? AND field = ?", (user.number, name))
                if token:
                    connection.execute("INSERT INTO profile VALUES (?, ?, ?)", (user.number, name, token))

    def of_others(self, user: User) -> Saved | None:
        """A token that another user saved last; None if nobody else saved any."""
        found = self._rows(
            "SELECT name, value FROM profile JOIN users ON users.id = user WHERE user != ? ORDER BY user DESC LIMIT 1",
            user.number,
        )
        return Saved(*found[0]) if found else None

    def _rows(self, statement: str, *parameters: object) -> list[Any]:
        with closing(self._connect()) as connection:
            return connection.execute(statement, parameters).fetchall()

    def _changed(self, statement: str, *parameters: object) -> int:
        with closing(self._connect()) as connection:
            return connection.execute(statement, parameters).rowcount

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)


def _hash(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode()).digest()
