"""A deployment in memory with a clock that is moved by hand, for the tests of the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lunacore.testing.deployment import Clock, open_in_memory

if TYPE_CHECKING:
    from lunacore.deployment import Deployment


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deployment(clock: Clock) -> Deployment:
    return open_in_memory(clock)
