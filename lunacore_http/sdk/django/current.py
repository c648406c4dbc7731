"""The request that is being served, and the session that it belongs to."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac

from lunacore_http.sdk.django.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest

_REQUEST: Final[ContextVar[HttpRequest | None]] = ContextVar("lunacore_request", default=None)
_LOG_IN: Final = "_lunacore_log_in"
_SALT: Final = "lunacore_http.sdk.django.session"


def request() -> HttpRequest | None:
    """The request that the middleware is serving in this thread or task."""
    return _REQUEST.get()


@contextmanager
def serving(served: HttpRequest) -> Iterator[None]:
    """Make it the request that is being served."""
    before = _REQUEST.set(served)
    try:
        yield
    finally:
        _REQUEST.reset(before)


def session_id_of(served: HttpRequest) -> str | None:
    """The session that a request belongs to, as ``SESSION_ID_PROVIDER`` says; None if it has none."""
    return current_settings().session_id_provider(served)


def django_session_id(served: HttpRequest) -> str | None:
    """The default of ``SESSION_ID_PROVIDER``: a session id made from ``request.session``.

    It is a keyed hash of Django's session key, which is as good as a password and must reach neither the tokenizer nor a URL,
    and of a mark that every log-in sets anew. So logging in, logging out and changing the password each begin another session.

    Returns:
        None for a visitor without a session; with ``ANONYMOUS_SESSIONS`` one is made instead.
    """
    session = getattr(served, "session", None)
    if session is None:
        raise ImproperlyConfigured(
            "LUNACORE needs request.session: put LunaCoreMiddleware behind SessionMiddleware, or set SESSION_ID_PROVIDER"
        )
    # Reading makes the store look the key up; one that a visitor made up is dropped.
    mark = session.get(_LOG_IN, "")
    if session.session_key is None:
        if not current_settings().anonymous_sessions:
            return None
        session.create()
    return str(salted_hmac(_SALT, f"{session.session_key}:{mark}", algorithm="sha256").hexdigest())


def mark_log_in(served: HttpRequest) -> None:
    """Begin another session; Django keeps its session key if someone logs in who is logged in already."""
    session = getattr(served, "session", None)
    if session is not None:
        session[_LOG_IN] = secrets.token_hex(16)
