"""The tables on disk: readable without Spark, encoded as documented, with comments."""

from collections.abc import Callable
from functools import partial
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder
from pyspark.sql import SparkSession
from rich.console import Console

from schemas.errors import InputError
from schemas.vectors import vectors_table
from spark_jobs import list_quarantine, maintain_space, show_status, verify_space
from spark_jobs.embed_library import run
from spark_jobs.settings import Settings
from spark_jobs.store.claims import exclusive
from spark_jobs.store.file_system import with_file_system
from spark_jobs.store.open_space import open_space, read_vectors
from spark_jobs.store.tables import delta_session, space_tables
from tests.support.space import Space
from tests.support.template import write_documents

pytestmark = pytest.mark.spark

MakeSettings = Callable[..., Settings]
DOCUMENTS = [{"id": f"d{i}", "text": f"Text number {i}.", "n": i, "tags": ["a"] * (i % 3)} for i in range(40)]


@pytest.fixture(scope="module")
def edited(
    spark: SparkSession, load_template: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """A library that was loaded and then edited, so that its table also has deletion vectors."""
    root = tmp_path_factory.mktemp("edited")
    settings = load_template(root, DOCUMENTS, source={"payload_columns": ["n", "tags"]}, run={"memory_tokens": 0})
    edits = [{**document, "n": 100} if document["id"] == "d7" else document for document in DOCUMENTS[:-1]]
    write_documents(edits, root / "source.jsonl")
    run(spark, settings)
    return settings


def folder(settings: Settings, table: str = "vectors") -> Path:
    return Path(settings.store.path or "") / "toy" / "main" / table


def test_rows_read_without_spark_equal_those_that_spark_reads(spark: SparkSession, edited: Settings) -> None:
    with delta_session(spark):
        by_spark = [row.asDict() for row in read_vectors(spark, edited).orderBy("doc_id").collect()]
    table = DeltaTable(str(folder(edited)))
    query = QueryBuilder().register("vectors", table).execute("SELECT * FROM vectors ORDER BY doc_id")
    assert pa.table(query.read_all()).to_pylist() == by_spark
    assert len(by_spark) == 39
    assert [row["n"] for row in by_spark if row["doc_id"] == "d7"] == [100]


def test_vectors_are_split_into_byte_streams_and_compressed_by_zstd(edited: Settings) -> None:
    vectors = 0
    for path in folder(edited).glob("*.parquet"):
        footer = pq.ParquetFile(path).metadata
        for group in range(footer.num_row_groups):
            columns = [footer.row_group(group).column(i) for i in range(footer.num_columns)]
            assert {column.compression for column in columns} == {"ZSTD"}
            (embedding,) = [column for column in columns if column.path_in_schema.startswith("embedding")]
            assert "BYTE_STREAM_SPLIT" in embedding.encodings
            assert not {"RLE_DICTIONARY", "PLAIN_DICTIONARY"} & set(embedding.encodings)
            vectors += embedding.num_values
    assert vectors >= 40 * 8


def test_plain_encoding_is_read_by_spark_as_it_comes(spark: SparkSession, make_settings: MakeSettings) -> None:
    space = Space(spark, make_settings("unused", store={"vector_encoding": "plain"}))
    space.put({name: 1 for name in "abc"})
    # Other tests may have set what reading the default encoding needs.
    fresh = spark.newSession()
    assert fresh.conf.get("spark.sql.parquet.enableNestedColumnVectorizedReader") == "true"
    assert len(fresh.table(space.name).select("embedding").collect()) == 3


def test_table_and_columns_carry_comments(spark: SparkSession, edited: Settings) -> None:
    tables = space_tables(spark, edited)
    for table in ("vectors", "ledger", "plan", "staged_chunks", "staged_vectors", "runs", "spaces"):
        name = tables.name(table)
        comments = {field.name: field.metadata.get("comment") for field in spark.table(name).schema}
        assert all(comments.values()), f"{table}: {comments}"
        assert spark.sql(f"DESCRIBE DETAIL {name}").collect()[0].description
    assert spark.sql(f"DESCRIBE DETAIL {tables.name('vectors')}").collect()[0].description == vectors_table().comment


def test_the_change_feed_follows_inserts_updates_and_deletes(spark: SparkSession, edited: Settings) -> None:
    with delta_session(spark):
        feed = spark.read.option("readChangeFeed", "true").option("startingVersion", 0)
        changes = feed.table(space_tables(spark, edited).name("vectors")).groupBy("_change_type").count().collect()
    assert {row._change_type: row["count"] for row in changes} == {
        "insert": 40,
        "update_preimage": 1,
        "update_postimage": 1,
        "delete": 1,
    }


def test_names_that_differ_by_case_do_not_share_tables_in_a_catalog(
    spark: SparkSession, make_settings: MakeSettings, write_json: Callable[..., str]
) -> None:
    settings = make_settings(
        write_json([{"id": "owl", "text": "Owls hunt."}]),
        store={"path": None, "catalog": "spark_catalog", "schema": "default"},
    )
    first = settings.model_copy(update={"library": "Cased"})
    second = settings.model_copy(
        update={
            "library": "cased",
            "source": settings.source.model_copy(update={"path": write_json([{"id": "bee", "text": "B."}], "second")}),
        }
    )
    run(spark, first)
    told = "library cased would share its tables with library Cased, because the store's names ignore case."
    listed = partial(list_quarantine.run, console=Console(file=StringIO()))
    for job in (partial(run, allow_removals=True), maintain_space.run, verify_space.run, open_space, listed):
        with pytest.raises(InputError) as caught:
            job(spark, second)
        assert str(caught.value).startswith(told)
    with pytest.raises(InputError, match="space MAIN would share its tables with space main"):
        run(spark, first.model_copy(update={"space": "MAIN"}))
    output = Console(file=StringIO(), width=400)
    show_status.run(spark, second, output)
    assert told in output.file.getvalue()  # type: ignore[attr-defined]
    with delta_session(spark):
        assert [row.doc_id for row in read_vectors(spark, first).collect()] == ["owl"]
    assert run(spark, first).counts["unchanged"] == 1


def test_work_beside_a_run_takes_no_local_lock_for_a_store_on_another_file_system(
    spark: SparkSession, make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings, elsewhere = make_settings("unused"), spark.newSession()
    assert with_file_system(spark, settings) is settings
    elsewhere.conf.set("fs.defaultFS", "elsewhere://server:8020")
    with pytest.raises(Exception, match="elsewhere"), exclusive(elsewhere, settings, "maintain"):
        pytest.fail("the store was found")
    assert not list(tmp_path.rglob("*.lock"))


def test_other_payload_columns_are_refused_for_a_filled_space(spark: SparkSession, edited: Settings) -> None:
    source = edited.source.model_copy(update={"payload_columns": ["n"]})
    with pytest.raises(InputError, match=r"column tags .* is not expected|column tags"):
        run(spark, edited.model_copy(update={"source": source}))
