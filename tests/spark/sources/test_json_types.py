"""JSON has no types: payload columns of a delivery are read with those of the space, where no value is lost."""

import json
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql.types import _parse_datatype_string

from schemas.errors import SourceError
from spark_jobs.embed_library import run
from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources.source import Source, open_source
from tests.stores.make_store import CRASHED, unpacked, write_source
from tests.support.refresh.oracle import query

pytestmark = pytest.mark.spark

KNOWN = "n long, share double, tags array<long>, place struct<city: string, floor: long>, language string"


def opened(spark: SparkSession, path: Path, payload: list[str], *documents: dict[str, Any]) -> Source:
    path.write_text("".join(json.dumps({"id": "a", "text": "x", **each}) + "\n" for each in documents))
    source = SourceSettings(
        format="json", path=str(path), id_column="id", text_columns=["text"], payload_columns=payload
    )
    known = {field.name: field.dataType for field in _parse_datatype_string(KNOWN)}  # type: ignore[attr-defined]
    return open_source(spark, source, lambda: known)


def test_columns_without_values_have_the_types_of_the_space(spark: SparkSession, tmp_path: Path) -> None:
    delivered = [
        # Without language and floor, with whole shares, and neither a number nor a tag anywhere.
        {"n": None, "share": 1, "tags": [], "place": {"city": "Bonn"}},
        {"share": 2, "tags": []},
    ]
    source = opened(spark, tmp_path / "s.jsonl", ["n", "share", "tags", "place", "language"], *delivered)
    assert ", ".join(f"{field.name} {field.dataType.simpleString()}" for field in source.payload) == (
        "n bigint, share double, tags array<bigint>, place struct<city:string,floor:bigint>, language string"
    )
    rows = source.rows.select("n", "share", "tags", "place", "language").orderBy("share").collect()
    assert [tuple(row) for row in rows] == [(None, 1.0, [], ("Bonn", None), None), (None, 2.0, [], None, None)]
    assert source.notes == (
        "no document has a value of payload column n, tags, language, which becomes null everywhere",
    )


def test_values_that_the_space_cannot_hold_keep_their_own_type(spark: SparkSession, tmp_path: Path) -> None:
    source = opened(spark, tmp_path / "s.jsonl", ["n", "place"], {"n": 1.5, "place": {"town": "Bonn"}}, {"n": 2})
    assert [field.dataType.simpleString() for field in source.payload] == ["double", "struct<town:string>"]
    assert source.notes == ()
    with pytest.raises(SourceError, match=r"it has no column 'colour', which source\.payload_columns names"):
        opened(spark, tmp_path / "s.jsonl", ["colour"], {"n": 1})


# Worth its time: that pre-flight asks the space, and that the plan says so, only a run can show.
def test_a_delivery_without_a_known_column_makes_it_null_and_the_plan_says_so(
    spark: SparkSession, tmp_path: Path
) -> None:
    settings = unpacked("format-1.tar.gz", tmp_path)
    without = [{name: value for name, value in document.items() if name != "legs"} for document in CRASHED]
    write_source(tmp_path / "source.jsonl", without)
    report = run(spark, settings, take_over=True)
    assert report.how == (
        "full comparison: the source has no versions · no document has a value of payload column legs, which becomes "
        "null everywhere"
    )
    rows = query(tmp_path / "store" / "birds" / "main" / "vectors", "select doc_id, legs from t order by doc_id")
    assert [tuple(row.values()) for row in rows] == [("owl", None), ("rook", None), ("wren", None)]
