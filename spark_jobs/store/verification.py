"""What is wrong with the rows of a space, found by reading all of them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from schemas.documents import DOCUMENTS
from schemas.ledger import LEDGER, REDO
from spark_jobs.store.faults import FAULTS, faulty_documents, faulty_files, faulty_rows
from spark_jobs.store.ledger import summarise_ledger
from spark_jobs.store.runs import last_run
from spark_jobs.store.tables import SpaceTables
from spark_jobs.store.versions import read_pinned
from udfs.quantization import collapsed_numbers
from udfs.specs import ModelSpec

COLLAPSED = (
    "numbers of the int8 embedding at an end of their range in half of the texts or more, as the ranges do not fit the "
    "library: embed it into a new space by the setting `space`"
)
# Enough to tell half of the texts from a few.
_JUDGED_TEXTS = 2048
_NAMED = 5
_NAME_CHARACTERS = 80


@dataclass(frozen=True)
class Finding:
    """One kind of fault.

    Attributes:
        fault: One of `store.faults.FAULTS`, or `COLLAPSED`.
        count: Number of rows, documents or numbers that have it; the fault says which.
        examples: Ids of a few of the documents.
    """

    fault: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        """Renders the finding in one line, whatever characters its ids contain."""
        shown = ", ".join(ascii(doc_id[:_NAME_CHARACTERS]) for doc_id in self.examples)
        return f"{self.count:,} {self.fault}" + (f": documents such as {shown}" if shown else "")


@dataclass(frozen=True)
class Verification:
    """Every row of a space, checked.

    Attributes:
        statuses: Number of documents by status.
        chunks: Rows of vectors.
        waiting: Documents that a repair marked and no run has embedded again yet.
        findings: What is wrong; empty if nothing is.
        ledger: The ledger, at the version that was checked.
        rows: Rows of `faulty_rows`.
        faults: Columns doc_id and `fault` of all that is wrong.
    """

    statuses: Mapping[str, int]
    chunks: int
    waiting: int
    findings: tuple[Finding, ...]
    ledger: DataFrame
    rows: DataFrame
    faults: DataFrame


def verify_rows(tables: SpaceTables, model: ModelSpec, has_context: bool) -> Verification:
    """Checks every row of a space's ledger and vectors, and of its parsed files: counts, ids, hashes and numbers.

    Args:
        tables: The space's tables, which must exist.
        model: The model that made it; only how its vectors look matters.
        has_context: Whether its chunks have a context.

    Returns:
        What was found.
    """
    # All passes, and the commits of a repair, must see the same rows.
    ledger, vectors = (read_pinned(tables, table) for table in (LEDGER.name, "vectors"))
    rows = faulty_rows(vectors, model, has_context)
    faults = rows.select("doc_id", "fault").unionByName(faulty_documents(ledger, vectors))
    if tables.exists(DOCUMENTS.name):
        last = last_run(tables)
        is_settled = last is not None and bool(last.clean)
        faults = faults.unionByName(faulty_files(read_pinned(tables, DOCUMENTS.name), ledger, is_settled))
    return Verification(
        statuses=summarise_ledger(ledger).statuses,
        chunks=vectors.count(),
        waiting=waiting(ledger),
        findings=_findings(faults) + (_collapsed(vectors) if model.precision == "int8" else ()),
        ledger=ledger,
        rows=rows,
        faults=faults,
    )


def _collapsed(vectors: DataFrame) -> tuple[Finding, ...]:
    # Different texts, by a hash of their hash: neither the first file's alone, nor one that is repeated in every page.
    texts = vectors.where(F.col("embedding").isNotNull()).select("text_hash").distinct()
    drawn = texts.orderBy(F.xxhash64("text_hash"), "text_hash").limit(_JUDGED_TEXTS)
    rows = vectors.join(drawn, "text_hash", "left_semi").dropDuplicates(["text_hash"]).select("embedding").collect()
    widths = Counter(len(row.embedding) for row in rows)
    # Rows of another length are a fault of their own.
    width = widths.most_common(1)[0][0] if widths else 0
    stored = np.array([row.embedding for row in rows if len(row.embedding) == width], dtype=np.float64)
    count = collapsed_numbers(stored)
    return (Finding(COLLAPSED, count, ()),) if count else ()


def waiting(ledger: DataFrame) -> int:
    """Counts the documents that a repair marked and no run has embedded again yet."""
    return ledger.where(F.col("text_hash") == REDO).count()


def _findings(faults: DataFrame) -> tuple[Finding, ...]:
    same_fault = Window.partitionBy("fault")
    groups = (
        faults.groupBy("fault", "doc_id")
        .agg(F.count(F.lit(1)).alias("n"))
        .withColumns(
            {
                "count": F.sum("n").over(same_fault),
                "number": F.row_number().over(same_fault.orderBy(F.asc_nulls_last("doc_id"))),
            }
        )
        .where(F.col("number") <= _NAMED)
        .collect()
    )
    counts = {group["fault"]: group["count"] for group in groups}
    named = sorted((group["fault"], group["doc_id"]) for group in groups if group["doc_id"] is not None)
    return tuple(
        Finding(fault, counts[fault], tuple(doc_id for kind, doc_id in named if kind == fault))
        for fault in FAULTS
        if fault in counts
    )
