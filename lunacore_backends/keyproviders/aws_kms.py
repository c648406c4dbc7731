"""AWS KMS: ``awskms:///alias/name?region=…``, or a key identifier or an ARN (docs/how-to/key-providers.md).

The calls are Encrypt and Decrypt of a symmetric key, with the context as encryption context ("AWS KMS API Reference"). Decrypt
names the key that is configured, so that what somebody sealed under a key of their own is refused. Credentials are those of
botocore's chain.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigNotFound,
    ConfigParseError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)

from lunacore.errors import ConfigError, KeyringError, StoreUnavailable
from lunacore.loopback import is_loopback
from lunacore_backends.keyproviders.key_service import ServiceKeyProvider

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lunacore.plugins import BackendURL, Surroundings

CONNECT_SECONDS: Final = 2
READ_SECONDS: Final = 5
ATTEMPTS: Final = 3

_KEY: Final = re.compile(r"alias/[\w/-]{1,250}|[\w-]{1,128}", re.ASCII)
_ARN: Final = re.compile(r"arn:aws[\w-]*:kms:(?P<region>[\w-]+):\d{12}:(key/[\w-]+|alias/[\w/-]+)", re.ASCII)
_NO_CREDENTIALS: Final = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError)

# Why KMS refuses, and what to do; every other error is taken to pass.
_REFUSALS: Final = {
    "AccessDeniedException": "it is not allowed; allow kms:{call} on the key to these credentials, in its policy or theirs",
    "DisabledException": "the key is disabled; enable it",
    "IncorrectKeyException": "another key has sealed; if an alias was moved, run lunacore keys reseal --with the former key",
    "InvalidCiphertextException": "AWS KMS does not open it: it is damaged, or that of another keyring",
    "InvalidKeyUsageException": "the key is not for symmetric encryption (SYMMETRIC_DEFAULT); name one that is",
    "KMSInvalidStateException": "the key is disabled or to be deleted; enable it, or cancel its deletion while there is time",
    "NotFoundException": "there is no such key in this region and account",
    "ValidationException": "AWS KMS takes the key for malformed",
}
_WRONG_CREDENTIALS: Final = (
    "ExpiredTokenException", "IncompleteSignature", "InvalidClientTokenId", "InvalidSignatureException",
    "MissingAuthenticationTokenException", "SignatureDoesNotMatch", "UnrecognizedClientException",
)  # fmt: skip


def open_kms(url: BackendURL, surroundings: Surroundings) -> ServiceKeyProvider:
    """The key provider of an ``awskms:`` URL; the service is first asked when something is sealed or opened.

    Raises:
        ConfigError: the URL is wrong, or neither it nor the environment names a region.
    """
    setting = surroundings.setting
    url.refuse_unknown_options(setting, "region", "endpoint", "profile", "ca")
    key = url.path.removeprefix("/")
    arn = _ARN.fullmatch(key)
    if url.host or not (arn or _KEY.fullmatch(key)):
        raise ConfigError(
            f"{setting}: write awskms:///alias/name, awskms:///key-id or awskms:///arn:aws:kms:…, with three slashes"
        )
    if arn and url.options.get("region", arn["region"]) != arn["region"]:
        raise ConfigError(f"{setting}: the option region is not that of the ARN; leave it out")
    _check_options(url.options, setting)
    region = arn["region"] if arn else url.options.get("region")
    client = _connect(url.options, region, setting)
    name = f"awskms:{key}" if arn else f"awskms:{client.meta.region_name}:{key}"
    return ServiceKeyProvider(KMSKey(client, key, name, setting), setting, surroundings.random)


class KMSKey:
    """A ``KeyService``: one symmetric key of AWS KMS.

    Args:
        client: botocore's client for KMS; it is safe to share between threads.
        key: alias, identifier or ARN.
        name: what the keyring says of it.
        setting: name of the setting that it comes from, for messages.
    """

    def __init__(self, client: Any, key: str, name: str, setting: str) -> None:  # noqa: ANN401 - botocore has no types
        self._client = client
        self._key = key
        self._name = name
        self._setting = setting

    @property
    def name(self) -> str:
        return self._name

    def wrap(self, key: bytes, context: bytes) -> bytes:
        answer = self._call(self._client.encrypt, "Encrypt", Plaintext=key, EncryptionContext=_bound_to(context))
        return bytes(answer["CiphertextBlob"])

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        if not wrapped:
            raise KeyringError(f"{self._setting}: the keyring's part for {self._name} is empty")
        answer = self._call(
            self._client.decrypt, "Decrypt", CiphertextBlob=wrapped, EncryptionContext=_bound_to(context)
        )
        return bytes(answer["Plaintext"])

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _call(self, call: Callable[..., Mapping[str, Any]], operation: str, **arguments: object) -> Mapping[str, Any]:
        # Texts of botocore's errors may repeat what a credential file, an account or the service says.
        try:
            return call(KeyId=self._key, **arguments)
        except ClientError as refusal:
            self._refused(str(refusal.response.get("Error", {}).get("Code", "")), operation, refusal)
        except _NO_CREDENTIALS as missing:
            raise self._unavailable(
                f"there are no AWS credentials ({type(missing).__name__}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "or any other source that the AWS SDKs know"
            ) from missing
        except (BotoCoreError, HTTPClientError) as away:
            raise self._unavailable(f"it cannot be reached ({type(away).__name__})") from away

    def _refused(self, code: str, operation: str, refusal: ClientError) -> NoReturn:
        if code in _REFUSALS:
            raise KeyringError(f"{self._setting}: {self._name}: {_REFUSALS[code].format(call=operation)}") from refusal
        if code in _WRONG_CREDENTIALS:
            raise self._unavailable(f"AWS does not take the credentials ({code})") from refusal
        raise self._unavailable(f"it cannot be used now ({code or 'no code'})") from refusal

    def _unavailable(self, why: str) -> StoreUnavailable:
        return StoreUnavailable(f"{self._setting}: {self._name}: {why}")


def _bound_to(context: bytes) -> dict[str, str]:
    """The encryption context: AWS logs it, and policies can ask for it."""
    return {"lunacore": f"hex:{context.hex()}"}


def _check_options(options: Mapping[str, str], setting: str) -> None:
    if "ca" in options and not Path(options["ca"]).is_file():
        raise ConfigError(f"{setting}: ca names no file: {options['ca']}")
    if "endpoint" not in options:
        return
    try:
        endpoint = urlsplit(options["endpoint"])
        host = endpoint.hostname or ""
    except ValueError:
        raise ConfigError(f"{setting}: endpoint must be a URL such as https://kms.eu-central-1.amazonaws.com") from None
    if not host or (endpoint.scheme != "https" and not (endpoint.scheme == "http" and is_loopback(host))):
        raise ConfigError(f"{setting}: endpoint must be an https:// URL; http:// is for this machine alone")


def _connect(options: Mapping[str, str], region: str | None, setting: str) -> Any:  # noqa: ANN401 - botocore has no types
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    )
    try:
        session = botocore.session.Session(profile=options.get("profile"))
        region = region or session.get_config_variable("region")
        if not region:
            raise ConfigError(f"{setting}: name the region of the key: ?region=…")
        return session.create_client(
            "kms", region_name=region, endpoint_url=options.get("endpoint"), verify=options.get("ca"), config=config
        )
    except (ProfileNotFound, ConfigNotFound, ConfigParseError) as wrong:
        raise ConfigError(f"{setting}: the AWS profile cannot be used ({type(wrong).__name__})") from wrong
    except (BotoCoreError, ValueError) as wrong:
        raise ConfigError(f"{setting}: a client for AWS KMS cannot be made of it ({type(wrong).__name__})") from wrong
