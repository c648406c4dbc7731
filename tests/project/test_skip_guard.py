"""The guard of conftest.py: a run fails on a skip that nobody expects, with pytest-xdist as without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
REASON = "no vectors here"
SKIPS = {
    "mark": f"@pytest.mark.skip(reason='{REASON}')\ndef test_a() -> None: ...\n",
    "call": f"def test_a() -> None:\n    pytest.skip('{REASON}')\n",
    "fixture": f"@pytest.fixture\ndef f() -> None:\n    pytest.skip('{REASON}')\n\ndef test_a(f) -> None: ...\n",
    "module": f"pytest.skip('{REASON}', allow_module_level=True)\n",
}
XFAIL = "@pytest.mark.xfail(reason='known')\ndef test_x() -> None:\n    assert False\n"
CI = {"CI": "true"}


def environment(variables: dict[str, str]) -> dict[str, str]:
    ours = {"CI", "LUNACORE_EXPECTED_SKIPS", "HYPOTHESIS_PROFILE"}
    inherited = {
        name: value for name, value in os.environ.items() if name not in ours and not name.startswith("PYTEST_")
    }
    return inherited | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | variables


def run(
    folder: Path,
    tests: dict[str, str],
    *,
    workers: int = 0,
    expected: str = "",
    variables: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "expected_skips.txt").write_text(f"# a comment\n\n{expected}\n", encoding="utf-8")
    (folder / "test_passes.py").write_text("def test_passes() -> None: ...\n", encoding="utf-8")
    for name, text in tests.items():
        (folder / f"test_{name}.py").write_text(f"import pytest\n{text}", encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "xdist", "-p", "no:cacheprovider", "-n", str(workers)],
        cwd=folder,
        env=environment(variables or {}),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.long), 2])
def test_every_unexpected_skip_fails_the_run(tmp_path: Path, workers: int) -> None:
    result = run(tmp_path, SKIPS | {"xfail": XFAIL}, workers=workers, variables=CI)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout
    _, _, listed = result.stdout.partition(" unexpected skips ")
    assert listed.count(f": {REASON}\n") == len(SKIPS)
    for kind in SKIPS:
        assert f"test_{kind}.py" in listed
    assert "xfail" not in listed.partition("Mend")[0]


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.long), 2])
def test_expected_skips_and_expected_failures_pass(tmp_path: Path, workers: int) -> None:
    result = run(tmp_path, SKIPS | {"xfail": XFAIL}, workers=workers, expected=REASON, variables=CI)
    assert result.returncode == pytest.ExitCode.OK, result.stdout


def test_reason_must_be_listed_whole(tmp_path: Path) -> None:
    result = run(tmp_path, {"mark": SKIPS["mark"]}, expected="no vectors", variables=CI)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED


def test_a_failure_stays_a_failure(tmp_path: Path) -> None:
    failing = {"mark": SKIPS["mark"], "fails": "def test_b() -> None:\n    assert False\n"}
    result = run(tmp_path, failing, expected=REASON, variables=CI)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED


def test_developers_may_skip(tmp_path: Path) -> None:
    assert run(tmp_path, {"mark": SKIPS["mark"]}).returncode == pytest.ExitCode.OK


def test_list_can_be_named(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.txt"
    elsewhere.write_text(f"{REASON}\n", encoding="utf-8")
    named = {"LUNACORE_EXPECTED_SKIPS": str(elsewhere)}
    assert run(tmp_path, {"mark": SKIPS["mark"]}, variables=named).returncode == pytest.ExitCode.OK


def test_missing_list_is_named(tmp_path: Path) -> None:
    result = run(tmp_path, {}, variables={"LUNACORE_EXPECTED_SKIPS": "absent.txt"})
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "absent.txt" in result.stderr


@pytest.mark.parametrize(
    ("profile", "variables", "derandomized"),
    [("default", {}, False), ("default", CI, True), ("long", CI, False), ("quick", {}, False)],
)
def test_profiles(profile: str, variables: dict[str, str], *, derandomized: bool) -> None:
    program = (
        "import conftest; from hypothesis import settings; s = settings.default\n"
        "print(settings.get_current_profile_name(), s.deadline, s.print_blob, s.derandomize)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=CONFTEST.parent,
        env=environment(variables | {"HYPOTHESIS_PROFILE": profile}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [profile, "None", "True", str(derandomized)]
