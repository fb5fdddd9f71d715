"""A space as exports see it, without a store."""

from types import SimpleNamespace
from typing import Any

from schemas.precision import OutputPrecision
from spark_jobs.store.open_space import OpenSpace
from spark_jobs.store.tables import SpaceTables, TableLocation
from spark_jobs.store.versions import PinnedVectors


def space_of(precision: OutputPrecision = "float32", dimension: int = 2, ranges: Any = None) -> OpenSpace:
    nowhere: Any = None
    rows: Any = SimpleNamespace(count=lambda: 2)
    return OpenSpace(
        settings=nowhere,
        tables=SpaceTables(nowhere, TableLocation(nowhere, "toy", "main")),
        vectors=PinnedVectors(nowhere, rows, 1),
        created_at=nowhere,
        model_path="fake:2",
        model_fingerprint="m1",
        dimension=dimension,
        precision=precision,
        ranges=ranges,
    )
