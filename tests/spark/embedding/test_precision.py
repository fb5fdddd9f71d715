"""Embeddings stored as bytes and bits, from first load to refresh, compared with an oracle in numpy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder
from pyspark.sql import SparkSession

from schemas.errors import InputError, ReconciliationError
from spark_jobs import verify_space
from spark_jobs.embed_library import run
from spark_jobs.embedding import sampling
from spark_jobs.settings import Settings
from tests.support.template import QUANTIZED, quantized
from udfs.encoders.fake import FakeEncoder
from udfs.quantization import LEAST_TEXTS

pytestmark = pytest.mark.spark

DIMENSION = 16
# As many different texts as measured ranges need, in more documents.
MANY = [{"id": f"d{n}", "text": f"Owls hunt mouse {n // 2}."} for n in range(2 * LEAST_TEXTS)]
NEXT = [*MANY[:-1], {"id": "new", "text": "Bees make honey."}]
LATER = [QUANTIZED[0], *({"id": f"later{n}", "text": f"Bees visit flower {n}."} for n in range(39))]


def rows_of(folder: Path, columns: str) -> list[dict[str, Any]]:
    query = f"SELECT {columns} FROM t ORDER BY 1"
    return pa.table(QueryBuilder().register("t", DeltaTable(folder)).execute(query).read_all()).to_pylist()


def exact(texts: list[str]) -> np.ndarray:
    return FakeEncoder(DIMENSION).encode(texts)


def as_bytes(matrix: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    steps = (high - low) / np.float32(255)
    return np.clip(np.floor((matrix - low) / steps), 0, 255) - 128


# Worth its time: each precision has its own refresh, after a load that it shares with the search tests.
def test_int8_by_ranges_that_are_measured_once_and_stay(
    spark: SparkSession, loaded: Callable[..., Settings], write_json: Callable[..., str], tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    settings = loaded(MANY, **quantized("int8"))
    (space,) = rows_of(lake / "_embedlake" / "spaces", "ranges, model")
    low, high = np.array(json.loads(space["ranges"]), dtype=np.float32)
    sample = exact([document["text"] for document in MANY])
    assert np.array_equal(low, sample.min(axis=0))
    assert np.array_equal(high, sample.max(axis=0))
    write_json(NEXT)
    report = run(spark, settings)
    assert report.counts["values_clipped"] == ((new := exact(["Bees make honey."])) < low).sum() + (new > high).sum()
    assert len(rows_of(lake / "_embedlake" / "spaces", "ranges")) == 1
    rows = rows_of(lake / "toy" / "main" / "vectors", "text, embedding")
    assert sorted(row["text"] for row in rows) == sorted(document["text"] for document in NEXT)
    expected = as_bytes(exact([row["text"] for row in rows]), low, high)
    assert np.array_equal(np.array([row["embedding"] for row in rows]), expected)
    assert verify_space.run(spark, settings).findings == ()


@pytest.mark.parametrize("as_measured", [False, True])
def test_ranges_of_a_single_text_fit_a_library_that_grows_or_are_reported(
    spark: SparkSession,
    make_settings: Callable[..., Settings],
    write_json: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    as_measured: bool,
) -> None:
    if as_measured:
        # As spaces have them that began with too few texts before ranges were widened.
        monkeypatch.setattr(sampling, "settled_ranges", lambda low, high, *_: (tuple(low), tuple(high)))
    settings = make_settings(write_json(QUANTIZED[:1]), **quantized("int8"))
    run(spark, settings)
    write_json(LATER)
    report = run(spark, settings)
    rows = rows_of(tmp_path / "lake" / "toy" / "main" / "vectors", "text, embedding")
    different = len({tuple(row["embedding"]) for row in rows})
    if as_measured:
        assert different == 1
        assert report.counts["values_clipped"] == 39 * DIMENSION
        assert "100.0% of this run's values lie outside the space's int8 ranges" in str(report)
        with pytest.raises(ReconciliationError, match="16 numbers of the int8 embedding at an end of their range") as e:
            verify_space.run(spark, settings)
        assert "--repair" not in str(e.value)
        assert verify_space.run(spark, settings, repair=True).removed == 0
    else:
        assert different == len(LATER) == 40
        assert report.counts["values_clipped"] == 0
        assert "0.00% of values clipped · ranges widened" in str(report)
        assert verify_space.run(spark, settings).findings == ()


def test_binary_is_the_signs_and_another_precision_is_another_space(
    spark: SparkSession, loaded: Callable[..., Settings], make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = loaded(QUANTIZED, **quantized("binary"))
    rows = rows_of(tmp_path / "lake" / "toy" / "main" / "vectors", "text, embedding")
    expected = np.packbits(exact([row["text"] for row in rows]) > 0, axis=1).astype(int) - 128
    assert np.array_equal(np.array([row["embedding"] for row in rows]), expected)
    assert rows_of(tmp_path / "lake" / "_embedlake" / "spaces", "ranges") == [{"ranges": None}]
    assert verify_space.run(spark, settings).findings == ()
    with pytest.raises(InputError, match="precision was 'binary', is 'float32'"):
        run(spark, make_settings(settings.source.path, **quantized("float32")))


def test_bits_that_do_not_fill_bytes_are_refused(
    spark: SparkSession, make_settings: Callable[..., Settings], write_json: Callable[..., str]
) -> None:
    with pytest.raises(InputError, match=r"12 numbers do not fill bytes\. Set model\.dimensions to a multiple of 8"):
        run(spark, make_settings(write_json(QUANTIZED), model={"path": "fake:12", "precision": "binary"}))
