"""What can be wrong with the rows of a space, and the commits that repair it."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.documents import DOCUMENTS
from schemas.ledger import EMBEDDED, EMPTY, LEDGER, QUARANTINED, REDO
from schemas.precision import stored_dimension
from schemas.table import quoted
from schemas.vectors import model_text
from spark_jobs.store.failpoints import boundary
from spark_jobs.store.ledger import compared
from spark_jobs.store.tables import SpaceTables
from udfs.specs import ModelSpec

NO_ID = "rows of vectors without doc_id or chunk_id"
REPEATED = "rows of vectors whose chunk_id appears on other rows too"
WRONG_HASH = "rows of vectors whose text_hash is not the SHA-256 of their text, after their context"
NO_VECTOR = "rows of vectors without an embedding"
WRONG_DIMENSION = "rows of vectors whose embedding does not have the space's dimension"
NOT_FINITE = "rows of vectors whose embedding is not finite"
ZERO = "rows of vectors whose embedding is zero"
NOT_UNIT = "rows of vectors whose embedding does not have unit length, although the model normalizes"
NO_LEDGER_ID = "rows of the ledger without doc_id"
ORPHANS = "documents with chunks but no row in the ledger"
SEVERAL = "documents with more than one row in the ledger"
OTHER_COUNT = "documents whose number of chunks differs from the ledger's"
LATER = "documents with chunks of a later run than the ledger records"
WRONG_STATUS = "documents whose status in the ledger contradicts their chunk_count"
WRONG_INDEX = "documents whose chunks are not numbered 0, 1, 2, ..."
REPEATED_FILE = "files with more than one row in documents, of which the source would count each"
WITHOUT_FILE = "documents of the ledger without a row in documents, though the last run has finished"
# Rows that are invalid by themselves. A repair removes them, whatever the next run does with their documents.
ROW_FAULTS = (NO_ID, REPEATED, WRONG_HASH, NO_VECTOR, WRONG_DIMENSION, NOT_FINITE, ZERO, NOT_UNIT)
_DOCUMENT_FAULTS = (NO_LEDGER_ID, ORPHANS, SEVERAL, OTHER_COUNT, LATER, WRONG_STATUS, WRONG_INDEX)
FAULTS = (*ROW_FAULTS, *_DOCUMENT_FAULTS, REPEATED_FILE, WITHOUT_FILE)
# Rounding in half-precision models stays far below this.
_LENGTH_TOLERANCE = 1e-3

# Prefix of columns in the source of a MERGE; with it, none has the name of a column in the target.
_INCOMING = "_incoming_"
_OPERATION = _INCOMING + "operation"
_KEY = _INCOMING + "key"
_MARK, _DROP, _INSERT = "mark", "drop", "insert"


def faulty_rows(vectors: DataFrame, model: ModelSpec, has_context: bool) -> DataFrame:
    """Finds rows of vectors that are invalid by themselves, whatever the ledger says.

    Args:
        vectors: The space's vectors.
        model: The model that created them: dimension, whether they have unit length, and how numbers are stored.
        has_context: Whether chunks of the space have a context.

    Returns:
        Columns doc_id, chunk_id and `fault`: one row for each fault of each row.
    """
    # One pass over the numbers is enough: a null or NaN among them makes the sum null or NaN.
    squares = F.aggregate("embedding", F.lit(0.0), lambda total, x: total + x.cast("double") * x.cast("double"))
    faults = [
        F.when(F.col("doc_id").isNull() | F.col("chunk_id").isNull(), NO_ID),
        F.when(F.coalesce(F.sha2(model_text(has_context), 256) != F.col("text_hash"), F.lit(True)), WRONG_HASH),
        _embedding_fault(model),
    ]
    rows = vectors.withColumn("squares", squares).select(
        "doc_id", "chunk_id", F.explode(F.array_compact(F.array(*faults))).alias("fault")
    )
    ids = vectors.where(F.col("chunk_id").isNotNull())
    repeated = ids.groupBy("chunk_id").agg(F.count(F.lit(1)).alias("n")).where(F.col("n") > 1)
    copies = ids.select("doc_id", "chunk_id").join(repeated, "chunk_id", "left_semi")
    return rows.unionByName(copies.withColumn("fault", F.lit(REPEATED)))


def _embedding_fault(model: ModelSpec) -> Column:
    squares = F.col("squares")
    not_finite = squares.isNull() | F.isnan(squares) | (squares == F.lit(float("inf")))
    # Stored bytes are codes for numbers: every byte is finite, and a zero byte is an ordinary value.
    is_float = F.lit(model.precision == "float32")
    not_unit = F.lit(model.normalize) & is_float & (F.abs(F.sqrt(squares) - 1) > _LENGTH_TOLERANCE)
    return (
        F.when(F.col("embedding").isNull(), NO_VECTOR)
        .when(F.size("embedding") != stored_dimension(model.dimension, model.precision), WRONG_DIMENSION)
        .when(not_finite, NOT_FINITE)
        .when(is_float & (squares == 0), ZERO)
        .when(not_unit, NOT_UNIT)
    )


def faulty_documents(ledger: DataFrame, vectors: DataFrame) -> DataFrame:
    """Finds documents on which ledger and vectors disagree; reads neither texts nor vectors.

    The result has the columns doc_id and `fault`, one row for each fault of each document. A document that an earlier
    repair marked is known to be incomplete, which is not a fault.
    """
    known, chunks = ledger.where(F.col("doc_id").isNotNull()), vectors.where(F.col("doc_id").isNotNull())
    marked = known.where(F.col("text_hash") == REDO).select("doc_id", F.lit(True).alias("marked")).distinct()
    numbers = chunks.groupBy("doc_id").agg(
        F.min("chunk_index").alias("first"),
        F.max("chunk_index").alias("last"),
        F.count_distinct("chunk_index").alias("numbers"),
    )
    documents = compared(known, chunks).join(marked, "doc_id", "left").join(numbers, "doc_id", "left")
    faults = documents.select("doc_id", F.explode(F.array_compact(F.array(*_document_faults()))).alias("fault"))
    unnamed = ledger.where(F.col("doc_id").isNull()).select("doc_id", F.lit(NO_LEDGER_ID).alias("fault"))
    return faults.unionByName(unnamed)


def _document_faults() -> list[Column]:
    rows, count, stored = F.col("ledger_rows"), F.col("chunk_count"), F.coalesce("stored", F.lit(0))
    is_later = F.coalesce(F.col("stored_in") > F.col("claimed_in"), F.lit(False))
    is_single = (rows == 1) & F.col("marked").isNull()
    fits = (
        ((F.col("status") == EMBEDDED) & (count > 0))
        | ((F.col("status") == EMPTY) & (count == 0))
        | (F.col("status") == QUARANTINED)
    )
    in_order = F.coalesce(
        (F.col("first") == 0) & (F.col("last") == stored - 1) & (F.col("numbers") == stored), stored == 0
    )
    # A repair can remove a chunk from a document that then fails: its other chunks stay as they are.
    must_be_numbered = F.col("status") != QUARANTINED
    return [
        F.when(rows.isNull(), ORPHANS),
        F.when(rows > 1, SEVERAL),
        F.when(is_single & is_later, LATER),
        F.when(is_single & F.col("wrong") & ~is_later, OTHER_COUNT),
        F.when(is_single & ~F.coalesce(fits, F.lit(False)), WRONG_STATUS),
        F.when(is_single & must_be_numbered & ~in_order, WRONG_INDEX),
    ]


def faulty_files(documents: DataFrame, ledger: DataFrame, is_settled: bool) -> DataFrame:
    """Finds files on which the table of parsed files and the ledger disagree; reads no text.

    Files without a row in the ledger are no fault: a filter of the source may leave them out.

    Args:
        documents: The space's `documents`.
        ledger: The space's ledger.
        is_settled: Whether the last run has finished. One that has not, or that stopped at its cap, removes what is
            gone from `documents` before it comes to the ledger.

    Returns:
        Columns doc_id and `fault`.
    """
    files = documents.groupBy(F.col("path").alias("doc_id")).agg(F.count(F.lit(1)).alias("n"))
    repeated = files.where(F.col("n") > 1).select("doc_id", F.lit(REPEATED_FILE).alias("fault"))
    if not is_settled:
        return repeated
    # What an earlier repair marked is known to be incomplete.
    known = ledger.where(F.col("doc_id").isNotNull() & (F.col("text_hash") != REDO)).select("doc_id").distinct()
    without = known.join(files, "doc_id", "left_anti").withColumn("fault", F.lit(WITHOUT_FILE))
    return repeated.unionByName(without)


def remove_files(faults: DataFrame, tables: SpaceTables) -> None:
    """Removes the rows of repeated files from `documents`, so that the next run reads the files again.

    Args:
        faults: Columns doc_id and `fault`, from fixed versions of the tables.
        tables: The space's tables.
    """
    paths = faults.where(F.col("fault") == REPEATED_FILE).select(F.col("doc_id").alias(_KEY)).distinct()
    merge = paths.mergeInto(tables.name(DOCUMENTS.name), F.col("path") == F.col(_KEY)).whenMatched().delete()
    with boundary(DOCUMENTS.name):
        merge.merge()


def remove_rows(rows: DataFrame, tables: SpaceTables, with_null_ids: bool) -> None:
    """Removes every row from `vectors` that has one of the given chunk ids.

    Args:
        rows: Column chunk_id and others, from a fixed version of the table: MERGE may read them more than once.
        tables: The space's tables.
        with_null_ids: Whether to also remove rows without chunk_id or doc_id; all rows are then read.
    """
    ids = rows.where(F.col("chunk_id").isNotNull()).select(F.col("chunk_id").alias(_KEY)).distinct()
    merge = ids.mergeInto(tables.name("vectors"), F.col("chunk_id") == F.col(_KEY)).whenMatched().delete()
    if with_null_ids:
        merge = merge.whenNotMatchedBySource(F.col("chunk_id").isNull() | F.col("doc_id").isNull()).delete()
    with boundary("vectors"):
        merge.merge()


def mark_documents(
    documents: DataFrame, ledger: DataFrame, vectors: DataFrame, tables: SpaceTables, with_null_ids: bool
) -> None:
    """Marks documents in `ledger`, so that the next run embeds them again or removes them.

    One row replaces several of the same document, and chunks without a row get one.

    Args:
        documents: Column doc_id, each once, from fixed versions of the tables.
        ledger: The ledger at a fixed version.
        vectors: The vectors that are left.
        tables: The space's tables.
        with_null_ids: Whether to also remove rows without doc_id.
    """
    rows = _as_marks(documents, ledger, vectors)
    merge = (
        rows.mergeInto(tables.name(LEDGER.name), F.col("doc_id") == F.col(_KEY))
        .whenMatched(F.col(_OPERATION) == _DROP)
        .delete()
        .whenMatched(F.col(_OPERATION) == _MARK)
        .update({quoted(name): F.col(_INCOMING + name) for name in ("text_hash", "chunk_count")})
        .whenNotMatched(F.col(_OPERATION) == _INSERT)
        .insert({quoted(name): F.col(_INCOMING + name) for name in LEDGER.schema.names})
    )
    if with_null_ids:
        merge = merge.whenNotMatchedBySource(F.col("doc_id").isNull()).delete()
    with boundary("ledger"):
        merge.merge()


def _as_marks(documents: DataFrame, ledger: DataFrame, vectors: DataFrame) -> DataFrame:
    known = ledger.groupBy("doc_id").agg(F.count(F.lit(1)).alias("ledger_rows"))
    stored = vectors.groupBy("doc_id").agg(
        F.count(F.lit(1)).cast("int").alias("stored"),
        F.sum("token_count").alias("tokens"),
        F.count_if("truncated").cast("int").alias("cut"),
        F.max("run_id").alias("run_id"),
    )
    rows = documents.join(known, "doc_id", "left").join(stored, "doc_id", "left").withColumn("operation", _operation())
    values: dict[str, Column] = {
        "text_hash": F.lit(REDO),
        "payload_hash": F.lit(""),
        "status": F.lit(EMBEDDED),
        "chunk_count": F.coalesce("stored", F.lit(0)),
        "token_count": F.coalesce("tokens", F.lit(0)),
        "truncated_count": F.coalesce("cut", F.lit(0)),
        "attempts": F.lit(0),
        "doc_id": F.col("doc_id"),
        "run_id": F.col("run_id"),
    }
    columns = [
        values.get(field.name, F.lit(None)).cast(field.dataType).alias(_INCOMING + field.name)
        for field in LEDGER.schema
    ]
    # One commit replaces several rows with one: MERGE inserts what matches no row, and a null key matches none.
    key = F.when(F.col("operation") != _INSERT, F.col("doc_id")).alias(_KEY)
    return rows.select(key, F.col("operation").alias(_OPERATION), *columns)


def _operation() -> Column:
    several, is_stored = F.col("ledger_rows") > 1, F.col("stored").isNotNull()
    return F.explode(
        F.when(F.col("ledger_rows") == 1, F.array(F.lit(_MARK)))
        .when(several, F.array(F.lit(_DROP), F.lit(_INSERT)))
        # A document in neither table no longer belongs to the space.
        .when(is_stored, F.array(F.lit(_INSERT)))
        .otherwise(F.array().cast("array<string>"))
    )
