"""OpenBao and HashiCorp Vault: ``openbao://host:8200/transit/keys/name?token_file=…``; docs/how-to/key-providers.md.

The calls are ``encrypt`` and ``decrypt`` of the transit secrets engine, with the context as associated data, and as context for
keys that are derived ("Transit secrets engine (API)"). ``vault://`` is the same.
"""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import httpx

from lunacore import keys
from lunacore.errors import ConfigError, KeyringError, StoreUnavailable
from lunacore.loopback import is_loopback
from lunacore_backends.keyproviders import transit_login
from lunacore_backends.keyproviders.key_service import ServiceKeyProvider
from lunacore_backends.keyproviders.transit_login import Denied, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lunacore.plugins import BackendURL, Surroundings
    from lunacore_backends.keyproviders.transit_login import Login

DEFAULT_PORT: Final = 8200
SECONDS: Final = 5.0
CONNECT_SECONDS: Final = 2.0

_PATH: Final = re.compile(r"/(?P<mount>[\w.-]+(/[\w.-]+)*)/keys/(?P<key>[\w.-]+)", re.ASCII)
_NAMESPACE: Final = re.compile(r"[\w.-]+(/[\w.-]+)*/?", re.ASCII)


def open_transit(url: BackendURL, surroundings: Surroundings) -> ServiceKeyProvider:
    """The key provider of an ``openbao:`` or ``vault:`` URL; the service is first asked when something is sealed or opened.

    Raises:
        ConfigError: the URL is wrong.
    """
    setting = surroundings.setting
    url.refuse_unknown_options(setting, "namespace", "ca", "tls", *transit_login.OPTIONS)
    parts = _PATH.fullmatch(url.path)
    if parts is None or not url.host or "@" in urlsplit(url.text).netloc:
        raise ConfigError(f"{setting}: write {url.scheme}://host:{DEFAULT_PORT}/transit/keys/name, without a user name")
    namespace = url.options.get("namespace", "")
    if namespace and not _NAMESPACE.fullmatch(namespace):
        raise ConfigError(f"{setting}: namespace must be a path such as team/luna")
    host, address = _address(url, setting)
    space = f"/{namespace.strip('/')}" if namespace else ""
    service = TransitKey(
        Server(_client(address, namespace, url.options, setting), f"{setting}: {address}", url.scheme),
        transit_login.of(url.options, setting),
        mount=parts["mount"],
        key=parts["key"],
        name=f"transit:{host}{space}{url.path}",
    )
    return ServiceKeyProvider(service, setting, surroundings.random)


class Server:
    """Calls of one server; what it refuses becomes an error that names the setting and says what to do.

    Args:
        client: connected to it.
        label: setting and address, for messages.
        kind: what the server is, for messages.
    """

    def __init__(self, client: httpx.Client, label: str, kind: str) -> None:
        self._client = client
        self.label = label
        self._kind = kind

    def call(
        self, method: str, path: str, *, token: str = "", body: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        """One call; what it answers.

        Raises:
            Denied: 403: the token is not known or not allowed to.
            Refused: 400: the call itself is wrong.
            KeyringError: 404: there is nothing.
            StoreUnavailable: it cannot be reached, or cannot answer now.
        """
        headers = {"x-vault-token": token} if token else {}
        try:
            answer = self._client.request(method, f"/v1/{quote(path)}", json=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as away:  # RuntimeError: the client was closed
            raise self.unavailable(f"it cannot be reached ({type(away).__name__})") from away
        self._check(answer, path)
        try:
            content = answer.json() if answer.content else {}
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise self.unavailable("it does not answer as OpenBao or Vault do; is the address right?")
        return content

    def _check(self, answer: httpx.Response, path: str) -> None:
        status = answer.status_code
        if status == 403:
            raise Denied(
                f"{self.label}: permission is denied for {path}; the token is not valid, or no policy of it allows update there"
            )
        if status == 404:
            raise KeyringError(f"{self.label}: there is nothing at {path}; check mount, key and namespace")
        if status == 400:
            raise Refused(f"{self.label}: {path} is refused")
        if answer.is_redirect:
            raise self.unavailable("it sends elsewhere; name the address of the active server")
        if status == 503:
            raise self.unavailable(f"it is sealed or starting; unseal it ({self._kind} operator unseal)")
        if not answer.is_success:
            raise self.unavailable(f"it cannot answer now (status {status})")

    def unavailable(self, why: str) -> StoreUnavailable:
        return StoreUnavailable(f"{self.label}: {why}")

    def close(self) -> None:
        self._client.close()


class TransitKey:
    """A ``KeyService``: one key of a transit secrets engine."""

    def __init__(self, server: Server, login: Login, *, mount: str, key: str, name: str) -> None:
        self.tokens = transit_login.Tokens(server, login)
        self._server = server
        self._mount = mount
        self._key = key
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def wrap(self, key: bytes, context: bytes) -> bytes:
        wrapped = self._ask("encrypt", {"plaintext": _text(key), **_bound_to(context)}, "ciphertext")
        return wrapped.encode()

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        try:
            asked = {"ciphertext": wrapped.decode("ascii"), **_bound_to(context)}
        except UnicodeDecodeError:
            raise KeyringError(f"{self._server.label}: the keyring's part for {self._name} is damaged") from None
        opened = self._ask("decrypt", asked, "plaintext")
        try:
            return base64.b64decode(opened, validate=True)
        except binascii.Error:
            raise self._server.unavailable("it answers with something that is not Base64") from None

    def close(self) -> None:
        """End the renewal of the token, and close the connections."""
        self.tokens.close()
        self._server.close()

    def _ask(self, operation: str, body: Mapping[str, str], member: str) -> str:
        path = f"{self._mount}/{operation}/{self._key}"
        try:
            answer = self.tokens.call("POST", path, body)
        except Denied as denied:
            raise KeyringError(denied.message) from denied
        except Refused as refusal:
            why = (
                "does the key exist, and is its type a symmetric one (aes256-gcm96)?"
                if operation == "encrypt"
                else "it was sealed by another key or for another keyring, or is damaged"
            )
            raise KeyringError(f"{refusal.message}: {why}") from refusal
        data = answer.get("data")
        found = data.get(member) if isinstance(data, dict) else None
        if not isinstance(found, str):
            raise self._server.unavailable(f"its answer lacks {member}")
        return found


def _bound_to(context: bytes) -> dict[str, str]:
    # Keys that are derived need a context, and it must not be empty.
    bound = _text(keys.info("transit", context))
    return {"associated_data": bound, "context": bound}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _address(url: BackendURL, setting: str) -> tuple[str, str]:
    """Host and port as they are named, and the URL of the server."""
    try:
        parts = urlsplit(f"//{url.host}")
        host, port = parts.hostname or "", parts.port or DEFAULT_PORT
    except ValueError:
        raise ConfigError(f"{setting}: the port must be a number") from None
    tls = url.choice(setting, "tls", "on", "off")
    if tls == "off" and not is_loopback(host):
        raise ConfigError(f"{setting}: tls=off is for a server on this machine alone")
    named = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return named, f"{'https' if tls == 'on' else 'http'}://{named}"


def _client(address: str, namespace: str, options: Mapping[str, str], setting: str) -> httpx.Client:
    try:
        trust = ssl.create_default_context(cafile=options.get("ca"))
    except OSError as problem:  # ssl.SSLError is one
        raise ConfigError(f"{setting}: ca names no PEM file of certificates: {options.get('ca')}") from problem
    headers = {"x-vault-request": "true"}
    if namespace:
        headers["x-vault-namespace"] = namespace
    return httpx.Client(
        base_url=address,
        headers=headers,
        timeout=httpx.Timeout(SECONDS, connect=CONNECT_SECONDS),
        # A transport of its own leaves proxies of the environment aside: tokens go to the server that is named.
        transport=httpx.HTTPTransport(verify=trust, retries=2),
    )
