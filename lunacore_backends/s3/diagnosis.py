"""The checkup of an S3 bucket behind ``lunacore doctor``: what is asked, in which order, and when there is no use in going on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunacore.diagnosis import Severity, problem
from lunacore.errors import LunaCoreError
from lunacore_backends.s3.checks import conditions, configuration, connection, cors, excess
from lunacore_backends.s3.checks.bucket import split
from lunacore_backends.s3.checks.rights import Rights
from lunacore_backends.s3.checks.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunacore.diagnosis import Finding
    from lunacore_backends.s3.checks.bucket import Bucket


def examine(bucket: Bucket) -> list[Finding]:
    """All findings; what goes wrong on the way is one of them."""
    findings: list[Finding] = []
    try:
        for finding in _examine(bucket):
            findings.append(finding)  # noqa: PERF402 -- those before a failure are kept
    except LunaCoreError as failure:
        message, remedy = split(str(failure), bucket.part)
        findings.append(problem(bucket.part, message, remedy))
    return findings


def _examine(bucket: Bucket) -> Iterator[Finding]:
    for step in (connection.examine_service, connection.examine_access):
        findings = [*step(bucket)]
        yield from findings
        # All that follows would fail of the same.
        if any(finding.severity is Severity.PROBLEM for finding in findings):
            return
    scratch = Scratch(bucket)
    try:
        with scratch:
            yield from _on_scratch_objects(bucket, scratch)
    finally:
        yield from scratch.finding()
    yield from excess.examine(bucket)
    yield from configuration.examine_lifecycle(bucket)


def _on_scratch_objects(bucket: Bucket, scratch: Scratch) -> Iterator[Finding]:
    findings = Rights(bucket, scratch).examine()
    yield from findings
    if all(finding.severity is not Severity.PROBLEM for finding in findings):
        yield from conditions.examine_write_once(bucket, scratch)
        yield from conditions.examine_swap(bucket, scratch)
    yield from cors.examine(bucket, scratch)
    yield from configuration.examine_public_access(bucket, scratch)
