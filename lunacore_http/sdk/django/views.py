"""The two well-known paths, for the middleware and for the URLs alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse

from lunacore_http.sdk import Request
from lunacore_http.sdk.django import current
from lunacore_http.sdk.django.application import application
from lunacore_http.sdk.middleware import checked_session_id

if TYPE_CHECKING:
    from lunacore_http.sdk import Answer


@login_not_required
def jwks(request: HttpRequest) -> HttpResponse:
    """All current public keys of the application."""
    endpoints = application()._endpoints
    return _response(endpoints.check(_asked(request)) or endpoints.jwks())


@login_not_required
def secure_frame(request: HttpRequest) -> HttpResponse:
    """Back to the tokenizer with an assertion of the visitor's session; 401 for one without, never a log-in page."""
    endpoints = application()._endpoints
    refusal = endpoints.check(_asked(request))
    if refusal is not None:
        return _response(refusal)
    session_id = checked_session_id(current.session_id_of(request))
    return _response(endpoints.secure_frame(session_id, request.META.get("QUERY_STRING", "")))


def _asked(request: HttpRequest) -> Request:
    # Not as the server gave it: Django knows where it is mounted.
    return Request("wsgi", {**request.META, "REQUEST_METHOD": request.method, "PATH_INFO": request.path_info})


def _response(answer: Answer) -> HttpResponse:
    return HttpResponse(answer.body, status=int(answer.status), headers=dict(answer.headers))
