from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import authenticate, login, logout
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from lunacore_http.sdk.django import current
from tests.sdk.django_shop.forms import MemberForm


@csrf_exempt
@login_not_required
def log_in(request: HttpRequest) -> HttpResponse:
    user = authenticate(request, username=request.POST["username"], password=request.POST["password"])
    assert user is not None
    login(request, user)
    return HttpResponse()


@csrf_exempt
def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse()


@csrf_exempt
def member(request: HttpRequest) -> HttpResponse:
    form = MemberForm(request.POST)
    if not form.is_valid():
        return JsonResponse(form.errors, status=422)
    form.save()
    return HttpResponse(status=201)


@login_not_required
def who(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"session": current.session_id_of(request)})


@login_not_required
def cart(request: HttpRequest) -> HttpResponse:
    request.session["cart"] = ["apples"]
    return HttpResponse()


async def later(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(current.request() is request))


urlpatterns = [
    path("log-in", log_in),
    path("log-out", log_out),
    path("member", member),
    path("who", who),
    path("cart", cart),
    path("later", login_not_required(later)),
    path("admin/", admin.site.urls),
]
