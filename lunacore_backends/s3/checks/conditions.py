"""Whether the service keeps conditional writes, also of several writers at the same moment.

Follows the Amazon S3 User Guide, "How to prevent object overwrites with conditional writes".
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from lunacore.diagnosis import ok, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lunacore.diagnosis import Finding
    from lunacore_backends.s3.checks.bucket import Answer, Bucket
    from lunacore_backends.s3.checks.scratch import Scratch

RIVALS: Final = 8
_ROUNDS: Final = 3
_UNKNOWN_HEADER: Final = frozenset({"InvalidArgument", "InvalidRequest", "NotImplemented"})
_OTHER_ETAG: Final = '"00000000000000000000000000000000"'
_WINDOW: Final = "while an upload ticket lives, its holder can replace the object"


def examine_write_once(bucket: Bucket, scratch: Scratch) -> Iterator[Finding]:
    """Try upload tickets that may create an object and not replace it, and compare with the setting ``write_once``."""
    key = scratch.key()
    first, second = _upload(bucket, key, b"first"), _upload(bucket, key, b"second")
    if first.code in _UNKNOWN_HEADER:
        yield _broken(bucket, f"it does not take If-None-Match: * ({first.code})")
    elif not first.fine:
        message, remedy = bucket.refusal(first)
        yield problem(bucket.part, f"an upload ticket does not work: {message}", remedy)
    elif second.fine:
        yield _broken(bucket, "it ignores If-None-Match: *")
    elif crowd := max(_winners(bucket, scratch.key()) for _ in range(_ROUNDS)) - 1:
        yield _broken(bucket, f"of {RIVALS} uploads at the same moment {crowd + 1} won (it checks without a lock)")
    elif not bucket.settings.write_once:
        yield warning(
            bucket.part,
            f"write_once=false, so {_WINDOW}, although the service keeps If-None-Match: * and of {RIVALS} uploads at the "
            "same moment one won",
            "leave write_once out of the URL",
        )
    else:
        yield ok(bucket.part, f"an upload cannot replace an object; of {RIVALS} uploads at the same moment one won")


def examine_swap(bucket: Bucket, scratch: Scratch) -> Iterator[Finding]:
    """Try ``If-Match``, on which records in S3 stand."""
    key = scratch.key()
    written = bucket.send("PUT", key, body=b"1")
    etag = written.headers.get("etag", "")
    if not written.fine or not etag:
        return
    wrong = bucket.send("PUT", key, headers={"if-match": _OTHER_ETAG}, body=b"2")
    right = bucket.send("PUT", key, headers={"if-match": etag}, body=b"3")
    if right.fine and not wrong.fine:
        yield ok(bucket.part, "the service keeps If-Match (compare-and-swap), which records in S3 would need")
    else:
        how = "refuses" if not right.fine else "ignores"
        yield ok(
            bucket.part,
            f"the service {how} If-Match (compare-and-swap), so it could not hold records; objects need none",
        )


def examine_for_records(bucket: Bucket, scratch: Scratch) -> Iterator[Finding]:
    """Try what records stand on: creation that never replaces, and compare-and-swap, also of several writers at once."""
    key = scratch.key()
    created = _winners_of(bucket, key, {"if-none-match": "*"})
    written = bucket.send("GET", key)
    again = bucket.send("PUT", key, headers={"if-none-match": "*"}, body=b"again")
    wrong = bucket.send("PUT", key, headers={"if-match": _OTHER_ETAG}, body=b"wrong")
    swapped = _winners_of(bucket, key, {"if-match": written.headers.get("etag", "")})
    flaws = []
    if created != 1:
        flaws.append(f"of {RIVALS} creations at the same moment {created} won (If-None-Match: *)")
    if again.fine:
        flaws.append("it replaces what is there (If-None-Match: *)")
    if wrong.fine:
        flaws.append("it swaps what is no longer there (If-Match)")
    elif swapped != 1:
        flaws.append(f"of {RIVALS} swaps at the same moment {swapped} won (If-Match)")
    if flaws:
        yield problem(
            bucket.part,
            f"the service cannot hold records: {'; '.join(flaws)}",
            "use a service that keeps conditional writes, such as AWS S3 or a recent MinIO or SeaweedFS, or a database",
        )
    else:
        yield ok(
            bucket.part,
            f"of {RIVALS} creations and of {RIVALS} swaps at the same moment one won (If-None-Match: *, If-Match)",
        )


def _winners_of(bucket: Bucket, key: str, condition: Mapping[str, str]) -> int:
    """How many conditional writes of one key at the same moment succeeded."""
    # An ETag is the MD5 of the content: a rival that writes what is there already would win unnoticed.
    bodies = [bucket.circumstances.random(16) for _ in range(RIVALS)]
    with ThreadPoolExecutor(RIVALS) as threads:
        answers = [*threads.map(lambda body: bucket.send("PUT", key, headers=condition, body=body), bodies)]
    return sum(answer.fine for answer in answers)


def _upload(bucket: Bucket, key: str, body: bytes) -> Answer:
    url, headers = bucket.upload_request(key)
    return bucket.use("PUT", url, headers, body)


def _winners(bucket: Bucket, key: str) -> int:
    """How many uploads to one key at the same moment succeeded."""
    url, headers = bucket.upload_request(key)
    with ThreadPoolExecutor(RIVALS) as threads:
        answers = [*threads.map(lambda number: bucket.use("PUT", url, headers, b"%d" % number), range(RIVALS))]
    return sum(answer.fine for answer in answers)


def _broken(bucket: Bucket, behaviour: str) -> Finding:
    if bucket.settings.write_once:
        return problem(
            bucket.part,
            f"write_once is on, but the service does not keep it: {behaviour}",
            f"upgrade the service (SeaweedFS to 4.16 or newer), or set write_once=false and accept that {_WINDOW}",
        )
    return warning(
        bucket.part,
        f"{_WINDOW}: {behaviour}",
        "upgrade the service (SeaweedFS to 4.16 or newer) and leave write_once out of the URL",
    )
