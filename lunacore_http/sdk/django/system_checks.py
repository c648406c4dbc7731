"""Django system checks: every setting, the order of the middleware, and whether the two paths are served at all."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning
from django.urls import NoReverseMatch, reverse

from lunacore_http.sdk.django.settings import DEFAULT_PROVIDER, problems

MIDDLEWARE: Final = "lunacore_http.sdk.django.middleware.LunaCoreMiddleware"

_SESSIONS: Final = "django.contrib.sessions.middleware.SessionMiddleware"
_COOKIE_ENGINE: Final = "django.contrib.sessions.backends.signed_cookies"


def check_settings(**_: Any) -> list[CheckMessage]:  # noqa: ANN401 - Django's
    """``LUNACORE``: lunacore.E001 to E012."""
    return [
        Error(problem.message, hint=problem.hint, id=problem.code)
        for problem in problems(getattr(django_settings, "LUNACORE", None))
    ]


def check_sessions(**_: Any) -> list[CheckMessage]:  # noqa: ANN401 - Django's
    """Where session ids come from: lunacore.E013 to E015."""
    given = getattr(django_settings, "LUNACORE", None)
    if not isinstance(given, dict) or given.get("SESSION_ID_PROVIDER", DEFAULT_PROVIDER) != DEFAULT_PROVIDER:
        return []
    found: list[CheckMessage] = []
    middleware = list(django_settings.MIDDLEWARE)
    if _SESSIONS not in middleware:
        hint = f'Add "{_SESSIONS}" to MIDDLEWARE, or set SESSION_ID_PROVIDER.'
        found.append(Error("LUNACORE takes its sessions from request.session.", hint=hint, id="lunacore.E013"))
    elif MIDDLEWARE in middleware and middleware.index(MIDDLEWARE) < middleware.index(_SESSIONS):
        hint = "Move LunaCoreMiddleware behind SessionMiddleware."
        found.append(Error("LunaCoreMiddleware stands before SessionMiddleware.", hint=hint, id="lunacore.E014"))
    if django_settings.SESSION_ENGINE == _COOKIE_ENGINE:
        hint = "Choose another SESSION_ENGINE, or set SESSION_ID_PROVIDER."
        message = "Sessions that live in a cookie have no lasting key to make a session id of."
        found.append(Error(message, hint=hint, id="lunacore.E015"))
    return found


def check_paths(**_: Any) -> list[CheckMessage]:  # noqa: ANN401 - Django's
    """Whether the tokenizer finds this application's keys: lunacore.W001."""
    if MIDDLEWARE in django_settings.MIDDLEWARE or _has_urls():
        return []
    hint = f'Add "{MIDDLEWARE}" to MIDDLEWARE, or path("", include("lunacore_http.sdk.django.urls")) to the root URLs.'
    message = "Nothing serves /.lunasec/jwks.json and /.lunasec/secure-frame."
    return [CheckWarning(message, hint=hint, id="lunacore.W001")]


def _has_urls() -> bool:
    if not getattr(django_settings, "ROOT_URLCONF", None):
        return False
    try:
        reverse("lunacore:jwks")
    except NoReverseMatch:
        return False
    return True
