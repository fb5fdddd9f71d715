"""What `embedlake spaces` shows about the spaces of a library."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from rich.console import Console

from schemas.evaluations import EVALUATIONS
from spark_jobs import list_spaces
from spark_jobs.embed_library import run
from spark_jobs.runtime.json_text import json_text
from spark_jobs.settings import Settings
from spark_jobs.store.failpoints import SimulatedCrash
from spark_jobs.store.tables import delta_session, space_tables
from tests.support.refresh.machine import at
from tests.support.refresh.oracle import query
from tests.support.template import OWLS, OWLS_AND_BEES

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

Loaded = Callable[..., Settings]
MakeSettings = Callable[..., Settings]


def evaluated(spark: SparkSession, settings: Settings, at: datetime, **values: Any) -> None:
    """Records an evaluation."""
    row = {"evaluated_at": at, "library": "toy", "measure": "nDCG@10", "queries": "asked.jsonl", **values}
    with delta_session(spark):
        rows = spark.createDataFrame([tuple(row.get(name) for name in EVALUATIONS.schema.names)], EVALUATIONS.schema)
        space_tables(spark, settings).append(rows, EVALUATIONS)


def files(settings: Settings) -> set[Path]:
    return set(Path(str(settings.store.path)).rglob("*.json"))


def test_a_store_without_spaces_and_a_library_without_any(
    spark: SparkSession, make_settings: MakeSettings, two_spaces: Settings
) -> None:
    assert list_spaces.run(spark, make_settings("unused")) == []
    assert list_spaces.run(spark, two_spaces.model_copy(update={"library": "other"})) == []


def test_what_is_known_of_two_spaces(spark: SparkSession, two_spaces: Settings) -> None:
    before = files(two_spaces)
    main, small = list_spaces.run(spark, two_spaces)
    assert files(two_spaces) == before
    assert [(each.space, each.state, each.model, each.dimension) for each in (main, small)] == [
        ("main", "active", "fake:8", 8),
        ("small", "ready", "fake:16", 16),
    ]
    assert main.documents == small.documents == len(OWLS)
    vectors = Path(str(two_spaces.store.path), "toy", "main", "vectors")
    assert main.chunks == len(query(vectors, "select chunk_id from t")) > len(OWLS)
    assert main.bytes == sum(path.stat().st_size for path in vectors.glob("**/*.parquet"))
    assert (main.precision, main.chunking["max_tokens"], main.source_version) == ("float32", 64, None)
    assert main.finished_at is not None and main.created_at <= main.finished_at


def test_a_space_is_building_until_a_run_has_finished_and_while_one_has_not(
    spark: SparkSession, loaded: Loaded, write_json: Callable[..., str]
) -> None:
    settings = loaded(OWLS_AND_BEES)

    def crash() -> None:
        raise SimulatedCrash

    def states() -> dict[str, tuple[str, bool]]:
        return {each.space: (each.state, each.finished_at is not None) for each in list_spaces.run(spark, settings)}

    def crashed(space: Settings, point: str) -> None:
        with at((point, 1), crash), pytest.raises(SimulatedCrash):
            run(spark, space)

    next_one = settings.model_copy(update={"space": "next"})
    crashed(next_one, "vectors.before")
    assert states() == {"main": ("active", True), "next": ("building", False)}
    run(spark, next_one)
    assert states() == {"main": ("active", True), "next": ("ready", True)}
    write_json([*OWLS_AND_BEES, {"id": "c", "text": "Elms."}])
    for space in (settings, next_one):
        crashed(space, "ledger.before")
    # Readers keep the active one, whatever happens to a refresh.
    assert states() == {"main": ("active", True), "next": ("building", True)}


def test_the_newest_evaluation_of_what_a_space_holds_now(spark: SparkSession, loaded: Loaded) -> None:
    settings = loaded(OWLS_AND_BEES)
    now = datetime.now(UTC)
    (fresh,) = list_spaces.run(spark, settings)
    assert fresh.quality is None
    own = {"space": "main", "model_fingerprint": fresh.model_fingerprint, "vectors_version": 1}
    evaluated(spark, settings, now - timedelta(hours=2), **own, value=0.5)
    evaluated(spark, settings, now - timedelta(hours=1), **own, value=0.625)
    evaluated(spark, settings, now, **{**own, "model_fingerprint": "of a space of the same name"}, value=0.1)
    evaluated(spark, settings, now, **own, value=0.2, measure="R@100")
    # Sentence pairs measure the model alone.
    evaluated(spark, settings, now, **{**own, "vectors_version": None}, value=0.3)
    (found,) = list_spaces.run(spark, settings)
    assert found.quality is not None
    assert (found.quality.value, found.quality.queries, found.quality.vectors_version) == (0.625, "asked.jsonl", 1)

    out = io.StringIO()
    assert found.finished_at is not None
    later = found.finished_at.astimezone(UTC) + timedelta(days=2, minutes=5, seconds=3)
    Console(file=out, width=300).print(list_spaces.as_table([found], later))
    cells = [cell.strip() for cell in out.getvalue().splitlines()[3].strip("│").split("│")]
    assert cells[0:2] == ["main", "active"]
    assert cells[3:7] == ["8 float32", "structure, 64 to 256 tokens", "2", "2"]
    assert cells[-2:] == ["2 days, 0:05 ago", "nDCG@10 0.625 (asked.jsonl)"]
    told = json.loads(json_text([vars(found) | {"quality": vars(found.quality)}]))
    assert told[0]["quality"]["value"] == 0.625
