"""``LUNACORE``: every setting has a check, with an id and a hint that says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.test import override_settings

from lunacore_http.sdk.django import luna
from lunacore_http.sdk.django.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

MIDDLEWARE = "lunacore_http.sdk.django.middleware.LunaCoreMiddleware"
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"


def found(given: object = None, **more: Any) -> list[tuple[str, str, str]]:
    """Ids, messages and hints of LunaCore's own checks."""
    given = settings.LUNACORE if given is None else given
    with override_settings(LUNACORE=given, **more):
        ours = [one for one in checks.run_checks() if (one.id or "").startswith("lunacore.")]
    return [(one.id or "", one.msg, one.hint or "") for one in ours]


def with_setting(name: str, value: object) -> Mapping[str, object]:
    return {**settings.LUNACORE, name: value}


def test_the_project_is_right() -> None:
    assert found() == []
    call_command("check", fail_level="WARNING", verbosity=0)


@pytest.mark.parametrize(
    ("name", "value", "code", "hint"),
    [
        ("TOKENIZER_URL", "secure.example.com", "lunacore.E004", "https://secure.example.com"),
        ("TOKENIZER_URL", "http://secure.example.com", "lunacore.E004", "https://"),
        ("INTERNAL_URL", "tokenizer:37766", "lunacore.E005", "URL"),
        ("ISSUER", "", "lunacore.E006", "issuer"),
        ("SIGNING_KEY", "no key", "lunacore.E007", "PEM"),
        ("SIGNING_KEY", Path("/nowhere/app.pem"), "lunacore.E007", "cannot be read"),
        ("SIGNING_KEY", 7, "lunacore.E007", "PEM"),
        ("SESSION_ID_PROVIDER", "nowhere.provider", "lunacore.E008", "dotted path"),
        ("SESSION_ID_PROVIDER", 7, "lunacore.E008", "function"),
        ("ANONYMOUS_SESSIONS", "yes", "lunacore.E009", "True"),
        ("SESSION_TTL", "soon", "lunacore.E010", "duration"),
        ("TIMEOUT", 0, "lunacore.E011", "seconds"),
        ("CA", "/nowhere/ca.pem", "lunacore.E012", "PEM"),
        ("RETRIES", -1, "lunacore.E016", "whole number"),
    ],
)
def test_a_wrong_setting_is_found(name: str, value: object, code: str, hint: str) -> None:
    problems = found(with_setting(name, value))
    assert [one[0] for one in problems] == [code]
    assert name in problems[0][1]
    assert hint in problems[0][2]
    with override_settings(LUNACORE=with_setting(name, value)), pytest.raises(ImproperlyConfigured, match=code):
        current_settings()


def test_no_message_shows_the_key() -> None:
    damaged = settings.LUNACORE["SIGNING_KEY"].replace("MC4", "secret")
    assert "secret" not in str(found(with_setting("SIGNING_KEY", damaged)))
    assert settings.LUNACORE["SIGNING_KEY"] not in repr(current_settings())


def test_missing_and_unknown_settings_are_found() -> None:
    assert [one[0] for one in found({})] == ["lunacore.E003"] * 3
    assert [one[0] for one in found("text")] == ["lunacore.E001"]
    ((code, message, hint),) = found(with_setting("TOKENISER_URL", "x"))
    assert (code, hint) == ("lunacore.E002", "Did you mean TOKENIZER_URL?")
    assert "TOKENISER_URL" in message


def test_the_middleware_must_be_there_and_behind_the_sessions() -> None:
    without = [one for one in settings.MIDDLEWARE if one != MIDDLEWARE]
    assert [one[0] for one in found(MIDDLEWARE=without)] == ["lunacore.W001"]
    assert found(MIDDLEWARE=without, ROOT_URLCONF="lunacore_http.sdk.django.urls") != []
    assert [one[0] for one in found(MIDDLEWARE=without, ROOT_URLCONF="tests.sdk.django_shop.urls_with_lunacore")] == []
    assert "lunacore.E014" in [one[0] for one in found(MIDDLEWARE=[MIDDLEWARE, *without])]
    no_sessions = [one for one in settings.MIDDLEWARE if one != SESSIONS]
    assert "lunacore.E013" in [one[0] for one in found(MIDDLEWARE=no_sessions)]
    own = with_setting("SESSION_ID_PROVIDER", "tests.sdk.django_shop.test_settings_checks.found")
    assert "lunacore.E013" not in [one[0] for one in found(own, MIDDLEWARE=no_sessions)]


def test_sessions_in_a_cookie_are_no_ground_for_session_ids() -> None:
    assert [one[0] for one in found(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")] == [
        "lunacore.E015"
    ]


def test_luna_follows_the_settings() -> None:
    with override_settings(LUNACORE=with_setting("ISSUER", "https://one.example.com")):
        assert luna.issuer == "https://one.example.com"
    with override_settings(LUNACORE=with_setting("ISSUER", "https://other.example.com")):
        assert luna.issuer == "https://other.example.com"
