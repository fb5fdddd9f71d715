"""What a refresh by the change feed costs in a small library and in a large one."""

import os
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from spark_jobs.settings import as_settings
from tests.benchmarks.own_process import in_own_process
from tests.validate.outcome import Outcome

# `FEED_DOCUMENTS=100000` for a short run.
SMALL, LARGE = 10_000, int(os.environ.get("FEED_DOCUMENTS", 1_000_000))
CHANGED = 1_000
_WARM_UP, _ROUNDS = 2, 3


def refresh_in_turn(folder: str) -> dict[int, list[dict[str, float]]]:
    """Loads both libraries and refreshes them in turn, in one session.

    Args:
        folder: Where sources and stores go.

    Returns:
        Seconds by step of each refresh once the session is warm, by the number of documents.
    """
    from pyspark.sql import functions as F

    from spark_jobs.embed_library import run
    from spark_jobs.runtime.session import get_session

    found: dict[int, list[dict[str, float]]] = {SMALL: [], LARGE: []}
    settings = {count: _settings(folder, count) for count in found}
    spark: Any = get_session(settings[SMALL].spark, quiet=True)
    for count in found:
        owl = F.format_string("Owl %d hunts %d mice at night.", F.col("id"), F.col("id") % 97)
        rows = spark.range(count).select(F.format_string("%07d", "id").alias("id"), owl.alias("text"))
        writer = rows.writeTo(f"delta.`{folder}/source{count}`").using("delta")
        writer.tableProperty("delta.enableChangeDataFeed", "true").create()
        run(spark, settings[count])
    for turn in range(_WARM_UP + _ROUNDS):
        for count in found:
            spark.sql(
                f"UPDATE delta.`{folder}/source{count}` SET text = 'Bees of turn {turn} visit ' || id "
                f"WHERE pmod(xxhash64(id), {count // CHANGED}) = {turn}"
            )
            began = time.perf_counter()
            report = run(spark, settings[count])
            seconds = {"whole": time.perf_counter() - began, "documents": report.counts["changed"]}
            if not report.how.startswith("change feed"):
                raise RuntimeError(report.how)
            if turn >= _WARM_UP:
                found[count].append({**seconds, **report.seconds})
    return found


def _settings(folder: str, count: int) -> Any:
    values = {
        "library": "bench",
        "store": {"path": f"{folder}/lake{count}"},
        "source": {"format": "delta", "path": f"{folder}/source{count}", "id_column": "id", "text_columns": ["text"]},
        "model": {"path": "fake:8"},
        "run": {"slice_tokens": 100_000_000},
        "spark": {"master": "local[2]"},
    }
    return as_settings(values)


def feed(outcome: Outcome) -> None:
    """Measures how a refresh of 1,000 changed documents grows with the library.

    Args:
        outcome: Where figures and checks go.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    found = in_own_process(refresh_in_turn, str(folder))
    for count, turns in found.items():
        steps = " · ".join(f"{name} {median(one[name] for one in turns):.1f}" for name in turns[0])
        outcome.measured(**{f"{count:,} documents, medians": steps})
    whole = {count: median(one["whole"] for one in turns) for count, turns in found.items()}
    outcome.at_most(f"refresh at {LARGE:,} documents, times that at {SMALL:,}", whole[LARGE] / whole[SMALL], 1.5)
    shutil.rmtree(folder)
