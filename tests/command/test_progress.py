"""Progress bars."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from lunacore_http.command import progress

if TYPE_CHECKING:
    import pytest


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _copy_a_megabyte() -> None:
    source = io.BytesIO(bytes(1 << 20))
    with progress.shown("put", 1 << 20) as bar:
        counted = progress.counted(source, bar)
        while counted.read(1 << 16):
            pass


def test_a_terminal_gets_a_bar_that_goes_away_again(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "_DELAY", 0)
    monkeypatch.setenv("TQDM_MININTERVAL", "0")
    _copy_a_megabyte()
    assert "put: 100%" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")


def test_a_pipe_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    monkeypatch.setattr(progress, "_DELAY", 0)
    _copy_a_megabyte()
    assert pipe.getvalue() == ""


def test_short_work_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "_DELAY", 3600)
    _copy_a_megabyte()
    assert "put" not in terminal.getvalue()
