"""What the bucket is configured to do: unfinished uploads, public access. And how a configuration is changed: read, edit, write.

Follows the Amazon S3 API Reference, PutBucketLifecycleConfiguration and PutPublicAccessBlock. A PUT replaces all of a
configuration, so what is there already is read first and kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from attrs import frozen

from lunacore.diagnosis import Repair, ok, problem, warning
from lunacore.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lunacore.diagnosis import Finding
    from lunacore_backends.s3.checks.bucket import Bucket
    from lunacore_backends.s3.checks.scratch import Scratch

_NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
_DAYS: Final = 1
_BLOCKS: Final = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
MAY_NOT_LOOK: Final = "the credentials may not look, which is as it should be; as an administrator, look with"


def change(bucket: Bucket, subresource: str, edit: Callable[[ET.Element | None], ET.Element]) -> None:
    """Edit one of the bucket's configurations; ``edit`` gets what is there, None if nothing is.

    Raises:
        StoreUnavailable: it could not be read or written.
    """
    answer = bucket.send("GET", query={subresource: ""})
    present = answer.xml() if answer.fine else None
    if not answer.fine and answer.status != 404:
        raise _failure(bucket, *bucket.refusal(answer))
    written = bucket.send("PUT", query={subresource: ""}, body=_serialized(edit(present)))
    if not written.fine:
        raise _failure(bucket, *bucket.refusal(written))


def add_rule(configuration: ET.Element | None, root: str, rule: str) -> ET.Element:
    """The configuration with one more rule, given in XML; ``root`` is what it is called where there is none yet."""
    if configuration is None:
        configuration = ET.Element(root)
    namespace, brace, _ = configuration.tag.rpartition("}")
    added = ET.fromstring(rule)  # noqa: S314 -- our own
    for element in added.iter():
        element.tag = f"{namespace}{brace}{element.tag}"
    configuration.append(added)
    return configuration


@frozen
class LifecycleRule:
    """A rule that has the service remove by itself, after a day, what nobody needs any more under the prefix.

    Attributes:
        id: its name among the rules of the bucket.
        action: what it does, and ``days`` what the API calls the time until then.
        tells: the same for people, ``{prefix}`` and ``{days}`` to be filled in.
    """

    id: str
    action: str
    days: str
    tells: str

    def remedy(self, bucket: Bucket) -> str:
        """What an administrator can do."""
        rule = {
            "ID": self.id,
            "Status": "Enabled",
            "Filter": {"Prefix": bucket.settings.prefix},
            self.action: {self.days: _DAYS},
        }
        command = bucket.aws("put-bucket-lifecycle-configuration", "lifecycle-configuration", {"Rules": [rule]})
        return f"{command} (this replaces the rules that are there; --fix keeps them)"

    def repair(self, bucket: Bucket) -> Repair:
        """What ``lunacore doctor --fix`` can do."""
        told = self.tells.format(prefix=bucket.settings.prefix, days=_DAYS)
        return Repair(
            f"{bucket.settings.shown}: add the lifecycle rule {self.id}: {told}",
            lambda: change(
                bucket, "lifecycle", lambda present: add_rule(present, "LifecycleConfiguration", self._xml(bucket))
            ),
        )

    def _xml(self, bucket: Bucket) -> str:
        rule = ET.Element("Rule")
        ET.SubElement(rule, "ID").text = self.id
        ET.SubElement(ET.SubElement(rule, "Filter"), "Prefix").text = bucket.settings.prefix
        ET.SubElement(rule, "Status").text = "Enabled"
        ET.SubElement(ET.SubElement(rule, self.action), self.days).text = str(_DAYS)
        return ET.tostring(rule, encoding="unicode")


_UNFINISHED: Final = LifecycleRule(
    "lunacore-unfinished-uploads",
    "AbortIncompleteMultipartUpload",
    "DaysAfterInitiation",
    "abort multipart uploads under '{prefix}' that are {days} day old",
)


def examine_lifecycle(bucket: Bucket) -> Iterator[Finding]:
    """Whether the parts of uploads that were never completed go away by themselves."""
    if bucket.is_minio:
        yield ok(
            bucket.part,
            "MinIO removes unfinished uploads by itself, after a day unless MINIO_API_STALE_UPLOADS_EXPIRY says else",
        )
        return
    answer = bucket.send("GET", query={"lifecycle": ""})
    if answer.denied:
        yield ok(bucket.part, f"lifecycle: {MAY_NOT_LOOK} {bucket.aws('get-bucket-lifecycle-configuration')}")
        return
    if answer.unknown:
        yield ok(
            bucket.part, "the service has no lifecycle rules; lunacore removes the parts of an object with the object"
        )
        return
    days = _abort_days(answer.xml() if answer.fine else None, bucket.settings.prefix)
    if days:
        yield ok(bucket.part, f"the bucket's lifecycle removes unfinished uploads after {days} days")
        return
    yield warning(
        bucket.part,
        "no lifecycle rule removes unfinished multipart uploads; what a killed program leaves costs money until its object is "
        "deleted",
        _UNFINISHED.remedy(bucket),
        _UNFINISHED.repair(bucket),
    )


def examine_public_access(bucket: Bucket, scratch: Scratch) -> Iterator[Finding]:
    """Whether anyone can list or read without a signature."""
    key = scratch.key()
    written = bucket.send("PUT", key, headers=bucket.encryption, body=b"lunacore doctor; this may be deleted")
    can = []
    if bucket.ask_anyone("GET", query="?list-type=2&max-keys=1").fine:
        can.append("list the bucket")
    if written.fine and bucket.ask_anyone("GET", key, headers=bucket.encryption).fine:
        can.append("read objects")
    repair = Repair(
        f"{bucket.settings.shown}: block public access (all four settings of PublicAccessBlock)",
        lambda: change(bucket, "publicAccessBlock", _blocking),
    )
    block = dict.fromkeys(_BLOCKS, True)
    command = bucket.aws("put-public-access-block", "public-access-block-configuration", block)
    answer = bucket.send("GET", query={"publicAccessBlock": ""})
    has_blocks = answer.fine or answer.code == "NoSuchPublicAccessBlockConfiguration"
    if can:
        remedy = command if has_blocks else _without_blocks(bucket)
        yield problem(
            bucket.part, f"anyone may {' and '.join(can)}, without credentials", remedy, repair if has_blocks else None
        )
    elif has_blocks and not _blocks_all(answer.xml() if answer.fine else None):
        yield warning(bucket.part, "nothing is public now, but public access is not blocked for good", command, repair)
    else:
        yield ok(bucket.part, f"nobody may list {'or read ' if written.fine else ''}without credentials")


def _without_blocks(bucket: Bucket) -> str:
    if bucket.is_minio:
        return f"mc anonymous set none ALIAS/{bucket.settings.bucket}"
    if bucket.server.startswith("SeaweedFS"):
        return (
            "take the identity 'anonymous' out of the file of -s3.config, and any bucket policy for everyone: "
            + bucket.aws("delete-bucket-policy")
        )
    return bucket.aws("delete-bucket-policy")


def _abort_days(configuration: ET.Element | None, prefix: str) -> int:
    """After how many days uploads under the prefix are aborted, 0 for never."""
    for rule in [] if configuration is None else configuration.findall("{*}Rule"):
        days = rule.findtext("{*}AbortIncompleteMultipartUpload/{*}DaysAfterInitiation", "")
        of = rule.findtext("{*}Filter/{*}Prefix") or rule.findtext("{*}Prefix") or ""
        limited = rule.find("{*}Filter/{*}And") is not None or rule.find("{*}Filter/{*}Tag") is not None
        if days.isdecimal() and rule.findtext("{*}Status") == "Enabled" and prefix.startswith(of) and not limited:
            return int(days)
    return 0


def _blocks_all(configuration: ET.Element | None) -> bool:
    return configuration is not None and all(configuration.findtext(f"{{*}}{name}") == "true" for name in _BLOCKS)


def _blocking(_present: ET.Element | None) -> ET.Element:
    configuration = ET.Element("PublicAccessBlockConfiguration")
    for name in _BLOCKS:
        ET.SubElement(configuration, name).text = "true"
    return configuration


def _serialized(configuration: ET.Element) -> bytes:
    """The XML, in the namespace that it was read in or in that of S3, without a prefix, which some services do not take."""
    if not configuration.tag.startswith("{"):
        for element in configuration.iter():
            element.tag = f"{{{_NAMESPACE}}}{element.tag}"
    ET.register_namespace("", configuration.tag[1:].partition("}")[0])
    return ET.tostring(configuration)


def _failure(bucket: Bucket, message: str, remedy: str) -> StoreUnavailable:
    return StoreUnavailable(f"{bucket.part}: {message}; {remedy}")
