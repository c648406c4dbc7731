from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("", include("lunacore_http.sdk.django.urls"))]
