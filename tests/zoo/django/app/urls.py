"""Routes of the project."""

from django.contrib import admin
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import path


def users(_request):
    from django.contrib.auth.models import User

    return JsonResponse({"users": User.objects.count()})


def broken(_request):
    raise RuntimeError("broken on purpose")


def password(_request):
    from django.contrib.auth import authenticate

    return HttpResponse(str(authenticate(username="anna", password="pass")))


urlpatterns = [
    path("", lambda request: render(request, "front.html")),
    path("login", lambda request: render(request, "login.html")),
    path("users", users),
    path("password", password),
    path("broken", broken),
    path("admin/", admin.site.urls),
]
