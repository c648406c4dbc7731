"""<secure-copy>: a text goes to the clipboard without being shown, when a person says so, and by one frame alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.test_components import SECRET, add_page
from tests.browser.test_fields import open_page

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from tests.browser.conftest import Visitor, World


def button(visitor: Visitor, place: int = 0) -> Locator:
    return visitor.inside(place).get_by_role("button")


def allow_clipboard(visitor: Visitor) -> None:
    """Let the page read the clipboard, for the test to see what is there; without this no page may."""
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=visitor.world.application.url)


def clipboard(visitor: Visitor) -> str:
    visitor.page.locator("#else").focus()
    text: str = visitor.page.evaluate("navigator.clipboard.readText()")
    return text


def test_a_text_is_copied_by_mouse_and_by_keyboard(visitor: Visitor, world: World) -> None:
    allow_clipboard(visitor)
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    body = (
        f"<secure-copy token='{visitor.keep(SECRET)}' aria-label='number' aria-description='Of the card'></secure-copy>"
    )
    open_page(visitor, world, body)
    expect(button(visitor)).to_have_accessible_name("Copy number")
    expect(button(visitor)).to_have_accessible_description("Of the card")
    # It is not even fetched before.
    assert not any("detokenize" in one for one in asked)
    before = len(visitor.page.evaluate("heard"))
    button(visitor).click()
    expect(visitor.inside().get_by_role("status")).to_have_text("Copied")
    expect(button(visitor)).to_have_text("Copied")
    assert clipboard(visitor) == SECRET
    # Where somebody may look.
    assert SECRET not in visitor.page.content()
    assert SECRET not in visitor.inside().content()
    heard = [one for one in visitor.page.evaluate("heard")[before:] if one.startswith("{")]
    assert [one for one in heard if "session-needed" not in one] == []

    other = visitor.keep("another text")
    visitor.page.evaluate("(token) => { document.querySelector('secure-copy').token = token }", other)
    expect(button(visitor)).to_have_text("Copy")
    visitor.page.locator("h1").click()
    visitor.page.keyboard.press("Tab")
    expect(button(visitor)).to_be_focused()
    visitor.page.keyboard.press("Enter")
    expect(button(visitor)).to_have_text("Copied")
    expect(button(visitor)).to_be_focused()
    assert clipboard(visitor) == "another text"
    assert visitor.console == []


def test_what_goes_wrong_is_said_and_can_be_tried_again(visitor: Visitor, world: World) -> None:
    allow_clipboard(visitor)
    foreign = world.application.keep(world.new_user(), "somebody else's")
    own = visitor.keep(SECRET)
    body = (
        f"<secure-copy token='{foreign}' aria-label='A'></secure-copy><secure-copy token='{own}' aria-label='B'></secure-copy>"
        f"<secure-copy aria-label='C'></secure-copy><secure-copy token='{own}' disabled aria-label='D'></secure-copy>"
    )
    open_page(visitor, world, body)
    expect(button(visitor, 2)).to_be_disabled()
    expect(button(visitor, 3)).to_be_disabled()
    button(visitor).click()
    expect(visitor.inside().get_by_role("alert")).to_have_text("You have no access to this.")
    expect(button(visitor)).to_have_text("Try again")
    button(visitor, 1).click()
    expect(button(visitor, 1)).to_have_text("Copied")
    visitor.context.set_offline(True)
    visitor.page.evaluate(
        "(token) => { document.querySelectorAll('secure-copy')[1].token = token }", visitor.keep("later")
    )
    expect(button(visitor, 1)).to_have_text("Copy")
    button(visitor, 1).click()
    expect(visitor.inside(1).get_by_role("alert")).to_have_text("No connection.")
    visitor.context.set_offline(False)
    button(visitor, 1).click()
    expect(button(visitor, 1)).to_have_text("Copied")
    assert clipboard(visitor) == "later"
    visitor.context.clear_cookies()
    button(visitor, 1).click()
    expect(visitor.inside(1).get_by_role("alert")).to_have_text("You are signed out.")
    assert visitor.errors(3) == ["grantMissing", "network", "sessionMissing"]


def test_where_the_browser_forbids_it_the_frame_says_so(visitor: Visitor, world: World) -> None:
    visitor.context.grant_permissions(["geolocation"], origin=world.application.url)  # and so nothing else
    open_page(visitor, world, f"<secure-copy token='{visitor.keep(SECRET)}' aria-label='A'></secure-copy>")
    button(visitor).click()
    expect(visitor.inside().get_by_role("alert")).to_have_text("The browser does not let this be copied.")
    assert visitor.page.evaluate("told.includes('error')")


def test_no_script_copies_and_no_other_frame_may(visitor: Visitor, world: World) -> None:
    """A click that a script makes, a focus with no key, and the clipboard given to frames that do not need it."""
    allow_clipboard(visitor)
    token = visitor.keep(SECRET)
    open_page(
        visitor,
        world,
        f"<secure-copy token='{token}' aria-label='A'></secure-copy><secure-span token='{token}'></secure-span>",
    )
    expect(button(visitor, 1)).to_be_visible()
    visitor.page.locator("#else").click()
    visitor.page.evaluate("navigator.clipboard.writeText('of the page')")
    visitor.page.evaluate(
        "for (const type of ['click', 'mousedown', 'pointerdown']) document.querySelector('secure-copy').dispatchEvent(new MouseEvent(type, { bubbles: true, composed: true }));"
        "document.querySelector('secure-copy').focus(); document.querySelector('secure-copy').click();"
    )
    # Even from within, which no page can do.
    button(visitor, 1).evaluate("(button) => { button.click(); button.dispatchEvent(new MouseEvent('click')) }")
    assert clipboard(visitor) == "of the page"
    expect(button(visitor, 1)).to_have_text("Copy")
    allowed = "document.featurePolicy.allowsFeature('clipboard-write')"
    assert visitor.inside(1).evaluate(allowed)
    assert not visitor.inside(0).evaluate(allowed)
    visitor.page.evaluate(
        """(address) => { const frame = document.createElement("iframe"); frame.allow = "clipboard-write; clipboard-read; camera";
        frame.src = address; document.body.append(frame) }""",
        f"{world.tokenizer_url}/frame/element#x.e9",
    )
    given = visitor.inside(2)
    given.wait_for_load_state()
    assert not given.evaluate(allowed)
    assert not visitor.inside(1).evaluate("document.featurePolicy.allowsFeature('clipboard-read')")


def test_a_page_without_the_element_does_not_load_its_script(visitor: Visitor, world: World) -> None:
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    token = visitor.keep(SECRET)
    visitor.go(add_page(world, f"<secure-span token='{token}'></secure-span><p id='p'></p>"))
    expect(visitor.text).to_have_text(SECRET)
    assert not {"copy.js", "choices.js", "textarea.js"} & {*asked}
    # An element that comes later brings its script along, and shares the connection that is there.
    visitor.page.evaluate("document.querySelector('#p').innerHTML = '<i><secure-copy aria-label=A></secure-copy></i>'")
    expect(button(visitor, 1)).to_be_visible()
    assert asked.count("copy.js") == 2  # one of the page, and one of the frame
    assert asked.count("lunacore.js") == asked.count("hub.js") == 1
    assert visitor.page.locator("html > iframe").count() == 1
