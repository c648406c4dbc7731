"""What goes wrong while a page is open is shown where the value would be, loses nothing that was typed, and passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.test_components import NOTE_ALL, SECRET, TOKEN, add_page

if TYPE_CHECKING:
    from tests.browser.conftest import Visitor, World

TYPED = "typed, and not to be lost"


def leave(visitor: Visitor) -> None:
    """Leave the field, so that what was typed is kept."""
    visitor.page.evaluate("document.body.tabIndex = 0; document.body.focus()")


def wait_for_token(visitor: Visitor) -> str:
    visitor.page.wait_for_function("document.querySelector('secure-input').token")
    token: str = visitor.page.evaluate("document.querySelector('secure-input').token")
    return token


def typed_into_a_form(visitor: Visitor) -> None:
    """A field with a connection that works, and a text that has no token yet."""
    visitor.context.add_init_script(NOTE_ALL)
    visitor.keep(SECRET)
    visitor.go("/edit")
    expect(visitor.field).to_have_value(SECRET)
    visitor.field.fill(TYPED)


def test_a_lost_network_is_shown_and_all_goes_on_when_it_is_back(visitor: Visitor) -> None:
    typed_into_a_form(visitor)
    visitor.context.set_offline(True)
    leave(visitor)
    expect(visitor.notice).to_have_attribute("data-name", "network")
    expect(visitor.notice).to_contain_text("No connection.")
    expect(visitor.field).to_have_value(TYPED)
    assert visitor.errors(1) == ["network"]
    visitor.context.set_offline(False)
    assert TOKEN.fullmatch(wait_for_token(visitor))
    expect(visitor.notice).to_be_hidden()
    expect(visitor.field).to_have_value(TYPED)


@pytest.mark.long
def test_a_value_that_could_not_be_shown_without_network_is_when_it_is_back(visitor: Visitor, world: World) -> None:
    visitor.keep(SECRET)
    visitor.go("/show")
    expect(visitor.text).to_have_text(SECRET)
    other = visitor.keep("another value")
    visitor.context.set_offline(True)
    visitor.page.evaluate("(token) => { document.querySelector('secure-span').token = token }", other)
    expect(visitor.notice).to_have_attribute("data-name", "network")
    expect(visitor.text).to_be_empty()
    visitor.context.set_offline(False)
    expect(visitor.text).to_have_text("another value")


def test_a_submit_that_fails_says_so_once_and_can_be_tried_again(visitor: Visitor, world: World) -> None:
    typed_into_a_form(visitor)
    held = visitor.hold("**/tokenize")
    # Leaving the field and the submit both ask for its token, and the first one is not answered before the second one has.
    visitor.page.get_by_role("button", name="Save").click()
    held.first().abort("internetdisconnected")
    expect(visitor.notice).to_have_attribute("data-name", "network")
    assert held.routes == []
    visitor.context.unroute("**/tokenize")
    visitor.context.set_offline(True)
    name = visitor.page.evaluate("document.querySelector('secure-input').settle().catch((error) => error.name)")
    assert name == "network"
    assert visitor.errors(2) == ["network"] * 2  # one for the submit, one for what the test itself asked for
    assert visitor.page.url.endswith("/edit")
    visitor.context.set_offline(False)
    visitor.page.get_by_role("button", name="Save").click()
    visitor.page.wait_for_url("**/show")
    expect(visitor.text).to_have_text(TYPED)


def test_a_lost_cookie_is_replaced_without_a_word(visitor: Visitor) -> None:
    typed_into_a_form(visitor)
    visitor.context.clear_cookies(name="access_token")
    leave(visitor)
    assert TOKEN.fullmatch(wait_for_token(visitor))
    assert visitor.errors() == []


def test_a_session_that_the_application_ended_is_shown_and_the_text_stays(visitor: Visitor, world: World) -> None:
    typed_into_a_form(visitor)
    world.application.call("/session/end", sessionId=visitor.user)
    leave(visitor)
    expect(visitor.notice).to_have_attribute("data-name", "sessionMissing")
    expect(visitor.notice).to_contain_text("You are signed out.")
    expect(visitor.field).to_have_value(TYPED)
    assert visitor.errors(1) == ["sessionMissing"]
    # Another session is another: this page cannot go on with it, and says how one can.
    visitor.become(world.new_user())
    visitor.notice.get_by_role("button", name="Try again").click()
    expect(visitor.notice).to_have_attribute("data-name", "sessionMismatch")
    expect(visitor.notice).to_contain_text("Reload the page.")
    expect(visitor.field).to_have_value(TYPED)
    visitor.go("/form")
    visitor.field.fill(TYPED)
    leave(visitor)
    wait_for_token(visitor)


def test_a_tab_that_comes_back_after_a_log_out_shows_nothing_any_more(visitor: Visitor, world: World) -> None:
    token = visitor.keep(SECRET)
    body = (
        f"<secure-span token='{token}'></secure-span><secure-input aria-label='A' token='{token}'></secure-input>"
        "<secure-input aria-label='B'></secure-input>"
    )
    visitor.go(add_page(world, body))
    # Fields are defined, and so connected, before other components.
    given, typed, shown = visitor.inside(0), visitor.inside(1).locator("input"), visitor.inside(2)
    expect(shown.locator(".text")).to_have_text(SECRET)
    expect(given.locator("input")).to_have_value(SECRET)
    typed.fill(TYPED)
    visitor.come_back()
    world.application.call("/session/end", sessionId=visitor.user)
    visitor.come_back()
    for frame in (given, shown):
        expect(frame.locator(".notice")).to_have_attribute("data-name", "sessionMissing")
    expect(shown.locator(".text")).to_be_empty()
    expect(given.locator("input")).to_have_value("")
    expect(typed).to_have_value(TYPED)


@pytest.mark.long
def test_a_tab_that_comes_back_keeps_what_it_shows(visitor: Visitor, world: World) -> None:
    visitor.context.add_init_script(NOTE_ALL)
    visitor.keep(SECRET)
    visitor.go("/show")
    expect(visitor.text).to_have_text(SECRET)
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    with visitor.page.expect_response(lambda answer: "/session/verify" in answer.url) as verified:
        visitor.come_back()
    assert verified.value.ok
    visitor.page.evaluate("0")
    assert [one for one in asked if "/session/verify" not in one] == []
    assert visitor.errors() == []


def test_who_logs_in_after_another_gets_a_session_of_their_own(visitor: Visitor, world: World) -> None:
    visitor.keep(SECRET)
    visitor.go("/show")
    expect(visitor.text).to_have_text(SECRET)
    # The application forgets to end the session of the first.
    visitor.become(world.new_user())
    visitor.keep("of the second user")
    visitor.go("/show")
    expect(visitor.text).to_have_text("of the second user")


def test_after_another_log_in_an_open_tab_shows_the_first_users_values_no_more(visitor: Visitor, world: World) -> None:
    visitor.keep(SECRET)
    visitor.go("/show")
    expect(visitor.text).to_have_text(SECRET)
    visitor.become(world.new_user())
    # In another tab, where the application asks for the second user's session.
    other = visitor.context.new_page()
    other.goto(f"{world.tokenizer_url}/session/ensure?renew=true")
    other.close()
    visitor.come_back()
    expect(visitor.notice).to_have_attribute("data-name", "sessionMismatch")
    expect(visitor.text).to_be_empty()


@pytest.mark.long
def test_a_session_is_asked_for_anew_once_at_most(visitor: Visitor, world: World) -> None:
    foreign = world.application.keep(world.new_user(), "somebody else's")
    visitor.keep(SECRET)
    visitor.go("/show")
    expect(visitor.text).to_have_text(SECRET)
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    visitor.go(add_page(world, f"<secure-span token='{foreign}'></secure-span>"))
    for _ in range(2):
        expect(visitor.notice).to_have_attribute("data-name", "grantMissing")
        with visitor.page.expect_response(lambda answer: "/detokenize" in answer.url):
            visitor.notice.get_by_role("button", name="Try again").click()
    expect(visitor.notice).to_be_visible()
    assert sum("renew=true" in one for one in asked) == 1


@pytest.mark.long
def test_a_grant_that_is_given_later_is_found_by_trying_again(visitor: Visitor, world: World) -> None:
    token = visitor.keep(SECRET)
    world.application.call("/grant/revoke", sessionId=visitor.user, tokenId=token)
    visitor.go(add_page(world, f"<secure-span token='{token}'></secure-span>"))
    expect(visitor.notice).to_contain_text("You have no access to this.")
    world.application.call("/grant/set", sessionId=visitor.user, tokenId=token)
    visitor.notice.get_by_role("button", name="Try again").click()
    expect(visitor.text).to_have_text(SECRET)
    expect(visitor.notice).to_be_hidden()


@pytest.mark.long
def test_a_page_names_the_provider_of_its_session(visitor: Visitor, world: World) -> None:
    token = world.second.keep(visitor.user, SECRET)
    body = f"<meta name='lunacore-provider' content='second'><secure-span token='{token}'></secure-span>"
    visitor.go(add_page(world, body))
    expect(visitor.text).to_have_text(SECRET)
    # Without it the default one is asked, whose session has no grant for this token; nor has it the one that is there.
    visitor.context.clear_cookies(name="access_token")
    visitor.go(add_page(world, f"<secure-span token='{token}'></secure-span>"))
    expect(visitor.notice).to_have_attribute("data-name", "grantMissing")
    visitor.go(add_page(world, body))
    expect(visitor.text).to_have_text(SECRET)


def test_an_unknown_provider_is_a_failure_that_is_shown(visitor: Visitor, world: World) -> None:
    token = visitor.keep(SECRET)
    visitor.go(
        add_page(world, f"<meta name='lunacore-provider' content='no&one'><secure-span token='{token}'></secure-span>")
    )
    expect(visitor.notice).to_have_attribute("data-name", "invalidRequest")
