"""Values in pages that Jinja renders, whatever the framework: ``secure_value`` emits the element and grants the token.

What one ``render`` shows is granted in one call when it is done. A template that is streamed grants before each part leaves.
Jinja itself is the application's: no extra installs it.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from attrs import define, field, frozen
from jinja2 import Template, pass_context
from jinja2.runtime import Context  # noqa: TC002 - Jinja looks at what functions take
from markupsafe import Markup

from lunacore.errors import ConfigError
from lunacore_http.sdk.application import Application, AsyncApplication
from lunacore_http.sdk.shown_values import ELEMENTS, ShownValues, element_of, grant, grant_async

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from jinja2 import Environment

    from lunacore_http.sdk.calls import Tokens

SessionId: TypeAlias = "Callable[[Context], str | None]"
"""Tells from a template's context whose page it is; None for nobody's."""

_PAGE: Final[ContextVar[_Page | None]] = ContextVar("lunacore_page", default=None)


def add_secure_values(environment: Environment, luna: Application | AsyncApplication, session_id: SessionId) -> None:
    """Give templates the functions ``secure_value`` and ``grant_values``. Do it before any of them is loaded.

    ``{{ secure_value(user.ssn, label="Number") }}`` emits ``<secure-span>`` for a token, or the element that is named second, and
    lets the session read it. ``{{ grant_values(user.ssn, user.card) }}`` grants only: for parts of a page that come from a cache.

    Args:
        environment: Jinja's.
        luna: the application. One that is asynchronous needs templates that are rendered asynchronously.
        session_id: tells from a template's context whose page it is.

    Raises:
        ConfigError: an asynchronous application, but templates that are not.
    """
    if isinstance(luna, AsyncApplication) and not environment.is_async:
        raise ConfigError("an AsyncApplication needs an environment with enable_async=True; or give an Application")
    values = _Values(luna, session_id)
    environment.globals |= {"secure_value": values.show, "grant_values": values.grant}
    environment.template_class = type("SecureTemplate", (_Template,), {"luna": luna})


@define
class _Page:
    """What is shown to whom while a template is rendered."""

    shown: dict[str | None, ShownValues] = field(factory=dict)

    def of(self, session_id: str | None) -> ShownValues:
        return self.shown.setdefault(session_id, ShownValues())


@frozen
class _Values:
    """What templates call."""

    luna: Application | AsyncApplication
    session_id: SessionId

    @property
    def show(self) -> Callable[..., Markup]:
        @pass_context
        def secure_value(
            context: Context,
            token: Tokens | None,
            element: str = ELEMENTS[0],
            **attributes: Any,  # noqa: ANN401 - any attribute
        ) -> Markup:
            return Markup(element_of(self._note(context, token), element, **attributes))  # noqa: S704 - escaped there

        return secure_value

    @property
    def grant(self) -> Callable[..., str]:
        @pass_context
        def grant_values(context: Context, *tokens: Tokens | None) -> str:
            for one in tokens:
                self._note(context, one)
            return ""

        return grant_values

    def _note(self, context: Context, tokens: Tokens | None) -> tuple[str, ...]:
        page = _PAGE.get()
        if page is None:
            raise ConfigError("secure_value grants when a page is rendered; this template is used as a module")
        return page.of(self.session_id(context)).add(tokens)


class _Template(Template):
    """A template that grants what it shows."""

    luna: Application | AsyncApplication

    def render(self, *args: Any, **kwargs: Any) -> str:  # noqa: ANN401 - Jinja's
        # Asynchronous templates come by way of render_async; one within another is a part of its page.
        if self.environment.is_async or _PAGE.get() is not None:
            return super().render(*args, **kwargs)
        with _page() as page:
            text = super().render(*args, **kwargs)
            self._grant(page)
        return text

    async def render_async(self, *args: Any, **kwargs: Any) -> str:  # noqa: ANN401 - Jinja's
        if _PAGE.get() is not None:
            return await super().render_async(*args, **kwargs)
        with _page() as page:
            text = await super().render_async(*args, **kwargs)
            await self._grant_async(page)
        return text

    def generate(self, *args: Any, **kwargs: Any) -> Iterator[str]:  # noqa: ANN401 - Jinja's
        if self.environment.is_async:
            yield from super().generate(*args, **kwargs)
            return
        parts = super().generate(*args, **kwargs)
        page = _Page()
        while (part := _next(parts, page)) is not None:
            self._grant(page)
            yield part

    async def generate_async(self, *args: Any, **kwargs: Any) -> AsyncGenerator[str, object]:  # noqa: ANN401 - Jinja's
        parts = super().generate_async(*args, **kwargs)
        page = _Page()
        while True:
            with _page(page):
                part = await anext(parts, None)
            if part is None:
                return
            await self._grant_async(page)
            yield part

    def _grant(self, page: _Page) -> None:
        assert isinstance(self.luna, Application)  # see add_secure_values
        for session_id, values in page.shown.items():
            grant(self.luna.grants, session_id, values)

    async def _grant_async(self, page: _Page) -> None:
        if isinstance(self.luna, Application):
            self._grant(page)
            return
        for session_id, values in page.shown.items():
            await grant_async(self.luna.grants, session_id, values)


@contextmanager
def _page(page: _Page | None = None) -> Iterator[_Page]:
    """The page that is rendered."""
    opened = page or _Page()
    before = _PAGE.set(opened)
    try:
        yield opened
    finally:
        _PAGE.reset(before)


def _next(parts: Iterator[str], page: _Page) -> str | None:
    # Only while a part is made: between two, other code runs.
    with _page(page):
        return next(parts, None)
