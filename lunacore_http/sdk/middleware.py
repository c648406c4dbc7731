"""WSGI (PEP 3333) and ASGI 3 middleware: answers at the two paths and keeps the cookie of anonymous sessions.

Everything else is the application's, and reaches it untouched.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import anyio.to_thread

from lunacore.errors import ConfigError
from lunacore_http.sdk.credentials import MAX_SESSION_ID
from lunacore_http.sdk.endpoints import JWKS_PATH, PATHS
from lunacore_http.sdk.requests import Request

if TYPE_CHECKING:
    from lunacore_http.sdk.anonymous import AnonymousSessions, Visit
    from lunacore_http.sdk.endpoints import Answer, Endpoints

SessionIdProvider: TypeAlias = Callable[[Request], "str | Awaitable[str | None] | None"]
"""Tells the session id of whoever sent a request; None for nobody. May be a coroutine function under ASGI."""

Environ: TypeAlias = dict[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApplication: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = list[tuple[str, str]]


class StartResponse(Protocol):
    """WSGI's ``start_response``."""

    def __call__(self, status: str, headers: Headers, exc_info: Any = None, /) -> Any: ...  # noqa: ANN401 - PEP 3333


WSGIApplication: TypeAlias = Callable[[Environ, Any], Iterable[bytes]]


class WSGIMiddleware:
    """A WSGI application around another one.

    Raises:
        ConfigError: the session id provider is a coroutine function, which WSGI cannot wait for.
    """

    def __init__(
        self,
        application: WSGIApplication,
        endpoints: Endpoints,
        anonymous: AnonymousSessions,
        provider: SessionIdProvider | None,
    ) -> None:
        if inspect.iscoroutinefunction(provider):
            raise ConfigError("session_id_provider is a coroutine function, which needs asgi()")
        self._application = application
        self._endpoints = endpoints
        self._anonymous = anonymous
        self._provider = provider

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        visit = self._anonymous.begin_visit(environ)
        if environ.get("PATH_INFO") in PATHS:
            return self._answer(Request("wsgi", environ), start_response)
        if visit is None:
            return self._application(environ, start_response)
        return self._application(environ, self._with_cookie(visit, start_response))

    def _answer(self, request: Request, start_response: StartResponse) -> Iterable[bytes]:
        answer = self._endpoints.check(request)
        if answer is None and request.path == JWKS_PATH:
            answer = self._endpoints.jwks()
        if answer is None:
            answer = self._endpoints.secure_frame(self._session_id(request), request.query)
        headers = [*answer.headers.items(), ("content-length", str(len(answer.body)))]
        start_response(f"{int(answer.status)} {answer.reason}", headers)
        return [] if request.method == "HEAD" else [answer.body]

    def _session_id(self, request: Request) -> str | None:
        given = None if self._provider is None else self._provider(request)
        if inspect.isawaitable(given):
            if inspect.iscoroutine(given):
                given.close()  # or Python warns that nobody waited for it
            raise ConfigError("session_id_provider gave an awaitable, which needs asgi()")
        return checked_session_id(given) or self._anonymous.session_id(request)

    def _with_cookie(self, visit: Visit, start_response: StartResponse) -> StartResponse:
        def start(status: str, headers: Headers, exc_info: Any = None, /) -> Any:  # noqa: ANN401 - PEP 3333
            if visit.cookie is not None:
                headers = _uncached(headers)
                headers += [("Cache-Control", "no-store"), ("Set-Cookie", self._anonymous.set_cookie(visit.cookie))]
            return start_response(status, headers) if exc_info is None else start_response(status, headers, exc_info)

        return start


class ASGIMiddleware:
    """An ASGI application around another one."""

    def __init__(
        self,
        application: ASGIApplication,
        endpoints: Endpoints,
        anonymous: AnonymousSessions,
        provider: SessionIdProvider | None,
    ) -> None:
        self._application = application
        self._endpoints = endpoints
        self._anonymous = anonymous
        self._provider = provider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        visit = self._anonymous.begin_visit(scope)
        request = Request.of(scope)
        if request.path in PATHS:
            await self._answer(request, send)
        elif visit is None:
            await self._application(scope, receive, send)
        else:
            await self._application(scope, receive, self._with_cookie(visit, send))

    async def _answer(self, request: Request, send: Send) -> None:
        answer = self._endpoints.check(request) or await self._called(request)
        headers = [*answer.headers.items(), ("content-length", str(len(answer.body)))]
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": int(answer.status), "headers": encoded})
        await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else answer.body})

    async def _called(self, request: Request) -> Answer:
        # Signing takes its time, and the application's functions may take theirs: not on the event loop.
        if request.path == JWKS_PATH:
            return await anyio.to_thread.run_sync(self._endpoints.jwks)
        session_id = await self._session_id(request)
        return await anyio.to_thread.run_sync(self._endpoints.secure_frame, session_id, request.query)

    async def _session_id(self, request: Request) -> str | None:
        provider = self._provider
        given: Any = None
        if inspect.iscoroutinefunction(provider):
            given = await provider(request)
        elif provider is not None:
            given = await anyio.to_thread.run_sync(provider, request)
            if inspect.isawaitable(given):
                given = await given
        return checked_session_id(given) or self._anonymous.session_id(request)

    def _with_cookie(self, visit: Visit, send: Send) -> Send:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and visit.cookie is not None:
                headers = [one for one in message.get("headers", ()) if one[0].lower() != b"cache-control"]
                cookie = self._anonymous.set_cookie(visit.cookie).encode("ascii")
                message = {**message, "headers": [*headers, (b"cache-control", b"no-store"), (b"set-cookie", cookie)]}
            await send(message)

        return sent


def checked_session_id(given: object) -> str | None:
    """What a session id provider gave.

    Raises:
        ConfigError: it is neither None nor a session id. An id that was cut, or the id of nobody, might be somebody else's.
    """
    if given is None:
        return None
    if isinstance(given, str) and 0 < len(given) <= MAX_SESSION_ID and given.isprintable():
        return given
    raise ConfigError(f"session_id_provider must give None or text of 1 to {MAX_SESSION_ID} printable characters")


def _uncached(headers: Headers) -> Headers:
    """Headers without any that would let a cache keep the answer, and hand one visitor's cookie to another."""
    return [(name, value) for name, value in headers if name.lower() != "cache-control"]
