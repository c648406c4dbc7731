"""Pages that show values, for ``test_page_values``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import path

from tests.sdk.django_shop import urls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PAGES: dict[str, str] = {}
"""Templates by name; ``tokens`` are those of the query."""


def _template(name: str) -> Any:
    return engines["django"].from_string("{% load lunacore cache %}" + PAGES[name])


def _context(request: HttpRequest) -> dict[str, Any]:
    return {"tokens": request.GET.getlist("token")}


def page(request: HttpRequest, name: str) -> HttpResponse:
    status = int(request.GET.get("status", "200"))
    return HttpResponse(_template(name).render(_context(request), request), status=status)


def lazy(request: HttpRequest, name: str) -> HttpResponse:
    return TemplateResponse(request, _template(name), _context(request))


async def later(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(_template(name).render(_context(request), request))


def streamed(request: HttpRequest, name: str) -> StreamingHttpResponse:
    def parts() -> Iterator[str]:
        for token in request.GET.getlist("token"):
            yield _template(name).render({"tokens": [token]}, request)

    return StreamingHttpResponse(parts())


async def streamed_later(request: HttpRequest, name: str) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        for token in request.GET.getlist("token"):
            yield _template(name).render({"tokens": [token]}, request)

    return StreamingHttpResponse(parts())


urlpatterns = [
    *urls.urlpatterns,
    path("page/<name>", login_not_required(page)),
    path("lazy/<name>", login_not_required(lazy)),
    path("later/<name>", login_not_required(later)),
    path("streamed/<name>", login_not_required(streamed)),
    path("streamed-later/<name>", login_not_required(streamed_later)),
]
