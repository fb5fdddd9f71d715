"""Runs a real library on a Spark cluster of two workers, kills parts of it, and compares with a local run row by row.

Run by `make validate-cluster`. Names of parts choose some; `--folder` keeps the local run for the next sitting.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.packaging import build_wheel, make_bare_python  # noqa: E402
from tests.support.submitting import Submitter, clean_environment  # noqa: E402
from tests.validate.cluster_lab import Lab  # noqa: E402
from tests.validate.cluster_refusals import REFUSALS, refuse  # noqa: E402
from tests.validate.cluster_rounds import ROUNDS  # noqa: E402
from tests.validate.outcome import Outcome, kept_going, write_outcome  # noqa: E402
from tests.validate.real_data import MODEL, need  # noqa: E402

RESULTS = ROOT / "tests" / "validate" / "results" / "cluster.json"


def make_lab(folder: Path) -> Lab:
    """Makes the zip and a Python without embedlake, as somebody has them who follows docs/cluster.md."""
    packages, python = folder / "embedlake.zip", folder / "bare" / "bin" / "python"
    folder.mkdir(parents=True, exist_ok=True)
    # Those of an earlier sitting may be of other code.
    for name in ("sources", "dist", "jobs"):
        shutil.rmtree(folder / name, ignore_errors=True)
        folder.joinpath(name).mkdir()
    build_wheel(folder / "sources", folder / "dist").replace(packages)
    if not python.exists():
        make_bare_python(folder / "bare")
    return Lab(folder, Submitter(packages, python, clean_environment(), folder / "jobs"))


def run_parts(folder: Path, names: list[str]) -> list[str]:
    """Runs the parts that are named, or all; returns what is wrong."""
    lab = make_lab(folder)
    chosen = [part for part in (*ROUNDS, *REFUSALS) if not names or any(name in part for name in names)]
    lab.prepare()
    wrong: list[str] = []
    for part in chosen:
        print(part, flush=True)
        outcome = Outcome(part)
        with kept_going(outcome):
            if part in ROUNDS:
                ROUNDS[part](outcome, lab)
            else:
                refuse(outcome, lab, REFUSALS[part])
        write_outcome(RESULTS, outcome, "make validate-cluster")
        wrong += outcome.faults
    return wrong


def main() -> None:
    """Runs the campaign; exits 1 if anything is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="Parts of names; all by default.")
    parser.add_argument("--folder", type=Path, help="Where everything is kept; a temporary folder by default.")
    given = parser.parse_args()
    need(MODEL)
    if given.folder is not None:
        sys.exit("\n".join(run_parts(given.folder.resolve(), given.names)) or 0)
    with tempfile.TemporaryDirectory(prefix="cluster-", ignore_cleanup_errors=True) as scratch:
        sys.exit("\n".join(run_parts(Path(scratch), given.names)) or 0)


if __name__ == "__main__":
    main()
