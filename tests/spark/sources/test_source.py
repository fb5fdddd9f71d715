"""Every source format gives the same documents, and a Delta source is read at one version."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from schemas.errors import InputError
from spark_jobs.embedding.documents import as_documents
from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources.source import check_ids, open_source, source_state

pytestmark = pytest.mark.spark


@pytest.fixture
def rows(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame([("a", "Alpha", 1), ("b", None, 2)], "id string, text string, n int")


def settings(**values: Any) -> SourceSettings:
    columns = {"id_column": "id", "text_columns": ["text"]}
    return SourceSettings.model_validate({**columns, **values})


def written(rows: DataFrame, kind: str, path: Path) -> dict[str, Any]:
    if kind == "table":
        rows.write.format("delta").mode("overwrite").saveAsTable("default.some_documents")
        return {"format": "table", "table": "default.some_documents"}
    writer = rows.coalesce(1).write
    writer = writer.option("header", "true") if kind == "csv" else writer
    writer.format(kind).save(str(path))
    return {"format": kind, "path": str(path)}


@pytest.mark.parametrize("kind", ["delta", "parquet", "json", "csv", "orc", "table"])
def test_every_format_gives_the_same_documents(spark: SparkSession, rows: DataFrame, tmp_path: Path, kind: str) -> None:
    source_settings = settings(**written(rows, kind, tmp_path / "source"), filter="n < 3")
    source = open_source(spark, source_settings)
    documents = as_documents(source.rows, source_settings, source.payload).orderBy("doc_id").collect()
    assert [(row.doc_id, row.text) for row in documents] == [("a", "Alpha"), ("b", "")]
    assert (source.version is not None) == (kind in ("delta", "table"))
    assert check_ids(source, source_settings) == 2


def test_a_delta_source_stays_at_its_version(spark: SparkSession, rows: DataFrame, tmp_path: Path) -> None:
    path = str(tmp_path / "source")
    rows.write.format("delta").save(path)
    source = open_source(spark, settings(format="delta", path=path))
    rows.limit(1).write.format("delta").mode("overwrite").save(path)
    assert source.version == 0
    assert source.rows.count() == 2


def test_dots_within_backticks_do_not_hide_the_versions_of_a_delta_table(
    spark: SparkSession, rows: DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "my.lake" / "docs.v1"
    rows.write.format("delta").option("delta.enableChangeDataFeed", "true").save(str(path))
    source = open_source(spark, settings(format="table", table=f"delta.`{path}`"))
    rows.write.format("delta").mode("append").save(str(path))
    assert (source.version, source.has_feed, source.rows.count()) == (0, True, 2)
    assert source.table_id == open_source(spark, settings(format="delta", path=str(path))).table_id


def test_a_delta_table_is_never_taken_for_a_view(spark: SparkSession, rows: DataFrame, tmp_path: Path) -> None:
    source = written(rows, "table", tmp_path)
    spark.sql("CREATE OR REPLACE VIEW default.a_view AS SELECT * FROM default.some_documents VERSION AS OF 0")
    assert open_source(spark, settings(format="table", table="default.a_view")).version is None

    class NoDetail:
        def __getattr__(self, name: str) -> Any:
            return getattr(spark, name)

        def sql(self, statement: str) -> DataFrame:
            if statement.startswith("DESCRIBE DETAIL"):
                raise PySparkException("the catalog is down")
            return spark.sql(statement)

    without_detail: Any = NoDetail()
    with pytest.raises(InputError, match="cannot be read as table"):
        open_source(without_detail, settings(**source))
    assert open_source(without_detail, settings(format="table", table="default.a_view")).version is None


def test_whole_numbers_are_ids_too(spark: SparkSession, tmp_path: Path) -> None:
    path = str(tmp_path / "source")
    spark.range(3).selectExpr("id", "'x' AS text").write.parquet(path)
    source_settings = settings(format="parquet", path=path)
    source = open_source(spark, source_settings)
    documents = as_documents(source.rows, source_settings, ())
    assert sorted(row.doc_id for row in documents.collect()) == ["0", "1", "2"]


def test_texts_are_joined_and_missing_ones_skipped(spark: SparkSession) -> None:
    rows = spark.createDataFrame(
        [("1", "A", "x"), ("2", None, "x"), ("3", "", "x"), ("4", "A", None), ("5", None, None)],
        "id string, title string, `the body` string",
    )
    joined = settings(format="parquet", path="/x", text_columns=["title", "the body"], text_separator=" | ")
    found = {row.doc_id: row.text for row in as_documents(rows, joined, ()).collect()}
    assert found == {"1": "A | x", "2": "x", "3": "x", "4": "A", "5": ""}


def test_the_payload_hash_sees_nulls_and_not_the_time_zone(spark: SparkSession) -> None:
    rows = spark.sql("SELECT '1' AS id, 'x' AS text, TIMESTAMP '2026-01-01 00:00:00' AS at, CAST(NULL AS INT) AS n")
    source = settings(format="parquet", path="/x", payload_columns=["at", "n"])
    payload = tuple(field for field in rows.schema if field.name in ("at", "n"))

    def hashed(frame: DataFrame) -> str:
        return str(as_documents(frame, source, payload).collect()[0].payload_hash)

    before = hashed(rows)
    spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    try:
        assert hashed(rows) == before
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")
    assert hashed(rows.selectExpr("id", "text", "at", "0 AS n")) != before


def test_a_missing_table_is_refused(spark: SparkSession) -> None:
    with pytest.raises(InputError, match=r"the source default\.nothing cannot be read as table"):
        open_source(spark, settings(format="table", table="default.nothing"))


@pytest.mark.parametrize("name", ["spark.sql.session.timeZone", "spark.sql.ansi.enabled", "spark.sql.caseSensitive"])
def test_the_rule_of_a_filter_includes_how_the_session_reads_it(spark: SparkSession, tmp_path: Path, name: str) -> None:
    path = str(tmp_path / "source")
    spark.sql("SELECT 'a' AS id, 'x' AS text, TIMESTAMP '2026-01-01 00:00:00' AS at").write.parquet(path)
    filtered = settings(format="parquet", path=path, filter="at > '2025-12-31 20:00:00'")
    plain = settings(format="parquet", path=path)
    before = [open_source(spark, each).rule for each in (filtered, plain)]
    old = spark.conf.get(name)
    spark.conf.set(name, "Asia/Tokyo" if name.endswith("timeZone") else str(old != "true").lower())
    try:
        after = [open_source(spark, each).rule for each in (filtered, plain)]
    finally:
        spark.conf.set(name, old)
    assert after[0] != before[0]
    assert after[1] == before[1]


@pytest.mark.parametrize("kind", ["delta", "table"])
def test_the_state_of_a_table_with_versions_is_another_one_after_each_commit(
    spark: SparkSession, rows: DataFrame, tmp_path: Path, kind: str
) -> None:
    source_settings = settings(**written(rows, kind, tmp_path / "source"))
    before = source_state(spark, source_settings)
    assert before is not None and source_state(spark, source_settings) == before
    if kind == "delta":
        # Another table at the same path, which begins to count its versions anew.
        shutil.rmtree(tmp_path / "source")
    written(rows, kind, tmp_path / "source")
    assert source_state(spark, source_settings) not in (before, None)


def test_views_and_tables_without_versions_tell_no_state_and_missing_ones_are_named(
    spark: SparkSession, rows: DataFrame, tmp_path: Path
) -> None:
    rows.createOrReplaceTempView("stateless")
    rows.write.format("parquet").mode("overwrite").saveAsTable("default.stateless_files")
    for table in ("stateless", "default.stateless_files"):
        assert source_state(spark, settings(format="table", table=table)) is None
    for missing in ({"format": "table", "table": "no.such.table"}, {"format": "delta", "path": str(tmp_path / "none")}):
        with pytest.raises(InputError, match=r"^the source .* cannot be read as"):
            source_state(spark, settings(**missing))


def test_the_state_of_files_behind_a_pattern_is_their_listing(spark: SparkSession, tmp_path: Path) -> None:
    # A pattern is listed by Spark, as every path is that is not of this machine.
    source_settings = settings(format="json", path=str(tmp_path / "2*"), options={"pathGlobFilter": "*.json"})
    with pytest.raises(InputError, match="cannot be read as json"):
        source_state(spark, source_settings)
    (tmp_path / "2026").mkdir()
    (tmp_path / "2026" / "a.json").write_text("{}")
    states = [source_state(spark, source_settings)]
    (tmp_path / "2026" / "notes.txt").write_text("of no interest")
    assert source_state(spark, source_settings) == states[0]
    for name, text in [("a.json", "{} "), ("b.json", "{}"), ("b.json", "[]")]:
        (tmp_path / "2026" / name).write_text(text)
        os.utime(tmp_path / "2026" / name, (len(states), len(states)))
        states.append(source_state(spark, source_settings))
    (tmp_path / "2026" / "b.json").unlink()
    states.append(source_state(spark, source_settings))
    # The last state is one that was there before.
    assert len(set(states)) == 4 and states[-1] == states[1]
