"""A small Django project. ``SHOP_DATABASE`` and ``SHOP_LUNACORE`` (JSON) let other processes work on the same one."""

from __future__ import annotations

import json
import os

from lunacore_http.sdk.testing import new_signing_key

SECRET_KEY = "of a test"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.admin",
    "lunacore_http.sdk.django",
    "tests.sdk.django_shop.shop.apps.ShopConfig",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "lunacore_http.sdk.django.middleware.LunaCoreMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "tests.sdk.django_shop.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("SHOP_DATABASE", ":memory:")}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
TIME_ZONE = "UTC"  # Django puts it into TZ, which servers that later tests start would inherit
USE_TZ = True
LOGIN_URL = "/log-in"
LUNACORE = json.loads(os.environ.get("SHOP_LUNACORE", "null")) or {
    "TOKENIZER_URL": "https://secure.example.com",
    "ISSUER": "https://app.example.com",
    "SIGNING_KEY": new_signing_key(),
}
