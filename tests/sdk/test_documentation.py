"""The pages on the SDK say what the code does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

from lunacore_http.sdk import Application, AsyncApplication
from lunacore_http.sdk.settings import _FROM_ENVIRONMENT, _IN_FILES, PREFIX
from tests.sdk.pems import pem

if TYPE_CHECKING:
    from collections.abc import Iterable

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "reference" / "sdk.md").read_text(encoding="utf-8")
HOW_TO = (DOCS / "how-to" / "sdk.md").read_text(encoding="utf-8")


def test_every_setting_is_listed_with_its_variable_and_default() -> None:
    rows = {match[1]: match[0] for match in re.finditer(r"^\| `(\w+)`.*$", REFERENCE, re.MULTILINE)}
    variables = {argument: name for name, argument in _FROM_ENVIRONMENT.items()}
    parameters = inspect.signature(Application).parameters
    assert list(parameters) == list(inspect.signature(AsyncApplication).parameters)
    for name, parameter in parameters.items():
        if name in ("now", "random"):
            continue
        row = rows[name]
        if name in variables:
            assert f"`{PREFIX}{variables[name]}`" in row
            assert ("`…_FILE`" in row) == (variables[name] in _IN_FILES)
        if isinstance(parameter.default, str | int | float):
            assert f"| `{parameter.default}` |" in row
    assert set(variables) <= set(parameters)


def test_every_call_is_listed_with_its_signature() -> None:
    with Application("https://secure.example.com", issuer="https://app.example.com", signing_key=pem()) as luna:
        for holder, prefix in (
            (luna.grants, "grants."),
            (luna.sessions, "sessions."),
            (luna.values, "values."),
            (luna, ""),
        ):
            for name, _ in inspect.getmembers(type(holder), inspect.isfunction):
                if not name.startswith("_"):
                    arguments = ", ".join(_shown(inspect.signature(getattr(holder, name)).parameters.values()))
                    assert f"`{prefix}{name}({arguments})`" in REFERENCE


def _shown(parameters: Iterable[inspect.Parameter]) -> list[str]:
    shown: list[str] = []
    for one in parameters:
        if one.kind is one.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        shown.append(one.name if one.default is one.empty else f"{one.name}={one.default}")
    return shown


def test_the_examples_are_python() -> None:
    blocks = re.findall(r"```python\n(.*?)```", HOW_TO + REFERENCE, re.DOTALL)
    assert len(blocks) > 8
    for block in blocks:
        compile(block, "sdk.md", "exec")
