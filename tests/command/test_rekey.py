"""``lunacore rekey``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.command.vault import put, read

if TYPE_CHECKING:
    from tests.command.running import Lunacore


def objects(lunacore: Lunacore) -> set[str]:
    return {path.name for path in (lunacore.data / "objects").rglob("*") if path.is_file()}


@pytest.mark.parametrize("deep", [False, True])
def test_re_keys_the_tokens_on_standard_input(lunacore: Lunacore, deep: bool) -> None:
    first, second = put(lunacore, b"one"), put(lunacore, b"two")
    before = objects(lunacore)
    arguments = ("rekey", "--deep") if deep else ("rekey",)
    shown = lunacore.ok(*arguments, "--reason", "a key leaked", given=f"{first}\n{second}\n".encode()).decode()
    assert [line.split()[0] for line in shown.splitlines()[:3]] == ["2", "0", "0"]
    assert read(lunacore, first) == b"one"
    assert read(lunacore, second) == b"two"
    assert len(objects(lunacore) - before) == 2
    assert "a key leaked" in lunacore.audit()


def test_from_a_file_and_only_what_is_old(lunacore: Lunacore) -> None:
    token = put(lunacore, b"one")
    path = lunacore.directory / "tokens"
    path.write_text(f"{token}\n")
    shown = lunacore.ok("rekey", "--tokens-from", path, "--older-than", "1d").decode()
    assert [line.split()[0] for line in shown.splitlines()[:3]] == ["0", "1", "0"]
    shown = lunacore.ok("rekey", "--tokens-from", path).decode()
    assert [line.split()[0] for line in shown.splitlines()[:3]] == ["1", "0", "0"]


def test_tells_which_lines_failed(lunacore: Lunacore) -> None:
    token = put(lunacore, b"one")
    unknown = "lunasec-00000000-0000-4000-8000-000000000000"
    ended = lunacore("rekey", given=f"no token\n{token}\n{unknown}\n".encode())
    assert ended.code == 2
    assert [line.partition(":")[2].partition(":")[0].strip() for line in ended.err.splitlines()] == [
        "token 1",
        "token 3",
    ]
    assert unknown not in ended.err
    assert [line.split()[0] for line in ended.text.splitlines()[:3]] == ["1", "0", "2"]


def test_takes_no_token_as_an_argument(used: Lunacore) -> None:
    ended = used("rekey", "lunasec-00000000-0000-4000-8000-000000000000")
    assert (ended.code, ended.out) == (2, b"")
    assert "00000000" not in ended.err


def test_a_file_that_is_missing(used: Lunacore) -> None:
    ended = used("rekey", "--tokens-from", "nowhere")
    assert ended.code == 1
    assert "cannot read nowhere" in ended.err
