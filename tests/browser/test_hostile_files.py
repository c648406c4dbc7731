"""Pages that attack the components of files: forged orders, rules that change, windows that should not be found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from tests.browser.test_components import add_page
from tests.browser.test_file_viewer import drawing, pdf_of
from tests.browser.test_files import PNG, choose, frame_of, kept, messages, open_upload, open_view, tokens_of

if TYPE_CHECKING:
    from tests.browser.conftest import Visitor, World

# Opens closed shadow roots, as a script can that runs before the components do.
OPEN_ROOTS = """
Element.prototype.attachShadow = ((real) => function (options) { return (this.root = real.call(this, options)); })(Element.prototype.attachShadow);
"""


def test_rules_that_come_later_ask_nothing_of_a_file(visitor: Visitor) -> None:
    frame = open_upload(visitor, "<secure-upload multiple max-size='1kB'></secure-upload>")
    later = [{"maxSize": 1}, {"accept": ".pdf"}, {"maxSize": 1, "accept": ".exe"}]
    for count, settings in enumerate(later, start=1):
        visitor.page.evaluate(
            "(settings) => document.querySelector('secure-upload').order({ type: 'set', settings })", settings
        )
        choose(frame, ("x.txt", "text/plain", b"1234"))
        tokens_of(visitor, count)
    expect(frame.locator(".objections")).to_be_empty()


def test_other_rules_take_another_frame_which_knows_no_file(visitor: Visitor) -> None:
    frame = open_upload(visitor, "<secure-upload></secure-upload>")
    visitor.page.route("**/objects/**", lambda route: route.abort())
    choose(frame, ("x.txt", "text/plain", b"1234"))
    expect(frame.locator("li")).to_have_attribute("data-state", "failed")
    visitor.page.evaluate("document.querySelector('secure-upload').setAttribute('max-size', '2')")
    visitor.page.wait_for_function("heard.filter((one) => one.startsWith('ready')).length === 2")
    expect(frame_of(visitor, "upload").locator("li")).to_have_count(0)


def test_a_page_gets_no_ticket_and_no_name_by_asking(visitor: Visitor) -> None:
    token = kept(visitor, "a secret name.png", PNG)
    frame = open_view(visitor, token, "secure-image")
    expect(frame.locator("img")).to_be_visible()
    fileinfo = {"filename": "x", "type": "", "lastModified": 0}
    orders: list[dict[str, Any]] = [
        {"type": "upload-ticket", "job": 1, "size": 1, "fileinfo": fileinfo},
        {"type": "download-ticket", "job": 1, "token": token},
        {"type": "file-info", "job": 1, "token": token},
        {"type": "tokens", "turn": 1, "tokens": [token]},
        {"type": "hold", "tokens": token, "turn": 9},
        {"type": "hold", "tokens": [token, "a b"], "turn": 9},
        {"type": "hold", "tokens": [token] * 101, "turn": 9},
        {"type": "set", "settings": {"accept": "<script>"}},
        {"type": "set", "settings": {"maxSize": -1}},
        {"type": "set", "settings": {"maxFiles": "1"}},
        {"type": "download"},
    ]
    before = len(messages(visitor))
    visitor.page.evaluate(
        """async (orders) => {
          for (const order of orders) document.querySelector("secure-image").order(order);
          // Orders are heard in turn: when another element is there, those before were heard.
          document.body.append(Object.assign(document.createElement("secure-span"), { ariaLabel: "last" }));
          while (heard.filter((one) => one.startsWith("ready")).length < 2) await new Promise((done) => setTimeout(done, 5));
        }""",
        orders,
    )
    assert [one["type"] for one in messages(visitor)[before:]] == ["ready"]
    assert sum("dropped a message" in line for line in visitor.console) == len(orders)


def test_a_page_cannot_tell_a_pdf_by_counting_windows_nor_get_at_it(visitor: Visitor, world: World) -> None:
    visitor.context.add_init_script(OPEN_ROOTS)
    frame = open_view(visitor, kept(visitor, "x", pdf_of("Secret")))
    expect(drawing(visitor).get_by_text("Secret")).to_be_attached()
    told = visitor.page.evaluate(
        """async () => {
          const inner = document.querySelector("secure-viewer").root.querySelector("iframe").contentWindow;
          const got = [inner.length];
          const channel = new MessageChannel();
          channel.port1.onmessage = (event) => got.push(event.data);
          addEventListener("message", (event) => got.push(event.data));
          inner.postMessage("pdf-ready", "*", [channel.port2]);
          inner.postMessage("pdf-ready", "*");
          await new Promise((done) => setTimeout(done, 200));
          return got;
        }"""
    )
    assert told == [0]
    assert frame.evaluate("self.length") == 0


def test_a_page_that_embeds_the_document_that_draws_gets_what_it_brings(visitor: Visitor, world: World) -> None:
    token = kept(visitor, "x", pdf_of("Secret"))
    visitor.go(add_page(world, f"<secure-viewer token='{token}'></secure-viewer>"))
    expect(drawing(visitor).get_by_text("Secret")).to_be_attached()
    told = visitor.page.evaluate(
        """async (tokenizer) => {
          const got = [];
          addEventListener("message", (event) => got.push(event.data));
          const frame = Object.assign(document.createElement("iframe"), { src: tokenizer + "/frame/pdf" });
          await new Promise((done) => { frame.onload = done; document.body.append(frame); });
          const channel = new MessageChannel();
          const answered = new Promise((done) => { channel.port1.onmessage = (event) => done(event.data); });
          frame.contentWindow.postMessage({ bytes: new TextEncoder().encode("%PDF-").buffer, label: "" }, "*", [channel.port2]);
          got.push(await answered);
          try { frame.contentWindow.document; got.push("reached"); } catch (error) { got.push(error.name); }
          return got;
        }""",
        world.tokenizer_url,
    )
    assert told == ["damaged", "SecurityError"]


def test_a_page_cannot_start_a_download(visitor: Visitor) -> None:
    token = kept(visitor, "x.txt", b"text")
    visitor.context.add_init_script(OPEN_ROOTS)
    visitor.go(add_page(visitor.world, f"<secure-download token='{token}'></secure-download>"))
    frame = frame_of(visitor, "download")
    expect(frame.locator(".download")).to_be_enabled()
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url) if "/objects/" in request.url else None)
    visitor.page.evaluate(
        """() => {
          const element = document.querySelector("secure-download");
          element.click();
          element.root.querySelector("iframe").click();
          element.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
          for (const type of ["commit", "judge", "show"]) element.order({ type, request: 1, token: element.token, turn: 5 });
        }"""
    )
    expect(frame.locator(".download")).to_be_enabled()
    frame.evaluate("new Promise((done) => setTimeout(done, 100))")
    assert asked == []
