"""Queries: read from a file, checked, and embedded by the model's query prompt."""

from collections import Counter
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
from spark_jobs.store.open_space import OpenSpace
from udfs.quantization import restored
from udfs.specs import InferenceSpec
from udfs.texts import is_blank
from udfs.topk import Matrix

Query = tuple[str, str]
_FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv", ".orc": "orc"}
# Names that people give to what identifies a query, BEIR's first.
_IDS = ("_id", "id", "query_id")
_SHOWN = 80


@dataclass(frozen=True)
class EmbeddedQueries:
    """Queries with their embeddings.

    Attributes:
        ids: Their ids.
        matrix: (q, dimension) float32, in the order of the ids.
        truncated: Ids of the queries of which the model saw only the beginning.
    """

    ids: list[str]
    matrix: Matrix
    truncated: list[str]


def embed_queries(
    space: OpenSpace, model: InferenceSpec, queries: Sequence[Query], rescore: bool = False
) -> EmbeddedQueries:
    """Embeds queries on the executors, by the space's model with its query prompt.

    Args:
        space: The space.
        model: Its model, as `search_model` describes it.
        queries: Pairs of id and text.
        rescore: Whether queries stay in float32 where the space stores fewer bytes.

    Returns:
        The queries in their order; in a space of bytes or bits, with the numbers that its form has for them.

    Raises:
        InputError: A query is blank, ids repeat, or the model cannot embed one.
    """
    check_queries(queries)
    spark, inference = space.tables.spark, replace(model, role="query")
    if rescore:
        inference = replace(inference, model=replace(inference.model, precision="float32"))
    # One question needs no count of slots, which over Connect is a job of its own.
    partitions = min(len(queries), task_slots(spark)) if len(queries) > 1 else 1
    rows = spark.createDataFrame(list(queries), "text_hash string, text string").repartition(partitions)
    made = embed_rows(rows, inference, space.settings.inference).toArrow()
    found = {
        row["text_hash"]: row for row in made.select(["text_hash", "embedding", "truncated", "reason"]).to_pylist()
    }
    failed = [
        f"query {query_id[:_SHOWN]!r} cannot be embedded: {row['reason']}"
        for query_id, row in found.items()
        if row["reason"]
    ]
    if failed:
        raise InputError(failed)
    ids = [query_id for query_id, _ in queries]
    stored = np.array([found[query_id]["embedding"] for query_id in ids])
    matrix = restored(stored, inference.model.precision, inference.ranges)
    return EmbeddedQueries(ids, matrix, [query_id for query_id in ids if found[query_id]["truncated"]])


def check_queries(queries: Sequence[Query]) -> None:
    """Refuses what cannot be asked.

    Args:
        queries: Pairs of id and text.

    Raises:
        InputError: There is none, one is blank, or ids repeat; all of it.
    """
    if not queries:
        raise InputError("there are no queries: give at least one")
    faults = [f"query {query_id[:_SHOWN]!r} is empty: ask something" for query_id, text in queries if is_blank(text)]
    counts = Counter(query_id for query_id, _ in queries)
    faults += [
        f"query id {key[:_SHOWN]!r} stands in {n} queries: make ids unique" for key, n in counts.items() if n > 1
    ]
    if faults:
        raise InputError(faults[:10] + ([f"and {len(faults) - 10} others"] if len(faults) > 10 else []))


def read_queries(spark: SparkSession, path: str, size: int) -> Iterator[list[Query]]:
    """Reads queries from a file or folder, some at a time.

    Args:
        spark: The live session.
        path: JSON lines, CSV with a first line of names, Parquet or ORC, by the ending; a folder of Delta without one.
        size: Most queries at a time.

    Yields:
        Pairs of id and text.

    Raises:
        InputError: It cannot be read, or has no column `text` or none of `_id`, `id` and `query_id`.
    """
    rows = _rows(spark, path).toLocalIterator()
    while group := [(str(row["id"]), row["text"] or "") for row in islice(rows, size)]:
        yield group


def _rows(spark: SparkSession, path: str) -> DataFrame:
    ending = next((ending for ending in _FORMATS if path.lower().endswith(ending)), None)
    try:
        rows = spark.read.options(header="true").format(_FORMATS[ending] if ending else "delta").load(path)
        names = rows.columns
    except Exception as error:  # Py4J's where a file cannot be read, PySpark's where a plan makes no sense
        raise InputError(f"the queries {path} cannot be read: {cause_of(error)}") from error
    key = next((name for name in _IDS if name in names), None)
    if key is None or "text" not in names:
        raise InputError(
            f"the queries {path} have the columns {', '.join(names[:10]) or 'none'}: they need text, and {_IDS[0]}, "
            f"{_IDS[1]} or {_IDS[2]}"
        )
    return rows.select(F.col(key).cast("string").alias("id"), F.col("text").cast("string").alias("text"))
