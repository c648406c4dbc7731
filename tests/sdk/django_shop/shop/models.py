from __future__ import annotations

from django.db import models

from lunacore_http.sdk.django import TokenField


class Customer(models.Model):
    """Before, in between, and after a backfill."""

    name = models.CharField(max_length=100)
    card = models.CharField(max_length=100, blank=True, default="")
    card_token = TokenField(null=True, blank=True)
    note = models.CharField(max_length=100, unique=True, null=True, blank=True)


class Scan(models.Model):
    content = models.BinaryField(null=True)
    content_token = TokenField(null=True)
    number = models.IntegerField(default=0)
    code = models.CharField(max_length=10, unique=True, default="", blank=True)


class Member(models.Model):
    """Has only ever held tokens."""

    name = models.CharField(max_length=100)
    ssn = TokenField()
    passport = TokenField(blank=True, default="")
