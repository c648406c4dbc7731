"""Calls over HTTP: pooled connections, bounded times and retries, once for threads and once for asyncio."""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import anyio.to_thread
import httpx

from lunacore.errors import LunaCoreError, Unauthenticated
from lunacore_http.sdk.calls import read_answer
from lunacore_http.sdk.retries import Attempts, unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunacore_http.sdk.calls import Call, Data, Flow
    from lunacore_http.sdk.credentials import Credentials
    from lunacore_http.sdk.settings import Settings

TOKENIZER: Final = "the tokenizer"
LIMITS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30.0)

_JITTER_STEPS: Final = 1 << 16
_log: Final = logging.getLogger("lunacore.sdk")
T = TypeVar("T")


def jitter() -> float:
    """A number from 0 to 1."""
    return secrets.randbelow(_JITTER_STEPS) / _JITTER_STEPS


class _Sender:
    """One call on its way: its attempts, and one more with a fresh JWT where the tokenizer refused the kept one."""

    def __init__(self, call: Call, settings: Settings, credentials: Credentials) -> None:
        self._call = call
        self._credentials = credentials
        self._attempts = Attempts(repeatable=call.repeatable, retries=settings.retries, jitter=jitter)
        self._url = settings.internal_url + call.path
        self._bearers: set[str] = set()

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        bearer = self._credentials.bearer()
        self._bearers.add(bearer)
        headers = {"authorization": f"Bearer {bearer}", "content-type": "application/json"}
        return client.build_request("POST", self._url, content=self._call.body, headers=headers)

    def read(self, response: httpx.Response) -> Data:
        return read_answer(response.status_code, response.headers.get("retry-after"), response.content)

    def pause(self, failure: Exception) -> float:
        """Seconds to wait before the next attempt; raises ``failure``, as one of LunaCore's own, if there is none."""
        if isinstance(failure, Unauthenticated) and len(self._bearers) == 1:
            # The JWT was refused at the door, so nothing was done: a key may have been replaced since it was signed.
            (kept,) = self._bearers
            self._credentials.forget(kept)
            self._bearers.add("")
            return 0.0
        pause = self._attempts.pause(failure)
        if pause is None:
            if isinstance(failure, httpx.TransportError):
                raise unreachable(failure, TOKENIZER) from None
            raise failure
        _log.info("%s failed (%s); next attempt in %.1f s", self._call.path, type(failure).__name__, pause)
        return pause


class Connection:
    """Runs flows; safe to use from several threads."""

    def __init__(
        self, settings: Settings, credentials: Credentials, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._sleep = sleep
        self._client = httpx.Client(
            verify=settings.trust, timeout=settings.timeout, limits=LIMITS, trust_env=False, follow_redirects=False
        )

    def run(self, flow: Flow[T]) -> T:
        """The result of a flow; raises what was refused."""
        try:
            call = next(flow)
            while True:
                call = flow.send(self._send(call))
        except StopIteration as done:
            result: T = done.value
            return result

    def close(self) -> None:
        self._client.close()

    def _send(self, call: Call) -> Data:
        sender = _Sender(call, self._settings, self._credentials)
        while True:
            try:
                return sender.read(self._client.send(sender.request(self._client)))
            except (httpx.TransportError, LunaCoreError) as problem:
                pause = sender.pause(problem)
            self._sleep(pause)


class AsyncConnection:
    """Runs flows under asyncio."""

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self._settings = settings
        self._credentials = credentials
        self._client = httpx.AsyncClient(
            verify=settings.trust, timeout=settings.timeout, limits=LIMITS, trust_env=False, follow_redirects=False
        )

    async def run(self, flow: Flow[T]) -> T:
        """The result of a flow; raises what was refused."""
        try:
            call = next(flow)
            while True:
                call = flow.send(await self._send(call))
        except StopIteration as done:
            result: T = done.value
            return result

    async def close(self) -> None:
        await self._client.aclose()

    async def _send(self, call: Call) -> Data:
        sender = _Sender(call, self._settings, self._credentials)
        while True:
            try:
                return sender.read(await self._client.send(await self._request(sender)))
            except (httpx.TransportError, LunaCoreError) as problem:
                pause = sender.pause(problem)
            await anyio.sleep(pause)

    async def _request(self, sender: _Sender) -> httpx.Request:
        if self._credentials.is_quick():
            return sender.request(self._client)
        # The application's function for keys may take its time, and must not hold the event loop.
        return await anyio.to_thread.run_sync(sender.request, self._client)
