"""Where the public keys of an identity provider come from, and how long they are used.

- A file is read again when it has changed.
- A set fetched from a URL is used for ten minutes, then fetched anew in the background; requests go on with the one at hand.
- A ``kid`` that it does not hold asks for a new one at most once a minute, and waits for it.
- One fetch runs at a time and ends after five seconds. While the issuer is down the last set goes on for a day at most.
"""

from __future__ import annotations

import logging
import stat
from pathlib import Path
from threading import BoundedSemaphore, Event, Lock, Thread
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias
from urllib.parse import unquote, urlsplit

from attrs import frozen

from lunacore.errors import ConfigError, StoreUnavailable
from lunacore_http.identity.jwk import MAX_SET_BYTES, KeySet, KeySetError, parse_key_set

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore_http.identity.jwk import Key

    Start: TypeAlias = Callable[[Callable[[], None]], None]

REFRESH_SECONDS: Final = 600
UNKNOWN_KEY_SECONDS: Final = 60
"""Between two fetches that unknown key ids ask for, and between two tries while the issuer is down."""

FIRST_RETRY_SECONDS: Final = 10
"""Between two tries as long as no set was ever obtained."""

STALE_SECONDS: Final = 24 * 3600
FILE_CHECK_SECONDS: Final = 1
_WAIT_SECONDS: Final = 6  # one more than a fetch may take
MAX_WAITING: Final = 4
"""Requests that may wait for one fetch; more are told to come back, so that a slow issuer cannot hold every thread."""

_log: Final = logging.getLogger("lunacore.identity")


class KeySource(Protocol):
    """Where a provider's keys come from; safe to use from several threads."""

    def find(self, key_id: str | None, algorithm: str) -> Key | None:
        """The key to verify a JWT with; its origin is asked once more, if that is due, before it counts as unknown.

        Raises:
            StoreUnavailable: no keys were ever obtained, the last ones are too old, or too many requests wait for them already.
        """

    def holds(self, key: Key) -> bool:
        """Whether the key that ``find`` gave is still published, for the same algorithms.

        Raises:
            StoreUnavailable: as ``find``.
        """

    def prepare(self) -> None:
        """Begin to obtain keys, without waiting for them."""

    def problem(self) -> str | None:
        """What keeps the provider's JWTs from being verified, for operators; tries to obtain keys if there never were any."""


def open_keys(
    name: str,
    jwks: str,
    algorithms: Sequence[str],
    *,
    private_addresses: bool,
    ca: str,
    now: Callable[[], float],
    start: Start | None = None,
) -> KeySource:
    """The key source that a provider's ``jwks`` setting names; nothing is fetched or read yet.

    ``start`` runs a fetch beside the request that asked for it; a thread of its own unless told otherwise.

    Raises:
        ConfigError: the setting names neither a file nor an acceptable URL, or ``ca`` is no file of certificates.
    """
    if jwks.startswith("file:"):
        parts = urlsplit(jwks)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise ConfigError(f"identity[{name}].jwks must name a file as file:///path/to/jwks.json")
        return FileKeys(name, Path(unquote(parts.path)), algorithms, now=now)
    from lunacore_http.identity.fetch import (  # noqa: PLC0415 - loads httpx, which files do without
        Fetch,
        checked_url,
        trusted_certificates,
    )

    fetch = Fetch(checked_url(name, jwks), private_addresses=private_addresses, trust=trusted_certificates(name, ca))
    return RemoteKeys(name, lambda: parse_key_set(fetch(), algorithms, name), now=now, start=start or in_a_thread)


class _OneSet:
    """A source whose keys come as one set."""

    def current(self) -> KeySet:
        """The keys in use; raises ``StoreUnavailable`` if none were ever obtained, or the last ones are too old."""
        raise NotImplementedError

    def renewed(self) -> KeySet:
        """The keys in use, after another look at their origin if one is due; raises as ``current``, or if too many wait."""
        raise NotImplementedError

    def find(self, key_id: str | None, algorithm: str) -> Key | None:
        """The key to verify a JWT with (``KeySource``)."""
        return self.current().select(key_id, algorithm) or self.renewed().select(key_id, algorithm)

    def holds(self, key: Key) -> bool:
        """Whether the key is still published (``KeySource``)."""
        return key.fingerprint in self.current().fingerprints


class FileKeys(_OneSet):
    """Keys from a file, read again when it has changed; looked at once a second at most, and for every unknown key id."""

    def __init__(self, name: str, path: Path, algorithms: Sequence[str], *, now: Callable[[], float]) -> None:
        self._name = name
        self._path = path
        self._algorithms = algorithms
        self._now = now
        self._lock = Lock()
        self._keys: KeySet | None = None
        self._version: tuple[int, ...] = ()
        self._looked = self._good = float("-inf")
        self._problem: str | None = None

    def current(self) -> KeySet:
        """The keys in use (``KeySource``)."""
        keys = self._keys
        if keys is not None and 0 <= self._now() - self._good < FILE_CHECK_SECONDS:
            return keys
        if not 0 <= self._now() - self._looked < FILE_CHECK_SECONDS:
            self._look()
        return self._in_use()

    def renewed(self) -> KeySet:
        """The keys in use, after a look at the file (``KeySource``)."""
        self._look()
        return self._in_use()

    def prepare(self) -> None:
        """Read the file (``KeySource``)."""
        self._look()

    def problem(self) -> str | None:
        """What is wrong with the file (``KeySource``)."""
        self._look()
        return self._problem or _emptiness(self._keys)

    def _in_use(self) -> KeySet:
        keys = self._keys
        if keys is None or self._now() - self._good >= STALE_SECONDS:
            raise unavailable(self._name)
        return keys

    def _look(self) -> None:
        with self._lock:
            begun = self._now()
            try:
                self._read_if_changed()
                self._good = begun
                self._problem = None
            except (OSError, KeySetError) as problem:
                reason = problem.strerror if isinstance(problem, OSError) else str(problem)
                self._problem = f"{self._path}: {reason}"
            # Last, so that nobody who comes meanwhile takes it for done.
            self._looked = begun

    def _read_if_changed(self) -> None:
        found = self._path.stat()
        version = (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev)
        if version == self._version:
            return
        if not stat.S_ISREG(found.st_mode):
            raise KeySetError("it is not a regular file")
        if found.st_size > MAX_SET_BYTES:
            raise KeySetError(f"it is larger than {MAX_SET_BYTES} bytes")
        self._keys = parse_key_set(self._path.read_bytes(), self._algorithms, self._name)
        self._version = version


@frozen
class _Held:
    keys: KeySet
    fetched: float


class RemoteKeys(_OneSet):
    """Keys fetched from the issuer and kept, as the module says.

    Args:
        name: of the provider, for messages.
        fetch: the keys as they are now; raises ``KeySetError``.
        now: Unix seconds.
        start: runs a fetch beside the request that asked for it.
    """

    def __init__(
        self,
        name: str,
        fetch: Callable[[], KeySet],
        *,
        now: Callable[[], float],
        start: Start,
    ) -> None:
        self._name = name
        self._fetch = fetch
        self._now = now
        self._start = start
        self._lock = Lock()
        self._waiting = BoundedSemaphore(MAX_WAITING)
        self._held: _Held | None = None
        self._under_way: Event | None = None
        self._tried = self._asked = float("-inf")
        self._problem: str | None = None

    def current(self) -> KeySet:
        """The keys in use (``KeySource``)."""
        held = self._held
        if held is not None and 0 <= self._now() - held.fetched < REFRESH_SECONDS:
            return held.keys
        return self._current_when_old(held)

    def renewed(self) -> KeySet:
        """The keys in use, after one more fetch if that is allowed (``KeySource``)."""
        held = self._held
        if held is None or not 0 <= self._now() - held.fetched < 1:
            self._wait_for(self._begin_for_unknown_key())
        return self.current()

    def prepare(self) -> None:
        """Begin the first fetch (``KeySource``)."""
        if self._held is None:
            self._begin(FIRST_RETRY_SECONDS)

    def problem(self) -> str | None:
        """Why no keys were ever obtained, or none is left (``KeySource``)."""
        if self._usable(self._held) is None:
            self._wait_for(self._begin(FIRST_RETRY_SECONDS))
        held = self._usable(self._held)
        return _emptiness(held.keys) if held else self._problem or "they are being fetched"

    def _current_when_old(self, held: _Held | None) -> KeySet:
        if self._usable(held) is None:
            self._wait_for(self._begin(FIRST_RETRY_SECONDS))
        else:
            self._begin(UNKNOWN_KEY_SECONDS)
        held = self._usable(self._held)
        if held is None:
            raise unavailable(self._name)
        return held.keys

    def _usable(self, held: _Held | None) -> _Held | None:
        return held if held is not None and self._now() - held.fetched < STALE_SECONDS else None

    def _begin_for_unknown_key(self) -> Event | None:
        now = self._now()
        with self._lock:
            if self._under_way is None and not 0 <= now - self._asked < UNKNOWN_KEY_SECONDS:
                self._asked = now
                self._tried = float("-inf")
        return self._begin(UNKNOWN_KEY_SECONDS)

    def _begin(self, interval: float) -> Event | None:
        """The fetch that is under way, or a new one; None if the last one was begun within ``interval`` seconds."""
        now = self._now()
        with self._lock:
            if self._under_way is not None:
                return self._under_way
            if 0 <= now - self._tried < interval:
                return None
            self._tried = now
            done = self._under_way = Event()
        try:
            self._start(lambda: self._refresh(done))
        except RuntimeError:  # no thread to be had
            self._end(done)
        return done

    def _refresh(self, done: Event) -> None:
        begun = self._now()
        try:
            self._held = _Held(self._fetch(), begun)
            self._problem = None
        except KeySetError as problem:
            self._problem = str(problem)
            _log.warning("the keys of identity provider %s could not be fetched: %s", self._name, problem)
        finally:
            self._end(done)

    def _end(self, fetch: Event) -> None:
        with self._lock:
            self._under_way = None
        fetch.set()

    def _wait_for(self, fetch: Event | None) -> None:
        if fetch is None:
            return
        if not self._waiting.acquire(blocking=False):
            raise unavailable(self._name)
        try:
            fetch.wait(_WAIT_SECONDS)
        finally:
            self._waiting.release()


def in_a_thread(work: Callable[[], None]) -> None:
    """Run a fetch beside the request that asked for it."""
    Thread(target=work, name="lunacore-jwks", daemon=True).start()


def unavailable(name: str) -> StoreUnavailable:
    """The keys of the provider cannot be had now."""
    return StoreUnavailable(f"the keys of identity provider {name} cannot be had now; try again")


def _emptiness(keys: KeySet | None) -> str | None:
    return "its JWKS holds no key that may be used" if keys is not None and not keys.keys else None
