"""The examples of the docs for plain HTML, htmx and Vue, run as they are written there."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.bundles import NODE_MODULES, built_by_vite, require_node
from tests.browser.examples import TOKEN, examples

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.conftest import Visitor, World

SECRET = "078-05-1120"
OTHER = "219-09-9999"
HTMX = {"2": NODE_MODULES / "htmx-2" / "dist" / "htmx.js", "4": NODE_MODULES / "htmx.org" / "dist" / "htmx.js"}


def serve(world: World, page: str) -> dict[str, str]:
    """Serve the examples of a page under their names; and return them."""
    found = examples(f"how-to/{page}.md", tokenizer=world.tokenizer_url)
    for name, example in found.items():
        if name.endswith(".html"):
            world.application.pages[f"/{page}/{name}"] = example
    return found


def assert_accessible(visitor: Visitor) -> None:
    found = Axe().run(visitor.page)
    assert found.violations_count == 0, found.generate_report()


def save(visitor: Visitor, value: str = SECRET) -> None:
    visitor.field.fill(value)
    visitor.page.get_by_role("button", name="Save").click()


def test_a_form_of_plain_html(visitor: Visitor, world: World) -> None:
    serve(world, "plain-html")
    visitor.go("/plain-html/form.html")
    expect(visitor.field).to_be_visible()
    assert_accessible(visitor)
    save(visitor)
    visitor.page.wait_for_url("**/show")
    expect(visitor.text).to_have_text(SECRET)
    shown = examples("how-to/plain-html.md", tokenizer=world.tokenizer_url)["shown.html"]
    token = world.application.saved[visitor.user]
    world.application.pages["/plain-html/shown"] = world.application.page(shown.replace(TOKEN, token))
    visitor.go("/plain-html/shown")
    expect(visitor.text).to_have_text(SECRET)


def test_a_script_of_plain_html(visitor: Visitor, world: World) -> None:
    serve(world, "plain-html")
    visitor.go("/plain-html/fetch.html")
    visitor.page.get_by_role("button", name="Save").click()
    expect(visitor.page.get_by_role("status")).to_have_text("Please enter a number.")
    save(visitor)
    expect(visitor.page.get_by_role("status")).to_have_text("Saved.")
    expect(visitor.inside(1).locator(".text")).to_have_text(SECRET)
    assert_accessible(visitor)
    # Somebody who is not logged in.
    visitor.context.clear_cookies()
    visitor.page.reload()
    visitor.field.fill(SECRET)
    visitor.page.get_by_role("button", name="Save").click()
    visitor.page.wait_for_event("console", lambda message: message.text == "ssn sessionMissing")


@pytest.mark.long
def test_components_that_are_added_later(visitor: Visitor, world: World) -> None:
    serve(world, "plain-html")
    visitor.go("/plain-html/later.html")
    visitor.page.get_by_role("button", name="Add").click()
    expect(visitor.field).to_be_focused()
    visitor.page.keyboard.type(SECRET)
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url("**/show")
    expect(visitor.text).to_have_text(SECRET)


@pytest.mark.long
def test_tokens_that_come_before_the_elements_do(visitor: Visitor, world: World) -> None:
    """Frameworks set properties of elements that are not in the page yet, or whose script has not come yet."""
    token = visitor.keep(SECRET)
    world.application.call("/grant/set", sessionId=visitor.user, tokenId=token)
    # A classic script runs before the module that defines the elements.
    body = f"""<main></main><script>
      const early = document.createElement("secure-input");
      Object.assign(early, {{ value: "{token}" }});
      early.setAttribute("aria-label", "Early");
      document.querySelector("main").append(early);
    </script>"""
    world.application.pages["/early"] = world.application.page(body)
    visitor.go("/early")
    expect(visitor.field).to_have_value(SECRET)
    visitor.page.evaluate(
        """(token) => {
          const late = document.createElement("secure-input");
          Object.assign(late, { token, type: "email", name: "late" });
          document.querySelector("main").append(late);
        }""",
        token,
    )
    late = visitor.inside(1).locator("input")
    expect(late).to_have_value(SECRET)
    expect(late).to_have_attribute("type", "email")
    # An emptied field stays empty wherever it is moved to.
    before = visitor.inside(0)
    visitor.page.evaluate(
        "const [early] = document.querySelectorAll('secure-input'); early.token = ''; document.body.append(early)"
    )
    expect(visitor.inside(1, besides=before).locator("input")).to_have_value("")
    assert visitor.console == []


@pytest.mark.parametrize("version", ["2", pytest.param("4", marks=pytest.mark.long)])
def test_htmx(visitor: Visitor, world: World, version: str) -> None:
    require_node()
    found = serve(world, "htmx")
    application = world.application
    application.scripts["/static/htmx.js"] = HTMX[version].read_text(encoding="utf-8")
    answers = answering(visitor, found)
    visitor.go("/htmx/page.html")
    expect(visitor.field).to_be_visible()
    assert_accessible(visitor)
    # What does not pass is not sent, and the person is told inside.
    save(visitor, "000-00-0000")
    expect(visitor.inside().locator("#advice")).not_to_be_empty()
    assert answers == []
    field = visitor.inside()
    save(visitor)
    shown = visitor.inside(besides=field)
    expect(shown.locator(".text")).to_have_text(SECRET)
    visitor.page.get_by_role("button", name="Change").click()
    field = visitor.inside(besides=shown)
    expect(field.locator("input")).to_have_value(SECRET)
    field.locator("input").fill(OTHER)
    visitor.page.get_by_role("button", name="Save").click()
    expect(visitor.inside(besides=field).locator(".text")).to_have_text(OTHER)
    assert len(set(answers)) == 2
    assert SECRET not in visitor.page.content()
    assert visitor.console == []


@pytest.mark.parametrize("version", ["2", "4"])
@pytest.mark.long
def test_a_field_that_htmx_sends_by_itself(visitor: Visitor, world: World, version: str) -> None:
    require_node()
    found = serve(world, "htmx")
    application = world.application
    application.scripts["/static/htmx.js"] = HTMX[version].read_text(encoding="utf-8")
    application.pages["/htmx/field"] = application.page('<script src="/static/htmx.js"></script>' + found["field.html"])
    answers = answering(visitor, found)
    visitor.go("/htmx/field")
    visitor.field.fill(SECRET)
    visitor.field.press("Tab")
    expect(visitor.inside(1).locator(".text")).to_have_text(SECRET)
    assert answers == [visitor.page.locator("secure-input").evaluate("(element) => element.token")]


def answering(visitor: Visitor, found: dict[str, str]) -> list[str]:
    """Answer as the application of the guide does; the tokens that were sent."""
    application, sent = visitor.world.application, list[str]()

    def answer(route: Any) -> None:
        request = route.request
        if request.method == "POST":
            token = re.search(r"lunasec-[0-9a-f-]{36}", request.post_data or "")
            assert token, request.post_data
            assert application.call("/grant/verify", sessionId=visitor.user, tokenId=token[0])["valid"]
            sent.append(token[0])
        application.call("/grant/set", sessionId=visitor.user, tokenId=sent[-1])
        name = "edit.html" if request.url.endswith("/edit") else "number.html"
        route.fulfill(body=found[name].replace(TOKEN, html.escape(sent[-1])), content_type="text/html")

    visitor.page.route(re.compile(r"/number(/edit)?$"), answer)
    return sent


@pytest.fixture
def vue_page(world: World, tmp_path: Path) -> str:
    """The single-file components of the guide, built by Vite as the guide configures it."""
    require_node()
    for name, example in serve(world, "vue").items():
        (tmp_path / name).write_text(example, encoding="utf-8")
    (tmp_path / "main.js").write_text(
        'import { createApp } from "vue"; import App from "./App.vue"; createApp(App).mount("#app");', "utf-8"
    )
    world.application.scripts["/vue/main.js"] = built_by_vite(tmp_path, "main.js")
    body = '<div id="app"></div><script type="module" src="/vue/main.js"></script>'
    world.application.pages["/vue/app"] = world.application.page(body)
    return "/vue/app"


@pytest.mark.long
def test_vue_with_single_file_components(visitor: Visitor, vue_page: str) -> None:
    visitor.go(vue_page)
    expect(visitor.inside(1).locator("input")).to_have_attribute("type", "email")
    assert_accessible(visitor)
    visitor.field.fill(SECRET)
    visitor.page.get_by_role("button", name="Clear").focus()
    visitor.page.wait_for_function("document.querySelector('secure-input').token")
    # What was typed stays as it is, and is not fetched again.
    expect(visitor.field).to_have_value(SECRET)
    visitor.page.get_by_role("button", name="Clear").click()
    expect(visitor.field).to_have_value("")
    save(visitor)
    expect(visitor.inside(2).locator(".text")).to_have_text(SECRET)
    assert visitor.world.application.posted[-1]["ssn"] == [visitor.world.application.saved[visitor.user]]
    assert visitor.console == []


@pytest.mark.long
def test_vue_tells_what_a_field_could_not_do(visitor: Visitor, vue_page: str) -> None:
    visitor.context.clear_cookies()
    visitor.go(vue_page)
    visitor.field.fill(SECRET)
    visitor.page.get_by_role("button", name="Save").click()
    expect(visitor.page.get_by_role("alert")).to_have_text("sessionMissing")


@pytest.mark.long
def test_vue_without_a_build(visitor: Visitor, world: World) -> None:
    require_node()
    serve(world, "vue")
    script = NODE_MODULES / "vue" / "dist" / "vue.esm-browser.prod.js"
    world.application.scripts["/static/vue.esm-browser.prod.js"] = script.read_text(encoding="utf-8")
    visitor.go("/vue/page.html")
    visitor.field.fill(SECRET)
    visitor.field.press("Tab")
    expect(visitor.inside(1).locator(".text")).to_have_text(SECRET)
    assert visitor.console == []
