from __future__ import annotations

from django import forms

from tests.sdk.django_shop.shop.models import Member


class MemberForm(forms.ModelForm):
    class Meta:
        model = Member
        fields = ("name", "ssn", "passport")
