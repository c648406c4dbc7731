"""What ``lunacore doctor`` finds out about S3 buckets, on SeaweedFS and MinIO, healthy and broken."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import pytest
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from urllib3 import PoolManager

from lunacore.diagnosis import Circumstances, Severity
from lunacore.errors import StoreUnavailable
from lunacore.plugins import BackendURL
from lunacore_backends.s3.checks.configuration import add_rule
from lunacore_backends.s3.checks.encryption import unblocked
from lunacore_backends.s3.checks.rights import least_policy
from lunacore_backends.s3.settings import S3Settings
from tests.backends.findings import about, problems, the_problem
from tests.servers.faulty import faulty, refusal
from tests.servers.minio import write_certificates
from tests.servers.s3_server import ACCESS_KEY, SECRET_KEY, client, new_bucket, url, use_access_key
from tests.servers.s3_stores import listed, new_prefix, store_of
from tests.servers.seaweedfs import LIMITED, READER, WRITER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lunacore.diagnosis import Finding
    from tests.servers.faulty import Exchange
    from tests.servers.minio import MinIO
    from tests.servers.s3_server import S3Server
    from tests.servers.seaweedfs import SeaweedFS

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("s3_credentials")]
on_seaweedfs = pytest.mark.xdist_group("seaweedfs")
on_minio = pytest.mark.xdist_group("minio")

ORIGIN = "https://secure.example.com"
KEY_HEADER = "x-amz-server-side-encryption-customer-key"


def diagnose(
    server: S3Server, bucket: str = "plain", prefix: str | None = None, *, ahead: float = 0, **options: str
) -> Sequence[Finding]:
    """The findings; it is checked that nothing is left behind, and that nothing secret is told."""
    prefix = new_prefix() if prefix is None else prefix
    store = store_of(server, bucket, prefix, **options)
    findings = store.diagnose(Circumstances(ORIGIN, lambda: time.time() + ahead, os.urandom))
    assert all(finding.remedy for finding in findings if finding.severity is not Severity.OK)
    assert all(finding.part == "objects" for finding in findings)
    assert SECRET_KEY not in str(findings)
    return findings


class Everywhere:
    """What holds on every service. Subclasses give ``server``."""

    @pytest.fixture
    def server(self) -> S3Server:
        raise NotImplementedError

    @pytest.mark.parametrize("bucket", ["plain", "versioned"])
    def test_a_healthy_bucket(self, server: S3Server, bucket: str) -> None:
        prefix = new_prefix()
        findings = diagnose(server, bucket, prefix)
        assert problems(findings) == []
        for words in (
            "clock agrees",
            "knows the credentials",
            "(SSE-C)",
            "every right that is needed",
            "of 8 uploads at the same moment one won",
            "keeps If-Match",
            "nobody may list or read",
        ):
            assert about(findings, words).severity is Severity.OK
        assert listed(server, bucket, prefix) == []

    def test_without_encryption_prefix_and_region(self, server: S3Server) -> None:
        bucket = new_bucket(server)
        findings = diagnose(server, bucket, "", encryption="none", region="")
        assert problems(findings) == []
        assert not any("SSE-C" in one.message for one in findings)
        assert listed(server, bucket, "") == []

    def test_too_many_rights(self, server: S3Server) -> None:
        found = about(diagnose(server), "more than is needed")
        assert found.severity is Severity.WARNING
        for excess in (
            "other buckets",
            "list what is in them",
            "list the bucket outside",
            "read objects outside",
            "policy",
        ):
            assert excess in found.message

    def test_a_wrong_secret(self, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        use_access_key(monkeypatch, ACCESS_KEY, "wrong")
        assert "AWS_SECRET_ACCESS_KEY" in the_problem(diagnose(server))

    def test_no_credentials(self, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        assert "set AWS_ACCESS_KEY_ID" in the_problem(diagnose(server))

    def test_an_unknown_bucket(self, server: S3Server) -> None:
        assert "create it, or correct the bucket" in the_problem(diagnose(server, "no-such-bucket"))

    def test_a_service_that_is_down(self, server: S3Server) -> None:
        assert "check endpoint, and that the service runs" in the_problem(
            diagnose(server, endpoint="https://127.0.0.1:1")
        )

    @pytest.mark.parametrize(("ahead", "words"), [(1000, "1000 seconds ahead of"), (-1000, "1000 seconds behind")])
    def test_a_clock_that_is_wrong(self, server: S3Server, ahead: float, words: str) -> None:
        found = the_problem(diagnose(server, ahead=ahead)).replace("999", "1000").replace("1001", "1000")
        assert words in found
        assert "NTP" in found

    def test_a_clock_that_is_a_little_wrong(self, server: S3Server) -> None:
        findings = diagnose(server, ahead=-60)
        assert problems(findings) == []
        assert about(findings, "this machine's clock is").severity is Severity.WARNING

    def test_write_once_that_is_turned_off_in_vain(self, server: S3Server) -> None:
        found = about(diagnose(server, write_once="false"), "write_once=false")
        assert (found.severity, found.remedy) == (Severity.WARNING, "leave write_once out of the URL")

    def test_a_public_endpoint_out_of_reach(self, server: S3Server) -> None:
        found = about(diagnose(server, public_endpoint="https://127.0.0.1:1"), "public_endpoint cannot be reached")
        assert found.severity is Severity.WARNING
        assert "curl" in found.remedy


@pytest.mark.long
@on_seaweedfs
class TestSeaweedFS(Everywhere):
    @pytest.fixture
    def server(self, seaweedfs: SeaweedFS) -> SeaweedFS:
        return seaweedfs

    def test_who_may_only_read(self, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        use_access_key(monkeypatch, *READER)
        found = the_problem(diagnose(server))
        assert "lack rights" in found
        for right in ("s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"):
            assert right in found
        assert "s3:GetObject" not in found.partition(" | ")[0]
        assert '"Write:plain/test/' in found

    def test_who_may_only_write(self, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        use_access_key(monkeypatch, *WRITER)
        prefix = new_prefix()
        found = problems(diagnose(server, prefix=prefix))
        assert any("lack rights: s3:ListBucketMultipartUploads, s3:GetObject |" in one for one in found)
        assert listed(server, "plain", prefix) == []

    def test_the_actions_that_are_advised_are_enough_and_not_too_many(
        self, server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use_access_key(monkeypatch, *LIMITED)
        findings = diagnose(server, prefix="limited")
        assert problems(findings) == []
        assert about(findings, "not do more than is needed").severity is Severity.OK
        assert "as an administrator" in about(findings, "lifecycle").message
        found = the_problem(diagnose(server, prefix="elsewhere"))
        assert "lack rights" in found

    def test_cors_is_opened_for_the_frame_and_what_is_there_kept(self, server: S3Server) -> None:
        bucket = new_bucket(server)
        other = {"AllowedOrigins": ["https://other.example.com"], "AllowedMethods": ["GET"]}
        client(server).put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [other]})
        found = about(diagnose(server, bucket), "(CORS)")
        assert found.severity is Severity.PROBLEM
        assert f"from {ORIGIN} is refused" in found.message
        assert f"aws s3api put-bucket-cors --bucket {bucket}" in found.remedy
        assert found.repair is not None
        assert ORIGIN in found.repair.description
        found.repair.apply()
        findings = diagnose(server, bucket)
        assert about(findings, "pre-flights for PUT and GET").severity is Severity.OK
        assert not any("ETag" in one.message for one in findings)
        rules = client(server).get_bucket_cors(Bucket=bucket)["CORSRules"]
        assert [rule["AllowedOrigins"] for rule in rules] == [["https://other.example.com"], [ORIGIN]]

    def test_cors_for_everyone_is_narrowed(self, server: S3Server) -> None:
        bucket = new_bucket(server)
        found = about(diagnose(server, bucket), "every other origin")
        assert found.severity is Severity.WARNING
        assert found.repair is not None
        found.repair.apply()
        assert about(diagnose(server, bucket), "pre-flights for PUT and GET").severity is Severity.OK

    @pytest.mark.parametrize(
        ("rule", "words"),
        [
            ({"AllowedMethods": ["GET"], "AllowedHeaders": ["*"], "ExposeHeaders": ["ETag"]}, "PUT is not allowed"),
            ({"AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["range"]}, "(CORS)"),
            ({"AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["if-none-match", "x-amz-*"]}, "if-match"),
            ({"AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["*"]}, "may not see the ETag"),
        ],
    )
    @pytest.mark.long
    def test_cors_that_is_not_enough(self, server: S3Server, rule: dict[str, Any], words: str) -> None:
        bucket = new_bucket(server)
        client(server).put_bucket_cors(
            Bucket=bucket, CORSConfiguration={"CORSRules": [rule | {"AllowedOrigins": [ORIGIN]}]}
        )
        findings = diagnose(server, bucket)
        assert any(words in one.message for one in findings if one.severity is not Severity.OK)

    def test_a_lifecycle_rule_is_added_and_what_is_there_kept(self, server: S3Server) -> None:
        bucket = new_bucket(server)
        other = {"ID": "other", "Status": "Enabled", "Filter": {"Prefix": "other/"}, "Expiration": {"Days": 3}}
        client(server).put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [other]})
        found = about(diagnose(server, bucket), "no lifecycle rule")
        assert found.severity is Severity.WARNING
        assert f"aws s3api put-bucket-lifecycle-configuration --bucket {bucket}" in found.remedy
        assert found.repair is not None
        found.repair.apply()
        rules = client(server).get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        assert [rule["ID"] for rule in rules] == ["other", "lunacore-unfinished-uploads"]

    def test_a_repair_without_the_right_to_it(self, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        bucket = new_bucket(server)
        found = about(diagnose(server, bucket), "every other origin")
        assert found.repair is not None
        use_access_key(monkeypatch, *READER)
        again = about(diagnose(server, bucket), "every other origin")
        with pytest.raises(StoreUnavailable, match="AccessDenied"):
            (again.repair or found.repair).apply()

    def test_customer_keys_that_are_blocked(self, server: S3Server) -> None:
        def blocking(exchange: Exchange) -> tuple[int, bytes]:
            if exchange.method == "PUT" and KEY_HEADER in exchange.headers:
                return 403, refusal("AccessDenied")
            return exchange.status, exchange.answer

        with faulty(server.endpoint, blocking) as endpoint:
            found = problems(diagnose(server, endpoint=endpoint))
        assert any("refuses customer keys" in one and "BlockedEncryptionTypes" in one for one in found)
        assert not any("lack rights" in one for one in found)

    @pytest.mark.long
    def test_what_aws_blocks_is_mended(self, server: S3Server) -> None:
        changes: dict[str, str] = {}
        before = {
            "encryption": (
                200,
                (
                    f'<ServerSideEncryptionConfiguration xmlns="{NAMESPACE}"><Rule><BlockedEncryptionTypes><EncryptionType>SSE-C'
                    "</EncryptionType></BlockedEncryptionTypes></Rule></ServerSideEncryptionConfiguration>"
                ).encode(),
            ),
            "publicAccessBlock": (404, refusal("NoSuchPublicAccessBlockConfiguration")),
        }

        def as_aws(exchange: Exchange) -> tuple[int, bytes]:
            subresource = urlsplit(exchange.path).query.removesuffix("=")
            if subresource in before:
                if exchange.method == "PUT":
                    changes[subresource] = exchange.body.decode()
                there = changes.get(subresource, "").encode()
                return (200, there) if there else before[subresource]
            if exchange.method == "PUT" and KEY_HEADER in exchange.headers and "encryption" not in changes:
                return 403, refusal("AccessDenied")
            return exchange.status, exchange.answer

        bucket = new_bucket(server)
        with faulty(server.endpoint, as_aws) as endpoint:
            findings = diagnose(server, bucket, endpoint=endpoint)
            for words in ("refuses customer keys", "public access is not blocked"):
                repair = about(findings, words).repair
                assert repair is not None
                repair.apply()
            findings = diagnose(server, bucket, endpoint=endpoint)
        assert problems(findings) == []
        assert "nobody may list or read" in about(findings, "nobody").message
        for subresource, setting in (
            ("encryption", "EncryptionType>NONE<"),
            ("publicAccessBlock", "BlockPublicPolicy>true<"),
        ):
            assert setting in changes[subresource]
            assert f'xmlns="{NAMESPACE}"' in changes[subresource]

    def test_customer_keys_that_want_tls(self, server: S3Server) -> None:
        def demanding(exchange: Exchange) -> tuple[int, bytes]:
            if KEY_HEADER in exchange.headers:
                return 400, refusal("InsecureSSECustomerRequest")
            return exchange.status, exchange.answer

        with faulty(server.endpoint, demanding) as endpoint:
            assert any(
                "over TLS only | name an https endpoint" in one for one in problems(diagnose(server, endpoint=endpoint))
            )

    @pytest.mark.parametrize(
        ("race_only", "words"), [(False, "ignores If-None-Match"), (True, "of 8 uploads at the same moment 8 won")]
    )
    @pytest.mark.long
    def test_write_once_that_is_not_kept(self, server: S3Server, race_only: bool, words: str) -> None:
        def careless(exchange: Exchange) -> tuple[int, bytes]:
            refused = exchange.status == 412 and "if-none-match" in exchange.headers
            return (
                (200, b"")
                if refused and not (race_only and exchange.body == b"second")
                else (exchange.status, exchange.answer)
            )

        with faulty(server.endpoint, careless) as endpoint:
            found = the_problem(diagnose(server, endpoint=endpoint))
            assert words in found
            assert "write_once=false" in found
            off = about(diagnose(server, endpoint=endpoint, write_once="false"), words)
            assert off.severity is Severity.WARNING

    def test_scratch_objects_that_stay_are_told(self, server: S3Server) -> None:
        def keeping(exchange: Exchange) -> tuple[int, bytes]:
            if exchange.method == "GET" and "list-type=2" in exchange.path and "lunacore-doctor-" in exchange.path:
                return 200, b"<ListBucketResult><Contents><Key>it</Key></Contents></ListBucketResult>"
            return exchange.status, exchange.answer

        with faulty(server.endpoint, keeping) as endpoint:
            found = about(diagnose(server, endpoint=endpoint), "could not be removed")
        assert "aws s3 rm s3://plain/test/" in found.remedy

    def test_another_kind_of_server(self, server: S3Server) -> None:
        with faulty(server.endpoint, lambda _: (200, b"<html>a proxy</html>")) as endpoint:
            assert "does not speak S3" in the_problem(diagnose(server, endpoint=endpoint))


@on_minio
class TestMinIO(Everywhere):
    @pytest.fixture
    def server(self, minio: MinIO) -> MinIO:
        return minio

    def test_an_unknown_ca(self, server: MinIO, tmp_path: Path) -> None:
        for ca in ("", str(write_certificates(tmp_path / "other"))):
            assert "cannot be trusted | name the CA that signed it with ca=" in the_problem(diagnose(server, ca=ca))

    def test_another_region(self, server: MinIO) -> None:
        assert "correct region=" in the_problem(diagnose(server, region="mars-east-1"))

    def test_cors_is_a_setting_of_minio(self, server: MinIO) -> None:
        found = about(diagnose(server), "every other origin")
        assert f"MINIO_API_CORS_ALLOW_ORIGIN={ORIGIN}" in found.remedy
        assert found.repair is None

    def test_a_bucket_that_is_open_to_everyone(self, server: MinIO) -> None:
        bucket = new_bucket(server)
        statement = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"]}
        resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
        policy = {"Version": "2012-10-17", "Statement": [statement | {"Resource": resources}]}
        client(server).put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        found = the_problem(diagnose(server, bucket))
        assert "anyone may list the bucket and read objects" in found
        assert "mc anonymous set none" in found

    def test_the_policy_that_is_advised_is_enough_and_not_too_much(
        self, server: MinIO, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prefix, name = new_prefix(), f"limited-{os.urandom(4).hex()}"
        settings = S3Settings.from_url(BackendURL.parse(url(server, "plain", prefix), "objects"), "objects")
        admin = MinioAdmin(
            endpoint=urlsplit(server.endpoint).netloc,
            credentials=StaticProvider(ACCESS_KEY, SECRET_KEY),
            http_client=PoolManager(ca_certs=str(server.ca)),
        )
        admin.user_add(name, "only for tests: limited")
        admin.policy_add(name, policy=json.loads(least_policy(settings)))
        admin.policy_set(name, user=name)
        use_access_key(monkeypatch, name, "only for tests: limited")
        findings = diagnose(server, prefix=prefix)
        assert problems(findings) == []
        assert about(findings, "not do more than is needed").severity is Severity.OK
        assert listed(server, "plain", prefix) == []


NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def test_a_rule_is_added_to_those_that_are_there() -> None:
    there = ET.fromstring(f'<CORSConfiguration xmlns="{NAMESPACE}"><CORSRule><ID>a</ID></CORSRule></CORSConfiguration>')
    changed = add_rule(there, "CORSConfiguration", "<CORSRule><ID>b</ID></CORSRule>")
    assert [one.text for one in changed.findall(f"{{{NAMESPACE}}}CORSRule/{{{NAMESPACE}}}ID")] == ["a", "b"]
    assert ET.tostring(add_rule(None, "Root", "<Rule/>")) == b"<Root><Rule /></Root>"


def test_unblocking_keeps_the_rest_of_the_encryption() -> None:
    there = ET.fromstring(
        f'<ServerSideEncryptionConfiguration xmlns="{NAMESPACE}"><Rule><ApplyServerSideEncryptionByDefault>'
        "<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>k</KMSMasterKeyID></ApplyServerSideEncryptionByDefault>"
        "<BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes></Rule>"
        "</ServerSideEncryptionConfiguration>"
    )
    changed = unblocked(there)
    assert changed.findtext("{*}Rule/{*}ApplyServerSideEncryptionByDefault/{*}KMSMasterKeyID") == "k"
    blocked = changed.findall("{*}Rule/{*}BlockedEncryptionTypes/{*}EncryptionType")
    assert [(one.tag, one.text) for one in blocked] == [(f"{{{NAMESPACE}}}EncryptionType", "NONE")]
    made = unblocked(None)
    assert made.findtext("Rule/ApplyServerSideEncryptionByDefault/SSEAlgorithm") == "AES256"
    assert made.findtext("Rule/BlockedEncryptionTypes/EncryptionType") == "NONE"
