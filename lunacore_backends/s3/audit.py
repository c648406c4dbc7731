"""Audit segments in an S3 bucket: ``s3://bucket/prefix?endpoint=…``; docs/reference/audit-segments.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunacore.errors import StoreUnavailable
from lunacore_backends.auditsinks.segments import AuditSegments
from lunacore_backends.s3.conditional import connect

if TYPE_CHECKING:
    from lunacore.plugins import BackendURL, Surroundings
    from lunacore_backends.s3.conditional import ConditionalObjects


def open_audit(url: BackendURL, surroundings: Surroundings) -> AuditSegments:
    """The sink under the prefix of the bucket that the URL names.

    Raises:
        ConfigError: an option of the URL is unknown or wrong.
        StoreUnavailable: the service cannot be asked for the bucket's region.
    """
    setting = surroundings.setting
    medium = S3Segments(connect(url, surroundings), setting)
    return AuditSegments(medium, setting=setting, now=surroundings.now, random=surroundings.random)


class S3Segments:
    """A ``SegmentMedium`` in a bucket. It never replaces an object, where the service keeps ``If-None-Match: *``."""

    def __init__(self, objects: ConditionalObjects, setting: str) -> None:
        self._objects = objects
        self._setting = setting

    def create(self, name: str, content: bytes) -> None:
        key = self._objects.settings.prefix + name
        if self._objects.run(self._objects.create, key, content):
            return
        # A connection that broke after the service had written makes a second try, which then meets the first.
        present = self._objects.run(self._objects.read, key)
        if present is None or present.data != content:
            raise StoreUnavailable(f"{self._setting}: another object lies where the segment {name} should")

    def probe(self) -> None:
        """List, which is no more than a probe of objects asks for."""
        self._objects.run(self._objects.page, self._objects.settings.prefix, "", 1)

    def close(self) -> None:
        self._objects.close()
