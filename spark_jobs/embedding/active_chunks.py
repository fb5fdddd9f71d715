"""Chunks of the library's active space: another space with the same chunking rule need not cut these texts again."""

from dataclasses import dataclass
from functools import cached_property

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructField

from schemas.ledger import EMBEDDED, LEDGER
from schemas.staged import CUT
from schemas.vectors import KEY_AND_TEXT, vectors_table
from spark_jobs.embedding.documents import as_keys
from spark_jobs.embedding.run import Run
from spark_jobs.embedding.slicing import Slice, Work
from spark_jobs.store.ledger import compared
from spark_jobs.store.tables import tables_of_row
from spark_jobs.store.versions import read_pinned
from udfs.chunk_documents import optional_columns


@dataclass(frozen=True)
class ActiveChunks:
    """The library's active space, whose chunking rule is that of the run's space; each table at one version.

    Attributes:
        ledger: Its ledger.
        vectors: Its chunks; no embedding is read.
        optional: Columns that only some spaces have, but both of these.
    """

    ledger: DataFrame
    vectors: DataFrame
    optional: tuple[StructField, ...]

    @cached_property
    def count(self) -> int:
        """Number of its chunks, from Delta's log."""
        return self.vectors.count()

    def pays_for(self, slice_: Slice) -> bool:
        """Whether reading all of its chunks is cheaper than cutting the texts of a slice.

        A chunk is read in about the time in which one token is cut.
        """
        return bool(slice_.to_embed) and 0 < self.count <= slice_.tokens


def find_active_chunks(run: Run, work: Work) -> ActiveChunks | None:
    """Finds the chunks that a run can take from the library's active space.

    The fingerprint of a chunking rule covers the tokenizer, the prompt and the model's limit, so an equal text has
    equal chunks, token counts included.

    Args:
        run: The run.
        work: What it has to do.

    Returns:
        The active space; None if it is the run's own, has another chunking rule or no tables, or if the run has fewer
        tokens to cut than the space has documents, as refreshes do.
    """
    active = run.preflight.registry.active
    if active is None or active.space == run.settings.space:
        return None
    if active.chunking_fingerprint != run.preflight.chunking_fingerprint or work.tokens <= run.state.documents:
        return None
    tables = tables_of_row(run.tables.spark, run.settings.store, active)
    if not (tables.exists(LEDGER.name) and tables.exists(vectors_table().name)):
        return None
    # The ledger first: what it claims is in the later version of the vectors, or a later run has replaced it there.
    ledger = read_pinned(tables, LEDGER.name)
    return ActiveChunks(ledger, read_pinned(tables, vectors_table().name), optional_columns(run.preflight.chunking))


def same_documents(active: ActiveChunks, texts: DataFrame, number: int) -> DataFrame:
    """Finds the documents whose chunks in the active space are those of their text now.

    Args:
        active: The active space, a run of which may be at work.
        texts: Rows of the plan whose text is to be embedded.
        number: How many.

    Returns:
        Their `doc_id`: documents that the ledger has with the same text as embedded, with as many stored chunks as it
        says, none of which a later run has written.
    """
    asked = texts.where(F.col("refused").isNull()).select("doc_id", "text_hash")
    claimed = active.ledger.where(F.col("status") == EMBEDDED)
    claimed = claimed.join(as_keys(asked, number), ["doc_id", "text_hash"], "left_semi")
    stored = active.vectors.select("doc_id", "run_id")
    stored = stored.join(as_keys(asked.select("doc_id"), number), "doc_id", "left_semi")
    return compared(claimed, stored).where(~F.col("wrong")).select("doc_id")


def taken_chunks(active: ActiveChunks, documents: DataFrame, number: int) -> DataFrame:
    """Reads chunks of the active space as rows of `schemas.staged.CUT`.

    Args:
        active: The active space.
        documents: Rows of `same_documents`.
        number: How many, at most.

    Returns:
        Their chunks. What is only counted while a text is cut is null.
    """
    # A payload column may have the name of a column that chunks in flight have.
    stored = [field.name for field in (*KEY_AND_TEXT, *active.optional)]
    rows = active.vectors.select(stored).join(as_keys(documents, number), "doc_id", "left_semi")
    absent = {field.name: F.lit(None).cast(field.dataType) for field in CUT if field.name not in stored}
    return rows.withColumns(absent).select(CUT.names)
