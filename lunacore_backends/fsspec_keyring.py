"""Why the keyring cannot lie on every file system that fsspec knows.

Of two `keys init`, or two rotations, at the same moment one must win. fsspec has neither an exclusive creation nor a
compare-and-swap that all its file systems keep, so LunaCore refuses rather than lose a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from lunacore.errors import ConfigError

if TYPE_CHECKING:
    from lunacore.plugins import BackendURL, Surroundings


def refuse_keyring(url: BackendURL, surroundings: Surroundings) -> NoReturn:
    """Refuse the URL, and say what can hold a keyring.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(
        f"{surroundings.setting}: the keyring cannot lie at {url.scheme}: URLs, since nothing there sees to it that of two "
        "writers at the same moment one wins; name a local file (file:///path), the record store (records:) or an object in "
        "S3 (s3://bucket/keyring)"
    )
