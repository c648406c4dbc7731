"""``{% load lunacore %}``: tags for pages that show values. What a page shows is granted in one call, by the middleware."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from lunacore_http.sdk.django import page_values
from lunacore_http.sdk.django.settings import current_settings
from lunacore_http.sdk.shown_values import ELEMENTS, element_of

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.template import Context

    from lunacore_http.sdk.calls import Tokens

register = template.Library()


@register.simple_tag(takes_context=True)
def secure_value(
    context: Context,
    token: Tokens | None,
    element: str = ELEMENTS[0],
    **attributes: Any,  # noqa: ANN401 - any attribute
) -> SafeString:
    """The element that shows or holds what a token stands for, to the session that asked for the page.

    ``{% secure_value patient.ssn label="Number" reveal=True class="number" %}``
    ``{% secure_value patient.passport "secure-download" label="Passport" %}``
    """
    shown = page_values.of(_request(context)).add(token)
    return mark_safe(element_of(shown, element, **attributes))  # noqa: S308 - escaped there


@register.simple_tag(takes_context=True)
def grant_values(context: Context, *tokens: Tokens | None) -> str:
    """Grant without showing: for parts of a page that come out of a cache."""
    for one in tokens:
        page_values.of(_request(context)).add(one)
    return ""


@register.simple_tag
def lunacore_script() -> SafeString:
    """The script that defines the components."""
    address = f"{current_settings().tokenizer_url}/sdk/lunacore.js"
    return format_html('<script type="module" src="{}"></script>', address)


def _request(context: Context) -> HttpRequest | None:
    found: HttpRequest | None = getattr(context, "request", None) or context.get("request")
    return found
