"""Speed, measured against others: `make bench ONLY="engine job"`."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.engine import engine  # noqa: E402
from tests.benchmarks.feed import feed  # noqa: E402
from tests.benchmarks.fixed_cost import fixed, memory, scale  # noqa: E402
from tests.benchmarks.follow import follow  # noqa: E402
from tests.benchmarks.job import job  # noqa: E402
from tests.benchmarks.questions import prompt  # noqa: E402
from tests.benchmarks.registry import registry  # noqa: E402
from tests.benchmarks.search import search  # noqa: E402
from tests.benchmarks.slices import slices  # noqa: E402
from tests.benchmarks.telemetry import telemetry  # noqa: E402
from tests.benchmarks.tutorial import tutorial  # noqa: E402
from tests.benchmarks.warm import warm  # noqa: E402
from tests.benchmarks.worker import worker  # noqa: E402
from tests.validate.outcome import Outcome, processor, write_outcome  # noqa: E402

PARTS: dict[str, Callable[[Outcome], None]] = {
    "engine": engine,
    "worker": worker,
    "tutorial": tutorial,
    "warm": warm,
    "job": job,
    "fixed": fixed,
    "memory": memory,
    "scale": scale,
    "slices": slices,
    "search": search,
    "feed": feed,
    "follow": follow,
    "prompt": prompt,
    "registry": registry,
    "telemetry": telemetry,
}
# Ratios differ from processor to processor: each kind has a file of its own.
_KIND = processor().lower().replace(" ", "-")
RESULTS = ROOT / "tests" / "benchmarks" / "results" / f"bench-{_KIND}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    faults = []
    for name in parser.parse_args().parts or PARTS:
        print(name, flush=True)
        outcome = Outcome(name)
        PARTS[name](outcome)
        write_outcome(RESULTS, outcome, "make bench")
        faults += outcome.faults
    raise SystemExit("\n".join(faults) if faults else 0)


if __name__ == "__main__":
    main()
