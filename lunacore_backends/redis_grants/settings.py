"""What a ``redis://`` or ``rediss://`` URL says: server, credentials, database, and a few options."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

from lunacore.errors import ConfigError
from lunacore.loopback import is_loopback

if TYPE_CHECKING:
    from lunacore.plugins import BackendURL, Surroundings

_OPTIONS: Final = (
    "prefix",
    "pool",
    "pool_timeout",
    "timeout",
    "connect_timeout",
    "password_file",
    "ca",
    "certificate",
    "key",
    "persistence",
)
_TLS_OPTIONS: Final = ("ca", "certificate", "key")
_DEFAULT_PREFIX: Final = "lunacore:"
_DEFAULT_PORT: Final = 6379
# The sweep and readiness make calls besides the threads that serve.
_EXTRA_CONNECTIONS: Final = 2
_MAX_POOL: Final = 1000
# No braces: in a cluster they would choose the node.
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:/-]{0,100}", re.ASCII)
_DATABASE: Final = re.compile(r"/?|/[0-9]{1,4}", re.ASCII)


@frozen
class RedisSettings:
    """A Redis server and how to use it.

    Attributes:
        setting: name of the setting that says so, for messages.
        host: where it listens.
        port: likewise.
        database: its number.
        user: of its access control list; empty for the default user.
        password: empty for none.
        password_file: file that holds the password, read at every connection; empty for none.
        tls: whether the connection is encrypted, and the server's certificate checked.
        ca: PEM file of the CAs to trust in place of the system's, empty for those.
        certificate: PEM file of a client certificate, empty for none.
        key: PEM file of its private key.
        prefix: what every key begins with.
        pool: how many connections a process has at most.
        pool_timeout: seconds to wait for one of them.
        timeout: seconds to wait for an answer.
        connect_timeout: seconds to wait for a connection.
        must_persist: whether a server that forgets what it acknowledged when it restarts is refused.
    """

    setting: str
    host: str
    port: int
    database: int
    user: str
    password: str = field(repr=False)
    password_file: str
    tls: bool
    ca: str
    certificate: str
    key: str
    prefix: bytes
    pool: int
    pool_timeout: float
    timeout: float
    connect_timeout: float
    must_persist: bool

    @classmethod
    def from_url(cls, url: BackendURL, surroundings: Surroundings) -> Self:
        """Read the URL.

        Raises:
            ConfigError: an option is unknown or wrong; the message says which and what it may be.
        """
        setting, options = surroundings.setting, url.options
        url.refuse_unknown_options(setting, *_OPTIONS)
        tls = url.scheme == "rediss"
        if not tls and any(name in options for name in _TLS_OPTIONS):
            raise ConfigError(f"{setting}: {', '.join(_TLS_OPTIONS)} are for TLS; write rediss://")
        host, port, user, password = _server(url, setting)
        password_file = options.get("password_file", "")
        if password and password_file:
            raise ConfigError(f"{setting}: the URL has a password and password_file; keep one")
        if "key" in options and "certificate" not in options:
            raise ConfigError(f"{setting}: key goes with certificate")
        settings = cls(
            setting=setting,
            host=host,
            port=port,
            database=_database(url.path, setting),
            user=user,
            password=password,
            password_file=password_file,
            tls=tls,
            ca=options.get("ca", ""),
            certificate=options.get("certificate", ""),
            key=options.get("key", ""),
            prefix=_prefix(options.get("prefix", _DEFAULT_PREFIX), setting),
            pool=url.whole(setting, "pool", surroundings.threads + _EXTRA_CONNECTIONS, least=1, most=_MAX_POOL),
            pool_timeout=url.seconds(setting, "pool_timeout", 5.0),
            timeout=url.seconds(setting, "timeout", 3.0),
            connect_timeout=url.seconds(setting, "connect_timeout", 3.0),
            must_persist=url.choice(setting, "persistence", "required", "unchecked") == "required",
        )
        if tls:
            settings.refuse_unusable_files()
        return settings

    @property
    def shown(self) -> str:
        """The server, for messages."""
        return f"Redis at {self.host}:{self.port}"

    @property
    def over_network(self) -> bool:
        """Whether the server is on another machine."""
        return not is_loopback(self.host)

    def refuse_unusable_files(self) -> None:
        """Read the files for TLS.

        Raises:
            ConfigError: one cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
        except (OSError, ssl.SSLError):
            raise ConfigError(f"{self.setting}: the file that ca names cannot be read, or is no PEM file") from None
        if not self.certificate:
            return
        try:
            context.load_cert_chain(self.certificate, self.key or None)
        except (OSError, ssl.SSLError):
            raise ConfigError(f"{self.setting}: the files of certificate and key cannot be used together") from None


def _server(url: BackendURL, setting: str) -> tuple[str, int, str, str]:
    """Host, port, user and password."""
    try:
        parts = urlsplit(url.text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ConfigError(
            f"{setting} is no URL of Redis, such as redis://user:password@host:6379/0; "
            "percent-encode what means something in a URL"
        )
    return host, port or _DEFAULT_PORT, unquote(parts.username or ""), unquote(parts.password or "")


def _database(path: str, setting: str) -> int:
    if not _DATABASE.fullmatch(path):
        raise ConfigError(f"{setting}: after the host goes the number of the database, such as /0, or nothing")
    return int(path.strip("/") or 0)


def _prefix(text: str, setting: str) -> bytes:
    if not _PREFIX.fullmatch(text):
        raise ConfigError(f"{setting}: prefix must be up to 100 letters, digits and characters of _.:/-")
    return text.encode()
