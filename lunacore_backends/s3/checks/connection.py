"""Whether the service is reached, by whose clock, and whether it knows the credentials and the bucket."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from lunacore.diagnosis import ok, problem, warning
from lunacore.sigv4 import CLOCK_SKEW
from lunacore_backends.s3.checks.bucket import split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunacore.diagnosis import Finding
    from lunacore_backends.s3.checks.bucket import Answer, Bucket

# Tickets for small values live a minute or two.
_TOLERANCE: Final = 30
_VERSION: Final = re.compile(r"\d+GB ")


def examine_service(bucket: Bucket) -> Iterator[Finding]:
    """Ask the service something that needs no credentials.

    Raises:
        StoreUnavailable: it cannot be reached; the message says why.
    """
    answer = bucket.ask_anyone("GET")
    bucket.server = _VERSION.sub("", answer.headers.get("server", ""))
    xml = answer.xml()
    # Some answer a redirect, or the page of their console, to whoever does not sign.
    if xml is None or not xml.tag.rpartition("}")[2].startswith(("Error", "List")):
        message, remedy = split(
            "what answers there does not speak S3; check endpoint, and that no proxy answers in its place", bucket.part
        )
        yield problem(bucket.part, f"{bucket.settings.shown}: {message}", remedy)
        return
    secured = (
        "over TLS" if bucket.settings.endpoint is None or bucket.settings.endpoint.scheme == "https" else "without TLS"
    )
    yield ok(bucket.part, f"{bucket.server or 'the service'} answers, {secured}")
    yield from _clock(bucket, answer)


def examine_access(bucket: Bucket) -> Iterator[Finding]:
    """Ask for a listing; a right that is missing is no finding here."""
    answer = bucket.send("GET", query={"list-type": "2", "max-keys": "1", "prefix": bucket.settings.prefix})
    if answer.fine:
        yield ok(bucket.part, "the service knows the credentials and the bucket")
    elif answer.code != "AccessDenied":
        message, remedy = bucket.refusal(answer)
        yield problem(bucket.part, message, remedy)


def _clock(bucket: Bucket, answer: Answer) -> Iterator[Finding]:
    try:
        theirs = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except ValueError:
        return
    ahead = bucket.circumstances.now() - theirs
    what = f"this machine's clock is {abs(ahead):.0f} seconds {'ahead of' if ahead > 0 else 'behind'} the service's"
    remedy = "set the clocks of both machines by NTP: timedatectl set-ntp true"
    if abs(ahead) >= CLOCK_SKEW:
        yield problem(bucket.part, f"{what}, which refuses whatever is signed", remedy)
    elif abs(ahead) > _TOLERANCE:
        yield warning(bucket.part, f"{what}, so tickets live too long or too short", remedy)
    else:
        yield ok(bucket.part, "the service's clock agrees with this machine's")
