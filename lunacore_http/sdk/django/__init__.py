"""A Django application: settings and system checks, middleware, ``TokenField`` with its form field, and ``lunacore_backfill``.

Add ``"lunacore_http.sdk.django"`` to ``INSTALLED_APPS``; ``docs/how-to/django.md`` shows the rest. ``luna`` is the project's
``lunacore_http.sdk.Application``, made from the setting ``LUNACORE`` when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lunacore_http.sdk.django.application import luna as luna
    from lunacore_http.sdk.django.fields import TokenField as TokenField

__all__ = ["TokenField", "luna"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any name of the module
    # Django imports this package before its settings can be read.
    if name == "TokenField":
        from lunacore_http.sdk.django.fields import TokenField  # noqa: PLC0415

        return TokenField
    if name == "luna":
        from lunacore_http.sdk.django.application import luna  # noqa: PLC0415

        return luna
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
