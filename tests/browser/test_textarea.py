"""<secure-textarea>: several lines, whose number and length are nobody's business."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.test_components import TOKEN, add_page
from tests.browser.test_fields import advice, leave, open_page

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from tests.browser.conftest import Visitor, World

LINES = "one\n  two\n\nthree"
FORM = """<form method="post" action="/save"><label for="story">Your story</label>
<secure-textarea id="story" name="ssn" rows="5" cols="30" minlength="10" required{more}></secure-textarea><button>Save</button></form>"""


def area(visitor: Visitor, place: int = 0) -> Locator:
    return visitor.inside(place).locator("textarea")


def test_lines_are_kept_and_shown_again(visitor: Visitor, world: World) -> None:
    open_page(visitor, world, FORM.format(more=""))
    expect(area(visitor)).to_have_accessible_name("Your story")
    assert not visitor.page.evaluate("document.forms[0].checkValidity()")
    expect(advice(visitor)).to_have_text("Please fill this in")
    # Enter ends a line, and not the form.
    area(visitor).press_sequentially(LINES)
    expect(area(visitor)).to_have_value(LINES)
    visitor.page.get_by_role("button", name="Save").click()
    visitor.page.wait_for_url("**/show")
    token = world.application.saved[visitor.user]
    assert TOKEN.fullmatch(token)
    open_page(visitor, world, FORM.format(more=f" wrap='off' readonly token='{token}'"))
    expect(area(visitor)).to_have_value(LINES)
    expect(area(visitor)).to_have_attribute("wrap", "off")
    expect(area(visitor)).not_to_be_editable()
    assert visitor.console == []


def test_neither_length_nor_lines_are_told(visitor: Visitor, world: World) -> None:
    """Too short, too long and of many lines: the person is told, and the page hears and sees the same of all."""
    texts = ["x", "x" * 9, "x" * 10, "line\n" * 40]
    tag = "<secure-textarea aria-label='A' minlength='10' maxlength='300'></secure-textarea>"
    shown = "".join(
        f"<secure-textarea aria-label='B' minlength='10' token='{visitor.keep(one)}'></secure-textarea>"
        for one in texts
    )
    open_page(visitor, world, tag * 4 + shown)
    messages = ["Too short: at least 10", "Too short: at least 10", "", ""]
    for place, text in enumerate(texts):
        area(visitor, place).focus()
        area(visitor, place).evaluate("(area) => area.select()")
        visitor.page.keyboard.insert_text(text)
        expect(area(visitor, place)).to_have_value(text)
        expect(area(visitor, place + 4)).to_have_value(text)
        leave(visitor)
        expect(advice(visitor, place)).to_have_text(messages[place])
        visitor.page.wait_for_function(f"document.querySelectorAll('secure-textarea')[{place}].token")
    heard: dict[str, list[str]] = {}
    for one in (json.loads(text) for text in visitor.page.evaluate("heard") if text.startswith("{")):
        element = one.pop("element", "")
        heard.setdefault(element, []).append(json.dumps({**one, "token": bool(one.get("token"))}, sort_keys=True))
    typed, given = ([heard[f"e{first + place}"] for place in range(4)] for first in (1, 5))
    assert typed == [typed[0]] * 4
    assert given == [given[0]] * 4
    looks = visitor.page.evaluate(
        "[...document.querySelectorAll('secure-textarea')].map((one) => [one.offsetWidth, one.offsetHeight, one.scrollHeight,"
        "one.validity.valid, one.matches(':state(filled)'), one.matches(':state(invalid)')])"
    )
    assert all(one == looks[0] for one in looks)
    # What is told of no length cannot hold a form back either.
    assert looks[0][3:] == [True, True, False]


def test_its_size_is_the_pages(visitor: Visitor, world: World) -> None:
    body = """<style>secure-textarea { font: 16px/20px serif } #c { block-size: 50px; inline-size: 100px; resize: none }</style>
    <secure-textarea id="a" aria-label="A"></secure-textarea><secure-textarea id="b" aria-label="B" rows="6" cols="40"></secure-textarea>
    <secure-textarea id="c" aria-label="C" rows="6"></secure-textarea>"""
    open_page(visitor, world, body)
    expect(area(visitor, 2)).to_be_visible()
    sizes = "[...document.querySelectorAll('secure-textarea')].map((one) => [one.offsetWidth, one.offsetHeight])"
    (_, low), (wide, high), fixed = visitor.page.evaluate(sizes)
    assert high == low + 4 * 20
    assert wide > 40 * 7
    assert fixed == [100, 50]
    visitor.page.locator("#b").evaluate("(one) => { one.rows = 1; one.setAttribute('rows', '8') }")
    assert visitor.page.evaluate(sizes)[1][1] == low + 6 * 20

    def drag(name: str) -> float:
        box = visitor.page.locator(name).bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] - 5, box["y"] + box["height"] - 5
        visitor.page.mouse.move(x, y)
        visitor.page.mouse.down()
        visitor.page.mouse.move(x, y + 30, steps=3)
        visitor.page.mouse.up()
        after = visitor.page.locator(name).bounding_box()
        assert after is not None
        return after["height"] - box["height"]

    assert drag("#a") > 20
    assert drag("#c") == 0


def test_a_longer_text_than_is_taken_is_cut_while_typing(visitor: Visitor, world: World) -> None:
    visitor.go(
        add_page(
            world,
            "<secure-textarea aria-label='A' maxlength='5' placeholder='p' autocomplete='street-address'></secure-textarea>",
        )
    )
    area(visitor).press_sequentially("1234567")
    expect(area(visitor)).to_have_value("12345")
    expect(area(visitor)).to_have_attribute("autocomplete", "street-address")
