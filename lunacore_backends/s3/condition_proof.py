"""Proof that an S3 service keeps the conditions that records and the keyring stand on.

Some services ignore ``If-None-Match`` or ``If-Match``, and some check them without a lock, so that of writers at the same moment
several win. Either would lose what was written without a sound, so such a service is refused before it holds anything.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from attrs import evolve, field, frozen

from lunacore.errors import ConfigError, LunaCoreError, StoreUnavailable
from lunacore_backends.s3.conditional import Answered, in_parallel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lunacore_backends.s3.conditional import ConditionalObjects, Stored

# More rivals would find a gap more surely, and keep services that queue writers by polling (SeaweedFS) busy for seconds.
RIVALS: Final = 4
_OBJECTS: Final = 3
# How services say that they do not know a header.
_UNKNOWN_HEADER: Final = frozenset({"InvalidArgument", "InvalidRequest", "NotImplemented"})
_OTHER_ETAG: Final = '"00000000000000000000000000000000"'


@frozen
class ConditionProof:
    """Tries the conditions on a few scratch objects, and removes them.

    Attributes:
        setting: name of the setting that names the bucket, for messages.
        prefix: what the keys of the scratch objects begin with.
        held: what the service is to hold, and
        instead: what else can hold it, for messages.
    """

    objects: ConditionalObjects
    setting: str
    prefix: str
    random: Callable[[int], bytes] = field(repr=False)
    held: str = "records"
    instead: str = "name sqlite:// or another database"

    async def give(self) -> None:
        """Return if the conditions hold.

        Raises:
            ConfigError: they do not; the message says what the service did.
            StoreUnavailable: the service cannot be reached, or refuses everything.
        """
        keys = [f"{self.prefix}conditions-{self.random(16).hex()}" for _ in range(_OBJECTS)]
        try:
            await in_parallel(self._try, keys)
        except LunaCoreError:
            with suppress(StoreUnavailable):
                await self.objects.remove(keys)
            raise
        await self.objects.remove(keys)

    async def _try(self, key: str) -> None:
        try:
            await self._create_and_swap(key)
        except Answered as answered:
            if answered.code not in _UNKNOWN_HEADER:
                raise
            raise self._refusal(f"it does not take If-None-Match or If-Match ({answered.code})") from answered

    async def _create_and_swap(self, key: str) -> None:
        created = await self._one_winner(key, lambda data: self.objects.create(key, data), "If-None-Match: *")
        if await self.objects.create(key, self._data()):
            raise self._refusal("it let an object be created although it was there (it ignores If-None-Match: *)")
        if await self.objects.swap(key, self._data(), evolve(created, etag=_OTHER_ETAG)):
            raise self._refusal("it replaced an object although its ETag was another (it ignores If-Match)")
        await self._one_winner(key, lambda data: self.objects.swap(key, data, created), "If-Match")

    async def _one_winner(self, key: str, write: Callable[[bytes], Awaitable[bool]], condition: str) -> Stored:
        rivals = [self._data() for _ in range(RIVALS)]
        won = await in_parallel(write, rivals)
        if won.count(True) > 1:
            raise self._refusal(
                f"of {RIVALS} writers at the same moment {won.count(True)} won (it checks {condition} without a lock)"
            )
        present = await self.objects.read(key)
        if present is None or True not in won:
            raise StoreUnavailable(f"{self.setting}: writes to a scratch object were lost; try again")
        if present.data != rivals[won.index(True)]:
            raise self._refusal(f"it refused a write ({condition}) and did it all the same")
        return present

    def _data(self) -> bytes:
        return b"LunaCore tries conditional writes; this may be deleted. " + self.random(16).hex().encode()

    def _refusal(self, behaviour: str) -> ConfigError:
        return ConfigError(
            f"{self.setting}: this S3 service cannot hold {self.held}: {behaviour}; use a service that keeps conditional "
            f"writes, such as AWS S3 or a recent MinIO or SeaweedFS, or {self.instead}"
        )
