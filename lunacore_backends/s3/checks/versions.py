"""What a bucket keeps of objects that are replaced or deleted, and what it removes by itself; for records.

Follows the Amazon S3 API Reference, GetBucketVersioning, GetObjectLockConfiguration and GetBucketLifecycleConfiguration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunacore.diagnosis import ok, problem, warning
from lunacore_backends.s3.checks.configuration import MAY_NOT_LOOK, LifecycleRule

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree import ElementTree as ET

    from lunacore.diagnosis import Finding
    from lunacore_backends.s3.checks.bucket import Bucket

_OLDER: Final = LifecycleRule(
    "lunacore-older-records",
    "NoncurrentVersionExpiration",
    "NoncurrentDays",
    "remove versions under '{prefix}' that were replaced {days} day ago",
)


def examine(bucket: Bucket) -> Iterator[Finding]:
    """Raises StoreUnavailable where no answer comes."""
    yield from _lock(bucket)
    lifecycle = bucket.send("GET", query={"lifecycle": ""})
    rules = lifecycle.xml() if lifecycle.fine else None
    yield from _expiration(bucket, rules)
    versioning = bucket.send("GET", query={"versioning": ""})
    if versioning.denied or lifecycle.denied:
        commands = f"{bucket.aws('get-bucket-versioning')}; {bucket.aws('get-bucket-lifecycle-configuration')}"
        yield ok(bucket.part, f"versions and lifecycle: {MAY_NOT_LOOK} {commands}")
        return
    found = versioning.xml() if versioning.fine else None
    status = "" if found is None else found.findtext("{*}Status", "")
    if not status:
        yield ok(bucket.part, "the bucket keeps no versions, so what a deletion or a change removes is gone")
    elif lifecycle.unknown:
        yield ok(
            bucket.part,
            "the bucket keeps versions, and the service has no lifecycle rules; what an interrupted change leaves goes with the "
            "record",
        )
    elif _removes_older(rules, bucket.settings.prefix):
        yield ok(
            bucket.part, "the bucket keeps versions, and a lifecycle rule removes what an interrupted change leaves"
        )
    else:
        yield _older_stay(bucket)


def examine_encryption(bucket: Bucket) -> Iterator[Finding]:
    """What the bucket encrypts by itself; records are sealed whatever it does."""
    answer = bucket.send("GET", query={"encryption": ""})
    xml = answer.xml() if answer.fine else None
    algorithm = "" if xml is None else xml.findtext("{*}Rule/{*}ApplyServerSideEncryptionByDefault/{*}SSEAlgorithm", "")
    by_itself = f"the bucket encrypts them once more ({algorithm})" if algorithm else "the bucket need not encrypt them"
    yield ok(bucket.part, f"records are sealed before they go there; {by_itself}")


def _lock(bucket: Bucket) -> Iterator[Finding]:
    answer = bucket.send("GET", query={"object-lock": ""})
    xml = answer.xml() if answer.fine else None
    if xml is None or xml.findtext("{*}ObjectLockEnabled") != "Enabled":
        return
    if xml.find("{*}Rule/{*}DefaultRetention") is None:
        yield warning(
            bucket.part,
            "the bucket has Object Lock; a record that is locked could be neither erased nor changed for good",
            "use a bucket without Object Lock; it cannot be turned off",
        )
        return
    yield problem(
        bucket.part,
        "the bucket's Object Lock retains every version, so erasure is not final: erased keys stay in older versions",
        "use a bucket without Object Lock; it cannot be turned off",
    )


def _expiration(bucket: Bucket, rules: ET.Element | None) -> Iterator[Finding]:
    for rule in _rules(rules):
        expires = rule.find("{*}Expiration/{*}Days") is not None or rule.find("{*}Expiration/{*}Date") is not None
        of = _prefix(rule)
        if expires and (bucket.settings.prefix.startswith(of) or of.startswith(bucket.settings.prefix)):
            yield problem(
                bucket.part,
                f"the lifecycle rule {rule.findtext('{*}ID', '')!r} deletes records by their age; their values would be lost",
                "take the Expiration out of the rule, or give records a prefix that it does not cover: "
                + bucket.aws("get-bucket-lifecycle-configuration"),
            )


def _removes_older(rules: ET.Element | None, prefix: str) -> bool:
    return any(
        rule.find("{*}NoncurrentVersionExpiration/{*}NoncurrentDays") is not None and prefix.startswith(_prefix(rule))
        for rule in _rules(rules)
        if rule.find("{*}Filter/{*}And") is None and rule.find("{*}Filter/{*}Tag") is None
    )


def _older_stay(bucket: Bucket) -> Finding:
    return warning(
        bucket.part,
        "the bucket keeps versions; a change removes the older one, but one that is interrupted leaves it, with keys that an "
        "erasure has dropped, until the record is deleted",
        f"turn versions off, or: {_OLDER.remedy(bucket)}",
        _OLDER.repair(bucket),
    )


def _rules(configuration: ET.Element | None) -> list[ET.Element]:
    found = [] if configuration is None else configuration.findall("{*}Rule")
    return [rule for rule in found if rule.findtext("{*}Status") == "Enabled"]


def _prefix(rule: ET.Element) -> str:
    """What keys begin with that the rule covers."""
    return (
        rule.findtext("{*}Filter/{*}Prefix")
        or rule.findtext("{*}Filter/{*}And/{*}Prefix")
        or rule.findtext("{*}Prefix")
        or ""
    )
