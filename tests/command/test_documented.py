"""The reference of settings and commands is complete and says what is so."""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from lunacore import Config, durations
from lunacore.config import IdentitySettings, NotifySettings
from lunacore_http.command import program
from lunacore_http.command.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def _section(page: str, title: str) -> str:
    parts = re.split(r"^## ", (REFERENCE / page).read_text(), flags=re.MULTILINE)
    (found,) = (part for part in parts if part.startswith(f"{title}\n"))
    return found


def _rows(section: str) -> dict[str, list[str]]:
    """The rows of a section's tables, by what stands in the first column."""
    lines = (line for line in section.splitlines() if line.startswith("| `"))
    cells = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines)
    return {row[0].strip("`| "): row[1:] for row in cells}


SECTIONS = {
    one.name: type(getattr(Config(), one.name))
    for one in attrs.fields(Config)
    if one.name not in ("identity", "notify")
}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_setting_has_its_row(name: str) -> None:
    rows = _rows(_section("configuration.md", f"`[{name}]`"))
    fields = attrs.fields_dict(SECTIONS[name])
    assert list(rows) == list(fields)
    for setting, (kind, default, variable, meaning) in rows.items():
        assert variable == f"`LUNACORE_{name.upper()}_{setting.upper()}`"
        assert _documented(default, kind) == fields[setting].default
        assert meaning


@pytest.mark.parametrize(("name", "kind_of_table"), [("identity", IdentitySettings), ("notify", NotifySettings)])
def test_every_setting_of_a_list_of_tables_has_its_row(name: str, kind_of_table: type[Any]) -> None:
    rows = _rows(_section("configuration.md", f"`[[{name}]]`"))
    fields = attrs.fields_dict(kind_of_table)
    assert list(rows) == list(fields)
    for setting, (kind, default, meaning) in rows.items():
        assert _documented(default, kind) == fields[setting].default
        assert meaning


def test_the_example_is_a_configuration() -> None:
    page = (REFERENCE / "configuration.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert Config.from_mapping(tomllib.loads(example), {}).identity[0].default


def _documented(default: str, kind: str) -> Any:
    if default == "required":
        return attrs.NOTHING
    value = json.loads(default.strip("`"))
    if kind == "duration":
        return durations.parse(value, "default")
    return tuple(value) if isinstance(value, list) else value


def test_every_exit_code_has_its_row() -> None:
    codes = re.findall(r"^\| (\d+) \|", _section("command-line.md", "Exit codes"), re.MULTILINE)
    assert [int(code) for code in codes] == [code.value for code in Exit]


def _commands(parser: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from _commands(below, f"{path} {name}".strip())
            return
    yield path, parser


def test_every_command_and_option_is_described() -> None:
    everywhere = _section("command-line.md", "Options of every command")
    for path, parser in _commands(program._parser()):
        title = path if path == "config check" else path.split()[0]
        section = _section("command-line.md", title)
        assert f"lunacore {path}" in section
        options = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
        for option in options - {"--help", "--output"}:
            assert f"`{option}" in section + everywhere or f" {option}" in section, (path, option)
