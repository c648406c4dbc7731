"""AWS KMS: the contract over real HTTP, what KMS refuses, and what is said of it."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from lunacore import keyring
from lunacore.diagnosis import Circumstances, Severity
from lunacore.errors import ConfigError, KeyringError, StoreUnavailable
from lunacore.plugins import Surroundings, open_backend
from lunacore.testing.key_provider import BODY_KEY, CONTEXT, KeyProviderContract
from lunacore.testing.servers import free_port
from lunacore_backends.keyproviders.aws_kms import KMSKey
from tests.servers.aws_kms import REGION
from tests.servers.threads import ServedInThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lunacore.stores import KeyProvider
    from lunacore_backends.keyproviders.key_service import ServiceKeyProvider
    from tests.servers.aws_kms import AWSKMS

pytestmark = [pytest.mark.xdist_group("aws_kms"), pytest.mark.usefixtures("s3_credentials")]

SETTING = "tokenizer.seal"


def opened(url: str) -> ServiceKeyProvider:
    provider: ServiceKeyProvider = open_backend("seal", url, Surroundings(SETTING, lambda: 0.0, os.urandom))
    return provider


def circumstances() -> Circumstances:
    return Circumstances("https://secure.example.com", lambda: 0.0, os.urandom)


@pytest.mark.servers
class TestContract(KeyProviderContract):
    @pytest.fixture
    def open_provider(self, aws_kms: AWSKMS) -> Callable[[], KeyProvider]:
        url = aws_kms.url(aws_kms.make_key()["KeyId"])
        return lambda: opened(url)

    @pytest.fixture
    def stranger(self, aws_kms: AWSKMS) -> KeyProvider:
        return opened(aws_kms.url(aws_kms.make_key()["KeyId"]))


@pytest.mark.servers
class TestKMS:
    def test_kms_itself_binds_key_and_context(self, aws_kms: AWSKMS) -> None:
        """Without the local seal, which would refuse too."""
        service = opened(aws_kms.url(aws_kms.make_key()["KeyId"])).service
        other = opened(aws_kms.url(aws_kms.make_key()["KeyId"])).service
        wrapped = service.wrap(BODY_KEY, CONTEXT)
        assert BODY_KEY not in wrapped
        assert service.unwrap(wrapped, CONTEXT) == BODY_KEY
        with pytest.raises(KeyringError, match="AWS KMS does not open it: it is damaged, or that of another keyring"):
            service.unwrap(wrapped, CONTEXT + b"\x00")
        # The other key could open it, if it were not named.
        with pytest.raises(KeyringError):
            other.unwrap(wrapped, CONTEXT)

    def test_the_context_is_what_policies_and_logs_see(self, aws_kms: AWSKMS) -> None:
        key = aws_kms.make_key()["KeyId"]
        wrapped = opened(aws_kms.url(key)).service.wrap(BODY_KEY, CONTEXT)
        seen = {"lunacore": f"hex:{CONTEXT.hex()}"}
        answer = aws_kms.client().decrypt(CiphertextBlob=wrapped, EncryptionContext=seen, KeyId=key)
        assert answer["Plaintext"] == BODY_KEY

    def test_alias_identifier_and_arn_are_one_key(self, aws_kms: AWSKMS) -> None:
        made = aws_kms.make_key("luna/one")
        by_alias, by_id = (opened(aws_kms.url(name)) for name in ("alias/luna/one", made["KeyId"]))
        by_arn = opened(aws_kms.url(made["Arn"], region=""))
        assert by_alias.name == f"awskms:{REGION}:alias/luna/one"
        assert by_id.name == f"awskms:{REGION}:{made['KeyId']}"
        assert by_arn.name == f"awskms:{made['Arn']}"
        ring = keyring.create(now=1, random=os.urandom)
        sealed = keyring.seal(ring, [by_alias], random=os.urandom)
        for provider in (by_alias, by_id, by_arn):
            assert keyring.unseal(sealed, [provider]) == ring

    def test_a_moved_alias_is_told_and_the_former_key_opens(self, aws_kms: AWSKMS) -> None:
        former, alias = aws_kms.make_key("moved"), opened(aws_kms.url("alias/moved"))
        ring = keyring.create(now=1, random=os.urandom)
        sealed = keyring.seal(ring, [alias], random=os.urandom)
        aws_kms.client().update_alias(AliasName="alias/moved", TargetKeyId=aws_kms.make_key()["KeyId"])
        with pytest.raises(KeyringError):
            keyring.unseal(sealed, [alias])
        assert keyring.unseal(sealed, [alias, opened(aws_kms.url(former["KeyId"]))]) == ring

    def test_two_regions_are_two_recipients(self, aws_kms: AWSKMS) -> None:
        aws_kms.make_key("two")
        aws_kms.make_key("two", region="us-west-2")
        providers = [opened(aws_kms.url("alias/two", region=region)) for region in (REGION, "us-west-2")]
        ring = keyring.create(now=1, random=os.urandom)
        sealed = keyring.seal(ring, providers, random=os.urandom)
        for provider in providers:
            assert keyring.unseal(sealed, [provider]) == ring

    def test_a_key_that_is_not_there_is_told(self, aws_kms: AWSKMS) -> None:
        with pytest.raises(KeyringError, match="there is no such key in this region and account"):
            opened(aws_kms.url("alias/none")).seal(BODY_KEY, CONTEXT)

    def test_doctor_seals_and_opens_a_probe(self, aws_kms: AWSKMS) -> None:
        aws_kms.make_key("probe")
        (finding,) = opened(aws_kms.url("alias/probe")).diagnose(circumstances())
        assert (finding.severity, finding.part) == (Severity.OK, SETTING)
        (finding,) = opened(aws_kms.url("alias/no-probe")).diagnose(circumstances())
        assert finding.severity is Severity.WARNING
        assert "no such key" in finding.message


class Refusing(ServedInThread):
    """A service that answers every call with one error, and keeps what it was asked."""

    def __init__(self, status: int, code: str) -> None:
        self.asked: list[dict[str, Any]] = []
        body = json.dumps({"__type": f"com.amazonaws.kms#{code}", "message": "hunter2"}).encode()
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                asked.append({"target": self.headers["x-amz-target"], **json.loads(content)})
                self.send_response(status)
                self.send_header("content-type", "application/x-amz-json-1.1")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        self.url = f"awskms:///alias/luna?region=x&endpoint=http://127.0.0.1:{self.port}"


@pytest.fixture
def refusing() -> Iterator[Callable[[int, str], Refusing]]:
    with ExitStack() as started:
        yield lambda status, code: started.enter_context(Refusing(status, code))


@pytest.mark.parametrize(
    ("status", "code", "error", "said"),
    [
        (400, "AccessDeniedException", KeyringError, "allow kms:Encrypt on the key"),
        (400, "DisabledException", KeyringError, "the key is disabled; enable it"),
        (400, "KMSInvalidStateException", KeyringError, "cancel its deletion while there is time"),
        (400, "InvalidKeyUsageException", KeyringError, "SYMMETRIC_DEFAULT"),
        (400, "ValidationException", KeyringError, "malformed"),
        (400, "UnrecognizedClientException", StoreUnavailable, "does not take the credentials"),
        (400, "ExpiredTokenException", StoreUnavailable, "does not take the credentials"),
        (400, "LimitExceededException", StoreUnavailable, "cannot be used now (LimitExceededException)"),
        (400, "KeyUnavailableException", StoreUnavailable, "cannot be used now"),
        (403, "SomethingNew", StoreUnavailable, "cannot be used now (SomethingNew)"),
    ],
)
def test_refusals_of_kms_say_what_to_do(
    refusing: Callable[[int, str], Refusing], status: int, code: str, error: type[Exception], said: str
) -> None:
    server = refusing(status, code)
    with pytest.raises(error) as refused:
        opened(server.url).seal(BODY_KEY, CONTEXT)
    message = str(refused.value)
    assert message.startswith(f"{SETTING}: awskms:x:alias/luna: ")
    assert said in message
    assert "hunter2" not in message
    assert BODY_KEY.hex() not in message
    assert {one["target"] for one in server.asked} == {"TrentService.Encrypt"}
    assert {one["KeyId"] for one in server.asked} == {"alias/luna"}


def test_opening_names_the_key_and_what_it_lacks(refusing: Callable[[int, str], Refusing]) -> None:
    server = refusing(400, "IncorrectKeyException")
    with pytest.raises(KeyringError, match="if an alias was moved, run lunacore keys reseal --with the former key"):
        opened(server.url).service.unwrap(b"wrapped", CONTEXT)
    assert server.asked[0]["KeyId"] == "alias/luna"


def test_throttling_is_tried_again_and_then_told(refusing: Callable[[int, str], Refusing]) -> None:
    server = refusing(400, "ThrottlingException")
    with pytest.raises(StoreUnavailable, match="ThrottlingException"):
        opened(server.url).seal(BODY_KEY, CONTEXT)
    assert len(server.asked) == 3


def test_a_service_that_is_away_is_told() -> None:
    url = f"awskms:///alias/luna?region=x&endpoint=http://127.0.0.1:{free_port()}"
    with pytest.raises(
        StoreUnavailable, match=rf"^{SETTING}: awskms:x:alias/luna: it cannot be reached \(EndpointConn"
    ):
        opened(url).seal(BODY_KEY, CONTEXT)
    (finding,) = opened(url).diagnose(circumstances())
    assert finding.severity is Severity.PROBLEM


def test_missing_credentials_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreUnavailable, match=r"there are no AWS credentials .*set AWS_ACCESS_KEY_ID"):
        opened("awskms:///alias/luna?region=x").seal(BODY_KEY, CONTEXT)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("awskms://alias/luna?region=x", "with three slashes"),
        ("awskms:///?region=x", "with three slashes"),
        ("awskms:///alias/?region=x", "with three slashes"),
        ("awskms:///a/b?region=x", "with three slashes"),
        ("awskms:///alias/luna", "name the region"),
        ("awskms:///alias/luna?regoin=x", "has no option 'regoin'"),
        ("awskms:///arn:aws:kms:eu-west-1:111122223333:key/abc?region=x", "region is not that of the ARN"),
        ("awskms:///alias/luna?region=x&endpoint=http://kms.example.com", "must be an https:// URL"),
        ("awskms:///alias/luna?region=x&endpoint=ftp://127.0.0.1", "must be an https:// URL"),
        ("awskms:///alias/luna?region=x&endpoint=kms", "must be an https:// URL"),
        ("awskms:///alias/luna?region=x&endpoint=https://[", "endpoint must be a URL"),
        ("awskms:///alias/luna?region=x&ca=/nowhere.pem", "ca names no file"),
        ("awskms:///alias/luna?region=x&profile=nobody", "the AWS profile cannot be used"),
        ("awskms:///alias/luna?region=not%20a%20region", "a client for AWS KMS cannot be made"),
    ],
)
def test_refuses_wrong_urls(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{SETTING}") as refused:
        opened(url)
    assert said in refused.value.message


def test_the_region_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    assert opened("awskms:///alias/luna").name == "awskms:eu-west-3:alias/luna"
    provider = opened("awskms:///arn:aws:kms:eu-west-1:111122223333:alias/a/b")
    assert provider.name == "awskms:arn:aws:kms:eu-west-1:111122223333:alias/a/b"
    assert isinstance(provider.service, KMSKey)
    assert provider.service._client.meta.region_name == "eu-west-1"
