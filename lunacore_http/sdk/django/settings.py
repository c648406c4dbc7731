"""The setting ``LUNACORE``: what it may hold, and what is wrong with it.

Every problem has an id, which Django's system check shows (``manage.py check``) and which can be silenced by it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from lunacore.errors import ConfigError
from lunacore_http.sdk.settings import checked
from lunacore_http.sdk.signing_keys import SigningKeys

if TYPE_CHECKING:
    from lunacore_http.sdk.signing_keys import KeySource

DEFAULT_PROVIDER: Final = "lunacore_http.sdk.django.current.django_session_id"

_REQUIRED: Final = ("TOKENIZER_URL", "ISSUER", "SIGNING_KEY")
_WANTED: Final = {
    "TOKENIZER_URL": "It is the tokenizer's public URL, as tokenizer.public_url there: https://secure.example.com.",
    "ISSUER": "It is this application's name, exactly as issuer of its [[identity]] says.",
    "SIGNING_KEY": "It is a private key as PEM: its text, a pathlib.Path of a file, or a function that returns it.",
}


@frozen
class Problem:
    """What is wrong with one setting, and what to do about it."""

    code: str
    message: str
    hint: str


@frozen
class Settings:
    """``LUNACORE``, checked."""

    tokenizer_url: str
    issuer: str
    signing_key: KeySource = field(repr=False)
    internal_url: str | None
    session_id_provider: Callable[[Any], str | None]
    anonymous_sessions: bool
    session_ttl: str | int
    timeout: float
    retries: int
    ca: str | Path | None


def current_settings() -> Settings:
    """The project's ``LUNACORE``.

    Raises:
        ImproperlyConfigured: naming what is wrong, as ``manage.py check`` does.
    """
    return _read()


@cache
def _read() -> Settings:
    given = getattr(django_settings, "LUNACORE", None)
    found = problems(given)
    if found:
        raise ImproperlyConfigured("; ".join(f"{one.message} {one.hint} ({one.code})" for one in found))
    assert isinstance(given, Mapping)
    return Settings(
        tokenizer_url=given["TOKENIZER_URL"].rstrip("/"),
        issuer=given["ISSUER"],
        signing_key=given["SIGNING_KEY"],
        internal_url=given.get("INTERNAL_URL"),
        session_id_provider=_provider(given),
        anonymous_sessions=given.get("ANONYMOUS_SESSIONS", False),
        session_ttl=given.get("SESSION_TTL", "12h"),
        timeout=float(given.get("TIMEOUT", 10.0)),
        retries=given.get("RETRIES", 2),
        ca=given.get("CA"),
    )


forget: Final = _read.cache_clear
"""Read the settings anew, after a test changed them."""


def problems(given: object) -> list[Problem]:
    """All that is wrong with ``LUNACORE``; nothing is sent anywhere to find out."""
    if not isinstance(given, Mapping):
        hint = 'Set LUNACORE = {"TOKENIZER_URL": "https://secure.example.com", "ISSUER": …, "SIGNING_KEY": …}.'
        return [Problem("lunacore.E001", "The setting LUNACORE is missing, or is no dict.", hint)]
    found = [*_unknown(given), *_missing(given)]
    for name, (code, refused) in _RULES.items():
        told = refused(given[name]) if name in given else None
        if told is not None:
            found.append(Problem(code, f'LUNACORE["{name}"] is not usable.', f"{told[0].upper()}{told[1:]}."))
    return found


def _unknown(given: Mapping[Any, Any]) -> list[Problem]:
    found = []
    for name in given:
        if name in _KNOWN:
            continue
        near = difflib.get_close_matches(str(name).upper(), _KNOWN, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"It may hold {', '.join(_KNOWN)}."
        found.append(Problem("lunacore.E002", f"LUNACORE holds the unknown setting {name!r}.", hint))
    return found


def _missing(given: Mapping[Any, Any]) -> list[Problem]:
    return [
        Problem("lunacore.E003", f'LUNACORE["{name}"] is missing.', _WANTED[name])
        for name in _REQUIRED
        if name not in given
    ]


def _refused(argument: str) -> Callable[[object], str | None]:
    """What the SDK itself says of one of its arguments, the others being right."""

    def refused(given: object) -> str | None:
        try:
            checked(**{**_RIGHT, argument: given})
        except ConfigError as problem:
            return problem.message
        return None

    return refused


def _key_refused(given: object) -> str | None:
    # A function is asked when its key is needed: a check must not call a key service.
    if callable(given):
        return None
    if not isinstance(given, str | bytes | Path | list | tuple):
        return "it is a private key as PEM: its text, a pathlib.Path of a file, or a function that returns it"
    try:
        SigningKeys(given, now=lambda: 0.0)
    except ConfigError as problem:
        return problem.message
    return None


def _provider_refused(given: object) -> str | None:
    try:
        usable = callable(import_string(given) if isinstance(given, str) else given)
    except ImportError:
        usable = False
    return (
        None
        if usable
        else "it is a function that takes the request and returns a session id or None, or its dotted path"
    )


def _flag_refused(given: object) -> str | None:
    return None if isinstance(given, bool) else "it is True, to make a session for visitors that have none, or False"


_RIGHT: Final[Mapping[str, Any]] = {
    "tokenizer_url": "https://secure.example.com",
    "issuer": "https://app.example.com",
    "internal_url": None,
    "session_ttl": "12h",
    "timeout": 10.0,
    "retries": 2,
    "ca": None,
}
_RULES: Final[Mapping[str, tuple[str, Callable[[Any], str | None]]]] = {
    "TOKENIZER_URL": ("lunacore.E004", _refused("tokenizer_url")),
    "INTERNAL_URL": ("lunacore.E005", _refused("internal_url")),
    "ISSUER": ("lunacore.E006", _refused("issuer")),
    "SIGNING_KEY": ("lunacore.E007", _key_refused),
    "SESSION_ID_PROVIDER": ("lunacore.E008", _provider_refused),
    "ANONYMOUS_SESSIONS": ("lunacore.E009", _flag_refused),
    "SESSION_TTL": ("lunacore.E010", _refused("session_ttl")),
    "TIMEOUT": ("lunacore.E011", _refused("timeout")),
    "CA": ("lunacore.E012", _refused("ca")),
    "RETRIES": ("lunacore.E016", _refused("retries")),
}
_KNOWN: Final = tuple(_RULES)


def _provider(given: Mapping[str, Any]) -> Callable[[Any], str | None]:
    named = given.get("SESSION_ID_PROVIDER", DEFAULT_PROVIDER)
    provider: Callable[[Any], str | None] = import_string(named) if isinstance(named, str) else named
    return provider
