"""Refreshes real libraries with the real job, and holds what it does and costs to the true lists of changes.

Run by `make validate-refresh`, or with the names of parts: tldr, wordnet, emptied, sentence, third. Each part makes a
fresh store in a temporary folder. Needs the data sets (TEST_DATA_FOLDER names their parent) and takes minutes.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from outcome import Outcome, write_outcome
from refresh_cases import emptied, sentence, third
from refresh_steps import Part, tldr, wordnet

from spark_jobs.runtime.session import get_session
from spark_jobs.settings.sections import SparkSettings

PARTS: dict[str, Part] = {part.__name__: part for part in (tldr, wordnet, emptied, sentence, third)}
OUT = Path(__file__).parent / "results" / "refresh.json"


def main() -> None:
    """Runs the parts one after the other; exits 1 where a check does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all where none is named")
    parser.add_argument("--out", type=Path, default=OUT, help="JSON file; parts that are not run keep what they have")
    parser.add_argument("--documents", type=int, help="how many documents, for a trial; nothing is written then")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - PARTS.keys()
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    spark, faults = get_session(SparkSettings(), quiet=True), []
    for name in arguments.parts or PARTS:
        print(name, flush=True)
        outcome = Outcome(name)
        with tempfile.TemporaryDirectory(prefix=f"embedlake-{name}-") as folder:
            PARTS[name](outcome, spark, Path(folder), arguments.documents)
        faults += outcome.faults
        if arguments.documents is None:
            write_outcome(arguments.out, outcome, "make validate-refresh")
    spark.stop()
    if faults:
        sys.exit("\n".join(["these checks do not hold:", *faults]))


if __name__ == "__main__":
    main()
