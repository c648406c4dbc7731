"""Sphinx: the documentation of LunaCore. `make docs` builds it with every warning as an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

from lunacore.version import __version__  # noqa: E402 - the path must be set first

project = "LunaCore"
author = "The LunaCore authors"
copyright = f"{author}; Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.doctest"]

# Sections that hold no page yet, only their own index, are left out.
SECTIONS = ("tutorial", "how-to", "reference", "explanation", "spec", "decisions", "security")
empty_sections = [name for name in SECTIONS if len(list((DOCS / name).glob("*.md"))) < 2]
exclude_patterns = ["_build", *empty_sections]

html_theme = "furo"
html_title = f"LunaCore {release}"

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# The build needs no network, so references to other projects have no target; those to LunaCore's public names must have one.
# Private names and type variables, which signatures show, have no entry.
nitpick_ignore_regex = [("py:.*", r"(?!lunacore).*"), ("py:.*", r".*\._.*"), ("py:.*", r".*\.[A-Z]")]

API_PAGE = "reference/api"
API_PLACEHOLDER = "<!-- modules -->"


def module_section(path: Path) -> str:
    """The section of the module in the file ``path``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if package else parts)
    # A package's names are documented where they are defined.
    options = "   :no-members:\n" if package else ""
    return f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n{options}```\n"


def all_modules() -> str:
    """Sections for every public module of the core, each package before its modules."""
    paths = sorted(
        (ROOT / "lunacore").rglob("*.py"), key=lambda path: (path.parent, path.stem != "__init__", path.stem)
    )
    public = [path for path in paths if path.stem == "__init__" or not path.stem.startswith("_")]
    return "\n".join(module_section(path) for path in public)


def fill_in(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the modules into the page of the API, and take sections that are left out from the table of contents."""
    if docname == API_PAGE:
        source[0] = source[0].replace(API_PLACEHOLDER, all_modules())
    if docname == "index":
        absent = {f"{section}/index" for section in empty_sections}
        if not (DOCS / "journey.md").exists():
            absent.add("journey")
        source[0] = "\n".join(line for line in source[0].splitlines() if line not in absent)


def read_again(_app: Sphinx, _env: BuildEnvironment, docnames: list[str]) -> None:
    """Read in every build the pages that depend on more than their own file."""
    docnames.extend({API_PAGE, "index"} - set(docnames))


def setup(app: Sphinx) -> None:
    """Sphinx calls this when it starts."""
    app.connect("source-read", fill_in)
    app.connect("env-before-read-docs", read_again)
