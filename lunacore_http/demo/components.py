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
    """

    name: str
    summary: str
    fields: tuple[str, ...]
    shows_only: bool = False


COMPONENTS: Final = (
    Component("secure-input", "A text field whose value never reaches the page", fields=("ssn",)),
    Component("secure-span", "A value within a line of text", fields=("ssn",), shows_only=True),
    Component("secure-paragraph", "A longer text", fields=("note",)),
)
