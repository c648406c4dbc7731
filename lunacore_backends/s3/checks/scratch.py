"""Scratch objects: written to find out what a service does, and removed whatever happens."""

from __future__ import annotations

import shlex
from contextlib import suppress
from typing import TYPE_CHECKING

from attrs import define, field

from lunacore.diagnosis import warning
from lunacore.errors import StoreUnavailable

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from lunacore.diagnosis import Finding
    from lunacore_backends.s3.checks.bucket import Bucket


@define(eq=False)
class Scratch:
    """A context in which keys are handed out; at its end all versions, uploads and objects under them are removed.

    Attributes:
        left: keys that could not be cleared.
    """

    bucket: Bucket
    left: list[str] = field(factory=list, init=False)
    _keys: list[str] = field(factory=list, init=False)
    _uploads: list[tuple[str, str]] = field(factory=list, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for key, upload in self._uploads:
            with suppress(StoreUnavailable):
                self.bucket.send("DELETE", key, query={"uploadId": upload})
        self.left += [key for key in self._keys if not self._cleared(key)]

    def key(self) -> str:
        """A new key."""
        key = self.bucket.scratch_key()
        self._keys.append(key)
        return key

    def began(self, key: str, upload: str) -> None:
        """Remember a multipart upload."""
        self._uploads.append((key, upload))

    def finding(self) -> list[Finding]:
        """What could not be removed."""
        if not self.left:
            return []
        bucket = self.bucket.settings.bucket
        endpoint = self.bucket.settings.endpoint
        option = f" --endpoint-url {endpoint}" if endpoint else ""
        commands = [f"aws s3 rm {shlex.quote(f's3://{bucket}/{key}')}{option}" for key in self.left]
        return [
            warning(
                self.bucket.part,
                f"{len(self.left)} scratch objects of this checkup could not be removed again",
                f"remove them with credentials that may: {'; '.join(commands)}",
            )
        ]

    def _cleared(self, key: str) -> bool:
        try:
            for version in self._versions(key):
                self.bucket.send("DELETE", key, query={"versionId": version} if version else None)
            return self._is_gone(key)
        except StoreUnavailable:
            return False

    def _versions(self, key: str) -> list[str]:
        """Ids of versions and delete markers; an empty one stands for the object where they cannot be had."""
        answer = self.bucket.send("GET", query={"prefix": key, "versions": ""})
        listed = answer.xml()
        if not answer.fine or listed is None:
            return [""]
        found = [*listed.findall("{*}Version"), *listed.findall("{*}DeleteMarker")]
        return [one.findtext("{*}VersionId", "") for one in found if one.findtext("{*}Key") == key]

    def _is_gone(self, key: str) -> bool:
        # Who may not read still sees by a listing whether it is gone.
        answer = self.bucket.send("GET", query={"list-type": "2", "prefix": key})
        listed = answer.xml()
        if answer.fine and listed is not None:
            return listed.find("{*}Contents") is None
        return self.bucket.send("HEAD", key, headers=self.bucket.encryption).status in (403, 404)
