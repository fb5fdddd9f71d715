"""Breaks the code on purpose, one fault at a time, and expects a named test to notice: `make mutants`."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Lock

from faults import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "lake", "build", "dist", "*.egg-info", "spark-warehouse")
# Tests that need a Spark session but no process of their own.
_LIVE = "tests/spark/"


class LiveTests:
    """A process with a live Spark session that runs the tests of one faulty copy after the other; see `live.py`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[str] | None = None

    def run(self, copy: Path, test: str) -> tuple[int, str]:
        """Runs a test of a copy; returns pytest's exit code and the end of its output."""
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, str(Path(__file__).with_name("live.py"))],
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.write(json.dumps([str(copy), test]) + "\n")
            self._process.stdin.flush()
            code, told = json.loads(self._process.stdout.readline())
            return code, told

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def alone(copy: Path, test: str) -> tuple[int, str]:
    """Runs a test of a copy in a process of its own; returns pytest's exit code and the end of its output."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", test],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "TEST_SOURCE": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr)[-3000:]


def caught(mutant: Mutant, live: LiveTests) -> tuple[bool, float]:
    """Runs the mutant's test on a copy of the project that has the fault.

    Returns:
        Whether the test failed, and the seconds it took.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder) / "embedlake"
        shutil.copytree(ROOT, copy, ignore=_LEFT_OUT, symlinks=True)
        path = copy / mutant.file
        source = path.read_text()
        if source.count(mutant.old) < 1:
            raise SystemExit(f"{mutant.fault}: {mutant.file} has no {mutant.old!r}; mend the mutant")
        path.write_text(source.replace(mutant.old, mutant.new))
        start = time.monotonic()
        run = live.run if mutant.test.startswith(_LIVE) and mutant.file.startswith("spark_jobs/") else alone
        code, told = run(copy, mutant.test)
        # 1 says that tests failed; anything else, such as a test that is not there, proves nothing.
        if code not in (0, 1) or (code == 1 and " failed" not in told):
            raise SystemExit(f"{mutant.fault}: {mutant.test} did not run: {told}")
        return code == 1, time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="regular expression for the names of the faults to try")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time, each in a process of its own")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    wanted = [mutant for mutant in MUTANTS if not arguments.only or re.search(arguments.only, mutant.fault)]
    known = {mutant.fault for mutant in MUTANTS} - {mutant.fault for mutant in wanted}
    # Of faults that are not tried now, the result of the last time stays.
    earlier = json.loads(arguments.out.read_text()) if arguments.out and arguments.out.exists() else []
    results = [result for result in earlier if result["fault"] in known]
    with closing(LiveTests()) as live, ThreadPoolExecutor(arguments.jobs) as pool:
        for mutant, (is_caught, seconds) in zip(wanted, pool.map(lambda one: caught(one, live), wanted), strict=True):
            print(f"{'caught' if is_caught else 'SURVIVED':9}{seconds:6.0f} s  {mutant.fault}", flush=True)
            results.append({"fault": mutant.fault, "caught": is_caught, "by": mutant.test})
            if arguments.out:
                order = [mutant.fault for mutant in MUTANTS]
                ordered = sorted(results, key=lambda result: order.index(result["fault"]))
                lines = ",\n".join(" " + json.dumps(result) for result in ordered)
                arguments.out.write_text(f"[\n{lines}\n]\n")
    survivors = [result["fault"] for result in results if not result["caught"]]
    print(f"{len(results) - len(survivors)} of {len(results)} caught")
    raise SystemExit(1 if survivors else 0)


if __name__ == "__main__":
    main()
