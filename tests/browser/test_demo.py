"""The live demo as people use it: sign up, save, see it again, be another user, attack. Every page looked over by axe-core."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from lunacore_http.demo.components import COMPONENTS
from tests.browser.demo_person import Person, stored
from tests.demo.running import PASSWORD, RunningDemo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from axe_playwright_python.base import AxeResults

SECRET = "078-05-1120"
TOKEN = re.compile(r"lunasec-[0-9a-f-]{36}")
PATIENCE_MS = 20_000
NARROW = {"width": 390, "height": 844}
LIGHT: Literal["light"] = "light"
DARK: Literal["dark"] = "dark"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    with RunningDemo(tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest.fixture
def people(demo: RunningDemo, chromium: Browser) -> Iterator[Callable[[], Person]]:
    """Makes people, each with a browser of their own."""
    contexts: list[BrowserContext] = []

    def make() -> Person:
        context = chromium.new_context(base_url=demo.url)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        return Person(demo, context.new_page())

    yield make
    for context in contexts:
        context.close()


def test_saved_shown_edited_and_refused_to_another(demo: RunningDemo, people: Callable[[], Person]) -> None:
    ada = people()
    ada.sign_up("ada")
    ada.save(SECRET)
    first = stored(demo, "ada")["ssn"]
    assert TOKEN.fullmatch(first)
    expect(ada.field).to_have_value(SECRET)
    expect(ada.row).to_contain_text(first)
    # The panel: the call as the tokenizer's logs tell it.
    expect(ada.page.locator("#calls")).to_contain_text("audit: tokenize allowed")

    ada.page.goto("/components/secure-span")
    expect(ada.frame.locator(".text")).to_have_text(SECRET)
    assert SECRET not in ada.page.content()

    ada.page.goto("/components/secure-input")
    expect(ada.field).to_have_value(SECRET)
    ada.save("219-09-9999")
    second = stored(demo, "ada")["ssn"]
    assert second != first
    expect(ada.field).to_have_value("219-09-9999")

    # The same browser, so that a session of the tokenizer's that lives on would be noticed.
    ada.page.get_by_role("button", name="Log out").click()
    ada.page.wait_for_url("**/")
    ada.sign_up("bob")
    ada.page.goto("/another-user")
    assert second in ada.page.content()
    expect(ada.frame.locator(".notice")).to_contain_text("You have no access to this.")
    ada.page.get_by_role("button", name="Store it as my number").click()
    expect(ada.page.get_by_role("alert")).to_contain_text("Refused: grantMissing")
    assert stored(demo, "bob") == {}

    ada.page.get_by_role("button", name="Log out").click()
    ada.page.wait_for_url("**/")
    ada.log_in("ada")
    expect(ada.field).to_have_value("219-09-9999")
    assert ada.errors == []


@pytest.mark.long
def test_the_keyboard_is_enough(demo: RunningDemo, people: Callable[[], Person]) -> None:
    kim = people()
    page = kim.page

    def press_tab() -> None:
        before = page.evaluate_handle("document.activeElement")
        page.keyboard.press("Tab")
        # A page learns a little later that the focus went into a frame. Within one frame it learns nothing.
        with contextlib.suppress(PlaywrightTimeoutError):
            page.wait_for_function("(before) => document.activeElement !== before", arg=before, timeout=1000)

    def tab_to(target: str) -> None:
        for _ in range(30):
            press_tab()
            if page.evaluate("(target) => document.activeElement?.matches(target)", target):
                return
        pytest.fail(f"the tabulator does not lead to {target}")

    page.goto("/")
    tab_to(".account a[href='/sign-up']")
    page.keyboard.press("Enter")
    page.wait_for_url("**/sign-up")
    tab_to("#name")
    page.keyboard.type("kim")
    tab_to("#password")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/components/secure-input")
    expect(kim.field).to_be_visible()
    tab_to("secure-input")
    page.keyboard.type(SECRET)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(kim.row).to_contain_text(stored(demo, "kim")["ssn"])
    tab_to(".account button")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{demo.url}/")
    assert kim.errors == []


def test_the_attack_gets_tokens_only(demo: RunningDemo, people: Callable[[], Person]) -> None:
    eve = people()
    eve.sign_up("eve")
    eve.save(SECRET)
    eve.page.goto("/attack")
    eve.page.get_by_role("button", name="Post the comment").click()
    loot = eve.page.locator("#loot tbody tr")
    expect(loot.last).to_contain_text("another user's token")
    expect(eve.page.locator("#prey")).to_be_visible()
    got = dict(row.locator("td").all_inner_texts() for row in loot.all())
    assert got == {
        "the number in the page": "nothing",
        "the element's text": "nothing",
        "its attributes": stored(demo, "eve")["ssn"],
        "cookies": "nothing: they are for servers alone",
        "storage": "{}",
        "the frame, by its element": "null",
        "the frame, by its window": "SecurityError",
        "messages": "connected, ready",
        "tokens in messages": "nothing",
        "asking the tokenizer, with your cookie": "TypeError: Failed to fetch",
        "another user's token": "grantMissing",
    }
    assert SECRET not in eve.page.content()


@pytest.mark.long
def test_files_are_kept_shown_and_saved(demo: RunningDemo, people: Callable[[], Person]) -> None:
    somebody = people()
    somebody.sign_up("pia")
    page = somebody.page
    page.goto("/components/secure-upload")
    files = [{"name": name, "mimeType": "text/plain", "buffer": name.encode()} for name in ("one.txt", "two.txt")]
    somebody.frame_of("upload").locator("input[type=file]").set_input_files(files)  # type: ignore[arg-type]  # dicts are what it takes
    with page.expect_navigation():
        page.get_by_role("button", name="Save").click()
    first, second = (stored(demo, "pia")[name] for name in ("file_1", "file_2"))
    expect(somebody.frame_of("upload").locator("li").nth(1)).to_contain_text("two.txt")
    page.goto("/components/secure-viewer")
    expect(somebody.frame_of("viewer").locator("pre")).to_have_text("one.txt")
    page.goto("/components/secure-download")
    button = somebody.frame_of("download").locator(".download")
    expect(button).to_be_enabled()
    with page.expect_download() as saved:
        button.click()
    assert saved.value.suggested_filename == "one.txt"
    page.goto("/components/secure-upload")
    somebody.frame_of("upload").get_by_role("button", name="Remove one.txt").click()
    page.wait_for_function("(token) => document.querySelector('secure-upload').token === token", arg=second)
    with page.expect_navigation():
        page.get_by_role("button", name="Save").click()
    left = stored(demo, "pia")
    assert first not in left.values()
    assert left["file_1"] == second
    assert somebody.errors == []


@pytest.mark.long
def test_axe_finds_nothing_on_any_page(demo: RunningDemo, people: Callable[[], Person]) -> None:
    somebody, axe = people(), Axe()
    page = somebody.page

    def look(path: str = "") -> None:
        if path:
            page.goto(path)
        # What a scheme changes is colours.
        for scheme, options in ((LIGHT, None), (DARK, {"runOnly": ["color-contrast"]})):
            page.emulate_media(color_scheme=scheme)
            found = axe.run(page, options=options)
            assert found.violations_count == 0, f"{page.url}, {scheme}: {found.generate_report()}"

    for path in ("/", "/sign-up", "/log-in", "/no-such-page"):
        look(path)
    page.get_by_role("link", name="Back to the start").click()
    somebody.sign_up("fay")
    somebody.save(SECRET)
    expect(page.locator("#calls li").first).to_be_visible()
    page.locator("#calls summary").first.click()
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]  # a dict like Playwright's own
    for component in COMPONENTS:
        look(f"/components/{component.name}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.goto("/another-user")
    if page.get_by_role("button", name="Let Grace join").is_visible():
        look()
        page.get_by_role("button", name="Let Grace join").click()
    page.get_by_role("button", name="Store it as my number").click()
    look()
    page.goto("/attack")
    page.get_by_role("button", name="Post the comment").click()
    expect(page.locator("#loot tbody tr").last).to_contain_text("another user's token")
    look()
    assert somebody.errors == []


def once_settled(axe: Axe, page: Page) -> AxeResults:
    """What axe finds when the colours, which React changes step by step, have come to rest: nothing, or what stays."""
    for _ in range(10):
        found = axe.run(page)
        if not found.violations_count:
            break
    return found


@pytest.mark.long
def test_the_page_in_react(demo: RunningDemo, people: Callable[[], Person]) -> None:
    ruth, axe = people(), Axe()
    ruth.sign_up("ruth")
    page = ruth.page
    page.goto("/react")
    if page.get_by_text("This page is not built").is_visible():
        pytest.skip("the demo's React page needs npm: make tools")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Please enter a number.")).to_be_visible()
    expect(ruth.field).to_be_focused()
    ruth.field.fill(SECRET)
    ruth.field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Saved.")
    token = stored(demo, "ruth")["ssn"]
    assert token == page.locator("secure-input").first.evaluate("(element) => element.token")
    expect(ruth.frame_of("element").locator("input")).to_have_value(SECRET)
    expect(ruth.row).to_contain_text(token)
    for scheme in (LIGHT, DARK):
        page.emulate_media(color_scheme=scheme)
        found = once_settled(axe, page)
        assert found.violations_count == 0, f"{scheme}: {found.generate_report()}"
    page.reload()
    expect(ruth.field).to_have_value(SECRET)

    # Somebody else's token, put into the library's hands by a script.
    ivy = people()
    ivy.sign_up("ivy")
    ivy.page.goto("/react")
    refused = ivy.page.evaluate(
        """async (ssn) => { const answer = await fetch("/react", { method: "POST", body: new URLSearchParams({ ssn }) });
        return [answer.status, await answer.text()]; }""",
        token,
    )
    assert refused == [403, "grantMissing"]
    assert stored(demo, "ivy") == {}
    assert ruth.errors == ivy.errors == []
