"""The form field of tokens, and its widget ``<secure-input>``.

A token that comes in with a form is checked with the tokenizer before the form is valid: the visitor's own session must have put
the value there. Otherwise anyone could send another's token, and have the application show its value to them later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.forms.utils import flatatt
from django.forms.widgets import Script
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from lunacore import tokens
from lunacore.errors import GrantMissing, InvalidToken, RateLimited, StoreUnavailable, TokenNotFound
from lunacore.tokens import Token
from lunacore_http.sdk.django import current

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest


class SecureInput(forms.Widget):
    """Renders ``<secure-input name=… token=…>``, the element whose form value is the token.

    ``attrs`` are passed on: ``SecureInput(attrs={"validator": "card"})``. ``form.media`` holds the script that defines it.
    """

    @property
    def media(self) -> forms.Media:
        from lunacore_http.sdk.django.settings import current_settings  # noqa: PLC0415 - settings are read when a page is made

        return forms.Media(js=[Script(f"{current_settings().tokenizer_url}/sdk/lunacore.js", type="module")])

    def render(
        self,
        name: str,
        value: str | None,
        attrs: Mapping[str, Any] | None = None,
        renderer: object = None,  # noqa: ARG002 - Django's
    ) -> str:
        shown = {**self.build_attrs(self.attrs, attrs), "name": name, "token": value or None}
        return str(format_html("<secure-input{}></secure-input>", flatatt(shown)))


class TokenFormField(forms.CharField):
    """Takes a token, and no other string, and only one that the visitor's session may store.

    A token that the form was given as ``initial`` is let through as it is: it is in the database already. A form that was sent
    without the field keeps that token too, for a page on which the secure components did not load must not erase it.

    Args:
        verify_grant: False leaves it to the view to call ``luna.grants.verify``.
        options: those of ``CharField``.
    """

    widget = SecureInput
    default_error_messages = {  # noqa: RUF012 - Django's
        "invalid": _("This is not a token."),
        "grant": _("This value was not entered in your session, or too long ago. Enter it again."),
        "unavailable": _("The value cannot be checked at the moment. Send the form again in a minute."),
    }

    def __init__(self, *, verify_grant: bool = True, **options: Any) -> None:  # noqa: ANN401 - CharField's own
        self.verify_grant = verify_grant
        self._request: HttpRequest | None = None
        self._session_id: str | None = None
        self._stored: object = None
        super().__init__(**options)

    def for_request(self, request: HttpRequest) -> None:
        """Verify with the session of this request, in place of the one that the middleware is serving."""
        self._request = request

    def for_session(self, session_id: str) -> None:
        """Verify with this session, in place of that of the request that the middleware is serving."""
        self._session_id = session_id

    def get_bound_field(self, form: forms.BaseForm, field_name: str) -> forms.BoundField:
        # Each form has a copy of its fields, so this is about one form.
        self._stored = form.get_initial_for_field(self, field_name)
        return super().get_bound_field(form, field_name)

    def to_python(self, value: object) -> str | None:
        text: str | None = super().to_python(value)
        if text in self.empty_values:
            return text
        try:
            tokens.parse(text or "")
        except InvalidToken:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None
        return Token(text)

    def clean(self, value: object) -> str | None:
        """The token.

        Raises:
            ValidationError: it is none, the session may not store it, or that cannot be found out now.
            ImproperlyConfigured: there is no request to verify it with.
        """
        if value is None and self._stored:
            value = self._stored
        token: str | None = super().clean(value)
        if token and self.verify_grant and token != self._stored:
            self._verify(token)
        return token

    def _verify(self, token: str) -> None:
        from lunacore_http.sdk.django.application import application  # noqa: PLC0415 - needs the settings

        session_id = self._session_id or current.session_id_of(self._request or _request())
        if session_id is None:
            raise ValidationError(self.error_messages["grant"], code="grant")
        try:
            application().grants.verify(session_id, token)
        except (GrantMissing, TokenNotFound, InvalidToken):
            raise ValidationError(self.error_messages["grant"], code="grant") from None
        except (StoreUnavailable, RateLimited):
            raise ValidationError(self.error_messages["unavailable"], code="unavailable") from None


def _request() -> HttpRequest:
    request = current.request()
    if request is None:
        raise ImproperlyConfigured(
            "A TokenFormField verifies tokens with the session of the request. Add "
            '"lunacore_http.sdk.django.middleware.LunaCoreMiddleware" to MIDDLEWARE, call for_request(request) on the field, '
            "or pass verify_grant=False and call luna.grants.verify yourself."
        )
    return request
