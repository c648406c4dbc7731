"""The components that have a page. Another one needs an entry here, and a file ``pages/component-<its name>.html``."""

from __future__ import annotations

from typing import Final

from attrs import frozen


@frozen
class Component:
    """One component and its page.

    Attributes:
        name: the element's; the page is ``/components/<name>``.
        summary: what it does, in a few words.
        fields: the tokens that its template gets, by name. They are what its form, if it has one, sends.
        shows_only: whether it has no form, so that without a token there is nothing to see.
        several: the one name under which its form sends the tokens of all its fields, in order; its template gets them by that
            name as well.
        shown_from: the component whose page saves what this one shows.
    """

    name: str
    summary: str
    fields: tuple[str, ...]
    shows_only: bool = False
    several: str = ""
    shown_from: str = "secure-input"


FILES: Final = ("file_1", "file_2", "file_3")

COMPONENTS: Final = (
    Component("secure-input", "A text field whose value never reaches the page", fields=("ssn",)),
    Component("secure-span", "A value within a line of text", fields=("ssn",), shows_only=True),
    Component("secure-paragraph", "A longer text", fields=("note",)),
    Component(
        "validators", "Values that are checked inside the frame", fields=("card", "expiry", "cvc", "iban", "email")
    ),
    Component("secure-textarea", "A field for several lines", fields=("story",)),
    Component("secure-select", "One of several, from a list", fields=("status",)),
    Component("secure-radio", "One of several, all in sight", fields=("result",)),
    Component(
        "secure-copy", "A value that goes to the clipboard without being shown", fields=("ssn",), shows_only=True
    ),
    Component("secure-upload", "Files that never pass through the page", fields=FILES, several="files"),
    Component("secure-download", "A file to save", fields=("file_1",), shows_only=True, shown_from="secure-upload"),
    Component("secure-image", "A picture that the page cannot see", fields=("photo",)),
    Component(
        "secure-viewer",
        "Pictures, texts and PDFs, inside the page",
        fields=("file_1",),
        shows_only=True,
        shown_from="secure-upload",
    ),
)
