"""Files up, down and shown, as a person and an application meet them in Chromium."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Frame, expect

from lunacore import segments
from tests.browser.demo_application import reachable
from tests.browser.test_components import NOTE_ALL, TOKEN, add_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import FilePayload, Route

    from tests.browser.conftest import Visitor, World

NOTE_ONCE = f"if (!window.heard) {{ {NOTE_ALL} }}"

FORM = """<form><label for="papers">Papers</label><secure-upload id="papers" name="papers" multiple required></secure-upload>
<button>Send</button></form>
<script>document.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  window.sent = [...new FormData(event.target)];
});</script>"""

# Eight by six pixels each.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAGCAIAAABxZ0isAAAAFElEQVR4nGM8IWfDgA0wYRWlkwQArE4BLjZrArMAAAAASUVORK5CYII="
)


def frame_of(visitor: Visitor, document: str, place: int = 0) -> Frame:
    """The frame of a component of that document, in the order in which they came."""
    start = f"{visitor.world.tokenizer_url}/frame/{document}#"
    while True:
        found = [frame for frame in visitor.page.frames if frame.url.startswith(start)]
        if len(found) > place:
            return sorted(found, key=lambda frame: int(frame.url.rpartition(".e")[2]))[place]
        visitor.page.wait_for_event("framenavigated", lambda frame: frame.url.startswith(start))


def choose(frame: Frame, *files: tuple[str, str, bytes]) -> None:
    """Choose files of these names, types and contents."""
    payloads: list[FilePayload] = [{"name": name, "mimeType": kind, "buffer": content} for name, kind, content in files]
    frame.locator("input[type=file]").set_input_files(payloads)


def open_upload(visitor: Visitor, body: str = FORM) -> Frame:
    visitor.context.add_init_script(NOTE_ONCE)
    visitor.go(add_page(visitor.world, body))
    frame = frame_of(visitor, "upload")
    frame.locator(".choose").wait_for(state="attached")
    return frame


def tokens_of(visitor: Visitor, count: int) -> list[str]:
    """The tokens of the upload, as soon as there are so many."""
    visitor.page.wait_for_function(
        "(count) => document.querySelector('secure-upload').tokens.length === count", arg=count
    )
    told: list[str] = visitor.page.evaluate("document.querySelector('secure-upload').tokens")
    return told


def grant(visitor: Visitor, *tokens: str) -> None:
    for token in tokens:
        visitor.world.application.call("/grant/set", sessionId=visitor.user, tokenId=token)


def kept(visitor: Visitor, name: str, content: bytes, kind: str = "") -> str:
    """The token of a file that the visitor may read."""
    token = visitor.keep(content, filename=name, type=kind)
    grant(visitor, token)
    return token


def opened(visitor: Visitor, token: str) -> bytes:
    """What lies behind a token, by way of the tokenizer and Python."""
    grant(visitor, token)
    cookies = visitor.context.cookies(visitor.world.tokenizer_url)
    cookie = "; ".join(f"{one['name']}={one['value']}" for one in cookies)
    answer = httpx.post(
        f"{visitor.world.application.internal_url}/detokenize", json={"tokenId": token}, headers={"cookie": cookie}
    )
    ticket = answer.json()["data"]
    sealed = httpx.get(reachable(ticket["downloadUrl"]), headers=ticket["headers"]).raise_for_status().content
    return segments.open_bytes(base64.b64decode(ticket["valueKey"]), sealed, segments.Purpose.VALUE)


def messages(visitor: Visitor) -> list[dict[str, Any]]:
    """What the page's ports have heard."""
    return [json.loads(one) for one in visitor.page.evaluate("heard") if one.startswith("{")]


def open_download(visitor: Visitor, token: str) -> Frame:
    visitor.context.add_init_script(NOTE_ONCE)
    visitor.go(add_page(visitor.world, f"<secure-download token='{token}'></secure-download>"))
    return frame_of(visitor, "download")


def save(visitor: Visitor, frame: Frame, button: str = ".download") -> tuple[str, bytes]:
    """Press the button; name and content of what is saved."""
    expect(frame.locator(button)).to_be_enabled()
    with visitor.page.expect_download() as saved:
        frame.locator(button).click()
    return saved.value.suggested_filename, Path(saved.value.path()).read_bytes()


def open_view(visitor: Visitor, token: str, element: str = "secure-viewer") -> Frame:
    visitor.context.add_init_script(NOTE_ONCE)
    visitor.go(add_page(visitor.world, f"<{element} token='{token}' aria-label='The paper'></{element}>"))
    return frame_of(visitor, "viewer")


def test_a_form_sends_a_token_for_each_file_and_waits_for_them(visitor: Visitor, world: World) -> None:
    frame = open_upload(visitor)
    content = os.urandom(3_000_000)
    choose(frame, ("report.pdf", "application/pdf", content), ("empty.txt", "text/plain", b""))
    visitor.page.get_by_role("button", name="Send").click()
    visitor.page.wait_for_function("window.sent")
    sent = visitor.page.evaluate("sent")
    assert [name for name, _ in sent] == ["papers", "papers"]
    first, second = (token for _, token in sent)
    assert TOKEN.fullmatch(first)
    assert visitor.page.evaluate("document.querySelector('secure-upload').token") == f"{first} {second}"
    told = world.application.call("/metadata/get", tokenIds=[first, second])["items"]
    known = [one["data"]["metadata"] for one in told]
    assert [one["dataType"] for one in known] == ["file", "file"]
    assert [one["fileinfo"]["filename"] for one in known] == ["report.pdf", "empty.txt"]
    assert known[0]["fileinfo"]["type"] == "application/pdf"
    assert known[0]["fileinfo"]["lastModified"] > 0
    assert world.application.call("/grant/verify", sessionId=visitor.user, tokenId=first)["valid"]
    assert opened(visitor, first) == content
    assert opened(visitor, second) == b""
    assert visitor.console == []


def test_an_upload_is_done_by_keyboard_alone(visitor: Visitor) -> None:
    # Who listens from the start is asked for files in frames, too, whenever they came.
    visitor.page.on("filechooser", lambda _: None)
    frame = open_upload(visitor)
    visitor.page.keyboard.press("Tab")
    choose_button = frame.get_by_role("button", name="Papers: Choose files")
    expect(choose_button).to_be_focused()
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.keyboard.press("Enter")
    assert chooser.value.is_multiple()
    payloads: list[FilePayload] = [
        {"name": name, "mimeType": "text/plain", "buffer": b"1"} for name in ("one.txt", "two.txt")
    ]
    chooser.value.set_files(payloads)
    _, second = tokens_of(visitor, 2)
    visitor.page.keyboard.press("Tab")
    expect(frame.get_by_role("button", name="Remove one.txt")).to_be_focused()
    visitor.page.keyboard.press("Enter")
    assert tokens_of(visitor, 1) == [second]
    expect(frame.get_by_role("button", name="Remove two.txt")).to_be_focused()
    visitor.page.keyboard.press("Enter")
    tokens_of(visitor, 0)
    expect(choose_button).to_be_focused()
    visitor.page.get_by_role("button", name="Send").click()
    expect(frame.get_by_role("alert")).to_have_text("Please choose a file")
    assert visitor.page.evaluate("window.sent") is None


def test_files_are_dropped_and_pasted(visitor: Visitor) -> None:
    frame = open_upload(visitor)
    frame.evaluate(
        """() => {
          const carried = new DataTransfer();
          carried.items.add(new File(["dropped"], "dropped.txt", { type: "text/plain" }));
          const zone = document.querySelector(".zone");
          const send = (type) => zone.dispatchEvent(new DragEvent(type, { dataTransfer: carried, bubbles: true, cancelable: true }));
          window.refused = [send("dragenter"), send("dragover"), zone.classList.contains("over"), send("drop"), zone.classList.contains("over")];
          const pasted = new DataTransfer();
          pasted.items.add(new File(["pasted"], "pasted.txt"));
          document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: pasted }));
        }"""
    )
    # The browser itself must not open what is dropped.
    assert frame.evaluate("refused") == [False, False, True, False, False]
    dropped, pasted = tokens_of(visitor, 2)
    assert opened(visitor, dropped) == b"dropped"
    assert opened(visitor, pasted) == b"pasted"
    # A text that is dropped is no file, and does not leave for another document either.
    refused = frame.evaluate(
        """() => {
          const carried = new DataTransfer();
          carried.setData("text/plain", "x");
          return document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true }));
        }"""
    )
    assert refused is False
    expect(frame.locator("li")).to_have_count(2)


def test_files_that_the_page_does_not_take_are_refused_inside_and_the_page_hears_nothing(visitor: Visitor) -> None:
    body = "<secure-upload multiple accept='.pdf, image/*' max-size='1 kB' max-files='2'></secure-upload>"
    frame = open_upload(visitor, body)
    before = len(visitor.page.evaluate("heard"))
    choose(frame, ("notes.txt", "text/plain", b"1"), ("big.pdf", "application/pdf", bytes(1001)))
    alert = frame.get_by_role("alert")
    expect(alert).to_contain_text("notes.txt is not of a kind that is taken here")
    expect(alert).to_contain_text("big.pdf is too large")
    choose(
        frame,
        ("a.PDF", "", bytes(1000)),
        ("b.png", "image/png", b"1"),
        ("c.png", "image/png", b"1"),
    )
    expect(alert).to_have_text("No more files are taken: at most 2")
    tokens_of(visitor, 2)
    heard = [json.loads(one)["type"] for one in visitor.page.evaluate("heard")[before:] if one.startswith("{")]
    assert [one for one in heard if one != "session-needed"] == ["state", "keeping", "tokens"]


@pytest.mark.long
def test_one_file_takes_the_place_of_another(visitor: Visitor) -> None:
    frame = open_upload(visitor, "<secure-upload></secure-upload>")
    choose(frame, ("one.txt", "text/plain", b"1"))
    first = tokens_of(visitor, 1)
    choose(frame, ("two.txt", "text/plain", b"2"))
    visitor.page.wait_for_function("(first) => document.querySelector('secure-upload').token !== first", arg=first[0])
    expect(frame.locator("li")).to_have_count(1)
    expect(frame.locator("li")).to_contain_text("two.txt")
    assert opened(visitor, tokens_of(visitor, 1)[0]) == b"2"


def test_a_list_begins_with_tokens_and_goes_back_to_them(visitor: Visitor) -> None:
    tokens = [kept(visitor, name, b"x") for name in ("one.txt", "two.txt")]
    frame = open_upload(visitor, FORM.replace("multiple", f"multiple tokens='{' '.join(tokens)}'"))
    expect(frame.locator("li").nth(1)).to_contain_text("two.txt")
    assert tokens_of(visitor, 2) == tokens
    frame.get_by_role("button", name="Remove one.txt").click()
    assert tokens_of(visitor, 1) == tokens[1:]
    choose(frame, ("three.txt", "text/plain", b"3"))
    assert tokens_of(visitor, 2)[0] == tokens[1]
    visitor.page.evaluate("document.querySelector('form').reset()")
    assert tokens_of(visitor, 2) == tokens
    expect(frame.locator("li").nth(0)).to_contain_text("one.txt")
    visitor.page.evaluate("(token) => { document.querySelector('secure-upload').tokens = [token] }", tokens[0])
    expect(frame.locator("li")).to_have_count(1)
    visitor.page.get_by_role("button", name="Send").click()
    visitor.page.wait_for_function("window.sent")
    assert visitor.page.evaluate("sent") == [["papers", tokens[0]]]
    assert visitor.errors() == []


@pytest.mark.parametrize("attribute", ["disabled", "readonly"])
def test_what_cannot_be_changed_takes_no_files(visitor: Visitor, attribute: str) -> None:
    token = kept(visitor, "one.txt", b"x")
    frame = open_upload(visitor, f"<secure-upload multiple {attribute} token='{token}'></secure-upload>")
    expect(frame.locator("li")).to_contain_text("one.txt")
    expect(frame.locator("li button:visible")).to_have_count(0)
    expect(frame.locator(".choose:enabled:visible")).to_have_count(0)
    choose(frame, ("two.txt", "text/plain", b"2"))
    expect(frame.locator("li")).to_have_count(1)


def test_what_failed_is_said_and_sent_again_with_a_new_ticket(visitor: Visitor, world: World) -> None:
    frame = open_upload(visitor)
    minted: list[str] = []
    visitor.page.on("request", lambda request: minted.append(request.url) if "/tokenize" in request.url else None)
    visitor.page.route("**/objects/**", lambda route: route.abort(), times=1)
    choose(frame, ("one.txt", "text/plain", b"1"))
    row = frame.locator("li")
    expect(row).to_have_attribute("data-state", "failed")
    expect(row).to_contain_text("Not available right now.")
    assert visitor.errors(1) == ["storeUnavailable"]
    assert tokens_of(visitor, 0) == []
    row.get_by_role("button", name="Try again: one.txt").click()
    (token,) = tokens_of(visitor, 1)
    assert len(minted) == 2
    assert opened(visitor, token) == b"1"


def test_a_submit_tries_again_what_failed_and_stays_if_it_fails(visitor: Visitor) -> None:
    frame = open_upload(visitor)
    visitor.page.route("**/objects/**", lambda route: route.abort(), times=2)
    choose(frame, ("one.txt", "text/plain", b"1"))
    expect(frame.locator("li")).to_have_attribute("data-state", "failed")
    name = visitor.page.evaluate("document.querySelector('secure-upload').settle().catch((error) => error.name)")
    assert name == "storeUnavailable"
    visitor.page.get_by_role("button", name="Send").click()
    visitor.page.wait_for_function("window.sent")
    assert visitor.page.evaluate("sent[0][1]") == tokens_of(visitor, 1)[0]


def never(_: Route) -> None:
    """Do not answer."""


def test_an_upload_is_cancelled(visitor: Visitor) -> None:
    frame = open_upload(visitor)
    visitor.page.route("**/objects/**", never)
    choose(frame, ("one.txt", "text/plain", b"1"), ("two.txt", "text/plain", b"2"))
    expect(frame.get_by_role("progressbar").nth(1)).to_be_visible()
    assert visitor.page.evaluate("document.querySelector('secure-upload').matches(':state(busy)')")
    frame.get_by_role("button", name="Cancel one.txt").click()
    frame.get_by_role("button", name="Cancel two.txt").click()
    expect(frame.locator("li")).to_have_count(0)
    visitor.page.wait_for_function("!document.querySelector('secure-upload').matches(':state(busy)')")
    assert tokens_of(visitor, 0) == []
    assert visitor.errors() == []


def test_a_file_that_changed_on_disk_is_not_sent(visitor: Visitor, tmp_path: Path) -> None:
    frame = open_upload(visitor)
    path = tmp_path / "changing.txt"
    path.write_bytes(b"before")
    with visitor.context.expect_event("request", lambda request: "/tokenize" in request.url):
        visitor.page.route("**/tokenize", lambda route: (path.write_bytes(b"after, and longer"), route.continue_()))
        frame.locator("input[type=file]").set_input_files(str(path))
    expect(frame.locator("li")).to_contain_text("The file changed or cannot be read.")
    assert visitor.errors(1) == ["fileChanged"]


def test_a_download_saves_the_file_under_its_name(visitor: Visitor) -> None:
    content = os.urandom(1_500_000)
    frame = open_download(visitor, kept(visitor, "Übersicht 2026.pdf", content))
    button = frame.get_by_role("button", name="Download Übersicht 2026.pdf")
    expect(button).to_be_enabled()
    visitor.page.keyboard.press("Tab")
    expect(button).to_be_focused()
    with visitor.page.expect_download() as saved:
        visitor.page.keyboard.press("Enter")
    assert saved.value.suggested_filename == "Übersicht 2026.pdf"
    assert Path(saved.value.path()).read_bytes() == content
    expect(frame.get_by_role("status")).to_have_text("Saved")
    expect(button).to_be_focused()
    assert save(visitor, frame)[1] == content
    assert {one["type"] for one in messages(visitor)} <= {"connected", "ready", "session-needed", "focused", "blurred"}
    assert visitor.console == []


def test_a_text_that_was_typed_can_be_saved_too(visitor: Visitor) -> None:
    assert save(visitor, open_download(visitor, visitor.keep("typed"))) == ("file", b"typed")


HOSTILE_NAMES = [
    ("../../.ssh/authorized_keys", "_.._.ssh_authorized_keys"),
    ("C:\\Windows\\system.ini", "C__Windows_system.ini"),
    ("annual\u202efdp.exe", "annualfdp.exe"),
    ("\u2066photo\u2069.png", "photo.png"),
    ("statement.pdf" + " " * 100 + ".exe", "statement.pdf.exe"),
    ("line\nbreak\t.txt", "line break.txt"),
    (".bashrc", "bashrc"),
    ("CON.txt", "_CON.txt"),
    ("trailing. . .", "trailing"),
    ("\u200b\ufeff", "file"),
    ("..", "file"),
    ('a<b>"c|d?*.txt', "a_b__c_d__.txt"),
    ("half\ud83d.txt", "half\ufffd.txt"),
    ("x" * 500 + ".tar", "x" * 196 + ".tar"),
    ("語" * 100 + ".png", "語" * 65 + ".png"),
]


def test_hostile_names_are_made_harmless(visitor: Visitor, world: World) -> None:
    told = in_frame(
        visitor,
        "file-names.js",
        "(module, names) => names.map((name) => [module.safeName(name), module.isProgram(module.safeName(name))])",
        [name for name, _ in HOSTILE_NAMES],
    )
    assert [name for name, _ in told] == [safe for _, safe in HOSTILE_NAMES]
    assert [safe for safe, program in told if program] == ["annualfdp.exe", "statement.pdf.exe"]


def test_a_hostile_name_is_shown_and_saved_harmlessly(visitor: Visitor) -> None:
    token = kept(visitor, "../<img src=x onerror=alert(1)>\u202egpj" + "long " * 60 + ".exe", b"MZ")
    frame = open_download(visitor, token)
    expect(frame.locator(".extension")).to_have_text(".exe")
    expect(frame.locator(".program")).to_have_text("program")
    expect(frame.locator("img")).to_have_count(0)
    name, content = save(visitor, frame)
    assert name.endswith(".exe")
    assert "\u202e" not in name
    assert "/" not in name
    assert content == b"MZ"
    frame = open_upload(visitor, f"<secure-upload token='{token}'></secure-upload>")
    expect(frame.locator("li .extension")).to_have_text(".exe")
    box = frame.locator("li .extension").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] < 1280


@pytest.mark.long
def test_a_missing_grant_is_said_and_passes(visitor: Visitor, world: World) -> None:
    token = world.application.keep("somebody else", PNG, filename="x.png")
    visitor.context.add_init_script(NOTE_ONCE)
    body = "".join(f"<secure-{one} token='{token}'></secure-{one}>" for one in ("upload", "download", "image"))
    visitor.go(add_page(world, body))
    upload, download, image = (frame_of(visitor, one) for one in ("upload", "download", "viewer"))
    expect(upload.locator("li")).to_contain_text("You have no access to this.")
    expect(download.locator(".notice")).to_contain_text("You have no access to this.")
    expect(image.locator(".notice")).to_contain_text("You have no access to this.")
    assert visitor.errors(3) == ["grantMissing"] * 3
    grant(visitor, token)
    upload.get_by_role("button", name="Try again").click()
    expect(upload.locator("li")).to_contain_text("x.png")
    download.get_by_role("button", name="Try again").click()
    expect(download.locator(".download")).to_contain_text("x.png")
    image.get_by_role("button", name="Try again").click()
    expect(image.locator("img")).to_be_visible()


def test_an_ended_session_is_said_and_files_stay_in_the_list(visitor: Visitor, world: World) -> None:
    frame = open_upload(visitor)
    choose(frame, ("one.txt", "text/plain", b"1"))
    tokens_of(visitor, 1)
    world.application.call("/session/end", sessionId=visitor.user)
    choose(frame, ("two.txt", "text/plain", b"2"))
    expect(frame.locator("li").nth(1)).to_contain_text("You are signed out.")
    assert visitor.errors(1) == ["sessionMissing"]
    expect(frame.locator("li")).to_have_count(2)


def test_a_tab_that_comes_back_after_a_log_out_shows_no_file_any_more(visitor: Visitor, world: World) -> None:
    token = kept(visitor, "x.png", PNG)
    frame = open_view(visitor, token, "secure-image")
    expect(frame.locator("img")).to_be_visible()
    world.application.call("/session/end", sessionId=visitor.user)
    visitor.come_back()
    expect(frame.locator(".notice")).to_be_visible()
    expect(frame.locator("img")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.long
def test_axe_finds_nothing_in_any_state(visit: Callable[..., Visitor], world: World, scheme: str) -> None:
    visitor = visit(color_scheme=scheme)
    picture, text = kept(visitor, "x.png", PNG), kept(visitor, "notes.txt", b"notes")
    foreign = world.application.keep("somebody else", PNG, filename="x.png")
    body = (
        "<style>:root { color-scheme: light dark; background: Canvas; color: CanvasText }</style>"
        "<main><h1>Files</h1><label for='a'>A</label>"
        f"<secure-upload id='a' multiple max-size='10' tokens='{picture} {foreign}'></secure-upload>"
        f"<secure-download token='{text}'></secure-download><secure-download token='{foreign}'></secure-download>"
        f"<secure-image token='{picture}' aria-label='X'></secure-image>"
        f"<secure-viewer token='{text}' aria-label='Notes'></secure-viewer>"
        f"<secure-viewer token='{foreign}' aria-label='Nothing'></secure-viewer></main>"
    )
    frame = open_upload(visitor, body)
    visitor.page.route(
        "**/objects/**", lambda route: route.abort() if route.request.method == "PUT" else route.continue_()
    )
    choose(frame, ("failed.txt", "text/plain", b"1"), ("large.txt", "text/plain", b"1" * 11))
    expect(frame.locator("li[data-state=failed]")).to_be_visible()
    expect(frame_of(visitor, "viewer").locator("img")).to_be_visible()
    expect(frame_of(visitor, "viewer", 1).locator("pre")).to_be_visible()
    expect(frame_of(visitor, "viewer", 2).locator(".notice")).to_be_visible()
    found = Axe().run(visitor.page)
    assert found.violations_count == 0, found.generate_report()


def in_frame(visitor: Visitor, module: str, script: str, *arguments: Any) -> Any:
    """What a function makes of one of the frame's modules, in a document of the tokenizer."""
    visitor.page.goto(f"{visitor.world.tokenizer_url}/frame/hub")
    source = visitor.page.locator("script").get_attribute("src")
    assert source is not None
    return visitor.page.evaluate(
        f"async ([module, ...rest]) => ({script})(await import(module), ...rest)",
        [source.replace("hub.js", module), *arguments],
    )
