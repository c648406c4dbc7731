"""Whether the credentials may more than they need. Only reading calls are tried, and nothing that is read is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunacore.diagnosis import ok, warning
from lunacore_backends.s3.checks.rights import policy_remedy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunacore.diagnosis import Finding
    from lunacore_backends.s3.checks.bucket import Bucket

_OTHERS_TRIED: Final = 3
_SUBRESOURCES: Final = ("policy", "acl", "lifecycle")


def examine(bucket: Bucket) -> Iterator[Finding]:
    """Try what nobody needs. Raises StoreUnavailable where no answer comes."""
    excess = [*_other_buckets(bucket), *_outside_the_prefix(bucket), *_administration(bucket)]
    if not excess:
        yield ok(bucket.part, "the credentials may not do more than is needed, as far as harmless calls tell")
        return
    why = " MinIO lets the holder of an upload ticket copy what they may read;" if bucket.is_minio else ""
    yield warning(
        bucket.part,
        f"the credentials may do more than is needed:{why} they may {', '.join(excess)}",
        policy_remedy(bucket),
    )


def _other_buckets(bucket: Bucket) -> Iterator[str]:
    listed = bucket.buckets()
    xml = listed.xml()
    if not listed.fine or xml is None:
        return
    names = {element.text or "" for element in xml.findall("{*}Buckets/{*}Bucket/{*}Name")} - {
        bucket.settings.bucket,
        "",
    }
    if not names:
        return
    yield f"see {len(names)} other buckets"
    first = sorted(names)[:_OTHERS_TRIED]
    if any(bucket.send("GET", query={"list-type": "2", "max-keys": "1"}, bucket=name).fine for name in first):
        yield "list what is in them"


def _outside_the_prefix(bucket: Bucket) -> Iterator[str]:
    if not bucket.settings.prefix:
        return
    if bucket.send("GET", query={"list-type": "2", "max-keys": "1"}).fine:
        yield f"list the bucket outside of '{bucket.settings.prefix}'"
    # Nothing is there; who may not read is not told so.
    outside = bucket.scratch_key().removeprefix(bucket.settings.prefix)
    if bucket.send("HEAD", outside).status == 404:
        yield "read objects outside of it"


def _administration(bucket: Bucket) -> Iterator[str]:
    for subresource in _SUBRESOURCES:
        answer = bucket.send("GET", query={subresource: ""})
        if answer.fine or (answer.status == 404 and answer.code.startswith("NoSuch")):
            yield f"read the bucket's {subresource}"
