"""A space as exports see it, without a store behind it."""

from typing import Any

from schemas.precision import OutputPrecision
from spark_jobs.export_space import ExportSpace
from spark_jobs.store import Place
from spark_jobs.vector_history import Pinned


def space_of(precision: OutputPrecision = "float32", dimension: int = 2, ranges: Any = None) -> ExportSpace:
    nowhere: Any = None
    return ExportSpace(
        name="toy.main",
        place=Place(nowhere, "toy", "main"),
        vectors=Pinned(nowhere, 1, "t1", 2),
        model_fingerprint="m1",
        dimension=dimension,
        precision=precision,
        ranges=ranges,
    )
