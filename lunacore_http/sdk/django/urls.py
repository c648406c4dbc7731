"""The two well-known paths as URLs, for projects that want no middleware.

``path("", include("lunacore_http.sdk.django.urls"))`` goes into the root URLs.
"""

from __future__ import annotations

from django.urls import path

from lunacore_http.sdk.django import views

app_name = "lunacore"
urlpatterns = [
    path(".lunasec/jwks.json", views.jwks, name="jwks"),
    path(".lunasec/secure-frame", views.secure_frame, name="secure-frame"),
]
