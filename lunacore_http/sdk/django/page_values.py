"""What the page of a request shows: noted while it is rendered, and granted in one call before it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.utils.cache import patch_cache_control
from django.utils.safestring import SafeString, mark_safe

from lunacore_http.sdk.django import current
from lunacore_http.sdk.shown_values import ELEMENTS, ShownValues, element_of, grant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from django.http import HttpRequest, HttpResponse

    from lunacore_http.sdk.calls import Tokens

_SHOWN: Final = "_lunacore_shown"
_FAULT: Final = 500


def begin(request: HttpRequest) -> None:
    """Note from now on what the page of a request shows; the middleware does it."""
    setattr(request, _SHOWN, ShownValues())


def of(request: HttpRequest | None) -> ShownValues:
    """What the page of a request shows so far.

    Args:
        request: that of a template's context; if there is none, the one that the middleware is serving.

    Raises:
        ImproperlyConfigured: there is no request, or the middleware does not serve it, so that nothing would be granted.
    """
    shown = getattr(request or current.request(), _SHOWN, None)
    if isinstance(shown, ShownValues):
        return shown
    raise ImproperlyConfigured(
        "Values are granted to the session of the request that a page is for. Render it with its request, and add "
        '"lunacore_http.sdk.django.middleware.LunaCoreMiddleware" to MIDDLEWARE.'
    )


def secure_value(token: Tokens | None, element: str = ELEMENTS[0], **attributes: Any) -> SafeString:  # noqa: ANN401 - any attribute
    """``{% secure_value %}`` as a function, for Django's Jinja2 backend and for views."""
    return mark_safe(element_of(of(None).add(token), element, **attributes))  # noqa: S308 - escaped there


def granted(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """The response, once the request's session may read what it shows. If it is streamed, each part waits for its own grants."""
    if response.streaming:
        _grant_as_it_streams(request, response)
    elif response.status_code < _FAULT:
        _grant(request)
        if of(request):
            # The grants are this session's, so caches must not keep the page for others.
            patch_cache_control(response, private=True)
    return response


def _grant(request: HttpRequest) -> None:
    from lunacore_http.sdk.django.application import application  # noqa: PLC0415 - needs the settings

    shown = of(request)
    if shown:
        grant(application().grants, current.session_id_of(request), shown)


def _grant_as_it_streams(request: HttpRequest, response: Any) -> None:  # noqa: ANN401 - Django's streaming responses
    if getattr(response, "file_to_stream", None) is not None:
        return  # a file shows nothing, and servers have faster ways to send it
    parts = response.streaming_content
    response.streaming_content = _each_async(request, parts) if response.is_async else _each(request, parts)


def _each(request: HttpRequest, parts: Iterator[bytes]) -> Iterator[bytes]:
    for part in parts:
        _grant(request)
        yield part


async def _each_async(request: HttpRequest, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for part in parts:
        await sync_to_async(_grant)(request)
        yield part
