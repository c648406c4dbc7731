"""The components as a person and an application meet them: typed, kept, sent as a token, shown again."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from tests.browser.conftest import Visitor, World

SECRET = "078-05-1120"
TOKEN = re.compile(r"lunasec-[0-9a-f-]{36}")

# Notes all that reaches the page: what its ports and its window hear, and every event of a component.
NOTE_ALL = """
window.heard = [];
window.MessageChannel = class extends MessageChannel {
  constructor() { super(); this.port1.addEventListener("message", (event) => heard.push(JSON.stringify(event.data))); }
};
addEventListener("message", (event) => heard.push(JSON.stringify(event.data)));
for (const type of ["ready", "change", "input", "error", "focus", "blur", "keydown", "paste"])
  addEventListener(type, (event) => heard.push(type + JSON.stringify(event.detail ?? null)), true);
"""


def add_page(world: World, body: str) -> str:
    """A page of the application with a body of a test's own; its path."""
    path = f"/page-{len(world.application.pages)}"
    world.application.pages[path] = world.application.page(body)
    return path


def test_what_is_typed_is_sent_as_a_token_and_shown_again(visitor: Visitor, world: World) -> None:
    visitor.context.add_init_script(NOTE_ALL)
    visitor.go("/form")
    visitor.field.fill(SECRET)
    visitor.page.get_by_role("button", name="Save").click()
    visitor.page.wait_for_url("**/show")

    token = world.application.saved[visitor.user]
    assert TOKEN.fullmatch(token)
    assert SECRET not in json.dumps(world.application.posted)
    expect(visitor.text).to_have_text(SECRET)
    assert SECRET not in visitor.page.content()
    heard = visitor.page.evaluate("heard")
    assert heard
    assert SECRET not in json.dumps(heard)
    assert visitor.console == []


def test_the_page_hears_only_what_the_specification_lists(visitor: Visitor, world: World) -> None:
    visitor.context.add_init_script(NOTE_ALL)
    path = add_page(world, "<secure-input name='a' aria-label='A'></secure-input><p tabindex='0' id='else'>else</p>")
    visitor.go(path)
    visitor.field.click()
    visitor.field.press_sequentially(SECRET)
    visitor.page.locator("#else").click()
    visitor.page.wait_for_function("heard.some((one) => one.includes('token'))")
    heard = [json.loads(one) for one in visitor.page.evaluate("heard") if one.startswith("{")]
    kinds = [one["type"] for one in heard if one["type"] != "session-needed"]
    assert kinds == ["connected", "ready", "state", "focused", "state", "blurred", "keeping", "token"]
    assert [one["filled"] for one in heard if one["type"] == "state"] == [False, True]


def test_a_value_is_edited(visitor: Visitor, world: World) -> None:
    first = visitor.keep(SECRET)
    visitor.go("/edit")
    expect(visitor.field).to_have_value(SECRET)
    visitor.field.fill("219-09-9999")
    visitor.field.press("Enter")
    visitor.page.wait_for_url("**/show")
    second = world.application.saved[visitor.user]
    assert second != first
    expect(visitor.text).to_have_text("219-09-9999")


def test_a_shown_value_that_nobody_changed_keeps_its_token(visitor: Visitor, world: World) -> None:
    first = visitor.keep(SECRET)
    visitor.go("/edit")
    expect(visitor.field).to_have_value(SECRET)
    visitor.page.get_by_role("button", name="Save").click()
    visitor.page.wait_for_url("**/show")
    assert world.application.saved[visitor.user] == first


def test_an_empty_required_field_holds_the_form_back(visitor: Visitor, world: World) -> None:
    posted = len(world.application.posted)
    visitor.go("/form")
    expect(visitor.field).to_be_visible()
    field = visitor.page.locator("secure-input")
    assert field.evaluate("(field) => [field.matches(':invalid'), field.validity.valueMissing]") == [True, True]
    visitor.page.get_by_role("button", name="Save").click()
    assert len(world.application.posted) == posted
    visitor.field.press_sequentially("1")
    visitor.page.wait_for_function("document.querySelector('secure-input').matches(':valid')")
    assert field.evaluate("(field) => field.token") == ""


def test_the_submit_waits_for_the_upload(visitor: Visitor, world: World) -> None:
    visitor.go("/form")
    held = visitor.hold("**/objects/**")
    visitor.field.fill(SECRET)
    visitor.page.get_by_role("button", name="Save").click()
    upload = held.first()
    assert held.routes == []
    assert visitor.page.url.endswith("/form")
    upload.continue_()
    visitor.page.wait_for_url("**/show")


def test_reset_and_disabled(visitor: Visitor, world: World) -> None:
    token = visitor.keep(SECRET)
    visitor.go("/edit")
    expect(visitor.field).to_have_value(SECRET)
    visitor.field.fill("something else")
    form = visitor.page.locator("form")
    form.evaluate("(form) => form.reset()")
    expect(visitor.field).to_have_value(SECRET)
    assert form.evaluate("(form) => new FormData(form).get('ssn')") == token
    visitor.page.locator("secure-input").evaluate("(field) => field.disabled = true")
    expect(visitor.field).to_be_disabled()
    assert form.evaluate("(form) => new FormData(form).get('ssn')") is None


def test_labels_attributes_and_focus_reach_the_field(visitor: Visitor, world: World) -> None:
    body = """<label for="mail">Your e-mail</label>
    <secure-input id="mail" type="email" maxlength="20" autocomplete="email" placeholder="a@b.example" aria-describedby="hint"></secure-input>
    <span id="hint">We do not send any.</span>"""
    visitor.context.add_init_script(NOTE_ALL)
    visitor.go(add_page(world, body))
    field = visitor.field
    expect(field).to_have_accessible_name("Your e-mail")
    assert field.evaluate("(field) => [field.type, field.maxLength, field.autocomplete, field.placeholder]") == [
        "email",
        20,
        "email",
        "a@b.example",
    ]
    expect(field).to_have_accessible_description("We do not send any.")
    visitor.page.get_by_text("Your e-mail").click()
    expect(field).to_be_focused()
    visitor.page.keyboard.type("nonsense")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_function("document.querySelector('secure-input').validity.typeMismatch")
    visitor.page.keyboard.type("@b.example")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_function("document.querySelector('secure-input').validity.valid")
    assert visitor.page.evaluate("document.activeElement.localName") == "secure-input"
    host = visitor.page.locator("secure-input")
    assert host.evaluate("(host) => [host.matches(':state(focused)'), getComputedStyle(host).outlineStyle]") == [
        True,
        "solid",
    ]


def test_all_of_a_page_is_asked_for_at_once_and_one_failure_stays_alone(visitor: Visitor, world: World) -> None:
    foreign = world.application.keep(world.new_user(), "somebody else's")
    token = visitor.keep(SECRET)
    body = f"<secure-span token='{token}'></secure-span>" * 6 + f"<secure-span token='{foreign}'></secure-span>"
    visitor.context.add_init_script(NOTE_ALL)
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url) if "/detokenize" in request.url else None)
    visitor.go(add_page(world, body))
    for place in range(6):
        expect(visitor.inside(place).locator(".text")).to_have_text(SECRET)
    refused = visitor.inside(6)
    expect(refused.locator(".notice")).to_have_attribute("data-name", "grantMissing")
    expect(refused.locator(".text")).to_be_empty()
    assert visitor.errors(1) == ["grantMissing"]
    assert len(asked) == 1


def test_values_are_asked_for_while_their_frames_still_load(visitor: Visitor, world: World) -> None:
    token = visitor.keep(SECRET)
    path = add_page(world, f"<secure-span token='{token}'></secure-span>")
    held = visitor.hold("**/frame/element*")
    with visitor.page.expect_request(re.compile("/detokenize")):
        visitor.page.goto(world.application.url + path, wait_until="commit")
    (frame,) = held.routes
    frame.continue_()
    expect(visitor.text).to_have_text(SECRET)


def test_without_a_session_each_element_says_so_and_recovers(visitor: Visitor, world: World) -> None:
    token = visitor.keep(SECRET)
    visitor.context.clear_cookies()
    visitor.go(add_page(world, f"<secure-paragraph token='{token}'></secure-paragraph>"))
    expect(visitor.notice).to_have_attribute("data-name", "sessionMissing")
    visitor.context.add_cookies([{"name": "user", "value": visitor.user, "url": world.application.url}])
    visitor.notice.get_by_role("button", name="Try again").click()
    expect(visitor.text).to_have_text(SECRET)


def test_frames_are_locked_to_their_session(visitor: Visitor, world: World) -> None:
    token = visitor.keep(SECRET)
    visitor.go("/edit")
    expect(visitor.field).to_have_value(SECRET)
    visitor.context.clear_cookies()
    visitor.context.add_cookies([{"name": "user", "value": world.new_user(), "url": world.application.url}])
    visitor.field.fill("typed by the first user")
    visitor.page.get_by_role("button", name="Save").click()
    expect(visitor.notice).to_have_attribute("data-name", "sessionMismatch")
    assert world.application.saved[visitor.user] == token


def test_elements_survive_a_page_that_moves_them_or_removes_the_hub(visitor: Visitor, world: World) -> None:
    token = visitor.keep(SECRET)
    visitor.go(add_page(world, f"<div id='a'><secure-span token='{token}'></secure-span></div><div id='b'></div>"))
    frame = visitor.inside()
    for disturbance in (
        "b.append(document.querySelector('secure-span'))",
        "document.querySelector('html > iframe').remove()",
    ):
        expect(frame.locator(".text")).to_have_text(SECRET)
        visitor.page.evaluate(disturbance)
        frame = visitor.inside(besides=frame)
    expect(frame.locator(".text")).to_have_text(SECRET)
    assert len(visitor.page.query_selector_all("html > iframe")) == 1


def test_the_look_passes_through(visitor: Visitor, world: World) -> None:
    style = "font: italic 700 20px Georgia, Evil; color: rgb(1, 2, 3); letter-spacing: 2px; text-align: right"
    visitor.go(add_page(world, f"<secure-input aria-label='A' style='{style}'></secure-input>"))
    shown = visitor.field.evaluate(
        "(field) => { const look = getComputedStyle(field); "
        "return [look.fontFamily, look.fontSize, look.fontWeight, look.fontStyle, look.color, look.letterSpacing, look.textAlign] }"
    )
    assert shown == ["georgia", "20px", "700", "italic", "rgb(1, 2, 3)", "2px", "right"]
    visitor.page.locator("secure-input").evaluate("(field) => { field.style.color = 'rgb(9, 8, 7)' }")
    expect(visitor.field).to_have_css("color", "rgb(9, 8, 7)")


@pytest.mark.parametrize("value", ["", "ä€😀\n", "x" * 70_000], ids=["empty", "unicode", "long"])
def test_texts_of_every_sort_come_back_whole(visitor: Visitor, world: World, value: str) -> None:
    visitor.go(add_page(world, "<secure-input aria-label='A'></secure-input><secure-paragraph></secure-paragraph>"))
    visitor.field.fill(value.strip())
    token = visitor.page.locator("secure-input").evaluate("(field) => field.settle()")
    if not value:
        assert token is None
        return
    visitor.page.locator("secure-paragraph").evaluate("(element, token) => { element.token = token }", token)
    expect(visitor.inside(1).locator(".text")).to_have_text(value.strip())
