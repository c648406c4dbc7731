"""What an application says of itself and of the tokenizer, checked once."""

from __future__ import annotations

import difflib
import math
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from attrs import field, frozen

from lunacore import durations
from lunacore.errors import ConfigError, InvalidRequest
from lunacore.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "LUNACORE_APP_"

_MAX_TIMEOUT: Final = 600.0
_MAX_RETRIES: Final = 10
# Setting by environment variable, without the prefix; those that may lie in a file have a ``_FILE`` beside them.
_FROM_ENVIRONMENT: Final = {
    "TOKENIZER_URL": "tokenizer_url",
    "ISSUER": "issuer",
    "SIGNING_KEY": "signing_key",
    "INTERNAL_URL": "internal_url",
    "SESSION_TTL": "session_ttl",
    "TIMEOUT": "timeout",
    "RETRIES": "retries",
    "CA": "ca",
    "ANONYMOUS_SECRET": "anonymous_secret",
    "ANONYMOUS_TTL": "anonymous_ttl",
    "ANONYMOUS_SAME_SITE": "anonymous_same_site",
}
_IN_FILES: Final = ("SIGNING_KEY", "ANONYMOUS_SECRET")
_REQUIRED: Final = ("TOKENIZER_URL", "ISSUER", "SIGNING_KEY")


@frozen
class Settings:
    """Where the tokenizer is, and how it is talked to.

    Attributes:
        tokenizer_url: its public URL, without a slash at the end: the audience of every JWT, and where browsers are sent.
        issuer: what the application calls itself: ``iss`` of its JWTs.
        internal_url: where this process reaches the tokenizer.
        session_ttl: seconds that a session of the tokenizer may last.
        timeout: seconds that one connection, or one read or write on it, may take.
        retries: how often what is safe to repeat is tried again.
        trust: whom to trust in TLS.
    """

    tokenizer_url: str
    issuer: str
    internal_url: str
    session_ttl: int
    timeout: float
    retries: int
    trust: ssl.SSLContext = field(repr=False, eq=False)

    @property
    def insecure(self) -> bool:
        """Whether the application itself is reached without TLS, as on a developer's machine."""
        return self.issuer.startswith("http://")


def checked(
    *,
    tokenizer_url: str,
    issuer: str,
    internal_url: str | None,
    session_ttl: str | int,
    timeout: float,
    retries: int,
    ca: str | Path | None,
) -> Settings:
    """Settings that hold together.

    Raises:
        ConfigError: naming the setting that is wrong.
    """
    public = _web_url(tokenizer_url, "tokenizer_url")
    if public.startswith("http://") and not is_loopback(urlsplit(public).hostname or ""):
        raise ConfigError("tokenizer_url must start with https:// unless it names a loopback address")
    return Settings(
        tokenizer_url=public,
        issuer=_issuer(issuer),
        internal_url=_web_url(internal_url, "internal_url") if internal_url else public,
        session_ttl=seconds(session_ttl, "session_ttl"),
        timeout=_timeout(timeout),
        retries=_retries(retries),
        trust=_trust(ca),
    )


def seconds(duration: str | int, name: str) -> int:
    """A duration of at least one second.

    Raises:
        ConfigError: it is something else.
    """
    try:
        parsed = durations.parse(duration, name)
    except InvalidRequest as problem:
        raise ConfigError(problem.message) from None
    if parsed < 1:
        raise ConfigError(f"{name} must be at least one second")
    return parsed


def from_environment(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The arguments that environment variables ``LUNACORE_APP_…`` stand for.

    ``LUNACORE_APP_SIGNING_KEY_FILE`` stays a path, so that the file can be read again when it changes.

    Raises:
        ConfigError: naming the variable that is unknown, missing or wrong.
    """
    environ = os.environ if environ is None else environ
    _refuse_unknown(environ)
    given: dict[str, Any] = {
        argument: environ[PREFIX + name] for name, argument in _FROM_ENVIRONMENT.items() if PREFIX + name in environ
    }
    for name in _IN_FILES:
        given |= _from_file(environ, name)
    for name in _REQUIRED:
        if _FROM_ENVIRONMENT[name] not in given:
            raise ConfigError(f"the environment variable {PREFIX}{name} is missing")
    for argument, parse in (("timeout", float), ("retries", int)):
        if argument in given:
            given[argument] = _parsed(parse, given[argument], argument)
    return given


def _parsed(parse: type[float | int], text: str, argument: str) -> float:
    try:
        return parse(text)
    except ValueError:
        raise ConfigError(f"the environment variable {PREFIX}{argument.upper()} must be a number") from None


def _from_file(environ: Mapping[str, str], name: str) -> dict[str, Any]:
    variable = f"{PREFIX}{name}_FILE"
    if variable not in environ:
        return {}
    if PREFIX + name in environ:
        raise ConfigError(f"both {PREFIX}{name} and {variable} are set; keep one")
    path = Path(environ[variable])
    if name == "SIGNING_KEY":
        return {"signing_key": path}
    try:
        return {_FROM_ENVIRONMENT[name]: path.read_bytes().removesuffix(b"\n")}
    except OSError as problem:
        raise ConfigError(f"{variable} names a file that cannot be read: {problem.strerror}") from None


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = [PREFIX + name for name in _FROM_ENVIRONMENT] + [f"{PREFIX}{name}_FILE" for name in _IN_FILES]
    for variable in environ:
        if variable.startswith(PREFIX) and variable not in known:
            near = difflib.get_close_matches(variable, known, n=1, cutoff=0.0)[0]
            raise ConfigError(f"the environment variable {variable} is unknown; did you mean {near}?")


def _issuer(given: object) -> str:
    if not isinstance(given, str) or not given or not given.isprintable():
        raise ConfigError("issuer must be what the tokenizer's configuration calls this application's issuer")
    return given


def _web_url(given: object, name: str) -> str:
    if not isinstance(given, str):
        raise ConfigError(f"{name} must be text")
    url = given.rstrip("/")
    try:
        parts = urlsplit(url)
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        raise ConfigError(f"{name} must be a URL such as https://secure.example.com") from None
    plain = not (parts.query or parts.fragment or parts.username or parts.password)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or not plain
        or not port_is_right
        or not url.isprintable()
    ):
        raise ConfigError(f"{name} must be a URL such as https://secure.example.com")
    return url


def _timeout(given: object) -> float:
    if (
        isinstance(given, bool)
        or not isinstance(given, int | float)
        or not 0 < given <= _MAX_TIMEOUT
        or math.isnan(given)
    ):
        raise ConfigError(f"timeout must be a number of seconds, more than 0 and at most {_MAX_TIMEOUT:.0f}")
    return float(given)


def _retries(given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= _MAX_RETRIES:
        raise ConfigError(f"retries must be a whole number from 0 to {_MAX_RETRIES}")
    return given


def _trust(ca: str | Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca:
        try:
            context.load_verify_locations(cafile=str(ca))
        except (OSError, ssl.SSLError):
            raise ConfigError("ca must name a readable PEM file of certificates") from None
    return context
