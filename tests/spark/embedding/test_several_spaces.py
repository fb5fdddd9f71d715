"""Several spaces in one pass: each is what a run of its own would make it, and the source is read once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.errors import InputError
from spark_jobs.embed_library import run, run_spaces
from spark_jobs.embedding import comparison
from spark_jobs.embedding.report import RunReport
from spark_jobs.settings import Settings
from spark_jobs.store import failpoints
from tests.support.refresh.oracle import query
from tests.support.template import OWLS_AND_BEES, Document, write_documents
from udfs.encoders.fake import NOT_FINITE

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

MakeSettings = Callable[..., Settings]
DOCUMENTS: list[Document] = [
    {"id": "owl", "text": "Owls hunt mice.", "n": 1},
    {"id": "bee", "text": "Bees make honey.", "n": 2},
    {"id": "faulty", "text": f"Ants {NOT_FINITE}.", "n": 3},
    {"id": "blank", "text": " ", "n": 4},
]
EDITED: list[Document] = [
    {"id": "owl", "text": "Owls sleep.", "n": 1},
    {"id": "bee", "text": "Bees make honey.", "n": 5},
    {"id": "faulty", "text": f"Ants {NOT_FINITE}.", "n": 3},
    {"id": "elm", "text": "Elms grow.", "n": 6},
]


def spaces_of(settings: Settings) -> list[Settings]:
    """The space `main`, and one whose model is cut to fewer numbers."""
    model = settings.model.model_copy(update={"dimensions": 4})
    return [settings, settings.model_copy(update={"space": "next", "model": model})]


def rows_of(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    space = Path(str(settings.store.path), "toy", settings.space)
    order = {"vectors": "chunk_id", "ledger": "doc_id"}
    return {table: query(space / table, f"select * from t order by {key}") for table, key in order.items()}


def reports(spark: SparkSession, spaces: list[Settings]) -> list[RunReport]:
    outcomes = list(run_spaces(spark, spaces))
    return [outcome.report for outcome in outcomes if outcome.report is not None]


def count_hashed(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Counts the rows of the source that are hashed to be compared; returns what asks how many since the last time."""
    counter, original, last = spark.sparkContext.accumulator(0), comparison.hashed_documents, [0]

    @F.udf("long")
    def seen(characters: int) -> int:
        counter.add(1)
        return characters

    def watched(*given: Any) -> DataFrame:
        return original(*given).withColumn("characters", seen("characters"))

    def since() -> int:
        found, last[0] = counter.value - last[0], counter.value
        return int(found)

    monkeypatch.setattr(comparison, "hashed_documents", watched)
    return since


# Worth its time: two stores, one refreshed in passes and one by runs.
def test_two_spaces_in_one_pass_equal_two_runs_and_hash_the_source_once(
    spark: SparkSession, write_json: Callable[..., str], make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"payload_columns": ["n"]}
    together = spaces_of(make_settings(write_json(DOCUMENTS), source=source))
    store = together[0].store.model_copy(update={"path": f"{together[0].store.path}-apart"})
    apart = [each.model_copy(update={"store": store}) for each in together]
    for documents in (DOCUMENTS, EDITED):
        write_json(documents)
        for each in apart:
            run(spark, each)
        with monkeypatch.context() as patch:
            hashed = count_hashed(spark, patch)
            found = reports(spark, together)
            assert hashed() == len(documents)
        assert [rows_of(each) for each in together] == [rows_of(each) for each in apart]
    assert [report.run_id for report in found] == ["toy.main.2", "toy.next.2"]
    assert [report.counts["changed"] for report in found] == [1, 1]
    with monkeypatch.context() as patch:
        hashed = count_hashed(spark, patch)
        assert [report.counts["unchanged"] for report in reports(spark, together)] == [4, 4]
        assert hashed() == len(EDITED)


def test_a_space_that_fails_does_not_keep_the_next_one_from_its_turn(
    spark: SparkSession, loaded: Callable[..., Settings]
) -> None:
    main, other = spaces_of(loaded(OWLS_AND_BEES))
    # Its vectors are of another model.
    main = main.model_copy(update={"model": main.model.model_copy(update={"path": "fake:16"})})
    failed, done = run_spaces(spark, [main, other])
    assert (failed.name, failed.report, type(failed.error)) == ("toy.main", None, InputError)
    assert done.report is not None
    assert done.report.counts["library_embedded"] == 2


def test_files_that_change_during_a_run_are_read_again_for_the_next_space(
    spark: SparkSession, loaded: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = loaded(OWLS_AND_BEES)
    path = Path(str(settings.source.path))
    write_documents([*OWLS_AND_BEES, {"id": "c", "text": "Ants."}], path)
    late = iter([[*OWLS_AND_BEES, {"id": "c", "text": "Ants dig."}, {"id": "d", "text": "Dogs."}]])

    def change(point: str) -> None:
        for documents in late if point == "vectors.before" else []:
            write_documents(documents, path)

    monkeypatch.setattr(failpoints, "failpoint", change)
    found = reports(spark, spaces_of(settings))
    assert [report.counts["added"] for report in found] == [1, 4]


def test_a_source_with_versions_is_pinned_once(
    spark: SparkSession, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = str(tmp_path / "table")

    def write(texts: dict[str, str]) -> None:
        rows = spark.createDataFrame(list(texts.items()), "id string, text string").coalesce(1)
        rows.write.format("delta").mode("append").save(path)

    write({"a": "Owls.", "b": "Bees."})
    late = iter([{"c": "Ants."}])

    def change(point: str) -> None:
        for texts in late if point == "vectors.before" else []:
            write(texts)

    settings = make_settings(path, source={"format": "delta"})
    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "failpoint", change)
        found = reports(spark, spaces_of(settings))
    assert [report.counts["added"] for report in found] == [2, 2]
    assert [report.counts["added"] for report in reports(spark, spaces_of(settings))] == [1, 1]
