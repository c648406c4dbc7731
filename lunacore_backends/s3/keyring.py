"""The sealed keyring as one object in an S3 bucket: ``s3://bucket/path/keyring?endpoint=…``; docs/reference/s3-keyring.md.

The object holds the sealed keyring and nothing else, so that it can be backed up and restored with any S3 client. It is created
by ``If-None-Match: *`` and swapped by ``If-Match``. Before the first write the service is proved to keep both; who only reads,
as every server does, needs neither the proof nor the right to write.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

from lunacore.errors import ConfigError, KeyringError, StoreUnavailable
from lunacore_backends.keyring_files import MAX_BYTES
from lunacore_backends.s3 import diagnosis
from lunacore_backends.s3.condition_proof import ConditionProof
from lunacore_backends.s3.conditional import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunacore.diagnosis import Circumstances, Finding
    from lunacore.plugins import BackendURL, Surroundings
    from lunacore_backends.s3.conditional import ConditionalObjects

_WRITE_BYTES: Final = 16
# Each turn was lost to another writer who then put back what had been there.
_SWAPS: Final = 10


def open_keyring(url: BackendURL, surroundings: Surroundings) -> S3Keyring:
    """The keyring store in the object that the URL names; the object need not exist yet, its bucket must.

    Raises:
        ConfigError: the URL names no object, or an option is unknown or wrong.
        StoreUnavailable: the service cannot be asked for the bucket's region.
    """
    setting = surroundings.setting
    if not url.path.strip("/") or url.path.endswith("/"):
        raise ConfigError(f"{setting}: name an object of the bucket, such as s3://{url.host or 'bucket'}/keyring")
    objects = connect(url, surroundings)
    # What follows the bucket is read as a prefix, which ends with a slash; the object's key does not.
    return S3Keyring(objects, setting, objects.settings.prefix.removesuffix("/"), surroundings.random)


class S3Keyring:
    """A ``KeyringStore`` in one object, as durable as the service.

    Args:
        objects: the bucket.
        setting: name of the setting that names it, for messages.
        key: of the object.
        random: cryptographically secure random bytes.
    """

    def __init__(self, objects: ConditionalObjects, setting: str, key: str, random: Callable[[int], bytes]) -> None:
        self._objects = objects
        self._setting = setting
        self._key = key
        self._random = random
        self._proved = False
        self._proving = Lock()

    def read(self) -> bytes | None:
        present = self._objects.run(self._objects.read, self._key)
        if present is not None and len(present.data) > MAX_BYTES:
            raise KeyringError(
                f"{self._setting}: the object {self._key} has more than {MAX_BYTES} bytes, so it is no keyring"
            )
        return None if present is None else present.data

    def replace(self, old: bytes | None, new: bytes) -> bool:
        """As the interface says.

        Raises:
            ConfigError: the service does not keep conditional writes; nothing was written.
            StoreUnavailable: the service cannot be reached, or refuses.
        """
        if len(new) > MAX_BYTES:
            raise KeyringError(f"{self._setting}: a keyring of more than {MAX_BYTES} bytes; retire some keys")
        self._prove()
        write = self._random(_WRITE_BYTES).hex()
        if old is None:
            return self._objects.run(self._create, new, write)
        return self._objects.run(self._swap, old, new, write)

    def probe(self) -> None:
        if self.read() is None:
            raise StoreUnavailable(f"{self._setting}: there is no keyring at {self._key}")

    def diagnose(self, circumstances: Circumstances) -> Sequence[Finding]:
        return diagnosis.examine_keyring(self._objects.settings, self._key, circumstances)

    def close(self) -> None:
        """Close the connections; calls after that raise ``StoreUnavailable``."""
        self._objects.close()

    def _prove(self) -> None:
        with self._proving:
            if not self._proved:
                proof = ConditionProof(
                    self._objects,
                    self._setting,
                    f"{self._key}.",
                    self._random,
                    held="the keyring",
                    instead="keep it in a file (file:) or in the record store (records:)",
                )
                self._objects.run(proof.give)
                self._proved = True

    async def _create(self, new: bytes, write: str) -> bool:
        if await self._objects.create(self._key, new, write):
            return True
        # A connection that broke after the service had written makes a second try, which then meets the first.
        present = await self._objects.read(self._key)
        return present is not None and present.write == write

    async def _swap(self, old: bytes, new: bytes, write: str) -> bool:
        for _ in range(_SWAPS):
            present = await self._objects.read(self._key)
            if present is None:
                return False
            if present.write == write:
                return True  # the answer to the swap was lost
            if present.data != old:
                return False
            if await self._objects.swap(self._key, new, present, write):
                return True
        raise StoreUnavailable(f"{self._setting}: the keyring is being changed by others; try again", retry_after=1)
