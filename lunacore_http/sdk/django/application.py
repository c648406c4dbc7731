"""The project's ``Application``, made from the setting ``LUNACORE`` when it is first used."""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Final

from lunacore_http.sdk import Application
from lunacore_http.sdk.django import settings


@cache
def application() -> Application:
    """The project's ``Application``; one for each process.

    Raises:
        ImproperlyConfigured: ``LUNACORE`` is wrong.
    """
    given = settings.current_settings()
    return Application(
        given.tokenizer_url,
        issuer=given.issuer,
        signing_key=given.signing_key,
        internal_url=given.internal_url,
        session_ttl=given.session_ttl,
        timeout=given.timeout,
        retries=given.retries,
        ca=given.ca,
    )


class _Luna:
    """Whatever ``application()`` is now: it may be imported before the settings can be read, and tests change them."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any member of Application
        return getattr(application(), name)

    def __repr__(self) -> str:
        return "<luna>"


luna: Final = _Luna()


def on_setting_changed(*, setting: str, **_: object) -> None:
    """Forget what was made of ``LUNACORE`` when a test overrides it."""
    if setting == "LUNACORE":
        if application.cache_info().currsize:
            application().close()
        application.cache_clear()
        settings.forget()


# Two processes must not talk over one connection.
os.register_at_fork(after_in_child=application.cache_clear)
