"""The checkup of an S3 bucket behind ``lunacore doctor``: what is asked, in which order, and when there is no use in going on.

A bucket may hold values, records, or the keyring; each is asked for what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunacore.diagnosis import Severity, ok, problem
from lunacore.errors import LunaCoreError
from lunacore.keys import KEY_BYTES
from lunacore_backends.s3.checks import conditions, configuration, connection, cors, excess, versions
from lunacore_backends.s3.checks.bucket import RECORDS, Bucket, split
from lunacore_backends.s3.checks.rights import Rights
from lunacore_backends.s3.checks.scratch import Scratch
from lunacore_backends.s3.client import S3Pool
from lunacore_backends.s3.credentials import CredentialChain
from lunacore_backends.s3.failures import Failures
from lunacore_backends.s3.region import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lunacore.diagnosis import Circumstances, Finding
    from lunacore_backends.s3.checks.bucket import Needs
    from lunacore_backends.s3.settings import S3Settings


def bucket_of(settings: S3Settings, circumstances: Circumstances, needs: Needs) -> Bucket:
    """A bucket to examine, with connections of its own, which end with it."""
    credentials, failures = CredentialChain(settings.setting, circumstances.now), Failures(settings)
    pool = S3Pool(settings)
    return Bucket(
        settings=settings,
        credentials=credentials,
        region=Region(settings, credentials, pool, failures),
        pool=pool,
        failures=failures,
        circumstances=circumstances,
        key=circumstances.random(KEY_BYTES),
        needs=needs,
    )


def examine(bucket: Bucket) -> list[Finding]:
    """All findings about a bucket of values; what goes wrong on the way is one of them."""
    return _collected(bucket, _on_values)


def examine_records(settings: S3Settings, circumstances: Circumstances) -> list[Finding]:
    """All findings about a bucket of records."""
    return _collected(bucket_of(settings, circumstances, RECORDS), _on_records)


def examine_keyring(settings: S3Settings, key: str, circumstances: Circumstances) -> list[Finding]:
    """All findings about the bucket that holds the keyring as the object ``key``."""
    bucket = bucket_of(settings, circumstances, RECORDS)
    return _collected(bucket, lambda bucket: _on_keyring(bucket, key))


def _collected(bucket: Bucket, steps: Callable[[Bucket], Iterator[Finding]]) -> list[Finding]:
    findings: list[Finding] = []
    try:
        for finding in _reached_first(bucket, steps):
            findings.append(finding)  # noqa: PERF402 -- those before a failure are kept
    except LunaCoreError as failure:
        message, remedy = split(str(failure), bucket.part)
        findings.append(problem(bucket.part, message, remedy))
    return findings


def _reached_first(bucket: Bucket, steps: Callable[[Bucket], Iterator[Finding]]) -> Iterator[Finding]:
    for step in (connection.examine_service, connection.examine_access):
        findings = [*step(bucket)]
        yield from findings
        # All that follows would fail of the same.
        if any(finding.severity is Severity.PROBLEM for finding in findings):
            return
    yield from steps(bucket)


def _on_values(bucket: Bucket) -> Iterator[Finding]:
    yield from _on_scratch_objects(bucket, _values_on_scratch_objects)
    yield from excess.examine(bucket)
    yield from configuration.examine_lifecycle(bucket)


def _on_records(bucket: Bucket) -> Iterator[Finding]:
    yield from _on_scratch_objects(bucket, _records_on_scratch_objects)
    yield from excess.examine(bucket)
    yield from versions.examine(bucket)
    yield from versions.examine_encryption(bucket)


def _on_keyring(bucket: Bucket, key: str) -> Iterator[Finding]:
    if bucket.ask_anyone("GET", key).fine:
        yield problem(
            bucket.part,
            "anyone may read the sealed keyring, without credentials",
            "take the policy or ACL that allows it from the bucket: " + bucket.aws("get-bucket-policy"),
        )
    else:
        yield ok(bucket.part, "nobody may read the keyring without credentials")


def _on_scratch_objects(bucket: Bucket, steps: Callable[[Bucket, Scratch], Iterator[Finding]]) -> Iterator[Finding]:
    scratch = Scratch(bucket)
    try:
        with scratch:
            yield from steps(bucket, scratch)
    finally:
        yield from scratch.finding()


def _values_on_scratch_objects(bucket: Bucket, scratch: Scratch) -> Iterator[Finding]:
    findings = Rights(bucket, scratch).examine()
    yield from findings
    if all(finding.severity is not Severity.PROBLEM for finding in findings):
        yield from conditions.examine_write_once(bucket, scratch)
        yield from conditions.examine_swap(bucket, scratch)
    yield from cors.examine(bucket, scratch)
    yield from configuration.examine_public_access(bucket, scratch)


def _records_on_scratch_objects(bucket: Bucket, scratch: Scratch) -> Iterator[Finding]:
    findings = Rights(bucket, scratch).examine()
    yield from findings
    if all(finding.severity is not Severity.PROBLEM for finding in findings):
        yield from conditions.examine_for_records(bucket, scratch)
    yield from configuration.examine_public_access(bucket, scratch)
