"""What ``--config``, ``--data`` and the environment come to, and the deployment that they name."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from attrs import evolve

from lunacore.config import Config
from lunacore.deployment import open_deployment
from lunacore.errors import ConfigError, IntegrityError, KeyringError, UnsupportedVersion

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from lunacore.deployment import Deployment

STORES: Final = ("objects", "records", "grants", "keyring", "seal", "audit")


def load(arguments: argparse.Namespace) -> Config:
    """The configuration that the arguments name; ``--data`` goes before file and environment.

    Raises:
        ConfigError: naming the file or setting that is wrong.
    """
    config = Config.from_environment() if arguments.config is None else Config.from_file(arguments.config)
    if arguments.data is None:
        return config
    if not arguments.data:
        raise ConfigError("--data must name a directory")
    return evolve(config, tokenizer=evolve(config.tokenizer, data_dir=arguments.data))


def uses_data_dir(config: Config) -> bool:
    """Whether any part lies under the data directory."""
    return not all(getattr(config.tokenizer, store) for store in STORES)


@contextmanager
def opened(config: Config, *, create: bool = False) -> Iterator[Deployment]:
    """The deployment, closed at the end.

    Args:
        config: what to open.
        create: make the embedded default where there is none. Commands that only look or remove must not, or a mistyped
            ``--data`` would leave an empty vault behind.

    Raises:
        ConfigError: a setting is wrong, or there is nothing where it should be.
        KeyringError: the keyring is missing, does not open, or is not that of the record store.
        StoreUnavailable: a store cannot be reached.
    """
    if not create:
        require_data_dir(config)
    try:
        deployment = open_deployment(_apart_from_results(config))
    except UnsupportedVersion:
        raise
    except IntegrityError as damaged:
        raise KeyringError(f"the keyring cannot be opened: {damaged.message}; restore it from its backup") from damaged
    try:
        yield deployment
    finally:
        deployment.close()


def _apart_from_results(config: Config) -> Config:
    """Commands print their results on standard output, so an audit log that goes there goes to standard error."""
    if config.tokenizer.audit.partition(":")[0] != "stdout":
        return config
    return evolve(config, tokenizer=evolve(config.tokenizer, audit="stderr:"))


def require_data_dir(config: Config) -> None:
    """Raise ``ConfigError`` if a part should lie under a data directory that was never used."""
    directory = config.data_dir
    if uses_data_dir(config) and not any(directory.glob("*")):
        raise ConfigError(
            f"tokenizer.data_dir: there is no vault in {directory}; name the right directory with --data, "
            "or make a vault with lunacore serve, put or keys init"
        )
