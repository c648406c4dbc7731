"""Sessions of people who have no account yet: for sign-up pages that take sensitive values.

The session is a random id in a signed cookie of the application, so nothing is stored on the server. It begins when the
application says so, not at a visitor's first request. The cookie is ``la1.`` ‖ base64url(32 random bytes ‖ Unix second of its
end, 8 bytes) ‖ ``.`` ‖ base64url(HMAC-SHA256), keyed by HKDF from the application's secret. The session id that the tokenizer
is told is ``anonymous:`` and the random bytes in base64url, so no id of a user's session is ever the same.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from lunacore import keys
from lunacore.errors import ConfigError
from lunacore_http.sdk.requests import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore_http.sdk.settings import Settings

MIN_SECRET_BYTES: Final = 32
ID_PREFIX: Final = "anonymous:"
VISIT: Final = "lunacore.sdk.visit"
"""Where the middleware keeps a request's visit in the WSGI environ or ASGI scope."""

_MARK: Final = "la1."
_ID_BYTES: Final = 32
_END_BYTES: Final = 8
_COOKIE: Final = re.compile(r"la1\.([A-Za-z0-9_-]{54})\.([A-Za-z0-9_-]{43})", re.ASCII)
_SAME_SITE: Final = ("Strict", "Lax", "None")


@define
class Visit:
    """What one request does to the visitor's anonymous session.

    Attributes:
        cookie: the value that the answer is to set; empty to remove it, None to leave it alone.
        session_id: of the session that began with this request.
    """

    cookie: str | None = field(default=None, repr=False)
    session_id: str | None = field(default=None, repr=False)


class AnonymousSessions:
    """Begins, recognises and ends anonymous sessions; safe to use from several threads.

    Args:
        secret: 32 bytes or more that nobody else knows; of several the first signs and all are recognised.
        ttl: seconds.
        same_site: the cookie's ``SameSite``; ``None`` where the Secure Frame is on another site than the application.

    Raises:
        ConfigError: a setting is wrong.
    """

    def __init__(
        self,
        settings: Settings,
        secret: str | bytes | Sequence[str | bytes] | None,
        *,
        ttl: int,
        same_site: str,
        now: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self._keys = _derived(secret, settings.issuer)
        self._ttl = ttl
        self._now = now
        self._random = random
        self._attributes = _attributes(same_site, insecure=settings.insecure)
        self.cookie_name: Final = "lunasec_anonymous" if settings.insecure else "__Host-lunasec_anonymous"

    @property
    def in_use(self) -> bool:
        """Whether the application gave a secret."""
        return bool(self._keys)

    def session_id(self, request: object) -> str | None:
        """The anonymous session of whoever sent a request; None if there is none.

        Args:
            request: a WSGI environ, an ASGI scope, or the framework's request.
        """
        asked = Request.of(request)
        visit = asked.raw.get(VISIT)
        if isinstance(visit, Visit) and visit.cookie is not None:
            return visit.session_id
        return self.read(asked.cookies.get(self.cookie_name, ""))

    def start(self, request: object) -> str:
        """The anonymous session of whoever sent a request, begun now if there is none; the middleware sets its cookie.

        Raises:
            ConfigError: the middleware is not there, or no ``anonymous_secret`` was given.
        """
        visit = self._visit(request)
        known = self.session_id(request)
        if known is not None:
            return known
        visit.session_id, visit.cookie = self.issue()
        return visit.session_id

    def end(self, request: object) -> None:
        """Have the browser forget the session; the tokenizer is told by ``sessions.end``.

        Raises:
            ConfigError: as ``start``.
        """
        visit = self._visit(request)
        visit.session_id, visit.cookie = None, ""

    def issue(self) -> tuple[str, str]:
        """A new session id and its cookie's value, for frameworks without the middleware.

        Raises:
            ConfigError: no ``anonymous_secret`` was given.
        """
        self._require_secret()
        name = self._random(_ID_BYTES)
        payload = name + (int(self._now()) + self._ttl).to_bytes(_END_BYTES, "big")
        return _session_id(name), f"{_MARK}{_base64url(payload)}.{_base64url(keys.mac(self._keys[0], payload))}"

    def read(self, cookie: str) -> str | None:
        """The session id that a cookie's value holds; None if it is not of this application, was changed, or has expired."""
        match = _COOKIE.fullmatch(cookie)
        if match is None:
            return None
        try:
            payload, mac = (
                base64.b64decode(f"{part}{'=' * (-len(part) % 4)}", altchars=b"-_") for part in match.groups()
            )
        except binascii.Error:
            return None
        # Every key is tried whichever fits: how long it takes tells nothing.
        fits = [keys.equal(keys.mac(key, payload), mac) for key in self._keys]
        if not any(fits) or int.from_bytes(payload[_ID_BYTES:], "big") <= self._now():
            return None
        return _session_id(payload[:_ID_BYTES])

    def set_cookie(self, value: str) -> str:
        """The ``Set-Cookie`` header of a cookie's value; that which removes it, if empty."""
        lives = self._ttl if value else 0
        return f"{self.cookie_name}={value}; Max-Age={lives}; {self._attributes}"

    def begin_visit(self, raw: Any) -> Visit | None:  # noqa: ANN401 - an environ or a scope
        """Note in the environ or scope that the middleware is there (its own business)."""
        if not self.in_use:
            return None
        visit = raw[VISIT] = Visit()
        return visit

    def _visit(self, request: object) -> Visit:
        self._require_secret()
        visit = Request.of(request).raw.get(VISIT)
        if not isinstance(visit, Visit):
            raise ConfigError("anonymous sessions need the middleware: wrap the application in wsgi() or asgi()")
        return visit

    def _require_secret(self) -> None:
        if not self._keys:
            raise ConfigError("anonymous sessions need anonymous_secret, 32 random bytes or more")


def _derived(secret: str | bytes | Sequence[str | bytes] | None, issuer: str) -> tuple[bytes, ...]:
    secrets = () if secret is None else (secret,) if isinstance(secret, str | bytes) else tuple(secret)
    raw = [one.encode() if isinstance(one, str) else one for one in secrets]
    if any(len(one) < MIN_SECRET_BYTES for one in raw):
        raise ConfigError(
            f"anonymous_secret must have {MIN_SECRET_BYTES} bytes or more; make it with secrets.token_hex(32)"
        )
    return tuple(keys.expand(keys.extract(b"", one), "anonymous-session", issuer.encode()) for one in raw)


def _attributes(same_site: str, *, insecure: bool) -> str:
    chosen = same_site.capitalize()
    if chosen not in _SAME_SITE:
        raise ConfigError(f"anonymous_same_site must be one of {', '.join(_SAME_SITE)}")
    if chosen == "None" and insecure:
        raise ConfigError("anonymous_same_site = None needs an application on https://; browsers take it no other way")
    return f"Path=/; HttpOnly; SameSite={chosen}" + ("" if insecure else "; Secure")


def _session_id(name: bytes) -> str:
    return ID_PREFIX + _base64url(name)


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
