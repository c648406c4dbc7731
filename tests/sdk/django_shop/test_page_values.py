"""``{% secure_value %}``: what it emits, and that a page's tokens are granted in one call, to its session, before it leaves."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.template import engines
from django.test import AsyncClient, Client, RequestFactory, override_settings

from lunacore.errors import ConfigError, GrantMissing, InvalidToken
from lunacore_http.sdk.django import page_values
from tests.sdk.django_shop import urls_with_values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunacore_http.sdk.testing import EmbeddedTokenizer

pytestmark = [pytest.mark.usefixtures("database"), pytest.mark.xdist_group("lunacore_tokenizer")]

UNKNOWN = "lunasec-2b58d9b2-83c1-4e9b-9692-b149112810c8"
urls_with_values.PAGES |= {
    "all": "{% for token in tokens %}{% secure_value token label='Number' %}{% endfor %}",
    "cached": "{% cache 60 numbers %}{% for token in tokens %}{% secure_value token %}{% endfor %}{% endcache %}",
    "cached-granted": "{% grant_values tokens %}{% cache 60 more %}{% for one in tokens %}{% secure_value one %}{% endfor %}{% endcache %}",
    "script": "{% lunacore_script %}",
}


@pytest.fixture(autouse=True)
def _urls() -> Iterator[None]:
    with override_settings(ROOT_URLCONF="tests.sdk.django_shop.urls_with_values"):
        yield


@pytest.fixture
def client() -> Client:
    User.objects.create_user("ada", password="secret")
    client = Client()
    client.post("/log-in", {"username": "ada", "password": "secret"})
    return client


def session_of(client: Client) -> str:
    session: str = client.get("/who").json()["session"]
    return session


def grants_asked(tokenizer: EmbeddedTokenizer) -> int:
    """How often the tokenizer was asked for grants so far, by its own access log."""
    return len(re.findall(r"route=/grant/set ", tokenizer.log))


def query(*tokens: str, **more: str) -> dict[str, list[str]]:
    return {"token": list(tokens), **{name: [value] for name, value in more.items()}}


@pytest.mark.parametrize("kind", ["page", "lazy", "later"])
def test_a_page_is_granted_in_one_call(tokenizer: EmbeddedTokenizer, client: Client, kind: str) -> None:
    tokens = [tokenizer.put(f"value {place}") for place in range(3)]
    before = grants_asked(tokenizer)
    page = client.get(f"/{kind}/all", query(*tokens, tokens[0]))
    assert page.content.decode() == "".join(
        f'<secure-span token="{token}" aria-label="Number"></secure-span>' for token in [*tokens, tokens[0]]
    )
    assert page["cache-control"] == "private"
    assert grants_asked(tokenizer) == before + 1
    browser = tokenizer.browser(session_of(client))
    assert [browser.detokenize(token) for token in tokens] == [b"value 0", b"value 1", b"value 2"]
    with pytest.raises(GrantMissing):
        tokenizer.browser("somebody-else").detokenize(tokens[0])


def test_a_page_without_values_asks_for_nothing(tokenizer: EmbeddedTokenizer, client: Client) -> None:
    before = grants_asked(tokenizer)
    page = client.get("/page/all")
    empty = client.get("/page/all", query(""))
    assert empty.content.decode() == '<secure-span aria-label="Number"></secure-span>'
    assert not page.has_header("cache-control")
    assert grants_asked(tokenizer) == before


def test_an_unknown_token_shows_on_its_element_alone(
    tokenizer: EmbeddedTokenizer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    token = tokenizer.put("value")
    assert client.get("/page/all", query(UNKNOWN, token)).status_code == 200
    assert caplog.messages == ["values_not_granted error=tokenNotFound"]
    browser = tokenizer.browser(session_of(client))
    assert browser.detokenize(token) == b"value"
    with pytest.raises(GrantMissing):
        browser.detokenize(UNKNOWN)


def test_a_tokenizer_that_is_down_takes_no_page_with_it(
    tokenizer: EmbeddedTokenizer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    token = tokenizer.put("value")
    down = {**tokenizer.django_settings, "INTERNAL_URL": "http://127.0.0.1:9", "RETRIES": 0}
    with override_settings(LUNACORE=down):
        page = client.get("/page/all", query(token))
    assert page.status_code == 200
    assert token in page.content.decode()
    assert caplog.messages == ["values_not_granted error=storeUnavailable"]


def test_nobody_and_faults_get_no_grants(tokenizer: EmbeddedTokenizer, client: Client) -> None:
    token = tokenizer.put("value")
    before = grants_asked(tokenizer)
    assert Client().get("/page/all", query(token)).status_code == 200
    client.raise_request_exception = False
    assert client.get("/page/all", query(token, status="500")).status_code == 500
    assert grants_asked(tokenizer) == before


def test_each_part_of_a_stream_waits_for_its_grants(tokenizer: EmbeddedTokenizer, client: Client) -> None:
    first, second = tokenizer.put("first"), tokenizer.put("second")
    browser = tokenizer.browser(session_of(client))
    parts = iter(client.get("/streamed/all", query(first, second)).streaming_content)
    assert first in next(parts).decode()
    assert browser.detokenize(first) == b"first"
    with pytest.raises(GrantMissing):
        browser.detokenize(second)
    assert second in next(parts).decode()
    assert browser.detokenize(second) == b"second"


def test_an_asynchronous_stream_does_so_too(tokenizer: EmbeddedTokenizer) -> None:
    token = tokenizer.put("value")

    async def visit() -> str:
        response = await AsyncClient().get("/streamed-later/all", query(token))
        return "".join([part.decode() async for part in response.streaming_content])

    # Sessions of its own: the database of these tests is for one thread.
    with override_settings(
        LUNACORE={**tokenizer.django_settings, "SESSION_ID_PROVIDER": lambda request: "asynchronous"}
    ):
        assert token in asyncio.run(visit())
    assert tokenizer.browser("asynchronous").detokenize(token) == b"value"


def test_what_comes_from_a_cache_is_granted_by_its_own_tag(tokenizer: EmbeddedTokenizer, client: Client) -> None:
    bare, granted = tokenizer.put("bare"), tokenizer.put("granted")
    other = Client()
    User.objects.create_user("bob", password="secret")
    other.post("/log-in", {"username": "bob", "password": "secret"})
    for visitor in (client, other):
        assert bare in visitor.get("/page/cached", query(bare)).content.decode()
        assert granted in visitor.get("/page/cached-granted", query(granted)).content.decode()
    browser = tokenizer.browser(session_of(other))
    assert browser.detokenize(granted) == b"granted"
    with pytest.raises(GrantMissing):
        browser.detokenize(bare)


@pytest.mark.parametrize(
    ("tag", "html"),
    [
        ("token 'secure-paragraph' reveal=True", '<secure-paragraph token="T" reveal="click"></secure-paragraph>'),
        ("token label=hostile", '<secure-span token="T" aria-label="&quot;&gt;&lt;script&gt;&amp;"></secure-span>'),
        ("token class='wide' data_place=1", '<secure-span token="T" class="wide" data-place="1"></secure-span>'),
        (
            "token 'secure-input' name='ssn' id='ssn' required=True readonly=False",
            '<secure-input token="T" name="ssn" id="ssn" required></secure-input>',
        ),
        ("both 'secure-upload' name='files'", '<secure-upload tokens="T T" name="files"></secure-upload>'),
    ],
)
def test_what_is_emitted(tag: str, html: str) -> None:
    assert emitted("{% secure_value " + tag + " %}") == html.replace("T", UNKNOWN)


@pytest.mark.parametrize(
    ("tag", "problem"),
    [
        ("token 'script'", "no secure element 'script'"),
        ("token 'secure-copy' reveal=True", "reveal is for secure-span and secure-paragraph"),
        ("both", "secure-span takes one token"),
        ("token tokens=both", "no attribute 'tokens'"),
    ],
)
def test_what_is_refused(tag: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        emitted("{% secure_value " + tag + " %}")


def test_a_value_that_is_no_token_does_not_reach_the_page() -> None:
    with pytest.raises(InvalidToken) as refused:
        emitted("{% secure_value hostile %}")
    assert "script" not in str(refused.value)


def emitted(template: str) -> str:
    request = RequestFactory().get("/")
    page_values.begin(request)
    context = {"token": UNKNOWN, "both": [UNKNOWN, UNKNOWN], "hostile": '"><script>&'}
    rendered: str = engines["django"].from_string("{% load lunacore %}" + template).render(context, request)
    return rendered


def test_without_a_request_or_the_middleware_it_is_said_what_is_missing() -> None:
    template = engines["django"].from_string("{% load lunacore %}{% secure_value token %}")
    for request in (None, RequestFactory().get("/")):
        with pytest.raises(ImproperlyConfigured, match="LunaCoreMiddleware"):
            template.render({"token": UNKNOWN}, request)


def test_the_script(tokenizer: EmbeddedTokenizer) -> None:
    page = Client().get("/page/script").content.decode()
    assert page == f'<script type="module" src="{tokenizer.url}/sdk/lunacore.js"></script>'
