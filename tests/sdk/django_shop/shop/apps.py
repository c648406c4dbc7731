from __future__ import annotations

from pathlib import Path

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "tests.sdk.django_shop.shop"
    label = "shop"
    path = str(Path(__file__).parent)
