"""Tokens of OpenBao and HashiCorp Vault: given, or had by logging in, and renewed for as long as the process runs.

A token in a file is read anew for every call, so that an agent may replace it. AppRole and JWT or Kubernetes log in when a token
is first needed and when it is no longer taken ("AppRole auth method (API)", "JWT/OIDC auth method (API)").
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import field, frozen

from lunacore.errors import ConfigError, KeyringError, LunaCoreError
from lunacore_backends import local_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OPTIONS: Final = (
    "token_file", "token_env", "auth", "auth_mount", "role", "role_id", "secret_id_file", "secret_id_env", "jwt_file",
)  # fmt: skip
SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"

_MAX_BYTES: Final = 1 << 16
_RETRY_SECONDS: Final = 30.0
_LEAST_PAUSE: Final = 1.0
_OF_EACH: Final = {
    "approle": {"auth_mount", "role_id", "secret_id_file", "secret_id_env"},
    "jwt": {"auth_mount", "role", "jwt_file"},
    "kubernetes": {"auth_mount", "role", "jwt_file"},
}


class Denied(KeyringError):
    """The server does not know the token, or its policies do not allow the call."""


class Refused(KeyringError):
    """The server takes the call for wrong."""


class Server(Protocol):
    """What makes calls."""

    def call(
        self, method: str, path: str, *, token: str = "", body: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        """One call; what it answers."""
        ...


@frozen
class Login:
    """Where a token comes from: ``given`` reads one, or ``body`` gives what is sent to ``path`` to get one."""

    given: Callable[[], str] | None = field(default=None, repr=False)
    path: str = ""
    body: Callable[[], dict[str, str]] = field(default=dict, repr=False)


class Tokens:
    """Calls with a token, which a thread keeps alive from the first call that succeeds on."""

    def __init__(self, server: Server, login: Login) -> None:
        self._server = server
        self._login = login
        self._token = ""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._renewal: threading.Thread | None = None

    def call(self, method: str, path: str, body: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """One call; where the token is no longer taken, once more after logging in again.

        Raises:
            Denied: the token is not allowed to.
            KeyringError: there is no token, or the server refuses.
            StoreUnavailable: the server cannot be reached.
        """
        token = self._present()
        try:
            answer = self._server.call(method, path, token=token, body=body)
        except Denied:
            if self._login.given is not None:
                raise
            self._forget(token)
            answer = self._server.call(method, path, token=self._present(), body=body)
        self._keep_alive()
        return answer

    def renew(self) -> float | None:
        """Renew the token; after how many seconds to do so again, None if it lasts or cannot be renewed."""
        try:
            data = self._server.call("GET", "auth/token/lookup-self", token=self._present()).get("data", {})
            if not data.get("renewable") or not data.get("ttl"):
                return None
            renewed = self._server.call("POST", "auth/token/renew-self", token=self._present(), body={})
            seconds = float(renewed["auth"]["lease_duration"])
        except Denied:
            return None  # no policy allows it, or the token has ended: the next call says so
        except LunaCoreError:
            return _RETRY_SECONDS
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return max(seconds * 2 / 3, _LEAST_PAUSE)

    def close(self) -> None:
        """End the renewal; the token is left as it is."""
        self._closed.set()

    def _keep_alive(self) -> None:
        with self._lock:
            alive = self._renewal is not None and self._renewal.is_alive()
            if not alive and not self._closed.is_set():
                self._renewal = threading.Thread(
                    target=self._go_on_renewing, name="lunacore-token-renewal", daemon=True
                )
                self._renewal.start()

    def _go_on_renewing(self) -> None:
        pause: float | None = _LEAST_PAUSE  # a command that is done at once has no need of it
        while pause is not None and not self._closed.wait(pause):
            pause = self.renew()

    def _present(self) -> str:
        if self._login.given is not None:
            return self._login.given()
        with self._lock:
            if not self._token:
                self._token = self._log_in()
            return self._token

    def _log_in(self) -> str:
        try:
            answer = self._server.call("POST", self._login.path, body=self._login.body())
        except (Denied, Refused) as refusal:
            raise KeyringError(
                f"{refusal.message}: logging in; check the role and what is sent to prove it"
            ) from refusal
        authenticated = answer.get("auth")
        token = authenticated.get("client_token") if isinstance(authenticated, dict) else None
        if not isinstance(token, str) or not token:
            raise KeyringError("the key service's answer to logging in lacks a token")
        return token

    def _forget(self, token: str) -> None:
        with self._lock:
            if self._token == token:
                self._token = ""


def of(options: Mapping[str, str], setting: str) -> Login:
    """What the options of a URL say.

    Raises:
        ConfigError: they do not go together.
    """
    chosen = [name for name in ("token_file", "token_env", "auth") if name in options]
    if len(chosen) != 1:
        raise ConfigError(
            f"{setting}: say how to log in: token_file, token_env, auth=approle, auth=jwt or auth=kubernetes"
        )
    if chosen == ["auth"]:
        return _logging_in(options, setting)
    _refuse_others(options, set(chosen), setting)
    return Login(given=_source(options, "token", setting))


def _logging_in(options: Mapping[str, str], setting: str) -> Login:
    method = options["auth"]
    if method not in _OF_EACH:
        raise ConfigError(f"{setting}: auth must be approle, jwt or kubernetes")
    _refuse_others(options, {"auth"} | _OF_EACH[method], setting)
    path = f"auth/{options.get('auth_mount', method).strip('/')}/login"
    if method == "approle":
        role_id = _required(options, "role_id", setting)
        secret_id = _source(options, "secret_id", setting)
        return Login(path=path, body=lambda: {"role_id": role_id, "secret_id": secret_id()})
    role = _required(options, "role", setting)
    given = options.get("jwt_file", SERVICE_ACCOUNT if method == "kubernetes" else "")
    if not given:
        raise ConfigError(f"{setting}: auth=jwt needs jwt_file")
    jwt = _file(given, "jwt_file", setting, refuse=0)
    return Login(path=path, body=lambda: {"role": role, "jwt": jwt()})


def _refuse_others(options: Mapping[str, str], known: set[str], setting: str) -> None:
    for name in OPTIONS:
        if name in options and name not in known:
            raise ConfigError(f"{setting}: the option {name} does not go with this way to log in")


def _required(options: Mapping[str, str], name: str, setting: str) -> str:
    if not options.get(name):
        raise ConfigError(f"{setting}: auth={options['auth']} needs {name}")
    return options[name]


def _source(options: Mapping[str, str], what: str, setting: str) -> Callable[[], str]:
    """A secret from the file or the environment variable that an option names."""
    named = [name for name in (f"{what}_file", f"{what}_env") if options.get(name)]
    if len(named) != 1:
        raise ConfigError(f"{setting}: name either {what}_file or {what}_env")
    (option,) = named
    if option.endswith("_file"):
        return _file(options[option], option, setting, refuse=local_files.OPEN_TO_OTHERS)
    return lambda: _variable(options[option], setting)


def _file(name: str, option: str, setting: str, *, refuse: int) -> Callable[[], str]:
    path = Path(name)
    if not path.is_absolute():
        raise ConfigError(f"{setting}: {option} must name an absolute path")

    def read() -> str:
        try:
            content = local_files.read_guarded(path, setting, refuse=refuse, limit=_MAX_BYTES)
        except OSError as problem:
            raise KeyringError(f"{setting}: cannot read {option} {path}: {problem.strerror}") from problem
        return _token_of(content.decode("utf-8", "replace"), f"{option} {path}", setting)

    return read


def _variable(name: str, setting: str) -> str:
    if name not in os.environ:
        raise KeyringError(f"{setting}: the environment variable {name} is not set")
    return _token_of(os.environ[name], f"the environment variable {name}", setting)


def _token_of(text: str, where: str, setting: str) -> str:
    token = text.strip()
    # Nothing else can stand in a header, and httpx would show it in its error.
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise KeyringError(f"{setting}: {where} holds no token")
    return token
