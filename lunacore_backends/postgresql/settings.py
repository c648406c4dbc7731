"""What a ``postgresql://`` URL says: libpq's own connection URI, and a few options of LunaCore's.

The URI and its parameters are those of the PostgreSQL documentation, "Connection URIs" and "Parameter Key Words".
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote, urlencode, urlsplit

import psycopg
from attrs import field, frozen
from psycopg.conninfo import conninfo_to_dict

from lunacore.errors import ConfigError, StoreUnavailable
from lunacore.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lunacore.plugins import BackendURL, Surroundings

DEFAULT_SCHEMA: Final = "lunacore"

_OWN_OPTIONS: Final = (
    "schema",
    "pool",
    "pool_timeout",
    "timeout",
    "lock_timeout",
    "password_file",
    "partitions",
)
# What libpq would wait for, or try, without bounds or use.
_DEFAULTS: Final = {
    "application_name": "lunacore",
    "connect_timeout": "3",
    # After a failover, the server that takes writes is the one that is meant.
    "target_session_attrs": "read-write",
    # A server whose machine has gone is given up after about as long as a statement may take.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "gssencmode": "disable",
}
_REFUSED: Final = ("replication", "client_encoding")
# The sweep and readiness make calls besides the threads that serve.
_EXTRA_CONNECTIONS: Final = 2
_MAX_POOL: Final = 1000
_MAX_PARTITIONS: Final = 1024
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)


@frozen
class PostgreSQLSettings:
    """A database and how to use it.

    Attributes:
        setting: name of the setting that says so, for messages.
        shown: host and database, for messages.
        schema: the schema that LunaCore's tables are in.
        parameters: libpq's connection parameters, which may hold a password.
        password_file: file that holds the password, read at every connection; empty for none.
        over_network: whether the server is on another machine, as far as the parameters tell.
        pool: how many connections a process has at most.
        pool_timeout: seconds to wait for one of them.
        timeout: seconds that a statement may take.
        lock_timeout: seconds to wait for a lock that another statement holds.
        partitions: into how many hash partitions tables are divided when they are made; 0 for none.
    """

    setting: str
    shown: str
    schema: str
    parameters: Mapping[str, str] = field(repr=False)
    password_file: str
    over_network: bool
    pool: int
    pool_timeout: float
    timeout: float
    lock_timeout: float
    partitions: int

    @classmethod
    def from_url(cls, url: BackendURL, surroundings: Surroundings) -> Self:
        """Read the URL.

        Raises:
            ConfigError: an option is unknown or wrong; the message says which and what it may be.
        """
        setting, options = surroundings.setting, url.options
        parameters = _parameters(url, setting)
        over_network = _over_network(parameters)
        # By itself libpq goes on in the clear where the server offers no TLS, and encrypts what never leaves the machine.
        parameters.setdefault("sslmode", os.environ.get("PGSSLMODE", "require" if over_network else "allow"))
        return cls(
            setting=setting,
            shown=_shown(parameters),
            schema=_schema(options.get("schema", DEFAULT_SCHEMA), setting),
            parameters=_DEFAULTS | parameters,
            password_file=options.get("password_file", ""),
            over_network=over_network,
            pool=url.whole(setting, "pool", surroundings.threads + _EXTRA_CONNECTIONS, least=1, most=_MAX_POOL),
            pool_timeout=url.seconds(setting, "pool_timeout", 5.0),
            timeout=url.seconds(setting, "timeout", 10.0),
            lock_timeout=url.seconds(setting, "lock_timeout", 5.0),
            partitions=url.whole(setting, "partitions", 0, least=0, most=_MAX_PARTITIONS),
        )

    def connection_parameters(self) -> dict[str, str]:
        """What to connect with now; a password file is read anew, so that a new password needs no restart.

        Raises:
            StoreUnavailable: the password file cannot be read.
        """
        if not self.password_file:
            return dict(self.parameters)
        try:
            password = Path(self.password_file).read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError):
            raise StoreUnavailable(f"{self.setting}: the file that password_file names cannot be read") from None
        return {**self.parameters, "password": password}


def _parameters(url: BackendURL, setting: str) -> dict[str, str]:
    """What libpq is given. Its own messages are not passed on: they quote what they could not read."""
    known = [option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()]
    theirs = {name: value for name, value in url.options.items() if name not in _OWN_OPTIONS}
    for name in theirs:
        if name not in known or name in _REFUSED:
            raise ConfigError(
                f"{setting}: postgresql has no option {name!r}; it takes {', '.join(_OWN_OPTIONS)}, and libpq's "
                "connection parameters such as sslmode and sslrootcert"
            )
    parsed = _parsed(url, theirs)
    if parsed is None:
        raise ConfigError(
            f"{setting} is no URL of PostgreSQL, such as postgresql://user@host:5432/database; "
            "percent-encode what means something in a URL"
        )
    if "password" in parsed and url.options.get("password_file"):
        raise ConfigError(f"{setting}: the URL has a password and password_file; keep one")
    return parsed


def _parsed(url: BackendURL, options: Mapping[str, str]) -> dict[str, str] | None:
    """The URL as libpq reads it, with these options; None if it cannot."""
    parts = urlsplit(url.text)
    uri = f"postgresql://{parts.netloc}{parts.path}?{urlencode(options, quote_via=quote)}"
    try:
        parsed = conninfo_to_dict(uri)
    except psycopg.Error:
        return None
    return {name: str(value) for name, value in parsed.items() if value is not None}


def _over_network(parameters: Mapping[str, str]) -> bool:
    hosts = parameters.get("hostaddr") or parameters.get("host") or os.environ.get("PGHOST", "")
    return any(not _is_local(host) for host in hosts.split(","))


def _is_local(host: str) -> bool:
    return not host or host.startswith(("/", "@")) or is_loopback(host.lower().strip("[]"))


def _shown(parameters: Mapping[str, str]) -> str:
    host = parameters.get("host") or parameters.get("hostaddr") or os.environ.get("PGHOST") or "the local socket"
    return f"database {parameters.get('dbname', 'of the user')} at {host}"


def _schema(name: str, setting: str) -> str:
    if not _SCHEMA.fullmatch(name) or name.startswith("pg_"):
        raise ConfigError(
            f"{setting}: schema must be up to 63 lower-case letters, digits and underscores, not beginning with "
            "a digit or pg_"
        )
    return name
