"""The frame on another site than the application, in a browser that blocks third-party cookies; and what is said if it cannot work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import frozen
from playwright.sync_api import expect

from tests.browser.conftest import ARGUMENTS, CHROMIUM, ELSEWHERE, World, opened_world
from tests.browser.demo_application import HOST
from tests.browser.object_gateway import ObjectGateway
from tests.browser.test_components import NOTE_ALL, SECRET, TOKEN, add_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Playwright

    from tests.browser.conftest import Visitor


@frozen
class Apart:
    """Application, tokenizer and object store, each on a site of its own; the last does not run yet."""

    world: World
    gateway: ObjectGateway


APART = {"host": ELSEWHERE, "secure_host": "secure.localhost"}


@pytest.fixture(scope="module")
def blocking(playwright_driver: Playwright, chromium: Browser) -> Iterator[Browser]:
    """A browser that blocks third-party cookies; the first test sees that it does."""
    del chromium  # which skips if there is none
    flags = [*ARGUMENTS, "--test-third-party-cookie-phaseout"]
    browser = playwright_driver.chromium.launch(executable_path=CHROMIUM, args=flags)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    """The tokenizer on another site, and set up for it, and its objects on a third one."""
    directory = tmp_path_factory.mktemp("apart")
    gateway = ObjectGateway(directory, "files.localhost")
    settings = {"sessions": {"cookie": "cross-site"}, **gateway.settings, **APART}
    with opened_world(directory, **settings) as opened:
        gateway.export(opened.tokenizer_url)
        yield Apart(opened, gateway)


@pytest.mark.parametrize(
    ("attributes", "kept"),
    [("SameSite=None; Secure", False), ("SameSite=Lax", False), ("SameSite=None; Secure; Partitioned", True)],
)
@pytest.mark.long
def test_the_browser_of_these_tests_keeps_partitioned_cookies_of_third_parties_alone(
    visit: Callable[..., Visitor], blocking: Browser, apart: Apart, attributes: str, kept: bool
) -> None:
    visitor = visit(at=apart.world, browser=blocking)
    visitor.go(add_page(apart.world, "<secure-input aria-label='A'></secure-input>"))
    told = visitor.inside().evaluate(
        "(attributes) => { document.cookie = `a=1; ${attributes}`; return document.cookie }", attributes
    )
    assert told == ("a=1" if kept else "")


def test_on_another_site_everything_works_and_a_store_that_was_down_is_found_again(
    visit: Callable[..., Visitor], blocking: Browser, apart: Apart
) -> None:
    visitor = visit(at=apart.world, browser=blocking)
    visitor.context.add_init_script(NOTE_ALL)
    visitor.go("/form")
    visitor.field.fill(SECRET)
    save = visitor.page.get_by_role("button", name="Save")
    save.click()
    expect(visitor.notice).to_have_attribute("data-name", "storeUnavailable")
    expect(visitor.field).to_have_value(SECRET)
    assert visitor.errors(1) == ["storeUnavailable"]
    with apart.gateway:
        visitor.notice.get_by_role("button", name="Try again").click()
        visitor.page.wait_for_function("document.querySelector('secure-input').token")
        expect(visitor.notice).to_be_hidden()
        save.click()
        visitor.page.wait_for_url("**/show")
        assert TOKEN.fullmatch(apart.world.application.saved[visitor.user])
        expect(visitor.text).to_have_text(SECRET)
    url = apart.world.tokenizer_url
    cookies: list[Any] = [one for one in visitor.context.cookies(url) if one["name"] == "access_token"]
    assert [(one["sameSite"], one["secure"], one["httpOnly"]) for one in cookies] == [("None", True, True)]
    assert cookies[0]["partitionKey"].startswith("http://app.localhost")
    assert not any("Content Security Policy" in line for line in visitor.console)


def test_not_set_up_for_another_site_the_frame_says_what_to_configure(
    visit: Callable[..., Visitor], blocking: Browser, world: World
) -> None:
    visitor = visit(browser=blocking)
    token = visitor.keep(SECRET)
    visitor.context.add_init_script(NOTE_ALL)
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    page = add_page(world, f"<secure-paragraph token='{token}'></secure-paragraph>")
    visitor.page.goto(world.application.url.replace(HOST, ELSEWHERE) + page)
    expect(visitor.notice).to_have_attribute("data-name", "crossSite")
    expect(visitor.notice).to_contain_text('sessions.cookie = "cross-site"')
    expect(visitor.notice.get_by_role("button")).to_be_hidden()
    assert visitor.errors(1) == ["crossSite"]
    assert not any("/session/ensure" in one for one in asked)


def test_where_no_cookie_is_kept_the_frame_says_so(visit: Callable[..., Visitor], world: World) -> None:
    visitor = visit()
    token = visitor.keep(SECRET)
    # As a browser does whose user allows no cookies for these sites.
    no_cookies = "Object.defineProperty(Document.prototype, 'cookie', { get: () => '', set: () => {} })"
    visitor.context.add_init_script(f"{no_cookies};{NOTE_ALL}")
    visitor.go(add_page(world, f"<secure-span token='{token}'></secure-span>"))
    expect(visitor.notice).to_have_attribute("data-name", "cookiesBlocked")
    expect(visitor.notice.get_by_role("button", name="Try again")).to_be_visible()
    assert visitor.errors(1) == ["cookiesBlocked"]


def test_the_probe_leaves_no_cookie(visitor: Visitor, world: World) -> None:
    visitor.keep(SECRET)
    visitor.go("/show")
    expect(visitor.text).to_have_text(SECRET)
    # An address within the probe's path.
    assert "lunacore_probe" not in {one["name"] for one in visitor.context.cookies(f"{world.tokenizer_url}/frame/hub")}


@pytest.mark.parametrize(("framed", "works"), [("{tokenizer} {application}", True), ("{tokenizer}", False)])
@pytest.mark.long
def test_the_policy_that_the_guide_gives_a_page_is_enough_and_needed(
    visitor: Visitor, world: World, framed: str, works: bool
) -> None:
    """The hidden frame for the session passes through the application's own callback, which frame-src must allow."""
    token = visitor.keep(SECRET)
    sources = framed.format(tokenizer=world.tokenizer_url, application=world.application.url)
    policy = f"default-src 'none'; script-src {world.tokenizer_url}; frame-src {sources}"
    page = add_page(world, f"<secure-span token='{token}'></secure-span>")
    with_policy = f'<head><meta http-equiv="Content-Security-Policy" content="{policy}">'
    world.application.pages[page] = world.application.pages[page].replace("<head>", with_policy)
    visitor.go(page)
    if works:
        expect(visitor.text).to_have_text(SECRET)
    else:
        expect(visitor.notice).to_have_attribute("data-name", "sessionMissing")
