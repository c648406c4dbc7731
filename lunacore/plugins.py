"""Backends by URL: the scheme names an entry point, and whoever installs a package may add schemes.

The entry-point groups are ``lunacore.records``, ``lunacore.grants``, ``lunacore.objects``, ``lunacore.keyring``,
``lunacore.seal``, ``lunacore.audit`` and ``lunacore.notify``. Each entry point is a factory ``open(url, surroundings)``. Where a
group has an entry point ``fsspec``, it serves every scheme that has none of its own.
"""

from __future__ import annotations

import math
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import field, frozen

from lunacore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lunacore.config import NotifySettings
    from lunacore.gateway_keys import GatewayKeys
    from lunacore.stores import RecordStore

FALLBACK: Final = "fsspec"
_LEAST_SECONDS: Final = 0.001
_MOST_SECONDS: Final = 300.0
_EXTRAS: Final = {
    "awskms": "aws-kms",
    "openbao": "openbao",
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "redis": "redis",
    "rediss": "redis",
    "s3": "s3",
    "vault": "openbao",
}


@frozen
class BackendURL:
    """A backend's URL, taken apart. ``text`` may hold credentials and is never shown; ``shown`` is safe to log.

    Attributes:
        scheme: what stands before the first colon.
        host: host, bucket or the like, empty for ``file:///…``.
        path: the path, percent-decoded.
        options: the query, each name once.
    """

    text: str = field(repr=False)
    scheme: str
    host: str
    path: str
    options: Mapping[str, str] = field(repr=False)

    @property
    def shown(self) -> str:
        """The URL without credentials and options."""
        return f"{self.scheme}://{self.host}{self.path}"

    def refuse_unknown_options(self, setting: str, *known: str) -> None:
        """Raise ``ConfigError`` for an option that the backend does not have."""
        for name in self.options:
            if name not in known:
                allowed = ", ".join(known) or "none"
                raise ConfigError(f"{setting}: {self.scheme} has no option {name!r}; it takes: {allowed}")

    def choice(self, setting: str, option: str, *choices: str, default: str = "") -> str:
        """The value of an option that has a few; the default, or else the first of them, where it is not given.

        Raises:
            ConfigError: it is another.
        """
        value = self.options.get(option, default or choices[0])
        if value not in choices:
            raise ConfigError(f"{setting}: {option} must be {' or '.join(choices)}")
        return value

    def whole(self, setting: str, option: str, default: int, *, least: int, most: int) -> int:
        """The value of an option that is a whole number.

        Raises:
            ConfigError: it is none, or out of bounds.
        """
        text = self.options.get(option)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
            raise ConfigError(f"{setting}: {option} must be a number from {least} to {most}")
        return int(text)

    def seconds(self, setting: str, option: str, default: float) -> float:
        """The value of an option that is a time to wait, in seconds.

        Raises:
            ConfigError: it is none, or out of bounds.
        """
        text = self.options.get(option)
        if text is None:
            return default
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not _LEAST_SECONDS <= seconds <= _MOST_SECONDS:
            raise ConfigError(f"{setting}: {option} must be a number of seconds up to {_MOST_SECONDS:.0f}")
        return seconds

    @classmethod
    def parse(cls, text: str, setting: str) -> Self:
        """Take a URL apart.

        Raises:
            ConfigError: naming ``setting``, where the text is no URL or an option comes twice.
        """
        try:
            parts = urlsplit(text)
            host = parts.netloc.rpartition("@")[2]
            pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise ConfigError(f"{setting} is not a URL") from None
        if parts.fragment or text.endswith("#"):
            raise ConfigError(f"{setting} holds a '#'; write it as %23")
        if not parts.scheme:
            raise ConfigError(f"{setting} must be a URL such as file:///path or sqlite:///path")
        if len(dict(pairs)) != len(pairs):
            raise ConfigError(f"{setting} has an option twice")
        return cls(text=text, scheme=parts.scheme, host=host, path=unquote(parts.path), options=dict(pairs))


@frozen
class Surroundings:
    """What a factory may use besides its URL.

    Attributes:
        setting: name of the setting that the URL comes from, for error messages.
        now: Unix seconds.
        random: cryptographically secure random bytes.
        gateway_url: base URL of the gateway, for object stores that it serves.
        gateway_keys: its credentials, likewise.
        records: the record store, for a keyring that lies in it.
        notify: the table of a receiver of notifications.
        threads: how many calls this process makes at once, as a rule; stores keep so many connections.
    """

    setting: str
    now: Callable[[], float]
    random: Callable[[int], bytes]
    gateway_url: str = ""
    gateway_keys: GatewayKeys | None = None
    records: RecordStore | None = None
    threads: int = 8
    notify: NotifySettings | None = None


def open_backend(kind: str, text: str, surroundings: Surroundings) -> Any:  # noqa: ANN401 - the kind decides
    """Open the backend that the URL ``text`` names; ``kind`` is ``records``, ``grants`` and so on.

    Raises:
        ConfigError: no installed package serves the scheme, a dependency of it is missing, or the URL is wrong.
    """
    url = BackendURL.parse(text, surroundings.setting)
    entry_point = _find(kind, url.scheme, surroundings.setting)
    try:
        factory = entry_point.load()
    except ImportError as missing:
        extra = _EXTRAS.get(url.scheme, url.scheme)
        raise ConfigError(
            f"{surroundings.setting}: {url.scheme} needs a package that is not installed ({missing.name}); "
            f"try: pip install 'lunacore[{extra}]'"
        ) from missing
    return factory(url, surroundings)


def shown_entries(entries: Sequence[Sequence[str]], setting: str) -> list[str]:
    """Entries of ``tokenizer.seal`` as they may be shown: each URL without credentials and options, or ``all(URL, URL)``."""
    shown = [[BackendURL.parse(url, setting).shown for url in entry] for entry in entries]
    return [urls[0] if len(urls) == 1 else f"all({', '.join(urls)})" for urls in shown]


def schemes(kind: str) -> list[str]:
    """The schemes that installed packages serve for one kind of backend."""
    return sorted(entry_point.name for entry_point in entry_points(group=f"lunacore.{kind}"))


def _find(kind: str, scheme: str, setting: str) -> EntryPoint:
    by_name = {entry_point.name: entry_point for entry_point in entry_points(group=f"lunacore.{kind}")}
    found = by_name.get(scheme) or by_name.get(FALLBACK)
    if found is None:
        raise ConfigError(
            f"{setting}: nothing here serves {scheme!r} for {kind}; known are: {', '.join(schemes(kind))}"
        )
    return found
