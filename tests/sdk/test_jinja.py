"""``secure_value`` in Jinja's templates, in Flask and alone: one call for each page, to its session, before it leaves."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, render_template_string, session, stream_template_string
from jinja2 import DictLoader, Environment

from lunacore.errors import ConfigError, GrantMissing
from lunacore_http.sdk import AsyncApplication
from lunacore_http.sdk.jinja import add_secure_values

if TYPE_CHECKING:
    from lunacore_http.sdk import Application
    from lunacore_http.sdk.testing import EmbeddedTokenizer

pytestmark = pytest.mark.xdist_group("lunacore_tokenizer")

ALL = "{% for token in tokens %}{{ secure_value(token, label='Number') }}{% endfor %}"
UNKNOWN = "lunasec-2b58d9b2-83c1-4e9b-9692-b149112810c8"


def grants_asked(tokenizer: EmbeddedTokenizer) -> int:
    return len(re.findall(r"route=/grant/set ", tokenizer.log))


def environment(luna: Application | AsyncApplication, **options: Any) -> Environment:
    templates = {
        "all": ALL,
        "inheriting": "{% extends 'base' %}{% from 'macros' import number %}{% block main %}{{ number(tokens[0]) }}{% endblock %}",
        "base": "<main>{% block main %}{% endblock %}{% include 'rest' %}</main>",
        "rest": "{% for token in tokens[1:] %}{{ secure_value(token) }}{% endfor %}",
        "macros": "{% macro number(token) %}{{ secure_value(token, 'secure-paragraph', reveal=True, class_='wide') }}{% endmacro %}",
    }
    made = Environment(loader=DictLoader(templates), autoescape=True, **options)
    add_secure_values(made, luna, lambda context: context.get("sid", "jinja-session"))
    return made


def test_a_page_of_flask_is_granted_in_one_call(
    lunacore_tokenizer: EmbeddedTokenizer, lunacore_application: Application
) -> None:
    app = Flask(__name__)
    app.secret_key = "of a test"
    add_secure_values(app.jinja_env, lunacore_application, lambda context: session.get("sid"))
    tokens = [lunacore_tokenizer.put(f"value {place}") for place in range(3)]

    @app.get("/log-in")
    def log_in() -> str:
        session["sid"] = "flask-session"
        return ""

    @app.get("/page")
    def page() -> str:
        return render_template_string(ALL, tokens=tokens)

    @app.get("/stream")
    def stream() -> Any:
        return stream_template_string(ALL, tokens=tokens)

    client = app.test_client()
    before = grants_asked(lunacore_tokenizer)
    assert client.get("/page").status_code == 200
    assert grants_asked(lunacore_tokenizer) == before  # nobody's page
    client.get("/log-in")
    assert client.get("/page").text == "".join(
        f'<secure-span token="{token}" aria-label="Number"></secure-span>' for token in tokens
    )
    assert grants_asked(lunacore_tokenizer) == before + 1
    browser = lunacore_tokenizer.browser("flask-session")
    assert [browser.detokenize(token) for token in tokens] == [b"value 0", b"value 1", b"value 2"]

    tokens[:] = [lunacore_tokenizer.put("streamed")]
    assert tokens[0] in client.get("/stream").text
    assert browser.detokenize(tokens[0]) == b"streamed"


def test_inherited_included_and_imported_templates_are_one_page(
    lunacore_tokenizer: EmbeddedTokenizer, lunacore_application: Application
) -> None:
    tokens = [lunacore_tokenizer.put(f"value {place}") for place in range(3)]
    before = grants_asked(lunacore_tokenizer)
    page = environment(lunacore_application).get_template("inheriting").render(tokens=tokens)
    first, *rest = tokens
    assert page == (
        f'<main><secure-paragraph token="{first}" reveal="click" class="wide"></secure-paragraph>'
        + "".join(f'<secure-span token="{token}"></secure-span>' for token in rest)
        + "</main>"
    )
    assert grants_asked(lunacore_tokenizer) == before + 1
    assert lunacore_tokenizer.browser("jinja-session").detokenize(tokens[2]) == b"value 2"


def test_each_part_of_a_stream_waits_for_its_grants(
    lunacore_tokenizer: EmbeddedTokenizer, lunacore_application: Application
) -> None:
    first, second = lunacore_tokenizer.put("first"), lunacore_tokenizer.put("second")
    browser = lunacore_tokenizer.browser("jinja-session")
    parts = environment(lunacore_application).get_template("all").generate(tokens=[first, second])
    assert first in next(parts)
    assert browser.detokenize(first) == b"first"
    with pytest.raises(GrantMissing):
        browser.detokenize(second)
    assert second in next(parts)
    assert browser.detokenize(second) == b"second"


def test_an_unknown_token_shows_on_its_element_alone(
    lunacore_tokenizer: EmbeddedTokenizer, lunacore_application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    token = lunacore_tokenizer.put("value")
    environment(lunacore_application).get_template("all").render(tokens=[UNKNOWN, token], sid="one-of-two")
    assert caplog.messages == ["values_not_granted error=tokenNotFound"]
    browser = lunacore_tokenizer.browser("one-of-two")
    assert browser.detokenize(token) == b"value"
    with pytest.raises(GrantMissing):
        browser.detokenize(UNKNOWN)


def test_what_a_cache_holds_is_granted_by_grant_values(
    lunacore_tokenizer: EmbeddedTokenizer, lunacore_application: Application
) -> None:
    tokens = [lunacore_tokenizer.put(f"value {place}") for place in range(2)]
    made = environment(lunacore_application)
    assert made.from_string("{{ grant_values(tokens) }}").render(tokens=tokens, sid="cached") == ""
    assert lunacore_tokenizer.browser("cached").detokenize(tokens[1]) == b"value 1"


def test_asynchronous_templates(lunacore_tokenizer: EmbeddedTokenizer, lunacore_application: Application) -> None:
    tokens = [lunacore_tokenizer.put(f"value {place}") for place in range(4)]
    url, issuer, key = lunacore_tokenizer.url, lunacore_tokenizer.issuer, lunacore_tokenizer.signing_key

    async def render() -> None:
        async with AsyncApplication(url, issuer=issuer, signing_key=key) as luna:
            template = environment(luna, enable_async=True).get_template("all")
            before = grants_asked(lunacore_tokenizer)
            assert tokens[1] in await template.render_async(tokens=tokens[:2], sid="asynchronous")
            assert grants_asked(lunacore_tokenizer) == before + 1
            parts = [part async for part in template.generate_async(tokens=tokens[2:], sid="asynchronous")]
            assert tokens[3] in "".join(parts)
            with pytest.raises(ConfigError, match="enable_async"):
                environment(luna)

    asyncio.run(render())
    template = environment(lunacore_application, enable_async=True).get_template("all")
    assert template.render(tokens=tokens[:1], sid="by way of a loop")
    browser = lunacore_tokenizer.browser("asynchronous")
    assert [browser.detokenize(token) for token in tokens] == [b"value 0", b"value 1", b"value 2", b"value 3"]
    assert lunacore_tokenizer.browser("by way of a loop").detokenize(tokens[0]) == b"value 0"


def test_a_template_that_is_no_page_grants_nothing(lunacore_application: Application) -> None:
    with pytest.raises(ConfigError, match="as a module"):
        environment(lunacore_application).get_template("all").make_module({"tokens": [UNKNOWN]})


def test_what_is_shown_is_escaped(lunacore_application: Application) -> None:
    made = environment(lunacore_application).from_string("{{ secure_value('', label=text, title=text) }}")
    assert made.render(text="\"'<&>") == (
        '<secure-span aria-label="&quot;&#x27;&lt;&amp;&gt;" title="&quot;&#x27;&lt;&amp;&gt;"></secure-span>'
    )
