"""Single situations in a library's life: an emptied source, an edited sentence, a third that goes."""

import shutil
from collections.abc import Callable
from pathlib import Path

from outcome import Outcome
from pyspark.sql import SparkSession
from real_data import MODEL, Document, need, read_corpus, read_steps, write_source
from refresh_steps import EDITIONS, settings_of, table_of, timed_run
from store_files import read_rows, read_set, rows_in_files, state_of

from schemas.errors import InputError
from spark_jobs import maintain_space
from spark_jobs.embed_library import run

FAKE = "fake:16"
SMALL = 300
THIRD_OF = 1_500
EVERY = 100
LARGEST_SHARE = 0.02


def _first_of_tldr(count: int) -> list[Document]:
    return read_steps("tldr-en", EDITIONS[:1])[0].documents[:count]


def _no_files(source: Path) -> None:
    for file in source.iterdir():
        file.unlink()


def _no_rows(source: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in source.iterdir():
        pq.write_table(pa.Table.from_pylist([], pq.read_schema(file)), file)


def _few_rows(source: Path) -> None:
    write_source(source, _first_of_tldr(SMALL // 2))


# What can have happened to a source by mistake.
_MISTAKES: dict[str, Callable[[Path], None]] = {
    "a folder without files": _no_files,
    "no folder": shutil.rmtree,
    "files without rows": _no_rows,
    "half of the documents": _few_rows,
}


def emptied(outcome: Outcome, spark: SparkSession, folder: Path, most: int | None) -> None:
    """Empties a source by mistake in several ways: each must be refused, and nothing removed.

    Args:
        outcome: Where checks and figures go.
        spark: The live session.
        folder: A folder of its own.
        most: How many documents; not used here.
    """
    settings = settings_of(folder, "emptied", FAKE)
    documents = _first_of_tldr(SMALL)
    write_source(folder / "source", documents)
    timed_run(outcome, "full", spark, settings)
    tables = [table_of(settings), table_of(settings, "ledger")]
    before = state_of(tables)
    for mistake, make in _MISTAKES.items():
        write_source(folder / "source", documents)
        make(folder / "source")
        try:
            run(spark, settings)
            answer = "the run went through"
        except InputError as error:
            answer = "refused"
            print(f"      {error}")
        outcome.equal(f"{mistake}: answer", answer, "refused")
        outcome.equal(f"{mistake}: tables", state_of(tables), before)
    write_source(folder / "source", documents)
    report = run(spark, settings)
    outcome.equal("documents unchanged once the source is mended", report.counts["unchanged"], len(documents))


def _edited(document: Document) -> Document:
    """Changes one word of the middle sentence."""
    sentences = document["text"].split(". ")
    middle = len(sentences) // 2
    sentences[middle] = f"{sentences[middle].rstrip('.')} as corrected later" + (
        "." if middle + 1 == len(sentences) else ""
    )
    return document | {"text": ". ".join(sentences)}


def sentence(outcome: Outcome, spark: SparkSession, folder: Path, most: int | None) -> None:
    """Edits one sentence in 1 % of the documents of SciFact, and compares what that costs with the full run.

    Args:
        outcome: Where checks and figures go.
        spark: The live session.
        folder: A folder of its own.
        most: How many documents, for a trial.
    """
    need(MODEL)
    settings = settings_of(
        folder, "scifact", str(MODEL), source={"text_columns": ["title", "text"]}, chunking={"max_tokens": 128}
    )
    documents = read_corpus(most)
    write_source(folder / "source", documents)
    full = timed_run(outcome, "full", spark, settings)
    edited = [_edited(row) if number % EVERY == 0 else row for number, row in enumerate(documents)]
    changed = {row["doc_id"] for row in edited[::EVERY]}
    write_source(folder / "source", edited)
    report = timed_run(outcome, "refresh", spark, settings)
    outcome.equal("documents changed", report.counts["changed"], len(changed))
    outcome.equal("other documents touched", sum(report.counts[name] for name in ("added", "removed", "payload")), 0)
    tokens = report.counts["tokens_embedded"]
    rows = read_rows(table_of(settings), "doc_id, token_count").to_pylist()
    of_edited = sum(row["token_count"] for row in rows if row["doc_id"] in changed)
    outcome.measured(share_of_the_edited_documents_tokens=tokens / of_edited)
    outcome.at_most("tokens embedded, share of the full run's", tokens / full.counts["tokens_embedded"], LARGEST_SHARE)


def third(outcome: Outcome, spark: SparkSession, folder: Path, most: int | None) -> None:
    """Deletes a third of a library, then has the deleted rows taken out of the files.

    Args:
        outcome: Where checks and figures go.
        spark: The live session.
        folder: A folder of its own.
        most: How many documents, for a trial.
    """
    settings = settings_of(folder, "third", FAKE, maintenance={"retention_hours": 0.0})
    documents = _first_of_tldr(most or THIRD_OF)
    gone = {row["doc_id"] for row in documents[::3]}
    vectors = table_of(settings)
    write_source(folder / "source", documents)
    timed_run(outcome, "full", spark, settings)
    write_source(folder / "source", [row for row in documents if row["doc_id"] not in gone])
    report = timed_run(outcome, "refresh", spark, settings, allow_removals=True)
    outcome.equal("documents removed", report.counts["removed"], len(gone))
    outcome.equal("deleted documents in the current version", len(gone & read_set(vectors, "doc_id")), 0)
    kept = state_of([vectors]).partition(" with ")[2]
    outcome.measured(deleted_rows_in_files_before_maintenance=rows_in_files(vectors, gone))
    print(maintain_space.run(spark, settings, force=True))
    outcome.equal("rows after maintenance", state_of([vectors]).partition(" with ")[2], kept)
    outcome.equal("deleted rows in the files of vectors", rows_in_files(vectors, gone), 0)
    outcome.measured(deleted_rows_in_files_of_the_whole_store=rows_in_files(folder / "store", gone))
