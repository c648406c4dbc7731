"""The examples of the guides for React, run as they are written there: LunaDefend's, and those with libraries of forms and fields."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, expect

from tests.browser.bundles import bundled, require_node
from tests.browser.examples import examples

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.conftest import Visitor, World

pytestmark = pytest.mark.long

SECRET = "078-05-1120"
OTHER = "219-09-9999"

_ENTRY = """import {{ createElement }} from "react";
import {{ createRoot }} from "react-dom/client";
{imports}
window.saved = [];
const {{ name, props }} = JSON.parse(document.getElementById("given").textContent);
const save = (first) => {{ saved.push(first); }};
createRoot(document.getElementById("root")).render({page});
"""
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Examples</title>
<script type="application/json" id="given">{given}</script><script type="module" src="/{script}"></script></head>
<body><main><h1>Examples</h1><div id="root"></div></main></body></html>"""


class Shown:
    """One example in a page."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor, self.page = visitor, visitor.page

    def field(self, place: int = 0) -> Locator:
        return self.visitor.inside(place).locator("input:not([type=file]), textarea")

    def press(self, button: str) -> None:
        self.page.get_by_role("button", name=button).click()

    def saved(self) -> Any:
        self.page.wait_for_function("saved.length > 0")
        return self.page.evaluate("saved.at(-1)")

    def assert_accessible(self) -> None:
        found = Axe().run(self.page)
        assert found.violations_count == 0, found.generate_report()


@pytest.fixture(scope="module")
def scripts(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A script for each guide, of all its examples."""
    require_node()
    for guide in ("from-lunadefend", "react"):
        folder = tmp_path_factory.mktemp(guide)
        found = examples(f"how-to/{guide}.md", tokenizer=world.tokenizer_url)
        names = [Path(name).stem for name in found if name.endswith(".jsx")]
        for name, text in found.items():
            (folder / name).write_text(text, encoding="utf-8")
        imports = "".join(f'import {{ {name} }} from "./{name}.jsx";\n' for name in names)
        shown = f"createElement({{ {', '.join(names)} }}[name], {{ ...props, save }})"
        page = f"<MyApp>{{{shown}}}</MyApp>" if guide == "from-lunadefend" else shown
        entry = folder / "entry.jsx"
        entry.write_text(_ENTRY.format(imports=imports, page=page), encoding="utf-8")
        world.application.scripts[f"/{guide}.js"] = bundled(entry)


@pytest.fixture
def show(scripts: None, visitor: Visitor) -> Callable[..., Shown]:
    def show(guide: str, name: str, /, *, script: bool = False, **props: Any) -> Shown:
        world = visitor.world
        page = _PAGE.format(given=json.dumps({"name": name, "props": props}), script=f"{guide}.js")
        if script:
            # For components that no provider is around.
            sdk = f'<script type="module" src="{world.tokenizer_url}/sdk/lunacore.js"></script>'
            page = page.replace("<title>", f"{sdk}<title>")
        world.application.pages[f"/{guide}/{name}"] = page
        visitor.go(f"/{guide}/{name}")
        return Shown(visitor)

    return show


def granted(visitor: Visitor, value: str | bytes, **fileinfo: Any) -> str:
    token = visitor.keep(value, **fileinfo)
    visitor.world.application.call("/grant/set", sessionId=visitor.user, tokenId=token)
    return token


def test_a_secure_form(show: Callable[..., Shown], visitor: Visitor) -> None:
    shown = show("from-lunadefend", "SecureFormExample")
    shown.field().fill(SECRET)
    shown.assert_accessible()
    shown.field().press("Enter")
    token = shown.saved()
    assert shown.page.locator("secure-input").evaluate("(element) => element.token") == token
    assert visitor.console == []


def test_nobody_is_logged_in(show: Callable[..., Shown], visitor: Visitor) -> None:
    visitor.context.clear_cookies()
    shown = show("from-lunadefend", "SecureFormExample")
    shown.field().fill(SECRET)
    shown.press("Submit")
    expect(shown.page.get_by_role("alert").first).to_have_text("Failed to authenticate. Is a user logged in?")
    expect(shown.page.get_by_role("alert").last).to_have_text("There is no session. Is a user logged in?")
    assert shown.page.evaluate("saved") == []


def test_a_text_area(show: Callable[..., Shown], visitor: Visitor) -> None:
    shown = show("from-lunadefend", "TextAreaExample", prefilled=granted(visitor, "one\ntwo"))
    expect(shown.field()).to_have_value("one\ntwo")
    shown.assert_accessible()
    shown.field().fill("one\ntwo\nthree")
    shown.press("Submit")
    token = shown.saved()
    expect(shown.field()).to_have_value("one\ntwo\nthree")
    assert shown.page.locator("secure-textarea").evaluate("(element) => element.offsetHeight") == 95
    assert token.startswith("lunasec-")
    assert visitor.console == []


def test_a_paragraph(show: Callable[..., Shown], visitor: Visitor) -> None:
    shown = show("from-lunadefend", "ParagraphExample", user={"ssn_token": granted(visitor, SECRET)})
    expect(visitor.text).to_have_text(SECRET)
    shown.assert_accessible()
    foreign = visitor.world.application.keep("somebody-else", SECRET)
    shown = show("from-lunadefend", "ParagraphExample", user={"ssn_token": foreign})
    expect(shown.page.get_by_role("alert")).to_have_text("This session has no access to the value.")


def test_all_that_an_input_takes(show: Callable[..., Shown], visitor: Visitor) -> None:
    token = granted(visitor, SECRET)
    shown = show("from-lunadefend", "InputExample", prefilledSsnToken=token)
    expect(shown.field()).to_have_value(SECRET)
    shown.assert_accessible()
    shown.field().fill("")
    shown.field().press("Tab")
    expect(shown.page.locator("output")).to_have_text("")
    shown.field().fill(OTHER)
    shown.field().press("Tab")
    expect(shown.page.locator("output")).to_contain_text("lunasec-")
    shown = show("from-lunadefend", "InputExample")
    shown.field().fill("000-00-0000")
    shown.field().press("Tab")
    expect(shown.page.get_by_text("Invalid Format")).to_be_visible()


def test_material_ui(show: Callable[..., Shown], visitor: Visitor) -> None:
    label = "Social security number"
    shown = show("from-lunadefend", "MaterialExample", user={"ssn_token": granted(visitor, SECRET)})
    expect(shown.field()).to_have_value(SECRET)
    expect(shown.field()).to_have_attribute("aria-label", label)
    shown.assert_accessible()
    shown.page.get_by_text(label).first.click()
    expect(shown.field()).to_be_focused()
    expect(shown.page.locator(".MuiInputBase-root")).to_have_class(re.compile("Mui-focused"))
    shown.field().fill(OTHER)
    shown.press("Save")
    assert shown.saved() == shown.page.locator("secure-input").evaluate("(element) => element.token")
    assert visitor.console == []


def test_upload(show: Callable[..., Shown], visitor: Visitor) -> None:
    shown = show("from-lunadefend", "UploadExample", saved=[])
    frame = visitor.inside()
    files = [{"name": f"{place}.txt", "mimeType": "text/plain", "buffer": b"a file"} for place in range(2)]
    frame.locator("input[type=file]").set_input_files(files)  # type: ignore[arg-type]  # dicts are what it takes
    shown.page.wait_for_function("document.querySelector('secure-upload').tokens.length === 2")
    shown.assert_accessible()
    shown.press("Save documents")
    saved = shown.saved()
    assert saved == shown.page.locator("secure-upload").evaluate("(element) => element.tokens")
    for token in saved:
        visitor.world.application.call("/grant/set", sessionId=visitor.user, tokenId=token)
    show("from-lunadefend", "UploadExample", saved=saved)
    expect(visitor.inside().get_by_text("1.txt").first).to_be_visible()
    assert visitor.console == []


def test_download(show: Callable[..., Shown], visitor: Visitor) -> None:
    token = granted(visitor, b"a file", filename="report.txt", type="text/plain")
    shown = show("from-lunadefend", "DownloadExample", fileToken=token)
    frame = visitor.inside()
    expect(frame.locator(".download")).to_be_enabled()
    shown.assert_accessible()
    with shown.page.expect_download() as download:
        frame.locator(".download").click()
    assert download.value.suggested_filename == "report.txt"
    assert Path(download.value.path()).read_bytes() == b"a file"


def test_a_controlled_field(show: Callable[..., Shown], visitor: Visitor) -> None:
    shown = show("react", "Application")
    shown.field().fill(SECRET)
    shown.press("Save")
    expect(visitor.inside(1).locator(".text")).to_have_text(SECRET)
    shown.assert_accessible()
    assert visitor.console == []


@pytest.mark.parametrize("name", ["HookForm", "FormikForm"])
def test_libraries_of_forms(show: Callable[..., Shown], visitor: Visitor, name: str) -> None:
    shown = show("react", name, script=True)
    expect(shown.field()).to_be_visible()
    shown.press("Save")
    expect(shown.page.get_by_role("alert")).to_have_text("Please enter a number.")
    if name == "HookForm":
        expect(shown.field()).to_be_focused()
    shown.field().fill(SECRET)
    shown.field().press("Enter")
    saved = shown.saved()
    assert saved["ssn"] == shown.page.locator("secure-input").evaluate("(element) => element.token")
    expect(shown.page.get_by_role("alert")).to_have_count(0)
    shown.assert_accessible()
    assert visitor.console == []


def test_a_text_field_of_material_ui(show: Callable[..., Shown], visitor: Visitor) -> None:
    shown = show("react", "SecureTextField", script=True, id="ssn", label="Number", name="ssn", validator="ssn")
    shown.field().fill("000-00-0000")
    shown.field().press("Tab")
    expect(shown.page.get_by_text("Please check this.")).to_be_visible()
    shown.assert_accessible()
    shown.field().fill(SECRET)
    shown.field().press("Tab")
    expect(shown.page.get_by_text("Please check this.")).to_have_count(0)
    assert visitor.console == []
