"""What all tests share: Hypothesis profiles, and the guard against skips that nobody expects."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent

pytest.register_assert_rewrite("tests.servers.s3_suite")
pytest_plugins = ("tests.servers.fixtures",)

# No deadline, and no health check of speed: a busy machine must not fail a test.
# In CI the default profile is derandomized, so that a red run is due to the change it ran on. The search for new
# counterexamples goes on at developers' machines and in the long profile, which is random everywhere.
_BASE = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", _BASE, max_examples=10, stateful_step_count=20)
settings.register_profile(
    "default", _BASE, max_examples=50, stateful_step_count=25, derandomize=bool(os.environ.get("CI"))
)
settings.register_profile("long", _BASE, max_examples=500, stateful_step_count=100, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


class SkipGuard:
    """Fails the run if a test was skipped for a reason that is not on the list."""

    def __init__(self, expected: frozenset[str]) -> None:
        self.expected = expected
        self.unexpected: list[tuple[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unexpected and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.unexpected:
            return
        terminalreporter.section("unexpected skips", red=True, bold=True)
        for nodeid, reason in self.unexpected:
            terminalreporter.line(f"{nodeid}: {reason}")
        terminalreporter.line("Mend what these tests lack, or list the reason in tests/expected_skips.txt.")

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        # An expected failure is reported as a skip too.
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if reason not in self.expected:
            self.unexpected.append((report.nodeid, reason))


def pytest_configure(config: pytest.Config) -> None:
    named = os.environ.get("LUNACORE_EXPECTED_SKIPS")
    # With pytest-xdist the workers' reports all pass through the controller.
    if hasattr(config, "workerinput") or not (named or os.environ.get("CI")):
        return
    path = Path(named) if named else TESTS / "expected_skips.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        message = f"LUNACORE_EXPECTED_SKIPS names {path}, which cannot be read: {error.strerror}"
        raise pytest.UsageError(message) from error
    expected = frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    config.pluginmanager.register(SkipGuard(expected), "unexpected-skip-guard")
