"""Fixtures of the command line's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.command.running import Lunacore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lunacore(tmp_path: Path) -> Lunacore:
    return Lunacore(tmp_path)


@pytest.fixture(scope="session")
def used(tmp_path_factory: pytest.TempPathFactory) -> Lunacore:
    """One whose data directory was used already; for tests that change nothing in it."""
    program = Lunacore(tmp_path_factory.mktemp("used"))
    program.put(b"value")
    return program
