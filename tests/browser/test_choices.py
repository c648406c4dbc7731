"""<secure-select> and <secure-radio>: which of several was chosen is the person's business, and nobody else can find out."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.test_components import NOTE_ALL, TOKEN, add_page
from tests.browser.test_fields import leave, open_page

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from tests.browser.conftest import Visitor, World

OPTIONS = (
    "<option value='neg'>Negative</option><option value='positive'>Positive</option><option disabled>Unknown</option>"
)
FORM = f"""<form method="post" action="/save"><label for="a">Result</label>
<secure-select id="a" name="ssn" required aria-describedby="hint">{OPTIONS}</secure-select><span id="hint">Of the test</span>
<secure-radio name="b" aria-label="Second result">{OPTIONS}</secure-radio><button id="save">Save</button></form>"""


def select(visitor: Visitor, place: int = 0) -> Locator:
    return visitor.inside(place).locator("select")


def radio(visitor: Visitor, name: str, place: int = 1) -> Locator:
    return visitor.inside(place).get_by_role("radio", name=name)


def heard_by_element(visitor: Visitor) -> dict[str, list[dict[str, Any]]]:
    """The reports that reached the page, by element, without what names the element or a token."""
    told: dict[str, list[dict[str, Any]]] = {}
    for one in (json.loads(text) for text in visitor.page.evaluate("heard") if text.startswith("{")):
        element = one.pop("element", "")
        if one.get("token"):
            assert TOKEN.fullmatch(one["token"])
            one["token"] = "a token"
        told.setdefault(element, []).append(one)
    told.pop("", None)
    return told


def looks(visitor: Visitor, name: str) -> list[Any]:
    """All that a page can see of its elements beside messages, each without its token."""
    seen: list[Any] = visitor.page.evaluate(
        """(name) => [...document.querySelectorAll(name)].map((one) => [one.offsetWidth, one.offsetHeight, one.scrollHeight,
          one.validationMessage, JSON.stringify(one.validity), one.value.length, one.matches(":valid"),
          ["filled", "invalid", "focused", "busy"].map((state) => one.matches(`:state(${state})`)), one.textContent, one.shadowRoot])""",
        name,
    )
    return seen


def test_choices_are_sent_as_tokens_and_shown_again(visitor: Visitor, world: World) -> None:
    open_page(visitor, world, FORM)
    chosen = select(visitor)
    expect(chosen).to_have_accessible_name("Result")
    expect(chosen).to_have_accessible_description("Of the test")
    assert chosen.locator("option").all_inner_texts() == ["Choose …", "Negative", "Positive", "Unknown"]
    expect(visitor.inside(1).get_by_role("radiogroup")).to_have_accessible_name("Second result")
    visitor.page.locator("#save").click()
    expect(visitor.inside().locator("#advice")).to_have_text("Please fill this in")
    chosen.select_option("positive")
    expect(visitor.inside().locator("#advice")).to_be_empty()
    visitor.inside(1).get_by_text("Negative").click()
    expect(radio(visitor, "Negative")).to_be_checked()
    visitor.page.locator("#save").click()
    visitor.page.wait_for_url("**/show")
    expect(visitor.text).to_have_text("positive")
    posted = world.application.posted[-1]
    assert all(TOKEN.fullmatch(values[0]) for values in posted.values())
    second = posted["b"][0]
    world.application.call("/grant/set", sessionId=visitor.user, tokenId=second)
    open_page(visitor, world, FORM.replace('name="b"', f"name='b' token='{second}'"))
    expect(radio(visitor, "Negative")).to_be_checked()
    assert visitor.console == []


def test_the_keyboard_chooses_and_sends(visitor: Visitor, world: World) -> None:
    open_page(visitor, world, FORM)
    expect(select(visitor)).to_be_visible()
    expect(radio(visitor, "Negative")).to_be_visible()
    keys = visitor.page.keyboard
    keys.press("Tab")
    expect(select(visitor)).to_be_focused()
    keys.press("P")
    expect(select(visitor)).to_have_value("positive")
    keys.press("Tab")
    # One stop of the tabulator for all of them.
    expect(radio(visitor, "Negative")).to_be_focused()
    keys.press("Space")
    expect(radio(visitor, "Negative")).to_be_checked()
    keys.press("ArrowDown")
    expect(radio(visitor, "Positive")).to_be_checked()
    expect(radio(visitor, "Positive")).to_be_focused()
    # Past the one that is disabled, to the first.
    keys.press("ArrowDown")
    expect(radio(visitor, "Negative")).to_be_checked()
    keys.press("Tab")
    expect(visitor.page.get_by_role("button", name="Save")).to_be_focused()
    keys.press("Shift+Tab")
    expect(radio(visitor, "Negative")).to_be_focused()
    keys.press("Enter")
    visitor.page.wait_for_url("**/show")
    expect(visitor.text).to_have_text("positive")


EIGHT = "".join(
    f"<option value='{'x' * place or 'none'}'>Option {'of any length ' * place}{place}</option>" for place in range(8)
)


@pytest.mark.parametrize("name", ["secure-select", "secure-radio"])
def test_of_a_choice_the_page_hears_and_sees_nothing_but_that_there_is_one(
    visitor: Visitor, world: World, name: str
) -> None:
    """Eight elements, of which each gets another option, by keyboard alone; the messages and all that is to be seen are the same."""
    body = f"<{name} aria-label='A' required>{EIGHT}</{name}>" * 8
    open_page(visitor, world, f"<style>{name} {{ display: block; block-size: 3em }}</style>{body}")
    for place in range(8):
        inside = visitor.inside(place)
        control = inside.locator("select, input").first
        control.focus()
        if name == "secure-radio":
            control.press("Space")
        else:
            control.press("ArrowDown")
        for _ in range(place):
            inside.locator("select, input:checked").press("ArrowDown")
        value = inside.evaluate("document.querySelector('select, input:checked').value")
        assert value == ("x" * place or "none")
        leave(visitor)
        visitor.page.wait_for_function(f"document.querySelectorAll('{name}')[{place}].token")
    told = list(heard_by_element(visitor).values())
    assert len(told) == 8
    assert all(one == told[0] for one in told)
    types = [one["type"] for one in told[0]]
    # That there is one is told when it is chosen; how often it was changed is not.
    assert types == ["ready", "state", "focused", "state", "blurred", "keeping", "token"]
    assert all(one == looks(visitor, name)[0] for one in looks(visitor, name))
    assert "Option" not in json.dumps(told)


@pytest.mark.parametrize("name", ["secure-select", "secure-radio"])
def test_of_a_choice_that_is_shown_the_page_learns_nothing(visitor: Visitor, world: World, name: str) -> None:
    """Among them one that is not among the options, and one of none."""
    values = ["none", "x", "x" * 7, "not among them", "x" * 5000]
    body = "".join(f"<{name} aria-label='A' token='{visitor.keep(value)}'>{EIGHT}</{name}>" for value in values)
    open_page(visitor, world, f"<style>{name} {{ display: block; block-size: 3em }}</style>{body}")
    for place, value in enumerate(values):
        expect(visitor.inside(place).locator("[aria-busy=false]")).to_be_attached()
        chosen = visitor.inside(place).evaluate("document.querySelector('select, input:checked').value")
        assert chosen == value
    told = list(heard_by_element(visitor).values())
    assert all(one == told[0] for one in told)
    assert [one["type"] for one in told[0]] == ["ready", "state"]
    assert all(one == looks(visitor, name)[0] for one in looks(visitor, name))


def test_a_page_that_takes_options_away_does_not_see_whether_it_was_the_one(visitor: Visitor, world: World) -> None:
    token = visitor.keep("positive")
    body = f"<secure-select aria-label='A' token='{token}'>{OPTIONS}</secure-select><secure-select aria-label='B'>{OPTIONS}</secure-select>"
    open_page(visitor, world, body)
    expect(select(visitor)).to_have_value("positive")
    select(visitor, 1).select_option("positive")
    visitor.page.wait_for_function("document.querySelectorAll('secure-select')[1].matches(':state(filled)')")
    # By an order to the frame that there is: it has no effect.
    visitor.page.evaluate(
        "for (const one of document.querySelectorAll('secure-select'))"
        "one.order({ type: 'set', settings: { options: [{ value: 'neg', label: 'n', disabled: false }], placeholder: 'told' } })"
    )
    for place in range(2):
        expect(select(visitor, place).locator("option").first).to_have_text("told")
        expect(select(visitor, place)).to_have_value("positive")
        expect(select(visitor, place).locator("option")).to_have_count(4)
    # By the component, which takes another frame.
    visitor.page.evaluate(
        "for (const one of document.querySelectorAll('secure-select option:nth-child(2)')) one.remove()"
    )
    visitor.page.wait_for_function("!document.querySelectorAll('secure-select')[1].matches(':state(filled)')")
    assert visitor.page.evaluate("document.querySelector('secure-select').token") == token
    assert visitor.page.evaluate("document.querySelector('secure-select').matches(':state(filled)')")
    # Their first frames, which were e1 and e2, go.
    frames = re.compile(r"/frame/choices#.*\.e[34]$")
    while len(found := [one for one in visitor.page.frames if frames.search(one.url)]) < 2:
        visitor.page.wait_for_event("framenavigated")
    first, second = sorted(found, key=lambda one: one.url)
    expect(first.locator("select")).to_have_value("positive")
    expect(second.locator("select")).to_have_value("")


def test_options_come_from_children_an_attribute_or_a_script(visitor: Visitor, world: World) -> None:
    body = """<secure-select aria-label="A" options='["one", ["2", "two"], {"value": "3", "label": "three", "disabled": true}]'></secure-select>
    <secure-select aria-label="B" options="nonsense" placeholder="Pick"></secure-select>
    <secure-select aria-label="C"><option value="">None of them</option><option>one</option></secure-select>
    <secure-select aria-label="D" id="d"></secure-select>"""
    early = f"const d = document.querySelector('#d'); d.options = ['early']; d.token = '{visitor.keep('early')}'"
    open_page(visitor, world, f"{body}<script>{early}</script>")
    look = "(select) => [...select.options].map((one) => [one.value, one.text, one.disabled])"
    expect(select(visitor, 2)).to_be_visible()
    assert select(visitor).evaluate(look) == [
        ["", "Choose …", False],
        ["one", "one", False],
        ["2", "two", False],
        ["3", "three", True],
    ]
    assert select(visitor, 1).evaluate(look) == [["", "Pick", False]]
    assert select(visitor, 2).evaluate(look) == [["", "None of them", False], ["one", "one", False]]
    assert any("no JSON array" in line for line in visitor.console)
    # What a script of the page said before the component's own was there.
    assert select(visitor, 3).evaluate(look)[1:] == [["early", "early", False]]
    expect(select(visitor, 3)).to_have_value("early")
    before = visitor.inside(1)
    visitor.page.evaluate("document.querySelectorAll('secure-select')[1].options = ['a', 'b']")
    visitor.page.wait_for_function("document.querySelectorAll('secure-select')[1].options.length === 2")
    expect(visitor.inside(3, besides=before).locator("option")).to_have_text(["Pick", "a", "b"])


def test_shuffled_options_are_the_same_in_another_order(visitor: Visitor, world: World) -> None:
    names = [f"option {number}" for number in range(40)]
    options = "".join(f"<option>{name}</option>" for name in names)
    open_page(
        visitor,
        world,
        f"<secure-radio aria-label='A' shuffle>{options}</secure-radio><secure-select aria-label='B' shuffle>{options}</secure-select>",
    )
    radios = visitor.inside(0).get_by_role("radio")
    if radios.count() == 0:
        expect(visitor.inside(0).locator("select, input").first).to_be_attached()
    orders = [
        visitor.inside(place).evaluate("[...document.querySelectorAll('option, label')].map((one) => one.textContent)")
        for place in range(2)
    ]
    for order in orders:
        given = [name for name in order if name in names]
        assert sorted(given) == sorted(names)
        assert given != names


@pytest.mark.long
def test_disabled_readonly_and_reset(visitor: Visitor, world: World) -> None:
    token = visitor.keep("neg")
    body = f"""<form><secure-select name="a" aria-label="A" token="{token}">{OPTIONS}</secure-select>
    <secure-select name="b" aria-label="B" readonly token="{token}">{OPTIONS}</secure-select>
    <secure-radio name="c" aria-label="C" readonly token="{token}">{OPTIONS}</secure-radio>
    <secure-radio name="d" aria-label="D">{OPTIONS}</secure-radio></form>"""
    open_page(visitor, world, body)
    for place in range(2):
        expect(select(visitor, place)).to_have_value("neg")
    expect(radio(visitor, "Negative", 2)).to_be_checked()
    select(visitor).focus()
    select(visitor).select_option("positive")
    radio(visitor, "Positive", 3).check()
    for place in (1, 2):
        control = visitor.inside(place).locator("select, input:checked")
        control.focus()
        control.press("ArrowDown")
        control.press("P")
    visitor.inside(2).get_by_text("Positive").click()
    expect(select(visitor, 1)).to_have_value("neg")
    expect(radio(visitor, "Negative", 2)).to_be_checked()
    leave(visitor)
    visitor.page.wait_for_function(
        "(token) => document.querySelector('[name=d]').token && document.querySelector('[name=a]').token !== token",
        arg=token,
    )
    form = visitor.page.locator("form")
    sent = dict(form.evaluate("(form) => [...new FormData(form)]"))
    assert sent["b"] == sent["c"] == token
    assert sent["a"] != token
    form.evaluate("(form) => form.reset()")
    expect(select(visitor)).to_have_value("neg")
    expect(visitor.inside(3).locator("input:checked")).to_have_count(0)
    assert dict(form.evaluate("(form) => [...new FormData(form)]"))["a"] == token
    visitor.page.evaluate("for (const one of document.forms[0].elements) one.disabled = true")
    expect(select(visitor)).to_be_disabled()
    expect(radio(visitor, "Positive", 3)).to_be_disabled()
    assert form.evaluate("(form) => [...new FormData(form)]") == []


@pytest.mark.long
def test_what_goes_wrong_is_said_and_passes(visitor: Visitor, world: World) -> None:
    foreign = world.application.keep(world.new_user(), "neg")
    own = visitor.keep("neg")
    body = f"""<secure-select aria-label="A" token="{foreign}">{OPTIONS}</secure-select>
    <secure-radio aria-label="B" token="{own}">{OPTIONS}</secure-radio>"""
    open_page(visitor, world, body)
    expect(visitor.notice).to_have_attribute("data-name", "grantMissing")
    expect(radio(visitor, "Negative")).to_be_checked()
    visitor.context.set_offline(True)
    radio(visitor, "Positive").check()
    leave(visitor)
    notice = visitor.inside(1).locator(".notice")
    expect(notice).to_have_attribute("data-name", "network")
    expect(radio(visitor, "Positive")).to_be_checked()
    visitor.context.set_offline(False)
    visitor.page.wait_for_function(
        "(own) => ![own, ''].includes(document.querySelector('secure-radio').token)", arg=own
    )
    expect(notice).to_be_hidden()
    world.application.call("/session/end", sessionId=visitor.user)
    radio(visitor, "Negative").check()
    leave(visitor)
    expect(notice).to_have_attribute("data-name", "sessionMissing")
    expect(radio(visitor, "Negative")).to_be_checked()
    assert visitor.errors(3) == ["grantMissing", "network", "sessionMissing"]


STATES = f"""<style>:root {{{{ color-scheme: light dark }}}} body {{{{ background: Canvas; color: CanvasText }}}}</style>
<secure-select aria-label="A" required>{OPTIONS}</secure-select><secure-select aria-label="B" token="{{token}}">{OPTIONS}</secure-select>
<secure-select aria-label="C" disabled>{OPTIONS}</secure-select><secure-select aria-label="D" token="{{foreign}}">{OPTIONS}</secure-select>
<secure-radio aria-label="E" required>{OPTIONS}</secure-radio><secure-radio aria-label="F" token="{{token}}">{OPTIONS}</secure-radio>
<secure-radio aria-label="G" orientation="horizontal">{OPTIONS}</secure-radio><secure-radio aria-label="H" token="{{foreign}}">{OPTIONS}</secure-radio>
<label for="i">Story</label><secure-textarea id="i" minlength="9"></secure-textarea>
<secure-copy token="{{token}}" aria-label="number"></secure-copy><secure-copy aria-label="nothing"></secure-copy>
<secure-copy token="{{foreign}}" aria-label="another's"></secure-copy>"""


@pytest.mark.long
def test_axe_finds_nothing_in_any_state_of_an_add_on(visitor: Visitor, world: World) -> None:
    foreign = world.application.keep(world.new_user(), "neg")
    open_page(visitor, world, STATES.format(token=visitor.keep("neg"), foreign=foreign))
    visitor.page.wait_for_function("told.filter((one) => one === 'ready').length === 12")
    visitor.page.evaluate("for (const one of document.querySelectorAll('[required]')) one.reportValidity()")
    for frame in [one for one in visitor.page.frames if "/frame/copy#" in one.url]:
        if frame.get_by_role("button").is_enabled():
            frame.get_by_role("button").click()
    area = next(one for one in visitor.page.frames if "/frame/element#" in one.url).locator("textarea")
    area.fill("short")
    leave(visitor)
    visitor.page.wait_for_function("told.filter((one) => one === 'error').length >= 3")
    found = Axe().run(visitor.page)
    assert found.violations_count == 0, found.generate_report()
    visitor.page.emulate_media(color_scheme="dark")
    # What a scheme changes is colours.
    found = Axe().run(visitor.page, options={"runOnly": ["color-contrast"]})
    assert found.violations_count == 0, found.generate_report()


def test_messages_of_one_kind_of_element_do_nothing_in_the_document_of_another(visitor: Visitor, world: World) -> None:
    """A page mounts a select in the document of texts, a text in that of choices, and a copying button without its rights."""
    token = visitor.keep("neg")
    body = """<script type="module">
      import { SecureElement } from "TOKENIZER/sdk/lunacore.js";
      const make = (kind, page) => class extends SecureElement {
        get kind() { return kind }
        get document() { return page }
        get settings() { return { label: "L" } }
      };
      customElements.define("x-a", make("select", "element"));
      customElements.define("x-b", make("span", "choices"));
      customElements.define("x-c", make("input", "copy"));
      customElements.define("x-d", make("copy", "copy"));
    </script>""".replace("TOKENIZER", world.tokenizer_url)
    visitor.context.add_init_script(NOTE_ALL)
    style = "<style>x-d { inline-size: 6em; block-size: 2em }</style>"
    visitor.go(add_page(world, body + style + "".join(f"<x-{one} token='{token}'></x-{one}>" for one in "abcd")))
    button = visitor.inside(3).get_by_role("button")
    expect(button).to_be_visible()
    for place in range(3):
        assert visitor.inside(place).locator("body > *").count() == 0
    # The frame has no right to the clipboard, since the page gave it none.
    button.click()
    expect(visitor.inside(3).locator("#failure")).to_have_text("The browser does not let this be copied.")
