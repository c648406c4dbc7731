"""Transfers that are cut off, a store that is down, and files larger than memory should hold."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import frozen
from playwright.sync_api import expect

from tests.browser.conftest import World, opened_world
from tests.browser.interrupting_proxy import InterruptingProxy
from tests.browser.object_gateway import ObjectGateway
from tests.browser.test_components import add_page
from tests.browser.test_files import (
    choose,
    frame_of,
    grant,
    kept,
    messages,
    open_download,
    open_upload,
    open_view,
    opened,
    save,
    tokens_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

    from tests.browser.conftest import Visitor

LARGE_BYTES = 200 << 20
# What the process of the frames may grow by; less than the file, so that nobody holds it, or its sealed form, whole.
GROWTH_BYTES = 180 << 20


@frozen
class Cut:
    """Objects on a host of their own, behind a proxy that cuts connections."""

    world: World
    gateway: ObjectGateway
    proxy: InterruptingProxy


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cut]:
    directory = tmp_path_factory.mktemp("cut")
    gateway = ObjectGateway(directory, "files.demo.localhost")
    with InterruptingProxy(gateway.port) as proxy:
        gateway.stand_behind(proxy.port)
        with opened_world(directory, **gateway.settings) as world:
            gateway.export(world.tokenizer_url)
            with gateway:
                yield Cut(world, gateway, proxy)


@pytest.fixture
def visitor(cut: Cut, visit: Callable[..., Visitor]) -> Visitor:
    cut.proxy.forget()
    return visit(at=cut.world)


@pytest.mark.long
def test_a_download_that_is_cut_off_goes_on_where_it_stopped(visitor: Visitor, cut: Cut) -> None:
    content = os.urandom(8_000_000)
    frame = open_download(visitor, kept(visitor, "x.bin", content))
    expect(frame.locator(".download")).to_be_enabled()
    cut.proxy.heads.clear()
    cut.proxy.cut_down[:] = [3_000_000, 3_000_000]
    assert save(visitor, frame)[1] == content
    assert len(cut.proxy.heads) == 3
    starts = [int(one.removeprefix("bytes=").removesuffix("-") or 0) for one in cut.proxy.ranges]
    assert starts == sorted(starts)
    assert 0 == starts[0] < starts[2] < 6_000_000
    assert visitor.errors() == []


@pytest.mark.long
def test_a_download_that_is_cut_off_for_good_says_so_and_goes_on_when_asked(visitor: Visitor, cut: Cut) -> None:
    content = os.urandom(12_000_000)
    frame = open_download(visitor, kept(visitor, "x.bin", content))
    expect(frame.locator(".download")).to_be_enabled()
    # No need to wait for as long as a person would.
    frame.evaluate(
        "() => { const real = setTimeout; self.setTimeout = (act, time) => real(act, time > 10_000 ? time : Math.min(time, 20)) }"
    )
    cut.proxy.cut_down[:] = [8_000_000, *[100] * 4]
    frame.locator(".download").click()
    expect(frame.locator(".notice")).to_contain_text("Not available right now.")
    # What fails once bytes have come depends on how many there are.
    assert visitor.errors() == []
    cut.proxy.heads.clear()
    cut.proxy.cut_down.clear()
    assert save(visitor, frame, ".notice button")[1] == content
    assert all(cut.proxy.ranges)


@pytest.mark.long
def test_a_download_is_cancelled_and_taken_up_again(visitor: Visitor, cut: Cut) -> None:
    content = os.urandom(2_000_000)
    frame = open_download(visitor, kept(visitor, "x.bin", content))
    visitor.page.route("**/objects/**", lambda _: None)
    frame.locator(".download").click()
    cancel = frame.get_by_role("button", name="Cancel x.bin")
    expect(cancel).to_be_focused()
    expect(frame.get_by_role("progressbar")).to_be_visible()
    cancel.press("Enter")
    expect(frame.locator(".download")).to_be_focused()
    visitor.page.unroute_all(behavior="ignoreErrors")
    assert save(visitor, frame)[1] == content
    assert visitor.errors() == []


def test_a_value_that_was_changed_in_the_store_is_not_saved(visitor: Visitor, cut: Cut) -> None:
    token = kept(visitor, "x.bin", os.urandom(300_000))
    frame = open_download(visitor, token)
    expect(frame.locator(".download")).to_be_enabled()
    frame.evaluate(
        """() => {
          const real = window.fetch;
          window.fetch = async (...asked) => {
            const answer = await real(...asked);
            const bytes = new Uint8Array(await answer.arrayBuffer());
            bytes[200_000] ^= 1;
            return new Response(bytes, { headers: { "content-length": String(bytes.length) } });
          };
        }"""
    )
    saved: list[str] = []
    visitor.page.on("download", lambda one: saved.append(one.url))
    frame.locator(".download").click()
    expect(frame.locator(".notice")).to_contain_text("The file is damaged.")
    assert saved == []
    assert visitor.errors() == []


@pytest.mark.long
def test_an_upload_that_is_cut_off_is_sent_again_whole(visitor: Visitor, cut: Cut) -> None:
    content = os.urandom(3_000_000)
    frame = open_upload(visitor)
    cut.proxy.cut_up[:] = [1_000_000, 1_000_000]
    choose(frame, ("x.bin", "", content))
    expect(frame.locator("li")).to_have_attribute("data-state", "failed")
    assert visitor.errors(1) == ["storeUnavailable"]
    cut.proxy.cut_up.clear()
    frame.get_by_role("button", name="Try again: x.bin").click()
    assert opened(visitor, tokens_of(visitor, 1)[0]) == content


@pytest.mark.long
def test_a_store_that_is_down_is_said_and_all_goes_on_when_it_is_back(visitor: Visitor, cut: Cut) -> None:
    token = kept(visitor, "x.txt", b"text")
    visitor.go(add_page(cut.world, f"<secure-viewer token='{token}'></secure-viewer><secure-upload></secure-upload>"))
    viewer, upload = frame_of(visitor, "viewer"), frame_of(visitor, "upload")
    expect(viewer.locator("pre")).to_have_text("text")
    cut.gateway.stop()
    try:
        cut.proxy.cut()
        visitor.page.evaluate("document.querySelector('secure-viewer').token += ''")
        expect(viewer.locator(".notice")).to_contain_text("Not available right now.")
        choose(upload, ("y.txt", "", b"y"))
        expect(upload.locator("li")).to_contain_text("Not available right now.")
    finally:
        cut.gateway.start()
    viewer.get_by_role("button", name="Try again").click()
    expect(viewer.locator("pre")).to_have_text("text")
    upload.get_by_role("button", name="Try again").click()
    assert opened(visitor, tokens_of(visitor, 1)[0]) == b"y"


@pytest.mark.long
def test_a_grant_that_ends_meanwhile_ends_the_download_and_a_new_one_takes_it_up(visitor: Visitor, cut: Cut) -> None:
    content = os.urandom(2_000_000)
    token = kept(visitor, "x.bin", content)
    frame = open_download(visitor, token)
    expect(frame.locator(".download")).to_be_enabled()
    cut.proxy.cut_down[:] = [1_000_000]
    cut.world.application.call("/grant/revoke", sessionId=visitor.user, tokenId=token)
    frame.locator(".download").click()
    expect(frame.locator(".notice")).to_contain_text("You have no access to this.")
    grant(visitor, token)
    assert save(visitor, frame, ".notice button")[1] == content


def renderers(browser: Browser) -> list[int]:
    """The processes that draw pages and frames."""
    session = browser.new_browser_cdp_session()
    told = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return [one["id"] for one in told if one["type"] == "renderer"]


def resident(process: int, line: str) -> int:
    """Bytes of memory that a process holds (``VmRSS``), or has held at most (``VmHWM``): proc(5)."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(next(one for one in status.splitlines() if one.startswith(line)).split()[1]) * 1024


@frozen
class Memory:
    """How much memory the renderers hold now, and how much they come to hold."""

    before: dict[int, int]

    @classmethod
    def watched(cls, browser: Browser) -> Memory:
        processes = renderers(browser)
        for process in processes:
            Path(f"/proc/{process}/clear_refs").write_text("5", encoding="ascii")
        return cls({process: resident(process, "VmRSS") for process in processes})

    @property
    def growth(self) -> int:
        """Bytes by which the one that grew most has grown at most."""
        return max(resident(process, "VmHWM") - before for process, before in self.before.items())


@pytest.mark.long
def test_a_large_file_goes_up_and_down_in_bounded_memory_also_if_it_is_cut_off(
    visitor: Visitor, cut: Cut, chromium: Browser, tmp_path: Path
) -> None:
    path, digest = tmp_path / "large.bin", hashlib.sha256()
    with path.open("wb") as written:
        for _ in range(LARGE_BYTES >> 20):
            piece = os.urandom(1 << 20)
            digest.update(piece)
            written.write(piece)

    frame = open_upload(visitor)
    memory = Memory.watched(chromium)
    cut.proxy.cut_up[:] = [LARGE_BYTES // 2] * 2  # a browser tries once more by itself
    frame.locator("input[type=file]").set_input_files(str(path))
    expect(frame.locator("li")).to_have_attribute("data-state", "failed", timeout=120_000)
    cut.proxy.cut_up.clear()
    frame.get_by_role("button", name="Try again").click()
    visitor.page.wait_for_function("document.querySelector('secure-upload').token", timeout=120_000)
    assert memory.growth < GROWTH_BYTES
    token = tokens_of(visitor, 1)[0]

    grant(visitor, token)
    frame = open_download(visitor, token)
    expect(frame.locator(".download")).to_be_enabled()
    memory = Memory.watched(chromium)
    cut.proxy.heads.clear()
    cut.proxy.cut_down[:] = [LARGE_BYTES // 2]
    with visitor.page.expect_download(timeout=120_000) as saved:
        frame.locator(".download").click()
    with Path(saved.value.path()).open("rb") as read:
        assert hashlib.file_digest(read, "sha256").digest() == digest.digest()
    assert memory.growth < GROWTH_BYTES
    assert [one != "" for one in cut.proxy.ranges] == [False, True]


def heard_since(visitor: Visitor) -> list[str]:
    """What the page's ports have heard, without what is another one every time."""
    told = [one for one in messages(visitor) if one["type"] not in ("connected", "session-needed")]
    return [re.sub(r"lunasec-[0-9a-f-]{36}", "a token", json.dumps(one, sort_keys=True)) for one in told]


def test_what_the_page_hears_does_not_depend_on_the_file(visitor: Visitor, cut: Cut) -> None:
    files = {
        "a": b"",
        "a very long name of a file.pdf": os.urandom(1_000_000),
        "x.png": b"\x89PNG\r\n\x1a\n" + bytes(70_000),
    }
    told = []
    for name, content in files.items():
        token = kept(visitor, name, content, "image/png")
        frame = open_upload(visitor, "<secure-upload multiple></secure-upload>")
        choose(frame, (name, "image/png", content))
        tokens_of(visitor, 1)
        uploaded = heard_since(visitor)
        frame = open_view(visitor, token)
        expect(frame.locator(".view[aria-busy=false]:has(*), .notice:visible").first).to_be_attached()
        box = visitor.page.evaluate("document.querySelector('secure-viewer').getBoundingClientRect().toJSON()")
        told.append((uploaded, heard_since(visitor), box, visitor.page.evaluate("document.body.outerHTML.length")))
    assert told[0] == told[1] == told[2]
    assert [json.loads(one)["type"] for one in told[0][0]] == ["ready", "state", "state", "keeping", "tokens"]
    assert [json.loads(one)["type"] for one in told[0][1]] == ["ready"]
