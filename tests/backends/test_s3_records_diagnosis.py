"""What ``lunacore doctor`` finds out about buckets of records, on SeaweedFS and MinIO, healthy and broken."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from urllib3 import PoolManager

from lunacore.diagnosis import Circumstances, Severity
from lunacore.plugins import BackendURL, Surroundings
from lunacore_backends.s3.checks.bucket import RECORDS
from lunacore_backends.s3.checks.rights import least_policy
from lunacore_backends.s3.conditional import ConditionalObjects, settings_of
from lunacore_backends.s3.records import S3Records, open_records
from tests.backends.findings import about, problems, the_problem
from tests.servers.faulty import faulty
from tests.servers.s3_server import ACCESS_KEY, SECRET_KEY, client, new_bucket, url, use_access_key
from tests.servers.s3_stores import listed, new_prefix
from tests.servers.seaweedfs import READER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunacore.diagnosis import Finding
    from tests.servers.faulty import Exchange
    from tests.servers.minio import MinIO
    from tests.servers.s3_server import S3Server
    from tests.servers.seaweedfs import SeaweedFS

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("s3_credentials")]

SETTING = "tokenizer.records"


def diagnose(
    server: S3Server, bucket: str = "plain", prefix: str | None = None, *, ahead: float = 0, **options: str
) -> Sequence[Finding]:
    """The findings; it is checked that each that is not fine has a remedy, and that nothing secret is told."""
    text = url(server, bucket, new_prefix() if prefix is None else prefix, **options)
    settings = settings_of(BackendURL.parse(text, SETTING), SETTING)
    objects = ConditionalObjects(settings, server.region, str(server.ca or ""))
    store = S3Records(objects, SETTING, settings.prefix, os.urandom)
    circumstances = Circumstances("https://secure.example.com", lambda: time.time() + ahead, os.urandom)
    findings = store.diagnose(circumstances)
    store.close()
    assert all(finding.remedy for finding in findings if finding.severity is not Severity.OK)
    assert all(finding.part == SETTING for finding in findings)
    assert SECRET_KEY not in str(findings)
    return findings


class Everywhere:
    """What holds on every service. Subclasses give ``server``."""

    @pytest.fixture
    def server(self) -> S3Server:
        raise NotImplementedError

    def test_a_healthy_bucket(self, server: S3Server) -> None:
        prefix = new_prefix()
        findings = diagnose(server, prefix=prefix)
        assert problems(findings) == []
        for words in (
            "clock agrees",
            "knows the credentials",
            "every right that is needed",
            "of 8 creations and of 8 swaps at the same moment one won",
            "nobody may list or read",
            "keeps no versions",
            "records are sealed before they go there",
        ):
            assert about(findings, words).severity is Severity.OK
        assert not any("CORS" in one.message or "SSE-C" in one.message for one in findings)
        assert listed(server, "plain", prefix) == []

    def test_too_many_rights(self, server: S3Server) -> None:
        found = about(diagnose(server), "more than is needed")
        assert found.severity is Severity.WARNING
        assert "list what is in them" in found.message
        assert "AbortMultipartUpload" not in found.remedy

    def test_a_service_that_is_down(self, server: S3Server) -> None:
        assert "check endpoint" in the_problem(diagnose(server, endpoint="https://127.0.0.1:1"))

    def test_an_unknown_bucket(self, server: S3Server) -> None:
        assert "create it, or correct the bucket" in the_problem(diagnose(server, "no-such-bucket"))

    def test_a_wrong_secret(self, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        use_access_key(monkeypatch, ACCESS_KEY, "wrong")
        assert "AWS_SECRET_ACCESS_KEY" in the_problem(diagnose(server))

    @pytest.mark.parametrize(("ahead", "words"), [(1000, "1000 seconds ahead of"), (-1000, "1000 seconds behind")])
    def test_a_clock_that_is_wrong(self, server: S3Server, ahead: float, words: str) -> None:
        found = the_problem(diagnose(server, ahead=ahead)).replace("999", "1000").replace("1001", "1000")
        assert words in found

    def test_versions_stay_unless_a_rule_removes_them(self, server: S3Server) -> None:
        bucket = new_bucket(server)
        client(server).put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        other = {
            "ID": "other",
            "Status": "Enabled",
            "Filter": {"Prefix": "other/"},
            "Expiration": {"Days": 3},
        }
        client(server).put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [other]})
        found = about(diagnose(server, bucket, "live"), "the bucket keeps versions")
        assert found.severity is Severity.WARNING
        assert f"aws s3api put-bucket-lifecycle-configuration --bucket {bucket}" in found.remedy
        assert found.repair is not None
        found.repair.apply()
        rules = client(server).get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        assert [rule["ID"] for rule in rules] == ["other", "lunacore-older-records"]
        findings = diagnose(server, bucket, "live")
        assert problems(findings) == []
        assert about(findings, "a lifecycle rule removes what an interrupted change leaves").severity is Severity.OK

    @pytest.mark.parametrize(("of_rule", "of_records"), [("live/", "live"), ("live/more/", "live"), ("li", "live")])
    def test_a_rule_that_deletes_records(self, server: S3Server, of_rule: str, of_records: str) -> None:
        bucket = new_bucket(server)
        rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": of_rule}, "Expiration": {"Days": 30}}
        client(server).put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
        found = the_problem(diagnose(server, bucket, of_records))
        assert "the lifecycle rule 'old' deletes records by their age" in found
        assert problems(diagnose(server, bucket, "elsewhere")) == []


@pytest.mark.long
@pytest.mark.xdist_group("seaweedfs")
class TestSeaweedFS(Everywhere):
    @pytest.fixture
    def server(self, seaweedfs: SeaweedFS) -> SeaweedFS:
        return seaweedfs

    def test_who_may_only_read(self, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        use_access_key(monkeypatch, *READER)
        found = the_problem(diagnose(server))
        assert "lack rights: s3:PutObject, s3:DeleteObject |" in found

    @pytest.mark.parametrize(
        ("header", "words"),
        [
            ("if-none-match", "of 8 creations at the same moment 8 won (If-None-Match: *); it replaces what is there"),
            ("if-match", "it swaps what is no longer there (If-Match)"),
        ],
    )
    def test_a_service_that_keeps_no_conditions(self, server: S3Server, header: str, words: str) -> None:
        def careless(exchange: Exchange) -> tuple[int, bytes]:
            refused = exchange.status == 412 and header in exchange.headers
            return (200, b"") if refused else (exchange.status, exchange.answer)

        with faulty(server.endpoint, careless) as endpoint:
            found = the_problem(diagnose(server, endpoint=endpoint))
        assert f"the service cannot hold records: {words}" in found
        assert "or a database" in found

    def test_a_service_that_swaps_without_a_lock(self, server: S3Server) -> None:
        def careless(exchange: Exchange) -> tuple[int, bytes]:
            refused = exchange.status == 412 and "if-match" in exchange.headers and exchange.body != b"wrong"
            return (200, b"") if refused else (exchange.status, exchange.answer)

        with faulty(server.endpoint, careless) as endpoint:
            assert "of 8 swaps at the same moment 8 won (If-Match) |" in the_problem(
                diagnose(server, endpoint=endpoint)
            )


@pytest.mark.xdist_group("minio")
class TestMinIO(Everywhere):
    @pytest.fixture
    def server(self, minio: MinIO) -> MinIO:
        return minio

    def test_a_bucket_that_locks(self, server: MinIO) -> None:
        bucket = new_bucket(server, ObjectLockEnabledForBucket=True)
        assert about(diagnose(server, bucket), "has Object Lock").severity is Severity.WARNING
        rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
        client(server).put_object_lock_configuration(
            Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
        )
        found = about(diagnose(server, bucket), "Object Lock retains every version")
        assert found.severity is Severity.PROBLEM

    def test_a_bucket_that_is_open_to_everyone(self, server: MinIO) -> None:
        bucket = new_bucket(server)
        statement = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"]}
        resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
        policy = {"Version": "2012-10-17", "Statement": [statement | {"Resource": resources}]}
        client(server).put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        assert "anyone may list the bucket and read objects" in the_problem(diagnose(server, bucket))

    def test_the_policy_that_is_advised_is_enough_and_not_too_much(
        self, server: MinIO, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prefix, name = new_prefix(), f"records-{os.urandom(4).hex()}"
        parsed = BackendURL.parse(url(server, "plain", prefix), SETTING)
        admin = MinioAdmin(
            endpoint=urlsplit(server.endpoint).netloc,
            credentials=StaticProvider(ACCESS_KEY, SECRET_KEY),
            http_client=PoolManager(ca_certs=str(server.ca)),
        )
        admin.user_add(name, "only for tests: records")
        admin.policy_add(name, policy=json.loads(least_policy(settings_of(parsed, SETTING), RECORDS)))
        admin.policy_set(name, user=name)
        use_access_key(monkeypatch, name, "only for tests: records")
        findings = diagnose(server, prefix=prefix)
        assert problems(findings) == []
        assert about(findings, "not do more than is needed").severity is Severity.OK
        assert "as an administrator, look with" in about(findings, "versions and lifecycle").message
        assert listed(server, "plain", prefix) == []
        open_records(parsed, Surroundings(SETTING, time.time, os.urandom)).close()
