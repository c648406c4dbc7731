"""The form field: a token that the visitor's own session may store, and nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import ImproperlyConfigured
from django.test import Client, RequestFactory, override_settings

from lunacore import tokens
from lunacore_http.sdk.django.forms import SecureInput, TokenFormField
from tests.sdk.django_shop.forms import MemberForm
from tests.sdk.django_shop.shop.models import Member

if TYPE_CHECKING:
    from lunacore.tokens import Token
    from lunacore_http.sdk.testing import EmbeddedTokenizer

pytestmark = [pytest.mark.usefixtures("database"), pytest.mark.xdist_group("lunacore_tokenizer")]


def token() -> Token:
    return tokens.mint(os.urandom)


class CardForm(forms.Form):
    card = TokenFormField()


def form(data: dict[str, str], session: str = "alice", initial: dict[str, str] | None = None) -> CardForm:
    made = CardForm(data, initial=initial)
    field = made.fields["card"]
    assert isinstance(field, TokenFormField)
    field.for_session(session)
    return made


def test_the_widget_renders_the_secure_component() -> None:
    minted = token()
    shown = str(CardForm(initial={"card": minted})["card"])
    assert shown == f'<secure-input id="id_card" name="card" token="{minted}" required></secure-input>'
    with_validator = SecureInput(attrs={"validator": "card"}).render("card", None)
    assert with_validator == '<secure-input name="card" validator="card"></secure-input>'
    assert "<script>" not in SecureInput().render('c"><script>', None)
    assert str(CardForm().media) == '<script src="https://secure.example.com/sdk/lunacore.js" type="module"></script>'


def test_a_value_is_refused_and_not_repeated() -> None:
    made = form({"card": "4111111111111111"})
    assert not made.is_valid()
    assert made.errors == {"card": ["This is not a token."]}


def test_a_form_without_a_request_is_a_mistake_of_the_program() -> None:
    with pytest.raises(ImproperlyConfigured, match="for_request"):
        CardForm({"card": token()}).is_valid()


def test_a_token_is_verified_with_the_session_that_sent_it(tokenizer: EmbeddedTokenizer) -> None:
    stored = tokenizer.browser("alice").tokenize("4111")
    assert form({"card": stored}, "alice").is_valid()
    for refused in (form({"card": stored}, "bob"), form({"card": token()}, "alice")):
        assert not refused.is_valid()
        assert refused.errors["card"].as_data()[0].code == "grant"
    cleaned = form({"card": stored}, "alice")
    cleaned.full_clean()
    assert repr(cleaned.cleaned_data["card"]) == "Token(<redacted>)"


def test_a_visitor_without_a_session_stores_nothing() -> None:
    made = CardForm({"card": token()})
    field = made.fields["card"]
    assert isinstance(field, TokenFormField)
    request = RequestFactory().get("/")
    request.session = SessionStore()
    field.for_request(request)
    assert not made.is_valid()
    assert made.errors["card"].as_data()[0].code == "grant"


def test_a_token_that_is_stored_already_needs_no_grant_and_is_not_lost() -> None:
    stored = token()
    kept = form({"card": stored}, initial={"card": stored})
    assert kept.is_valid()
    left_out = form({}, initial={"card": stored})
    assert left_out.is_valid()
    assert left_out.cleaned_data["card"] == stored
    assert not form({"card": ""}, initial={"card": stored}).is_valid()
    assert not form({}).is_valid()


def test_a_tokenizer_that_is_down_makes_no_form_valid() -> None:
    down = {**settings.LUNACORE, "INTERNAL_URL": "http://127.0.0.1:9", "RETRIES": 0}
    with override_settings(LUNACORE=down):
        made = form({"card": token()})
        assert not made.is_valid()
    assert made.errors["card"].as_data()[0].code == "unavailable"


def test_a_model_form_in_a_view_verifies_by_itself(tokenizer: EmbeddedTokenizer) -> None:
    User.objects.create_user("ada", password="secret")
    client = Client()
    client.post("/log-in", {"username": "ada", "password": "secret"})
    own = tokenizer.browser(client.get("/who").json()["session"]).tokenize("078-05-1120")
    others = tokenizer.browser("bob").tokenize("219-09-9999")
    assert client.post("/member", {"name": "Ada", "ssn": others}).status_code == 422
    assert Member.objects.count() == 0
    assert client.post("/member", {"name": "Ada", "ssn": own}).status_code == 201
    assert Member.objects.get().ssn == own
    assert tokenizer.read(Member.objects.get().ssn) == b"078-05-1120"


def test_the_admin_shows_the_secure_component() -> None:
    model_admin = admin.ModelAdmin(Member, admin.site)
    request = RequestFactory().get("/admin/")
    request.user = User()
    made = model_admin.get_form(request)()
    assert isinstance(made.fields["ssn"], TokenFormField)
    assert "<secure-input" in str(made["ssn"])


def test_the_form_of_a_model_knows_what_may_be_empty() -> None:
    made = MemberForm()
    assert made.fields["ssn"].required
    assert not made.fields["passport"].required
