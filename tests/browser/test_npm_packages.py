"""The npm packages as npm packs them: nothing missing, one version, types and modules that agree."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from lunacore.version import __version__
from tests.browser.bundles import NODE_MODULES, PACKAGES, ROOT, require_node

if TYPE_CHECKING:
    from pathlib import Path

_RENDER = """
import { renderToString } from "react-dom/server";
import { createElement } from "react";
import * as components from "@lunacore/react";
import { load } from "@lunacore/elements";
await load("https://secure.example.com");
const { LunaCoreProvider, SecureSpan } = components;
const page = createElement(LunaCoreProvider, { tokenizerUrl: "https://secure.example.com" }, createElement(SecureSpan, { token: "lunasec-1" }));
console.log(JSON.stringify({ page: renderToString(page), names: Object.keys(components).sort() }));
"""


def manifest(package: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((PACKAGES / package / "package.json").read_text(encoding="utf-8"))
    return read


def test_they_are_of_this_release() -> None:
    elements, react = manifest("elements"), manifest("react")
    assert elements["version"] == react["version"] == __version__
    assert react["peerDependencies"] == {"@lunacore/elements": __version__, "react": ">=18"}
    guide = (ROOT / "docs" / "how-to" / "react.md").read_text(encoding="utf-8")
    assert f"lunacore-elements-{__version__}.tgz ./vendor/lunacore-react-{__version__}.tgz" in guide


def test_types_and_modules_have_the_same_names() -> None:
    for package in ("elements", "react"):
        typed = (PACKAGES / package / "index.d.ts").read_text(encoding="utf-8")
        module = (PACKAGES / package / "index.js").read_text(encoding="utf-8")
        assert exported(typed, r"export declare (?:const|function|class) (\w+)") == exported(
            module, r"export (?:const|(?:async )?function|class) (\w+)"
        )


def exported(text: str, declaration: str) -> set[str]:
    passed_on = re.findall(r"^export \{([^}]*)\} from", text, re.MULTILINE)
    names = [one.split(" as ")[-1].strip() for group in passed_on for one in group.split(",")]
    # What the module takes from its own files, the types declare.
    return {*re.findall(declaration, text), *names}


def test_every_element_has_a_type() -> None:
    typed = (PACKAGES / "elements" / "index.d.ts").read_text(encoding="utf-8")
    scripts = "".join(path.read_text("utf-8") for path in (ROOT / "lunacore_http" / "frame" / "sdk").glob("*.js"))
    defined = set(re.findall(r'"(secure-[a-z]+)": Secure', scripts))
    assert len(defined) >= 11
    for element in defined:
        assert len(re.findall(f'^ +"{element}": Secure', typed, re.MULTILINE)) == 2, element


@pytest.mark.long
def test_what_npm_packs_runs_on_a_server(tmp_path: Path) -> None:
    node = require_node()
    npm = shutil.which("npm")
    assert npm
    packages = [str(PACKAGES / name) for name in ("elements", "react")]
    subprocess.run(
        [npm, "pack", "--silent", "--offline", "--pack-destination", tmp_path, *packages], check=True, timeout=120
    )
    modules = tmp_path / "node_modules"
    for name in ("elements", "react"):
        with tarfile.open(tmp_path / f"lunacore-{name}-{__version__}.tgz") as packed:
            packed.extractall(modules / "@lunacore" / name, filter="data")
        (modules / "@lunacore" / name / "package").rename(modules / "@lunacore" / f"{name}.new")
        (modules / "@lunacore" / name).rmdir()
        (modules / "@lunacore" / f"{name}.new").rename(modules / "@lunacore" / name)
        kept = {path.name for path in (PACKAGES / name).iterdir()}
        assert {path.name for path in (modules / "@lunacore" / name).iterdir()} == kept
    for name in ("react", "react-dom"):
        (modules / name).symlink_to(NODE_MODULES / name)
    script = tmp_path / "render.mjs"
    script.write_text(_RENDER, encoding="utf-8")
    ran = subprocess.run([node, script], capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(ran.stdout)
    assert told["page"] == '<secure-span role="group" token="lunasec-1"></secure-span>'
    typed = (PACKAGES / "react" / "index.d.ts").read_text(encoding="utf-8")
    assert set(told["names"]) == exported(typed, r"export declare (?:const|function|class) (\w+)")
