"""The Spark wrappers for inference: for SQL and notebooks, for the embedding run, and for calibration."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import ArrayType, FloatType

from schemas.worker_rows import TRIALS, inference_schema
from udfs.encoders.encoder import load_encoder
from udfs.encoders.protocol import Encoder
from udfs.inference.calibration import sizes_for, trials
from udfs.inference.engine import Embeddings, embed_windows
from udfs.inference.meter import Meter, peak_mebibytes
from udfs.inference.prefetch import windows
from udfs.inference.token_budget import TokenBudget, token_budget
from udfs.inference.token_file import task_meter
from udfs.quantization import clipped_values, quantized
from udfs.specs import InferenceSpec
from udfs.texts import is_blank
from udfs.worker import require_version, task_cores

Batches = Iterator[pa.RecordBatch]
_METER = to_arrow_schema(inference_schema()).field("meter").type


def embed_udf(spec: InferenceSpec) -> Callable[..., object]:
    """Creates a column function that embeds texts. Call this on the driver; the function runs on executors.

    Use it in `select`, or register it for SQL with `spark.udf.register("embed", embed_udf(spec))`.

    Args:
        spec: The model and how to run it.

    Returns:
        An iterator pandas UDF from string to array<float>. Null texts, blank texts, and texts that the model cannot
        embed become null.
    """
    version = require_version()

    def embed(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        require_version(version)
        encoder = _task_encoder(spec)
        masks: deque[list[bool]] = deque()

        def embeddable() -> Iterator[list[str]]:
            for texts in batches:
                masks.append([isinstance(text, str) and not is_blank(text) for text in texts])
                yield [text for text, is_embeddable in zip(texts, masks[-1], strict=True) if is_embeddable]

        for embeddings in embed_windows(encoder, embeddable(), spec, token_budget(spec, encoder), Meter()):
            yield _as_series(masks.popleft(), embeddings)

    # The type object, because parsing a type name would need a session.
    return pandas_udf(embed, returnType=ArrayType(FloatType()))  # type: ignore[call-overload, no-any-return]


def embed_arrow(spec: InferenceSpec, told: Path | None = None) -> Callable[[Batches], Batches]:
    """Creates the function for `mapInArrow` that embeds texts. Call this on the driver.

    Args:
        spec: The model and how to run it.
        told: File in which tasks count their tokens, for a driver on the same machine; None for none.

    Returns:
        A function from batches with columns text_hash and text to batches of `schemas.worker_rows.inference_schema`.
        The batch sizes differ from those of the input.
    """
    version = require_version()

    def embed(batches: Batches) -> Batches:
        require_version(version)
        began = perf_counter()
        encoder = _task_encoder(spec)
        load_seconds = perf_counter() - began
        budget, meter, hashes = token_budget(spec, encoder), task_meter(told, _partition()), deque[Any]()

        def texts() -> Iterator[list[str]]:
            for window in windows(batches):
                hashes.append(window.column("text_hash"))
                column: Any = window.column("text")
                yield column.to_pylist()

        for embeddings in embed_windows(encoder, texts(), spec, budget, meter):
            with meter.timed("encode"):
                batch = _as_batch(hashes.popleft(), embeddings, spec, _metered(encoder, budget, meter, load_seconds))
            with meter.timed("write"):
                yield batch

    return embed


def calibrate_arrow(spec: InferenceSpec, rounds: int) -> Callable[[Batches], Batches]:
    """Creates the function for `mapInArrow` that tries sizes of forward passes. Call this on the driver.

    Args:
        spec: The model and how to run it.
        rounds: How often each size is tried.

    Returns:
        A function from batches with the column text to batches of `schemas.worker_rows.TRIALS`.
    """
    version = require_version()

    def calibrate(batches: Batches) -> Batches:
        require_version(version)
        texts = [text.as_py() for batch in batches for text in batch.column("text")]
        # In a small library, some tasks get no texts.
        if texts:
            encoder = _task_encoder(spec)
            hardware = {"device": encoder.device, "dtype": encoder.dtype}
            for trial in trials(encoder, texts, sizes_for(encoder.device), rounds):
                row = {**asdict(trial), "kind": trial.size.kind, "value": trial.size.value, **hardware}
                yield pa.RecordBatch.from_pylist([row], schema=to_arrow_schema(TRIALS))

    return calibrate


def _partition() -> int:
    context = TaskContext.get()
    return context.partitionId() if context else 0


def _task_encoder(spec: InferenceSpec) -> Encoder:
    context = TaskContext.get()
    gpus = context.resources().get("gpu") if context else None
    if spec.device == "auto" and gpus is not None:
        spec = replace(spec, device=f"cuda:{gpus.addresses[0]}")
    return load_encoder(spec, cores=task_cores(), partition=_partition())


def _metered(encoder: Encoder, budget: TokenBudget, meter: Meter, load_seconds: float) -> dict[str, Any]:
    return {
        **meter.take(),
        "load_seconds": load_seconds,
        "token_budget": float(budget.tokens),
        "peak_mebibytes": peak_mebibytes("cpu"),
        "device": encoder.device,
        "dtype": encoder.dtype,
        "backend": encoder.choice.backend,
        "torch_rate": encoder.choice.torch_rate,
        "openvino_rate": encoder.choice.openvino_rate,
        "backend_note": encoder.choice.note,
    }


def _as_series(mask: list[bool], embeddings: Embeddings) -> pd.Series:
    rows: list[object] = [None] * len(mask)
    indices = [index for index, is_embedded in enumerate(mask) if is_embedded]
    for index, row, reason in zip(indices, embeddings.matrix, embeddings.reasons, strict=True):
        rows[index] = None if reason else row
    return pd.Series(rows, dtype="object")


def _as_batch(
    text_hashes: "pa.Array[Any]", embeddings: Embeddings, spec: InferenceSpec, metered: dict[str, Any]
) -> pa.RecordBatch:
    matrix = quantized(embeddings.matrix, spec.model.precision, spec.ranges)
    count, dimension = matrix.shape
    failed = np.asarray([reason is not None for reason in embeddings.reasons], dtype=np.bool_)
    if spec.model.precision == "int8" and spec.ranges is not None:
        metered["clipped"] = float(clipped_values(embeddings.matrix[~failed], spec.ranges))
    # One flat buffer with evenly spaced offsets, so that no vector becomes a Python list.
    embedding = pa.ListArray.from_arrays(
        pa.array(np.arange(count + 1, dtype=np.int32) * dimension),
        pa.array(matrix.reshape(-1)),
        mask=pa.array(failed),
    )
    return pa.RecordBatch.from_arrays(
        [
            text_hashes,
            pa.array(embeddings.token_counts),
            pa.array(embeddings.truncated),
            pa.array(embeddings.reasons, pa.string()),
            pa.array(embeddings.details, pa.string()),
            embedding,
            pa.concat_arrays([pa.array([metered], _METER), pa.nulls(count - 1, _METER)]),
        ],
        names=["text_hash", "token_count", "truncated", "reason", "detail", "embedding", "meter"],
    )
