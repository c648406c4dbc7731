"""What hostile pages get by windows, ancestors, workers, stolen tokens, and by waiting: further cases of ``test_hostile_pages``."""

from __future__ import annotations

import json
import re
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser.test_components import NOTE_ALL, SECRET, TOKEN, add_page
from tests.browser.test_hostile_pages import KIT, NONCE

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Visitor, World

# Closed shadow roots are open to a page that was there first; then it holds the frames' elements themselves.
OPEN_ROOTS = """
const attach = Element.prototype.attachShadow;
Element.prototype.attachShadow = function (options) { return this.opened = attach.call(this, { ...options, mode: "open" }) };
"""


def add_hostile(world: World, body: str = "") -> str:
    """A page of the application with the attacker's kit and no component; its path."""
    path = f"/hostile-{len(world.application.pages)}"
    script = KIT % (world.tokenizer_url, NONCE)
    world.application.pages[path] = f"<!doctype html><title>Hostile</title><body>{body}<script>{script}</script></body>"
    return path


def heard_of(visitor: Visitor) -> list[Any]:
    """The messages that reached the page."""
    return [json.loads(one) for one in visitor.page.evaluate("heard") if one.startswith("{")]


# Tokens of others


def test_a_stolen_token_shows_nothing_and_sounds_like_one_that_is_not_there(visitor: Visitor, world: World) -> None:
    stolen = world.application.keep(world.new_user(), SECRET)
    unknown = "lunasec-00000000-0000-4000-8000-000000000000"
    visitor.context.add_init_script(NOTE_ALL)
    body = "".join(f"<secure-span token='{token}'></secure-span>" for token in (stolen, unknown))
    visitor.go(add_page(world, body))
    told = []
    for place in range(2):
        expect(visitor.inside(place).locator(".notice")).to_have_attribute("data-name", "grantMissing")
        expect(visitor.inside(place).locator(".text")).to_be_empty()
        told.append(visitor.inside(place).locator(".notice").inner_text())
    assert told[0] == told[1]
    failures = [one for one in heard_of(visitor) if one["type"] == "failed"]
    assert {(one["name"], one["request"]) for one in failures} == {("grantMissing", None)}
    assert len(failures) == 2


def test_a_stolen_token_cannot_be_stored(visitor: Visitor, world: World) -> None:
    stolen = world.application.keep(world.new_user(), SECRET)
    visitor.go(add_page(world, "<form method='post' action='/save'><input name='ssn'><button>Save</button></form>"))
    visitor.page.locator("input").fill(stolen)
    visitor.page.get_by_role("button", name="Save").click()
    expect(visitor.page.locator("body")).to_have_text("refused")
    assert visitor.user not in world.application.saved


def test_a_stolen_token_in_a_field_is_not_laundered_by_a_submit(visitor: Visitor, world: World) -> None:
    stolen = world.application.keep(world.new_user(), SECRET)
    body = f"<form method='post' action='/save'><secure-input name='ssn' aria-label='A' token='{stolen}'></secure-input><button>Save</button></form>"
    visitor.go(add_page(world, body))
    expect(visitor.notice).to_have_attribute("data-name", "grantMissing")
    expect(visitor.field).to_have_value("")
    visitor.page.get_by_role("button", name="Save").click()
    expect(visitor.page.locator("body")).to_have_text("refused")


# Oracles


def test_what_a_page_hears_and_how_often_depends_on_no_shown_value(visitor: Visitor, world: World) -> None:
    """Values of every size and sort, a card number that is right and one that is wrong: the same messages."""
    tokens = [visitor.keep(value) for value in ("1", "4111111111111111", "a@b.example", "ä\n" * 50_000)]
    fields = "".join(
        f"<secure-input type='email' maxlength='5' required aria-label='A' token='{token}'></secure-input>"
        for token in tokens
    )
    texts = "".join(f"<secure-paragraph token='{token}'></secure-paragraph>" for token in tokens)
    visitor.page.add_init_script(NOTE_ALL)
    visitor.go(add_page(world, fields + texts))
    # Fields are defined, and so numbered, before other components.
    for place in range(4):
        field = visitor.inside(place).locator("input")
        expect(visitor.inside(place + 4).locator(".text")).not_to_be_empty()
        expect(field).not_to_have_value("")
        # A field is judged when it is left, and a new setting has it judged anew.
        field.click()
        visitor.page.evaluate("document.body.tabIndex = 0; document.body.focus()")
        visitor.page.wait_for_function(
            "(count) => heard.filter((one) => one.includes('blurred')).length > count", arg=place
        )
        visitor.page.locator("secure-input").nth(place).evaluate("(field) => field.setAttribute('placeholder', 'new')")
        expect(field).to_have_attribute("placeholder", "new")
    heard: dict[str, list[Any]] = {}
    for one in heard_of(visitor):
        heard.setdefault(one.pop("element", ""), []).append(one)
    for first in (1, 5):
        assert heard[f"e{first}"]
        assert all(heard[f"e{first + place}"] == heard[f"e{first}"] for place in range(4))
    looks = visitor.page.evaluate(
        "[...document.querySelectorAll('secure-input')].map((one) => [one.offsetWidth, one.offsetHeight, one.matches(':valid'),"
        "one.matches(':state(filled)'), one.outerHTML.length])"
    )
    assert all(one == looks[0] for one in looks)


def test_no_message_marks_when_a_value_is_on_screen(visitor: Visitor, world: World) -> None:
    token = visitor.keep(SECRET)
    held = visitor.hold("**/objects/**")
    visitor.context.add_init_script(NOTE_ALL)
    visitor.go(add_page(world, f"<secure-span token='{token}'></secure-span>"))
    value = held.first()
    visitor.page.wait_for_function("heard.some((one) => one.includes('\"ready\"'))")
    before = visitor.page.evaluate("heard.length")
    value.continue_()
    expect(visitor.text).to_have_text(SECRET)
    assert visitor.page.evaluate("heard.length") == before


def test_a_page_sees_no_time_and_no_size_of_what_a_frame_fetches(visitor: Visitor, world: World) -> None:
    token = visitor.keep(SECRET * 1000)
    visitor.go(add_page(world, f"<secure-paragraph token='{token}'></secure-paragraph>"))
    expect(visitor.text).to_contain_text(SECRET)
    entries = visitor.page.evaluate(
        "performance.getEntries().filter((one) => one.name.startsWith(TOKENIZER)).map((one) => "
        "[new URL(one.name).pathname, one.initiatorType, one.decodedBodySize])".replace(
            "TOKENIZER", repr(world.tokenizer_url)
        )
    )
    fetched = [path for path, _, _ in entries]
    assert not any(path.startswith(("/objects", "/detokenize", "/session/verify")) for path in fetched)
    assert all(size == 0 for path, kind, size in entries if kind == "iframe")


def test_a_frame_has_no_window_of_its_own_to_count(visitor: Visitor, world: World) -> None:
    token = visitor.keep(SECRET)
    visitor.go(add_page(world, f"<secure-span token='{token}'></secure-span>"))
    expect(visitor.text).to_have_text(SECRET)
    assert visitor.page.evaluate("Array.from({ length: window.length }, (_, place) => window[place].length)") == [0]


@pytest.mark.long
def test_refusals_of_what_is_there_and_what_is_not_take_the_same_time(visitor: Visitor, world: World) -> None:
    """In the page's clock, from setting a token to the event; medians over rounds that alternate."""
    stolen = world.application.keep(world.new_user(), SECRET)
    unknown = "lunasec-00000000-0000-4000-8000-000000000001"
    visitor.go(add_page(world, f"<secure-span token='{unknown}'></secure-span>"))
    expect(visitor.notice).to_have_attribute("data-name", "grantMissing")
    times = visitor.page.evaluate(
        """async (tokens) => {
          const element = document.querySelector("secure-span");
          const taken = [[], []];
          for (let round = 0; round < 150; round++)
            for (const which of round % 2 ? [0, 1] : [1, 0]) {
              const started = performance.now();
              const failed = new Promise((done) => element.addEventListener("error", done, { once: true }));
              element.token = tokens[which];
              await failed;
              taken[which].push(performance.now() - started);
            }
          return taken;
        }""",
        [stolen, unknown],
    )
    there, missing = (sorted(one) for one in times)
    # Both take one call of the tokenizer. One more, or a look at the object store, would double it.
    assert abs(median(there) - median(missing)) < max(1.0, 0.15 * median(missing))


# Ancestors


@pytest.fixture
def unlisted(world: World) -> str:
    """An origin of the same site that is not listed."""
    return world.application.url.replace("demo.localhost", "evil.demo.localhost")


FRAMED = """(address) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.onload = () => done(frame);
  frame.src = address;
  document.body.append(frame);
}).then(() => 0)"""


def refused_framing(page: Page, address: str) -> bool:
    """Whether the browser put an error of its own in place of a framed document."""
    page.evaluate(FRAMED, address)
    return all(not frame.url.startswith(address.partition("#")[0]) for frame in page.frames)


@pytest.mark.parametrize("path", ["/frame", "/frame/hub", "/frame/element#A.e1"])
def test_an_unlisted_page_frames_nothing(visitor: Visitor, world: World, unlisted: str, path: str) -> None:
    visitor.page.goto(unlisted + add_hostile(world))
    assert refused_framing(visitor.page, world.tokenizer_url + path)


@pytest.mark.parametrize("path", ["/frame/hub", "/frame/element#A.e1"])
def test_an_unlisted_page_around_a_listed_one_frames_nothing(
    visitor: Visitor, world: World, unlisted: str, path: str
) -> None:
    inner = add_hostile(world)
    visitor.page.goto(unlisted + add_hostile(world))
    visitor.page.evaluate(FRAMED, world.application.url + inner)
    (listed,) = [one for one in visitor.page.frames if one.url == world.application.url + inner]
    listed.evaluate(FRAMED, world.tokenizer_url + path)
    assert all(not one.url.startswith(world.tokenizer_url) for one in listed.child_frames)


def test_components_of_a_listed_page_within_an_unlisted_one_stay_empty(
    visitor: Visitor, world: World, unlisted: str
) -> None:
    token = visitor.keep(SECRET)
    shown = add_page(world, f"<secure-span token='{token}'></secure-span>")
    visitor.page.goto(unlisted + add_hostile(world))
    blocked: list[str] = []
    visitor.page.on(
        "console", lambda message: blocked.append(message.text) if "frame-ancestors" in message.text else None
    )
    visitor.page.evaluate(FRAMED, world.application.url + shown)
    while len(blocked) < 2:
        visitor.page.wait_for_event("console")
    assert not any(frame.url.startswith(world.tokenizer_url) for frame in visitor.page.frames)


@pytest.mark.parametrize("source", ["srcdoc", "data:", "sandbox"])
def test_a_document_without_an_origin_of_its_own_frames_nothing_that_answers(
    visitor: Visitor, world: World, source: str
) -> None:
    visitor.page.goto(world.application.url + add_hostile(world))
    script = KIT % (world.tokenizer_url, NONCE)
    answers = visitor.page.evaluate(
        """async ([source, script]) => {
          const tag = (text) => "<body><scr" + "ipt>" + text + "</scr" + "ipt>";
          const inner = tag(script + `
            const frame = await frameOf("/frame/hub");
            const { answers } = connect(frame, HELLO);
            const again = await Promise.race([settled(await frameOf("/frame/hub")), new Promise((done) => setTimeout(done, 800))]);
            parent.postMessage(JSON.stringify([answers, again ?? []]), "*");`).replace("<script>", "<script type=module>");
          const frame = document.createElement("iframe");
          const told = new Promise((done) => addEventListener("message", (event) => done(JSON.parse(event.data)), { once: true }));
          if (source === "data:") frame.src = "data:text/html," + encodeURIComponent(inner);
          else frame.srcdoc = inner;
          if (source !== "srcdoc") frame.sandbox = "allow-scripts";
          document.body.append(frame);
          return told;
        }""",
        [source, script],
    )
    if source == "srcdoc":
        # This has the origin of the page that made it, which is listed: it gets what that would get.
        assert [one["type"] for one in answers[1]] == ["connected"]
    else:
        assert answers == [[], []]


# Windows


def test_opened_as_a_window_a_frame_does_nothing_and_knows_no_opener(visitor: Visitor, world: World) -> None:
    token = visitor.keep(SECRET)
    visitor.page.goto(world.application.url + add_hostile(world))
    for path in ("/frame/hub", f"/frame/element#{NONCE}.e1", "/frame"):
        with visitor.page.expect_popup() as opened:
            visitor.page.evaluate("(address) => { window.opened = window.open(address) }", world.tokenizer_url + path)
        window = opened.value
        window.wait_for_url(world.tokenizer_url + path)
        # COOP puts it into a group of its own: neither has the other. Who opened it learns so when it has left.
        visitor.page.wait_for_function("opened.closed")
        assert window.evaluate("window.opener") is None
        assert window.evaluate("document.body.childElementCount") == 0
        window.close()
    assert token


def test_a_window_that_is_open_already_cannot_be_used_as_the_parent(visitor: Visitor, world: World) -> None:
    """The page opens another of its own windows, frames the hub there, and greets from here."""
    visitor.page.goto(world.application.url + add_hostile(world))
    other = add_hostile(world)
    with visitor.page.expect_popup() as opened:
        visitor.page.evaluate("(path) => { window.opened = window.open(path) }", other)
    opened.value.wait_for_url(world.application.url + other)
    told = visitor.page.evaluate(
        """async () => {
          const frame = await opened.frameOf("/frame/hub");
          // A realm of this window, so that this window is the source.
          const { answers } = connect(frame, HELLO);
          await opened.settled(frame);
          return answers;
        }"""
    )
    assert told == []


def test_an_element_sent_elsewhere_takes_nothing_along(visitor: Visitor, world: World) -> None:
    token = visitor.keep(SECRET)
    visitor.context.add_init_script(NOTE_ALL + OPEN_ROOTS)
    visitor.go(add_page(world, f"<secure-span token='{token}'></secure-span>"))
    expect(visitor.text).to_have_text(SECRET)
    spy = world.application.url + add_hostile(world)
    told = visitor.page.evaluate(
        """(spy) => new Promise((done) => {
          const frame = document.querySelector("secure-span").opened.querySelector("iframe");
          frame.onload = () => {
            const own = frame.contentWindow;
            done([own.name, own.document.referrer, own.history.state, own.document.documentElement.outerHTML]);
          };
          frame.src = spy;
        })""",
        spy,
    )
    assert told[:3] == ["", "", None]
    assert SECRET not in json.dumps([told, visitor.page.evaluate("heard")])


def test_a_hub_sent_elsewhere_and_back_must_be_connected_anew(visitor: Visitor, world: World) -> None:
    token = visitor.keep(SECRET)
    visitor.go(add_page(world, f"<secure-span token='{token}'></secure-span>"))
    expect(visitor.text).to_have_text(SECRET)
    frame = visitor.inside()
    visitor.page.evaluate("(frame => { frame.src = 'about:blank' })(document.querySelector('html > iframe'))")
    # The component script makes a new hub, and new frames to it.
    expect(visitor.inside(besides=frame).locator(".text")).to_have_text(SECRET)


def test_several_hubs_serve_their_own_elements_alone(visitor: Visitor, world: World) -> None:
    visitor.go(add_hostile(world))
    told = visitor.page.evaluate(
        """async () => {
          const nonces = ["A", "B", "A"].map((letter) => letter.repeat(22));
          const hubs = [];
          for (const nonce of nonces) {
            const hub = connect(await frameOf("/frame/hub"), { ...HELLO, nonce });
            while (hub.answers.length === 0) await new Promise((done) => setTimeout(done, 5));
            hubs.push(hub);
          }
          const mount = { type: "mount", element: "same", kind: "input", settings: {}, style: {}, token: null, turn: 0 };
          for (const hub of hubs) hub.port.postMessage(mount);
          await frameOf(`/frame/element#${nonces[1]}.same`);
          while (!hubs[1].answers.some((one) => one.type === "ready")) await new Promise((done) => setTimeout(done, 5));
          // A second frame for the same element is not heard, and neither is one for an element of another hub.
          await frameOf(`/frame/element#${nonces[1]}.same`);
          return hubs.map((hub) => hub.answers.map((one) => one.type));
        }"""
    )
    assert told[0] == told[2] == ["connected"]
    assert told[1].count("ready") == 1
    while not any("the element has a frame already" in line for line in visitor.console):
        visitor.page.wait_for_event("console")


def test_an_element_removed_and_put_back_gets_its_value_from_its_token_alone(visitor: Visitor, world: World) -> None:
    visitor.keep(SECRET)
    visitor.context.add_init_script(NOTE_ALL)
    visitor.go("/edit")
    expect(visitor.field).to_have_value(SECRET)
    frame = visitor.inside()
    visitor.field.fill("typed, without a token")
    visitor.page.evaluate(
        "() => { const one = document.querySelector('secure-input'); const form = one.parentNode; one.remove(); form.append(one) }"
    )
    field = visitor.inside(besides=frame).locator("input")
    expect(field).not_to_have_value("typed, without a token")
    assert "typed, without" not in json.dumps(visitor.page.evaluate("heard"))


# What a replay gets


def test_a_greeting_that_was_seen_gets_no_second_connection_and_no_reports(visitor: Visitor, world: World) -> None:
    """A page that has noted the nonce of the real connection, and greets its hub and another one with it."""
    note_nonce = """
    window.seen = [];
    window.MessageChannel = class extends MessageChannel {
      constructor() { super(); this.port1.addEventListener("message", (event) => seen.push(event.data)); }
    };
    """
    token = visitor.keep(SECRET)
    visitor.context.add_init_script(note_nonce)
    visitor.go(add_page(world, f"<secure-span token='{token}'></secure-span>"))
    expect(visitor.text).to_have_text(SECRET)
    visitor.page.evaluate(f"() => {{ {KIT % (world.tokenizer_url, NONCE)} }}")
    told = visitor.page.evaluate(
        """async () => {
          const nonce = seen.find((one) => one.type === "connected").nonce;
          const real = document.querySelector("html > iframe");
          const again = connect(real, { ...HELLO, nonce });
          const other = connect(await frameOf("/frame/hub"), { ...HELLO, nonce });
          await settled(await frameOf("/frame/hub"));
          return [again.answers, other.answers.map((one) => one.type)];
        }"""
    )
    # The other hub has a session of the page too, but the element is not attached to it.
    assert told == [[], ["connected"]]
    assert "LunaCore: dropped a message: the page is connected already" in visitor.console


def test_orders_that_were_seen_do_nothing_new_when_they_are_sent_again(visitor: Visitor, world: World) -> None:
    visitor.go(add_hostile(world))
    told = visitor.page.evaluate(
        """async () => {
          const { answers, port } = connect(await frameOf("/frame/hub"), HELLO);
          const rest = { kind: "input", settings: {}, style: {}, token: null, turn: 1 };
          const orders = [{ type: "mount", element: "e1", ...rest }, { type: "unmount", element: "e1" }];
          for (const order of [...orders, ...orders, { type: "commit", element: "e1", request: 1 }]) port.postMessage(order);
          port.postMessage({ type: "mount", element: "last", ...rest });
          await frameOf(`/frame/element#${HELLO.nonce}.last`);
          while (!answers.some((one) => one.type === "ready")) await new Promise((done) => setTimeout(done, 5));
          return answers.filter((one) => one.element !== "last").map((one) => one.type);
        }"""
    )
    assert told == ["connected"]
    assert "LunaCore: dropped a message: there is no such element" in visitor.console


# Channels beside the port


def test_channels_of_the_page_do_not_reach_the_frames(visitor: Visitor, world: World) -> None:
    """Broadcasts, storage and locks are of an origin, and the page has another."""
    token = visitor.keep(SECRET)
    visitor.go(add_page(world, f"<secure-span token='{token}'></secure-span>"))
    expect(visitor.text).to_have_text(SECRET)
    frame = visitor.inside()
    frame.evaluate(
        "() => { window.got = []; const all = new BroadcastChannel('lunacore'); all.onmessage = (event) => got.push(event.data); addEventListener('storage', () => got.push('storage')) }"
    )
    told = visitor.page.evaluate(
        """async () => {
          const mine = new BroadcastChannel("lunacore");
          mine.postMessage("hello");
          localStorage.setItem("lunacore", "1");
          const locks = await navigator.locks.query();
          return [locks.held.length, (await indexedDB.databases()).length, await caches.keys()];
        }"""
    )
    assert told == [0, 0, []]
    assert frame.evaluate("[got.length, localStorage.length, sessionStorage.length]") == [0, 0, 0]


def test_a_service_worker_of_the_page_sees_no_request_of_a_frame(visitor: Visitor, world: World) -> None:
    script = "self.seen = []; self.addEventListener('install', () => self.skipWaiting()); self.addEventListener('activate', (event) => event.waitUntil(clients.claim())); self.addEventListener('fetch', (event) => seen.push(event.request.url)); self.addEventListener('message', (event) => event.source.postMessage(seen))"
    world.application.scripts["/worker.js"] = script
    token = visitor.keep(SECRET)
    visitor.go(add_hostile(world))
    visitor.page.evaluate(
        "() => navigator.serviceWorker.register('/worker.js').then(() => navigator.serviceWorker.ready).then(() => 0)"
    )
    visitor.go(add_page(world, f"<secure-span token='{token}'></secure-span>"))
    expect(visitor.text).to_have_text(SECRET)
    seen = visitor.page.evaluate(
        "() => new Promise((done) => { navigator.serviceWorker.onmessage = (event) => done(event.data); navigator.serviceWorker.controller.postMessage(0) })"
    )
    assert any(one.endswith("/sdk/lunacore.js") for one in seen)
    assert not any(path in one for one in seen for path in ("/detokenize", "/objects", "/session/verify"))


def test_a_page_cannot_make_a_worker_of_the_frames_modules(visitor: Visitor, world: World) -> None:
    visitor.go(add_hostile(world))
    module = visitor.page.request.get(
        world.tokenizer_url.replace(f"secure.{'demo.localhost'}", "127.0.0.1") + "/frame/hub"
    ).text()
    (folder,) = set(re.findall(r"/frame/[0-9a-f]{16}", module))
    told = visitor.page.evaluate(
        """async (address) => {
          const told = [];
          try { new Worker(address, { type: "module" }); told.push("worker"); } catch (error) { told.push(error.name); }
          try { await import(address); told.push("imported"); } catch (error) { told.push(error.name); }
          try { await (await fetch(address)).text(); told.push("read"); } catch (error) { told.push(error.name); }
          return told;
        }""",
        f"{world.tokenizer_url}{folder}/vault.js",
    )
    assert told == ["SecurityError", "TypeError", "TypeError"]


# Script that was there before the component script


POLLUTION = """
window.loot = [];
const note = (what, value) => { try { loot.push(what + ":" + (typeof value === "string" ? value : JSON.stringify(value))) } catch { loot.push(what) } };
for (const name of ["type", "origin", "token", "lunacore", "hash", "provider"])
  Object.defineProperty(Object.prototype, name, { configurable: true, get() { return undefined }, set(value) { note(name, value); Object.defineProperty(this, name, { value, writable: true, enumerable: true, configurable: true }) } });
const post = MessagePort.prototype.postMessage;
MessagePort.prototype.postMessage = function (message, ...rest) { note("port", message); return post.call(this, message, ...rest) };
window.MessageChannel = class extends MessageChannel { constructor() { super(); this.port1.addEventListener("message", (event) => note("heard", event.data)) } };
window.fetch = (...rest) => { note("fetch", String(rest[0])); return Promise.reject(new TypeError("no")) };
"""


def test_a_page_that_was_poisoned_before_the_components_load_gets_tokens_only(visitor: Visitor, world: World) -> None:
    """The component script may be lied to, and all it knows is lost; the frames have realms of their own."""
    token = visitor.keep(SECRET)
    poisoned = f"<script>{OPEN_ROOTS}{POLLUTION}</script><secure-span token='{token}'></secure-span><secure-input aria-label='A'></secure-input>"
    visitor.go(add_page(world, poisoned))
    # The field is connected first.
    expect(visitor.inside(1).locator(".text")).to_have_text(SECRET)
    visitor.field.fill("219-09-9999")
    made = visitor.page.locator("secure-input").evaluate("(field) => field.settle()")
    assert TOKEN.fullmatch(made)
    loot = visitor.page.evaluate("loot.join()")
    assert made in loot
    assert token in loot
    assert SECRET not in loot
    assert "219-09-9999" not in loot
    # Shadow roots are no wall, and are not meant as one: behind them is a frame of another origin.
    held = visitor.page.evaluate(
        "() => document.querySelector('secure-span').opened.querySelector('iframe').contentDocument"
    )
    assert held is None


def test_a_component_that_the_page_put_in_its_place_gets_no_value(visitor: Visitor, world: World) -> None:
    token = visitor.keep(SECRET)
    fake = "<script>customElements.define('secure-span', class extends HTMLElement { connectedCallback() { this.textContent = 'fake ' + this.getAttribute('token') } })</script>"
    visitor.go(add_page(world, f"{fake}<secure-span token='{token}'></secure-span>"))
    expect(visitor.page.locator("secure-span")).to_have_text(f"fake {token}")
    assert SECRET not in visitor.page.content()
    assert not any("already been used" in line for line in visitor.console)


def test_a_hub_replaced_by_the_pages_own_document_hears_no_element(visitor: Visitor, world: World) -> None:
    """A document of the page's origin that says it is the hub, under the real connection."""
    visitor.keep(SECRET)
    visitor.go(add_hostile(world))
    told = visitor.page.evaluate(
        """async () => {
          const fake = document.createElement("iframe");
          document.documentElement.append(fake);
          fake.contentDocument.documentElement.dataset.connection = HELLO.nonce;
          const heard = [];
          fake.contentWindow.addEventListener("message", (event) => heard.push(event.data));
          const element = await frameOf(`/frame/element#${HELLO.nonce}.e1`);
          const { answers, port } = connect(await frameOf("/frame/hub"), HELLO);
          while (answers.length === 0) await new Promise((done) => setTimeout(done, 5));
          port.postMessage({ type: "mount", element: "e1", kind: "input", settings: {}, style: {}, token: null, turn: 0 });
          while (!answers.some((one) => one.type === "ready")) await new Promise((done) => setTimeout(done, 5));
          return heard;
        }"""
    )
    assert told == []


def test_selection_find_and_print_of_the_page_do_not_reach_inside(visitor: Visitor, world: World) -> None:
    token = visitor.keep(SECRET)
    visitor.go(add_page(world, f"<secure-span token='{token}'></secure-span>"))
    expect(visitor.text).to_have_text(SECRET)
    told = visitor.page.evaluate(
        """() => {
          getSelection().selectAllChildren(document.documentElement);
          return [String(getSelection()), document.documentElement.innerText, document.documentElement.outerHTML];
        }"""
    )
    assert SECRET not in json.dumps(told)


def test_styles_of_the_host_change_nothing_inside(visitor: Visitor, world: World) -> None:
    attacks = [
        ("pointer-events", "none"),
        ("opacity", "0"),
        ("transform", "scale(3)"),
        ("position", "fixed"),
        ("clip-path", "inset(50%)"),
    ]
    body = "".join(
        f"<secure-input aria-label='A' style='{name}: {value}; inset: 0'></secure-input>" for name, value in attacks
    )
    visitor.go(add_page(world, body))
    for place, (name, value) in enumerate(attacks):
        field = visitor.inside(place).locator("input")
        expect(field).to_be_attached()
        look = "(field, name) => [getComputedStyle(field)[name], getComputedStyle(document.body)[name]]"
        assert value not in field.evaluate(look, name)
