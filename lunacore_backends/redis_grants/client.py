"""A client of one Redis server: bounded in connections and time, its failures told in LunaCore's words.

redis-py by itself repeats whatever failed, be it safe or not; here only calls that say so are repeated.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.retry import Retry

from lunacore.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore_backends.redis_grants.settings import RedisSettings

T = TypeVar("T")

_TURNS: Final = 3
_LONGEST_PAUSE: Final = 0.1
_RETRY_SOON: Final = 1
_NO_CONNECTION_FREE: Final = "No connection available"
_UNREADABLE: Final = "the file that password_file names cannot be read"

_BY_CODE: Final = {
    "BUSY": "a script runs for too long there; see SLOWLOG",
    "LOADING": "the server is starting up and reads its data",
    "MASTERDOWN": "the server is a replica that has lost its primary",
    "MISCONF": "the server cannot write to its disk, so it takes no writes; make room, and see its log",
    "MOVED": "the server is part of a cluster, which is not supported; use one with replicas",
    "NOAUTH": "the server wants a password; put it into the URL or password_file",
    "NOPERM": "the user may not do this; docs/reference/redis.md lists the commands that it needs",
    "NOREPLICAS": "the server has too few replicas to take writes",
    "OOM": "the server's memory is full; raise maxmemory",
    "READONLY": "the server takes no writes; it is a replica",
    "WRONGPASS": "the server refuses user and password; check them",
}
_SOON: Final = frozenset({"BUSY", "LOADING", "MASTERDOWN"})


class RedisClient:
    """Sends commands to one server; safe to share between threads, and after a fork each process has connections of its own."""

    def __init__(self, settings: RedisSettings) -> None:
        self.settings = settings
        self._closed = False
        self._pool = redis.BlockingConnectionPool(  # type: ignore[no-untyped-call]  # redis-py leaves it without hints
            connection_class=redis.SSLConnection if settings.tls else redis.Connection,
            max_connections=settings.pool,
            timeout=settings.pool_timeout,
            host=settings.host,
            port=settings.port,
            db=settings.database,
            credential_provider=_Credentials(settings) if settings.password or settings.password_file else None,
            socket_timeout=settings.timeout,
            socket_connect_timeout=settings.connect_timeout,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            client_name="lunacore",
            driver_info=None,
            **_tls(settings),
        )
        self._redis = redis.Redis(connection_pool=self._pool)

    def call(self, *command: Any, repeatable: bool = False) -> Any:  # noqa: ANN401 - whatever the command answers
        """Send one command and return its answer.

        Args:
            command: its name and arguments.
            repeatable: whether it may be sent again if the connection broke on it.

        Raises:
            StoreUnavailable: the server cannot be reached, refuses or is too slow.
            redis.exceptions.NoScriptError: the command runs a script that the server does not know.
        """
        return self._explained(
            lambda: self._redis.execute_command(*command),  # type: ignore[no-untyped-call]  # redis-py leaves it without hints
            repeatable=repeatable,
        )

    def close(self) -> None:
        """Close every connection; calls after that raise ``StoreUnavailable``."""
        self._closed = True
        self._pool.disconnect()

    def unavailable(self, message: str, retry_after: int = 5) -> StoreUnavailable:
        """An outage."""
        return StoreUnavailable(f"{self.settings.setting}: {self.settings.shown}: {message}", retry_after=retry_after)

    def _explained(self, work: Callable[[], T], *, repeatable: bool) -> T:
        if self._closed:
            raise self.unavailable("the store was closed")
        for turn in range(_TURNS):
            try:
                return work()
            except redis.exceptions.NoScriptError:
                raise
            except (redis.RedisError, OSError) as error:
                if not (repeatable and turn < _TURNS - 1 and _worth_repeating(error)):
                    translated = self._translated(error)
                    if translated is None:
                        raise
                    raise translated from error
                time.sleep(random.uniform(0, _LONGEST_PAUSE * (turn + 1)))  # noqa: S311 - keeps nothing secret
        raise AssertionError  # pragma: no cover - the last turn returns or raises

    def _translated(self, error: redis.RedisError | OSError) -> StoreUnavailable | None:
        """The error to raise instead; None for what is a mistake of this program."""
        if _NO_CONNECTION_FREE in str(error):
            return self.unavailable(
                f"all {self.settings.pool} connections were in use for {self.settings.pool_timeout:g} seconds; "
                "raise pool, or find out what is slow",
                retry_after=_RETRY_SOON,
            )
        code = _code(error)
        if code in _BY_CODE:
            return self.unavailable(_BY_CODE[code], retry_after=_RETRY_SOON if code in _SOON else 5)
        if isinstance(error, redis.TimeoutError | TimeoutError):
            return self.unavailable(
                f"no answer in {self.settings.timeout:g} seconds; the server hangs or is out of reach"
            )
        if isinstance(error, redis.ConnectionError | OSError):
            return self.unavailable(_of_connection(str(error)))
        return None


class _Credentials(CredentialProvider):
    """User and password; a password file is read anew, so that a new password needs no restart."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._password()
        return (self._settings.user, password) if self._settings.user else (password,)

    def _password(self) -> str:
        if not self._settings.password_file:
            return self._settings.password
        try:
            return Path(self._settings.password_file).read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError):
            # One of redis-py's own: after any other, it would take the connection for one that was let in.
            raise redis.ConnectionError(_UNREADABLE) from None


def _tls(settings: RedisSettings) -> dict[str, Any]:
    if not settings.tls:
        return {}
    return {
        "ssl_ca_certs": settings.ca or None,
        "ssl_certfile": settings.certificate or None,
        "ssl_keyfile": settings.key or None,
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
    }


def _worth_repeating(error: redis.RedisError | OSError) -> bool:
    if _NO_CONNECTION_FREE in str(error) or isinstance(error, redis.TimeoutError | TimeoutError):
        # The caller has waited already.
        return False
    code = _code(error)
    return code in _SOON or (isinstance(error, redis.ConnectionError | OSError) and code not in _BY_CODE)


def _code(error: BaseException) -> str:
    """The code with which the server began its refusal, empty where it gave none."""
    code = getattr(error, "status_code", None) or str(error).partition(" ")[0]
    return str(code) if str(code).isupper() else ""


def _of_connection(text: str) -> str:
    for sign, explanation in _SIGNS.items():
        if sign in text:
            return explanation
    return "the connection broke"


_SIGNS: Final = {
    _UNREADABLE: _UNREADABLE,
    "CERTIFICATE_VERIFY_FAILED": "the server's certificate cannot be trusted; name the CA that signed it with ca=, and use the "
    "host name that it is for",
    "WRONG_VERSION_NUMBER": "the server offers no TLS at this port; use its TLS port, or redis:// on a network of your own",
    "SSL": "TLS could not be agreed on; check ca, certificate and key",
    "Connection refused": "nothing listens there; check the URL, and that the server runs",
    "Name or service not known": "the host name cannot be resolved; check the URL",
    "name resolution": "the host name cannot be resolved; check the URL",
    "max number of clients": "the server takes no more connections; raise maxclients, or lower pool",
}
