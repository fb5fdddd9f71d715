"""What can be wrong with the rows of a space: DataFrame in, DataFrame out, no I/O."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.ledger import EMBEDDED, EMPTY, LEDGER, QUARANTINED, REDO
from schemas.precision import stored_dimension
from schemas.table import quoted
from spark_jobs.store.failpoints import boundary
from spark_jobs.store.ledger import compared
from spark_jobs.store.tables import SpaceTables
from udfs.specs import ModelSpec

NO_ID = "rows of vectors without doc_id or chunk_id"
REPEATED = "rows of vectors whose chunk_id stands on other rows too"
WRONG_HASH = "rows of vectors whose text_hash is not the SHA-256 of their text"
NO_VECTOR = "rows of vectors without an embedding"
WRONG_DIMENSION = "rows of vectors with an embedding of another dimension than the space's"
NOT_FINITE = "rows of vectors with an embedding that is not finite"
ZERO = "rows of vectors with an embedding that is zero"
NOT_UNIT = "rows of vectors with an embedding that has not unit length, although the model normalises"
NO_LEDGER_ID = "rows of the ledger without doc_id"
ORPHANS = "documents with chunks but without a row in the ledger"
SEVERAL = "documents with several rows in the ledger"
OTHER_COUNT = "documents with another number of chunks than the ledger says"
LATER = "documents with chunks of a later run than the ledger knows of"
WRONG_STATUS = "documents whose status in the ledger contradicts their chunk_count"
WRONG_INDEX = "documents whose chunks are not numbered 0, 1, 2, ..."
# Rows that are bad in themselves: whatever the next run makes of their documents, they may not stay.
ROW_FAULTS = (NO_ID, REPEATED, WRONG_HASH, NO_VECTOR, WRONG_DIMENSION, NOT_FINITE, ZERO, NOT_UNIT)
FAULTS = (*ROW_FAULTS, NO_LEDGER_ID, ORPHANS, SEVERAL, OTHER_COUNT, LATER, WRONG_STATUS, WRONG_INDEX)
# Rounding of half-precision models stays far below it.
_LENGTH_TOLERANCE = 1e-3

# Columns of a MERGE's source, so that none of the target's has the same name.
_INCOMING = "_incoming_"
_OPERATION = _INCOMING + "operation"
_KEY = _INCOMING + "key"
_MARK, _DROP, _INSERT = "mark", "drop", "insert"


def faulty_rows(vectors: DataFrame, model: ModelSpec) -> DataFrame:
    """Finds rows of vectors that are bad in themselves, whatever the ledger says.

    Args:
        vectors: The space's vectors.
        model: What made them: dimension, whether they have unit length, and how numbers are stored.

    Returns:
        Columns doc_id, chunk_id and `fault`: one row for each fault of each row.
    """
    # One walk over the numbers tells all: a null or NaN among them makes the sum null or NaN.
    squares = F.aggregate("embedding", F.lit(0.0), lambda total, x: total + x.cast("double") * x.cast("double"))
    faults = [
        F.when(F.col("doc_id").isNull() | F.col("chunk_id").isNull(), NO_ID),
        F.when(F.coalesce(F.sha2("text", 256) != F.col("text_hash"), F.lit(True)), WRONG_HASH),
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
    # Bytes stand for other numbers than they are: any of them is finite, and zero is one among others.
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
    """Finds documents about which ledger and vectors disagree; no text and no vector is read.

    Args:
        ledger: The space's ledger.
        vectors: The space's vectors.

    Returns:
        Columns doc_id and `fault`: one row for each fault of each document. What an earlier repair marked is known to
        be incomplete and no fault.
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
    one = (rows == 1) & F.col("marked").isNull()
    fits = (
        ((F.col("status") == EMBEDDED) & (count > 0))
        | ((F.col("status") == EMPTY) & (count == 0))
        | (F.col("status") == QUARANTINED)
    )
    in_order = F.coalesce(
        (F.col("first") == 0) & (F.col("last") == stored - 1) & (F.col("numbers") == stored), stored == 0
    )
    # A repair may take a chunk out of a document that then fails: what is left of it is served as it is.
    numbered = F.col("status") != QUARANTINED
    return [
        F.when(rows.isNull(), ORPHANS),
        F.when(rows > 1, SEVERAL),
        F.when(one & is_later, LATER),
        F.when(one & F.col("wrong") & ~is_later, OTHER_COUNT),
        F.when(one & ~F.coalesce(fits, F.lit(False)), WRONG_STATUS),
        F.when(one & numbered & ~in_order, WRONG_INDEX),
    ]


def remove_rows(rows: DataFrame, tables: SpaceTables, with_null_ids: bool) -> None:
    """Takes every row out of `vectors` that has one of the given chunk ids.

    Args:
        rows: Column chunk_id and others, from a fixed version of the table: MERGE may read them more than once.
        tables: The space's tables.
        with_null_ids: Whether rows without an id of their own or their document go too; all rows are then read.
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
    """Marks documents in `ledger`, so that the next run does them again, or takes out what the source no longer has.

    Args:
        documents: Column doc_id, each once, from fixed versions of the tables.
        ledger: The ledger at a fixed version.
        vectors: The vectors that are left.
        tables: The space's tables.
        with_null_ids: Whether rows without doc_id go too.
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
    # One commit replaces several rows by one: MERGE inserts what matches no row, and a null key matches none.
    key = F.when(F.col("operation") != _INSERT, F.col("doc_id")).alias(_KEY)
    return rows.select(key, F.col("operation").alias(_OPERATION), *columns)


def _operation() -> Column:
    several, is_stored = F.col("ledger_rows") > 1, F.col("stored").isNotNull()
    return F.explode(
        F.when(F.col("ledger_rows") == 1, F.array(F.lit(_MARK)))
        .when(several, F.array(F.lit(_DROP), F.lit(_INSERT)))
        # What is in neither table any more is no document of the space.
        .when(is_stored, F.array(F.lit(_INSERT)))
        .otherwise(F.array().cast("array<string>"))
    )
