"""Whether the credentials have every right that is needed, and the service takes customer keys: each call is tried."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from attrs import define, field

from lunacore import ssec
from lunacore.diagnosis import Severity, ok, problem
from lunacore_backends.s3.checks import encryption
from lunacore_backends.s3.checks.bucket import VALUES

if TYPE_CHECKING:
    from lunacore.diagnosis import Finding
    from lunacore_backends.s3.checks.bucket import Answer, Bucket, Needs
    from lunacore_backends.s3.checks.scratch import Scratch
    from lunacore_backends.s3.settings import S3Settings

_BODY: Final = b"lunacore doctor; this may be deleted"
_COPY: Final = "s3:GetObject and s3:PutObject, for CopyObject"


def least_policy(settings: S3Settings, needs: Needs = VALUES) -> str:
    """The policy, in JSON, that gives what is needed and no more (IAM User Guide, "IAM JSON policy reference")."""
    arn = f"arn:aws:s3:::{settings.bucket}"
    listing: dict[str, object] = {"Effect": "Allow", "Action": needs.listing, "Resource": arn}
    if settings.prefix:
        listing["Condition"] = {"StringLike": {"s3:prefix": f"{settings.prefix}*"}}
    statements = [
        {"Effect": "Allow", "Action": needs.objects, "Resource": f"{arn}/{settings.prefix}*"},
        listing,
        {"Effect": "Allow", "Action": needs.bucket, "Resource": arn},
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, ensure_ascii=False)


def policy_remedy(bucket: Bucket) -> str:
    """How to give the credentials the least policy."""
    policy = least_policy(bucket.settings, bucket.needs)
    if bucket.is_minio:
        return (
            "save this as policy.json, then: mc admin policy create ALIAS lunacore policy.json && "
            f"mc admin policy attach ALIAS lunacore --user ACCESS_KEY: {policy}"
        )
    if bucket.server.startswith("SeaweedFS"):
        name = bucket.settings.bucket
        limits = f"{name}/{bucket.settings.prefix}*" if bucket.settings.prefix else name
        actions = [f"{action}:{limits}" for action in ("Read", "Write", "List")]
        return (
            f"give the identity in the file of -s3.config just these actions: {json.dumps(actions, ensure_ascii=False)}"
        )
    return f"aws iam put-user-policy --user-name USER --policy-name lunacore --policy-document '{policy}'"


@define(eq=False)
class Rights:
    """Tries every call that is needed, on scratch objects under the prefix."""

    bucket: Bucket
    scratch: Scratch
    lacking: list[str] = field(factory=list, init=False)
    findings: list[Finding] = field(factory=list, init=False)

    def examine(self) -> list[Finding]:
        """Raises StoreUnavailable where no answer comes."""
        self._list()
        key, version = self._write()
        self._read(key)
        if self.bucket.needs is VALUES:
            self._copy(key)
            self._multipart()
        self._delete(key, version)
        self._say()
        return self.findings

    def _list(self) -> None:
        prefix = self.bucket.settings.prefix
        self._judge(
            "s3:ListBucket", self.bucket.send("GET", query={"list-type": "2", "max-keys": "1", "prefix": prefix})
        )
        self._judge(
            "s3:ListBucketVersions", self.bucket.send("GET", query={"max-keys": "1", "prefix": prefix, "versions": ""})
        )
        if self.bucket.needs is VALUES:
            self._judge(
                "s3:ListBucketMultipartUploads", self.bucket.send("GET", query={"prefix": prefix, "uploads": ""})
            )
        if not self.bucket.settings.region:
            self._judge("s3:GetBucketLocation", self.bucket.send("GET", query={"location": ""}))

    def _write(self) -> tuple[str, str]:
        """Key of a scratch object, empty if it could not be written, and its version."""
        key = self.scratch.key()
        answer = self.bucket.send("PUT", key, headers=self.bucket.encryption, body=_BODY)
        if self.bucket.settings.encrypts:
            finding = encryption.examine(self.bucket, self.scratch, answer)
            if finding is not None:
                self.findings.append(finding)
            if finding is not None and finding.severity is Severity.PROBLEM:
                return "", ""
        self._judge("s3:PutObject", answer)
        return (key if answer.fine else ""), answer.headers.get("x-amz-version-id", "")

    def _read(self, key: str) -> None:
        # Where nothing is there, the answer is that; without the right it is a refusal.
        key = key or self.bucket.scratch_key()
        read = self.bucket.send("GET", key, headers=self.bucket.encryption)
        self._judge("s3:GetObject", read)
        head = self.bucket.send("HEAD", key, headers=self.bucket.encryption)
        if head.denied and not read.denied:
            self._judge("s3:GetObject, for HeadObject", head)

    def _copy(self, key: str) -> None:
        if not key or "s3:GetObject" in self.lacking:
            return
        source = {"x-amz-copy-source": quote(f"/{self.bucket.settings.bucket}/{key}", safe="/-._~")}
        opens = ssec.headers(self.bucket.key, copy_source=True) if self.bucket.settings.encrypts else {}
        self._judge(
            _COPY, self.bucket.send("PUT", self.scratch.key(), headers={**source, **opens, **self.bucket.encryption})
        )

    def _multipart(self) -> None:
        key = self.scratch.key()
        begun = self.bucket.send("POST", key, query={"uploads": ""}, headers=self.bucket.encryption)
        xml = begun.xml()
        if not begun.fine or xml is None:
            if "s3:PutObject" not in self.lacking:
                self._judge("s3:PutObject, for multipart uploads", begun)
            # Whether an upload is not there is told only to who may end it.
            if self.bucket.send("DELETE", key, query={"uploadId": "none"}).denied:
                self.lacking.append("s3:AbortMultipartUpload")
            return
        upload = xml.findtext("{*}UploadId", "")
        aborted = self.bucket.send("DELETE", key, query={"uploadId": upload})
        self._judge("s3:AbortMultipartUpload", aborted)
        if not aborted.fine:
            self.scratch.began(key, upload)

    def _delete(self, key: str, version: str) -> None:
        # A key of its own: in a bucket with versions, what is gone by its version leaves no delete marker to see.
        self._judge("s3:DeleteObject", self.bucket.send("DELETE", key or self.scratch.key()))
        if key and version:
            answer = self.bucket.send("DELETE", key, query={"versionId": version})
            self._judge("s3:DeleteObjectVersion", answer)

    def _judge(self, right: str, answer: Answer) -> None:
        if answer.fine or answer.status == 404 or answer.unknown:
            return
        if answer.denied:
            self.lacking.append(right)
            return
        message, remedy = self.bucket.refusal(answer)
        self.findings.append(problem(self.bucket.part, f"{message}, when {right} was tried", remedy))

    def _say(self) -> None:
        if self.lacking:
            self.findings.append(
                problem(
                    self.bucket.part,
                    f"the credentials lack rights: {', '.join(self.lacking)}",
                    policy_remedy(self.bucket),
                )
            )
        elif not self.findings or all(one.severity is Severity.OK for one in self.findings):
            self.findings.append(
                ok(self.bucket.part, "the credentials have every right that is needed; each was tried")
            )
