"""The two commits of a repair: bad rows go out of `vectors`, then the ledger says which documents to do again.

In this order: a run keeps stored chunks that its texts still have, so a bad row that stayed would outlive its mark.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.conform import quoted
from schemas.ledger import EMBEDDED, LEDGER, REDO
from spark_jobs.failpoints import boundary
from spark_jobs.merges import INCOMING
from spark_jobs.places import Place

_OPERATION = INCOMING + "operation"
_KEY = INCOMING + "key"
_MARK, _DROP, _INSERT = "mark", "drop", "insert"


def remove_rows(rows: DataFrame, place: Place, with_null_ids: bool) -> None:
    """Takes every row out of `vectors` that has one of the given chunk ids.

    Args:
        rows: Column chunk_id and others, from a fixed version of the table: MERGE may read them more than once.
        place: Where the tables lie.
        with_null_ids: Whether rows without an id of their own or their document go too; all rows are then read.
    """
    ids = rows.where(F.col("chunk_id").isNotNull()).select(F.col("chunk_id").alias(_KEY)).distinct()
    merge = ids.mergeInto(place.name("vectors"), F.col("chunk_id") == F.col(_KEY)).whenMatched().delete()
    if with_null_ids:
        merge = merge.whenNotMatchedBySource(F.col("chunk_id").isNull() | F.col("doc_id").isNull()).delete()
    with boundary("vectors"):
        merge.merge()


def mark_documents(
    documents: DataFrame, ledger: DataFrame, vectors: DataFrame, place: Place, with_null_ids: bool
) -> None:
    """Marks documents in `ledger`, so that the next run does them again, or takes out what the source no longer has.

    Args:
        documents: Column doc_id, each once, from fixed versions of the tables.
        ledger: The ledger at a fixed version.
        vectors: The vectors that are left.
        place: Where the tables lie.
        with_null_ids: Whether rows without doc_id go too.
    """
    rows = _as_marks(documents, ledger, vectors)
    merge = (
        rows.mergeInto(place.name(LEDGER.name), F.col("doc_id") == F.col(_KEY))
        .whenMatched(F.col(_OPERATION) == _DROP)
        .delete()
        .whenMatched(F.col(_OPERATION) == _MARK)
        .update({quoted(name): F.col(INCOMING + name) for name in ("text_hash", "chunk_count")})
        .whenNotMatched(F.col(_OPERATION) == _INSERT)
        .insert({quoted(name): F.col(INCOMING + name) for name in LEDGER.schema.names})
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
        values.get(field.name, F.lit(None)).cast(field.dataType).alias(INCOMING + field.name) for field in LEDGER.schema
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
