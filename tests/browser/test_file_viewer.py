"""<secure-image> and <secure-viewer>: pictures, texts and PDFs, shown inside the frame, whatever their names say."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from typing import TYPE_CHECKING

from playwright.sync_api import Frame, expect

from tests.browser.test_components import add_page
from tests.browser.test_files import NOTE_ONCE, PNG, frame_of, kept, open_view

if TYPE_CHECKING:
    from tests.browser.conftest import Visitor

PICTURES = {
    "png": PNG,
    "gif": base64.b64decode("R0lGODdhCAAGAIEAAMgePAAAAAAAAAAAACwAAAAACAAGAAAIDgABCBxIsKDBgwgTDgwIADs="),
    "webp": base64.b64decode("UklGRi4AAABXRUJQVlA4ICIAAABwAQCdASoIAAYAB0CWJaACdAF1AAD+4cC9t/hz4s/U9sAA"),
    "avif": base64.b64decode(
        "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUIAAADrbWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAcGljdAAAAAAAAAAAAAAAAAAAAAAOcGl0"
        "bQAAAAAAAQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAETAAAAIwAAAChpaW5mAAAAAAABAAAAGmluZmUCAAAAAAEAAGF2MDFDb2xvcgAAAABqaXBy"
        "cAAAAEtpcGNvAAAAFGlzcGUAAAAAAAAACAAAAAYAAAAQcGl4aQAAAAADCAgIAAAADGF2MUOBAAwAAAAAE2NvbHJuY2x4AAEADQAGgAAAABdpcG1h"
        "AAAAAAAAAAEAAQQBAoMEAAAAK21kYXQSAAoIGAi9aICGg0IyFR7Hh4VZ3///4sAAAJA1jjxQZ5fOQA=="
    ),
}


def open_views(visitor: Visitor, element: str, *contents: bytes) -> list[Frame]:
    """The frames of a page that shows all of these."""
    # Neither a name nor a type says what a file is.
    tokens = [kept(visitor, "x.txt", content, "text/html") for content in contents]
    elements = "".join(f"<{element} token='{token}' aria-label='The paper'></{element}>" for token in tokens)
    visitor.context.add_init_script(NOTE_ONCE)
    visitor.go(add_page(visitor.world, elements))
    return [frame_of(visitor, "viewer", place) for place in range(len(tokens))]


def test_pictures_are_shown(visitor: Visitor) -> None:
    for frame in open_views(visitor, "secure-image", *PICTURES.values()):
        image = frame.get_by_role("img", name="The paper")
        expect(image).to_be_visible()
        assert image.evaluate("(image) => [image.naturalWidth, image.naturalHeight]") == [8, 6]
    sizes = visitor.page.evaluate(
        "[...document.querySelectorAll('secure-image')].map((one) => [one.offsetWidth, one.offsetHeight])"
    )
    assert sizes == [[192, 192]] * 4
    assert visitor.console == []


def test_a_jpeg_is_shown_and_another_in_its_place(visitor: Visitor) -> None:
    visitor.go("/form")
    jpeg = visitor.page.evaluate(
        "() => { const canvas = Object.assign(document.createElement('canvas'), { width: 30, height: 20 }); "
        "canvas.getContext('2d'); return canvas.toDataURL('image/jpeg').split(',')[1] }"
    )
    frame = open_view(visitor, kept(visitor, "one", base64.b64decode(jpeg)))
    expect(frame.get_by_role("img")).to_be_visible()
    other = kept(visitor, "two", PNG)
    visitor.page.evaluate("(token) => { document.querySelector('secure-viewer').token = token }", other)
    expect(frame.locator("img")).to_have_js_property("naturalWidth", 8)
    visitor.page.evaluate("document.querySelector('secure-viewer').token = ''")
    expect(frame.locator("img")).to_have_count(0)


def test_a_document_is_shown_as_the_text_that_it_is(visitor: Visitor) -> None:
    texts = [
        '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "<!doctype html><img src=x onerror=alert(1)>",
        "zwei Zeilen\nund ein € und ein \u202e",
        "\ufeffwith a mark",
    ]
    frames = open_views(visitor, "secure-viewer", *(text.encode() for text in texts))
    for frame, text in zip(frames, texts, strict=True):
        box = frame.get_by_role("group", name="The paper")
        expect(box).to_be_visible()
        assert box.evaluate("(box) => box.textContent") == text.removeprefix("\ufeff")
        expect(box.locator("*")).to_have_count(0)


def test_what_cannot_be_shown_is_said_inside_alone(visitor: Visitor) -> None:
    said = {
        b"\x00\x01\x02" * 100: "This kind of file is not shown here.",
        PNG[:40]: "The file is damaged.",
        b"%PDF-1.7\nnot really": "The file is damaged.",
        b"a" * (2 << 20) + b"a": "Too large to be shown here.",
    }
    frames = open_views(visitor, "secure-viewer", *said)
    for frame, text in zip(frames, said.values(), strict=True):
        expect(frame.locator(".notice")).to_contain_text(text)
    assert visitor.errors() == []


def test_an_image_shows_pictures_alone(visitor: Visitor) -> None:
    for frame in open_views(visitor, "secure-image", b"a text", pdf_of("First")):
        expect(frame.locator(".notice")).to_contain_text("This kind of file is not shown here.")
    assert visitor.errors() == []


def pdf_of(*texts: str) -> bytes:
    """A PDF (ISO 32000) with a page for each text."""
    kids = " ".join(f"{4 + 2 * place} 0 R" for place in range(len(texts)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R /OpenAction << /S /JavaScript /JS (app.alert\\(1\\)) >> >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(texts)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for place, text in enumerate(texts):
        drawn = f"BT /F1 24 Tf 20 100 Td ({text}) Tj ET"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Resources << /Font << /F1 3 0 R >> >> "
            f"/Contents {5 + 2 * place} 0 R >>"
        )
        objects.append(f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream")
    written, places = "%PDF-1.7\n", []
    for number, one in enumerate(objects, start=1):
        places.append(len(written))
        written += f"{number} 0 obj\n{one}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    trailer = f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(written)}\n%%EOF\n"
    return f"{written}xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode()


def drawing(visitor: Visitor) -> Frame:
    """The document that draws the PDF."""
    address = f"{visitor.world.tokenizer_url}/frame/pdf"
    while True:
        found = [frame for frame in visitor.page.frames if frame.url == address]
        if found:
            return found[0]
        visitor.page.wait_for_event("framenavigated", lambda frame: frame.url == address)


def test_a_pdf_is_drawn_page_by_page(visitor: Visitor) -> None:
    frame = open_view(visitor, kept(visitor, "x.txt", pdf_of("First", "Second", *["More"] * 8)))
    drawn = drawing(visitor)
    expect(drawn.get_by_text("First")).to_be_attached()
    assert drawn.locator("canvas").first.evaluate(
        "(canvas) => new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size > 1"
    )
    expect(drawn.locator("section")).to_have_count(10)
    # What is far away is not drawn before somebody goes there.
    expect(drawn.locator("section").nth(9).locator("canvas")).to_have_count(0)
    drawn.locator("section").nth(9).scroll_into_view_if_needed()
    expect(drawn.locator("section").nth(9).locator("canvas")).to_have_count(1)
    expect(drawn.locator("section").nth(0).locator("canvas")).to_have_count(0)
    expect(frame.locator(".notice")).to_be_hidden()
    assert visitor.errors() == []
    assert visitor.console == []


def test_the_document_that_draws_has_no_origin_and_reaches_nothing(visitor: Visitor) -> None:
    frame = open_view(visitor, kept(visitor, "x", pdf_of("First")))
    drawn = drawing(visitor)
    expect(drawn.get_by_text("First")).to_be_attached()
    told = drawn.evaluate(
        """async (tokenizer) => {
          const refused = async (act) => { try { await act(); return "done"; } catch (error) { return error.name; } };
          return [
            self.origin,
            await refused(() => parent.document),
            await refused(() => top.document),
            await refused(() => localStorage),
            await refused(() => fetch(tokenizer + "/session/verify")),
            await refused(() => { document.body.innerHTML = "<b>"; }),
          ];
        }""",
        visitor.world.tokenizer_url,
    )
    assert told == ["null", "SecurityError", "SecurityError", "SecurityError", "TypeError", "TypeError"]
    # Neither the page nor the tokenizer's other frames see a window more.
    assert frame.evaluate("[self.length, parent.length]")[0] == 0


def test_pdf_js_is_what_its_record_says() -> None:
    folder = resources.files("lunacore_http.frame") / "pdf"
    recorded = re.findall(
        r"`build/(\S+)` \| SHA-256 `([0-9a-f]{64})`", (folder / "README.md").read_text(encoding="utf-8")
    )
    assert len(recorded) == 2
    for name, digest in recorded:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
