"""A log-in begins a new session of the tokenizer, and a log-out ends it there, with all its grants."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from django.contrib.auth.signals import user_logged_in, user_logged_out

from lunacore.errors import LunaCoreError
from lunacore_http.sdk.django import current
from lunacore_http.sdk.django.application import application
from lunacore_http.sdk.django.settings import current_settings

if TYPE_CHECKING:
    from django.http import HttpRequest

_LOG: Final = logging.getLogger("lunacore.sdk")


def connect() -> None:
    """Listen to Django's own signals, which every log-in and log-out sends."""
    user_logged_in.connect(_on_log_in, dispatch_uid="lunacore")
    user_logged_out.connect(_on_log_out, dispatch_uid="lunacore")


def _on_log_in(sender: object, request: HttpRequest | None, **_: object) -> None:  # noqa: ARG001 - Django's
    if request is not None:
        current.mark_log_in(request)


def _on_log_out(sender: object, request: HttpRequest | None, user: object, **_: object) -> None:  # noqa: ARG001 - Django's
    """End the session. A tokenizer that cannot be reached does not keep anyone from logging out."""
    if request is None or user is None:
        return
    try:
        session_id = current_settings().session_id_provider(request)
        if session_id is not None:
            application().sessions.end(session_id)
    except LunaCoreError as problem:
        _LOG.warning(
            "event=session_not_ended error=%s: the grants of the session that logged out live on until they expire",
            problem.name,
        )
