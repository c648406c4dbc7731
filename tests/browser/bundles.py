"""Pages built as applications build them: esbuild joins modules, LunaCore's npm packages and those of the frameworks into one script."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).parents[2]
NODE_MODULES: Final = ROOT / ".tools" / "javascript" / "node_modules"
PACKAGES: Final = ROOT / "lunacore_http" / "javascript"
SOURCES: Final = Path(__file__).parent / "javascript"
REACTS: Final = (18, 19)


def require_node() -> str:
    """Node.js, with the packages that ``make tools`` installs."""
    node = shutil.which("node")
    if node is None or not NODE_MODULES.exists():
        pytest.skip("pages of frameworks need Node.js, and the packages that `make tools` installs")
    return node


def bundled(entry: Path, *, react: int = 19, platform: str = "browser", production: bool = True) -> str:
    """One script out of a module and all that it imports.

    Args:
        entry: the module.
        react: which React it gets.
        platform: ``browser`` for a module, ``node`` for CommonJS.
        production: without the frameworks' warnings, which they write to the console.
    """
    node = require_node()
    aliases = {name: str(PACKAGES / name.rpartition("/")[2]) for name in ("@lunacore/elements", "@lunacore/react")}
    if react != 19:
        aliases |= {"react": f"react-{react}", "react-dom": f"react-dom-{react}"}
    options = [
        "--bundle",
        "--jsx=automatic",
        "--loader:.js=jsx",
        "--log-level=warning",
        f"--platform={platform}",
        "--format=cjs" if platform == "node" else "--format=esm",
        f'--define:process.env.NODE_ENV="{"production" if production else "development"}"',
        *(f"--alias:{name}={path}" for name, path in aliases.items()),
        *([] if production else ["--jsx-dev"]),
    ]
    esbuild = NODE_MODULES / "esbuild" / "bin" / "esbuild"
    return _said([node, esbuild, entry, *options], NODE_MODULES.parent, NODE_PATH=str(NODE_MODULES))


def built_by_vite(folder: Path, entry: str) -> str:
    """One script out of a module of the folder, as the ``vite.config.js`` there says."""
    node = require_node()
    (folder / "node_modules").symlink_to(NODE_MODULES)
    script = f"""
import {{ build }} from "vite";
const rollupOptions = {{ input: {json.dumps(entry)}, output: {{ entryFileNames: "built.js" }} }};
await build({{ root: process.cwd(), logLevel: "warn", build: {{ outDir: "built", rollupOptions }} }});
"""
    (folder / "build.mjs").write_text(script, encoding="utf-8")
    _said([node, folder / "build.mjs"], folder)
    return (folder / "built" / "built.js").read_text(encoding="utf-8")


def run_node(script: str, *arguments: str) -> str:
    """What a script writes to its standard output; it must write nothing to its standard error."""
    return _said([require_node(), "-", *arguments], given=script)


def _said(command: Sequence[str | Path], folder: Path | None = None, given: str = "", **environ: str) -> str:
    """What a program writes to its standard output; it must write nothing to its standard error."""
    ran = subprocess.run(
        command,
        input=given,
        env={**os.environ, **environ},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr, ran.stderr
    return ran.stdout
