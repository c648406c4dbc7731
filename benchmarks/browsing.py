"""The Secure Frame in a browser: what it costs to fetch, and how long a value takes to the screen (group ``browser``)."""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from statistics import median
from typing import TYPE_CHECKING, Final

from benchmarks.figures import Book, Section, paragraphs
from benchmarks.page_server import VALUE, PageServer
from benchmarks.processes import BenchmarkError, kept_to, two_cores
from benchmarks.tokenizer_server import TokenizerServer
from lunacore.testing.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import BrowserContext, Frame, Page

    from benchmarks.processes import Cores
    from benchmarks.surroundings import Surroundings

PLAIN: Final = "plain fetch"
TOKEN: Final = "secure-span, another token"
ELEMENT: Final = "secure-span, a new element"
TIME: Final = "ms"

SCRIPT: Final = "component script"
FRAMES: Final = "frames"
BOTH: Final = "both"
LIMIT: Final = "limit"
SIZE: Final = "kB, gzipped"

_LIMIT_KB: Final = 25.0
_KB: Final = 1000
# Names below localhost, which browsers know without a resolver; both are of one site.
_APPLICATION: Final = "bench.localhost"
_TOKENIZER: Final = "secure.bench.localhost"
_PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")
_FLAGS: Final = ("--no-sandbox", "--disable-quic", "--disable-background-networking", "--no-first-run")
_SETTLE: Final = "document.querySelector('secure-input').settle()"

# In every document: `painted` is when what was just done is on the screen; in frames, `shown` is when a text is.
_CLOCK: Final = """
window.clock = () => performance.timeOrigin + performance.now();
window.painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(clock()))));
window.watch = () => { window.shown = new Promise((done) => {
  const look = () => { if (document.querySelector(".text")?.textContent) { observer.disconnect(); done(painted()); } };
  const observer = new MutationObserver(look);
  observer.observe(document, { childList: true, subtree: true, characterData: true });
}) };
if (parent !== self) watch();
"""
_FETCH: Final = """async () => {
  const box = document.querySelector("#plain");
  box.textContent = "";
  await painted();
  const started = clock();
  box.textContent = await (await fetch("/value")).text();
  return (await painted()) - started;
}"""
_SET_TOKEN: Final = """async (token) => {
  await painted();
  const started = clock();
  document.querySelector("secure-span").setAttribute("token", token);
  return started;
}"""
_ADD_ELEMENT: Final = """async (token) => {
  document.querySelector("secure-span")?.remove();
  await painted();
  const started = clock();
  const element = document.createElement("secure-span");
  element.setAttribute("token", token);
  document.body.append(element);
  return started;
}"""

_TIME_METHOD: Final = paragraphs(
    """
From setting the attribute `token` until the browser has painted the text: the call of the tokenizer, the ticket, the
object from the gateway, and opening it, in a page whose session and connection are there. A new element also loads its
frame. Beside: the page fetches the same text in the clear from its own server, and puts it into a paragraph.

Chromium without a window, on one core; servers on the other; nothing between them but the loopback. A browser paints 60
times a second, so every figure has up to 17 ms in it that nobody works. A figure is the median of the repetitions in a
round; a round goes once through all three.
"""
)
_SIZE_METHOD: Final = paragraphs(
    """
The bodies of the scripts and style sheets that the browser fetched for a page with a field and a text, as they came
over the wire. The documents of the frames, some hundred bytes each, are not counted.
"""
)


def check_program() -> None:
    """See that there is a browser, and what drives it.

    Raises:
        BenchmarkError: there is none; the message says what to install.
    """
    if find_spec("playwright") is None:
        raise BenchmarkError("the group browser needs playwright (dependency group test): run make setup")
    _program()


def measure(surroundings: Surroundings) -> list[Section]:
    """Run the group.

    Raises:
        BenchmarkError: the page does not work.
    """
    cores = two_cores()
    times, sizes = Book(), Book()
    repeats = max(1, round(surroundings.scale.core_seconds * 300))
    with ExitStack() as stack:
        stack.enter_context(kept_to(cores.load))
        folder = surroundings.folder("browser")
        page = stack.enter_context(_opened(surroundings, folder, cores, sizes))
        token = _keep(page)
        for number in surroundings.rounds():
            surroundings.say(f"round {number}")
            _note_round(times, page, token, repeats)
        version = page.context.browser.version if page.context.browser else ""
    settings = {"rounds": surroundings.scale.rounds, "repeats": repeats, "cores_are_apart": cores.are_apart}
    return [
        Section(
            name="browser.time",
            title="From token to text on screen, in Chromium",
            method=_TIME_METHOD,
            settings={**settings, "browser": version},
            figures=times.figures(),
            ratios=(
                times.ratio(f"{TOKEN} ÷ {PLAIN}", (TOKEN, TIME), (PLAIN, TIME)),
                times.ratio(f"{ELEMENT} ÷ {PLAIN}", (ELEMENT, TIME), (PLAIN, TIME)),
            ),
        ),
        Section(
            name="browser.size",
            title="What a browser fetches of the Secure Frame",
            method=_SIZE_METHOD,
            settings={"limit_kB": _LIMIT_KB},
            figures=sizes.figures(),
            ratios=(sizes.ratio(f"{BOTH} ÷ {LIMIT}", (BOTH, SIZE), (LIMIT, SIZE), at_most=1.0),),
        ),
    ]


def _program() -> str:
    for name in _PROGRAMS:
        found = shutil.which(name)
        if found is not None:
            return found
    raise BenchmarkError(
        "the group browser needs Chromium: apt install chromium (Debian), or name the other groups to leave it out"
    )


@contextmanager
def _opened(surroundings: Surroundings, folder: Path, cores: Cores, sizes: Book) -> Iterator[Page]:
    """A page of an application whose user has a session, with its component connected."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - for this group alone

    application = f"http://{_APPLICATION}:{free_port()}"
    with ExitStack() as stack:
        tokenizer = stack.enter_context(
            TokenizerServer(folder / "tokenizer", core=cores.server, host=_TOKENIZER, app_origins=[application])
        )
        port = int(application.rpartition(":")[2])
        stack.enter_context(PageServer(folder / "pages", core=cores.server, port=port, tokenizer=tokenizer.public_url))
        driver = stack.enter_context(sync_playwright())
        surroundings.say("start Chromium")
        browser = driver.chromium.launch(executable_path=_program(), args=list(_FLAGS))
        stack.callback(browser.close)
        context = browser.new_context()
        _sign_in(context, tokenizer)
        context.add_init_script(_CLOCK)
        page = context.new_page()
        fetched: dict[str, int] = {}
        page.on("response", lambda answer: fetched.update({answer.url: int(answer.headers.get("content-length", 0))}))
        page.goto(application)
        _keep(page)
        page.evaluate("() => document.body.append(document.createElement('secure-span'))")
        _note_sizes(sizes, fetched, tokenizer.public_url)
        yield page


def _sign_in(context: BrowserContext, tokenizer: TokenizerServer) -> None:
    jwt = tokenizer.issuer.user(tokenizer.public_url, "session-1")
    context.add_cookies([{"name": "access_token", "value": jwt, "url": tokenizer.public_url, "sameSite": "Lax"}])


def _keep(page: Page) -> str:
    """Type the value into the field; its token."""
    _frame(page, "input").locator("input").fill(VALUE)
    token = page.evaluate(_SETTLE)
    if not token:
        raise BenchmarkError("the value that was typed got no token")
    return str(token)


def _note_sizes(book: Book, fetched: dict[str, int], tokenizer: str) -> None:
    script = sum(size for url, size in fetched.items() if url.startswith(f"{tokenizer}/sdk/"))
    inside = re.compile(re.escape(tokenizer) + "/frame/[0-9a-f]{16}/")
    frames = sum(size for url, size in fetched.items() if inside.match(url))
    if not script or not frames:
        raise BenchmarkError("the browser fetched no component script")
    for subject, size in ((SCRIPT, script), (FRAMES, frames), (BOTH, script + frames)):
        book.note(subject, SIZE, size / _KB)
    book.note(LIMIT, SIZE, _LIMIT_KB)


def _note_round(book: Book, page: Page, token: str, repeats: int) -> None:
    plain, other, new = [], [], []
    for _ in range(repeats):
        plain.append(float(page.evaluate(_FETCH)))
        new.append(_until_shown(page, page.evaluate(_ADD_ELEMENT, token)))
        page.evaluate("() => document.querySelector('secure-span').setAttribute('token', '')")
        _rewatch(_frame(page, ".text"))
        other.append(_until_shown(page, page.evaluate(_SET_TOKEN, token)))
    for subject, taken in ((PLAIN, plain), (TOKEN, other), (ELEMENT, new)):
        book.note(subject, TIME, median(taken))


def _until_shown(page: Page, started: float) -> float:
    """Milliseconds until the text was on the screen."""
    frame = _frame(page, ".text")
    ended = frame.evaluate("shown")
    if frame.locator(".text").text_content() != VALUE:
        raise BenchmarkError("another value is shown than was kept")
    return float(ended) - started


def _rewatch(frame: Frame) -> None:
    """Wait until the frame shows nothing, and watch it anew."""
    while frame.locator(".text").text_content():
        pass
    frame.evaluate("watch()")


def _frame(page: Page, holds: str) -> Frame:
    """The frame of the element whose inside holds such an element."""
    while True:
        for frame in page.frames:
            if "/frame/element" in frame.url and not frame.is_detached() and frame.locator(holds).count():
                return frame
