"""``@lunacore/react`` in Chromium, with React 18 and 19: what people do, what goes wrong, and pages that a server rendered."""

from __future__ import annotations

import base64
import html
import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Frame, Locator, expect

from tests.browser.bundles import REACTS, SOURCES, bundled, run_node

if TYPE_CHECKING:
    from tests.browser.conftest import Visitor

SECRET = "078-05-1120"
OTHER = "219-09-9999"
TOKEN = re.compile(r"lunasec-[0-9a-f-]{36}")

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>React</title>{head}
<script type="application/json" id="given">{given}</script><script type="module" src="/{script}.js"></script></head>
<body><div id="root">{root}</div></body></html>"""

bundle = cache(bundled)


class Application:
    """The page, as one version of React shows it to one visitor."""

    def __init__(self, visitor: Visitor, react: int) -> None:
        self.visitor, self.page, self.react = visitor, visitor.page, react
        self.world = visitor.world

    def open(self, *, entry: str = "client", head: str = "", root: str = "", **given: str) -> None:
        name = f"react-{entry}-{self.react}"
        given = {"tokenizer": self.world.tokenizer_url, **given}
        application = self.world.application
        application.scripts[f"/{name}.js"] = bundle(
            SOURCES / f"{entry}.jsx", react=self.react, production=entry.endswith("client")
        )
        page = _PAGE.format(head=head, given=json.dumps(given), script=name, root=root)
        application.pages[f"/{name}-{self.visitor.user}"] = page
        self.visitor.go(f"/{name}-{self.visitor.user}")

    @property
    def told(self) -> list[list[Any]]:
        told: list[list[Any]] = self.page.evaluate("told")
        return told

    def wait_until_told(self, *what: Any) -> None:
        self.page.wait_for_function(
            "(what) => told.some((one) => JSON.stringify(one) === what)", arg=json.dumps(what, separators=(",", ":"))
        )

    def press(self, button: str) -> None:
        self.page.get_by_role("button", name=button, exact=True).click()

    def frame(self, place: int) -> Frame:
        return self.visitor.inside(place)

    @property
    def number(self) -> Locator:
        return self.frame(0).locator("input")

    @property
    def free(self) -> Locator:
        return self.frame(1).locator("input")

    @property
    def shown(self) -> Locator:
        return self.frame(2).locator(".text")

    def token_of(self, name: str) -> str:
        token: str = self.page.locator(f"secure-input[name={name}]").evaluate("(element) => element.token")
        return token


@pytest.fixture(
    params=[pytest.param(version, marks=pytest.mark.long) if version < 19 else version for version in REACTS]
)
def react(request: pytest.FixtureRequest) -> int:
    version: int = request.param
    return version


@pytest.fixture
def application(visitor: Visitor, react: int) -> Application:
    return Application(visitor, react)


def test_a_controlled_field_tells_tokens_and_the_form_sends_them(application: Application) -> None:
    application.open()
    application.number.fill(SECRET)
    application.press("Save")
    application.page.wait_for_function("told.some(([what]) => what === 'submit')")
    told = application.told
    token = next(one[1] for one in told if one[0] == "change")
    assert TOKEN.fullmatch(token)
    # The token came before the form was sent, and the form has it.
    assert [one for one in told if one[0] in ("change", "submit")] == [
        ["change", token],
        ["submit", {"number": token}],
    ]
    expect(application.page.locator("output")).to_have_text(token)
    expect(application.shown).to_have_text(SECRET)
    expect(application.number).to_have_value(SECRET)
    assert SECRET not in application.page.content()
    assert application.visitor.console == []


@pytest.mark.long
def test_the_keyboard_is_enough_and_validity_is_told(application: Application) -> None:
    application.open()
    page = application.page
    expect(application.number).to_be_visible()
    page.get_by_role("button", name="Focus").click()
    expect(application.number).to_be_focused()
    page.keyboard.type("000-00-0000")
    page.keyboard.press("Tab")
    application.wait_until_told("valid", False)
    page.keyboard.press("Shift+Tab")
    expect(application.number).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type(SECRET)
    page.keyboard.press("Enter")
    page.wait_for_function("told.some(([what]) => what === 'submit')")
    told = [one for one in application.told if one[0] in ("focus", "blur", "valid")]
    assert told[:3] == [["focus"], ["valid", False], ["blur"]]
    assert told[-1] == ["valid", True]
    assert [one for one in told if one == ["focus"]] == [["focus"]] * 2


@pytest.mark.long
def test_what_the_page_does_not_take_over_does_not_stay(application: Application) -> None:
    token = application.visitor.keep(OTHER)
    application.world.application.call("/grant/set", sessionId=application.visitor.user, tokenId=token)
    application.open(token=token)
    application.press("Set")
    expect(application.number).to_have_value(OTHER)
    application.press("Obey")
    application.number.fill(SECRET)
    application.press("Settle")
    expect(application.number).to_have_value(OTHER)
    assert application.token_of("number") == token

    application.press("Reset")
    expect(application.number).to_have_value(OTHER)
    application.press("Clear")
    expect(application.number).to_have_value("")
    assert application.token_of("number") == ""


@pytest.mark.long
def test_an_uncontrolled_field_begins_with_its_token_and_goes_back_to_it(application: Application) -> None:
    token = application.visitor.keep("ada@example.com")
    application.world.application.call("/grant/set", sessionId=application.visitor.user, tokenId=token)
    application.open(token=token)
    expect(application.free).to_have_value("ada@example.com")
    expect(application.free).to_have_attribute("type", "email")
    application.free.fill("bob@example.com")
    application.free.press("Tab")
    application.page.wait_for_function("told.some(([what]) => what === 'free')")
    assert application.token_of("free") != token
    application.press("Reset")
    expect(application.free).to_have_value("ada@example.com")


@pytest.mark.long
def test_each_element_has_one_frame_however_often_it_comes_and_goes(application: Application) -> None:
    application.open()
    frames = "[...document.querySelectorAll('*')].filter((one) => one.localName.startsWith('secure-')).length"
    for _ in range(2):
        expect(application.number).to_be_visible()
        assert application.page.evaluate(frames) == 4
        application.press("Toggle")
        assert application.page.evaluate(frames) == 0
        application.press("Toggle")
    expect(application.frame(3).locator(".text")).to_be_attached()
    inside = [frame for frame in application.page.frames if "/frame/element" in frame.url]
    assert len(inside) == 4
    scripts = "document.querySelectorAll('script[src$=\"/sdk/lunacore.js\"]').length"
    assert application.page.evaluate(scripts) == 1
    assert application.visitor.console == []


def test_a_token_of_somebody_else_is_told_to_its_component(application: Application) -> None:
    token = application.world.application.keep("somebody-else", SECRET)
    application.open(token=token)
    for component in ("free", "paragraph", "span"):
        application.wait_until_told("error", component, "grantMissing")
    assert not [one for one in application.told if one[0] == "authentication"]


@pytest.mark.long
def test_nobody_is_told_to_the_page_once(application: Application) -> None:
    application.visitor.context.clear_cookies()
    token = "lunasec-2b58d9b2-83c1-4e9b-9692-b149112810c8"
    application.open(token=token)
    for component in ("free", "paragraph", "span"):
        application.wait_until_told("error", component, "sessionMissing")
    assert [one for one in application.told if one[0] == "authentication"] == [["authentication", "sessionMissing"]]


def test_a_tokenizer_that_is_not_there_is_told(application: Application) -> None:
    application.open(tokenizer="http://secure.demo.localhost:9")
    application.wait_until_told("error", "number", "frameUnavailable")
    said = [line for line in application.visitor.console if line.startswith("LunaCore: ")]
    assert len(said) == 1
    assert said[0].startswith("LunaCore: http://secure.demo.localhost:9/sdk/lunacore.js did not load.")


@pytest.mark.long
def test_axe_finds_nothing(application: Application) -> None:
    token = application.visitor.keep("ada@example.com")
    application.world.application.call("/grant/set", sessionId=application.visitor.user, tokenId=token)
    application.open(token=token)
    expect(application.free).to_have_value("ada@example.com")
    found = Axe().run(application.page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("first", ["elements", "react"])
@pytest.mark.long
def test_a_page_from_a_server_is_taken_over_as_it_is(application: Application, first: str) -> None:
    """The elements may become what they are before React comes, or after."""
    visitor = application.visitor
    token = visitor.keep("ada@example.com")
    visitor.world.application.call("/grant/set", sessionId=visitor.user, tokenId=token)
    given = {"tokenizer": visitor.world.tokenizer_url, "token": token}
    script = bundle(SOURCES / "server.jsx", react=application.react, platform="node", production=False)
    root = run_node(script, json.dumps(given))
    assert html.escape(token) in root
    sdk = f'<script type="module" src="{visitor.world.tokenizer_url}/sdk/lunacore.js"></script>'
    application.open(token=token, entry="hydrating", head=sdk if first == "elements" else "", root=root)
    if first == "elements":
        expect(application.free).to_have_value("ada@example.com")
        visitor.page.evaluate("hydrate()")
    else:
        visitor.page.evaluate("hydrate()")
        expect(application.free).to_have_value("ada@example.com")
    expect(application.shown).to_have_text("ada@example.com")
    application.number.fill(SECRET)
    application.press("Save")
    visitor.page.wait_for_function("told.some(([what]) => what === 'submit')")
    expect(application.shown).to_have_text(SECRET)
    assert visitor.page.evaluate("recovered") == []
    assert [line for line in visitor.console if "React DevTools" not in line] == []


FIELDS = ("input", "textarea", "select", "radio", "upload")
SHOWN = ("paragraph", "span", "copy", "download", "image", "viewer")
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAGCAIAAABxZ0isAAAAFElEQVR4nGM8IWfDgA0wYRWlkwQArE4BLjZrArMAAAAASUVORK5CYII="
)


def given_to(visitor: Visitor) -> dict[str, str]:
    """Values that a visitor may read, one of each kind."""
    given = {
        "text": visitor.keep("one line"),
        "file": visitor.keep(PNG, filename="red.png", type="image/png"),
        "choice": visitor.keep("no"),
    }
    for token in given.values():
        visitor.world.application.call("/grant/set", sessionId=visitor.user, tokenId=token)
    return given


def frame_of(application: Application, kind: str) -> Frame:
    """The frame of a component, whose name in every.jsx is that of its kind."""
    title = {"textarea": "Text area"}.get(kind, kind.capitalize())
    inside = f"{application.world.tokenizer_url}/frame/"
    while True:
        for frame in application.page.frames:
            if frame.url.startswith(inside) and frame.frame_element().get_attribute("title") == title:
                return frame
        application.page.wait_for_timeout(50)  # looking takes time, in which a navigation would go unnoticed


def test_every_component(application: Application) -> None:
    given = given_to(application.visitor)
    application.open(entry="every-client", **given)
    page = application.page
    expect(frame_of(application, "textarea").locator("textarea")).to_have_value("one line")
    expect(frame_of(application, "select").locator("select")).to_have_value("no")
    expect(frame_of(application, "upload").get_by_text("red.png").first).to_be_visible()
    expect(frame_of(application, "paragraph").locator(".text")).to_have_text("one line")
    span = frame_of(application, "span")
    span.get_by_role("button", name="Show").click()
    expect(span.locator(".text")).to_have_text("one line")
    expect(frame_of(application, "copy").get_by_role("button")).to_be_enabled()
    expect(frame_of(application, "image").locator("img")).to_be_visible()
    expect(frame_of(application, "viewer").locator("img")).to_be_visible()
    with page.expect_download() as download:
        frame_of(application, "download").locator(".download").click()
    assert download.value.suggested_filename == "red.png"

    frame_of(application, "radio").locator("input[type=radio]").last.check()
    frame_of(application, "input").locator("input").fill(SECRET)
    files: Any = [{"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"}]
    frame_of(application, "upload").locator("input[type=file]").set_input_files(files)
    application.wait_until_told("tokens", 2)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    application.press("Send")
    application.wait_until_told("change", "radio", True)
    application.wait_until_told("submit", ["input", "textarea", "select", "radio", "upload", "upload"])
    assert application.visitor.console == []


@pytest.mark.long
def test_every_component_tells_what_it_could_not_do(application: Application) -> None:
    keep = application.world.application.keep
    foreign = {name: keep("somebody-else", SECRET) for name in ("text", "file", "choice")}
    application.open(entry="every-client", **foreign)
    for kind in ("textarea", "select", "paragraph", "span", "image", "viewer"):
        application.wait_until_told("error", kind, "grantMissing")
    frame_of(application, "copy").get_by_role("button").first.click()
    application.wait_until_told("error", "copy", "grantMissing")
    # Whoever is signed out is told so by every field, once what it holds is to be kept.
    application.visitor.context.clear_cookies()
    application.open(entry="every-client")
    frame_of(application, "input").locator("input").fill(SECRET)
    application.press("Send")
    application.wait_until_told("error", "input", "sessionMissing")


@pytest.mark.long
@pytest.mark.parametrize("first", ["elements", "react"])
def test_every_component_of_a_page_from_a_server(application: Application, first: str) -> None:
    visitor = application.visitor
    given = {"tokenizer": visitor.world.tokenizer_url, **given_to(visitor)}
    script = bundle(SOURCES / "every-server.jsx", react=application.react, platform="node", production=False)
    root = run_node(script, json.dumps(given))
    for kind in (*FIELDS, *SHOWN):
        assert f"<secure-{kind} " in root
    sdk = f'<script type="module" src="{visitor.world.tokenizer_url}/sdk/lunacore.js"></script>'
    application.open(entry="every-hydrating", head=sdk if first == "elements" else "", root=root, **given)
    if first == "elements":
        expect(frame_of(application, "viewer").locator("img")).to_be_visible()
    visitor.page.evaluate("hydrate()")
    expect(frame_of(application, "image").locator("img")).to_be_visible()
    expect(frame_of(application, "select").locator("select")).to_have_value("no")
    assert visitor.page.evaluate("recovered") == []
    assert [line for line in visitor.console if "React DevTools" not in line] == []
