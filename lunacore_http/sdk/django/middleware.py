"""Middleware: serves the two well-known paths, lets form fields find their request, and grants what pages show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async

from lunacore_http.sdk.django import current, page_values, views
from lunacore_http.sdk.endpoints import JWKS_PATH, SECURE_FRAME_PATH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from django.http import HttpRequest, HttpResponse

_VIEWS: Final[Mapping[str, Callable[[HttpRequest], HttpResponse]]] = {
    JWKS_PATH: views.jwks,
    SECURE_FRAME_PATH: views.secure_frame,
}


class LunaCoreMiddleware:
    """Goes behind ``SessionMiddleware``, under WSGI and ASGI."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        if self._is_async:
            return self._answer(request)
        view = _VIEWS.get(request.path_info)
        page_values.begin(request)
        with current.serving(request):
            response: HttpResponse = view(request) if view else self._get_response(request)
        return page_values.granted(request, response)

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        view = _VIEWS.get(request.path_info)
        page_values.begin(request)
        with current.serving(request):
            # Sessions come from a database, and signing takes its time: not on the event loop.
            response: HttpResponse = await (sync_to_async(view)(request) if view else self._get_response(request))
        # The tokenizer is asked, and takes its time.
        granted: HttpResponse = await sync_to_async(page_values.granted)(request, response)
        return granted
