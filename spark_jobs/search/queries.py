"""Queries: read from a file by Spark, checked, and embedded with the model's query prompt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.errors import InputError
from spark_jobs.runtime.inference import embed_rows
from spark_jobs.runtime.parallelism import task_slots
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.search.query_rows import ID_COLUMNS, TEXT_COLUMN, Query, as_query, find_id_column, query_faults, shown
from spark_jobs.store.open_space import OpenSpace
from udfs.quantization import restored
from udfs.specs import InferenceSpec
from udfs.topk import Matrix

# Spark's format for each file extension.
_FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv", ".orc": "orc"}
_NAMED_FAULTS = 10


@dataclass(frozen=True)
class EmbeddedQueries:
    """Queries with their embeddings.

    Attributes:
        ids: Ids of the queries.
        matrix: (q, dimension) float32, in the order of the ids.
        truncated: Ids of queries that are longer than the model's limit; only their beginning was embedded.
    """

    ids: list[str]
    matrix: Matrix
    truncated: list[str]


def embed_queries(
    space: OpenSpace, model: InferenceSpec, queries: Sequence[Query], rescore: bool = False
) -> EmbeddedQueries:
    """Embeds queries on the executors, with the space's model and its query prompt.

    Args:
        space: The space.
        model: Its model, as `search_model` describes it.
        queries: Pairs of id and text.
        rescore: Whether queries stay in float32 in a space of int8 or binary.

    Returns:
        The queries in their order; without `rescore`, their numbers are rounded to the space's precision.

    Raises:
        InputError: There are no queries, one is blank, ids repeat, or the model cannot embed one.
    """
    _check_queries(queries)
    spark, inference = space.tables.spark, replace(model, role="query")
    if rescore:
        inference = replace(inference, model=replace(inference.model, precision="float32"))
    # For one question, slots are not counted: over Connect that takes a separate job.
    partitions = min(len(queries), task_slots(spark)) if len(queries) > 1 else 1
    rows = spark.createDataFrame(list(queries), "text_hash string, text string").repartition(partitions)
    embedded = embed_rows(rows, inference, space.settings.inference).toArrow()
    by_id = {
        row["text_hash"]: row for row in embedded.select(["text_hash", "embedding", "truncated", "reason"]).to_pylist()
    }
    faults = [
        f"query {shown(query_id)} cannot be embedded: {row['reason']}"
        for query_id, row in by_id.items()
        if row["reason"]
    ]
    if faults:
        raise InputError(faults)
    ids = [query_id for query_id, _ in queries]
    stored = np.array([by_id[query_id]["embedding"] for query_id in ids])
    matrix = restored(stored, inference.model.precision, inference.ranges)
    return EmbeddedQueries(ids, matrix, [query_id for query_id in ids if by_id[query_id]["truncated"]])


def _check_queries(queries: Sequence[Query]) -> None:
    if not queries:
        raise InputError("there are no queries. Give at least one.")
    faults = list(dict.fromkeys(fault for _, fault in query_faults(queries)))
    if faults:
        others = len(faults) - _NAMED_FAULTS
        raise InputError(faults[:_NAMED_FAULTS] + ([f"and {others} others"] if others > 0 else []))


def read_queries(spark: SparkSession, path: str, size: int) -> Iterator[list[Query]]:
    """Reads queries from a file or folder, some at a time.

    Args:
        spark: A live session.
        path: JSON lines, CSV with a header, Parquet or ORC, by the extension; without one, a Delta table's folder.
        size: Maximum number of queries at a time.

    Yields:
        Pairs of id and text, which may still be blank or repeat an id.

    Raises:
        InputError: The path cannot be read, or has no column `text` or none of `_id`, `id` and `query_id`.
    """
    rows = _rows(spark, path).toLocalIterator()
    while group := [as_query(row[0], row[1]) for row in islice(rows, size)]:
        yield group


def _rows(spark: SparkSession, path: str) -> DataFrame:
    ending = next((ending for ending in _FORMATS if path.lower().endswith(ending)), None)
    try:
        rows = spark.read.options(header="true").format(_FORMATS[ending] if ending else "delta").load(path)
        names = rows.columns
    except Exception as error:  # Py4J raises it if a file cannot be read, PySpark if a plan is invalid
        raise InputError(f"the queries {path} cannot be read: {cause_of(error)}") from error
    id_column = find_id_column(names)
    if id_column is None or TEXT_COLUMN not in names:
        raise InputError(
            f"the columns of the queries {path} are {', '.join(names[:10]) or 'none'}. Name them {TEXT_COLUMN}, and "
            f"{', '.join(ID_COLUMNS[:-1])} or {ID_COLUMNS[-1]}."
        )
    return rows.select(F.col(id_column).cast("string"), F.col(TEXT_COLUMN).cast("string"))
