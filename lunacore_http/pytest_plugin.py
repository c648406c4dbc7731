"""A pytest plugin: tests of an application run against a real tokenizer. pytest finds it by its entry point.

Everything is imported by the fixtures themselves, so that a test run that uses none of them pays for none
(``docs/how-to/testing-your-application.md``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lunacore_http.sdk import Application
    from lunacore_http.sdk.testing import Browser, EmbeddedTokenizer


@pytest.fixture(scope="session")
def lunacore_settings() -> dict[str, object]:
    """More settings of the tokenizer, section by section; override it where the defaults will not do."""
    return {}


@pytest.fixture(scope="session")
def lunacore_tokenizer(
    tmp_path_factory: pytest.TempPathFactory, lunacore_settings: dict[str, object]
) -> Iterator[EmbeddedTokenizer]:
    """A tokenizer in a process of its own, for the whole test session."""
    try:
        from lunacore_http.sdk.testing import EmbeddedTokenizer  # noqa: PLC0415 - for those who use it
    except ImportError as missing:
        pytest.fail(f"lunacore_tokenizer needs {missing.name}: install lunacore[server,sdk,testing]", pytrace=False)
    with EmbeddedTokenizer(tmp_path_factory.mktemp("lunacore"), lunacore_settings) as tokenizer:
        yield tokenizer


@pytest.fixture
def lunacore_session_id_provider() -> Callable[[object], str | None]:
    """Whose session a request to ``lunacore_application`` belongs to: nobody's, unless a test overrides it."""
    return lambda request: None  # noqa: ARG005 - an overriding one looks at it


@pytest.fixture
def lunacore_application(
    lunacore_tokenizer: EmbeddedTokenizer, lunacore_session_id_provider: Callable[[object], str | None]
) -> Iterator[Application]:
    """The SDK's ``Application``, wired to the tokenizer with a key of its own."""
    with lunacore_tokenizer.application(lunacore_session_id_provider) as application:
        yield application


@pytest.fixture
def lunacore_browser(lunacore_tokenizer: EmbeddedTokenizer) -> Callable[[str], Browser]:
    """Makes browsers: ``lunacore_browser("session-1").tokenize(b"…")``."""
    return lunacore_tokenizer.browser
