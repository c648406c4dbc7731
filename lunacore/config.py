"""Configuration: one TOML file, and for every setting an environment variable.

``LUNACORE_SECTION_NAME`` holds the setting ``name`` of ``[section]``; with ``_FILE`` behind it, it names a file that holds it.
Environment goes before file. ``LUNACORE_IDENTITY`` holds all identity providers as a JSON list, ``LUNACORE_NOTIFY`` all
receivers of notifications. Nothing else in LunaCore reads the environment.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import attrs
from attrs import field, frozen

from lunacore import durations
from lunacore.errors import ConfigError, InvalidRequest
from lunacore.sigv4 import MAX_EXPIRES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

S = TypeVar("S")

_PREFIX: Final = "LUNACORE_"
_URL_CHARACTERS: Final = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*", re.ASCII)
_DAY: Final = 86_400
# A comma that a URL follows, or for entries all(…), outside of parentheses.
_BETWEEN_URLS: Final = re.compile(r",\s*(?=[A-Za-z][A-Za-z0-9+.-]*:)")
_BETWEEN_ENTRIES: Final = re.compile(r",\s*(?=[A-Za-z][A-Za-z0-9+.-]*:|all\()(?![^()]*\))")
_MOST_TOGETHER: Final = 16
_TOGETHER: Final = re.compile(r"all\((.*)\)", re.DOTALL)
_TABLES: Final = ("identity", "notify")
_TRUE: Final = ("true", "1", "yes", "on")
_FALSE: Final = ("false", "0", "no", "off")


def _text(given: object, setting: str) -> str:
    if not isinstance(given, str):
        raise ConfigError(f"{setting} must be text")
    return given


def _integer(given: object, setting: str) -> int:
    if isinstance(given, str) and given.isascii() and given.isdigit():
        return int(given)
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise ConfigError(f"{setting} must be a whole number, 0 or more")
    return given


def _positive(given: object, setting: str) -> int:
    number = _integer(given, setting)
    if number == 0:
        raise ConfigError(f"{setting} must be 1 or more")
    return number


def _port(given: object, setting: str) -> int:
    number = _positive(given, setting)
    if number > 65_535:
        raise ConfigError(f"{setting} must be a port, 1 to 65535")
    return number


def _boolean(given: object, setting: str) -> bool:
    if isinstance(given, bool):
        return given
    if isinstance(given, str) and given.lower() in _TRUE + _FALSE:
        return given.lower() in _TRUE
    raise ConfigError(f"{setting} must be true or false")


def _seconds(given: object, setting: str) -> int:
    try:
        return durations.parse(given, setting)  # type: ignore[arg-type]  # it refuses the rest
    except InvalidRequest as refusal:
        raise ConfigError(refusal.message) from None


def _positive_seconds(given: object, setting: str) -> int:
    seconds = _seconds(given, setting)
    if seconds == 0:
        raise ConfigError(f"{setting} must be at least 1s")
    return seconds


def _never_or_days(given: object, setting: str) -> int:
    seconds = _seconds(given, setting)
    if 0 < seconds < _DAY:
        raise ConfigError(f"{setting} must be at least 1d, since replaced objects wait for half a day; 0 for never")
    return seconds


def _signed_seconds(given: object, setting: str) -> int:
    seconds = _positive_seconds(given, setting)
    if seconds > MAX_EXPIRES:
        raise ConfigError(f"{setting} must be at most {MAX_EXPIRES // 86_400}d, the longest life of a presigned URL")
    return seconds


def _texts(given: object, setting: str) -> tuple[str, ...]:
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(",") if part.strip())
    if not isinstance(given, list) or not all(isinstance(part, str) for part in given):
        raise ConfigError(f"{setting} must be a list of texts")
    return tuple(given)


def key_providers(given: object, setting: str) -> tuple[tuple[str, ...], ...]:
    """The entries of ``tokenizer.seal``, any one of which opens the keyring: the URLs of each, all of which it needs.

    An entry is a URL, or ``all(URL, URL)``. Text holds entries separated by commas; a comma within a URL is none of these unless
    what follows it looks like a URL.

    Raises:
        ConfigError: naming the setting.
    """
    if not isinstance(given, str | list) or not all(isinstance(entry, str) for entry in given):
        raise ConfigError(f'{setting} must be a URL, or a list of URLs and of texts such as "all(URL, URL)"')
    texts = _BETWEEN_ENTRIES.split(given.strip()) if isinstance(given, str) else given
    entries = tuple(_entry(text.strip(), setting) for text in texts if text.strip() or given)
    for place, entry in enumerate(entries):
        if set(entry) in [set(other) for other in entries[:place]]:
            raise ConfigError(f"{setting} names a key provider twice")
    return entries


def _entry(text: str, setting: str) -> tuple[str, ...]:
    grouped = _TOGETHER.fullmatch(text)
    if grouped is None:
        if not text or text.startswith("all("):
            raise ConfigError(f'{setting} must be a URL, or a list of URLs and of texts such as "all(URL, URL)"')
        return (text,)
    urls = tuple(url.strip() for url in _BETWEEN_URLS.split(grouped[1]))
    if (
        not 2 <= len(set(urls)) <= _MOST_TOGETHER
        or len(set(urls)) != len(urls)
        or not all(urls)
        or "all(" in grouped[1]
    ):
        raise ConfigError(f"{setting}: all(…) takes 2 to {_MOST_TOGETHER} different URLs, separated by commas")
    return urls


def _web_url(given: object, setting: str) -> str:
    url = _text(given, setting).rstrip("/")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigError(f"{setting} must be a URL such as https://secure.example.com") from None
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ConfigError(f"{setting} must be a URL such as https://secure.example.com")
    return url


def _callback(given: object, setting: str) -> str:
    url = _text(given, setting)
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    # What follows in the address must stay the query that it is: no fragment, and only what a URL may hold (RFC 3986).
    if parts.scheme not in ("http", "https") or not parts.hostname or "#" in url or not _URL_CHARACTERS.fullmatch(url):
        raise ConfigError(f"{setting} must be a URL such as https://app.example.com/.lunasec/secure-frame")
    if "@" in parts.netloc:
        raise ConfigError(f"{setting} must not hold a user name")
    return url


def _origins(given: object, setting: str) -> tuple[str, ...]:
    origins = tuple(_web_url(one, setting) for one in _texts(given, setting))
    for origin in origins:
        if urlsplit(origin).path:
            raise ConfigError(f"{setting} must hold origins such as https://app.example.com, without a path")
    return origins


def _choice(*choices: str) -> Callable[[object, str], str]:
    def parse(given: object, setting: str) -> str:
        if given not in choices:
            raise ConfigError(f"{setting} must be one of {', '.join(choices)}")
        return str(given)

    return parse


def _choices(*choices: str) -> Callable[[object, str], tuple[str, ...]]:
    def parse(given: object, setting: str) -> tuple[str, ...]:
        chosen = _texts(given, setting)
        for one in chosen:
            if one not in choices:
                raise ConfigError(f"{setting} may hold {', '.join(choices)}; {one!r} is none of them")
        return chosen

    return parse


def setting(parse: Callable[[object, str], Any], default: Any = attrs.NOTHING, *, secret: bool = False) -> Any:  # noqa: ANN401 - attrs'
    """One setting: ``parse(given, name)`` turns what the file or the environment says into its value."""
    return field(default=default, repr=not secret, metadata={"parse": parse})


@frozen
class TokenizerSettings:
    """``[tokenizer]``: where it listens, and where its parts lie. Empty store URLs mean the embedded default."""

    public_url: str = setting(_web_url, "")
    host: str = setting(_text, "127.0.0.1")
    port: int = setting(_port, 37766)
    operations: str = setting(_text, "127.0.0.1:37767")
    workers: int = setting(_positive, 1)
    threads: int = setting(_positive, 8)
    data_dir: str = setting(_text, "./luna-data")
    objects: str = setting(_text, "", secret=True)
    records: str = setting(_text, "", secret=True)
    grants: str = setting(_text, "", secret=True)
    keyring: str = setting(_text, "", secret=True)
    seal: tuple[tuple[str, ...], ...] = setting(key_providers, (), secret=True)
    audit: str = setting(_text, "", secret=True)
    tls_certificate: str = setting(_text, "")
    tls_key: str = setting(_text, "")
    max_body: int = setting(_positive, 1024 * 1024)
    max_batch: int = setting(_positive, 500)


@frozen
class TicketSettings:
    """``[tickets]``: lifetimes of signed URLs in seconds, and the largest value in bytes."""

    upload_ttl: int = setting(_signed_seconds, 300)
    download_ttl: int = setting(_signed_seconds, 120)
    max_value_size: int = setting(_positive, 5 * 1024**3)


@frozen
class GrantSettings:
    """``[grants]``: lifetimes in seconds."""

    default_ttl: int = setting(_positive_seconds, 15 * 60)
    max_ttl: int = setting(_positive_seconds, 24 * 3600)


@frozen
class SessionSettings:
    """``[sessions]``: lifetime in seconds, and which site the frame is on, as the cookies must allow it."""

    max_ttl: int = setting(_positive_seconds, 12 * 3600)
    cookie: str = setting(_choice("same-site", "cross-site"), "same-site")


@frozen
class LimitSettings:
    """``[limits]``: what one session or application may do in a minute; 0 for no limit.

    Tokens that it may open, and times that it may ask for all tokens of a label to be erased.
    """

    session_reads: int = setting(_integer, 6_000)
    application_reads: int = setting(_integer, 60_000)
    application_erasures: int = setting(_integer, 600)


@frozen
class SweepSettings:
    """``[sweep]``: how often the server sweeps (0 for never), and when tokens are given up, in seconds after minting.

    Those to which nothing was uploaded go after ``never_uploaded_after``, uploads that nobody verified after
    ``unverified_after``.
    """

    every: int = setting(_seconds, 600)
    unverified_after: int = setting(_positive_seconds, 7 * 24 * 3600)
    never_uploaded_after: int = setting(_positive_seconds, 24 * 3600)


@frozen
class KeySettings:
    """``[keys]``: how often a process looks whether the keyring has changed, in seconds; new keys wait for three times that."""

    reload_period: int = setting(_positive_seconds, 60)


@frozen
class RekeySettings:
    """``[rekey]``: how old the keys of an object may be when its value is read before it is re-keyed, in seconds; 0 for never."""

    after: int = setting(_never_or_days, 0)


@frozen
class AuditSettings:
    """``[audit]``: when checkpoints of the audit log are signed (lines; seconds), and a second place for them."""

    checkpoint_entries: int = setting(_positive, 1000)
    checkpoint_interval: int = setting(_positive_seconds, 60)
    copy: str = setting(_text, "", secret=True)


@frozen
class FrameSettings:
    """``[frame]``: who may embed the Secure Frame, and a folder of fonts for it."""

    app_origins: tuple[str, ...] = setting(_origins, ())
    fonts: str = setting(_text, "")


@frozen
class GatewaySettings:
    """``[gateway]``: the server of filesystem objects. ``key`` names its key file where it runs on its own."""

    public_url: str = setting(_web_url, "")
    host: str = setting(_text, "127.0.0.1")
    port: int = setting(_port, 37768)
    key: str = setting(_text, "", secret=True)


@frozen
class IdentitySettings:
    """One ``[[identity]]``: whose JWTs are believed, and what they may be.

    Attributes:
        name: what messages and logs call the provider.
        kind: ``application`` (a back end that signs its own JWTs) or ``proxy`` (an auth proxy; yields users only).
        issuer: the ``iss`` of its JWTs, exactly.
        jwks: where its public keys are: an ``https://`` URL, ``http://`` on loopback, or ``file:///…``.
        pem: in place of ``jwks``, where a proxy's public keys are one by one: a URL with ``{kid}`` in its path, each a PEM.
        jwks_ca: PEM file of the certificates to trust for ``jwks`` and ``pem``, in place of the system's.
        private_addresses: whether ``jwks`` or ``pem`` may be served from a private or loopback address.
        tenant: the tenant that its callers belong to.
        audience: the ``aud`` of its JWTs; empty for the tokenizer's public URL, or for none if there is a ``signer``.
        signer: the ``signer`` in the header of a proxy's JWTs, which AWS load balancers put there in place of an ``aud``.
        algorithms: the signature algorithms that it may use.
        callback: where users without a session are sent to get one.
        roles: the roles that it may vouch for (applications only).
        default: whether it is asked for a session when no provider is named.
        may_read: whether its application may detokenize without a session's grant.
        direct: whether its user JWTs are taken as they are, as cookie or bearer.
        header: the request header that holds a proxy's JWT; ``Bearer`` before it is optional.
        cookie: in place of ``header``, the cookie that holds it.
        session_claim: the claim that holds a proxy's session id, or several of which the first that is there counts.
        allow_padding: whether a proxy's JWTs may have ``=`` at the end of their parts, as those of AWS load balancers do.
    """

    name: str = setting(_text)
    kind: str = setting(_choice("application", "proxy"))
    issuer: str = setting(_text)
    jwks: str = setting(_text, "")
    pem: str = setting(_text, "")
    tenant: str = setting(_text, "default")
    audience: str = setting(_text, "")
    signer: str = setting(_text, "")
    algorithms: tuple[str, ...] = setting(
        _choices("RS256", "PS256", "ES256", "EdDSA"), ("RS256", "PS256", "ES256", "EdDSA")
    )
    callback: str = setting(_callback, "")
    roles: tuple[str, ...] = setting(_choices("user", "application", "developer"), ("user", "application"))
    default: bool = setting(_boolean, default=False)
    may_read: bool = setting(_boolean, default=False)
    direct: bool = setting(_boolean, default=False)
    header: str = setting(_text, "Authorization")
    cookie: str = setting(_text, "")
    session_claim: tuple[str, ...] = setting(_texts, ("sid",))
    allow_padding: bool = setting(_boolean, default=False)
    private_addresses: bool = setting(_boolean, default=False)
    jwks_ca: str = setting(_text, "")


@frozen
class NotifySettings:
    """One ``[[notify]]``: who is told of chosen events of the audit log.

    Attributes:
        name: what logs call the receiver.
        actions: the actions that are told; empty for all.
        outcomes: the outcomes that are told: ``allowed``, ``refused`` for every other, or names of errors; empty for all.
        url: a webhook: ``https://…``, or ``http://…`` on loopback.
        command: in place of ``url``, a program and its arguments; the event is on its standard input.
        timeout: seconds that one delivery may take.
        ca: PEM file of the certificates to trust for ``url``, in place of the system's.
    """

    name: str = setting(_text)
    actions: tuple[str, ...] = setting(_texts, ())
    outcomes: tuple[str, ...] = setting(_texts, ())
    url: str = setting(_text, "", secret=True)
    command: tuple[str, ...] = setting(_texts, ())
    timeout: int = setting(_positive_seconds, 5)
    ca: str = setting(_text, "")


@frozen
class Config:
    """All settings; what is not set has its default."""

    tokenizer: TokenizerSettings = field(factory=TokenizerSettings)
    tickets: TicketSettings = field(factory=TicketSettings)
    grants: GrantSettings = field(factory=GrantSettings)
    sessions: SessionSettings = field(factory=SessionSettings)
    limits: LimitSettings = field(factory=LimitSettings)
    sweep: SweepSettings = field(factory=SweepSettings)
    keys: KeySettings = field(factory=KeySettings)
    rekey: RekeySettings = field(factory=RekeySettings)
    audit: AuditSettings = field(factory=AuditSettings)
    frame: FrameSettings = field(factory=FrameSettings)
    gateway: GatewaySettings = field(factory=GatewaySettings)
    identity: tuple[IdentitySettings, ...] = ()
    notify: tuple[NotifySettings, ...] = ()

    @property
    def data_dir(self) -> Path:
        return Path(self.tokenizer.data_dir).absolute()

    @property
    def public_url(self) -> str:
        """The tokenizer's origin: what JWTs are made out to."""
        if self.tokenizer.public_url:
            return self.tokenizer.public_url
        scheme = "https" if self.tokenizer.tls_certificate else "http"
        return f"{scheme}://{_in_url(self.tokenizer.host)}:{self.tokenizer.port}"

    @property
    def gateway_url(self) -> str:
        """Where clients reach the gateway: on the tokenizer's origin unless it has one of its own."""
        return self.gateway.public_url or self.public_url

    @classmethod
    def from_file(cls, path: str | Path, environ: Mapping[str, str] | None = None) -> Self:
        """Read a TOML file, then the environment over it.

        Raises:
            ConfigError: naming the file or setting that is wrong.
        """
        try:
            given = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as problem:
            raise ConfigError(f"the configuration file {path} cannot be read: {problem.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
            raise ConfigError(f"the configuration file {path} is not TOML: {problem}") from None
        return cls.from_mapping(given, environ)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the TOML file that ``LUNACORE_CONFIG`` names, if there is one, then the environment over it.

        Raises:
            ConfigError: naming the file or setting that is wrong.
        """
        environ = os.environ if environ is None else environ
        path = environ.get(f"{_PREFIX}CONFIG")
        return cls.from_file(path, environ) if path else cls.from_mapping({}, environ)

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Self:
        """Take settings as TOML would give them, then the environment (the process's own where None) over them.

        Raises:
            ConfigError: naming the setting that is unknown, missing or wrong.
        """
        environ = os.environ if environ is None else environ
        sections = {one.name: one for one in attrs.fields(cls)}
        _refuse_unknown(given, list(sections), "")
        parts = {
            name: _section(_section_class(cls, name), name, given.get(name, {}), environ)
            for name in sections
            if name not in _TABLES
        }
        config = cls(
            **parts,
            identity=_tables(IdentitySettings, "identity", given.get("identity", []), environ),
            notify=_tables(NotifySettings, "notify", given.get("notify", []), environ),
        )
        _check_together(config)
        return config


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _section_class(config: type[Config], name: str) -> type[Any]:
    factory = getattr(attrs.fields_dict(config)[name].default, "factory", None)
    if not isinstance(factory, type):
        raise TypeError(name)
    return factory


def _section(section: type[S], name: str, given: object, environ: Mapping[str, str]) -> S:
    if not isinstance(given, dict):
        raise ConfigError(f"[{name}] must be a table")
    fields = attrs.fields_dict(section)  # type: ignore[arg-type]  # attrs' own type
    _refuse_unknown(given, list(fields), f"{name}.")
    _refuse_unknown_variables(environ, name, list(fields))
    merged = {**given, **_from_environment(environ, name, list(fields))}
    return _build(section, name, merged)


def _build(section: type[S], name: str, given: Mapping[str, object]) -> S:
    fields = attrs.fields_dict(section)  # type: ignore[arg-type]  # attrs' own type
    parsed = {key: fields[key].metadata["parse"](value, f"{name}.{key}") for key, value in given.items()}
    for key, one in fields.items():
        if key not in parsed and one.default is attrs.NOTHING:
            raise ConfigError(f"{name}.{key} is missing")
    return section(**parsed)


def _tables(kind: type[S], name: str, given: object, environ: Mapping[str, str]) -> tuple[S, ...]:
    """A list of tables, as ``[[identity]]`` is one."""
    variable = f"{_PREFIX}{name.upper()}"
    text = _variable(environ, variable)
    if text is not None:
        try:
            given = json.loads(text)
        except ValueError:
            raise ConfigError(f"{variable} is not JSON") from None
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise ConfigError(f"{name} must be a list of tables: write [[{name}]]")
    return tuple(_table(kind, f"{name}[{one.get('name', '?')}]", one) for one in given)


def _table(kind: type[S], name: str, given: Mapping[str, object]) -> S:
    _refuse_unknown(given, list(attrs.fields_dict(kind)), f"{name}.")  # type: ignore[arg-type]  # attrs' own type
    return _build(kind, name, given)


def _from_environment(environ: Mapping[str, str], section: str, names: list[str]) -> dict[str, str]:
    found = {name: _variable(environ, f"{_PREFIX}{section.upper()}_{name.upper()}") for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _variable(environ: Mapping[str, str], variable: str) -> str | None:
    """The variable itself, or the content of the file that its ``_FILE`` names, without the last newline."""
    path = environ.get(f"{variable}_FILE")
    if path is None:
        return environ.get(variable)
    if variable in environ:
        raise ConfigError(f"both {variable} and {variable}_FILE are set; keep one")
    try:
        return Path(path).read_text(encoding="utf-8").removesuffix("\n")
    except OSError as problem:
        raise ConfigError(f"{variable}_FILE names a file that cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{variable}_FILE names a file that is not UTF-8 text") from None


def _refuse_unknown_variables(environ: Mapping[str, str], section: str, names: list[str]) -> None:
    prefix = f"{_PREFIX}{section.upper()}_"
    known = [prefix + name.upper() + suffix for name in names for suffix in ("", "_FILE")]
    for variable in environ:
        if variable.startswith(prefix) and variable not in known:
            raise ConfigError(f"the environment variable {variable} is unknown{_nearest(variable, known)}")


def _refuse_unknown(given: Mapping[str, object], known: list[str], prefix: str) -> None:
    for name in given:
        if name not in known:
            raise ConfigError(f"the setting {prefix}{name} is unknown{_nearest(name, known)}")


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"; did you mean {near[0]}?" if near else ""


def _check_together(config: Config) -> None:
    if config.grants.default_ttl > config.grants.max_ttl:
        raise ConfigError("grants.default_ttl must not be longer than grants.max_ttl")
    if bool(config.tokenizer.tls_certificate) != bool(config.tokenizer.tls_key):
        raise ConfigError("tokenizer.tls_certificate and tokenizer.tls_key go together; set both or neither")
    _check_receivers(config.notify)
    names = [one.name for one in config.identity]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two identity providers are named {name!r}")
    for one in config.identity:
        if one.jwks and one.pem:
            raise ConfigError(f"identity[{one.name}].jwks and pem are both set; keep the one where the keys are")
        if not one.jwks and not one.pem:
            raise ConfigError(f"identity[{one.name}].jwks is missing; or pem, if a proxy has one PEM for each kid")
    _check_issuers(config.identity)
    if sum(one.default for one in config.identity) > 1:
        raise ConfigError("only one identity provider can be the default")


def _check_receivers(receivers: tuple[NotifySettings, ...]) -> None:
    for receiver in receivers:
        if bool(receiver.url) == bool(receiver.command):
            raise ConfigError(f"notify[{receiver.name}] needs either url or command")


def _check_issuers(providers: tuple[IdentitySettings, ...]) -> None:
    """One log-in service may stand behind several proxies, if each JWT says for which of them it is."""
    for place, one in enumerate(providers):
        for other in providers[:place]:
            if one.issuer != other.issuer:
                continue
            if "application" in (one.kind, other.kind):
                raise ConfigError(
                    f"two identity providers have the issuer {one.issuer}; "
                    "an issuer belongs to one, unless they are proxies of different audiences"
                )
            if (one.audience, one.signer) == (other.audience, other.signer):
                raise ConfigError(
                    f"two proxies have the issuer {one.issuer} and the same audience and signer; "
                    "nothing tells their JWTs apart"
                )
