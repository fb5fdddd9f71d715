"""Runs the tests in tests/gpu on this machine's GPUs and keeps what became of each: the first half of `make gpu`."""

import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.validate.outcome import Outcome, write_outcome  # noqa: E402

RESULTS = ROOT / "tests" / "benchmarks" / "results"
_FOLDER = str(ROOT / "tests" / "gpu")


class Ends:
    """Notes the end of each test, as a plugin of pytest.

    Attributes:
        counts: How many tests passed, failed or were skipped.
        failed: Names of tests that failed.
        reasons: Why tests or whole files were skipped.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failed: list[str] = []
        self.reasons: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Counts a test by its call, or by a setup or teardown that did not pass."""
        if report.when != "call" and report.passed:
            return
        self.counts[report.outcome] += 1
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Counts files that could not be read, or that skip as a whole."""
        if not report.passed:
            self.counts[report.outcome] += 1
            self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.skipped and isinstance(report.longrepr, tuple):
            self.reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1


def run_tests(outcome: Outcome, arguments: list[str]) -> None:
    """Runs tests, and holds them to have passed.

    Args:
        outcome: Where counts and checks go.
        arguments: What pytest is asked to run.
    """
    ends = Ends()
    code = pytest.main(["-q", "-p", "no:cacheprovider", *arguments], plugins=[ends])
    outcome.measured(
        passed=ends.counts["passed"],
        skipped=ends.counts["skipped"],
        reasons_to_skip="; ".join(f"{count} × {reason}" for reason, count in sorted(ends.reasons.items())),
    )
    outcome.equal("tests that failed", ends.failed, [])
    outcome.equal("exit code of pytest", int(code), 0)
    outcome.at_least("tests that passed", ends.counts["passed"], 1)


def main() -> None:
    """Runs all of tests/gpu; ends with a message where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU on this machine. Run this where nvidia-smi and torch see one.")
    devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    outcome = Outcome("tests")
    outcome.measured(gpus=", ".join(devices))
    run_tests(outcome, [_FOLDER])
    write_outcome(RESULTS / f"gpu-{devices[0].lower().replace(' ', '-')}.json", outcome, "make gpu")
    raise SystemExit("\n".join(outcome.faults) if outcome.faults else 0)


if __name__ == "__main__":
    main()
