"""Queries: read from a file by Spark, checked, and embedded with the model's query prompt."""

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from pyspark.sql import SparkSession
from pyspark.sql.types import NumericType, StringType

from schemas.errors import InputError
from schemas.table import quoted
from spark_jobs.runtime.inference import embed_rows
from spark_jobs.runtime.parallelism import task_slots
from spark_jobs.runtime.spark_errors import cause_of
from spark_jobs.search.query_files import check_columns, parse_queries, take_queries
from spark_jobs.search.query_rows import TEXT_COLUMN, Query, query_faults, shown
from spark_jobs.search.text_files import TextFile, as_text
from spark_jobs.settings.sections import InferenceSettings
from spark_jobs.store.open_space import StoredSpace
from udfs.encoders.protocol import Encoder
from udfs.inference.engine import embed_texts
from udfs.quantization import quantized, restored
from udfs.specs import InferenceSpec
from udfs.topk import Matrix

_TEXT_ENDINGS = (".jsonl", ".json", ".csv")
# Spark's format for the other extensions.
_FORMATS = {".parquet": "parquet", ".orc": "orc"}
_ID_TYPES = (StringType, NumericType)
# A whole file passes through a task and the driver, each of which keeps copies.
_MOST_BYTES = 64 * 2**20
_GZIP = b"\x1f\x8b"
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


def query_model(model: InferenceSpec, rescore: bool = False) -> InferenceSpec:
    """Describes how a space's model embeds queries.

    Args:
        model: The model, as `search_model` describes it.
        rescore: Whether queries stay in float32 in a space of int8 or binary.

    Returns:
        The model with its query prompt and the precision of the queries.
    """
    kept = replace(model.model, precision="float32" if rescore else model.model.precision)
    return replace(model, role="query", model=kept)


def embed_queries(
    space: StoredSpace, model: InferenceSpec, queries: Sequence[Query], rescore: bool = False
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
    return embed_on_executors(space.tables.spark, query_model(model, rescore), queries, space.settings.inference)


def embed_on_executors(
    spark: SparkSession, model: InferenceSpec, queries: Sequence[Query], settings: InferenceSettings
) -> EmbeddedQueries:
    """Embeds queries on the executors, for a space that may not have been found yet.

    Args:
        spark: The live session.
        model: The model, as `query_model` describes it.
        queries: Pairs of id and text.
        settings: How inference asks for resources.

    Returns:
        The queries in their order, their numbers rounded to the model's precision.

    Raises:
        InputError: There are no queries, one is blank, ids repeat, or the model cannot embed one.
    """
    _check_queries(queries)
    rows = spark.createDataFrame(list(queries), "text_hash string, text string")
    # For one question, slots are not counted, which over Connect is a job, and nothing is shuffled.
    rows = rows.repartition(min(len(queries), task_slots(spark))) if len(queries) > 1 else rows.coalesce(1)
    embedded = embed_rows(rows, model, settings).toArrow()
    by_id = {
        row["text_hash"]: row for row in embedded.select(["text_hash", "embedding", "truncated", "reason"]).to_pylist()
    }
    _check_reasons((query_id, row["reason"]) for query_id, row in by_id.items())
    ids = [query_id for query_id, _ in queries]
    stored = np.array([by_id[query_id]["embedding"] for query_id in ids])
    matrix = restored(stored, model.model.precision, model.ranges)
    return EmbeddedQueries(ids, matrix, [query_id for query_id in ids if by_id[query_id]["truncated"]])


def embed_here(encoder: Encoder, model: InferenceSpec, queries: Sequence[Query]) -> EmbeddedQueries:
    """Embeds queries in this process, as executors would.

    Args:
        encoder: The loaded model.
        model: What it was loaded for, as `query_model` describes it.
        queries: Pairs of id and text.

    Returns:
        The queries in their order, their numbers rounded to the model's precision.

    Raises:
        InputError: There are no queries, one is blank, ids repeat, or the model cannot embed one.
    """
    _check_queries(queries)
    ids = [query_id for query_id, _ in queries]
    embeddings = embed_texts(encoder, [text for _, text in queries], model)
    _check_reasons(zip(ids, embeddings.reasons, strict=True))
    precision, ranges = model.model.precision, model.ranges
    matrix = restored(quantized(embeddings.matrix, precision, ranges), precision, ranges)
    return EmbeddedQueries(ids, matrix, [ids[place] for place in np.flatnonzero(embeddings.truncated)])


def _check_reasons(reasons: Iterable[tuple[str, str | None]]) -> None:
    faults = [f"query {shown(query_id)} cannot be embedded: {reason}" for query_id, reason in reasons if reason]
    if faults:
        raise InputError(faults)


def _check_queries(queries: Sequence[Query]) -> None:
    if not queries:
        raise InputError("there are no queries. Give at least one.")
    faults = list(dict.fromkeys(fault for _, fault in query_faults(queries)))
    if faults:
        others = len(faults) - _NAMED_FAULTS
        raise InputError(faults[:_NAMED_FAULTS] + ([f"and {others} others"] if others > 0 else []))


def read_queries(spark: SparkSession, path: str) -> list[Query]:
    """Reads queries from a file or folder.

    Args:
        spark: A live session.
        path: JSON lines, CSV with a header, Parquet or ORC, by the extension; without one, a Delta table's folder.

    Returns:
        Pairs of id and text; ids are unique, and no text is blank.

    Raises:
        InputError: The path cannot be read, has no column `text` or none of `_id`, `id` and `query_id`, or rows are
            wrong; the first ten of each file are named.
    """
    ending = next((ending for ending in (*_TEXT_ENDINGS, *_FORMATS) if path.lower().endswith(ending)), None)
    try:
        if ending in _TEXT_ENDINGS:
            queries, faults = parse_queries(_text_files(spark, path))
        else:
            queries, faults = _typed_queries(spark, path, _FORMATS[ending] if ending else "delta")
    except InputError:
        raise
    except Exception as error:  # Py4J raises it if a file cannot be read, PySpark if a plan is invalid
        raise InputError(f"the queries {path} cannot be read: {cause_of(error)}") from error
    if faults:
        raise InputError(faults)
    return queries


def _text_files(spark: SparkSession, path: str) -> dict[str, TextFile]:
    # Whole files, because Spark's readers of text take quotation marks, missing values and wrong bytes in their own
    # ways, and evaluations read the same files without Spark.
    rows = spark.read.format("binaryFile").load(path)
    sizes = rows.select("path", "length").orderBy("path").collect()
    faults = [
        f"the queries file {row.path} has {row.length:,} bytes; at most {_MOST_BYTES:,} are read. Split it, or write "
        "it as Parquet."
        for row in sizes
        if row.length > _MOST_BYTES
    ]
    if faults:
        raise InputError(faults)
    files = {}
    for row in rows.select("path", "content").orderBy("path").toLocalIterator():
        name, content = PurePosixPath(row.path).name, bytes(row.content)
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
        # A folder's own name says the format of all its files.
        is_file = PurePosixPath(path).name == name
        files[path if is_file else f"{path.rstrip('/')}/{name}"] = as_text(Path(path), content)
    return files


def _typed_queries(spark: SparkSession, path: str, spark_format: str) -> tuple[list[Query], list[str]]:
    rows = spark.read.format(spark_format).load(path)
    id_column = check_columns(path, rows.columns)
    faults = [
        f"column {name} of the queries {path} is {rows.schema[name].dataType.simpleString()}. Cast it to {to}."
        for name, kinds, to in (
            (id_column, _ID_TYPES, "a string or a whole number"),
            (TEXT_COLUMN, StringType, "a string"),
        )
        if not isinstance(rows.schema[name].dataType, kinds)
    ]
    if faults:
        raise InputError(faults)
    pairs = rows.select(quoted(id_column), quoted(TEXT_COLUMN)).toLocalIterator()
    return take_queries(path, id_column, ((row[0], row[1]) for row in pairs))
