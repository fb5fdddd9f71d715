"""The two Spark skins over the engine: one for SQL and notebooks, one for the batch job."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.types import ArrayType, FloatType

from udfs.documents import is_blank
from udfs.encoder import Encoder, load_encoder
from udfs.engine import Embeddings, embed_texts
from udfs.specs import InferenceSpec
from udfs.windows import windows
from udfs.worker import require_version, task_cores

Batches = Iterator[pa.RecordBatch]


def embed_udf(spec: InferenceSpec) -> Callable[..., object]:
    """Makes a column function that embeds texts; called on the driver, it runs on executors.

    Args:
        spec: What to load and how to run it.

    Returns:
        An iterator pandas UDF from string to array<float>. Null and blank texts, and texts that the model cannot
        embed, give null. Use it in `select`, or by `spark.udf.register("embed", embed_udf(spec))` in SQL.
    """
    version = require_version()

    def embed(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        require_version(version)
        encoder = _task_encoder(spec)
        for texts in batches:
            yield _as_series(encoder, texts, spec)

    # The type itself, for its name could only be read with a session.
    return pandas_udf(embed, returnType=ArrayType(FloatType()))  # type: ignore[call-overload, no-any-return]


def embed_arrow(spec: InferenceSpec) -> Callable[[Batches], Batches]:
    """Makes the function that the batch job gives to `mapInArrow`; called on the driver, it runs on executors.

    Args:
        spec: What to load and how to run it.

    Returns:
        A function from batches with columns text_hash and text to batches of `staged_vectors`, in any order.
    """
    version = require_version()

    def embed(batches: Batches) -> Batches:
        require_version(version)
        encoder = _task_encoder(spec)
        for window in windows(batches):
            texts = [text.as_py() for text in window.column("text")]
            yield _as_batch(window.column("text_hash"), embed_texts(encoder, texts, spec))

    return embed


def _task_encoder(spec: InferenceSpec) -> Encoder:
    context = TaskContext.get()
    gpus = context.resources().get("gpu") if context else None
    if spec.device == "auto" and gpus is not None:
        spec = replace(spec, device=f"cuda:{gpus.addresses[0]}")
    return load_encoder(spec, cores=task_cores(), partition=context.partitionId() if context else 0)


def _as_series(encoder: Encoder, texts: pd.Series, spec: InferenceSpec) -> pd.Series:
    wanted = [position for position, text in enumerate(texts) if isinstance(text, str) and not is_blank(text)]
    found = embed_texts(encoder, [texts.iloc[position] for position in wanted], spec)
    rows: list[object] = [None] * len(texts)
    for position, row, reason in zip(wanted, found.matrix, found.reasons, strict=True):
        rows[position] = None if reason else row
    return pd.Series(rows, dtype="object")


def _as_batch(text_hashes: "pa.Array[Any]", found: Embeddings) -> pa.RecordBatch:
    count, dimension = found.matrix.shape
    failed = np.asarray([reason is not None for reason in found.reasons], dtype=np.bool_)
    # One flat buffer with evenly spaced offsets: no vector ever becomes a Python list.
    embedding = pa.ListArray.from_arrays(
        pa.array(np.arange(count + 1, dtype=np.int32) * dimension),
        pa.array(found.matrix.reshape(-1)),
        mask=pa.array(failed),
    )
    return pa.RecordBatch.from_arrays(
        [
            text_hashes,
            pa.array(found.token_counts),
            pa.array(found.truncated),
            pa.array(found.reasons, pa.string()),
            pa.array(found.details, pa.string()),
            embedding,
        ],
        names=["text_hash", "token_count", "truncated", "reason", "detail", "embedding"],
    )
