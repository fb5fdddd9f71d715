"""Promotes, refuses and rolls back on SciFact: what the gate decides by, on a real library with real judgements.

`main` is all-MiniLM-L6-v2 cut to 128 of its 384 numbers, `next` the whole model. Run by `make validate-promotion`.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from schemas.errors import GateError  # noqa: E402
from spark_jobs import list_spaces, promote_space, rollback_space  # noqa: E402
from spark_jobs.runtime.session import get_session  # noqa: E402
from spark_jobs.settings import Settings  # noqa: E402
from spark_jobs.settings.sections import PromotionSettings  # noqa: E402
from tests.support.refresh.oracle import query  # noqa: E402
from tests.validate.compare import build  # noqa: E402
from tests.validate.outcome import Outcome, write_outcome  # noqa: E402
from tests.validate.real_data import DATA, MODEL, need  # noqa: E402
from tests.validate.scores import JUDGEMENTS, QUERIES, corpus_settings  # noqa: E402


def last_figures(store: str) -> dict[str, float]:
    """What the newest promotion or refusal was decided by, read without Spark."""
    rows = query(Path(store, "_embedlake", "spaces"), "select number, change, figures from t")
    decided = [row for row in rows if row["change"] in ("promoted", "refused")]
    return dict(max(decided, key=lambda row: row["number"])["figures"])


def counts_of(store: str, space: str) -> dict[str, int]:
    """Counts of a space's first run that found work."""
    rows = query(Path(store, "_embedlake", "runs"), "select space, run_number, event, counts from t")
    mine = [row for row in rows if row["space"] == space and row["event"] == "finished"]
    return dict(min(mine, key=lambda row: row["run_number"])["counts"])


def validate(spark: SparkSession, store: str) -> Outcome:
    """Promotes the whole model, tries to go back by the gate, and rolls back."""
    outcome = Outcome("scifact, promotion of the whole MiniLM over its first 128 numbers")
    cut, _ = build(spark, store)
    gate = PromotionSettings(queries=str(QUERIES), judgements=str(JUDGEMENTS))
    settings = cut.model_copy(update={"promotion": gate})
    counts = counts_of(store, "next")
    outcome.equal("chunks of next that were cut again", counts["chunks"] - counts["chunks_taken"], 0)

    print(promote_space.run(spark, settings, "next"))
    outcome.equal("active after the promotion", _active(spark, settings), ["next"])
    promoted = last_figures(store)
    try:
        promote_space.run(spark, settings, "main")
    except GateError as refusal:
        print(refusal)
        outcome.equal("exit code the other way round", refusal.exit_code, 7)
    outcome.equal("active after the refusal", _active(spark, settings), ["next"])
    refused = last_figures(store)
    print(rollback_space.run(spark, settings))
    outcome.equal("active after the rollback", _active(spark, settings), ["main"])
    outcome.equal("differences are each other's negatives", refused["difference"], -promoted["difference"])
    measured: dict[str, Any] = {f"promoted_{key}": value for key, value in promoted.items()}
    outcome.measured(**measured, **{f"refused_{key}": value for key, value in refused.items()})
    return outcome


def _active(spark: SparkSession, settings: Settings) -> list[str]:
    return [each.space for each in list_spaces.run(spark, settings) if each.state == "active"]


def main() -> None:
    """Promotes, refuses and rolls back; exits 1 if anything is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", help="Folder of the store; it is kept, and built only once.")
    given = parser.parse_args()
    need(DATA / "scifact", MODEL)
    with tempfile.TemporaryDirectory() as scratch:
        store = given.store or scratch
        spark = get_session(corpus_settings(store).spark, quiet=True)
        outcome = validate(spark, store)
    write_outcome(ROOT / "tests" / "validate" / "results" / "promotion.json", outcome, "make validate-promotion")
    sys.exit("\n".join(outcome.faults) or 0)


if __name__ == "__main__":
    main()
