"""Durations: Go's form and seconds, and a clear refusal of everything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunacore import durations
from lunacore.errors import InvalidRequest


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("1h30m", 5400),
        ("7d", 604_800),
        ("1d2h3m4s", 93_784),
        ("0s", 0),
        ("0", 0),
        ("900", 900),
        (900, 900),
        (0, 0),
        ("007s", 7),
    ],
)
def test_what_is_understood(written: str | int, seconds: int) -> None:
    assert durations.parse(written, "customDuration") == seconds


@pytest.mark.parametrize(
    "written",
    [
        "", " ", "15 m", " 15m", "15m ", "15M", "-15m", "+15m", "1.5h", "1,5h", "m", "15mm", "h15", "15m\n", "1e3",
        "\u0661m", "1\u0661", "9" * 13, "9" * 13 + "s", "PT15M", "15min", "1w", -1, 1.0, True, False, None, [], {}, b"15m",
    ],
)  # fmt: skip
def test_what_is_refused(written: Any) -> None:
    with pytest.raises(InvalidRequest, match="customDuration must be a duration such as") as refusal:
        durations.parse(written, "customDuration")
    assert refusal.value.field == "customDuration"


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from("dhms")), min_size=1, max_size=5))
def test_parts_add_up(parts: list[tuple[int, str]]) -> None:
    units = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
    written = "".join(f"{count}{unit}" for count, unit in parts)
    assert durations.parse(written, "x") == sum(count * units[unit] for count, unit in parts)
