"""Refreshes of real libraries through their true editions, held to the true lists of what changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from outcome import Outcome
from pyspark.sql import SparkSession
from real_data import MODEL, Step, need, read_steps, write_source
from static_model import DIMENSION, make_static_model
from store_files import differing_columns, growth_of, matrix_of, read_rows, read_set, version_of

from spark_jobs.embed_library import run
from spark_jobs.embedding.report import RunReport
from spark_jobs.settings import Settings, as_settings

Part = Callable[[Outcome, SparkSession, Path, int | None], None]

EDITIONS = ["2024-01-01", "2025-01-01", "2026-01-01"]
# Two machines' worth of rounding: batches are formed differently, so sums are taken in another order.
VECTOR_TOLERANCE = 1e-5
LARGEST_GROWTH = 0.10


def settings_of(folder: Path, library: str, model: str, store: str = "store", **sections: dict[str, Any]) -> Settings:
    """Makes the settings of a library whose source is the folder `source`.

    Args:
        folder: The part's own folder.
        library: Name of the library.
        model: Model folder, or `fake:<dimension>`.
        store: Name of the store's folder.
        **sections: Further sections; their keys go before those given here.

    Returns:
        The settings.
    """
    values: dict[str, Any] = {
        "library": library,
        "store": {"path": str(folder / store)},
        "source": {
            "format": "parquet",
            "path": str(folder / "source"),
            "id_column": "doc_id",
            "text_columns": ["text"],
        },
        "model": {"path": model, "dtype": "float32"},
    }
    return as_settings(values | {name: values.get(name, {}) | section for name, section in sections.items()})


def table_of(settings: Settings, name: str = "vectors") -> Path:
    """Finds a table of the settings' space.

    Args:
        settings: The settings.
        name: Name of the table.

    Returns:
        Its folder.
    """
    return Path(str(settings.store.path), settings.library, settings.space, name)


def timed_run(outcome: Outcome, label: str, spark: SparkSession, settings: Settings, **options: bool) -> RunReport:
    """Runs the job and notes what it cost.

    Args:
        outcome: Where that is noted.
        label: What the run is called there.
        spark: The live session.
        settings: The settings.
        **options: Options of the job.

    Returns:
        The job's report.
    """
    report = run(spark, settings, **options)
    print("      " + ", ".join(f"{step} {seconds:.0f}" for step, seconds in report.seconds.items()), "seconds")
    counts = {f"{label}_{name}": report.counts[name] for name in ("chunks", "chunks_embedded", "tokens_embedded")}
    outcome.measured(**{f"{label}_seconds": round(sum(report.seconds.values()))}, **counts)
    return report


def check_counts(outcome: Outcome, step: Step, report: RunReport) -> None:
    """Holds a report to the true list of changes.

    Args:
        outcome: Where the checks go.
        step: What was refreshed.
        report: What the job says of it.
    """
    counts = report.counts
    unchanged = len(step.documents) - len(step.inserted) - len(step.updated)
    outcome.equal(f"{step.name}: documents added", counts["added"], len(step.inserted))
    outcome.equal(
        f"{step.name}: documents changed, payload included", counts["changed"] + counts["payload"], len(step.updated)
    )
    outcome.equal(f"{step.name}: documents removed", counts["removed"], len(step.deleted))
    outcome.equal(f"{step.name}: documents unchanged", counts["unchanged"], unchanged)
    outcome.equal(f"{step.name}: documents embedded in the end", counts["library_embedded"], len(step.documents))


def check_inference(outcome: Outcome, step: Step, report: RunReport, settings: Settings, before: int) -> None:
    """Holds inference to the texts of chunks that are new with the step.

    A text that another document has already may be embedded once more: the job does so where reading the vectors of
    the whole table takes longer (`planning.reading_pays`). How many were is noted beside.

    Args:
        outcome: Where the check goes.
        step: What was refreshed.
        report: What the job says of it.
        settings: The settings.
        before: Version of `vectors` before the run.
    """
    rows = read_rows(table_of(settings), "doc_id, chunk_id, text_hash").to_pylist()
    known, stored = (read_set(table_of(settings), column, before) for column in ("chunk_id", "text_hash"))
    of_new_chunks = {
        row["text_hash"]
        for row in rows
        if row["doc_id"] in step.inserted | step.updated and row["chunk_id"] not in known
    }
    embedded, unseen = report.counts["chunks_embedded"], len(of_new_chunks - stored)
    outcome.at_most(f"{step.name}: texts embedded, of those of new chunks", embedded, len(of_new_chunks))
    outcome.measured(**{f"texts_of_{step.name[:4]}_embedded_though_stored_elsewhere": max(0, embedded - unseen)})


def tldr(outcome: Outcome, spark: SparkSession, folder: Path, most: int | None) -> None:
    """Refreshes tldr-pages through three years with a real model, and compares with a run from nothing.

    Args:
        outcome: Where checks and figures go.
        spark: The live session.
        folder: A folder of its own.
        most: How many documents, for a trial.
    """
    need(MODEL)
    payload = {"payload_columns": ["lang", "platform"]}
    settings = settings_of(folder, "tldr", str(MODEL), source=payload)
    steps = read_steps("tldr-en", EDITIONS, most)
    for step in steps:
        before = version_of(table_of(settings)) if step is not steps[0] else 0
        write_source(folder / "source", step.documents)
        report = timed_run(outcome, f"to_{step.name[:4]}", spark, settings)
        check_counts(outcome, step, report)
        check_inference(outcome, step, report, settings, before)
    again = settings_of(folder, "tldr", str(MODEL), "again", source=payload)
    timed_run(outcome, "from_nothing", spark, again)
    chain, fresh = read_rows(table_of(settings)), read_rows(table_of(again))
    outcome.equal("columns that differ from a run from nothing", ", ".join(differing_columns(chain, fresh)), "")
    if chain.num_rows == fresh.num_rows:
        difference = float(np.abs(matrix_of(chain) - matrix_of(fresh)).max())
        outcome.at_most("largest difference of a vector's number from a run from nothing", difference, VECTOR_TOLERANCE)
    stored, wanted = set(chain["doc_id"].to_pylist()), {document["doc_id"] for document in steps[-1].documents}
    outcome.equal("documents stored that are not in the last edition", len(stored - wanted), 0)
    outcome.equal("documents of the last edition that are not stored", len(wanted - stored), 0)


def wordnet(outcome: Outcome, spark: SparkSession, folder: Path, most: int | None) -> None:
    """Refreshes WordNet by one edition with a static model, and counts the bytes that this adds.

    Args:
        outcome: Where checks and figures go.
        spark: The live session.
        folder: A folder of its own.
        most: How many documents, for a trial.
    """
    model = make_static_model(folder / "model")
    settings = settings_of(folder, "wordnet", str(model), source={"payload_columns": ["category"]})
    first, second = read_steps("wordnet", ["2023-edition", "2024-edition"], most)
    write_source(folder / "source", first.documents)
    check_counts(outcome, first, timed_run(outcome, "full", spark, settings))
    vectors = table_of(settings)
    outcome.equal("numbers of a vector", len(read_rows(vectors, "embedding")["embedding"][0]), DIMENSION)
    before = version_of(vectors)
    write_source(folder / "source", second.documents)
    report = timed_run(outcome, "refresh", spark, settings)
    check_counts(outcome, second, report)
    check_inference(outcome, second, report, settings, before)
    growth = growth_of(vectors, before, version_of(vectors))
    outcome.measured(
        bytes_before=growth.before,
        bytes_of_data_added=growth.data,
        bytes_of_deletion_vectors_added=growth.deletion_vectors,
        bytes_of_change_data_added=growth.change_data,
    )
    outcome.at_most("bytes added by the refresh, share of those before", growth.added / growth.before, LARGEST_GROWTH)
