"""Debian's Chromium, a real tokenizer on ``secure.demo.localhost`` and a small application on ``demo.localhost``.

Both hosts are loopback, which browsers know without a resolver, and of one site; this process reaches them at 127.0.0.1.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Frame,
    Locator,
    Page,
    Playwright,
    Route,
    expect,
    sync_playwright,
)

from lunacore.testing.servers import free_port
from tests.browser.demo_application import HOST, DemoApplication
from tests.browser.woff2 import woff2_of
from tests.http.tokenizer_server import TokenizerServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# Of Debian's fonts-liberation; and the family that pages know it by.
TRUETYPE = Path("/usr/share/fonts/truetype/liberation/LiberationMono-Regular.ttf")
FAMILY = "Brand Sans"
# The application under a name of another site.
ELSEWHERE = "app.localhost"
PATIENCE_MS = 20_000

expect.set_options(timeout=PATIENCE_MS)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            # One browser and one tokenizer for all of them.
            item.add_marker(pytest.mark.xdist_group("browser"))


@define
class World:
    """The tokenizer and the application that use each other; the second one is another identity provider, not the default."""

    tokenizer: TokenizerServer
    application: DemoApplication
    second: DemoApplication
    users: int = 0

    @property
    def tokenizer_url(self) -> str:
        return self.application.tokenizer_url

    def new_user(self) -> str:
        self.users += 1
        return f"user-{self.users}"


@contextmanager
def opened_world(
    directory: Path, *, secure_host: str = f"secure.{HOST}", host: str = HOST, **settings: Any
) -> Iterator[World]:
    """A tokenizer and an application on these hosts, with further settings of the tokenizer."""
    port = free_port()
    with (
        DemoApplication(directory, host=host) as application,
        DemoApplication(directory, host=host, name="second", default=False) as second,
    ):
        for one in (application, second):
            one.tokenizer_url = f"http://{secure_host}:{port}"
            one.internal_url = f"http://127.0.0.1:{port}"
        settings = {
            "tokenizer": {"port": port, "public_url": application.tokenizer_url, **settings.pop("tokenizer", {})},
            "frame": {
                "app_origins": [application.url, application.url.replace(host, ELSEWHERE)],
                "fonts": str(_fonts(directory)),
            },
            "identity": [application.issuer.settings, second.issuer.settings],
            **settings,
        }
        with TokenizerServer(directory, settings=settings) as tokenizer:
            yield World(tokenizer, application, second)


def _fonts(directory: Path) -> Path:
    """A folder with one font of the system under a name of its own, if it is installed."""
    folder = directory / "fonts"
    folder.mkdir()
    if TRUETYPE.exists():
        (folder / f"{FAMILY}.woff2").write_bytes(woff2_of(TRUETYPE.read_bytes()))
    return folder


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened_world(tmp_path_factory.mktemp("world")) as opened:
        yield opened


@pytest.fixture(scope="module")
def playwright_driver() -> Iterator[Playwright]:
    """Not for the whole session: its event loop runs in this thread as long as it lives, and other tests run loops of their own."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def chromium(playwright_driver: Playwright) -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip("the tests of the Secure Frame need Debian's Chromium: apt install chromium")
    browser = playwright_driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def hub(chromium: Browser, world: World) -> Iterator[Page]:
    """A page of the tokenizer's origin, in which the frame's own modules can be tried by themselves."""
    page = chromium.new_page()
    page.goto(f"{world.tokenizer_url}/frame/hub")
    yield page
    page.close()


@define
class Held:
    """Requests that are not answered before the test says so."""

    page: Page
    routes: list[Route] = field(factory=list)

    def first(self) -> Route:
        """The one that has waited longest, once there is one; it waits no more among these."""
        while not self.routes:
            self.page.evaluate("0")  # what Playwright has to tell comes with an answer
        return self.routes.pop(0)


@define
class Visitor:
    """A user's browser with the application's cookie, and what it said in its console."""

    world: World
    context: BrowserContext
    page: Page
    user: str
    console: list[str] = field(factory=list)

    def listen(self) -> None:
        """Note from now on what is written to the console."""
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(f"error: {error}"))

    def hold(self, url: str) -> Held:
        """Let requests to such addresses wait from now on."""
        held = Held(self.page)
        # A function of its own: Playwright marks its handlers, which a method cannot be.
        self.context.route(url, lambda route: held.routes.append(route))  # noqa: PLW0108 - as above
        return held

    def errors(self, count: int = 0) -> list[str]:
        """The names of the ``error`` events that the page noted as ``heard``, when so many have come: later than frames show why."""
        names = "heard.filter((one) => one.startsWith('error')).map((one) => JSON.parse(one.slice(5)).name)"
        self.page.wait_for_function(f"{names}.length >= {count}")
        told: list[str] = self.page.evaluate(names)
        return told

    def keep(self, value: str | bytes, **fileinfo: Any) -> str:
        """Have the application keep a value for this user; its token."""
        return self.world.application.keep(self.user, value, **fileinfo)

    def become(self, user: str) -> None:
        """Log out of the application and in as another user; of the tokenizer's cookies it knows nothing."""
        self.user = user
        self.context.add_cookies([{"name": "user", "value": user, "url": self.world.application.url}])

    def come_back(self) -> None:
        """Do as if the tab had been in the background; headless browsers have all in front."""
        for frame in [one for one in self.page.frames if one.url.startswith(f"{self.world.tokenizer_url}/frame")]:
            frame.evaluate("document.dispatchEvent(new Event('visibilitychange', { bubbles: true }))")

    def go(self, path: str) -> None:
        self.page.goto(self.world.application.url + path)

    def inside(self, place: int = 0, besides: Frame | None = None) -> Frame:
        """The frame of an element, in the order in which they came; locators do not enter closed shadow roots.

        Args:
            besides: a frame that does not count, since it is about to go.
        """
        inside = re.compile(re.escape(self.world.tokenizer_url) + r"/frame/[a-z]+#.*\.e(\d+)$")

        def number(frame: Frame) -> int:
            named = inside.match(frame.url)
            return int(named[1]) if named else 0

        while True:
            found = sorted((one for one in self.page.frames if number(one) and one is not besides), key=number)
            if len(found) > place:
                return found[place]
            self.page.wait_for_event("framenavigated", lambda frame: number(frame) > 0)

    @property
    def field(self) -> Locator:
        """The input within the frame of the first element."""
        return self.inside().locator("input")

    @property
    def text(self) -> Locator:
        """The text within the frame of the first element."""
        return self.inside().locator(".text")

    @property
    def notice(self) -> Locator:
        """What the frame of the first element tells a person."""
        return self.inside().locator(".notice")


@pytest.fixture
def visit(world: World, chromium: Browser) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors; each is a user of its own unless one is named."""
    contexts: list[BrowserContext] = []

    def make(user: str = "", *, at: World = world, browser: Browser = chromium, **options: Any) -> Visitor:
        world = at
        user = user or world.new_user()
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        context.add_cookies([{"name": "user", "value": user, "url": world.application.url}])
        visitor = Visitor(world, context, context.new_page(), user)
        visitor.listen()
        return visitor

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def visitor(visit: Callable[..., Visitor]) -> Visitor:
    return visit()
