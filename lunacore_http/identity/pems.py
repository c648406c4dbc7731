"""Public keys that are published one by one: a PEM for each key id, as AWS load balancers have them.

Each key is kept as a JWK Set of one would be (``jwks``). A key id comes from a JWT whose signature is not verified yet, so it is
put into the URL only if it is a plain word, unknown ones are asked for a few times a minute at most, and few keys are kept.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict, deque
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Final

from attrs import evolve

from lunacore.errors import StoreUnavailable
from lunacore_http.identity.fetch import (
    KEY_ID,
    Fetch,
    KeyNotPublished,
    checked_template,
    trusted_certificates,
)
from lunacore_http.identity.jwk import NO_KEYS, KeySetError, parse_pem
from lunacore_http.identity.jwks import MAX_WAITING, UNKNOWN_KEY_SECONDS, RemoteKeys, in_a_thread, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore_http.identity.jwk import Key, KeySet
    from lunacore_http.identity.jwks import Start

MAX_KEYS: Final = 32
MAX_UNKNOWN: Final = 10
"""Unknown key ids asked for within ``UNKNOWN_KEY_SECONDS``."""

_log: Final = logging.getLogger("lunacore.identity")
# No dot and no slash: the id must not lead to another place on the same server.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)


class PEMKeys:
    """Keys fetched by their id and kept, as the module says (``KeySource``).

    Args:
        name: of the provider, for messages.
        fetch: the key of one id as it is now, none if it is not published; raises ``KeySetError``.
        now: Unix seconds.
        start: runs a fetch beside the request that asked for it.
    """

    def __init__(self, name: str, fetch: Callable[[str], KeySet], *, now: Callable[[], float], start: Start) -> None:
        self._name = name
        self._fetch = fetch
        self._now = now
        self._start = start
        self._lock = Lock()
        self._waiting = BoundedSemaphore(MAX_WAITING)
        self._known: OrderedDict[str, RemoteKeys] = OrderedDict()
        self._asking: dict[str, RemoteKeys] = {}
        self._asked: deque[float] = deque(maxlen=MAX_UNKNOWN)
        self._problem: str | None = None

    def find(self, key_id: str | None, algorithm: str) -> Key | None:
        """The key of that id (``KeySource``)."""
        if key_id is None or not _PLAIN.fullmatch(key_id):
            return None
        source = self._used(key_id)
        return source.current().select(key_id, algorithm) if source else self._ask(key_id, algorithm)

    def holds(self, key: Key) -> bool:
        """Whether the key is still published and kept (``KeySource``); one that was displaced is asked for anew."""
        source = self._known.get(key.id or "")
        return source is not None and source.holds(key)

    def prepare(self) -> None:
        """Nothing can be obtained before there is an id (``KeySource``)."""

    def problem(self) -> str | None:
        """Why the last key could not be had, if there is none at all (``KeySource``)."""
        return None if self._known else self._problem

    def _used(self, key_id: str) -> RemoteKeys | None:
        with self._lock:
            source = self._known.get(key_id)
            if source is not None:
                self._known.move_to_end(key_id)
            return source

    def _ask(self, key_id: str, algorithm: str) -> Key | None:
        if not self._waiting.acquire(blocking=False):
            raise unavailable(self._name)
        source = None
        try:
            source = self._begun(key_id)
            key = source.current().select(key_id, algorithm)
        except StoreUnavailable:
            self._problem = (source.problem() if source else None) or self._problem
            raise
        finally:
            self._asking.pop(key_id, None)
            self._waiting.release()
        if key is not None:
            self._keep(key_id, source)
        return key

    def _begun(self, key_id: str) -> RemoteKeys:
        """The source of an id that is not known: the one that others wait for already, or a new one, if that is allowed."""
        now = self._now()
        with self._lock:
            if key_id in self._asking:
                return self._asking[key_id]
            if len(self._asked) == MAX_UNKNOWN and 0 <= now - self._asked[0] < UNKNOWN_KEY_SECONDS:
                raise unavailable(self._name)
            self._asked.append(now)
            source = RemoteKeys(self._name, lambda: self._fetch(key_id), now=self._now, start=self._start)
            self._asking[key_id] = source
            return source

    def _keep(self, key_id: str, source: RemoteKeys) -> None:
        with self._lock:
            self._known[key_id] = source
            while len(self._known) > MAX_KEYS:
                self._known.popitem(last=False)


def open_pems(
    name: str,
    template: str,
    algorithms: Sequence[str],
    *,
    private_addresses: bool,
    ca: str,
    now: Callable[[], float],
    start: Start | None = None,
) -> PEMKeys:
    """The key source that a provider's ``pem`` setting names; nothing is fetched yet. Arguments as for ``jwks.open_keys``.

    Raises:
        ConfigError: the setting is no acceptable URL with ``{kid}``, or ``ca`` is no file of certificates.
    """
    any_key = Fetch(
        checked_template(name, template), private_addresses=private_addresses, trust=trusted_certificates(name, ca)
    )

    def fetch(key_id: str) -> KeySet:
        try:
            raw = evolve(any_key, url=template.replace(KEY_ID, key_id))()
        except KeyNotPublished:
            return NO_KEYS
        try:
            return parse_pem(raw, key_id, algorithms)
        except KeySetError as problem:
            # Whoever made the JWT chose the id, so this says nothing of the provider.
            _log.warning("identity provider %s: the key with the kid %r is ignored: %s", name, key_id, problem)
            return NO_KEYS

    return PEMKeys(name, fetch, now=now, start=start or in_a_thread)
