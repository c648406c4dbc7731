"""Somebody at the demo's pages, with a browser, and what the demo's application keeps of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from tests.demo.running import PASSWORD

if TYPE_CHECKING:
    from playwright.sync_api import Frame, Locator, Page

    from tests.demo.running import RunningDemo


class Person:
    """Somebody at the demo's pages."""

    def __init__(self, demo: RunningDemo, page: Page) -> None:
        self.demo = demo
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._note_foreign)

    def _note_foreign(self, request: object) -> None:
        url = request.url  # type: ignore[attr-defined]  # Playwright's, which asks for handlers of any request
        if not url.startswith((self.demo.url + "/", self.demo.tokenizer_url + "/")):
            self.errors.append(f"asked {url}")

    def sign_up(self, name: str) -> None:
        self._enter("/sign-up", "Sign up", name)

    def log_in(self, name: str) -> None:
        self._enter("/log-in", "Log in", name)

    def _enter(self, path: str, button: str, name: str) -> None:
        self.page.goto(path)
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("main").get_by_role("button", name=button).click()
        self.page.wait_for_url("**/components/secure-input")

    def save(self, value: str) -> None:
        """Type a number into the field of the page that is open, and save it."""
        before = self.frame
        before.locator("input").fill(value)
        with self.page.expect_navigation():
            self.page.get_by_role("button", name="Save").click()

    @property
    def frame(self) -> Frame:
        """The frame of the page's first component."""
        start = f"{self.demo.tokenizer_url}/frame/element"
        while True:
            found = [frame for frame in self.page.frames if frame.url.startswith(start)]
            if found:
                return min(found, key=lambda frame: int(frame.url.rpartition(".e")[2]))
            self.page.wait_for_event("framenavigated", lambda frame: frame.url.startswith(start))

    def frame_of(self, document: str) -> Frame:
        """The first frame with that document of the tokenizer's."""
        start = f"{self.demo.tokenizer_url}/frame/{document}#"
        while True:
            found = [frame for frame in self.page.frames if frame.url.startswith(start)]
            if found:
                return found[0]
            self.page.wait_for_event("framenavigated", lambda frame: frame.url.startswith(start))

    @property
    def field(self) -> Locator:
        return self.frame.locator("input")

    @property
    def row(self) -> Locator:
        return self.page.locator("#row")


def stored(demo: RunningDemo, name: str) -> dict[str, str]:
    """What the application's database holds of a user."""
    with closing(sqlite3.connect(demo.kept / "application.sqlite")) as database:
        rows = database.execute(
            "SELECT field, value FROM profile JOIN users ON users.id = user WHERE name = ?", (name,)
        )
        return dict(rows.fetchall())
