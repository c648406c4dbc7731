"""What pages of an application, run by an attacker, get out of the frames: tokens, and nothing else.

Each test is a page with hostile script on an origin that may embed the frame, but for the first, which may not.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.browser.test_components import NOTE_ALL, SECRET, add_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Route

    from tests.browser.conftest import World

NONCE = "A" * 22
MOUNT: dict[str, Any] = {
    "type": "mount",
    "element": "e1",
    "kind": "input",
    "settings": {},
    "style": {},
    "token": None,
    "turn": 0,
}

OPTION = {"value": "v", "label": "l", "disabled": False}

# What an attacker's script may use: frames, ports, and what came back on them.
KIT = """
window.TOKENIZER = %r;
window.frameOf = (path, attributes = {}) => new Promise((done) => {
  const frame = Object.assign(document.createElement("iframe"), attributes, { src: TOKENIZER + path });
  frame.onload = () => done(frame);
  document.documentElement.append(frame);
});
window.connect = (frame, hello, { from = window, ports = 1 } = {}) => {
  const answers = [];
  const channels = Array.from({ length: ports }, () => new MessageChannel());
  if (ports) channels[0].port1.onmessage = (event) => answers.push(event.data);
  from.eval ? from.eval("(frame, message, ports) => frame.contentWindow.postMessage(message, '*', ports)")(
    frame, hello, channels.map((one) => one.port2)) : 0;
  return { answers, port: channels[0]?.port1 };
};
window.HELLO = { type: "connect", lunacore: 1, nonce: %r };
// Answers come in order: when a fresh, proper connection has answered, an earlier one would have.
window.settled = async (frame) => {
  const { answers } = connect(frame, HELLO);
  while (answers.length === 0) await new Promise((done) => setTimeout(done, 5));
  return answers;
};
"""


@pytest.fixture(scope="module")
def hostile_page(world: World, chromium: Browser) -> Iterator[Visitor]:
    path = "/hostile"
    script = KIT % (world.tokenizer_url, NONCE)
    world.application.pages[path] = f"<!doctype html><title>Hostile</title><body><script>{script}</script></body>"
    with chromium.new_context() as context:
        visitor = Visitor(world, context, context.new_page(), "nobody")
        visitor.listen()
        visitor.go(path)
        yield visitor


@pytest.fixture
def hostile(hostile_page: Visitor) -> Visitor:
    """A page of the application with the kit, and no frame."""
    hostile_page.page.evaluate("for (const frame of document.querySelectorAll('iframe')) frame.remove()")
    hostile_page.console.clear()
    return hostile_page


def test_a_page_of_an_unlisted_origin_gets_no_frame(visitor: Visitor, world: World) -> None:
    path = add_page(world, "<secure-input aria-label='A'></secure-input>")
    visitor.page.goto(world.application.url.replace("demo.localhost", "evil.demo.localhost") + path)
    visitor.page.wait_for_function("document.querySelector('html > iframe') !== null")
    blocked = f"Framing '{world.tokenizer_url}/' violates"
    while sum(blocked in one for one in visitor.console) < 2:
        visitor.page.wait_for_event("console")


def test_a_page_cannot_reach_into_a_frame(hostile: Visitor) -> None:
    told = hostile.page.evaluate(
        """async () => {
          const told = [];
          for (const path of ["/frame/hub", "/frame/element#x.y", "/frame"]) {
            const frame = await frameOf(path);
            told.push(frame.contentDocument);
            for (const reach of [(own) => own.document, (own) => own.localStorage, (own) => own.eval, (own) => own.location.href])
              try { reach(frame.contentWindow); told.push("reached"); } catch (error) { told.push(error.name); }
          }
          return told;
        }"""
    )
    assert told == [None, *["SecurityError"] * 4] * 3


@pytest.mark.parametrize(
    "hello",
    [
        None,
        "connect",
        {},
        {"type": "connect"},
        {"type": "connect", "lunacore": 1},
        {"type": "connect", "lunacore": "1", "nonce": NONCE},
        {"type": "connect", "lunacore": 1, "nonce": "short"},
        {"type": "connect", "lunacore": 1, "nonce": NONCE + "!"},
        {"type": "connect", "lunacore": 1, "nonce": [NONCE]},
        {"type": "connect", "lunacore": 1, "nonce": NONCE, "more": 1},
        {"type": "attach", "lunacore": 1, "connection": NONCE, "element": "e1"},
    ],
    ids=json.dumps,
)
def test_a_malformed_or_forged_greeting_is_ignored(hostile: Visitor, hello: Any) -> None:
    told = hostile.page.evaluate(
        "async (hello) => { const frame = await frameOf('/frame/hub'); const { answers } = connect(frame, hello); "
        "await settled(frame); return answers }",
        hello,
    )
    assert told == []
    assert any("dropped a message" in line for line in hostile.console)


def test_another_version_is_told_which_there_are(hostile: Visitor) -> None:
    told = hostile.page.evaluate(
        "async () => { const frame = await frameOf('/frame/hub'); "
        "const { answers } = connect(frame, { ...HELLO, lunacore: 2 }); await settled(frame); return answers }"
    )
    assert told == [{"type": "unsupported", "versions": [1]}]


def test_a_greeting_from_a_window_that_is_not_the_parent_is_ignored(hostile: Visitor) -> None:
    told = hostile.page.evaluate(
        """async () => {
          const frame = await frameOf("/frame/hub");
          // Of the same listed origin, but a sibling.
          const sibling = document.createElement("iframe");
          document.body.append(sibling);
          const { answers } = connect(frame, HELLO, { from: sibling.contentWindow });
          await settled(frame);
          return answers;
        }"""
    )
    assert told == []


def test_a_second_greeting_is_ignored(hostile: Visitor) -> None:
    told = hostile.page.evaluate(
        """async () => {
          const frame = await frameOf("/frame/hub");
          const first = connect(frame, HELLO);
          while (first.answers.length === 0) await new Promise((done) => setTimeout(done, 5));
          const second = connect(frame, { ...HELLO, nonce: "B".repeat(22) });
          // The first port still works, and answers later than the second greeting was heard.
          const other = await frameOf("/frame/hub");
          await settled(other);
          return [first.answers, second.answers];
        }"""
    )
    assert told == [[{"type": "connected", "nonce": NONCE, "version": 1}], []]


def test_the_hub_itself_checks_the_origin_of_its_parent(hostile: Visitor, world: World) -> None:
    # Beside frame-ancestors, which lets this page through: to this hub another application alone is known.
    def of_another(route: Route) -> None:
        answer = httpx.get(f"{world.application.internal_url}/frame/hub")
        body = answer.text.replace(world.application.url, "https://other.example.com")
        kept = {name: value for name, value in answer.headers.items() if name != "content-length"}
        route.fulfill(status=200, headers=kept, body=body)

    hostile.page.route("**/frame/hub", of_another, times=1)
    told = hostile.page.evaluate(
        """async () => {
          const { answers } = connect(await frameOf("/frame/hub"), HELLO);
          await settled(await frameOf("/frame/hub"));
          return answers;
        }"""
    )
    assert told == []
    assert "LunaCore: dropped a message: its origin is not in frame.app_origins" in hostile.console


def test_the_page_cannot_attach_as_an_element(hostile: Visitor) -> None:
    told = hostile.page.evaluate(
        """async () => {
          const frame = await frameOf("/frame/hub");
          const { answers, port } = connect(frame, HELLO);
          while (answers.length === 0) await new Promise((done) => setTimeout(done, 5));
          const element = connect(frame, { type: "attach", lunacore: 1, connection: HELLO.nonce, element: "last" });
          const rest = { kind: "span", settings: {}, style: {}, token: null, turn: 0 };
          port.postMessage({ type: "mount", element: "last", ...rest });
          await frameOf(`/frame/element#${HELLO.nonce}.last`);
          while (!answers.some((one) => one.type === "ready")) await new Promise((done) => setTimeout(done, 5));
          return element.answers;
        }"""
    )
    assert told == []
    assert "LunaCore: dropped a message: it is not from a frame beside this one" in hostile.console


def test_a_greeting_without_a_port_or_with_two_is_ignored(hostile: Visitor) -> None:
    told = hostile.page.evaluate(
        """async () => {
          const frame = await frameOf("/frame/hub");
          const none = connect(frame, HELLO, { ports: 0 });
          const two = connect(frame, HELLO, { ports: 2 });
          await settled(frame);
          return [none.answers, two.answers];
        }"""
    )
    assert told == [[], []]


@pytest.mark.parametrize(
    "order",
    [
        None,
        7,
        "mount",
        [],
        {"type": "nonsense"},
        {"type": "__proto__"},
        {"type": "toString"},
        {"type": "mount", "element": "e1"},
        {"type": "mount", "element": "E 1", "kind": "input", "settings": {}, "style": {}, "token": None, "turn": 0},
        {"type": "mount", "element": "e1", "kind": "html", "settings": {}, "style": {}, "token": None, "turn": 0},
        {
            "type": "mount",
            "element": "e1",
            "kind": "input",
            "settings": {"pattern": "4.*"},
            "style": {},
            "token": None,
            "turn": 0,
        },
        {
            "type": "mount",
            "element": "e1",
            "kind": "input",
            "settings": {},
            "style": {"color": 1},
            "token": None,
            "turn": 0,
        },
        {"type": "mount", "element": "e1", "kind": "input", "settings": {}, "style": {}, "token": "a b", "turn": 0},
        {"type": "mount", "element": "e1", "kind": "input", "settings": {}, "style": {}, "token": "t" * 257, "turn": 0},
        {"type": "mount", "element": "e1", "kind": "input", "settings": {}, "style": {}, "token": None, "turn": 0.5},
        {"type": "set", "element": "e1", "settings": {"type": "file"}},
        {**MOUNT, "settings": {"validator": "4.*"}},
        {**MOUNT, "settings": {"validator": "constructor"}},
        {**MOUNT, "settings": {"mask": "(4|5)*"}},
        {**MOUNT, "settings": {"mask": "9" * 65}},
        {**MOUNT, "kind": "constructor"},
        {**MOUNT, "kind": "select", "settings": {"options": {"0": "a"}}},
        {**MOUNT, "kind": "select", "settings": {"options": ["a"]}},
        {**MOUNT, "kind": "radio", "settings": {"options": [{**OPTION, "onclick": "alert(1)"}]}},
        {**MOUNT, "kind": "radio", "settings": {"options": [{**OPTION, "value": "v" * 201}]}},
        {**MOUNT, "kind": "select", "settings": {"selectedIndex": 1}},
        {**MOUNT, "kind": "copy", "settings": {"copy": True}},
        {**MOUNT, "settings": {"lang": "../../x"}},
        {**MOUNT, "settings": {"minLength": -1}},
        {"type": "copy", "element": "e1"},
        {"type": "judge", "element": "e1", "text": "4111"},
        {"type": "show", "element": "e1", "token": None, "turn": -1},
        {"type": "show", "element": "unknown", "token": None, "turn": 1},
        {"type": "commit", "element": "e1", "request": "1"},
        {"type": "put", "job": 1, "text": "x"},
        {"type": "get", "job": 1, "token": "lunasec-x"},
        {"type": "token", "turn": 1, "token": None},
        {"type": "session-attempted"},
        {"type": "session-attempted", "more": 1},
    ],
    ids=json.dumps,
)
def test_a_malformed_order_is_dropped_and_the_connection_goes_on(hostile: Visitor, order: Any) -> None:
    told = hostile.page.evaluate(
        """async (order) => {
          const frame = await frameOf("/frame/hub");
          const { answers, port } = connect(frame, HELLO);
          port.postMessage(order);
          const rest = { kind: "span", settings: {}, style: {}, token: null, turn: 0 };
          port.postMessage({ type: "mount", element: "last", ...rest });
          await frameOf(`/frame/element#${HELLO.nonce}.last`);
          while (!answers.some((one) => one.type === "ready")) await new Promise((done) => setTimeout(done, 5));
          return answers.map((one) => one.type);
        }""",
        order,
    )
    assert told == ["connected", "ready"]
    assert sum("dropped a message" in line for line in hostile.console) == 1


def test_an_opaque_origin_in_a_sandbox_gets_no_connection(hostile: Visitor) -> None:
    told = hostile.page.evaluate(
        """async () => {
          const frame = await frameOf("/frame/hub", { sandbox: "allow-scripts" });
          const { answers } = connect(frame, HELLO);
          await settled(await frameOf("/frame/hub"));
          return answers;
        }"""
    )
    # Its module does not even load: scripts of the tokenizer are for the tokenizer's origin.
    assert told == []


def test_of_a_shown_value_the_page_learns_no_flaw_and_no_length(visitor: Visitor, world: World) -> None:
    token = visitor.keep(SECRET)
    body = (
        f"<secure-input type='email' maxlength='3' aria-label='A' token='{token}'></secure-input>"
        f"<secure-input type='url' aria-label='B' token='{token}'></secure-input>"
    )
    visitor.context.add_init_script(NOTE_ALL)
    visitor.go(add_page(world, body))
    expect(visitor.field).to_have_value(SECRET)
    expect(visitor.inside(1).locator("input")).to_have_value(SECRET)
    visitor.field.click()
    visitor.field.press("End")
    visitor.field.press("Backspace")
    visitor.page.evaluate("document.body.tabIndex = 0; document.body.focus()")
    visitor.page.wait_for_function("heard.some((one) => one.includes('\"token\"'))")
    heard = [json.loads(one) for one in visitor.page.evaluate("heard") if one.startswith("{")]
    states = [one for one in heard if one["type"] == "state"]
    assert [(one["filled"], one["flaw"]) for one in states] == [(True, None)] * 2
    assert SECRET[:-1] not in json.dumps(heard)


def test_a_frame_never_tells_its_size(visitor: Visitor, world: World) -> None:
    token = visitor.keep("a long text " * 400)
    visitor.go(
        add_page(world, f"<secure-paragraph token='{token}'></secure-paragraph><secure-paragraph></secure-paragraph>")
    )
    expect(visitor.text).to_contain_text("a long text a long text")
    sizes = visitor.page.evaluate("[...document.querySelectorAll('secure-paragraph')].map((one) => one.offsetHeight)")
    assert sizes[0] == sizes[1]


STYLES: list[tuple[str, str, str | None]] = [
    ("color", "red", "red"),
    ("color", "rgb(1 2 3 / 50%)", "rgb(1 2 3 / 50%)"),
    ("color", "var(--x)", None),
    ("color", "attr(data-x)", None),
    ("color", "env(x)", None),
    ("background-color", "url(https://evil.example/)", None),
    ("background-color", "image-set('a' 1x)", None),
    ("background-image", "none", None),
    ("background", "red", None),
    ("font-size", "16px; background: url(x)", None),
    ("font-size", "calc(1em + 2px)", "calc(1em + 2px)"),
    ("font-size", "expression(alert(1))", None),
    ("font-size", "1\\65 m", None),
    ("font-family", "Evil, Arial, 'Segoe UI'", 'arial, "segoe ui"'),
    ("font-family", "Evil", None),
    ("font-family", "url(x)", None),
    ("position", "fixed", None),
    ("content", "'x'", None),
    ("padding", "@import", None),
    ("--x", "1", None),
    ("text-align", "center", "center"),
    ("letter-spacing", "9" * 300, None),
]


def test_styles_are_allowed_or_dropped(visitor: Visitor, world: World) -> None:
    visitor.page.goto(f"{world.tokenizer_url}/frame/element")
    module = visitor.page.locator("script").get_attribute("src")
    assert module is not None
    told = visitor.page.evaluate(
        "async ([module, styles]) => { const { allowedValue } = await import(module); "
        "return styles.map(([property, value]) => allowedValue(property, value)) }",
        [module.replace("element.js", "style.js"), [list(one[:2]) for one in STYLES]],
    )
    judged = [(*one[:2], allowed) for one, allowed in zip(STYLES, told, strict=True)]
    assert judged == STYLES
