"""What an ``s3://`` URL says: ``s3://bucket/prefix?endpoint=…&region=…``; docs/reference/s3.md has all options."""

from __future__ import annotations

import re
import ssl
from enum import Enum
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from lunacore.errors import ConfigError
from lunacore.loopback import is_loopback

if TYPE_CHECKING:
    from lunacore.plugins import BackendURL

_OPTIONS: Final = ("endpoint", "public_endpoint", "region", "ca", "style", "encryption", "write_once", "timeout")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_DEFAULT_TIMEOUT: Final = 20.0
_MAX_PREFIX_BYTES: Final = 900

# S3 User Guide, "General purpose bucket naming rules".
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_REGION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", re.ASCII)
_AWS_HOST: Final = re.compile(r"s3[a-z0-9.-]*\.amazonaws\.com(\.cn)?", re.ASCII)


class Style(Enum):
    """Where the bucket stands in the URL of an object: in the path, or in front of the host."""

    PATH = "path"
    VIRTUAL = "virtual"


@frozen
class Origin:
    """Where an S3 service listens: ``http`` or ``https``, and host with port, without the scheme's default port."""

    scheme: str
    host: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}"

    @property
    def is_aws(self) -> bool:
        """Whether AWS answers there."""
        return _AWS_HOST.fullmatch(self.host) is not None

    @property
    def keeps_secrets(self) -> bool:
        """Whether keys may travel there: by TLS, or without leaving the machine."""
        return self.scheme == "https" or is_loopback(urlsplit(str(self)).hostname or "")


@frozen
class Address:
    """A bucket at an origin, in one style."""

    service: Origin
    bucket: str
    style: Style

    @property
    def host(self) -> str:
        """The host that requests for objects of the bucket go to."""
        return self.service.host if self.style is Style.PATH else f"{self.bucket}.{self.service.host}"

    @property
    def origin(self) -> Origin:
        """The origin of the URLs of its objects."""
        return evolve(self.service, host=self.host)

    def path(self, key: str) -> str:
        """The path of an object, not percent-encoded; an empty ``key`` is the bucket itself."""
        return f"/{self.bucket}/{key}" if self.style is Style.PATH else f"/{key}"


@frozen
class S3Settings:
    """An S3 bucket and how to use it.

    Attributes:
        setting: name of the setting that says so, for messages.
        bucket: its name.
        prefix: what object keys begin with; empty, or ends with ``/``.
        endpoint: where this program reaches the service; None for AWS.
        public_endpoint: where browsers reach it, None where that is the same.
        region: what signatures are for; empty where it is to be found out.
        ssl_context: trusts the CA that ``ca`` names, or those of the system.
        style: of every URL.
        encrypts: whether objects are encrypted under customer keys (SSE-C).
        write_once: whether uploads carry ``If-None-Match: *``.
        timeout: seconds to wait for the next bytes of an answer.
    """

    setting: str
    bucket: str
    prefix: str
    endpoint: Origin | None
    public_endpoint: Origin | None
    region: str
    ssl_context: ssl.SSLContext = field(repr=False, eq=False)
    style: Style
    encrypts: bool
    write_once: bool
    timeout: float

    @classmethod
    def from_url(cls, url: BackendURL, setting: str) -> Self:
        """Read the URL.

        Raises:
            ConfigError: an option is unknown or wrong; the message says which and what it may be.
        """
        url.refuse_unknown_options(setting, *_OPTIONS)
        options = url.options
        if "@" in urlsplit(url.text).netloc:
            raise ConfigError(f"{setting}: credentials do not stand in the URL; use AWS_ACCESS_KEY_ID or a profile")
        endpoint = _origin(options.get("endpoint", ""), setting, "endpoint")
        public_endpoint = _origin(options.get("public_endpoint", ""), setting, "public_endpoint")
        encrypts = url.choice(setting, "encryption", "sse-c", "none") == "sse-c"
        if encrypts:
            _refuse_clear_text(endpoint, setting, "endpoint")
            _refuse_clear_text(public_endpoint, setting, "public_endpoint")
        bucket = _bucket(url.host, setting)
        return cls(
            setting=setting,
            bucket=bucket,
            prefix=_prefix(url.path, setting),
            endpoint=endpoint,
            public_endpoint=public_endpoint,
            region=_region(options.get("region", ""), setting),
            ssl_context=_ssl_context(options.get("ca", ""), setting),
            style=_style(url, setting, endpoint, bucket),
            encrypts=encrypts,
            write_once=url.choice(setting, "write_once", "true", "false") == "true",
            timeout=url.seconds(setting, "timeout", _DEFAULT_TIMEOUT),
        )

    @property
    def shown(self) -> str:
        """Bucket and service, for messages."""
        return f"bucket {self.bucket} at {self.endpoint or 'AWS'}"

    def address(self, region: str) -> Address:
        """Where this program finds the bucket, once the region is known."""
        return Address(self.endpoint or aws_origin(region), self.bucket, self.style)

    def public_address(self, region: str) -> Address:
        """Where browsers find the bucket."""
        return Address(self.public_endpoint or self.endpoint or aws_origin(region), self.bucket, self.style)


def aws_origin(region: str) -> Origin:
    """The regional S3 endpoint of AWS (AWS General Reference, "Amazon S3 endpoints and quotas")."""
    suffix = ".cn" if region.startswith("cn-") else ""
    return Origin("https", f"s3.{region}.amazonaws.com{suffix}")


def _bucket(name: str, setting: str) -> str:
    if not _BUCKET.fullmatch(name) or ".." in name:
        raise ConfigError(
            f"{setting}: after s3:// goes the bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens"
        )
    return name


def _prefix(path: str, setting: str) -> str:
    prefix = path.strip("/")
    if not prefix:
        return ""
    segments = prefix.split("/")
    if not prefix.isprintable() or any(segment in ("", ".", "..") for segment in segments):
        raise ConfigError(
            f"{setting}: the prefix after the bucket has an empty, '.' or '..' part, or a control character"
        )
    if len(prefix.encode()) > _MAX_PREFIX_BYTES:
        raise ConfigError(f"{setting}: the prefix after the bucket is longer than {_MAX_PREFIX_BYTES} bytes")
    return f"{prefix}/"


def _origin(text: str, setting: str, option: str) -> Origin | None:
    if not text:
        return None
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises for a port that is none
    except ValueError:
        parts = urlsplit("")
    host = parts.netloc.lower().removesuffix(_DEFAULT_PORTS.get(parts.scheme, ":"))
    if parts.scheme not in _DEFAULT_PORTS or not _HOST.fullmatch(host) or parts.path not in ("", "/") or parts.query:
        raise ConfigError(
            f"{setting}: {option} must be scheme, host and port such as https://minio:9000, without a path; "
            "signatures cover the path, so a proxy must not change it"
        )
    return Origin(parts.scheme, host)


def _refuse_clear_text(origin: Origin | None, setting: str, option: str) -> None:
    if origin is not None and not origin.keeps_secrets:
        raise ConfigError(
            f"{setting}: {option} is http, so the keys of objects would travel in clear text; use https, "
            "or encryption=none, with which no key goes to the store"
        )


def _region(text: str, setting: str) -> str:
    if text and not _REGION.fullmatch(text):
        raise ConfigError(f"{setting}: region must be a name such as eu-central-1")
    return text


def _style(url: BackendURL, setting: str, endpoint: Origin | None, bucket: str) -> Style:
    # A certificate for *.s3.… does not cover a bucket with a dot in front of it.
    on_aws = endpoint is None or endpoint.is_aws
    usual = Style.VIRTUAL if on_aws and "." not in bucket else Style.PATH
    if "style" not in url.options:
        return usual
    style = Style(url.choice(setting, "style", "path", "virtual"))
    tls = endpoint is None or endpoint.scheme == "https"
    if style is Style.VIRTUAL and "." in bucket and tls:
        raise ConfigError(f"{setting}: style=virtual needs a bucket without dots, or its certificate will not match")
    return style


def _ssl_context(ca: str, setting: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "it is no PEM file"
        raise ConfigError(f"{setting}: the file that ca names cannot be used: {reason}") from error
