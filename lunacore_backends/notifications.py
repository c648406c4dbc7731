"""Receivers of notifications: webhooks (``url``) and commands (``command``) of ``[[notify]]``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from attrs import frozen

from lunacore.errors import ConfigError, StoreUnavailable
from lunacore.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunacore.notifications import Notification, Receiver
    from lunacore.plugins import BackendURL, Surroundings

_ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}


def open_webhook(url: BackendURL, surroundings: Surroundings) -> Receiver:
    """The receiver of an ``https:`` URL, or of ``http:`` on a loopback address.

    Raises:
        ConfigError: the URL is another, or httpx is not installed.
    """
    settings, parts = surroundings.notify, urlsplit(url.text)
    if settings is None or not parts.hostname:
        raise ConfigError(f"{surroundings.setting} must be a URL such as https://alerts.example.com/lunacore")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ConfigError(f"{surroundings.setting} must be https; http is for this very machine")
    try:
        import httpx  # noqa: F401, PLC0415 - found out at the start, and loaded for webhooks alone
    except ImportError:
        raise ConfigError(
            f"{surroundings.setting} needs httpx, which is not installed; try: pip install 'lunacore[server]'"
        ) from None
    return Webhook(url.text, settings.timeout, settings.ca, surroundings.setting)


def open_command(url: BackendURL, surroundings: Surroundings) -> Receiver:  # noqa: ARG001 - the settings hold the command
    """The receiver of ``command``.

    Raises:
        ConfigError: the program is not there.
    """
    settings = surroundings.notify
    if settings is None or not settings.command:
        raise ConfigError(f"{surroundings.setting} names no command")
    program = settings.command[0]
    if not os.access(program, os.X_OK) or not Path(program).is_absolute():
        raise ConfigError(
            f"{surroundings.setting}: {program} must be the absolute path of a program that this user may run"
        )
    return Command(settings.command, settings.timeout, surroundings.setting)


@frozen
class Webhook:
    """Posts each notification as JSON; whatever is not answered by 2xx is tried again."""

    url: str
    timeout: float
    ca: str
    setting: str

    def deliver(self, notification: Notification) -> None:
        import ssl  # noqa: PLC0415 - as httpx below

        import httpx  # noqa: PLC0415 - loaded for webhooks alone, in the thread that uses it

        trust = ssl.create_default_context(cafile=self.ca or None)
        headers = {"Content-Type": "application/json", "User-Agent": "lunacore", **notification.headers}
        try:
            # Neither proxies of the environment nor redirects: the event goes where the setting says and nowhere else.
            with httpx.Client(verify=trust, trust_env=False, follow_redirects=False, timeout=self.timeout) as client:
                answer = client.post(self.url, content=notification.body, headers=headers)
        except httpx.HTTPError as problem:
            raise StoreUnavailable(
                f"{self.setting}: the webhook cannot be reached ({type(problem).__name__})"
            ) from problem
        if not answer.is_success:
            raise StoreUnavailable(f"{self.setting}: the webhook answered {answer.status_code}")


@frozen
class Command:
    """Runs a program for each notification, without a shell: the event on standard input, an environment of its own."""

    arguments: Sequence[str]
    timeout: float
    setting: str

    def deliver(self, notification: Notification) -> None:
        environment = _ENVIRONMENT | {
            name.upper().replace("-", "_"): text for name, text in notification.headers.items()
        }
        try:
            ended = subprocess.run(  # noqa: S603 - the operator's own command, with no argument of anybody else
                list(self.arguments),
                input=notification.body + b"\n",
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StoreUnavailable(f"{self.setting}: the command took longer than {self.timeout} seconds") from None
        except OSError as problem:
            raise StoreUnavailable(f"{self.setting}: the command cannot be run: {problem.strerror}") from problem
        if ended.returncode:
            raise StoreUnavailable(f"{self.setting}: the command ended with {ended.returncode}")
