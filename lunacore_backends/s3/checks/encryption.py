"""Whether the service takes customer keys (SSE-C), and why not.

Follows the Amazon S3 User Guide, "Blocking or unblocking SSE-C for a general purpose bucket".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from lunacore.diagnosis import Repair, ok, problem
from lunacore_backends.s3.checks.bucket import CUSTOMER_KEY_HEADER
from lunacore_backends.s3.checks.configuration import change

if TYPE_CHECKING:
    from lunacore.diagnosis import Finding
    from lunacore_backends.s3.checks.bucket import Answer, Bucket
    from lunacore_backends.s3.checks.scratch import Scratch

_INSTEAD: Final = "or use encryption=none, with which values are sealed before they go there"
_NEEDS_TLS: Final = frozenset({"InsecureSSECustomerRequest"})
_DEFAULT: Final = {"SSEAlgorithm": "AES256"}


def examine(bucket: Bucket, scratch: Scratch, written: Answer) -> Finding | None:
    """What the answer to a PUT under a customer key tells; None where the right to write is what is missing."""
    if written.fine:
        return _of_success(bucket, written)
    if written.code in _NEEDS_TLS:
        return problem(
            bucket.part,
            "the service takes customer keys (SSE-C) over TLS only",
            f"name an https endpoint that ends at the service itself, {_INSTEAD}",
        )
    if not (written.denied or written.unknown or written.status == 400):
        return None
    # The same without a key tells what it was.
    if not bucket.send("PUT", scratch.key(), body=b"lunacore doctor; this may be deleted").fine:
        return None
    if written.denied:
        return _blocked(bucket)
    return problem(
        bucket.part,
        f"the service refuses customer keys (SSE-C): {written.code or written.status}",
        f"turn SSE-C on in the service, {_INSTEAD}",
    )


def unblocked(configuration: ET.Element | None) -> ET.Element:
    """The encryption configuration of a bucket with no encryption type blocked, all else as it was."""
    if configuration is None:
        configuration = ET.Element("ServerSideEncryptionConfiguration")
    if configuration.find("{*}Rule") is None:
        rule = ET.SubElement(configuration, f"{_namespace(configuration)}Rule")
        default = ET.SubElement(rule, f"{_namespace(rule)}ApplyServerSideEncryptionByDefault")
        ET.SubElement(default, f"{_namespace(rule)}SSEAlgorithm").text = _DEFAULT["SSEAlgorithm"]
    for rule in configuration.findall("{*}Rule"):
        for blocked in rule.findall("{*}BlockedEncryptionTypes"):
            rule.remove(blocked)
        blocked = ET.SubElement(rule, f"{_namespace(rule)}BlockedEncryptionTypes")
        ET.SubElement(blocked, f"{_namespace(rule)}EncryptionType").text = "NONE"
    return configuration


def _of_success(bucket: Bucket, written: Answer) -> Finding:
    # A service that encrypts says so in its answer (S3 API Reference, PutObject).
    if CUSTOMER_KEY_HEADER in written.headers:
        return ok(bucket.part, "the service encrypts objects under customer keys (SSE-C)")
    return problem(
        bucket.part,
        "the service ignores customer keys (SSE-C) and keeps objects unencrypted",
        "use encryption=none, with which values are sealed before they go there",
    )


def _blocked(bucket: Bucket) -> Finding:
    rule = {"ApplyServerSideEncryptionByDefault": _DEFAULT, "BlockedEncryptionTypes": {"EncryptionType": ["NONE"]}}
    command = bucket.aws("put-bucket-encryption", "server-side-encryption-configuration", {"Rules": [rule]})
    # Every bucket of AWS has this configuration; where there is none, something else refuses.
    repair = Repair(
        f"{bucket.settings.shown}: set BlockedEncryptionTypes of the bucket's encryption to NONE",
        lambda: change(bucket, "encryption", unblocked),
    )
    return problem(
        bucket.part,
        "the bucket refuses customer keys (SSE-C), as new buckets of AWS do, but takes objects without",
        f"{command}, {_INSTEAD}",
        repair if bucket.send("GET", query={"encryption": ""}).fine else None,
    )


def _namespace(element: ET.Element) -> str:
    head, brace, _ = element.tag.rpartition("}")
    return f"{head}{brace}"
