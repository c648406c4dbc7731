"""Secure fields and texts in use: validation, masks, forms, what crosses the boundary, and what a page never hears."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import FAMILY, TRUETYPE
from tests.browser.test_components import NOTE_ALL, SECRET, add_page

if TYPE_CHECKING:
    from tests.browser.conftest import Visitor, World

CARD = "4242 4242 4242 4242"

NOTE_EVENTS = """
window.told = [];
for (const type of ["ready", "change", "error", "focus", "blur", "valid", "invalid", "progress"])
  addEventListener(type, (event) => event.target.localName?.startsWith("secure-") && told.push(type), true);
"""


def open_page(visitor: Visitor, world: World, body: str) -> None:
    visitor.context.add_init_script(NOTE_ALL + NOTE_EVENTS)
    visitor.go(add_page(world, f"<main><h1>Page</h1>{body}<button id='else'>else</button></main>"))


def leave(visitor: Visitor) -> None:
    visitor.page.locator("#else").focus()


def told(visitor: Visitor, wanted: str) -> list[str]:
    """The events so far, when the one that is wanted has come."""
    visitor.page.wait_for_function("(wanted) => told.includes(wanted)", arg=wanted)
    events: list[str] = visitor.page.evaluate("told.splice(0)")
    return events


def advice(visitor: Visitor, place: int = 0) -> Any:
    return visitor.inside(place).locator("#advice")


def test_a_typed_value_is_judged_when_the_field_is_left(visitor: Visitor, world: World) -> None:
    open_page(visitor, world, "<secure-input validator='card' aria-label='Card'></secure-input>")
    visitor.field.press_sequentially("4242424242424241")
    expect(visitor.field).to_have_value("4242 4242 4242 4241")
    expect(visitor.inside().locator("#brand")).to_have_text("Visa")
    assert visitor.page.evaluate("document.querySelector('secure-input').matches(':valid')")
    leave(visitor)
    assert told(visitor, "change") == ["ready", "focus", "invalid", "blur", "progress", "change"]
    expect(advice(visitor)).to_have_text("Wrong card number")
    expect(visitor.field).to_have_attribute("aria-invalid", "true")
    expect(visitor.field).to_have_accessible_description("Visa Wrong card number")
    host = visitor.page.locator("secure-input")
    flaws = "(host) => [host.matches(':invalid'), host.matches(':state(invalid)'), host.validity.patternMismatch]"
    assert host.evaluate(flaws) == [True, True, True]
    assert "card" not in host.evaluate("(host) => host.validationMessage")

    visitor.field.press("End")
    visitor.field.press("Backspace")
    visitor.field.press("2")
    expect(advice(visitor)).to_be_empty()
    expect(visitor.field).to_have_attribute("aria-invalid", "false")
    leave(visitor)
    assert told(visitor, "change") == ["focus", "valid", "blur", "progress", "change"]
    assert host.evaluate(flaws) == [False, False, False]
    heard = json.dumps(visitor.page.evaluate("heard"))
    reports = [json.loads(one) for one in visitor.page.evaluate("heard") if one.startswith("{")]
    states = [(one["filled"], one["flaw"], one["judged"]) for one in reports if one["type"] == "state"]
    untold = (True, None, False)
    # Nothing is told while somebody types, but that a judgement does not hold any more.
    assert states == [(False, None, False), untold, (True, "patternMismatch", True), untold, (True, None, True)]
    assert "Visa" not in heard
    assert "4242" not in heard


def test_of_a_shown_value_no_validity_is_ever_told(visitor: Visitor, world: World) -> None:
    """One that is right, one that is wrong, one that is not finished."""
    values = (CARD, "not a card", "42")
    fields = [
        f"<secure-input validator='card' aria-label='A' token='{visitor.keep(value)}'></secure-input>"
        for value in values
    ]
    open_page(visitor, world, "".join(fields))
    for place, value in enumerate(values):
        field = visitor.inside(place).locator("input")
        expect(field).to_have_value(value)
        host = visitor.page.locator("secure-input").nth(place)
        host.evaluate("async (host) => { host.reportValidity(); host.focus(); await host.settle(); }")
        field.focus()
        field.press("Enter")
        leave(visitor)
        field.press("End")
        field.press("Backspace")
        field.press("Enter")
        leave(visitor)
        events = told(visitor, "change")
        assert {*events} - {"ready"} == {"focus", "blur", "progress", "change"}
        assert host.evaluate("(host) => host.validity.valid && !host.matches(':state(invalid)')")
    heard = [json.loads(one) for one in visitor.page.evaluate("heard") if one.startswith("{")]
    states = [(one["filled"], one["flaw"], one["judged"]) for one in heard if one["type"] == "state"]
    assert states == [(True, None, False)] * 3


def test_what_is_reported_of_shown_values_does_not_depend_on_them(visitor: Visitor, world: World) -> None:
    heard: list[Any] = []
    body = "".join(
        f"<secure-input validator='ssn' aria-label='{value}' token='{visitor.keep(value)}'></secure-input>"
        for value in (SECRET, "000-00-0000", "x")
    )
    open_page(visitor, world, body)
    for place in range(3):
        field = visitor.inside(place).locator("input")
        expect(field).not_to_have_value("")
        field.focus()
        field.press("Home")
        field.press("9")
        leave(visitor)
        visitor.page.wait_for_function("(place) => told.filter((one) => one === 'change').length > place", arg=place)
    reports = [json.loads(one) for one in visitor.page.evaluate("heard") if one.startswith("{")]
    for place in range(3):
        own = [one for one in reports if one.get("element") == f"e{place + 1}"]
        heard.append([{key: value for key, value in one.items() if key not in ("element", "token")} for one in own])
    assert heard[0] == heard[1] == heard[2]
    # The person is told, inside.
    expect(advice(visitor, 1)).to_have_text("Wrong SSN")


def test_a_validator_cannot_be_exchanged_over_a_typed_value(visitor: Visitor, world: World) -> None:
    open_page(visitor, world, "<secure-input validator='ssn' aria-label='A'></secure-input>")
    visitor.field.fill("078051120")
    before = visitor.inside()
    visitor.page.locator("secure-input").evaluate("(host) => host.setAttribute('validator', 'ein')")
    after = visitor.inside(besides=before)
    expect(after.locator("input")).to_have_value("")
    assert "valid" not in visitor.page.evaluate("told")


def test_a_hostile_page_cannot_try_rules_over_the_port(visitor: Visitor, world: World) -> None:
    open_page(visitor, world, "<secure-input aria-label='A'></secure-input>")
    visitor.field.fill("078051120")
    leave(visitor)
    told(visitor, "change")
    # The same order that the component sends, with rules of another sort.
    visitor.page.evaluate(
        "const post = MessagePort.prototype.postMessage;"
        "MessagePort.prototype.postMessage = function (order) { window.port = this; post.call(this, order); };"
        "document.querySelector('secure-input').setAttribute('placeholder', 'x');"
        "for (const settings of [{ mask: 'aaa' }, { validator: 'card' }, { validator: 'ein' }, { validator: 'ssn' }]) {"
        "  port.postMessage({ type: 'set', element: 'e1', settings });"
        "  port.postMessage({ type: 'judge', element: 'e1' });"
        "}"
        "port.postMessage({ type: 'commit', element: 'e1', request: 7 });"
    )
    visitor.page.wait_for_function("heard.some((one) => one.includes('\"request\":7'))")
    expect(visitor.field).to_have_value("078051120")
    assert not any('"judged":true' in one for one in visitor.page.evaluate("heard"))


def test_masks_while_typing_deleting_and_pasting(visitor: Visitor, world: World) -> None:
    open_page(visitor, world, "<secure-input validator='ssn' aria-label='SSN'></secure-input>")
    field = visitor.field
    caret = "(field) => field.selectionStart"
    field.press_sequentially("07805")
    expect(field).to_have_value("078-05")
    for _ in range(3):
        field.press("ArrowLeft")
    field.press("9")
    expect(field).to_have_value("078-90-5")
    assert field.evaluate(caret) == 5
    field.press("Backspace")
    expect(field).to_have_value("078-05")
    assert field.evaluate(caret) in (3, 4)
    field.press("Home")
    for _ in range(3):
        field.press("ArrowRight")
    field.press("Delete")
    assert (field.input_value(), field.evaluate(caret)) == ("078-05", 4)
    field.press("Delete")
    expect(field).to_have_value("078-5")
    field.press("ControlOrMeta+a")
    visitor.page.keyboard.insert_text(" SSN: 078 05 1120 ")
    expect(field).to_have_value(SECRET)
    assert field.evaluate(caret) == len(SECRET)
    field.press("4")
    expect(field).to_have_value(SECRET)
    field.press("ControlOrMeta+a")
    field.press("Delete")
    expect(field).to_have_value("")


def test_a_mask_of_the_pages_own_and_none(visitor: Visitor, world: World) -> None:
    body = (
        "<secure-input mask='AA-999' aria-label='A'></secure-input>"
        "<secure-input validator='ssn' mask='none' aria-label='B'></secure-input>"
        "<secure-input validator='nonsense' mask='<b>' aria-label='C'></secure-input>"
    )
    open_page(visitor, world, body)
    for place, value in enumerate(["AB-123", "ab1 23x", "ab1 23x"]):
        field = visitor.inside(place).locator("input")
        field.press_sequentially("ab1 23x")
        expect(field).to_have_value(value)
    assert sum("is unknown and has no effect" in line for line in visitor.console) >= 2


@pytest.mark.long
def test_a_shown_value_that_its_mask_does_not_fit_stays_whole(visitor: Visitor, world: World) -> None:
    token = visitor.keep("unknown, asked twice")
    open_page(visitor, world, f"<secure-input validator='ssn' aria-label='A' token='{token}'></secure-input>")
    expect(visitor.field).to_have_value("unknown, asked twice")
    visitor.field.press("End")
    visitor.field.press("!")
    expect(visitor.field).to_have_value("unknown, asked twice!")
    visitor.field.fill("")
    visitor.field.press_sequentially("0780")
    expect(visitor.field).to_have_value("078-0")


FORM = """<form method="post" action="/save"><label for="ssn">Social security number</label>
<secure-input id="ssn" name="ssn" validator="ssn" required></secure-input><button>Save</button></form>"""


def test_a_form_is_not_sent_with_what_its_validator_refuses(visitor: Visitor, world: World) -> None:
    open_page(visitor, world, FORM)
    posted = len(world.application.posted)
    save = visitor.page.get_by_role("button", name="Save")
    expect(visitor.field).to_be_visible()
    save.click()
    expect(advice(visitor)).to_have_text("Please fill this in")
    visitor.field.press_sequentially("000121234")
    # Straight from typing into the button, by script: nothing was judged before.
    visitor.page.evaluate("document.querySelector('form').requestSubmit()")
    assert "invalid" in told(visitor, "change")
    expect(advice(visitor)).to_have_text("Wrong SSN")
    visitor.page.wait_for_function("document.querySelector('form').matches(':invalid')")
    visitor.field.fill(SECRET)
    visitor.page.wait_for_function("document.querySelector('form').matches(':valid')")
    assert len(world.application.posted) == posted
    visitor.field.press("Enter")
    visitor.page.wait_for_url("**/show")
    assert len(world.application.posted) == posted + 1
    expect(visitor.text).to_have_text(SECRET)


def test_reset_disabled_and_custom_validity(visitor: Visitor, world: World) -> None:
    open_page(visitor, world, FORM)
    visitor.field.fill("000121234")
    leave(visitor)
    told(visitor, "invalid")
    visitor.page.evaluate("document.querySelector('form').reset()")
    expect(visitor.field).to_have_value("")
    expect(advice(visitor)).to_be_empty()
    host = visitor.page.locator("secure-input")
    assert host.evaluate("(host) => [host.validity.valueMissing, host.matches(':state(invalid)')]") == [True, False]
    host.evaluate("(host) => { host.required = false; host.setCustomValidity('Taken.') }")
    assert host.evaluate("(host) => [host.validity.customError, host.validationMessage]") == [True, "Taken."]
    host.evaluate("(host) => host.setCustomValidity('')")
    assert host.evaluate("(host) => host.checkValidity()")
    host.evaluate("(host) => { host.disabled = true }")
    expect(visitor.field).to_be_disabled()
    assert host.evaluate("(host) => host.willValidate") is False


def test_names_and_descriptions_follow_the_page(visitor: Visitor, world: World) -> None:
    body = """<label for="a" id="of-a">Before</label><secure-input id="a" aria-describedby="hint fault"></secure-input>
    <p id="hint">Hint</p><p id="fault"></p>"""
    open_page(visitor, world, body)
    expect(visitor.field).to_have_accessible_name("Before")
    expect(visitor.field).to_have_accessible_description("Hint")
    visitor.page.evaluate(
        "document.querySelector('#of-a').textContent = 'After <b>'; document.querySelector('#fault').textContent = 'Fault'"
    )
    expect(visitor.field).to_have_accessible_name("After <b>")
    expect(visitor.field).to_have_accessible_description("Hint Fault")
    visitor.page.evaluate("document.querySelector('#hint').textContent = 'x'.repeat(9999)")
    expect(visitor.field).to_have_accessible_description("x" * 500)


def test_autofill_and_keyboards_suit_the_validator(visitor: Visitor, world: World) -> None:
    body = (
        "<secure-input inputmode='DECIMAL' enterkeyhint='next' validator='card' aria-label='D'></secure-input>"
        "<secure-input validator='card' aria-label='A'></secure-input>"
        "<secure-input validator='email' type='email' autocomplete='billing email' aria-label='B'></secure-input>"
        "<secure-input validator='ssn' type='password' autocomplete='evil' aria-label='C'></secure-input>"
    )
    open_page(visitor, world, body)
    look = "(field) => [field.type, field.inputMode, field.getAttribute('autocomplete'), field.enterKeyHint]"
    found = []
    for place in range(4):
        field = visitor.inside(place).locator("input")
        expect(field).to_have_attribute("inputmode", re.compile("."))
        found.append(field.evaluate(look))
    assert found == [
        ["text", "decimal", "cc-number", "next"],
        ["text", "numeric", "cc-number", ""],
        ["text", "email", "billing email", ""],
        ["password", "numeric", "off", ""],
    ]


def test_a_covered_text_is_revealed_on_request_and_covered_again(visitor: Visitor, world: World) -> None:
    visitor.page.clock.install()
    token = visitor.keep(SECRET)
    open_page(visitor, world, f"<secure-span reveal='click' aria-label='Number' token='{token}'></secure-span>")
    button = visitor.inside().get_by_role("button")
    expect(button).to_have_accessible_name("Show Number")
    expect(visitor.text).to_be_empty()
    heard = len(visitor.page.evaluate("heard"))
    visitor.page.keyboard.press("Tab")
    expect(button).to_be_focused()
    visitor.page.keyboard.press("Enter")
    expect(visitor.text).to_have_text(SECRET)
    expect(button).to_have_accessible_name("Hide Number")
    visitor.page.keyboard.press("Space")
    expect(visitor.text).to_be_empty()
    visitor.page.keyboard.press("Space")
    expect(visitor.text).to_have_text(SECRET)
    leave(visitor)
    expect(visitor.text).to_be_empty()
    button.click()
    expect(visitor.text).to_have_text(SECRET)
    visitor.page.clock.fast_forward(31_000)
    expect(visitor.text).to_be_empty()
    later = [one for one in visitor.page.evaluate("heard") if one and not one.startswith(("focus", "blur", "key"))]
    assert len(later) <= heard


@pytest.mark.long
def test_an_empty_text_says_so(visitor: Visitor, world: World) -> None:
    empty = visitor.keep("")
    body = (
        "<secure-span></secure-span>"
        f"<secure-paragraph placeholder='Nothing yet' reveal='click' token='{empty}'></secure-paragraph>"
    )
    open_page(visitor, world, body)
    before = "(text) => getComputedStyle(text, '::before').content"
    expect(visitor.text).to_have_attribute("aria-busy", "false")
    assert visitor.text.evaluate(before) == '"Nothing yet"'
    assert visitor.inside(1).locator(".text").evaluate(before) == '"\u2013"'
    expect(visitor.inside().get_by_role("button")).to_have_count(0)


def test_colours_of_the_theme_reach_the_inside(visitor: Visitor, world: World) -> None:
    style = "--lunacore-placeholder-color: rgb(1, 2, 3); --lunacore-invalid-color: url(https://evil.example)"
    body = f"<secure-input validator='ssn' placeholder='p' style='{style}' aria-label='A'></secure-input>"
    open_page(visitor, world, body)
    expect(visitor.field).to_be_visible()
    assert visitor.field.evaluate("(field) => getComputedStyle(field, '::placeholder').color") == "rgb(1, 2, 3)"
    assert visitor.field.evaluate("() => document.body.style.getPropertyValue('--lunacore-invalid-color')") == ""
    visitor.page.locator("secure-input").evaluate(
        "(host) => host.setAttribute('style', '--lunacore-invalid-color: rgb(9, 8, 7)')"
    )
    expect(advice(visitor)).to_have_css("color", "rgb(9, 8, 7)")
    visitor.page.wait_for_function("true")
    assert visitor.field.evaluate("() => document.body.style.getPropertyValue('--lunacore-placeholder-color')") == ""


@pytest.mark.skipif(not TRUETYPE.exists(), reason="needs a font of Debian's: apt install fonts-liberation")
def test_a_font_of_the_operator_is_loaded_and_others_are_not(visitor: Visitor, world: World) -> None:
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url) if "woff" in request.url else None)
    style = f"font-family: Foreign, '{FAMILY}', serif"
    body = f"<secure-input aria-label='A' style=\"{style}\"></secure-input><secure-input aria-label='B'></secure-input>"
    open_page(visitor, world, body)
    expect(visitor.field).to_have_css("font-family", f'"{FAMILY.lower()}", serif')
    visitor.field.press_sequentially("iW")
    faces = visitor.inside().evaluate(
        "document.fonts.ready.then(() => [...document.fonts].map((one) => [one.family, one.status]))"
    )
    assert faces == [[FAMILY, "loaded"]]
    # What is drawn is the font's: each of its letters is as wide as another.
    wide = "(font) => { const pen = document.createElement('canvas').getContext('2d'); pen.font = font; return [pen.measureText('i').width, pen.measureText('W').width] }"
    thin, broad = visitor.inside().evaluate(wide, f"20px '{FAMILY}'")
    assert thin == broad > 0
    assert [one.rpartition("/")[2] for one in asked] == ["font-0.woff2"]
    assert asked[0].startswith(world.tokenizer_url)
    assert visitor.console == []


LANGUAGES = """<div lang="de-AT"><secure-span token="{token}"></secure-span></div>
<div lang="FR"><secure-span token="{token}"></secure-span></div><div lang="es"><secure-span token="{token}"></secure-span></div>
<div lang="pt"><secure-span token="{token}"></secure-span></div><div lang="__proto__"><secure-span token="{token}"></secure-span></div>"""


@pytest.mark.long
def test_frames_speak_the_language_around_them(visitor: Visitor, world: World) -> None:
    open_page(visitor, world, LANGUAGES.format(token="lunasec-00000000-0000-4000-8000-000000000000"))
    wanted = [
        ("de", "Sie haben darauf keinen Zugriff."),
        ("fr", "Vous n\u2019y avez pas acc\u00e8s."),
        ("es", "No tiene acceso a esto."),
        ("en", "You have no access to this."),
        ("en", "You have no access to this."),
    ]
    for place, (language, text) in enumerate(wanted):
        inside = visitor.inside(place)
        expect(inside.locator("#notice")).to_have_text(text)
        assert inside.evaluate("document.documentElement.lang") == language
    assert visitor.console == []


def test_a_page_names_the_language_of_its_frames(visitor: Visitor, world: World) -> None:
    """A language whose texts do not load is no reason to show nothing."""
    visitor.context.route(re.compile("texts-fr"), lambda route: route.abort())
    body = "<div lang='es'><secure-input validator='ssn' aria-label='A'></secure-input></div>"
    open_page(visitor, world, f"<meta name='lunacore-lang' content='de'>{body}")
    visitor.field.fill("000121234")
    leave(visitor)
    expect(advice(visitor)).to_have_text("Falsch: SSN")
    visitor.page.evaluate("document.querySelector('meta[name=lunacore-lang]').content = 'fr'")
    before = visitor.inside()
    visitor.page.evaluate("document.querySelector('secure-input').setAttribute('validator', 'card')")
    field = visitor.inside(besides=before).locator("input")
    field.fill("1")
    leave(visitor)
    expect(visitor.inside(besides=before).locator("#advice")).to_have_text("Incomplete card number")


STATES = """<style>:root {{ color-scheme: light dark }} body {{ font: 16px system-ui; max-width: 40rem; padding: 1rem;
 background: Canvas; color: CanvasText }} label, h2 {{ display: block; margin: .75rem 0 .25rem; font-size: 1rem }}
 .high {{ block-size: 3.75rem }} .wide {{ inline-size: 100% }}</style>
<label for="a">Empty</label><secure-input id="a" class="wide" placeholder="000-00-0000" validator="ssn"></secure-input>
<label for="b">Card, wrong</label><secure-input id="b" validator="card"></secure-input>
<label for="c">Card, wrong, in a high field</label><secure-input id="c" class="wide high" validator="card"></secure-input>
<label for="d">Filled</label><secure-input id="d" class="wide" validator="card" token="{card}"></secure-input>
<label for="e">Disabled</label><secure-input id="e" class="wide" disabled token="{token}"></secure-input>
<label for="f">Expired grant</label><secure-input id="f" class="wide" token="{foreign}"></secure-input>
<h2 id="g">Shown</h2><secure-span token="{token}" aria-labelledby="g"></secure-span>
<h2 id="h">Covered</h2><secure-span token="{token}" reveal="click" aria-labelledby="h"></secure-span>
<h2 id="i">Revealed</h2><secure-span token="{token}" reveal="click" aria-labelledby="i"></secure-span>
<h2 id="j">No value</h2><secure-span aria-labelledby="j"></secure-span>
<h2 id="k">No access</h2><secure-span class="wide" token="{foreign}" aria-labelledby="k"></secure-span>
<h2 id="l">Paragraph</h2><secure-paragraph token="{long}" aria-labelledby="l"></secure-paragraph>"""


def show_states(visitor: Visitor, world: World) -> None:
    """A page with every state of every component."""
    foreign = world.application.keep(world.new_user(), "somebody else's")
    tokens = {"card": visitor.keep(CARD), "long": visitor.keep("A long text. " * 80), "token": visitor.keep(SECRET)}
    visitor.console.clear()
    open_page(visitor, world, STATES.format(foreign=foreign, **tokens))
    for place in (1, 2):
        visitor.inside(place).locator("input").press_sequentially("4242424242424241")
    # Paragraphs come before spans, as their elements are defined.
    visitor.inside(9).get_by_role("button").click()
    expect(visitor.inside(9).locator(".text")).to_have_text(SECRET)
    expect(visitor.inside(2).locator("#advice")).not_to_be_empty()
    for place in (5, 11):
        expect(visitor.inside(place).locator(".notice")).to_have_attribute("data-name", "grantMissing")
    expect(visitor.inside(6).locator(".text")).to_contain_text("A long text")


@pytest.mark.long
def test_axe_finds_nothing_in_any_state(visitor: Visitor, world: World) -> None:
    show_states(visitor, world)
    found = Axe().run(visitor.page)
    assert found.violations_count == 0, found.generate_report()
    visitor.page.emulate_media(color_scheme="dark")
    # What a scheme changes is colours.
    found = Axe().run(visitor.page, options={"runOnly": ["color-contrast"]})
    assert found.violations_count == 0, found.generate_report()


def test_a_form_is_filled_in_and_sent_by_keyboard_alone(visitor: Visitor, world: World) -> None:
    body = FORM.replace(
        "<button>", "<secure-input name='card' validator='card' aria-label='Card'></secure-input><button>"
    )
    open_page(visitor, world, body)
    expect(visitor.inside(1).locator("input")).to_be_visible()
    keys = visitor.page.keyboard
    keys.press("Tab")
    expect(visitor.field).to_be_focused()
    keys.type("078051120")
    keys.press("Tab")
    expect(visitor.inside(1).locator("input")).to_be_focused()
    keys.type("4242424242424242")
    keys.press("Shift+Tab")
    expect(visitor.field).to_be_focused()
    keys.press("Tab")
    # A key that comes before the focus has arrived in a frame goes to the one that it leaves.
    expect(visitor.inside(1).locator("input")).to_be_focused()
    keys.press("Tab")
    expect(visitor.page.get_by_role("button", name="Save")).to_be_focused()
    keys.press("Enter")
    visitor.page.wait_for_url("**/show")
    expect(visitor.text).to_have_text(SECRET)
    assert len(world.application.posted[-1]["card"][0]) == len("lunasec-") + 36
