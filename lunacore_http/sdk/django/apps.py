"""What the Django application does at start: its checks, and what follows from log-in and log-out."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks
from django.core.signals import setting_changed


class LunaCoreConfig(AppConfig):
    """The application ``lunacore``."""

    name = "lunacore_http.sdk.django"
    label = "lunacore"
    verbose_name = "LunaCore"

    def ready(self) -> None:
        from lunacore_http.sdk.django import application, log_in, system_checks  # noqa: PLC0415 - settings are ready now

        checks.register(system_checks.check_settings)
        checks.register(system_checks.check_sessions)
        checks.register(system_checks.check_paths)
        log_in.connect()
        setting_changed.connect(application.on_setting_changed, dispatch_uid="lunacore")
